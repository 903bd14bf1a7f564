#!/bin/bash
# The tests that need no guest: the engine, its simulation and the traffic tool under Cargo, in the tool root, and a short run of each fuzz target.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

cd "$STTCP_TOP"
status=0
read -ra names <<<"${TESTS-}"
for manifest in Cargo.toml tests/*/Cargo.toml; do
    say "cargo test of $manifest ..."
    scripts/chroot.sh cargo test -q --locked --no-fail-fast --manifest-path "$manifest" "${names[@]}" || status=1
done
# With TESTS it is Cargo's tests that are picked.
if [[ ${#names[@]} -eq 0 ]]; then
    scripts/fuzz.sh run "${FUZZ_SECONDS:-8}" headers translate message control || status=1
    # What this one comes by is chance: it explores when asked to (make fuzz), and does here what it did before.
    scripts/fuzz.sh run "${FUZZ_SECONDS:-0}" engines || status=1
fi
exit "$status"
