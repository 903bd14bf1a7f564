#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The kernel's mptcp_connect with plain TCP sockets: a file goes each way, in all of its modes, over loss, delay and reordering as
# mptcp_connect.sh draws them. Both servers send the same file and must get the client's. Topology: see ../netns/lib.sh.

. "$(dirname "$0")/lib.sh"

CONNECT=$SELFTESTS/net/mptcp/mptcp_connect
port=10000

# make_files FATE: one for each way, of 1 to 6 MiB; for a takeover four times as much, so that there is time for the cut.
make_files() {
    local name factor=1
    [ "$1" = whole ] || factor=4
    for name in cin sin; do
        draw $((5 << 20))
        head -c $(((drawn + (1 << 20)) * factor)) /dev/urandom >"$WORK/$name"
    done
    echo "# the client sends $(stat -c %s "$WORK/cin") bytes, the servers $(stat -c %s "$WORK/sin")"
}

# weather: towards the servers loss of up to 1 % and a delay of up to 50 ms; on the way back a few packets are late by a quarter of that.
# Segmentation and merging are switched off at random.
weather() {
    local loss delay reorder correlation flags='' feature host
    draw 99; loss=$((drawn + 1))
    draw 40; delay=$((drawn + 10))
    draw 9; reorder=$((99 - drawn))
    draw 99; correlation=$((drawn + 1))
    printf -v loss '%d.%02d%%' $((loss / 100)) $((loss % 100))
    client tc qdisc replace dev eth0 root netem loss random "$loss" delay ${delay}ms
    ip netns exec switch tc qdisc replace dev to-client root netem delay $((delay / 4))ms reorder $reorder% $correlation%
    for feature in tso gso gro; do
        draw 2; flags="$flags $feature $([ "$drawn" = 0 ] && echo on || echo off)"
    done
    # shellcheck disable=SC2086 # one word each
    for host in client primary backup; do ip netns exec $host ethtool -K eth0 $flags; done
    echo "# to the servers: loss $loss, delay $delay ms; back: delay $((delay / 4)) ms, reorder $reorder% $correlation%;$flags"
}

# carried: bytes through the client's card, either way. The files tell less: some modes write nothing before all has come.
carried() {
    client awk '{ sum += $1 } END { printf "%d\n", sum }' /sys/class/net/eth0/statistics/{r,t}x_bytes
}
has_carried() { ended "$pid" || [ "$(carried)" -ge "$1" ]; }

# transfer TEXT VERSION FATE [OPTION...]: fate is `whole`, or `takeover` at any byte of the first half: of the rest some must be left
# when the cut comes, a tenth of a second later.
transfer() {
    local text="$1, IPv$2" address status=0 host hosts='primary backup' rounds=${rounds:-1} pid begun carried
    local -A listener
    [ "$3" = whole ] || text="$text, through a takeover"
    wanted "$text" || return
    address=$(address "$2")
    watch "$3"
    [ "$fate" = whole ] || hosts=$survivor
    shift 3
    port=$((port + 1))
    for host in primary backup; do
        ip netns exec $host "$CONNECT" -l -t 30 -p $port -s TCP "$@" "$address" <"$WORK/sin" >"$WORK/sout.$host" 2>"$WORK/listener.$host" &
        listener[$host]=$!
    done
    wait_until 10 listens primary $port && wait_until 10 listens backup $port || status=1
    begun=${EPOCHREALTIME/./} carried=$(carried)
    # shellcheck disable=SC2086 # words on purpose
    client timeout 120 "$CONNECT" -t 30 -p $port -s TCP "${@//"$WORK/sin"/"$WORK/cin"}" "$address" <"$WORK/cin" >"$WORK/cout" 2>"$WORK/connector" &
    pid=$!
    if [ "$fate" = takeover ]; then
        draw $((($(stat -c %s "$WORK/cin") + $(stat -c %s "$WORK/sin")) * rounds / 2))
        wait_until 60 has_carried $((carried + drawn))
        cut_speaker || status=1
        ! ended "$pid" || {
            echo "# all was over before the cut"
            status=1
        }
    fi
    wait $pid || {
        echo "# the client ended with $?"
        status=1
    }
    text="$text, $(((${EPOCHREALTIME/./} - begun) / 1000)) ms"
    for host in $hosts; do
        wait_until 10 ended "${listener[$host]}" || echo "# the server on $host did not end"
        kill "${listener[$host]}" 2>/dev/null
        wait "${listener[$host]}" || {
            echo "# the server on $host ended with $?"
            status=1
        }
        copies "$rounds" "$WORK/cin" | cmp - "$WORK/sout.$host" || status=1
    done
    copies "$rounds" "$WORK/sin" | cmp - "$WORK/cout" || status=1
    # What opens after a takeover has no backup.
    watched "$([ "$fate" = whole ] && echo "$rounds" || echo 1)" || status=1
    kill -9 "${listener[@]}" 2>/dev/null
    wait "${listener[@]}" 2>/dev/null
    [ "$fate" = whole ] || rejoin || {
        echo "# no rejoin"
        status=1
    }
    [ $status -eq 0 ] || {
        note "$WORK/connector" "$WORK"/listener.*
        dmesg | grep sttcp: | tail -4 | sed 's/^/# /'
    }
    result $status "$text"
}
# copies N FILE
copies() { for _ in $(seq "$1"); do cat "$2"; done; }

# everywhere VALUE NAME: a control of IPv4's TCP on all hosts.
everywhere() {
    local host
    for host in client primary backup; do ip netns exec $host sysctl -q "net.ipv4.$1=$2"; done
}

begin
RANDOM=$SEED
echo "# SEED=$SEED"
make_files whole
for mode in poll mmap sendfile splice; do
    transfer "$mode" 4 whole -m $mode
    transfer "$mode" 6 whole -m $mode
done
for mode in poll mmap sendfile splice; do
    for version in 4 6; do
        weather
        for fate in whole takeover; do
            make_files $fate
            transfer "$mode, lossy" $version $fate -m $mode
        done
    done
done
weather
for fate in whole takeover; do
    make_files $fate
    for peek in saveWithPeek saveAfterPeek; do transfer "$peek, lossy" 4 "$fate" -P $peek; done
    transfer "small buffers, lossy" 4 "$fate" -R 65536 -S 65536
    everywhere tcp_syncookies 2
    transfer "SYN cookies, lossy" 4 "$fate"
    transfer "SYN cookies, lossy" 6 "$fate"
    everywhere tcp_syncookies 1
    everywhere tcp_fastopen 3
    transfer "asks for Fast Open, lossy" 4 "$fate" -o MPTFO
    everywhere tcp_fastopen 0
    transfer "with timestamps of arrival, lossy" 6 "$fate" -c TIMESTAMPNS
    rounds=3 transfer "three times from one socket, lossy" 4 "$fate" -I 3 -i "$WORK/sin"
done
# The tap alone loses.
make_files whole
ip netns exec switch tc qdisc add dev "to-$silent" root netem loss random 1%
transfer "poll, the tap loses besides" 4 whole
ktap_end
