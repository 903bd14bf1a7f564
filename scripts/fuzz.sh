#!/bin/bash
# Fuzzes the engine.   fuzz.sh run SECONDS [TARGET...] | again TARGET FILE... | merge [TARGET...]
#   run     Each target of tests/fuzz, or those named, begins with its corpus there and goes on for that long; 0: the corpus and no more. What it finds new stays in
#           build/fuzz/TARGET, an input that fails in build/fuzz/TARGET-crash-*. The results look like Cargo's. SEED=N begins another row.
#   again   These inputs once more; STTCP_TRACE=1 has `engines` tell what happens.
#   merge   Makes the corpus anew, from what is in it and what runs have found: the fewest inputs that cover as many edges.
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

# run SECONDS NAME
run() {
    local limit=-max_total_time=$1 name=$2 found=build/fuzz/$2 log=build/fuzz/$2.log status=0
    [[ $1 -gt 0 ]] || limit=-runs=0
    mkdir -p "$found"
    target "$name" "$limit" -max_len=4096 -timeout=25 -seed="${SEED:-1}" -artifact_prefix="$found-" \
        -print_final_stats=1 "$found" "tests/fuzz/corpus/$name" >"$log" 2>&1 || status=$?
    # A program that tried nothing has shown nothing.
    awk -v name="$name" '
        / cov: / { for (i = 1; i < NF; i++) if ($i == "cov:") edges = $(i + 1) }
        $1 == "stat::number_of_executed_units:" { runs = $2 }
        END { printf "fuzz %s: %d executions, %d edges ... ", name, runs, edges; exit !(runs && edges) }' "$log" || status=1
    if [[ $status -eq 0 ]]; then
        printf 'ok\ntest result: ok. 1 passed; 0 failed; 0 ignored\n'
    else
        printf 'FAILED\n'
        grep -a -A 8 -e 'panicked at' -e '^==.*ERROR' "$log" | head -20 || tail -5 "$log"
        printf 'test result: FAILED. 0 passed; 1 failed; 0 ignored\n'
    fi
    return "$status"
}

# merge NAME
merge() {
    local corpus=tests/fuzz/corpus/$1 found=build/fuzz/$1 new
    mkdir -p "$corpus" "$found"
    new=$(mktemp -d build/fuzz/merge.XXXXXX)
    target "$1" -set_cover_merge=1 -use_counters=0 -max_len=4096 "$new" "$corpus" "$found" >"$found.merge.log" 2>&1 ||
        die "$(tail -3 "$found.merge.log")"
    rm -r "$corpus"
    mv "$new" "$corpus"
    chmod 755 "$corpus"
    say "$1: $(find "$corpus" -type f | wc -l) inputs, $(du -sb "$corpus" | cut -f1) bytes"
}

# names [TARGET...]: those named, or all.
names() {
    local all
    all=$(sed -n '/^\[\[bin\]\]/,/^name/s/^name = "\(.*\)"/\1/p' tests/fuzz/Cargo.toml)
    if [[ $# -gt 0 ]]; then
        printf '%s\n' "$@"
    else
        printf '%s\n' "$all"
    fi
}

[[ $# -gt 0 ]] || die "usage: fuzz.sh run SECONDS [TARGET...] | again TARGET FILE... | merge [TARGET...]"
cd "$STTCP_TOP"
command=$1
shift
say "building the fuzz targets ..."
build
status=0
case $command in
run)
    seconds=$1
    shift
    for name in $(names "$@"); do
        run "$seconds" "$name" || status=1
    done
    ;;
again)
    target "$@" || status=$?
    ;;
merge)
    for name in $(names "$@"); do
        merge "$name"
    done
    ;;
*)
    die "no command $command"
    ;;
esac
exit "$status"
