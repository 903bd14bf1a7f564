#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# memcached, protected: memcslap as load, and a client that reads back what it has stored, through takeovers. Topology: see ../netns/lib.sh.

. "$(dirname "$0")/lib.sh"
CACHE=11211

cat >"$WORK/client.py" <<'PYTHON'
# client.py ADDR PORT CONNECTIONS SECONDS RUN: stores and reads back on each connection, keys of its own; fails at the first wrong answer.
import socket, sys, time
address, port, count, seconds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
streams = [socket.create_connection((address, port), timeout=15).makefile("rwb") for _ in range(count)]
run = sys.argv[5].encode()
end, number = time.monotonic() + seconds, 0
while time.monotonic() < end:
    for place, stream in enumerate(streams):
        key, value = b"%s-key%d-%d" % (run, place, number % 50), b"%d/%d " % (place, number) * 20
        stream.write(b"set %s 0 0 %d\r\n%s\r\nget %s\r\nincr %s-count%d 1\r\n" % (key, len(value), value, key, run, place))
        if number == 0:
            stream.write(b"set %s-count%d 0 0 1\r\n0\r\n" % (run, place))
        stream.flush()
        want = [b"STORED", b"VALUE %s 0 %d" % (key, len(value)), value, b"END", b"NOT_FOUND" if number == 0 else b"%d" % number]
        want += [b"STORED"] if number == 0 else []
        got = [stream.readline()[:-2] for _ in want]
        assert got == want, (got, want)
    number += 1
print("%d rounds of %d connections" % (number, count))
PYTHON

cache_start() {
    ip netns exec "$1" memcached -u root -l "$VIP4,$VIP6" -p $CACHE -U 0 -m 64 >"$WORK/cache.$1" 2>&1 &
}
# finishes TEXT CONNECTIONS FATE COMMAND...
finishes() {
    local text=$1 connections=$2 status=0 pid
    wanted "$text" || return
    watch "$3"
    [ "$3" = whole ] || text+=", through a takeover"
    client timeout 90 "${@:4}" >"$WORK/said" 2>&1 &
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
    ! grep -i 'fail\|error' "$WORK/said" || status=1
    watched "$connections" || status=1
    [ "$3" = whole ] || rejoin || status=1
    [ $status -eq 0 ] || note "$WORK/said"
    result $status "$text: $(tail -1 "$WORK/said" | tr -s ' \t' ' ')"
}

begin
RANDOM=$SEED
echo "# SEED=$SEED, $(memcached -V)"
for host in primary backup; do cache_start $host; done
wait_until 20 both_listen $CACHE || bail "memcached does not come up: $(cat "$WORK"/cache.*)"
finishes "memcslap, 8 connections" 8 whole memcslap --servers="$VIP4:$CACHE" --concurrency=8 --execute-number=200 --test=set
for version in 4 6; do
    for fate in whole takeover; do
        finishes "read back, 8 connections, IPv$version" 8 $fate python3 "$WORK/client.py" "$(address $version)" $CACHE 8 6 "$fate$version"
    done
done
ktap_end
