# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# A protected service on the segment of three guests (drawn in scripts/segment.sh): both servers own 10.0.0.100 and run
# redis-server (port 6379) and sttcp-traffic serve (port 7000); the client has 03:00:00:00:00:64 as the service's link-layer
# address, which the bridge floods and which the servers' network cards must be told to receive.
#
# Source it after scripts/segment.sh. Wait for conditions, never for time alone.

. "$STTCP_TOP/tests/ktap.sh"

VIP=10.0.0.100
SERVICE_MAC=03:00:00:00:00:64
KEY=00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff
MODULE=${MODULE:-$STTCP_TOP/sttcp.ko}
TRAFFIC=${TRAFFIC:-$STTCP_TOP/build/sttcp-traffic}
# Of the heartbeat, in ms. The default of 50 ms is too short for three emulated guests on two busy cores: a live host would
# be taken for dead.
INTERVAL=${INTERVAL:-200}
WORK=$SEGMENT/work
mkdir "$WORK"

# Who speaks for the service and who is silent; each takeover swaps the two.
speaker=primary silent=backup

# boot_guest NAME [OPTION...]
boot_guest() {
    start "$1" -t 3000 -a "${GUEST_APPEND-}" "${@:2}"
    cp "$TRAFFIC" "$MODULE" "$(share "$1")/"
}

# The servers of a host.
SERVERS="
    redis-server --bind $VIP --protected-mode no --save '' --appendonly no >/tmp/redis.log 2>&1 &
    /tmp/sttcp-traffic serve --listen $VIP:7000 >/tmp/serve.log 2>&1 &
    until [[ \$(ss -Hltn src $VIP | wc -l) -eq 2 ]]; do sleep 0.1; done"

# serve NAME ROLE: the service, and the node in this role.
serve() {
    local number=1 other=2 here there
    [[ $1 == primary ]] || number=2 other=1
    here=10.0.0.$number:7077 there=10.0.0.$other:7077
    [[ -z ${CABLE-} ]] || here+=,10.1.0.$number:7077 there+=,10.1.0.$other:7077
    on -t 90 "$1" "
        set -e
        cp sttcp-traffic /tmp/
        ip address add $VIP/32 dev eth0
        ip maddress add $SERVICE_MAC dev eth0
        insmod sttcp.ko
        $SERVERS
        cd /proc/sys/net/sttcp
        echo ${APP_FAILURE:-off} >app_failure
        echo '$VIP:*' >service
        echo $here >local
        echo $there >peer
        echo $KEY >key
        echo $INTERVAL >heartbeat_interval_ms
        echo $2 >role"
}

# client_up: the client's way to the service.
client_up() {
    on client "cp sttcp-traffic /tmp/ && ip neighbour add $VIP lladdr $SERVICE_MAC dev eth0 nud permanent"
}

# state NAME; has_state NAME STATE
state() { on "$1" 'cat /proc/sys/net/sttcp/state'; }
has_state() { [[ $(state "$1") == "$2" ]]; }

# counter NAME COUNTER
counter() { on "$1" "awk '\$1 == \"$2\" { print \$2 }' /proc/net/sttcp_stat"; }

in_step() { wait_until 30 has_state "$speaker" protected && wait_until 30 has_state "$silent" shadowing; }

# pair_up: the guests, and a pair in step.
pair_up() {
    local name
    for name in client primary backup; do boot_guest "$name"; done
    ready client primary backup
    client_up && serve primary primary && serve backup backup && in_step
}

# talk NAME ARGUMENTS...: a client of the traffic tool, in the background until `hush NAME` or its own end.
declare -A talker
talk() {
    local name=$1
    shift
    rm -f "$(share client)/$name".{up,stop}
    on -t 200 client "/tmp/sttcp-traffic $* --timeout ${PATIENCE:-60} --mark-file $name.up --until-file $name.stop" \
        >"$WORK/$name.json" 2>&1 &
    talker[$name]=$!
}
talking() { wait_until 30 test -e "$(share client)/$1.up"; }
# moved_on NAME...: waits until bytes have come on all their connections since now.
moved_on() {
    local name
    for name; do rm -f "$(share client)/$name.up"; done
    for name; do talking "$name" || return 1; done
}
hush() { touch "$(share client)/$1.stop"; }
# heard NAME: waits for its end; fails if a reply or a byte was wrong.
heard() { wait "${talker[$1]}"; }

# field NAME FIELD: a number or a word of a client's result.
field() { sed -nE "s/.*\"$2\":\"?([a-z0-9.]+).*/\1/p" "$WORK/$1.json"; }
# pause NAME: the client's longest gap, in ms.
pause() { sed -nE 's/.*"gap":\{"ms":([0-9.]+).*/\1/p' "$WORK/$1.json"; }
# pause_began NAME: in ms since 1970, by the client's clock.
pause_began() { sed -nE 's/.*"began_unix_ms":([0-9]+).*/\1/p' "$WORK/$1.json"; }

# logged NAME PATTERN: the last line of the kernel's log with it.
logged() { grep -aE "sttcp: .*$2" "$SEGMENT/$1/console" | tail -1 | tr -d '\r'; }

# explain: what the logs of both hosts say, for the summary, which may be all there is to see.
explain() {
    local name
    for name in primary backup; do
        grep -a 'sttcp: ' "$SEGMENT/$name/console" | tail -4 | tr -d '\r' | sed "s/^/$name: /"
    done
}

# align NAME: how far the guest's clocks are behind the host's. Writing to the share stamps a file with the host's time,
# which has passed when the guest reads its own clock next: so the largest difference seen is the truest. Prints the
# difference to the time of day and to the kernel log's time, in seconds.
align() {
    local answer monotonic real mark
    answer=$(on "$1" 'python3 -c "
import os, time
file = os.open(\"clock\", os.O_RDWR | os.O_CREAT)
monotonic = real = -10**30
for _ in range(60):
    os.pwrite(file, b\"x\", 0)
    stamp = os.fstat(file).st_mtime_ns
    monotonic = max(monotonic, stamp - time.monotonic_ns())
    real = max(real, stamp - time.time_ns())
log = open(\"/dev/kmsg\", \"w\")
print(\"clock %.6f\" % time.monotonic(), file=log, flush=True)
print(\"%.6f %.6f\" % (monotonic / 1e9, real / 1e9))
"')
    read -r monotonic real <<<"$answer"
    # The log's clock is not quite the monotonic one.
    mark=$(grep -a ' clock ' "$SEGMENT/$1/console" | tail -1 | tr -d '\r')
    awk -v real="$real" -v monotonic="$monotonic" -v mark="$mark" 'BEGIN {
        sub(/^\[ */, "", mark); split(mark, part, /\]? +(clock )?/)
        printf "%.6f %.6f\n", real, monotonic + part[2] - part[1] }'
}

# delivered: bytes that the segment brought to the client so far.
delivered() { cat /sys/class/net/tap-client/statistics/tx_bytes; }
has_delivered() { [[ $(delivered) -ge $1 ]]; }

# swap: after a takeover.
swap() {
    local old=$speaker
    speaker=$silent silent=$old
}

# settle: finds out who speaks, and waits until the pair is in step.
settled() {
    if has_state "$speaker" protected && has_state "$silent" shadowing; then return 0; fi
    swap
    return 1
}
settle() { wait_until 30 settled; }

# serve_again NAME: the module was unloaded there, and the servers live: it comes back as backup, with servers of its own.
serve_again() {
    on "$1" 'pkill -KILL redis-server; pkill -KILL sttcp-traffic; ip address flush dev eth0 to 10.0.0.100/32; true' && serve "$1" backup && in_step
}

# reboot: the dead guest, which is the silent one now, comes back and joins as backup.
reboot() { boot_guest "$silent" && ready "$silent" && serve "$silent" backup && in_step; }
