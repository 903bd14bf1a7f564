#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# nginx with static files, protected, under wrk and curl, through takeovers: every answer is whole, every file's sum is right. Each answer has the time in
# its header (Date), of which the two hosts may think differently by a second: so divergence is not looked at. Topology: see ../netns/lib.sh.

. "$(dirname "$0")/lib.sh"
HTTP=8080

# site: files that are the same on both hosts, and as old.
site() {
    mkdir -p "$WORK/site"
    python3 - "$WORK/site" <<'PYTHON'
import os, random, sys
chance = random.Random(1)
for name, size in [("big", 24 << 20)] + [("small%d" % number, 10_000) for number in range(8)]:
    path = os.path.join(sys.argv[1], name)
    with open(path, "wb") as file:
        file.write(chance.randbytes(size))
    os.utime(path, (1_000_000_000, 1_000_000_000))
PYTHON
}
# nginx_start HOST
nginx_start() {
    local dir=$WORK/nginx.$1
    mkdir -p "$dir/tmp"
    cat >"$dir/conf" <<CONF
daemon off;
user root;
worker_processes 2;
pid $dir/pid;
error_log $dir/errors;
events { worker_connections 512; }
http {
    access_log off;
    sendfile on;
    keepalive_requests 1000000;
    client_body_temp_path $dir/tmp/a;
    proxy_temp_path $dir/tmp/b;
    fastcgi_temp_path $dir/tmp/c;
    uwsgi_temp_path $dir/tmp/d;
    scgi_temp_path $dir/tmp/e;
    server {
        listen $VIP4:$HTTP;
        listen [$VIP6]:$HTTP;
        root $WORK/site;
    }
}
CONF
    ip netns exec "$1" nginx -c "$dir/conf" -e "$dir/errors" >"$dir/log" 2>&1 &
}
url() { [ "$1" = 4 ] && echo "http://$VIP4:$HTTP" || echo "http://[$VIP6]:$HTTP"; }

# fetches VERSION: a file of 24 MB with its sum.
fetches() {
    [ "$(client curl -sS --fail --max-time 60 --limit-rate 6M "$(url "$1")/big" | sha256sum)" = "$(sha256sum <"$WORK/site/big")" ] && echo "its sum is right"
}
# asks VERSION SECONDS: wrk, which tells of errors but does not fail by them.
asks() {
    client wrk -t 2 -c 16 -d "$2" --timeout 10s "$(url "$1")/small$((RANDOM % 8))" >"$WORK/wrk" && ! grep -E 'Socket errors|Non-2xx' "$WORK/wrk" &&
        grep Requests/sec "$WORK/wrk"
}

begin
RANDOM=$SEED
echo "# SEED=$SEED, $(nginx -v 2>&1)"
for host in primary backup; do set_control $host divergence ignore; done
site
for host in primary backup; do nginx_start $host; done
wait_until 20 both_listen $HTTP || bail "nginx does not come up: $(cat "$WORK"/nginx.*/log)"
for version in 4 6; do
    for fate in whole takeover; do
        finishes "curl, a file of 24 MB, IPv$version" 1 "$fate" fetches $version
        finishes "wrk, 16 connections, IPv$version" 16 "$fate" asks $version 6
    done
done
ktap_end
