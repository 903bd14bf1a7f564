#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Load does not starve the heartbeat: busy loops, twice as many as CPUs, first real-time ones and then ones of nice -20, each time beside a
# flood of datagrams over the loopback device. Topology: see lib.sh.

. "$(dirname "$0")/lib.sh"
SECONDS_EACH=10
begin
# khugepaged runs at nice 19 and may lose its CPU to the load in the middle of an RCU reader, for which `ip netns exec` then waits.
[ ! -d /sys/kernel/mm/transparent_hugepage ] || echo never >/sys/kernel/mm/transparent_hugepage/enabled
# This shell and what it calls come before the load; hosts' processes run as they did.
chrt -f -p 99 $$

# A socket that sends to itself and hears everything.
FLOOD='
from socket import *
flood = socket(AF_INET, SOCK_DGRAM)
flood.bind(("127.0.0.1", 0))
flood.setblocking(False)
while True:
    for _ in range(32):
        flood.sendto(bytes(1000), flood.getsockname())
    try:
        while True:
            flood.recv(2000)
    except BlockingIOError:
        pass
'

# idle: what all CPUs together were idle since boot, in ms.
idle() { awk -v ticks="$(getconf CLK_TCK)" '$1 == "cpu" { print int(($5 + $6) * 1000 / ticks) }' /proc/stat; }
datagrams() { awk '$1 == "Udp:" && $5 ~ /[0-9]/ { print $5 }' /proc/net/snmp; }
# flows NUMBER: the flood has begun, as there are a hundred datagrams more than that.
flows() { [ "$(datagrams)" -gt $(($1 + 100)) ]; }

# beats TEXT COMMAND...: the pair stays in step while the command runs the hogs and the flood; COMMAND takes a program and its arguments.
beats() {
    local text=$1 host epoch idle datagrams first pids=() wanted
    shift
    local -A received lost
    for host in primary backup; do
        received[$host]=$(counter $host peer_received) lost[$host]=$(counter $host peer_lost)
    done
    epoch=$(backup cat /proc/sys/net/sttcp/epoch)
    wanted=$((SECONDS_EACH * 800 / $(interval)))
    first=$(datagrams)
    for _ in $(seq $((2 * $(nproc)))); do
        "$@" sh -c 'while :; do :; done' &
        pids+=($!)
    done
    "$@" python3 -c "$FLOOD" &
    pids+=($!)
    # An emulated interpreter takes its time to start.
    wait_until 60 flows "$first"
    idle=$(idle) datagrams=$(datagrams)
    sleep "$SECONDS_EACH"
    idle=$(($(idle) - idle)) datagrams=$(($(datagrams) - datagrams))
    in_step; result $? "$text: protected and shadowing"
    [ "$(backup cat /proc/sys/net/sttcp/epoch)" -eq "$epoch" ]; result $? "$text: no takeover"
    for host in primary backup; do
        received[$host]=$(($(counter $host peer_received) - received[$host]))
        [ "${received[$host]}" -ge $wanted ] && [ "$(counter $host peer_lost)" -eq "${lost[$host]}" ]
        result $? "$text: the $host heard the other ${received[$host]} times, $wanted at least, and never missed it"
    done
    kill "${pids[@]}"
    wait "${pids[@]}" 2>/dev/null
    [ $idle -lt $((SECONDS_EACH * 50 * $(nproc))) ] && [ $datagrams -gt $((1000 / SLOW)) ]
    result $? "$text: it was a load: idle for $idle ms, $datagrams datagrams"
}

beats "real-time busy loops" chrt -r 50
beats "nice busy loops" chrt -o 0 nice -n -20
chrt -o -p 0 $$
goes "and the service answers" client echo --to "$(target 4)" --count 100
ktap_end
