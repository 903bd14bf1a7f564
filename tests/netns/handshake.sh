#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The primary dies when clients have its SYN-ACK and the backup has not heard its word of them: the connections go on all the same. Topology: see lib.sh.

. "$(dirname "$0")/lib.sh"
INTERVAL=400
CONNECTIONS=4
begin

# opening NUMBER: so many connections of the speaking host wait for the backup.
opening() { [ "$(ip netns exec "$speaker" grep -c ' opening ' /proc/net/sttcp)" -ge "$1" ]; }

# begins TEXT CLIENT_ARGUMENTS...: clients begin while the backup does not hear the speaker, which is cut off then.
begins() {
    local text=$1 pid status before
    shift
    rm -f "$WORK/up" "$WORK/end"
    settle || echo "# the pair is not in step"
    before=$(counter "$silent" takeover_guessed)
    # One command, as the backup counts from now on.
    impair "to-$silent" "ip flower ip_proto udp dst_port 7077" loss 0%
    ip netns exec switch tc qdisc change dev "to-$silent" parent 1:4 netem loss 100%
    client "$TRAFFIC" client "$@" --connections $CONNECTIONS --timeout $((2 * PATIENCE)) \
        --mark-file "$WORK/up" --until-file "$WORK/end" >"$WORK/result" 2>"$WORK/errors" &
    pid=$!
    wait_until 5 opening $CONNECTIONS
    status=$?
    ip -n switch link set "to-$speaker" down
    [ $status -eq 0 ] && [ ! -e "$WORK/up" ]
    result $? "$text: the backup has not heard of them, and their clients not of the server"
    wait_until 10 has_state "$silent" solo && wait_until 15 test -e "$WORK/up"
    result $? "$text: all go on"
    [ $(($(counter "$silent" takeover_guessed) - before)) -eq $CONNECTIONS ]
    result $? "$text: they are counted"
    touch "$WORK/end"
    wait $pid
    status=$?
    [ $status -eq 0 ] || { cat "$WORK/result" "$WORK/errors" && describe; } | sed 's/^/# /'
    result $status "$text: every byte is right"
    mend
    rejoin
    result $? "$text: the pair is in step again"
}

for host in primary backup; do
    set_control $host heartbeat_misses 8
    set_control $host backup_stall_ms $((20000 * SLOW))
done
for version in 4 6; do
    begins "IPv$version, the client speaks first" echo --to "$(target $version)"
    begins "IPv$version, the server speaks first" greet --to "$(target $version $GREET)"
done
for host in primary backup; do
    echo "# $host: $(ip netns exec $host grep -v ' 0$' /proc/net/sttcp_stat | tr '\n' ' ')"
done
ktap_end
