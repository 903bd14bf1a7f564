#!/bin/bash
# Proves that the debug kernel bites: plants a fault in the module (src/sys/plant.rs), runs a test with it, and wants the run to fail by the very
# report. Prints KTAP.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$STTCP_TOP/tests/ktap.sh"

cd "$STTCP_TOP"
mkdir -p build/results

# caught PLANT REPORT WHERE: the run fails, and the kernel's log has REPORT, with WHERE in one of the next 20 lines.
caught() {
    local plant=$1 report=$2 where=$3 log=build/results/netns-debug-$1.dmesg output=build/results/plant-$1.log code=0 found='' missed=1
    local leaks=0
    [[ $plant != leak ]] || leaks=1
    rm -f "$log"
    LEAKS=$leaks PLANT=$plant scripts/run-debug.sh smoke >"$output" 2>&1 || code=$?
    [[ ! -e $log ]] || found=$(grep -A 20 "$report" "$log" | grep -m 1 "$where") || true
    # 99: the guest came to its end, and the kernel had complained.
    if [[ $code -eq 99 && -n $found ]]; then
        missed=0
        grep -m 1 "$report" "$log" | sed 's/^/# /'
        echo "# $found"
    else
        tail -5 "$output" | sed 's/^/# /'
    fi
    result $missed "$plant: $report"
}

echo "# begin plants"
ktap_begin
caught uaf 'BUG: KASAN: slab-use-after-free' 'use_after_free.*\[sttcp\]'
caught inversion 'WARNING: possible circular locking dependency' 'sttcp_plant_left'
caught leak 'unreferenced object' 'plant4leak.*\[sttcp\]'
scripts/module.sh >&2
status=0
# By its symbols: the engine's plants, faults for the simulation, have a type in the debug information.
! grep -qa 'sys5plant\|sttcp_plant' build/module/sttcp.ko || status=1
result $status "the module as it is shipped has none of them"
code=0
ktap_end || code=$?
echo "# end plants $code"
exit "$code"
