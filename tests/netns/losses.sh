#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The tap loses, repeats and reorders frames, and the peer channel datagrams; the backup fetches from the primary what it missed. Topology: see lib.sh.

. "$(dirname "$0")/lib.sh"
# No takeover is meant to happen but by a cut, however much is lost.
INTERVAL=400
begin

# impair DEVICE FLOWER_MATCH NETEM...: what the switch does to these frames on the way out of a port.
impair() {
    local device=$1 match=$2
    shift 2
    ip netns exec switch tc qdisc del dev "$device" root 2>/dev/null
    ip netns exec switch tc qdisc add dev "$device" root handle 1: htb default 1
    ip netns exec switch tc class replace dev "$device" parent 1: classid 1:1 htb rate 40gbit quantum 60000
    ip netns exec switch tc class replace dev "$device" parent 1: classid 1:4 htb rate 40gbit quantum 60000
    # shellcheck disable=SC2086 # several words
    ip netns exec switch tc filter replace dev "$device" parent 1: prio 1 protocol all flower $match classid 1:4
    ip netns exec switch tc qdisc replace dev "$device" parent 1:4 netem "$@" limit 10000
}
# tap NETEM...: on the way to the silent host.
tap() { impair "to-$silent" "dst_mac 03:00:00:00:00:64" "$@"; }
mend() {
    local host
    for host in primary backup; do ip netns exec switch tc qdisc del dev "to-$host" root 2>/dev/null; done
}

# moved COUNTER: it is more than when last asked.
declare -A before
moved() {
    local host=$1 now last
    now=$(counter "$host" "$2")
    last=${before[$host $2]:-0}
    before[$host $2]=$now
    [[ $now -gt $last ]]
}

for netem in "loss 0.1%" "loss 1%" "loss 5%" "loss 20%" "delay 5ms 4ms reorder 30%" "duplicate 20%"; do
    # shellcheck disable=SC2086 # several words
    tap $netem
    goes "tap: $netem: echo" client echo --to "$(target 4)" --count 100
    goes "tap: $netem: interactive" client ask --to "$(target 6)" --count 50
    goes "tap: $netem: download" client get --to "$(target 4)" --bytes 4M
    goes "tap: $netem: upload" client put --to "$(target 6)" --bytes 4M
done
moved $speaker gaps_repaired
result $? "gaps were asked for and filled"
moved $speaker tails_repaired
result $? "lost tails were sent"
moved $silent bytes_injected
result $? "the shadows took the bytes"
for name in unprotected_stalled unprotected_open_timeout unprotected_shadow_gone; do
    [[ $(counter $speaker $name) -eq 0 ]]
    result $? "no connection lost its protection ($name)"
done
has_state $speaker protected
result $? "nobody took over"
mend
for kind in echo "ask" "get --size 1M" "put --size 256K"; do
    tap loss 5%
    # shellcheck disable=SC2086 # several words
    survives "tap: loss 5%: ${kind%% *} over a takeover" client $kind --to "$(target 4)" --connections 2
    mend
done
for host in primary backup; do
    echo "# $host: $(ip netns exec $host grep -v ' 0$' /proc/net/sttcp_stat | tr '\n' ' ')"
done
ktap_end
