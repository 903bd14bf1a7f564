#!/bin/bash
# Checks formatting, lints and warnings of everything in the checkout. Says what fails, and fails at the end.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

cd "$STTCP_TOP"
failed=0

# attempt WHAT COMMAND...
attempt() {
    say "$1 ..."
    shift
    "$@" || failed=1
}

# sources_of GLOB: files that git knows or would know.
sources_of() {
    git ls-files --cached --others --exclude-standard "$1"
}

scripts() {
    # Also those without an ending.
    git ls-files --cached --others --exclude-standard | while read -r file; do
        if [[ -f $file ]] && head -c 64 "$file" | head -1 | tr -d '\0' | grep -qE '^#!/bin/(ba)?sh|^# shellcheck shell='; then
            printf '%s\n' "$file"
        fi
    done
}

mapfile -t rust < <(sources_of '*.rs')
mapfile -t shell < <(scripts)
attempt "rustfmt" scripts/chroot.sh rustfmt --check --color never --edition 2021 "${rust[@]}"
attempt "shellcheck" scripts/chroot.sh shellcheck "${shell[@]}"
attempt "unsafe code" scripts/unsafe.sh
for manifest in Cargo.toml tests/*/Cargo.toml; do
    attempt "clippy of $manifest" scripts/chroot.sh cargo clippy -q --locked --all-targets --manifest-path "$manifest" -- -D warnings
done
attempt "kernel clippy" env OUT="$STTCP_TOP/build/clippy" scripts/module.sh CLIPPY=1 KRUSTFLAGS=-Dwarnings KCFLAGS=-Werror W=1
[[ $failed -eq 0 ]] || die "something above wants a fix"
say "all checks passed"
