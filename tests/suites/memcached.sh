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
# slaps ARGUMENT...: memcslap, which tells of errors but need not fail by them.
slaps() { client timeout 90 memcslap "$@" >"$WORK/slap" 2>&1 && ! grep -i 'fail\|error' "$WORK/slap" && tail -1 "$WORK/slap"; }
reads_back() { client timeout 90 python3 "$WORK/client.py" "$@"; }

begin
RANDOM=$SEED
echo "# SEED=$SEED, $(memcached -V)"
for host in primary backup; do cache_start $host; done
wait_until 20 both_listen $CACHE || bail "memcached does not come up: $(cat "$WORK"/cache.*)"
finishes "memcslap, 8 connections" 8 whole slaps --servers="$VIP4:$CACHE" --concurrency=8 --execute-number=200 --test=set
for version in 4 6; do
    for fate in whole takeover; do
        finishes "read back, 8 connections, IPv$version" 8 $fate reads_back "$(address $version)" $CACHE 8 6 "$fate$version"
    done
done
ktap_end
