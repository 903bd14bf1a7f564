#!/bin/bash
# Builds sttcp.ko in the tool root for the stock kernel.   module.sh [MAKE_ARGUMENT...]
# Output goes to build/module, sttcp.ko to the top. With OUT=DIR, everything stays in DIR.
# STTCP_FLAVOUR=debug builds for the debug kernel, PLANT=FAULT with a fault planted (src/sys/plant.rs): both stay in build/module-*.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

options=(${PLANT:+PLANT="$PLANT"})
if [[ ${STTCP_FLAVOUR-} == debug ]]; then
    kdir=$("$STTCP_TOP/scripts/debugkernel.sh")
    options+=(LLVM=1 LOCALVERSION=)
else
    kdir=$("$STTCP_TOP/scripts/kerneltree.sh")
    options+=(LOCALVERSION="$("$STTCP_TOP/scripts/kerneltree.sh" localversion)")
fi
flavour=${STTCP_FLAVOUR:+-$STTCP_FLAVOUR}${PLANT:+-$PLANT}
out=$(realpath -m "${OUT:-$STTCP_TOP/build/module$flavour}")
mkdir -p "$out"
cd "$STTCP_TOP"
if [[ -e modules.order ]]; then
    # Left by a build without MO=, which the kernel's makefiles refuse to mix with one that has it.
    scripts/chroot.sh make -s -C "$kdir" M="$STTCP_TOP" clean
fi
say "building sttcp.ko ..."
STTCP_BIND="$out ${STTCP_BIND-}" scripts/chroot.sh make -s -C "$kdir" M="$STTCP_TOP" MO="$out" "${options[@]}" -j"$(nproc)" modules "$@"
[[ -n ${OUT-}$flavour ]] || cp "$out/sttcp.ko" sttcp.ko
