#!/bin/bash
# Builds sttcp.ko for the stock kernel of STTCP_SUITE.   module.sh [MAKE_ARGUMENT...]
# Output goes to build/module, sttcp.ko to the top. With OUT=DIR, everything stays in DIR.
# FAULTS=1 builds a module whose requests for memory can be made to fail, see src/sys/fail.rs.
# STTCP_FLAVOUR=debug builds for the debug kernel, PLANT=KIND with a fault planted (src/sys/plant.rs); these stay in
# build/module-debug, build/module-debug-KIND.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

need_root
STTCP_ROOT=$("$STTCP_TOP/scripts/toolroot.sh")
export STTCP_ROOT
flavour=${STTCP_FLAVOUR:+-$STTCP_FLAVOUR}${PLANT:+-$PLANT}
if [[ ${STTCP_FLAVOUR-} == debug ]]; then
    kdir=$("$STTCP_TOP/scripts/debugkernel.sh")
    options=(LLVM=1 LOCALVERSION=)
else
    kdir=$("$STTCP_TOP/scripts/kerneltree.sh")
    options=(LOCALVERSION="$("$STTCP_TOP/scripts/kerneltree.sh" localversion)")
fi
options+=(${FAULTS:+FAULTS="$FAULTS"} ${PLANT:+PLANT="$PLANT"})
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
