#!/bin/bash
# Proves that the debug kernel bites: plants a fault in the module, runs a test on it, and wants the very report. Prints KTAP.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

cd "$STTCP_TOP"
mkdir -p build/results
count=0 failed=0

# result STATUS TEXT
result() {
    count=$((count + 1))
    if [[ $1 -eq 0 ]]; then
        echo "ok $count $2"
    else
        echo "not ok $count $2"
        failed=1
    fi
}

# caught PLANT REPORT WHERE: the run fails, and the kernel's log has REPORT, with WHERE in one of the next 20 lines.
caught() {
    local plant=$1 report=$2 where=$3 log=build/results/netns-debug-$1.dmesg status=0 missed=1
    rm -f "$log"
    PLANT=$plant scripts/run-debug.sh smoke >"build/results/plant-$plant.log" 2>&1 || status=$?
    # 99: the guest came to its end, and the kernel complained.
    if [[ $status -eq 99 ]] && grep -A 20 "$report" "$log" | grep "$where" >/dev/null; then
        missed=0
        sed 's/^/# /' < <(grep -m 1 "$report" "$log")
    else
        sed 's/^/# /' < <(tail -5 "build/results/plant-$plant.log")
    fi
    result $missed "$plant: $report"
}

echo "# begin plants"
echo "KTAP version 1"
caught uaf 'BUG: KASAN: slab-use-after-free' 'use_after_free.*\[sttcp\]'
caught inversion 'WARNING: possible circular locking dependency' 'sttcp_plant_left'
caught leak 'unreferenced object' 'leak.*\[sttcp\]'
scripts/module.sh >&2
! grep -qa plant build/module/sttcp.ko
result $? "the module as it is shipped has no trace of them"
echo "1..$count"
echo "# end plants $failed"
exit "$failed"
