#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# What grows with the number of connections: so many idle ones are held, and then an echo, a download and a new connection are measured beside them, the
# memory that each idle one takes of either host's module, and how long a takeover is for some that speak among them. Prints a line of JSON for each
# number. Modes: plain, without the module, and gated.

. "$(dirname "$0")/lib.sh"
IDLE=7100

# idle_up COUNT: both hosts' servers, and the client's connections.
idle_up() {
    local host addresses=()
    for number in 10 11 12 13; do
        [ "$number" = 10 ] || ip -n client addr add "10.0.0.$number/24" dev eth0
        addresses+=("10.0.0.$number")
    done
    client sysctl -qw net.ipv4.ip_local_port_range='1024 65000'
    for host in primary backup; do
        ip netns exec $host sysctl -qw net.core.somaxconn=4096 net.ipv4.tcp_max_syn_backlog=4096
        ip netns exec $host python3 "$(dirname "$0")/idle.py" serve "$VIP4" $IDLE &
    done
    wait_until 20 idle_listens
    rm -f "$WORK/held"
    client python3 "$(dirname "$0")/idle.py" hold "$VIP4" $IDLE "$1" "$WORK/held" "${addresses[@]}" &
    wait_until 3000 test -e "$WORK/held"
}
idle_listens() {
    local host
    for host in primary backup; do
        [ -n "$(ip netns exec $host ss -Hltn "sport = :$IDLE")" ] || return 1
    done
}
# slabs: bytes in all of the kernel's slabs.
slabs() { awk '/^Slab:/ { print $2 * 1024 }' /proc/meminfo; }
# own HOST: bytes that the module has asked for on the host, as far as connections go.
protected_ones() { ip netns exec "$1" awk '$3 == "protected" || $3 == "shadow"' /proc/net/sttcp | wc -l; }

ktap_begin
for mode in ${MODES:-plain gated}; do
    for count in ${COUNTS:-10 1000 10000}; do
        status=0
        up "$mode" || status=1
        before=$(slabs)
        idle_up "$count" || status=1
        sleep 3
        memory=$((($(slabs) - before) / count))
        line="\"bench\":\"scale\",\"mode\":\"$mode\",\"connections\":$count,\"slab_bytes_each\":$memory"
        for load in echo download connection; do
            if cost=$(measure $load "$(amount $load)"); then
                read -r total primary backup <<<"$cost"
                line+=",\"$load\":$total,\"${load}_primary\":$primary,\"${load}_backup\":$backup"
            else
                status=1
                echo "# $cost"
            fi
        done
        echo "# {$line}"
        down
        result $status "$mode, $count idle connections"
    done
done
ktap_end
