#!/bin/bash
# Fuzzes the engine:   fuzz.sh SECONDS [TARGET...]
# Each target of tests/fuzz begins with its corpus there, and runs for that long; TESTS="TARGET ..." picks some too. What
# it finds new stays in build/fuzz/TARGET, an input that fails in build/fuzz/TARGET-crash-*. The results look like Cargo's.
# SEED=N begins another row of random inputs. To see an input fail again:   fuzz.sh -1 TARGET FILE
set -euo pipefail
. "$(dirname "$0")/lib.sh"

# The last one that Debian's rustc compiles.
CARGO_FUZZ=0.13.1

# build: cargo-fuzz wants flags of a nightly compiler, which a stable one takes under RUSTC_BOOTSTRAP. Without a sanitizer:
# Debian's rustc has no runtime for one, and the engine no unsafe code. Overflow checks and debug assertions are on.
build() {
    scripts/chroot.sh cargo install -q --locked --version "$CARGO_FUZZ" cargo-fuzz
    scripts/chroot.sh env RUSTC_BOOTSTRAP=1 cargo fuzz build --fuzz-dir tests/fuzz --sanitizer none
}

# target NAME ARGUMENT...: runs a target's program.
target() {
    scripts/chroot.sh bash -c '"$CARGO_TARGET_DIR/x86_64-unknown-linux-gnu/release/$0" "$@"' "$@"
}

# fuzz NAME
fuzz() {
    local name=$1 dir=build/fuzz/$1 log=build/fuzz/$1.log status=0
    mkdir -p "$dir"
    target "$name" -max_total_time="$seconds" -max_len=4096 -seed="${SEED:-1}" -artifact_prefix="build/fuzz/$name-" \
        -print_final_stats=1 "$dir" "tests/fuzz/corpus/$name" >"$log" 2>&1 || status=$?
    awk -v name="$name" '
        / cov: / { for (i = 1; i < NF; i++) if ($i == "cov:") edges = $(i + 1) }
        $1 == "stat::number_of_executed_units:" { runs = $2 }
        END { printf "fuzz %s: %d executions, %d edges ... ", name, runs, edges }' "$log"
    if [[ $status -eq 0 ]]; then
        printf 'ok\ntest result: ok. 1 passed; 0 failed; 0 ignored\n'
    else
        printf 'FAILED\n'
        grep -a -A 8 -e 'panicked at' -e '^==.*ERROR' "$log" | head -20 || tail -5 "$log"
        printf 'test result: FAILED. 0 passed; 1 failed; 0 ignored\n'
    fi
    return "$status"
}

[[ $# -gt 0 ]] || die "usage: fuzz.sh SECONDS [TARGET...]"
cd "$STTCP_TOP"
seconds=$1
shift
build
if [[ $seconds -lt 0 ]]; then
    target "$@"
    exit
fi
read -ra names <<<"${*:-${TESTS-}}"
status=0
for dir in tests/fuzz/corpus/*; do
    name=${dir##*/}
    [[ ${#names[@]} -eq 0 || " ${names[*]} " == *" $name "* ]] || continue
    fuzz "$name" || status=1
done
exit "$status"
