#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Suites that nobody here wrote (made ready by scripts/suites.sh), against a protected service. Topology and the rest: see ../netns/lib.sh.
# Sourced by the tests beside it.

. "$(dirname "${BASH_SOURCE[0]}")/../netns/lib.sh"

SUITES=${SUITES:-/opt/suites}
# shellcheck disable=SC2034 # read by the tests
SELFTESTS=$SUITES/selftests
# Chance is drawn from the seed, so that a run can be repeated as far as time allows.
SEED=${SEED:-$RANDOM}

# wanted TEXT: ONLY, a regular expression, picks cases out of a test.
wanted() { [[ $1 =~ ${ONLY-} ]]; }

# address VERSION
address() { [ "$1" = 4 ] && echo "$VIP4" || echo "$VIP6"; }
# listens HOST PORT
listens() { ip netns exec "$1" ss -Hltn "sport = :$2" | grep -q .; }
# both_listen PORT
both_listen() { listens primary "$1" && listens backup "$1"; }
# sum HOST PATTERN: of the counters whose names match.
sum() { ip netns exec "$1" awk -v name="$2" '$1 ~ name { sum += $2 } END { print sum + 0 }' /proc/net/sttcp_stat; }
# has_grown HOST PATTERN VALUE
has_grown() { [ "$(sum "$1" "$2")" -ge "$3" ]; }
# shellcheck disable=SC2034 # read by the tests
# draw N: a number from 0 to N - 1; afterwards in $drawn, as a subshell has a chance of its own.
draw() { drawn=$(((RANDOM << 15 | RANDOM) % $1)); }

# note FILE...: what the programs said, for whoever reads a failure.
note() {
    local file
    for file; do [ ! -s "$file" ] || tail -n 8 "$file" | cut -c1-300 | sed "s/^/# ${file##*/}: /"; done
}

# cut_speaker: the speaker's host is gone; the other speaks.
cut_speaker() {
    ip -n switch link set "to-$speaker" down
    wait_until 10 has_state "$silent" solo
}

# watch and watched: between the two, connections were protected as they should be. $survivor serves afterwards.
#   watch FATE        remembers counters
#   watched N         at least N connections were protected and none lost its protection; or as many went on after a takeover
watch() {
    settle || echo "# the pair is not in step"
    fate=$1 survivor=$speaker
    [ "$fate" = whole ] || survivor=$silent
    was_speaker=$speaker
    protected=$(counter "$speaker" protected)
    lost=$(sum "$speaker" '^unprotected_')
    continued=$(counter "$silent" takeover_continued)
}
watched() {
    local now
    now=$(($(counter "$was_speaker" protected) - protected))
    [ $now -ge "$1" ] || {
        echo "# $now connections were protected, not $1"
        return 1
    }
    if [ "$fate" = whole ]; then
        now=$(($(sum "$was_speaker" '^unprotected_') - lost))
        [ $now -eq 0 ] || {
            echo "# $now connections lost their protection: $(ip netns exec "$was_speaker" grep -w 'unprotected_[a-z_]* [1-9].*' /proc/net/sttcp_stat | xargs)"
            return 1
        }
    else
        now=$(($(counter "$survivor" takeover_continued) - continued))
        [ $now -ge "$1" ] || {
            echo "# $now connections went on, not $1"
            return 1
        }
    fi
}

# Redis on both hosts, at port 6379 of the service address and at a socket beside it. The paths are of one length, as CONFIG GET tells them; each
# has a directory of its own, as it saves there.
REDIS=6379
redis_up() {
    local host
    echo "# $(redis-server --version | cut -d' ' -f1-3)"
    for host in primary backup; do
        redis_start "$host"
    done
    wait_until 20 listens primary $REDIS && wait_until 20 listens backup $REDIS
}
redis_start() {
    mkdir -p "$WORK/redis.d.${1:0:1}"
    ip netns exec "$1" redis-server --port $REDIS --bind "$VIP4" "$VIP6" --unixsocket "$WORK/redis.${1:0:1}" --protected-mode no --save '' \
        --enable-debug-command yes --enable-protected-configs yes --dir "$WORK/redis.d.${1:0:1}" >"$WORK/redis.log.${1:0:1}" 2>&1 &
}
# redis HOST COMMAND...: beside the service.
redis() { redis-cli -s "$WORK/redis.${1:0:1}" "${@:2}"; }
digest() { redis "$1" debug digest; }
# alike: both hosts have the same keys. The shadow may be a moment behind.
alike() { [ "$(digest primary)" = "$(digest backup)" ]; }

# unprotect and protect: the same servers with the module idle, and with it at work again.
unprotect() {
    set_control backup role off
    set_control primary role off
    client ip neigh replace "$VIP4" lladdr "$(primary cat /sys/class/net/eth0/address)" dev eth0 nud permanent
    client ip neigh replace "$VIP6" lladdr "$(primary cat /sys/class/net/eth0/address)" dev eth0 nud permanent
}
protect() {
    client ip neigh replace "$VIP4" lladdr 03:00:00:00:00:64 dev eth0 nud permanent
    client ip neigh replace "$VIP6" lladdr 03:00:00:00:00:64 dev eth0 nud permanent
    set_control primary role primary && set_control backup role backup
    settle
}

# finishes TEXT CONNECTIONS FATE COMMAND...: a client runs to its end, for six seconds or so, through a takeover at a moment of chance if FATE says so. What it
# says is in $WORK/said, and the last line of that is its result.
finishes() {
    local text=$1 connections=$2 status=0 pid
    wanted "$text" || return
    watch "$3"
    [ "$3" = whole ] || text+=", through a takeover"
    "${@:4}" >"$WORK/said" 2>"$WORK/complained" &
    pid=$!
    if [ "$3" = takeover ]; then
        draw 10
        sleep 2.$drawn
        cut_speaker || status=1
        ! ended $pid || {
            echo "# all was over before the cut"
            status=1
        }
    fi
    wait $pid || status=1
    watched "$connections" || status=1
    [ "$3" = whole ] || rejoin || status=1
    [ $status -eq 0 ] || note "$WORK/said" "$WORK/complained"
    result $status "$text: $(tail -1 "$WORK/said" | tr -s ' \t' ' ')"
}
