#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Clients and links of many kinds, each over a takeover. Topology: see lib.sh.

. "$(dirname "$0")/lib.sh"
begin

# over TEXT [ARGUMENTS...]: three patterns over a takeover each.
over() {
    local text=$1
    shift
    survives "$text: echo over IPv4" client echo --to "$(target 4)" "$@"
    survives "$text: interactive over IPv6" client ask --to "$(target 6)" "$@"
    survives "$text: download over IPv4" client get --to "$(target 4)" --size 2M "$@"
}

# with_sysctl NAME VALUE TEXT: the client's TCP is set so for a while.
with_sysctl() {
    local path=/proc/sys/net/ipv4/$1 before
    before=$(client cat "$path")
    client sh -c "echo $2 >$path"
    over "$3"
    client sh -c "echo $before >$path"
}

# with_delay MS TEXT: a round trip takes that much longer.
with_delay() {
    ip netns exec client tc qdisc add dev eth0 root netem delay "$1ms"
    over "$2"
    ip netns exec client tc qdisc del dev eth0 root
}

with_sysctl tcp_timestamps 0 "timestamps off"
with_sysctl tcp_sack 0 "SACK off"
with_sysctl tcp_window_scaling 0 "window scaling off"
with_sysctl tcp_ecn 1 "ECN on"
over "MSS 536" --mss 536
with_delay 20 "round trip of 20 ms"
with_delay 100 "round trip of 100 ms"
primary sh -c 'echo "4096 131072 33554432" >/proc/sys/net/ipv4/tcp_rmem'
backup sh -c 'echo "4096 65536 262144" >/proc/sys/net/ipv4/tcp_rmem'
over "window scales that differ"
ktap_end
