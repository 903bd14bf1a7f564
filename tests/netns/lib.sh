#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A whole pair with its client in one guest:
#
#     ┌─ client ─────────┐   ┌─ primary ────────┐   ┌─ backup ─────────┐
#     │ 10.0.0.10        │   │ 10.0.0.1         │   │ 10.0.0.2         │
#     │ fd00::10         │   │ fd00::1          │   │ fd00::2          │
#     │                  │   │ service address 10.0.0.100, fd00::100   │
#     └───────┬──────────┘   └───────┬──────────┘   └───────┬──────────┘
#             │ c                    │ p                    │ b
#     ┌───────┴──────────────────────┴──────────────────────┴──────────┐
#     │ switch: a bridge that floods 03:00:00:00:00:64, the link-layer  │
#     │ address that the client has for the service address             │
#     └─────────────────────────────────────────────────────────────────┘
#
# Sourced by the tests beside it, which run in a guest as root and print KTAP. Wait for conditions, never for time alone.

. "$(dirname "${BASH_SOURCE[0]}")/../ktap.sh"

VIP4=10.0.0.100
VIP6=fd00::100
PORT=7000
GREET=7001
# How long a client waits for anything, in seconds.
PATIENCE=$((15 * SLOW))
KEY=00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff
TRAFFIC=${TRAFFIC:-/share/sttcp-traffic}
MODULE=${MODULE:-/share/sttcp.ko}
WORK=$(mktemp -d)

# Commands in a host; read like a prompt.
client() { ip netns exec client "$@"; }
primary() { ip netns exec primary "$@"; }
backup() { ip netns exec backup "$@"; }

# state HOST: what net.sttcp.state says there.
state() { ip netns exec "$1" cat /proc/sys/net/sttcp/state; }
has_state() { [ "$(state "$1")" = "$2" ]; }
# counter HOST NAME
counter() { ip netns exec "$1" awk -v name="$2" '$1 == name { print $2 }' /proc/net/sttcp_stat; }
# set_control HOST NAME VALUE
set_control() { echo "$3" | ip netns exec "$1" tee "/proc/sys/net/sttcp/$2" >/dev/null 2>&1; }

host() { # NAME PORT ADDRESS
    ip netns add "$1"
    ip link add "$2" netns switch type veth peer name eth0 netns "$1"
    ip -n switch link set "$2" master br0 up
    ip -n "$1" link set lo up
    ip -n "$1" addr add "10.0.0.$3/24" dev eth0
    ip -n "$1" addr add "fd00::$3/64" dev eth0 nodad
    ip -n "$1" link set eth0 up
}

# keep_order: what two CPUs send through a link arrives in order, as through a cable: a queue for each flow (RPS), and not for each CPU. And it arrives
# after the call that sends it; otherwise the answer may be there by then.
keep_order() {
    local host
    for host in client primary backup; do
        queue_flows switch "to-$host"
        queue_flows $host eth0
    done
}
queue_flows() { # NAMESPACE DEVICE
    # shellcheck disable=SC2016 # expanded there
    ip netns exec "$1" bash -c 'for queue in /sys/class/net/$0/queues/rx-*/rps_cpus; do printf %x $(((1 << $(nproc)) - 1)) >"$queue"; done' "$2"
}

# server_host NAME NUMBER: a host that owns the service address too.
server_host() {
    host "$1" "to-$1" "$2"
    ip -n "$1" addr add "$VIP4/32" dev eth0
    ip -n "$1" addr add "$VIP6/128" dev eth0 nodad
}

topology_up() {
    ip netns add switch
    ip -n switch link add br0 type bridge mcast_snooping 0
    ip -n switch link set br0 up
    host client to-client 10
    server_host primary 1
    server_host backup 2
    ip -n client neigh add "$VIP4" lladdr 03:00:00:00:00:64 dev eth0 nud permanent
    ip -n client neigh add "$VIP6" lladdr 03:00:00:00:00:64 dev eth0 nud permanent
}

topology_down() {
    local name
    for name in client primary backup switch; do
        ip netns pids "$name" 2>/dev/null | xargs -r kill -9 2>/dev/null
        ip netns del "$name" 2>/dev/null
    done
    wait 2>/dev/null
}

# configure HOST NUMBER PEER_NUMBER
configure() {
    ip netns exec "$1" sh -c "cd /proc/sys/net/sttcp && echo '$VIP4:*,[$VIP6]:*' >service &&
        echo 10.0.0.$2:7077 >local && echo 10.0.0.$3:7077 >peer && echo $KEY >key"
}

# The server of each host, by its process.
declare -A server
# serve HOST [OPTION...]
serve() {
    ip netns exec "$1" "$TRAFFIC" serve --listen "$VIP4:$PORT" --listen "[$VIP6]:$PORT" \
        --greet "$VIP4:$GREET" --greet "[$VIP6]:$GREET" "${@:2}" >"$WORK/serve.$1" 2>&1 &
    # shellcheck disable=SC2034 # read by the tests
    server[$1]=$!
}
# serve_anew HOST [OPTION...]: every program of the host ends, and a server begins.
serve_anew() {
    ip netns pids "$1" | xargs -r kill -9 2>/dev/null
    wait_until 5 eval "! listening $1"
    serve "$@"
    wait_until 10 listening "$1"
}

listening() { ip netns exec "$1" ss -Hltn "sport = :$PORT" | grep -q .; }

# An emulated guest on a busy machine may stand still for 150 ms, three of the default intervals; hence 200 ms here. A test in which no
# takeover is meant to happen says INTERVAL=500.
interval() { echo $((${INTERVAL:-200} * SLOW)); }

# set_policy gated|eager: on whichever host speaks.
set_policy() {
    set_control primary ack_policy "$1"
    set_control backup ack_policy "$1"
}

# pair_up: topology, servers, and a pair that is in step.
pair_up() {
    topology_up
    serve primary
    serve backup
    configure primary 1 2 && configure backup 2 1 || return 1
    wait_until 10 listening primary && wait_until 10 listening backup || return 1
    set_control primary heartbeat_interval_ms "$(interval)"
    set_control backup heartbeat_interval_ms "$(interval)"
    set_control primary backup_stall_ms $((2000 * SLOW))
    set_control backup backup_stall_ms $((2000 * SLOW))
    set_policy "${ACK_POLICY:-gated}"
    set_control primary role primary && set_control backup role backup || return 1
    wait_until 10 has_state primary protected && wait_until 10 has_state backup shadowing
}

# cut_off: the primary's host is gone from the network.
cut_off() { ip -n switch link set to-primary down; }

module_load() { grep -q '^sttcp ' /proc/modules || insmod "$MODULE"; }

# Who speaks and who is silent now; each takeover swaps the two.
speaker=primary silent=backup

# impair DEVICE MATCH NETEM...: what the switch does to these frames on the way out of a port.
impair() {
    local device=$1 match=$2
    shift 2
    ip netns exec switch tc qdisc del dev "$device" root 2>/dev/null
    ip netns exec switch tc qdisc add dev "$device" root handle 1: htb default 1
    ip netns exec switch tc class replace dev "$device" parent 1: classid 1:1 htb rate 40gbit quantum 60000
    ip netns exec switch tc class replace dev "$device" parent 1: classid 1:4 htb rate 40gbit quantum 60000
    # shellcheck disable=SC2086 # several words
    ip netns exec switch tc filter replace dev "$device" parent 1: prio 1 protocol $match classid 1:4
    ip netns exec switch tc qdisc replace dev "$device" parent 1:4 netem "$@" limit 10000
}
# tap NETEM...: on the way to the silent host.
tap() { impair "to-$silent" "all flower dst_mac 03:00:00:00:00:64" "$@"; }
# channel NETEM...: the peer channel, both ways.
channel() {
    local host
    for host in primary backup; do impair "to-$host" "ip flower ip_proto udp dst_port 7077" "$@"; done
}
# part: from one moment to the next the two hosts cannot hear each other, and clients reach both.
part() {
    local host changes=()
    channel loss 0%
    for host in primary backup; do
        ip netns exec switch tc qdisc replace dev "to-$host" parent 1:4 netem loss 100% limit 10000 &
        changes+=($!)
    done
    wait "${changes[@]}"
}
# tap_and_channel NETEM...: all that goes to the silent host.
tap_and_channel() { impair "to-$silent" "all matchall" "$@"; }
mend() {
    local host
    for host in primary backup; do ip netns exec switch tc qdisc del dev "to-$host" root 2>/dev/null; done
}

in_step() {
    if has_state primary protected && has_state backup shadowing; then
        speaker=primary silent=backup
    elif has_state backup protected && has_state primary shadowing; then
        speaker=backup silent=primary
    else
        return 1
    fi
}

# settle: waits until one speaks and the other shadows it.
settle() { wait_until 20 in_step; }

# rejoin: the cut host comes back, finds a later epoch, and becomes the backup of the other.
rejoin() {
    ip -n switch link set "to-$speaker" up
    settle && return
    ip -n switch -brief link | sed 's/^/# switch: /'
    bridge -n switch link | sed 's/^/# switch: /'
    return 1
}

# ended PID; went_on_or_ended PID: the client made its mark again.
ended() { ! kill -0 "$1" 2>/dev/null; }
went_on_or_ended() { [ -e "$WORK/up" ] || ended "$1"; }

# explain: where the pair is, and how it came there; for the summary, which may be all there is to see.
explain() {
    local host
    for host in primary backup; do echo "$host is $(state $host 2>&1)"; done
    dmesg | grep sttcp: | tail -5
}

# describe: what each host knows of the connections, for whoever has to find out why one stands still.
describe() {
    local host
    for host in client primary backup; do
        ip netns exec $host ss -Htino state established | grep -A1 "$VIP4\|$VIP6" | sed "s/^/# $host: /" | head -40
        [ $host = client ] || ip netns exec $host sh -c 'cat /proc/net/sttcp; grep -v " 0$" /proc/net/sttcp_stat' | sed "s/^/# $host: /"
    done
}

# took_over_at: when the last takeover was, in ms of Unix time. The kernel's log has a clock of its own, which is read by writing to it.
took_over_at() {
    local now=${EPOCHREALTIME/[.,]/}
    echo "the test reads $now" >/dev/kmsg
    dmesg | awk -F '[][]' -v now="$now" '/sttcp: took over in / { took = $2 } $0 ~ "reads " now { read = $2 }
        END { printf "%.0f\n", now / 1000 - (read - took) * 1000 }'
}

# decided PID HOLES: the client went on, or ended, or the silent host has reset a connection for a hole.
decided() { went_on_or_ended "$1" || [ "$(counter "$silent" takeover_holes)" -gt "$2" ]; }

# survives TEXT ARGUMENTS...: a client runs until after the primary was cut off at a random moment; every byte is checked by it, and
# after the takeover bytes come on each of its connections. Until then the tap loses TAP_LOSS, such as 5%, if that is set. With ACK_POLICY=eager
# connections may be reset instead: as many as the host that took over has found to have a hole. The others come to the end of what they are at.
survives() {
    local text=$1 pid status before holes went_on=1 failure
    shift
    rm -f "$WORK/up" "$WORK/end"
    settle || echo "# the pair is not in step"
    [ -z "${TAP_LOSS-}" ] || tap loss "$TAP_LOSS"
    client "$TRAFFIC" "$@" --timeout "$PATIENCE" --mark-file "$WORK/up" --until-file "$WORK/end" >"$WORK/result" 2>"$WORK/errors" &
    pid=$!
    wait_until 30 test -e "$WORK/up" || {
        touch "$WORK/end"
        wait $pid
        result 1 "$text: the client did not begin: $(cat "$WORK/result" "$WORK/errors")"
        return
    }
    before=$(counter "$silent" takeover_holes)
    sleep "0.$((RANDOM % 9))$((RANDOM % 10))"
    ip -n switch link set "to-$speaker" down
    wait_until 10 has_state "$silent" solo
    status=$?
    [ -z "${TAP_LOSS-}" ] || mend
    rm -f "$WORK/up"
    wait_until 6 decided $pid "$before" || {
        describe
        wait_until 14 decided $pid "$before"
    }
    if ended $pid || [ ! -e "$WORK/up" ]; then went_on=0; fi
    touch "$WORK/end"
    wait $pid
    failure=$?
    holes=$(($(counter "$silent" takeover_holes) - before))
    if [ $holes -gt 0 ] && [ "${ACK_POLICY-}" = eager ]; then
        grep -q "\"failed\":$holes,\"reasons\":{\"reset\":$holes}" "$WORK/result" || status=1
        failure=$(sed -nE 's/.*"at_unix_ms":([0-9]+).*/\1/p' "$WORK/result")
        text="$text: $holes reset for a hole, $((failure - $(took_over_at))) ms after the takeover"
    elif [ $failure -ne 0 ] || [ $went_on -eq 0 ]; then
        status=1
        echo "# not all connections went on after the takeover; $holes had a hole"
    fi
    rejoin || {
        status=1
        echo "# no rejoin: $speaker $(state "$speaker"), $silent $(state "$silent")"
    }
    [ $status -eq 0 ] || {
        echo "# $(cat "$WORK/result" "$WORK/errors")"
        dmesg | grep sttcp: | tail -8 | sed 's/^/# /'
    }
    result $status "$text"
}

# goes TEXT ARGUMENTS...: a client runs to its end without failure.
goes() {
    local text=$1
    shift
    client "$TRAFFIC" "$@" --timeout "$PATIENCE" >"$WORK/result" 2>"$WORK/errors"
    local status=$?
    [ $status -eq 0 ] || echo "# $(cat "$WORK/result" "$WORK/errors")"
    result $status "$text"
}

# target VERSION [PORT]
target() { [ "$1" = 4 ] && echo "$VIP4:${2:-$PORT}" || echo "[$VIP6]:${2:-$PORT}"; }

# Long-lived clients of each kind, whose connections begin and end when the test says so.
declare -A stream
# streams VERSION [ECHO-OPTION...]: they begin now, and something has moved in each.
streams() {
    local kind options version=$1
    shift
    rm -f "$WORK"/*.{up,end}
    for kind in echo get put; do
        case $kind in
        echo) options=(--connections 3 "$@") ;;
        get) options=(--size 1M) ;;
        put) options=(--size 256K) ;;
        esac
        client "$TRAFFIC" client $kind --to "$(target "$version")" "${options[@]}" --timeout "$PATIENCE" \
            --mark-file "$WORK/$kind.up" --until-file "$WORK/$kind.end" >"$WORK/$kind.json" 2>"$WORK/$kind.errors" &
        stream[$kind]=$!
    done
    move_on
}
# said KIND: what its client has to say.
said() { sed "s/^/# $1: /" "$WORK/$1".{json,errors}; }
# move_on: in each stream something moves from now on.
move_on() {
    local kind
    rm -f "$WORK"/*.up
    for kind in echo get put; do
        wait_until 15 test -e "$WORK/$kind.up" || {
            echo "# $kind stands still"
            said $kind
            describe
            return 1
        }
    done
}
all_protected() { ! ip netns exec "$speaker" grep -qv ' protected ' /proc/net/sttcp; }
# end_well: each stream comes to a good end.
end_well() {
    local kind status=0
    touch "$WORK"/{echo,get,put}.end
    for kind in echo get put; do
        wait "${stream[$kind]}" || {
            status=1
            said $kind
        }
    done
    return $status
}
# gap KIND: the longest pause of a stream that has ended, in milliseconds.
gap() { sed -nE 's/.*"gap":\{"ms":([0-9.]+).*/\1/p' "$WORK/$1.json"; }

begin() {
    ktap_begin
    module_load || bail "the module does not load"
    trap topology_down EXIT
    pair_up || bail "the pair does not come up"
}
