#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Two paths between the hosts: the service's link, and a cable of their own. Either of the two is lost, the service's link on either host, both. At last without a client that speaks.
#
#     primary eth0 ── switch (see lib.sh) ── eth0 backup      10.0.0.1, 10.0.0.2
#     primary peer0 ──────────────────────── peer0 backup     10.1.0.1, 10.1.0.2

. "$(dirname "$0")/lib.sh"
# A host that is taken for dead by mistake is not what is looked at.
INTERVAL=500
begin

set_control primary role off
set_control backup role off
ip link add peer0 netns primary type veth peer name peer0 netns backup
for host in primary backup; do
    ip -n $host addr add "10.1.0.$([ $host = primary ] && echo 1 || echo 2)/24" dev peer0
    ip -n $host link set peer0 up
done
set_control primary local "10.0.0.1:7077,10.1.0.1:7077"
! set_control primary role primary && dmesg | grep 'sttcp: role refused' | tail -1 | grep -q 'different numbers of addresses'
result $? "two ends here and one there are refused"
set_control primary peer "10.0.0.2:7077,10.1.0.2:7077"
[ "$(primary cat /proc/sys/net/sttcp/peer)" = "10.0.0.2:7077,10.1.0.2:7077" ]
result $? "two ends are read as they were written"
set_control backup local "10.0.0.2:7077,10.1.0.2:7077"
set_control backup peer "10.0.0.1:7077,10.1.0.1:7077"
set_control primary role primary && set_control backup role backup && settle
result $? "the pair is in step by two paths"

# That a path is lost shows after up to two seconds, in which what goes that way is lost: no reason to give up a connection.
for host in primary backup; do set_control $host backup_stall_ms $((4000 * SLOW)); done

rises() { [ "$(counter "$1" "$2")" -gt "$3" ]; }
takeovers() {
    local host sum=0
    for host in primary backup; do
        sum=$((sum + $(ip netns exec $host awk '/^(takeovers_|switchovers|peer_lost)/ { sum += $2 } END { print sum }' /proc/net/sttcp_stat)))
    done
    echo $sum
}

protected_streams() { settle && streams "$1" --think 5 && wait_until 10 all_protected; }

# loses_a_path TEXT ADDRESS LOSE MEND: both hosts notice, and nothing else happens.
loses_a_path() {
    local text=$1 address=$2 before lost_here lost_there status=0
    protected_streams 4 || status=1
    before=$(takeovers) lost_here=$(counter primary paths_lost) lost_there=$(counter backup paths_lost)
    $3
    wait_until 10 rises primary paths_lost "$lost_here" && wait_until 10 rises backup paths_lost "$lost_there" &&
        dmesg | grep -q "sttcp: nothing comes from $address.* any more"
    result $? "$text: both hosts notice, and say so"
    move_on && all_protected && [ "$(takeovers)" -eq "$before" ] && has_state "$speaker" protected || status=1
    $4
    wait_until 10 eval "dmesg | grep -q 'sttcp: $address.* is heard again'" || status=1
    move_on && all_protected && end_well || status=1
    [ $status -eq 0 ] || describe
    result $status "$text: streams go on, protected, nobody takes over; it is heard again"
}
cable_out() { ip -n primary link set peer0 down; }
cable_in() { ip -n primary link set peer0 up; }
loses_a_path "the cable is out" 10.1.0 cable_out cable_in
loses_a_path "the channel on the service's link is out" 10.0.0 part mend

# loses_clients TEXT CUT REASON MEND: the speaker does not hear clients any more, the other host does.
loses_clients() {
    local text=$1 cut
    protected_streams 6
    result $? "$text: streams are protected"
    cut=$(counter "$speaker" cut_off)
    $2
    wait_until 15 has_state "$silent" protected && rises "$speaker" cut_off "$cut" && dmesg | grep -q "sttcp: $3"
    result $? "$text: it hands over, and says why"
    move_on
    result $? "$text: the streams go on at the other"
    $4
    settle && move_on && end_well
    result $? "$text: the pair is in step, no stream broke"
    echo "# longest pauses: echo $(gap echo) ms, download $(gap get) ms, upload $(gap put) ms"
}
# What the switch sends to the host is lost, or its cable is out.
deafen() { impair "to-$speaker" "all matchall" loss 100%; }
unplug() {
    pulled=$speaker
    ip -n switch link set "to-$pulled" down
}
plug() { ip -n switch link set "to-$pulled" up; }
loses_clients "the primary does not hear clients" deafen 'the backup has heard clients for .* that are not heard here' mend
loses_clients "the primary's link is down" unplug "the link to the clients is down, and the backup's is not" plug

before=$(takeovers)
protected_streams 4
result $? "streams are protected"
ip -n switch link set "to-$silent" down
move_on && sleep 2 && move_on && [ "$(takeovers)" -eq "$before" ] && has_state "$speaker" protected
result $? "the service's link of the backup is cut: the streams go on, nobody takes over"
ip -n switch link set "to-$silent" up
move_on && end_well && [ "$(takeovers)" -eq "$before" ] && settle
result $? "the link is back, no stream broke"

protected_streams 6
result $? "streams are protected"
ip -n switch link set "to-$speaker" down
ip -n "$speaker" link set peer0 down
wait_until 10 has_state "$silent" solo && move_on
result $? "a host is gone from both: the other takes over, streams go on"
ip -n "$speaker" link set peer0 up
rejoin && move_on && end_well
result $? "it is back, no stream broke"

# idle VERSION: no client says a word; what answers at an address beyond the link is missed instead.
idle() {
    local address host before cut told here there
    address=$([ "$1" = 4 ] && echo 10.0.0.10 || echo fd00::10)
    for host in primary backup; do set_control $host role off; done
    for host in primary backup; do set_control $host probe "$address"; done
    set_control "$speaker" role primary && set_control "$silent" role backup && settle
    result $? "IPv$1, idle clients: the pair is in step, $address is asked"
    before=$(takeovers) cut=$(counter "$speaker" cut_off) told=$(dmesg | grep -c "$MISSED")
    here=$(counter primary probes_heard) there=$(counter backup probes_heard)
    wait_until 10 rises primary probes_heard $((here + 5)) && wait_until 10 rises backup probes_heard $((there + 5)) &&
        [ "$(takeovers)" -eq "$before" ] && [ "$(counter primary probes_failed)" -eq 0 ] && [ "$(counter backup probes_failed)" -eq 0 ]
    result $? "IPv$1, idle clients: both hosts go on hearing it, and nothing else happens"
    host=$speaker
    deafen
    wait_until 15 has_state "$silent" protected && rises "$host" cut_off "$cut" && [ "$(dmesg | grep -c "$MISSED")" -gt "$told" ]
    result $? "IPv$1, idle clients: a primary that does not hear it hands over, and says why"
    mend
    settle && streams "$1" && end_well
    result $? "IPv$1, idle clients: the pair is in step, and serves"
}
MISSED='sttcp: the backup has heard clients or the probed address for .* that are not heard here'
idle 4
idle 6
! set_control "$speaker" probe 10.0.0.11 && dmesg | grep 'sttcp: probe refused' | tail -1 | grep -q 'role is off'
result $? "another probe is refused while the role is on"
ktap_end
