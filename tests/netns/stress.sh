#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Everything at once, for STRESS seconds: clients of every kind, takeovers by failure and by request, controls written with good and bad values,
# files read, hosts and other namespaces that are deleted while they serve, and the module that comes and goes. No connection need survive that,
# but no client may see a wrong byte, and the kernel must find nothing to complain of. Topology: see lib.sh.

. "$(dirname "$0")/lib.sh"
STRESS=${STRESS:-60}
CONTROLS=/proc/sys/net/sttcp

# one_of WORD...
one_of() {
    local number=$((RANDOM % $# + 1))
    printf '%s\n' "${!number}"
}

# actor NAME PAUSE COMMAND...: the command again and again, with up to PAUSE tenths of a second in between, SLOW times that; whether it
# succeeds is its affair.
declare -A actors
actor() {
    local name=$1 pause=$2
    shift 2
    : >"$WORK/actor.$name"
    while [ ! -e "$WORK/end" ]; do
        "$@"
        echo >>"$WORK/actor.$name"
        pause_at_most "$pause"
    done >/dev/null 2>&1 &
    actors[$name]=$!
}
pause_at_most() {
    local tenths=$((RANDOM % ($1 * SLOW + 1)))
    sleep "$((tenths / 10)).$((tenths % 10))"
}
actors_ended() {
    local pid
    for pid in "${actors[@]}"; do
        ! kill -0 "$pid" || return 1
    done
}

# talk KIND...: some clients of that kind; what they saw goes to the log.
talk() { client "$TRAFFIC" client "$@" --connections 4 --duration 4 --timeout $((4 * SLOW)) >>"$WORK/clients"; }
talk_of_any_kind() {
    local version
    version=$(one_of 4 6)
    case $(one_of echo get put greet ends) in
    echo) talk echo --to "$(target "$version")" ;;
    get) talk get --to "$(target "$version")" --size 1M ;;
    put) talk put --to "$(target "$version")" --size 256K ;;
    greet) talk greet --to "$(target "$version" $GREET)" ;;
    ends) talk ends --to "$(target "$version")" ;;
    esac
}

# start HOST NUMBER PEER_NUMBER: gives a host that is off the role that its peer leaves it.
start() {
    has_state "$1" off || return 0
    configure "$1" "$2" "$3"
    set_control "$1" heartbeat_interval_ms $((50 * SLOW))
    set_control "$1" backup_stall_ms $((2000 * SLOW))
    case $(state "$4") in
    solo | protected | takeover) set_control "$1" role backup ;;
    *) set_control "$1" role "$1" ;;
    esac
}
start_both() {
    start primary 1 2 backup
    start backup 2 1 primary
}

cut_one_off() {
    local host
    host=$(one_of primary backup)
    ip -n switch link set "to-$host" down
    pause_at_most 10
    ip -n switch link set "to-$host" up
}
ask_for_takeover() { set_control "$(one_of primary backup)" takeover 1; }

write_controls() {
    local name value
    name=$(one_of service local peer key heartbeat_interval_ms heartbeat_misses tap takeover state ack_policy retain_kb retain_total_mb backup_stall_ms nothing)
    [ $((RANDOM % 20)) -gt 0 ] || name=role
    value=$(one_of off primary backup "$VIP4:*,[$VIP6]:*" "$VIP4:0" "10.0.0.1:7077" "[fd00::1]:7077" "$KEY" "zz" "$(printf '9%.0s' $(seq 5000))" \
        $((20 * SLOW)) $((50 * SLOW)) 0 3 5 -1 "" l2 forward eager gated 1 $'\n')
    set_control "$(one_of primary backup)" "$name" "$value"
}

# A file that was opened outlives its module, too.
read_files() {
    ip netns exec "$(one_of primary backup client)" sh -c "cat /proc/net/sttcp /proc/net/sttcp_stat $CONTROLS/*
        exec 3</proc/net/sttcp 4<$CONTROLS/state && sleep 0.$((RANDOM % 10)) && cat <&3 <&4"
}

# lose_a_host: the namespace goes with its connections, sockets and role; another one takes its place.
lose_a_host() {
    local host
    host=$(one_of primary backup)
    ip netns pids "$host" >"$WORK/gone"
    ip netns del "$host"
    xargs -r kill -9 <"$WORK/gone"
    # Its device would go with it, but later.
    ip -n switch link del "to-$host"
    case $host in
    primary) server_host primary 1 ;;
    backup) server_host backup 2 ;;
    esac
    serve "$host"
}

# short_life NAME: a namespace that protects a service of its own on its loopback device, and is deleted while that serves.
short_life() {
    local name=$1 pids
    ip netns add "$name"
    ip -n "$name" link set lo up
    ip -n "$name" addr add "$VIP4/32" dev lo
    ip -n "$name" addr add 10.0.0.1/32 dev lo
    configure "$name" 1 2
    set_control "$name" role "$(one_of primary backup)"
    ip netns exec "$name" "$TRAFFIC" serve --listen "$VIP4:$PORT" &
    ip netns exec "$name" "$TRAFFIC" client echo --to "$VIP4:$PORT" --connections 2 --duration 5 --timeout $((2 * SLOW)) &
    pause_at_most 20
    pids=$(ip netns pids "$name")
    ip netns del "$name"
    # shellcheck disable=SC2086 # some numbers
    kill -9 $pids
}

# With jump labels the kernel changes code that other CPUs run, which an older QEMU emulates wrongly: see docs/kernel-notes.md. The debug kernel
# has none.
if grep -qw jump_label_update /proc/kallsyms; then
    ktap_begin
    skip "everything at once" "this kernel changes its code while other CPUs run it, and dies of that in emulation; make test-debug has it"
    ktap_end
    exit
fi
begin
dmesg -W >"$WORK/log" &
watcher=$!
actor churn 1 talk churn --to "$(target 4)" --tolerate connect,early
actor talk 1 talk_of_any_kind
actor start 10 start_both
actor cut 120 cut_one_off
actor takeover 100 ask_for_takeover
actor write 8 write_controls
actor read 3 read_files
actor lose 300 lose_a_host
actor short 10 short_life short
actor life 10 short_life life
actor unload 300 rmmod sttcp
actor load 5 module_load
sleep "$STRESS"
touch "$WORK/end"
wait_until 60 actors_ended; result $? "everything comes to its end"
kill $watcher

status=0
for name in "${!actors[@]}"; do
    rounds=$(wc -l <"$WORK/actor.$name")
    echo "# $name: $rounds times"
    [ "$rounds" -gt 0 ] || status=1
done
result $status "everybody had a turn in $STRESS s"
# times PATTERN: how often the module said so.
times() { grep -c "$1" "$WORK/log"; }
[ "$(times 'took over')" -gt 0 ]; result $? "$(times 'took over') takeovers, $(times stepping) times a host stepped down, $(times refused) values refused"
total() { sed -nE 's/.*"'"$1"'":([0-9]+).*/\1/p' "$WORK/clients" | awk '{ sum += $1 } END { print sum + 0 }'; }
[ "$(total transactions)" -gt 0 ]; result $? "$(total transactions) transactions, $(total ok) connections well, $(total failed) not"
grep '"wrong"' "$WORK/clients" | sed 's/^/# /'
! grep -q '"wrong"' "$WORK/clients"; result $? "no client saw a wrong byte"

# And then all is as it was.
topology_down
unload() { ! grep -q '^sttcp ' /proc/modules || rmmod sttcp; }
wait_until 10 unload && module_load && pair_up; result $? "a new pair is in step"
survives "echo over a takeover" client echo --to "$(target 4)" --connections 4
ktap_end
