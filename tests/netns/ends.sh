#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# ENDS connections (2,000 unless told) that end in every way; then nothing is left. Topology: see lib.sh; a queue for each flow gives clients the
# time to abort a handshake.

. "$(dirname "$0")/lib.sh"
# No takeover is meant to happen here, however busy the machine is.
INTERVAL=500
REPEAT=$((${ENDS:-2000} / 20))
begin
keep_order

no_connections() { [ "$(ip netns exec "$1" cat /proc/net/sttcp | wc -l)" -eq 0 ]; }
no_sockets() { [ -z "$(ip netns exec "$1" ss -Htan state connected exclude time-wait)" ]; }

goes "$((10 * REPEAT)) connections, every ending" client ends --to "$(target 4)" --connections 10 --repeat $REPEAT
goes "$((10 * REPEAT)) over IPv6" client ends --to "$(target 6)" --connections 10 --repeat $REPEAT
for server in primary backup; do
    wait_until 10 no_connections $server
    status=$?
    [ $status -eq 0 ] || ip netns exec $server cat /proc/net/sttcp | sed 's/^/# /' | head -20
    result $status "$server: /proc/net/sttcp is empty within 10 s"
    wait_until 10 no_sockets $server
    status=$?
    [ $status -eq 0 ] || ip netns exec $server ss -Htan state connected exclude time-wait | sed 's/^/# /' | head -20
    result $status "$server: no socket but TIME-WAIT"
done
for server in primary backup; do
    echo "# $server: $(ip netns exec $server grep -v ' 0$' /proc/net/sttcp_stat | tr '\n' ' ')"
done
ktap_end
