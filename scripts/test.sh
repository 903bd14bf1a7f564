#!/bin/bash
# Runs groups of tests and adds up their results:   test.sh GROUP...
# The last line is "N passed, N failed, N skipped", after a line for each failure; fails if any failed or a group could not run.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$STTCP_TOP/scripts/tally.sh"

cd "$STTCP_TOP"
mkdir -p build/results
passed=0 failed=0 skipped=0 failures=()

for group; do
    log=build/results/$group.log
    status=0
    "scripts/run-$group.sh" 2>&1 | tee "$log" || status=$?
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
done
[[ ${#failures[@]} -eq 0 ]] || printf '# failed: %s\n' "${failures[@]}"
echo "$passed passed, $failed failed, $skipped skipped"
[[ $failed -eq 0 ]]
