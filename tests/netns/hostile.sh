#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# HOSTILE malformed, borderline and forged frames (15,000 unless told), by SEED, to both hosts of a pair that serves twelve streams: the streams
# go on, the pair stays in step, and the counters account for what came. Then a takeover carries the very same streams on, and a quarter as many
# frames go to the host that serves now. What plain TCP does not survive is nobody's fault here, so a quarter as many go to a host without the
# module first. Topology: see lib.sh, and that host, 10.0.0.200 and fd00::200; what is sent: see `hostile` of the traffic tool.

. "$(dirname "$0")/lib.sh"
# No takeover is meant to happen before the end, however busy the machine is.
INTERVAL=${INTERVAL:-500}
HOSTILE=${HOSTILE:-15000}
# How long a stream pauses after each transaction, in ms: enough that the machine is busy with the frames and not with the streams.
PAUSE=${PAUSE:-50}
GROUP=03:00:00:00:00:64
begin

declare -A streams
# stream NAME ARGUMENTS...: a client that runs until it is told to end, and makes its mark when bytes come.
stream() {
    local name=$1
    shift
    client "$TRAFFIC" client "$@" --timeout $((2 * PATIENCE)) --mark-file "$WORK/up.$name" --until-file "$WORK/end" \
        >"$WORK/out.$name" 2>&1 &
    streams[$name]=$!
}
# all_up: every stream has made its mark. It is asked often, so it starts no process.
all_up() {
    local name
    for name in "${!streams[@]}"; do
        [ -e "$WORK/up.$name" ] || return
    done
}
# open_streams NAME TARGET4 TARGET6: twelve of them; `live` is their ends then, as arguments.
open_streams() {
    local version target pause=$((PAUSE * SLOW))
    streams=()
    rm -f "$WORK"/up.* "$WORK/end"
    for version in 4 6; do
        [ $version = 4 ] && target=$2 || target=$3
        stream echo$version echo --to "$target" --connections 2 --think $pause
        stream ask$version ask --to "$target" --connections 2 --think $pause
        stream get$version get --to "$target" --size 64K --think $((4 * pause))
        stream put$version put --to "$target" --size 16K --think $((4 * pause))
    done
    wait_until 30 all_up
    result $? "$1: streams are up"
    mapfile -t live < <(client ss -Htn state established "dport = :$PORT" | awk '{ print "--live"; print $3 }')
    [ ${#live[@]} -eq 24 ]
    result $? "$1: twelve, and their ports are known"
}
# end_streams NAME
end_streams() {
    local name status
    touch "$WORK/end"
    for name in "${!streams[@]}"; do
        wait "${streams[$name]}"
        status=$?
        [ $status -eq 0 ] || tell cat "$WORK/out.$name"
        result $status "$1: $name: every byte right, $(sed -nE 's/.*"transactions":([0-9]+).*/\1/p' "$WORK/out.$name") transactions"
    done
}

link_of() { ip netns exec "$1" cat /sys/class/net/eth0/address; }
epoch() { ip netns exec "$1" cat /proc/sys/net/sttcp/epoch; }
# has HOST NUMBER STATE: so many connections are in that state.
has() { [ "$(ip netns exec "$1" awk -v state="$3" '$3 == state' /proc/net/sttcp | wc -l)" -eq "$2" ]; }
all_protected() { has primary 12 protected && has backup 12 shadow; }
has_none() { [ -z "$(ip netns exec "$1" cat /proc/net/sttcp)" ]; }
# tell COMMAND...: what it prints, as a comment.
tell() { "$@" | sed 's/^/# /'; }

# go_on: all streams make their mark; asked seldom, as on an emulated machine each process started costs many frames.
go_on() {
    local end=$((SECONDS + 2 * PATIENCE))
    rm -f "$WORK"/up.*
    until all_up; do
        [ $SECONDS -lt $end ] || return 1
        sleep 1
    done
}
# attack NAME COUNT MAC ARGUMENTS...: sends the frames, and looks again and again whether all streams go on meanwhile. The sender comes before
# the streams, which would take the machine for themselves otherwise.
attack() {
    local name=$1 count=$2 mac=$3 pid status=0 rounds=0 last longest=0
    shift 3
    client nice -n -10 "$TRAFFIC" hostile --dev eth0 --mac "$mac" "$@" --from 10.0.0.10 --from fd00::10 "${live[@]}" \
        --seed "${SEED:-1}" --count "$count" >"$WORK/hostile" 2>&1 &
    pid=$!
    until ended $pid; do
        last=$SECONDS
        go_on || status=1
        rounds=$((rounds + 1))
        [ $((SECONDS - last)) -le $longest ] || longest=$((SECONDS - last))
        sleep 1
    done
    wait $pid
    result $? "$name: hostile frames were sent"
    tell cat "$WORK/hostile"
    [ $status -eq 0 ] && [ $rounds -gt 0 ]
    status=$?
    [ $status -eq 0 ] || describe
    result $status "$name: all streams went on, $rounds times, the longest wait $longest s"
}
# attack_service NAME COUNT
attack_service() {
    attack "$@" $GROUP --to "$(target 4)" --to "$(target 6)" \
        --peer "10.0.0.1:7077=$(link_of primary)" --peer "10.0.0.2:7077=$(link_of backup)"
}
# frames KIND: how many of that kind were sent.
frames() { sed -nE "s/.*\"$1\":([0-9]+).*/\1/p" "$WORK/hostile"; }

# note HOST FILE: every counter there, the kernel's and the module's, as lines of a name and a number.
note() {
    {
        ip netns exec "$1" cat /proc/net/snmp /proc/net/netstat | awk '
            $1 != group { group = $1; split($0, names); next }
            { for (i = 2; i <= NF; i++) print substr($1, 1, length($1) - 1) names[i], $i; group = "" }'
        ip netns exec "$1" cat /proc/net/snmp6 /proc/net/sttcp_stat
    } >"$WORK/$2.$1"
}
# rises HOST: what is higher in the second note than in the first, and by how much.
rises() { awk 'NR == FNR { first[$1] = $2; next } $2 > first[$1] { print $1, $2 - first[$1] }' "$WORK/first.$1" "$WORK/second.$1"; }
rise() { rises "$1" | awk -v name="$2" '$1 == name { rise = $2 } END { print rise + 0 }'; }

host plain to-plain 200
ip netns exec plain "$TRAFFIC" serve --listen 10.0.0.200:$PORT --listen "[fd00::200]:$PORT" >/dev/null 2>&1 &
wait_until 10 listening plain
open_streams "plain TCP" 10.0.0.200:$PORT "[fd00::200]:$PORT"
attack "plain TCP" $((HOSTILE / 4)) "$(link_of plain)" --to 10.0.0.200:$PORT --to "[fd00::200]:$PORT"
end_streams "plain TCP"
ip netns pids plain | xargs -r kill
ip netns del plain

open_streams pair "$(target 4)" "$(target 6)"
wait_until 10 all_protected
result $? "pair: streams are protected"
before=$(epoch primary)
note primary first
note backup first
attack_service pair "$HOSTILE"
note primary second
note backup second
in_step && [ "$speaker" = primary ] && [ "$(epoch primary)" = "$before" ] && [ "$(epoch backup)" = "$before" ]
result $? "pair: no takeover happened, and the two are in step"
all_protected
status=$?
[ $status -eq 0 ] || describe
result $status "pair: streams are still protected"
for name in unprotected_stalled unprotected_shadow_gone unprotected_open_timeout; do
    [ "$(rise primary $name)" -eq 0 ]
    result $? "primary: $name stays"
done

# Some of each kind meet another fate before: a martian source, a wrong IP header, another fault of their own.
while read -r counter share hosts kind; do
    for host in ${hosts//,/ }; do
        rise=$(rise "$host" "$counter") sent=$(frames "$kind")
        [ "$rise" -gt 0 ] && [ "$rise" -ge $((${sent:-0} * share / 100)) ]
        result $? "$host: $counter rises by $rise, at least $share of 100 for $sent frames: $kind"
    done
done <<'KINDS'
bad_checksum 50 primary,backup TCP checksum
malformed_segments 30 primary,backup data offset
stray_in 50 backup any flags
peer_bad_source 10 primary,backup peer channel
peer_bad_tag 3 primary,backup peer channel
peer_bad_length 3 primary,backup peer channel
KINDS
for host in primary backup; do
    received=$(($(rise $host IpInReceives) + $(rise $host Ip6InReceives)))
    [ $received -ge $((HOSTILE - $(frames "peer channel"))) ]
    result $? "$host: IP received $received packets"
    tell echo "$host: $(rises $host | tr '\n' ' ')"
done
tell awk '{ print "CPU", NR, "dropped frames (hex):", $2 }' /proc/net/softnet_stat

rm -f "$WORK"/up.*
cut_off
wait_until 10 has_state backup solo && wait_until 30 all_up
status=$?
[ $status -eq 0 ] || describe
result $status "a takeover carries them on"
[ $status -ne 0 ] || attack_service "after the takeover" $((HOSTILE / 4))
end_streams pair
rejoin
result $? "the cut host is the backup"
for host in primary backup; do
    wait_until 30 has_none $host
    status=$?
    [ $status -eq 0 ] || tell ip netns exec $host cat /proc/net/sttcp
    result $status "$host: no connection is left behind"
    tell echo "$host: $(ip netns exec $host grep -v ' 0$' /proc/net/sttcp_stat | tr '\n' ' ')"
done
survives "new connections over another takeover" client echo --to "$(target 4)" --connections 4
survives "and over IPv6" client ask --to "$(target 6)" --connections 4
ktap_end
