#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# How long a client pauses when the primary is cut off the network, by traffic and heartbeat interval, with 3 misses. Every
# byte is checked. Prints a table in Markdown.
#
#     client 10.0.0.10 ──┐
#     primary 10.0.0.1 ──┼── a bridge that floods        service 10.0.0.100 on both servers
#     backup 10.0.0.2 ───┘
#
# Three guests, see scripts/segment.sh and lib.sh. INTERVALS (in ms) and RUNS (per interval and traffic) say how much;
# FULL=1 takes all intervals; STTCP_RECORD=1 writes the table to docs/results/failover.md.

set -euo pipefail
# A measurement, which wants a quiet machine: only when asked for.
if [[ -z ${FULL-}${INTERVALS-} ]]; then
    echo "1..0 # SKIP a measurement; run it with FULL=1 RUNS=3 STTCP_RECORD=1 TESTS=failover make test-vm"
    exit 4
fi
. "$(dirname "$0")/../../scripts/segment.sh"
. "$STTCP_TOP/tests/vm/lib.sh"

if [[ ${FULL-} == 1 ]]; then
    INTERVALS=${INTERVALS:-10 50 200 500 1000 5000}
else
    INTERVALS=${INTERVALS:-50 500}
fi
RUNS=${RUNS:-1}

# on_both COMMAND: on both servers at a time.
on_both() {
    on primary "$1" &
    on backup "$1" && wait $!
}

# timing INTERVAL: heartbeats of both; nobody is lost while they differ.
timing() {
    on_both 'echo 100 >/proc/sys/net/sttcp/heartbeat_misses'
    on_both "echo $1 >/proc/sys/net/sttcp/heartbeat_interval_ms"
    on_both 'echo 3 >/proc/sys/net/sttcp/heartbeat_misses'
}

# roles: finds out who speaks, after a takeover that nobody asked for.
roles() {
    local end=$((SECONDS + 30))
    until has_state "$speaker" protected && has_state "$silent" shadowing; do
        [[ $SECONDS -lt $end ]] || return 1
        swap
    done
}

epoch() { on "$1" 'cat /proc/sys/net/sttcp/epoch'; }

# take_over INTERVAL TRAFFIC ARGUMENT...: cuts the speaker off while the client talks, and puts it back. 1: something was
# wrong; 2: there was a takeover before the cut, because heartbeats came too late.
take_over() {
    local interval=$1 before status=0
    shift
    roles || bail "the pair is not in step"
    before=$(epoch "$speaker")
    timing "$interval"
    talk traffic client "$@" --to "$VIP:7000"
    talking traffic || status=1
    # Any phase of the heartbeat.
    sleep "0.$((5000 + RANDOM % 5000))"
    if [[ $(epoch "$silent") -ne $before ]]; then
        hush traffic
        heard traffic || true
        timing "$INTERVAL"
        return 2
    fi
    unplug "$speaker"
    wait_until $((interval * 3 / 1000 + 20)) has_state "$silent" solo || status=1
    sleep 0.3
    hush traffic
    heard traffic || status=1
    timing "$INTERVAL"
    plug "$speaker"
    swap
    return "$status"
}

# measure INTERVAL TRAFFIC ARGUMENT...: a row of the table.
measure() {
    local interval=$1 name=$2 status row='' number=0 early=0
    shift 2
    say "$name, heartbeat every $interval ms ..."
    while [[ $number -lt $RUNS && $early -lt 3 ]]; do
        status=0
        take_over "$interval" "$@" || status=$?
        if [[ $status -eq 2 ]]; then
            early=$((early + 1))
            echo "# $name at $interval ms: a takeover before the cut: a heartbeat came too late"
            continue
        fi
        number=$((number + 1))
        if [[ $status -ne 0 ]]; then
            sed 's/^/# /' "$WORK/traffic.json"
            break
        fi
        row+="$(logged "$speaker" 'taking over' | sed -nE 's/.*silent for ([0-9]+) ms.*/\1/p') $(pause traffic)"$'\n'
    done
    if [[ $early -eq 3 ]]; then
        echo "ok $((++ktap_count)) $name at $interval ms # SKIP three takeovers before the cut: these hosts are too slow for this interval"
        printf '| %s | %s | – | – | – |\n' "$interval" "$name" >>"$WORK/table"
        return
    fi
    result "$status" "$name at $interval ms survives"
    [[ $status -ne 0 ]] || printf '| %s | %s | %s | %s | %s |\n' "$interval" "$name" \
        "$(median 1 <<<"$row")" "$(median 2 <<<"$row")" "$(median 3 <<<"$row")" >>"$WORK/table"
}

# median COLUMN: of lines "DETECTION PAUSE"; column 3 is what the pause exceeds the detection by.
median() {
    awk -v column="$1" 'NF { print column == 3 ? $2 - $1 : $column }' | sort -n |
        awk '{ value[NR] = $1 } END { printf "%.0f", value[int((NR + 1) / 2)] }'
}

ktap_begin
pair_up || bail "the pair does not come up"
for interval in $INTERVALS; do
    measure "$interval" echo echo --think 5
    measure "$interval" interactive ask --think 5
    measure "$interval" bulk get --size 1M
done
result "$(scan client primary backup && echo 0 || echo 1)" "no kernel complained"

{
    echo "# Client pause at a takeover"
    echo
    echo "Made by \`FULL=1 RUNS=$RUNS STTCP_RECORD=1 make test-vm TESTS=failover\`: three guests under $STTCP_ACCEL on" \
        "$(nproc) CPUs, the primary's link cut while the client talks, 3 misses. Median of $RUNS, in ms. Detection is" \
        "the silence after which the backup took over; it begins at the last heartbeat, the pause at the last bytes, so a" \
        "pause may be shorter."
    echo
    echo "| heartbeat interval | traffic | detection | client pause | pause beyond detection |"
    echo "| ---: | --- | ---: | ---: | ---: |"
    cat "$WORK/table"
} >"$WORK/failover.md"
sed 's/^/# /' "$WORK/failover.md"
if [[ ${STTCP_RECORD-} == 1 ]]; then
    mkdir -p "$STTCP_TOP/docs/results"
    cp "$WORK/failover.md" "$STTCP_TOP/docs/results/failover.md"
fi
ktap_end
