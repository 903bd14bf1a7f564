#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# One speaker, by lease (isolation=yield): ROUNDS times (2 unless told) the two hosts lose each other while both reach the clients. The primary is silent before its
# backup speaks, sends no segment and claims no address from then on, and comes back as a backup when it hears the other. Then what an isolated
# primary waits for: its backup, or an operator's word. Topology: see lib.sh.

. "$(dirname "$0")/lib.sh"
ROUNDS=${ROUNDS:-2}
begin

cat >"$WORK/listen.py" <<'PYTHON'
# listen.py DEVICE FILE: writes down whenever the port's host sends from a service address, or claims one: a line with ms of Unix time and the frame.
import socket, sys, time
ear = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
ear.bind((sys.argv[1], 0))
four, six = socket.inet_aton("10.0.0.100"), socket.inet_pton(socket.AF_INET6, "fd00::100")
open(sys.argv[2], "w").write("0\n")
file = open(sys.argv[2], "a")
while True:
    frame, (_, _, direction, _, _) = ear.recvfrom(2000)
    if direction == socket.PACKET_OUTGOING:
        continue
    kind = frame[12:14]
    said = (kind == b"\x08\x00" and frame[26:30] == four or kind == b"\x86\xdd" and frame[22:38] == six
            or kind == b"\x08\x06" and frame[28:32] == four)
    if said:
        file.write("%d %s\n" % (time.time() * 1000, frame[:80].hex()))
        file.flush()
PYTHON
# listen HOST: to what it says for the service, from now on.
listen() {
    rm -f "$WORK/heard"
    ip netns exec switch python3 "$WORK/listen.py" "to-$1" "$WORK/heard" &
    ear=$!
    wait_until 10 test -s "$WORK/heard"
}
# silent_since MS: whether it said nothing after that.
silent_since() {
    awk -v since="$1" '$1 > since { print "# after " $1 - since " ms: " $2; said = 1 } END { exit said }' "$WORK/heard" >"$WORK/said" || {
        head -5 "$WORK/said"
        return 1
    }
}
deafen() { kill "$ear" && wait "$ear" 2>/dev/null; }

# stalled: nothing moves any more.
stalled() {
    rm -f "$WORK"/*.up
    sleep 1
    ! ls "$WORK"/*.up >/dev/null 2>&1
}

for host in primary backup; do set_control $host isolation yield; done

for round in $(seq "$ROUNDS"); do
    text="partition $round, $speaker leads"
    version=$((round % 2 ? 4 : 6))
    streams $version && wait_until 10 all_protected
    result $? "$text: streams are protected"
    isolated=$(counter "$speaker" isolated) muted=$(counter "$speaker" output_isolated)
    listen "$speaker"
    part
    wait_until 10 has_state "$silent" solo && wait_until 10 has_state "$speaker" isolated
    result $? "$text: the backup takes over, the primary is isolated"
    [ "$(counter "$speaker" isolated)" -gt "$isolated" ] && dmesg | grep 'sttcp: backup .* isolated, silent for the service' >/dev/null
    result $? "$text: the primary says so"
    at=$(took_over_at)
    move_on
    result $? "$text: the streams go on"
    # What clients repeat, and its own timers, tempt the old one to speak.
    client ping -c 3 -i 0.2 -W 1 "$VIP4" >/dev/null 2>&1
    sleep 2
    silent_since "$at"
    result $? "$text: the old primary is silent since the takeover"
    echo "# it muted $(($(counter "$speaker" output_isolated) - muted)) segments; last heard $(awk -v at="$at" 'END { print at - $1 }' "$WORK/heard") ms before the takeover"
    mend
    settle
    result $? "$text: the partition heals, the old primary is the backup"
    silent_since "$at"
    result $? "$text: it was silent all the time"
    deafen
    move_on && end_well
    result $? "$text: no stream broke"
done

# The backup's host dies: nobody knows that but the operator.
streams 4 && wait_until 10 all_protected
result $? "streams are protected"
ip -n switch link set "to-$silent" down
wait_until 10 has_state "$speaker" isolated && stalled
result $? "a primary whose backup has died is isolated, and silent"
ip netns exec "$speaker" sh -c 'echo 1 >/proc/sys/net/sttcp/takeover' && has_state "$speaker" solo && move_on
result $? "takeover=1: it goes on alone, the streams go on"
# Cut off from its primary, the backup has taken over too. What it leads is given up.
set_control "$silent" role off
ip -n switch link set "to-$silent" up
set_control "$silent" role backup && settle && move_on && end_well
result $? "a backup joins again, no stream broke"

# The backup's host comes back before the operator.
streams 6 && wait_until 10 all_protected
result $? "streams are protected"
set_control "$silent" heartbeat_misses 100
part
wait_until 10 has_state "$speaker" isolated && stalled
result $? "a patient backup is not heard: the primary is isolated, and silent"
mend
settle && move_on && end_well
result $? "it is heard again: the primary speaks, no stream broke"
set_control "$silent" heartbeat_misses 3

# An operator would rather have two speakers than none.
streams 4 && wait_until 10 all_protected
set_control "$silent" heartbeat_misses 100
part
wait_until 10 has_state "$speaker" isolated
set_control "$speaker" isolation serve && has_state "$speaker" solo && move_on
result $? "isolation=serve on an isolated primary: it speaks at once"
mend
set_control "$silent" heartbeat_misses 3
settle && move_on && end_well
result $? "no stream broke"
ktap_end
