#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# How long a client waits when its primary is cut off, by heartbeat interval (three misses), and when the service is handed over: RUNS times each, in a
# guest whose clock counts instructions, so that what else the machine does is of no matter. Prints a line of JSON for each. Each kind of traffic has the
# pair to itself. A pause that exceeds the detection by more than EXCESS ms is a failure. `nothing` is what it waits for in the same set-up when nothing happens.

. "$(dirname "$0")/lib.sh"
RUNS=${RUNS:-3}
EXCESS=20

# timing MILLISECONDS: of the heartbeats. Nobody is lost while two hosts differ; a shorter time counts once the other host has heard of it.
timing() {
    local host
    for host in primary backup; do set_control $host heartbeat_misses 100; done
    for host in primary backup; do set_control $host heartbeat_interval_ms "$1"; done
    for host in primary backup; do set_control $host heartbeat_misses 3; done
    pass $((3 * $1 + 100))
}
# pass MILLISECONDS: they go by. While nothing talks that costs nothing.
pass() { sleep "$(awk -v ms="$1" 'BEGIN { print ms / 1000 }')"; }

# stamp PATTERN: when the kernel last said so, in microseconds.
stamp() { dmesg | sed -nE "s/^\[ *([0-9]+)\.([0-9]{6})\] .*$1.*/\1\2/p" | tail -1; }

# strike HOW: what happens to the speaker.
strike() {
    case $1 in
    silence) ip -n switch link set "to-$speaker" down ;;
    switchover) set_control "$speaker" switchover 1 ;;
    esac
}
# attempt HOW INTERVAL KIND
attempt() {
    local how=$1 interval=$2 kind=$3 options pid status=0 detection=0
    case $kind in
    echo) options=(echo --size 1K) ;;
    interactive) options=(ask) ;;
    bulk) options=(get --size 1M) ;;
    upload) options=(put --size 1M) ;;
    esac
    rm -f "$WORK/up" "$WORK/end"
    client "$TRAFFIC" client "${options[@]}" --to "$(target 4)" --timeout 60 --mark-file "$WORK/up" --until-file "$WORK/end" >"$WORK/$kind.json" 2>&1 &
    pid=$!
    wait_until 20 test -e "$WORK/up" && wait_until 20 all_protected || status=1
    # Any phase of the heartbeat, which begins anew with a connection; of a long one no more than its beginning, as time costs instructions while the client talks.
    pass $((RANDOM % (interval < 200 ? interval : 200)))
    strike "$how"
    if [ "$how" != nothing ]; then
        pass $((interval * 3))
        wait_until 20 takes_over || status=1
    fi
    rm -f "$WORK/up"
    wait_until 20 test -e "$WORK/up" || status=1
    touch "$WORK/end"
    wait $pid || status=1
    if [ "$how" = silence ]; then
        detection=$(($(stamp 'sttcp: took over in') - $(stamp "\(to-$speaker\) entered disabled state")))
        ip -n switch link set "to-$speaker" up
    fi
    wait_until 60 in_step || status=1
    awk -v pause="$(gap "$kind")" -v detection=$detection -v most=$EXCESS 'BEGIN { exit !(pause != "" && pause - detection / 1000 <= most) }' || status=1
    if [ $status -eq 0 ]; then
        echo "# {\"bench\":\"pauses\",\"how\":\"$how\",\"interval\":$interval,\"traffic\":\"$kind\",\"detection_us\":$detection,\"pause_ms\":$(gap "$kind")}"
    else
        sed 's/^/# /' "$WORK/$kind.json"
        dmesg | grep sttcp: | tail -4 | sed 's/^/# /'
    fi
    return $status
}
takes_over() { has_state "$silent" solo || has_state "$silent" protected; }

ktap_begin
up gated
settle || bail "the pair is not in step"
for case in nothing:200 switchover:200 $(for interval in ${INTERVALS:-2 5 10 50 200 500 1000 5000}; do echo "silence:$interval"; done); do
    timing "${case#*:}"
    for kind in ${KINDS:-echo interactive bulk upload}; do
        good=0
        for _ in $(seq "$RUNS"); do
            ! attempt "${case%:*}" "${case#*:}" "$kind" || good=$((good + 1))
        done
        [ $good -eq "$RUNS" ]
        result $? "${case%:*}, heartbeats every ${case#*:} ms, $kind: it goes on, $good of $RUNS"
    done
done
down
ktap_end
