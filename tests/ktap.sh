# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# What a test says about itself, in KTAP, and how it waits. Source it.

ktap_count=0 ktap_failed=0
# How many times slower than usual things may go here.
SLOW=${SLOW:-1}

ktap_begin() { echo "KTAP version 1"; }

# result STATUS TEXT
result() {
    ktap_count=$((ktap_count + 1))
    if [[ $1 -eq 0 ]]; then
        echo "ok $ktap_count $2"
    else
        echo "not ok $ktap_count $2"
        ktap_failed=$((ktap_failed + 1))
        # What the summary of all tests shows behind the failure.
        if declare -F explain >/dev/null; then explain | sed 's/^/#! /' || true; fi
    fi
}

# skip TEXT REASON
skip() {
    ktap_count=$((ktap_count + 1))
    echo "ok $ktap_count $1 # SKIP $2"
}

# ktap_end: the plan; fails if a test did.
ktap_end() {
    echo "1..$ktap_count"
    [[ $ktap_failed -eq 0 ]]
}

bail() {
    echo "Bail out! $*"
    exit 1
}

# wait_until SECONDS COMMAND...: polls until the command succeeds, for SLOW times as long at least.
wait_until() {
    # SECONDS counts whole seconds, so the first one may be nearly over.
    local end=$((SECONDS + $1 * SLOW + 1))
    shift
    until "$@" >/dev/null 2>&1; do
        [[ $SECONDS -lt $end ]] || return 1
        sleep 0.05
    done
}
