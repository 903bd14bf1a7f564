#!/bin/bash
# Makes the debug kernel: the stock kernel's source, a small configuration (debugkernel.config) with every checker that
# suits us, built with clang. Prints the tree that modules are built against; the kernel itself is vmlinuz in it.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

fragment=$STTCP_TOP/scripts/debugkernel.config

# build DIR KERNEL
build() {
    local dir=$1 kernel=$2 log=$1.log line
    need_disk 8
    say "unpacking the source of kernel $(<"$kernel/release") ..."
    tar -xf "$kernel/source.tar.xz" -C "$dir" --strip-components=1
    say "building the debug kernel (about 8 min on two CPUs) ..."
    configure "$dir" >"$log" 2>&1 || die "no configuration: $(tail -1 "$log") (whole log: $log)"
    while read -r line; do
        grep -qxF "$line" "$dir/.config" || die "this kernel does not take $line of $fragment"
    done < <(grep -E '^(# )?CONFIG_' "$fragment")
    make_kernel "$dir" bzImage modules >>"$log" 2>&1 ||
        die "the build failed: $(grep -E 'rror' "$log" | tail -1) (whole log: $log)"
    mv "$dir/arch/x86/boot/bzImage" "$dir/vmlinuz"
    trim "$dir"
    rm "$log"
}

# configure DIR: tinyconfig, then the fragment, of which the last word counts.
configure() {
    make_kernel "$1" tinyconfig
    cat "$fragment" >>"$1/.config"
    make_kernel "$1" olddefconfig
}

# make_kernel DIR TARGET...
make_kernel() {
    local dir=$1
    shift
    "$STTCP_TOP/scripts/chroot.sh" make -C "$dir" -j"$(nproc)" LLVM=1 LOCALVERSION= "$@"
}

# trim DIR: leaves what building a module takes.
trim() {
    (
        cd "$1"
        rm -rf Documentation LICENSES samples arch/x86/boot vmlinux* .tmp_* System.map
        find block certs crypto drivers fs init io_uring ipc kernel lib mm net security sound usr virt -type f -delete
        find arch tools -mindepth 1 -maxdepth 1 ! -name x86 ! -name objtool -exec rm -rf {} +
        find . \( -name '*.o' -o -name '*.a' -o -name '.*.cmd' \) -delete
        find . -type d -empty -delete
    )
}

kernel=$("$STTCP_TOP/scripts/kernel.sh")
STTCP_ROOT=$("$STTCP_TOP/scripts/toolroot.sh")
export STTCP_ROOT
artefact debugkernel "$(key "$(declare -f build configure make_kernel trim)" "$fragment" "$kernel" "$STTCP_ROOT")" build "$kernel"
