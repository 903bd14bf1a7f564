#!/bin/bash
# Runs groups of tests and adds up their results:   test.sh LANE[+LANE]...
# A lane is a group, or several one after the other: GROUP[,GROUP]... Lanes that + joins run at the same time.
# The last line is "N passed, N failed, N skipped", after a line for each failure; fails if any failed or a group could not run.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$STTCP_TOP/scripts/tally.sh"

cd "$STTCP_TOP"
mkdir -p build/results
passed=0 failed=0 skipped=0 failures=()

# run_lane LANE: its groups' output is in build/results/GROUP.log, their exit status in GROUP.status.
run_lane() {
    local groups group status
    IFS=, read -ra groups <<<"$1"
    # Should this come to no end, nobody takes an earlier result for its own.
    for group in "${groups[@]}"; do rm -f "build/results/$group".{log,status}; done
    for group in "${groups[@]}"; do
        status=0
        "scripts/run-$group.sh" 2>&1 | tee "build/results/$group.log" || status=$?
        echo "$status" >"build/results/$group.status"
    done
}

# judge GROUP
judge() {
    local group=$1 log=build/results/$1.log status counts good bad skip
    status=$(<"build/results/$group.status")
    if [[ $group == host ]]; then counts=$(tally_cargo "$log"); else counts=$(tally_ktap "$log"); fi
    mapfile -t counts <<<"$counts"
    read -r good bad skip <<<"${counts[0]}"
    if [[ $status -ne 0 ]]; then
        failures+=("${counts[@]:1}")
        # A group that fails as a whole is at least one failure; what it said last tells why. A guest that died says so.
        if [[ $bad -eq 0 ]]; then
            bad=1
            failures+=("$group: $(tail -1 "$log")")
        fi
        mapfile -t -O "${#failures[@]}" failures < <(grep '^\[ *[0-9]* s\] the guest' "$log")
    fi
    say "$group: $good passed, $bad failed, $skip skipped"
    passed=$((passed + good)) failed=$((failed + bad)) skipped=$((skipped + skip))
}

for word; do
    IFS=+ read -ra lanes <<<"$word"
    others=()
    for lane in "${lanes[@]:1}"; do
        say "beside ${lanes[0]}: ${lane//,/, }"
        # Said when it is over, so that the two do not speak at once.
        run_lane "$lane" >"build/results/${lane%%,*}.lane" &
        others+=("$!:${lane%%,*}")
    done
    run_lane "${lanes[0]}"
    for other in "${others[@]}"; do
        wait "${other%%:*}"
        cat "build/results/${other#*:}.lane"
    done
    for group in ${word//[+,]/ }; do
        judge "$group"
    done
done
[[ ${#failures[@]} -eq 0 ]] || printf '# failed: %s\n' "${failures[@]}"
echo "$passed passed, $failed failed, $skipped skipped"
[[ $failed -eq 0 ]]
