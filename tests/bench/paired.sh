#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Latency and throughput while nothing fails, as a client sees them, in a guest whose clock is real: ROUNDS times each mode after the other, so that what the
# machine does besides hits all of them. Once as fast as the CPUs are, which all hosts share, and once over a network: each way out of the switch takes
# 250 us and passes 100 Mbit/s. Prints a line of JSON for each run: us for an echo, for a MB, for a connection.

. "$(dirname "$0")/lib.sh"

# network KIND: what lies between the hosts.
network() {
    local host
    [ "$1" = lan ] || return 0
    for host in client primary backup; do
        ip netns exec switch tc qdisc replace dev "to-$host" root netem delay 250us rate 100mbit limit 10000
    done
}

ktap_begin
for network in ${NETWORKS:-cpu lan}; do
    for round in $(seq "${ROUNDS:-5}"); do
        for mode in ${MODES:-plain eager gated}; do
            status=0
            up "$mode" || status=1
            network "$network" || status=1
            for load in echo download upload connection; do
                amount=$(amount $load)
                # Once to warm up.
                run $load $((amount / 4)) && run $load "$amount" || status=1
                elapsed=$(sed -nE 's/.*"elapsed_ms":([0-9]+).*/\1/p' "$WORK/result")
                echo "# {\"bench\":\"paired\",\"network\":\"$network\",\"round\":$round,\"mode\":\"$mode\",\"load\":\"$load\",\"us\":$((elapsed * 1000 / amount))}"
            done
            [ "$mode" = plain ] || { has_state primary protected && stayed_protected; } || status=1
            down
            result $status "$network, round $round: $mode is measured"
        done
    done
done
ktap_end
