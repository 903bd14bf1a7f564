#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# redis-benchmark against a protected Redis. Its connections race, and each host may carry their commands out in an order of its
# own: the commands here give the same keys in any order, and, where a takeover comes, replies of the same length. Topology: see ../netns/lib.sh.

. "$(dirname "$0")/lib.sh"

# benchmark SECONDS ARGUMENT...: what it says in the end, without its progress, is in $WORK/benchmark.
benchmark() {
    local status=0
    client timeout "$1" redis-benchmark -q -p $REDIS "${@:2}" >"$WORK/progress" 2>&1 || status=1
    sed 's/.*\r//' "$WORK/progress" >"$WORK/benchmark"
    ! grep -qi 'err' "$WORK/benchmark" && return $status
}

# figure: requests a second of what redis-benchmark said last.
figure() { grep -o '[0-9.]* requests per second' "$WORK/benchmark" | tail -1; }
clean_up() { redis primary flushall && redis backup flushall; } >/dev/null

# bench TEXT VERSION ARGUMENT...: to its end without a failure; then both hosts have the same keys.
bench() {
    local text="$1, IPv$2" address status=0
    wanted "$text" || return
    address=$(address "$2")
    shift 2
    clean_up
    watch whole
    benchmark 120 -h "$address" "$@" || status=1
    watched 1 || status=1
    wait_until 10 alike || {
        echo "# the hosts' keys differ: $(redis primary dbsize) and $(redis backup dbsize), $(digest primary) and $(digest backup)"
        status=1
    }
    [ $status -eq 0 ] || note "$WORK/benchmark"
    result $status "$text: $(grep -o 'requests per second' "$WORK/benchmark" | wc -l) tests, $(redis "$survivor" dbsize) keys, the same on both"
}

# counts TEXT N MEASURE COMMAND...: N times the command, each of which raises what `redis HOST MEASURE` says from a million by one, through a
# takeover: not one is lost or carried out twice. A million, as then all replies are of one length.
counts() {
    local text=$1 number=$2 measure=$3 status=0 pid before
    wanted "$text" || return
    shift 3
    watch takeover
    # shellcheck disable=SC2086 # words on purpose
    before=$(redis "$survivor" $measure)
    benchmark 120 -h "$VIP4" -n "$number" "$@" &
    pid=$!
    draw $((number * 4 / 5))
    wait_until 60 has_counted $((before + drawn))
    cut_speaker || status=1
    ! ended "$pid" || {
        echo "# all was over before the cut"
        status=1
    }
    wait $pid || status=1
    watched "$connections" || status=1
    # shellcheck disable=SC2086 # words on purpose
    counted=$(($(redis "$survivor" $measure) - before))
    rejoin || {
        echo "# no rejoin"
        status=1
    }
    [ "$counted" -eq "$number" ] || status=1
    [ $status -eq 0 ] || note "$WORK/benchmark"
    result $status "$text, through a takeover: $counted of $number, $(figure)"
}
# shellcheck disable=SC2086 # words on purpose
has_counted() { ended "$pid" || [ "$(redis "$speaker" $measure)" -ge "$1" ]; }

begin
RANDOM=$SEED
echo "# SEED=$SEED"
redis_up || bail "Redis does not come up"
tests=ping,set,get,incr,lpush,rpush,lpop,rpop,sadd,hset,zadd,zpopmin,lrange_100,mset
bench "50 connections" 4 -c 50 -n 1000 -r 1000 -t $tests
bench "50 connections, 16 commands at a time" 4 -c 50 -n 8000 -r 10000 -P 16 -t $tests
bench "50 connections, values of 4 KB" 6 -c 50 -n 1000 -r 1000 -d 4096 -t set,get,lpush,lrange_100,mset
bench "a new connection for each command" 6 -c 10 -n 500 -k 0 -t set,get,incr
skip "spop" "takes a random member out, another one on each host"

for connections in 1 50; do
    each="$connections connection$([ $connections = 1 ] || echo s)"
    clean_up
    for host in primary backup; do redis $host set counter 1000000; done >/dev/null
    counts "INCR, $each" 8000 "get counter" -c $connections incr counter
    clean_up
    for host in primary backup; do redis $host set counter 1000000; done >/dev/null
    counts "INCR, $each, 16 commands at a time" 80000 "get counter" -c $connections -P 16 incr counter
done
clean_up
# A list of a million takes a while, a string that is appended to does not.
for host in primary backup; do redis $host setrange log 999999 x; done >/dev/null
counts "APPEND, 50 connections, 16 commands at a time" 80000 "strlen log" -c 50 -P 16 append log x
ktap_end
