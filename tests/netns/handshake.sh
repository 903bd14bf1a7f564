#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The primary dies when clients have its SYN-ACK and the backup has not heard its word of them: the connections go on all the same, by what the
# tap has shown; if that was nothing, the clients are reset when they repeat what nobody has acknowledged. Or it has heard it, and its server has yet
# to take them. Topology: see lib.sh.

. "$(dirname "$0")/lib.sh"
INTERVAL=400
CONNECTIONS=4
begin

# opening NUMBER: so many connections of the speaking host wait for the backup.
opening() { [ "$(ip netns exec "$speaker" grep -c ' opening ' /proc/net/sttcp)" -ge "$1" ]; }

# begins TEXT MATCH CLIENT_ARGUMENTS...: clients begin while the silent host does not get the frames that match, of its peer's datagrams at least;
# then the speaker is cut off.
begins() {
    local text=$1 match=$2 status
    shift 2
    rm -f "$WORK/up" "$WORK/end"
    settle || echo "# the pair is not in step"
    guessed=$(counter "$silent" takeover_guessed)
    # One command, as the backup counts from now on.
    impair "to-$silent" "$match" loss 0%
    # shellcheck disable=SC2086 # several words
    [ -z "${also-}" ] || ip netns exec switch tc filter add dev "to-$silent" parent 1: prio 2 protocol $also classid 1:4
    ip netns exec switch tc qdisc change dev "to-$silent" parent 1:4 netem loss 100%
    client "$TRAFFIC" client "$@" --connections $CONNECTIONS --timeout $((2 * PATIENCE)) \
        --mark-file "$WORK/up" --until-file "$WORK/end" >"$WORK/result" 2>"$WORK/errors" &
    pid=$!
    wait_until 5 opening $CONNECTIONS
    status=$?
    ip -n switch link set "to-$speaker" down
    [ $status -eq 0 ] && [ ! -e "$WORK/up" ]
    result $? "$text: the backup has not heard of them, and their clients not of the server"
}
# takes_over TEXT
takes_over() {
    wait_until 10 has_state "$silent" solo
    result $? "$1: the backup takes over"
}
# ends TEXT: the pair as it was.
ends() {
    mend
    rejoin
    result $? "$1: the pair is in step again"
}

# are_served TEXT: the clients that began hear of their server, and have come to a good end.
are_served() {
    local status
    wait_until 15 test -e "$WORK/up"
    result $? "$1: all go on"
    touch "$WORK/end"
    wait $pid
    status=$?
    [ $status -eq 0 ] || { cat "$WORK/result" "$WORK/errors" && describe; } | sed 's/^/# /'
    result $status "$1: every byte is right"
}
# rises_by NUMBER COUNTER BEFORE: on the silent host.
rises_by() { [ $(($(counter "$silent" "$2") - $3)) -eq "$1" ]; }

# goes_on TEXT CLIENT_ARGUMENTS...
goes_on() {
    local text=$1
    shift
    begins "$text" "ip flower ip_proto udp dst_port 7077" "$@"
    takes_over "$text"
    are_served "$text"
    rises_by $CONNECTIONS takeover_guessed "$guessed"
    result $? "$text: they are counted"
    ends "$text"
}

# says_nothing TEXT CLIENT_ARGUMENTS...: the tap shows the SYNs alone, and the clients wait for the server.
says_nothing() {
    local text=$1 asked also="ip flower ip_proto tcp tcp_flags 0x10/0x12"
    shift
    asked=$(counter "$silent" takeover_asked)
    begins "$text" "ip flower ip_proto udp dst_port 7077" "$@"
    # Of themselves the clients say nothing, but they will answer.
    mend
    takes_over "$text"
    are_served "$text"
    rises_by $CONNECTIONS takeover_asked "$asked" && rises_by $CONNECTIONS takeover_guessed "$guessed"
    result $? "$text: they were asked, and are counted"
    ends "$text"
}

# is_reset TEXT CLIENT_ARGUMENTS...
is_reset() {
    local text=$1
    shift
    begins "$text" "all matchall" "$@"
    takes_over "$text"
    mend
    wait_until 30 ended $pid
    result $? "$text: no client waits for ever"
    touch "$WORK/end"
    wait $pid
    grep -q "\"failed\":$CONNECTIONS,\"reasons\":{\"reset\":$CONNECTIONS}" "$WORK/result"
    status=$?
    [ $status -eq 0 ] || { cat "$WORK/result" "$WORK/errors" && describe; } | sed 's/^/# /'
    result $status "$text: all are reset"
    ends "$text"
}

# restart HOST BACKLOG: its server anew, where so many may wait to be taken, and one more.
restart() {
    ip netns pids "$1" | xargs -r kill -9
    ip netns exec "$1" sysctl -qw "net.core.somaxconn=$2"
    serve "$1"
    wait_until 10 listening "$1"
}
# is_ready_late TEXT CLIENT_ARGUMENTS...: clients begin while the silent host's server stands still and lets nobody wait for it but those that do. The
# speaker is cut off between its word of the clients and their shadows' readiness.
is_ready_late() {
    local text=$1 status=0
    shift
    settle || echo "# the pair is not in step"
    restart "$silent" 1
    ip netns pids "$silent" | xargs -r kill -STOP
    rm -f "$WORK/up" "$WORK/end"
    # Whoever comes first fills the queue, and is left behind.
    client "$TRAFFIC" client echo --to "$(target 4 "$PORT")" --connections 2 --until-file "$WORK/end" >/dev/null 2>&1 &
    filler=$!
    client "$TRAFFIC" client greet --to "$(target 4 "$GREET")" --connections 2 --until-file "$WORK/end" >/dev/null 2>&1 &
    filler+=" $!"
    wait_until 5 shadowed 4 || status=1
    client "$TRAFFIC" client "$@" --connections $CONNECTIONS --timeout $((2 * PATIENCE)) \
        --mark-file "$WORK/up" --until-file "$WORK/end" >"$WORK/result" 2>"$WORK/errors" &
    pid=$!
    wait_until 5 heard_of $CONNECTIONS || status=1
    ip -n switch link set "to-$speaker" down
    set_control "$silent" takeover 1
    [ "$(ip netns exec "$silent" grep -c ' opening ' /proc/net/sttcp)" -eq $CONNECTIONS ] && [ ! -e "$WORK/up" ] && [ $status -eq 0 ]
    result $? "$text: the backup has heard of them, and its server has not taken them"
    ip netns pids "$silent" | xargs -r kill -CONT
    are_served "$text"
    # shellcheck disable=SC2086 # two of them
    wait $filler
    restart "$silent" 4096
    rejoin
    result $? "$text: the pair is in step again"
}
# heard_of NUMBER: the silent host tries to have so many shadows.
heard_of() { [ "$(ip netns exec "$silent" grep -c ' opening ' /proc/net/sttcp)" -ge "$1" ]; }
# shadowed NUMBER
shadowed() { [ "$(ip netns exec "$silent" grep -c ' shadow ' /proc/net/sttcp)" -ge "$1" ]; }

for host in primary backup; do
    set_control $host heartbeat_misses 8
    set_control $host backup_stall_ms $((20000 * SLOW))
done
for policy in gated eager; do
    set_policy $policy
    for version in 4 6; do
        goes_on "$policy: IPv$version, the client speaks first" echo --to "$(target $version)"
        goes_on "$policy: IPv$version, the server speaks first" greet --to "$(target $version $GREET)"
    done
    says_nothing "$policy: the tap shows the SYNs alone" greet --to "$(target 4 "$GREET")"
    is_reset "$policy: the tap shows nothing" echo --to "$(target 4)"
    # From the takeover on the server has a second, in which a slow kernel does not get so far.
    [[ $SLOW -eq 1 ]] || continue
    is_ready_late "$policy: late, the client speaks first" echo --to "$(target 4)"
    is_ready_late "$policy: late, the server speaks first" greet --to "$(target 4 "$GREET")"
done
for host in primary backup; do
    echo "# $host: $(ip netns exec $host grep -v ' 0$' /proc/net/sttcp_stat | tr '\n' ' ')"
done
ktap_end
