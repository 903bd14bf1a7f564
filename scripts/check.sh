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
        /GFP_|bindings::(register_|nf_register_|proc_create_|sttcp_register_|sock_create_|kernel_bind|sttcp_alloc_)/ ||
            /bindings::(arp_send|ndisc_send_|ip_route_output_|ip6_route_output_|ip6_dst_lookup_|sttcp_dst_neigh_lookup)/ ||
            /bindings::(skb_ensure_writable|skb_clone|skb_copy|pskb_|sttcp_pskb_|sttcp_skb_orphan_frags)/ {
            if (!asked) { print FILENAME ":" FNR ": memory without fail::at() before it in its function:" $0; failed = 1 }
        }
        END { exit failed }' "$@"
}

# miri: the engine's tests in the interpreter that finds undefined behaviour, if there is one.
miri() {
    if scripts/chroot.sh cargo miri --version >/dev/null 2>&1; then
        scripts/chroot.sh cargo miri test -q --locked
    else
        say "SKIP Miri: the tool root's cargo has none; Debian does not package it"
    fi
}

mapfile -t rust < <(sources_of '*.rs')
mapfile -t module < <(sources_of 'src/*.rs')
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
