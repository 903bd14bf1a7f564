#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A pair and its client in a guest with one CPU under -icount, whose nanoseconds are instructions. Topology: see ../netns/lib.sh; frames as on a cable
# (TSO ends at the switch), merged by GRO on arrival. Sourced by the benchmarks beside it.
#
# Each host's device has a NAPI thread of its own, so that a host's share is what its server and that thread have run.

. "$(dirname "$0")/../netns/lib.sh"
cp "$TRAFFIC" "$WORK/traffic" && TRAFFIC=$WORK/traffic

# clock: instructions of all tasks since the start. share HOST: of its server's and its device's.
clock() { awk '/^cpu0 / { print $8 }' /proc/schedstat; }
share() {
    local tasks=(/proc/"${server[$1]}"/task/* "/proc/${napi[$1]}")
    cat "${tasks[@]/%//schedstat}" 2>/dev/null | awk '{ sum += $1 } END { print sum + 0 }'
}

declare -A napi
# wire HOST: its device as a network card.
wire() {
    local known
    known=$(pgrep -x 'napi/eth0-.*')
    ip netns exec switch ethtool -K "to-$1" tso off 2>/dev/null
    ip netns exec "$1" ethtool -K eth0 gro on
    ip netns exec "$1" sh -c 'echo 1 >/sys/class/net/eth0/threaded'
    napi[$1]=$(pgrep -x 'napi/eth0-.*' | grep -vxF "$known")
}
start() { # HOST
    serve "$1"
    wait_until 10 listening "$1"
}
# to_primary: the client sends to the primary alone, as without the module.
to_primary() {
    local link
    link=$(ip -n primary -o link show eth0 | sed -E 's/.*ether ([0-9a-f:]*).*/\1/')
    ip -n client neigh replace "$VIP4" lladdr "$link" dev eth0 nud permanent
}

# up MODE
up() {
    local host role=''
    topology_up
    for host in client primary backup; do wire $host; done
    start primary
    server[backup]=$$
    case $1 in
    plain | off) to_primary ;;
    alone) ip -n switch link set to-backup down ;;
    *) start backup ;;
    esac
    [ "$1" = plain ] || module_load
    case $1 in
    plain | off) return ;;
    esac
    configure primary 1 2 && configure backup 2 1
    for host in primary backup; do
        # Time jumps ahead whenever the guest waits for its disk.
        set_control $host heartbeat_interval_ms 500
        set_control $host ack_policy "${1%%-*}"
        [[ $1 == *-digest ]] || set_control $host divergence ignore
    done
    set_control primary role primary
    [ "$1" = alone ] || set_control backup role backup
    [ "$1" = alone ] && role=solo || role=protected
    wait_until 10 has_state primary $role
}

# run LOAD AMOUNT [COMMAND...]: the client's part is run by the command.
run() {
    local to under=("${@:3}")
    to=$(target 4)
    case $1 in
    echo) set -- client echo --size 64 --count "$2" ;;
    download) set -- client get --bytes "$2M" --size "$2M" ;;
    upload) set -- client put --bytes "$2M" --size "$2M" ;;
    connection) set -- client churn --count "$2" --size 1K ;;
    esac
    "${under[@]}" ip netns exec client "$TRAFFIC" "$@" --to "$to" --timeout 60 >"$WORK/result" 2>&1 || {
        sed 's/^/# /' "$WORK/result"
        return 1
    }
}
spent() { echo "$(clock) $(share primary) $(share backup)"; }

# measure LOAD AMOUNT: what one costs, from two amounts, so that all that is there once cancels out.
measure() {
    local load=$1 few=$2 many=$((3 * $2)) points=()
    run "$load" "$few" || return 1
    points+=("$(spent)")
    run "$load" "$few" || return 1
    points+=("$(spent)")
    run "$load" "$many" || return 1
    points+=("$(spent)")
    awk -v few="$few" -v a="${points[0]}" -v b="${points[1]}" -v c="${points[2]}" '
        BEGIN {
            split(a, at); split(b, bt); split(c, ct)
            for (i = 1; i <= 3; i++) cost[i] = ((ct[i] - bt[i]) - (bt[i] - at[i])) / (2 * few)
            printf "%.0f %.0f %.0f\n", cost[1], cost[2], cost[3]
        }'
}

# stayed_protected: no connection was given up meanwhile, or what was measured was plain TCP in part.
stayed_protected() {
    local given_up
    given_up=$(primary awk '/^unprotected_/ && !/shadow_gone/ && $2 > 0' /proc/net/sttcp_stat)
    [ -z "$given_up" ] || { echo "# not protected: $given_up"; return 1; }
}

# amount LOAD: how much of it is measured.
amount() {
    case $1 in
    echo) echo "${ECHOES:-1000}" ;;
    download | upload) echo "${MEGABYTES:-8}" ;;
    connection) echo "${CONNECTIONS:-200}" ;;
    esac
}
down() {
    topology_down
    rmmod sttcp 2>/dev/null
}
