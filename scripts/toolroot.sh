#!/bin/bash
# Makes the tool root: a Debian tree with the compilers that the stock kernel of STTCP_SUITE was built with. Prints its path.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

packages=(
    # the kernel's own tools
    gcc make flex bison bc kmod cpio xz-utils zstd perl-base python3 libelf-dev libssl-dev libdw-dev pahole
    # Rust
    rustc rust-src rustfmt rust-clippy bindgen cargo
    # clang and its friends, for the debug kernel: with Rust the kernel takes KASAN only from them
    clang lld llvm
    # libFuzzer is C++
    g++
    # our own checks
    shellcheck ca-certificates
)

# rustc_of_kernel: what the suite's kernel was built with. Debian 13 stays with its compilers.
rustc_of_kernel() {
    [[ $STTCP_SUITE == "$STTCP_STABLE" ]] ||
        sed -n 's/^CONFIG_RUSTC_VERSION_TEXT="\(.*\)"/\1/p' "$("$STTCP_TOP/scripts/kernel.sh")/config"
}

# build DIR RUSTC
build() {
    need_root
    need_disk 8
    say "building the tool root ..."
    local log=$1.log
    sources "$STTCP_SUITE" | mmdebstrap --variant=apt --format=directory --include="${packages[*]}" \
        --aptopt='APT::Install-Recommends "false"' --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' --customize-hook='rm -rf "$1"/var/cache/apt/archives/*.deb' \
        --skip=cleanup/apt/lists --customize-hook='rm -rf "$1"/var/lib/apt/lists/*' \
        "$STTCP_SUITE" "$1" - >"$log" 2>&1 ||
        die "mmdebstrap failed, check the network and apt's sources: $(grep '^E:' "$log" | head -1) (whole log: $log)"
    # The kernel's Rust symbols have its compiler's version in their names.
    [[ -z $2 || $(chroot "$1" rustc --version) == "$2" ]] ||
        die "the kernel of $STTCP_SUITE was built with $2, but the suite has $(chroot "$1" rustc --version) now: try a later kernel"
    rm "$log"
}

# ca-certificates: chroot.sh lends the host's to what runs inside.
need mmdebstrap debian-archive-keyring ca-certificates
rustc=$(rustc_of_kernel)
artefact toolroot "$(key "$(declare -f build)" "${packages[*]}" "$STTCP_SUITE" "$rustc")" build "$rustc"
