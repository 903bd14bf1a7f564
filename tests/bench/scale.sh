#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# What grows with the number of connections: so many idle ones are held, and then an echo, a download and a new connection are measured beside them, and by
# how much the kernel's slabs have grown for each. At last the primary is cut off, while some more (ACTIVE) echo, each once a second, and so each asks while nobody
# speaks: how long the takeover takes, to the last announcement, and how long after its decision each of them has got its first byte. Prints a line of JSON for each number. Modes: plain, without the module, and gated.

. "$(dirname "$0")/lib.sh"
IDLE=7100
ulimit -n 200000

# idle_up COUNT: both hosts' servers, and the client's connections.
idle_up() {
    local host number addresses=()
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
# object: bytes of the module's slab for each connection of a host; 0 without the module.
object() { awk '$1 == "sttcp_connection" && $2 > 0 { each = $6 * 4096 * $15 / $2 } END { printf "%d", each }' /proc/slabinfo; }

ACTIVE=${ACTIVE:-1000}
# takeover IDLE: prints the fields of the line.
takeover() {
    local pid took decided waits host status=0
    # A network card has a queueing discipline before it. A veth pair drops what goes beyond its ring of 256 frames, or the thousand of the CPU's backlog,
    # and all clients speak at the same time.
    for host in client primary backup; do
        ip netns exec switch tc qdisc replace dev "to-$host" root fq_codel
        ip netns exec "$host" tc qdisc replace dev eth0 root fq_codel
    done
    sysctl -qw net.core.netdev_max_backlog=20000
    rm -f "$WORK/up" "$WORK/end"
    client "$TRAFFIC" client echo --to "$(target 4)" --size 64 --connections "$ACTIVE" --think 1000 --timeout 60 --each --mark-file "$WORK/up" --until-file "$WORK/end" >"$WORK/echo.json" 2>&1 &
    pid=$!
    wait_until 60 all_are protected primary $(($1 + ACTIVE)) && wait_until 60 test -e "$WORK/up" || status=1
    cut_off
    wait_until 60 has_state backup solo || status=1
    took=$(dmesg | sed -nE 's/.*sttcp: took over in ([0-9]+) us: ([0-9]+) connections.*/\1 \2/p' | tail -1)
    # The line is written when all is done.
    decided=$(($(took_over_at) - ${took% *} / 1000))
    # Each of them speaks once a second.
    sleep 3
    touch "$WORK/end"
    wait $pid || status=1
    [ "${took#* }" -ge $(($1 + ACTIVE)) ] || status=1
    [ $status -eq 0 ] || sed 's/^/# /' "$WORK/echo.json" | cut -c1-1000 >&2
    waits=$(first_bytes "$decided") || status=1
    echo "\"active\":$ACTIVE,\"takeover_us\":${took% *},\"continued\":${took#* },$waits"
    return $status
}
# first_bytes DECIDED: when the pauses ended in which the primary was cut off, in ms after the decision; fails if somebody did not wait.
first_bytes() {
    python3 -c '
import json, sys
run = json.load(open(sys.argv[1]))
decided = float(sys.argv[2]) - run["started_unix_ms"]
waits = [began + length - decided for each in run["each"] for began, length in each["gaps"] if began < decided < began + length]
waits.sort()
print("\"waiting\":%d,\"first_byte_ms\":%.1f,\"median_first_byte_ms\":%.1f,\"ninety_nine_first_byte_ms\":%.1f,\"last_first_byte_ms\":%.1f" % (len(waits), waits[0], waits[len(waits) // 2], waits[len(waits) * 99 // 100], waits[-1]))
sys.exit(len(waits) < int(sys.argv[3]))
' "$WORK/echo.json" "$1" "$ACTIVE"
}

# all_are STATE HOST COUNT
all_are() { [ "$(ip netns exec "$2" grep -c " $1 " /proc/net/sttcp)" -ge "$3" ]; }

ktap_begin
for mode in ${MODES:-plain gated}; do
    for count in ${COUNTS:-10 1000 10000}; do
        status=0
        up "$mode" || status=1
        before=$(slabs)
        idle_up "$count" || status=1
        [ "$mode" = plain ] || { wait_until 60 all_are protected primary "$count" && wait_until 60 all_are shadow backup "$count"; } || status=1
        memory=$((($(slabs) - before) / count))
        line="\"bench\":\"scale\",\"mode\":\"$mode\",\"connections\":$count,\"slab_bytes_each\":$memory,\"object_bytes\":$(object)"
        for load in echo download connection; do
            if cost=$(measure $load "$(amount $load)"); then
                read -r total primary backup <<<"$cost"
                line+=",\"$load\":$total,\"${load}_primary\":$primary,\"${load}_backup\":$backup"
            else
                status=1
                echo "# $cost"
            fi
        done
        if [ "$mode" != plain ]; then
            stayed_protected || status=1
            moved=$(takeover "$count") || status=1
            line+=",$moved"
        fi
        echo "# {$line}"
        down
        result $status "$mode, $count idle connections"
    done
done
ktap_end
