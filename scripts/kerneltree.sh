#!/bin/bash
# Makes the kernel tree that modules are built against: the stock kernel's source and configuration, with the Rust
# metadata that Debian's header packages lack. Prints its path, the same inside the tool root and outside.
#   kerneltree.sh                path of the tree
#   kerneltree.sh localversion   what `make` needs as LOCALVERSION, like +deb13-amd64
set -euo pipefail
. "$(dirname "$0")/lib.sh"

# prepare DIR KERNEL RELEASE LOCALVERSION
prepare() {
    local dir=$1 kernel=$2 release=$3 localversion=$4 log=$1.log
    need_disk 8
    need xz-utils
    say "unpacking the source of kernel $release ..."
    tar -xf "$kernel/source.tar.xz" -C "$dir" --strip-components=1
    cp "$kernel/config" "$dir/.config"
    say "preparing kernel $release for modules in Rust (about 80 s) ..."
    make_kernel "$dir" "$localversion" olddefconfig modules_prepare >"$log" 2>&1 ||
        die "modules_prepare failed: $(grep -E 'rror' "$log" | tail -1) (whole log: $log)"
    [[ $(<"$dir/include/config/kernel.release") == "$release" ]] ||
        die "the source calls itself $(<"$dir/include/config/kernel.release"), not $release"
    grep -q '^CONFIG_RUST=y' "$dir/.config" || die "CONFIG_RUST went off: the tool root's rustc or bindgen does not suit this kernel"
    cp "$kernel/Module.symvers" "$dir/"
    rm "$log"
}

# make_kernel DIR LOCALVERSION TARGET...
make_kernel() {
    local dir=$1 localversion=$2
    shift 2
    "$STTCP_TOP/scripts/chroot.sh" make -C "$dir" -j"$(nproc)" LOCALVERSION="$localversion" "$@"
}

kernel=$("$STTCP_TOP/scripts/kernel.sh")
release=$(<"$kernel/release")
localversion=+${release#*+}
case ${1-} in
localversion) printf '%s\n' "$localversion" ;;
"")
    STTCP_ROOT=$("$STTCP_TOP/scripts/toolroot.sh")
    export STTCP_ROOT
    artefact ktree "$(key "$(declare -f prepare make_kernel)" "$kernel" "$STTCP_ROOT")" prepare "$kernel" "$release" "$localversion"
    ;;
*) die "usage: kerneltree.sh [localversion]" ;;
esac
