#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# iperf3 against a protected server, up and down. It opens a control connection and one for each stream, which it knows by a random
# cookie of the client. What the two servers send on the control connection is the same until they report their results, in which
# each tells of its own clock and its own processor. Topology: see ../netns/lib.sh.

. "$(dirname "$0")/lib.sh"

port=5200

# field FILE EXPRESSION: of iperf3's JSON, as `it`.
field() { python3 -c 'import json, sys; it = json.load(open(sys.argv[1])); print(eval(sys.argv[2]))' "$1" "$2" 2>/dev/null; }

# measure TEXT VERSION FATE CONNECTIONS ARGUMENT...
measure() {
    local text="$1, IPv$2" address status=0 host pid connections=$4 figures servers=() seconds=8
    [ "$3" = whole ] || text="$text, through a takeover" seconds=12
    wanted "$text" || return
    address=$(address "$2")
    watch "$3"
    shift 4
    port=$((port + 1))
    for host in primary backup; do
        ip netns exec $host iperf3 -s -1 -J -B "$address" -p $port >"$WORK/served.$host" 2>&1 &
        servers+=($!)
    done
    wait_until 10 listens primary $port && wait_until 10 listens backup $port || status=1
    client timeout 60 iperf3 -J -c "$address" -p $port -t $seconds "$@" >"$WORK/measured" 2>&1 &
    pid=$!
    wait_until 10 has_grown "$speaker" '^protected$' $((protected + connections)) || {
        echo "# not all of its $connections connections are protected"
        status=1
    }
    if [ "$fate" = whole ]; then
        sleep 4
    else
        draw 20
        sleep $((drawn / 10 + 1)).$((drawn % 10))
        cut_speaker || status=1
        ! ended "$pid" || {
            echo "# all was over before the cut"
            status=1
        }
    fi
    # Not at the end: there each server closes the streams when it hears so on the control connection, whatever it has not read.
    watched "$connections" || status=1
    wait $pid || status=1
    [ "$(field "$WORK/measured" '"error" in it')" = False ] || status=1
    # Bytes flow until the end: no stream stands still for the last three whole seconds.
    [ "$(field "$WORK/measured" 'all(map(any, zip(*[[stream["bytes"] for stream in interval["streams"]] for interval in it["intervals"][-4:-1]])))')" = True ] || {
        status=1
        echo "# a stream stood still; KiB of each in each second:" \
            "$(field "$WORK/measured" '[[stream["bytes"] >> 10 for stream in interval["streams"]] for interval in it["intervals"]]')"
    }
    figures=$(field "$WORK/measured" '"%.0f Mbit/s sent, %.0f received" % tuple(it["end"][sum]["bits_per_second"] / 1e6 for sum in ("sum_sent", "sum_received"))')
    kill -9 "${servers[@]}" 2>/dev/null
    wait "${servers[@]}" 2>/dev/null
    [ "$fate" = whole ] || rejoin || {
        echo "# no rejoin"
        status=1
    }
    [ $status -eq 0 ] || echo "# $(field "$WORK/measured" 'it["error"]')"
    result $status "$text: $figures"
}

begin
RANDOM=$SEED
echo "# SEED=$SEED, $(iperf3 --version | head -1)"
for fate in whole takeover; do
    measure "up" 4 "$fate" 2
    measure "up, four streams" 6 "$fate" 5 -P 4
    measure "down" 4 "$fate" 2 -R
    measure "down, content that repeats" 6 "$fate" 2 -R --repeating-payload
    measure "down, four streams" 4 "$fate" 5 -R -P 4
    measure "both ways" 4 "$fate" 3 --bidir
done
ktap_end
