#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# TAKEOVERS takeovers (20 unless told) at random moments over a random mix of clients, by SEED, with TAP_LOSS. Topology: see lib.sh.

. "$(dirname "$0")/lib.sh"
RANDOM=${SEED:-1}
begin
echo "# seed ${SEED:-1}"

for number in $(seq "${TAKEOVERS:-20}"); do
    version=$((RANDOM % 2 * 2 + 4))
    to=$(target $version)
    client sh -c "echo $((RANDOM % 4 > 0)) >/proc/sys/net/ipv4/tcp_timestamps; echo $((RANDOM % 4 > 0)) >/proc/sys/net/ipv4/tcp_sack
        echo $((RANDOM % 4 > 0)) >/proc/sys/net/ipv4/tcp_window_scaling; echo $((RANDOM % 2 * 2)) >/proc/sys/net/ipv4/tcp_ecn"
    connections=$((RANDOM % 8 + 1))
    case $((RANDOM % 6)) in
    0) mix=(echo --to "$to") ;;
    1) mix=(ask --to "$to") ;;
    2) mix=(get --to "$to" --size 1M) connections=2 ;;
    3) mix=(greet --to "$(target $version $GREET)") ;;
    4) mix=(put --to "$to" --size 256K) connections=2 ;;
    5) mix=(echo --to "$to" --mss 536) ;;
    esac
    survives "takeover $number: ${mix[*]} x$connections" client "${mix[@]}" --connections "$connections" --seed "$RANDOM"
done
ktap_end
