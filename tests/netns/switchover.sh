#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A planned switchover: the primary hands over to its backup and becomes the backup itself, SWITCHOVERS times there and back (10 unless told)
# while echo, a download and an upload go on, under both policies and with losses of the tap; ten times over a peer channel that loses. What cannot move is refused first. Topology: see lib.sh.

. "$(dirname "$0")/lib.sh"
SWITCHOVERS=${SWITCHOVERS:-10}
begin

switch_over() { ip netns exec "$speaker" sh -c "echo ${1:-1} >/proc/sys/net/sttcp/switchover" 2>/dev/null; }
said() { dmesg | grep 'sttcp: switchover refused' | tail -1 | grep -q "$1"; }

# Refusals.
! ip netns exec "$silent" sh -c 'echo 1 >/proc/sys/net/sttcp/switchover' 2>/dev/null && said "not a primary with a backup"
result $? "a backup cannot switch over"
! switch_over 3 && said "outside the control's range"
result $? "nor is 3 a way of doing it"

# A connection that is older than the backup's role has no shadow.
set_control "$silent" role off
wait_until 5 has_state "$speaker" solo
! switch_over && said "not a primary with a backup"
result $? "nor can a primary without a backup"
rm -f "$WORK"/{up,end}
client "$TRAFFIC" client echo --to "$(target 4)" --timeout $PATIENCE --mark-file "$WORK/up" --until-file "$WORK/end" >"$WORK/result" 2>&1 &
pid=$!
wait_until 10 test -e "$WORK/up"
set_control "$silent" role backup
settle
! switch_over && said "1 connections are not protected"
result $? "an unprotected connection is not given up"
rm "$WORK/up" && wait_until 10 test -e "$WORK/up"
result $? "it goes on"
switch_over 2 && wait_until 5 has_state "$silent" protected && settle
result $? "unless that is asked for"
! wait $pid && grep -qi 'reset' "$WORK/result"
result $? "its client is reset at once"

for policy in gated eager; do
    set_policy $policy
    gaps=() broken=0 refused=0
    for number in $(seq $((SWITCHOVERS / 2))); do
        [ $policy = gated ] || tap loss 1%
        streams $((number % 2 ? 4 : 6)) && wait_until 5 all_protected || broken=$((broken + 1))
        # From the switchover on the tap is the client's way to who speaks, and to take the loss away altogether would lose more.
        [ $policy = gated ] || tap loss 0%
        # A slow kernel may not have the backup in step within a second, and says so: the operator asks again.
        switch_over || { [ "$SLOW" -gt 1 ] && said "lacks" && switch_over; } || refused=$((refused + 1))
        wait_until 5 has_state "$silent" protected
        settle || broken=$((broken + 1))
        move_on && end_well || broken=$((broken + 1))
        mend
        gaps+=("$(gap echo)")
    done
    result $refused "$policy: none of $((SWITCHOVERS / 2)) switchovers is refused ($refused)"
    result $broken "$policy: no stream breaks ($broken)"
    echo "# $policy: longest pauses of echo in ms: $(printf '%s\n' "${gaps[@]}" | sort -n | tr '\n' ' ')"
done

# A goodbye may be lost: it is said until it is answered.
leads() { has_state "$1" solo || has_state "$1" protected; }
goodbyes() { echo $(($(counter primary takeovers_goodbye) + $(counter backup takeovers_goodbye))); }
before=$(goodbyes) broken=0
# That heartbeats are lost in a row is not what is looked at.
for host in primary backup; do set_control $host heartbeat_misses 20; done
for _ in $(seq 10); do
    # What has ended may be held up for a moment by what the tap lost.
    wait_until 10 all_protected || broken=$((broken + 1))
    channel loss 30%
    switch_over || broken=$((broken + 1))
    wait_until 5 leads "$silent" || broken=$((broken + 1))
    mend
    settle || broken=$((broken + 1))
done
heard=$(($(goodbyes) - before))
[ $broken -eq 0 ] && [ $heard -ge 9 ]
result $? "of ten switchovers over a peer channel that loses 30 % the backup hears of nine at once and more ($heard; $broken failed)"
ktap_end
