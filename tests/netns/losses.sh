#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The tap loses, repeats and reorders frames, and the backup fetches from the primary what it missed; the backup's server stands still; the backup is far
# away. Downloads and uploads are of BYTES (4M unless told). Topology: see lib.sh.

. "$(dirname "$0")/lib.sh"
# No takeover is meant to happen but by a cut, however much is lost.
INTERVAL=400
BYTES=${BYTES:-4M}
begin
keep_order

# moved COUNTER: it is more than when last asked.
declare -A before
moved() {
    local host=$1 now last
    now=$(counter "$host" "$2")
    last=${before[$host $2]:-0}
    before[$host $2]=$now
    [[ $now -gt $last ]]
}

# client_counts NAME...: the sum of these counters of the client's TCP (/proc/net/netstat).
client_counts() {
    client awk -v wanted=" $* " '
        $1 != "TcpExt:" { next }
        !named { split($0, name); named = 1; next }
        { for (i = 2; i <= NF; i++) if (index(wanted, " " name[i] " ")) sum += $i }
        END { print sum + 0 }' /proc/net/netstat
}
# What a client repeats fast, for a loss that was none; what it has repeated in vain; and when it may, having heard nothing for long.
fast() { client_counts TCPFastRetrans TCPSlowStartRetrans TCPSpuriousRtxHostQueues; }
vain() { client_counts TCPDSACKRecv TCPDSACKOfoRecv; }
late() { client_counts TCPLossProbes TCPTimeouts; }
# repeats WHEN: a comment, what the client has repeated since last asked, counter by counter.
declare -A repeated=()
repeats() {
    local name now
    printf '# %s: the client:' "$1"
    for name in TCPFastRetrans TCPSlowStartRetrans TCPSpuriousRtxHostQueues TCPDSACKRecv TCPDSACKOfoRecv TCPLossProbes TCPTimeouts; do
        now=$(client_counts $name)
        printf ' %s %s' $name $((now - ${repeated[$name]:-0}))
        repeated[$name]=$now
    done
    echo
}

# nobody: no connection is left on either host.
nobody() { ! ip netns exec primary grep -q . /proc/net/sttcp && ! ip netns exec backup grep -q . /proc/net/sttcp; }

impairments=("loss 0.1%" "loss 1%" "loss 5%" "loss 20%" "delay 5ms 4ms reorder 30%" "duplicate 20%")
# Of a slow kernel other things are asked.
[[ $SLOW -eq 1 ]] || impairments=("loss 5%" "delay 5ms 4ms reorder 30%")
for policy in gated eager; do
    set_policy $policy
    fast=$(fast) vain=$(vain) late=$(late)
    goes "$policy: no loss: upload" client put --to "$(target 4)" --bytes 4M
    goes "$policy: no loss: download" client get --to "$(target 6)" --bytes 4M
    fast=$(($(fast) - fast)) vain=$(($(vain) - vain)) late=$(($(late) - late))
    # Of an eager primary two CPUs of this one guest send acknowledgements, and the client's answers overtake each other.
    if [[ $policy = gated && $SLOW -eq 1 ]]; then
        [[ $fast -eq 0 ]]
        result $? "$policy: no loss: the client repeats nothing fast ($fast)"
        [[ $vain -le $late ]]
        result $? "$policy: no loss: nor in vain, but for long silences of a busy machine ($vain, $late)"
    fi
    repeats "$policy: no loss"
    for netem in "${impairments[@]}"; do
        # shellcheck disable=SC2086 # several words
        tap $netem
        goes "$policy: tap: $netem: echo" client echo --to "$(target 4)" --count 100
        goes "$policy: tap: $netem: interactive" client ask --to "$(target 6)" --count 50
        goes "$policy: tap: $netem: download" client get --to "$(target 4)" --bytes "$BYTES"
        goes "$policy: tap: $netem: upload" client put --to "$(target 6)" --bytes "$BYTES"
        repeats "$policy: tap: $netem"
    done
    for host in primary backup; do set_control $host heartbeat_misses 20; done
    for what in channel tap_and_channel; do
        $what loss 20%
        goes "$policy: $what: loss 20%: echo" client echo --to "$(target 4)" --count 100
        goes "$policy: $what: loss 20%: small connections" client echo --to "$(target 6)" --connections 4 --count 10
        goes "$policy: $what: loss 20%: download" client get --to "$(target 4)" --bytes "$BYTES"
        goes "$policy: $what: loss 20%: upload" client put --to "$(target 6)" --bytes "$BYTES"
        mend
    done
    for host in primary backup; do set_control $host heartbeat_misses 3; done
    moved $speaker gaps_repaired
    result $? "$policy: gaps were asked for and filled"
    moved $speaker tails_repaired
    result $? "$policy: lost tails were sent"
    moved $silent bytes_injected
    result $? "$policy: the shadows took the bytes"
    for name in unprotected_stalled unprotected_open_timeout unprotected_shadow_gone; do
        [[ $(counter $speaker $name) -eq 0 ]]
        result $? "$policy: no connection lost its protection ($name)"
    done
    wait_until 10 nobody
    result $? "$policy: no connection stays, whatever was lost at its end"
    has_state $speaker protected
    result $? "$policy: nobody took over"
done
mend
for ACK_POLICY in gated eager; do
    set_policy $ACK_POLICY
    for kind in echo "ask" "get --size 1M" "put --size 256K"; do
        TAP_LOSS=5%
        # shellcheck disable=SC2086 # several words
        survives "$ACK_POLICY: tap: loss 5%: ${kind%% *} over a takeover" client $kind --to "$(target 4)" --connections 2
        TAP_LOSS=
    done
done

settle
# With copies on the primary a small upload need not wait for a backup whose server stands still.
stop_server() { ip netns pids "$silent" | xargs -r kill -STOP; }
cont_server() { ip netns pids "$silent" | xargs -r kill -CONT; }
stop_server
goes "eager: an upload ends while the backup's server stands still" client put --to "$(target 4)" --bytes 768K
cont_server
set_policy gated

# A backup whose server stands still has less and less room, and the client hears of it. `put` is as long as it takes.
upload() {
    client "$TRAFFIC" client put --to "$(target 4)" --bytes 24M --timeout $((4 * PATIENCE)) >"$WORK/result" 2>"$WORK/errors" &
    pid=$!
}
settle
set_control "$speaker" backup_stall_ms $((30000 * SLOW))
moved "$speaker" unprotected_stalled
stop_server
upload
sleep 10
! ended $pid && ip netns exec "$speaker" grep -q ' protected ' /proc/net/sttcp
result $? "a backup's server that stands still for 10 s holds the upload up, and it stays protected"
cont_server
wait $pid
result $? "the upload goes on to its end"
! moved "$speaker" unprotected_stalled
result $? "the connection did not lose its protection"
set_control "$speaker" backup_stall_ms $((1000 * SLOW))
stop_server
upload
wait $pid
result $? "a backup's server that does not go on is left behind"
moved "$speaker" unprotected_stalled
result $? "the connection is counted as unprotected"
cont_server
set_control "$speaker" backup_stall_ms $((2000 * SLOW))

# Without copies the client's own retransmissions have to do.
set_control "$speaker" retain_kb 0
moved "$speaker" retain_overflow
tap loss 1%
goes "nothing is kept: upload under loss" client put --to "$(target 4)" --bytes 256K
mend
moved "$speaker" retain_overflow
result $? "what was not kept is counted"
set_control "$speaker" retain_kb 16384

# The word of a new connection is 300 ms on its way to the backup, and its server says nothing until then.
impair "to-$silent" "ip flower ip_proto udp dst_port 7077" delay 300ms
sleep 1
moved "$speaker" output_awaits_shadow
goes "a server that speaks first, with the backup far away" client greet --to "$(target 4 $GREET)" --count 1
gap=$(sed -nE 's/.*"gap":\{"ms":([0-9]+).*/\1/p' "$WORK/result")
[[ ${gap:-0} -ge 300 ]]
result $? "it waits for the backup (the client's longest wait: $gap ms)"
moved "$speaker" output_awaits_shadow
result $? "what it says is held"
mend

# MEASURE=ROUNDS: how long transfers take under losses of the tap, as a multiple of what they take without, turn by turn; and how many datagrams
# the two hosts send for them. What is "in frames" is sent as a cable carries it, and not up to 64 KB at a time; at 100 Mbit/s that cable is
# what limits it, and else the two CPUs.
in_frames() { client ethtool -K eth0 tso off gso off; }
at_most() { client tc qdisc add dev eth0 root tbf rate "$1" burst 64k latency 100ms; }
as_ever() {
    client tc qdisc del dev eth0 root 2>/dev/null
    client ethtool -K eth0 tso on gso on
}
declare -A took=() datagrams=()
measure() { # CASE NETEM CLIENT_ARGUMENTS...
    local case="$1 $2" netem=$2 started host
    for host in "$speaker" "$silent"; do moved "$host" peer_sent; done
    shift 2
    # shellcheck disable=SC2086 # several words
    [ "$netem" = none ] || tap $netem
    started=$(date +%s%3N)
    client "$TRAFFIC" client "$@" --to "$(target 4)" --timeout $((4 * PATIENCE)) >/dev/null
    took[$case]=$((${took[$case]:-0} + $(date +%s%3N) - started))
    mend
    for host in "$speaker" "$silent"; do
        datagrams[$host $case]=$((${datagrams[$host $case]:-0} - ${before[$host peer_sent]} + $(counter "$host" peer_sent)))
    done
}
for _ in $(seq "${MEASURE:-0}"); do
    for policy in gated eager; do
        set_policy $policy
        for netem in none "loss 1%" "loss 5%"; do
            measure "$policy get" "$netem" get --bytes 64M
            measure "$policy put" "$netem" put --bytes 64M
            in_frames
            measure "$policy put in frames" "$netem" put --bytes 64M
            at_most 100mbit
            measure "$policy put at 100 Mbit/s" "$netem" put --bytes 64M
            as_ever
            measure "$policy echo" "$netem" echo --count 1000
        done
    done
done
if [ -n "${MEASURE-}" ]; then
    for case in {gated,eager}\ {get,put,"put in frames","put at 100 Mbit/s",echo}; do
        for netem in none "loss 1%" "loss 5%"; do
            echo "# $case $netem: $((${took[$case $netem]} / MEASURE)) ms, throughput $((100 * ${took[$case none]} / ${took[$case $netem]})) of 100," \
                "datagrams $((${datagrams[$speaker $case $netem]} / MEASURE)) of the primary," \
                "$((${datagrams[$silent $case $netem]} / MEASURE)) of the backup"
        done
    done
fi
for host in primary backup; do
    echo "# $host: $(ip netns exec $host grep -v ' 0$' /proc/net/sttcp_stat | tr '\n' ' ')"
done
ktap_end
