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

# sites: whoever asks for memory says at which site, so that it can be made to fail (src/sys/fail.rs). Kernel functions that allocate are
# named here; others do not. A planted fault is nobody's request.
sites() {
    awk '
        FILENAME ~ /plant\.rs$/ { next }
        FNR == 1 || /(^| )fn [a-z]/ { asked = 0 }
        /fail::at\(/ { asked = 1 }
        /^ *\/\// { next }
        /GFP_|bindings::((nf_|sttcp_)?register_[a-z_]*\(|proc_create_|sock_create_|kernel_bind|sttcp_alloc_)/ ||
            /bindings::(arp_send|ndisc_send_|ip_route_output_|ip6_route_output_|ip6_dst_lookup_|sttcp_dst_neigh_lookup)/ ||
            /bindings::(skb_ensure_writable|(sttcp_)?skb_clone|skb_copy(\(|_expand|_ubufs)|pskb_|sttcp_pskb_|sttcp_skb_orphan_frags)/ {
            if (!asked) { print FILENAME ":" FNR ": memory without fail::at() before it in its function:" $0; failed = 1 }
        }
        END { exit failed }' "$@"
}

# miri: the engine's tests in the interpreter that finds undefined behaviour, once for each state of them. Debian does not package it,
# so the tool root has none; the host may, by rustup.
miri() {
    local version log
    export RUSTUP_AUTO_INSTALL=0
    if version=$(cargo +nightly miri --version 2>/dev/null) && [[ -d $(rustc +nightly --print sysroot)/lib/rustlib/src/rust/library ]]; then
        log=$(artefact miri "$(key "$version" "$(declare -f interpret)" Cargo.toml Cargo.lock "${engine[@]}")" interpret) || return
        say "Miri: $(awk '/^test result: ok/ { passed += $4; ignored += $8 } END { print passed + 0, "passed,", ignored + 0, "ignored" }' "$log"/*)"
    else
        say "SKIP Miri: this host has no nightly toolchain with it (rustup toolchain install nightly -c miri -c rust-src)"
    fi
}

# interpret DIR: what the tests said stays there. An interpreter uses one CPU, so each file of tests has its own.
interpret() {
    local names
    export CARGO_TARGET_DIR=$STTCP_CACHE/target-miri
    names=$(sed -n '/^\[\[test/,/^name/s/^name = "\(.*\)"/\1/p' Cargo.toml)
    cargo +nightly miri test -q --locked --no-run || die "Miri: the tests do not build"
    xargs -P "$(nproc)" -I % sh -c 'cargo +nightly miri test -q --locked --test % >"$0/%" 2>&1 || { cat "$0/%"; exit 1; }' "$1" <<<"$names" ||
        die "Miri: see above"
}

mapfile -t rust < <(sources_of '*.rs')
mapfile -t module < <(sources_of 'src/*.rs')
mapfile -t engine < <(sources_of 'src/engine/*.rs' && sources_of 'tests/engine/*.rs')
mapfile -t shell < <(scripts)
attempt "rustfmt" scripts/chroot.sh rustfmt --check --color never --edition 2021 "${rust[@]}"
attempt "shellcheck" scripts/chroot.sh shellcheck "${shell[@]}"
attempt "unsafe code" scripts/unsafe.sh
attempt "unsafe code, planted" scripts/unsafe.sh prove
attempt "requests for memory" sites "${module[@]}"
for manifest in Cargo.toml tests/*/Cargo.toml; do
    attempt "clippy of $manifest" scripts/chroot.sh cargo clippy -q --locked --all-targets --manifest-path "$manifest" -- -D warnings
done
for option in '' FAULTS=1 PLANT=uaf; do
    attempt "kernel clippy${option:+ with $option}" env $option OUT="$STTCP_TOP/build/clippy${option#*=}" \
        scripts/module.sh CLIPPY=1 KRUSTFLAGS=-Dwarnings KCFLAGS=-Werror W=1
done
attempt "Miri" miri
[[ $failed -eq 0 ]] || die "something above wants a fix"
say "all checks passed"
