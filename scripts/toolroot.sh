#!/bin/bash
# Makes the tool root: a Debian 13 tree with the compilers that the stock kernel was built with. Prints its path.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

packages=(
    # the kernel's own tools
    gcc make flex bison bc kmod cpio xz-utils zstd perl-base python3 libelf-dev libssl-dev libdw-dev pahole
    # Rust, in the versions that the stock kernel used
    rustc rust-src rustfmt rust-clippy bindgen cargo
    # clang and its friends, for the debug kernel: with Rust the kernel takes KASAN only from them
    clang lld llvm
    # our own checks
    shellcheck ca-certificates
)

# build DIR
build() {
    need_root
    need_disk 8
    say "building the tool root ..."
    local log=$1.log
    sources | mmdebstrap --variant=apt --format=directory --include="${packages[*]}" \
        --aptopt='APT::Install-Recommends "false"' --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' --customize-hook='rm -rf "$1"/var/cache/apt/archives/*.deb' \
        --skip=cleanup/apt/lists --customize-hook='rm -rf "$1"/var/lib/apt/lists/*' \
        "$STTCP_SUITE" "$1" - >"$log" 2>&1 ||
        die "mmdebstrap failed: $(grep -E '^E:|error' "$log" | tail -1) (whole log: $log)"
    rm "$log"
}

need mmdebstrap debian-archive-keyring
artefact toolroot "$(key "$(declare -f build)" "${packages[*]}")" build
