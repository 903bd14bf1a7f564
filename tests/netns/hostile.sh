#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# HOSTILE malformed, borderline and forged frames (40,000 unless told), by SEED, to both hosts of a pair that serves streams: the streams go
# on, the pair stays in step, and the counters account for what came. Then a takeover carries the very same streams on, and a quarter as many
# frames go to the host that serves now. Topology: see lib.sh; what is sent: see `hostile` of the traffic tool.

. "$(dirname "$0")/lib.sh"
# No takeover is meant to happen before the end, however busy the machine is.
INTERVAL=500
begin

# stream NAME ARGUMENTS...: a client that runs until it is told to end, and makes its mark when bytes come.
declare -A streams
stream() {
    local name=$1
    shift
    client "$TRAFFIC" client "$@" --timeout $((30 * ${SLOW:-1})) --mark-file "$WORK/up.$name" --until-file "$WORK/end" >"$WORK/out.$name" 2>&1 &
    streams[$name]=$!
}
all_up() { [ "$(find "$WORK" -name 'up.*' | wc -l)" -eq ${#streams[@]} ]; }
# has HOST NUMBER STATE: so many connections are in that state.
has() { [ "$(ip netns exec "$1" awk -v state="$3" '$3 == state' /proc/net/sttcp | wc -l)" -eq "$2" ]; }
all_protected() { has primary 12 protected && has backup 12 shadow; }
has_none() { [ -z "$(ip netns exec "$1" cat /proc/net/sttcp)" ]; }
link_of() { ip netns exec "$1" cat /sys/class/net/eth0/address; }
epoch() { ip netns exec "$1" cat /proc/sys/net/sttcp/epoch; }
# frames KIND: how many of that kind were sent.
frames() { sed -nE "s/.*\"$1\":([0-9]+).*/\1/p" "$WORK/hostile"; }
# tell COMMAND...: what it prints, as a comment.
tell() { "$@" | sed 's/^/# /'; }

# attack NAME COUNT: sends the frames, and looks again and again whether the streams go on meanwhile.
attack() {
    local pid status=0 rounds=0 last=$SECONDS longest=0
    client "$TRAFFIC" hostile --dev eth0 --mac 03:00:00:00:00:64 --to "$(target 4)" --to "$(target 6)" --from 10.0.0.10 --from fd00::10 \
        --peer "10.0.0.1:7077=$(link_of primary)" --peer "10.0.0.2:7077=$(link_of backup)" "${live[@]}" \
        --seed "${SEED:-1}" --count "$2" >"$WORK/hostile" 2>&1 &
    pid=$!
    until ended $pid; do
        rm -f "$WORK"/up.*
        wait_until 30 all_up || status=1
        rounds=$((rounds + 1))
        [ $((SECONDS - last)) -le $longest ] || longest=$((SECONDS - last))
        last=$SECONDS
    done
    wait $pid
    result $? "$1: hostile frames were sent"
    tell cat "$WORK/hostile"
    [ $status -eq 0 ] && [ $rounds -gt 1 ]
    status=$?
    [ $status -eq 0 ] || describe
    result $status "$1: all streams went on, $rounds times, the longest wait ${longest} s"
}
# kernel_counters HOST: what IP and TCP count there, lines of a name and a number.
kernel_counters() {
    ip netns exec "$1" cat /proc/net/snmp /proc/net/netstat | awk '
        $1 != group { group = $1; split($0, names); next }
        { for (i = 2; i <= NF; i++) print substr($1, 1, length($1) - 1) names[i], $i; group = "" }'
    ip netns exec "$1" cat /proc/net/snmp6
}
# rose HOST NAME: by how much a counter of the kernel rose.
rose() { echo $(($(awk -v name="$2" '$1 == name { print $2 }' "$WORK/after.$1") - $(awk -v name="$2" '$1 == name { print $2 }' "$WORK/before.$1"))); }

for version in 4 6; do
    stream echo$version echo --to "$(target $version)" --connections 2 --think 10
    stream ask$version ask --to "$(target $version)" --connections 2 --think 10
    stream get$version get --to "$(target $version)" --size 64K --think 50
    stream put$version put --to "$(target $version)" --size 16K --think 50
done
wait_until 30 all_up && wait_until 10 all_protected
result $? "12 streams are up and protected"
mapfile -t live < <(client ss -Htn state established "dport = :$PORT" | awk '{ print "--live"; print $3 }')
[ ${#live[@]} -eq 24 ]
result $? "their ports are known"
before=$(epoch primary)

for host in primary backup; do
    kernel_counters $host >"$WORK/before.$host"
done
attack "pair" "${HOSTILE:-40000}"
for host in primary backup; do
    kernel_counters $host >"$WORK/after.$host"
    tell echo "$host rose: $(awk 'NR == FNR { before[$1] = $2; next } $2 > before[$1] { printf "%s %d, ", $1, $2 - before[$1] }' "$WORK"/{before,after}.$host)"
done
tell awk '{ print "CPU", NR, "dropped frames:", strtonum("0x" $2) }' /proc/net/softnet_stat

in_step && [ "$speaker" = primary ] && [ "$(epoch primary)" = "$before" ] && [ "$(epoch backup)" = "$before" ]
result $? "no takeover happened, and the pair is in step"
all_protected
status=$?
[ $status -eq 0 ] || describe
result $status "the streams are protected"
for name in unprotected_stalled unprotected_shadow_gone unprotected_open_timeout; do
    [ "$(counter primary $name)" -eq 0 ]
    result $? "primary: $name is 0"
done

# Some of each kind meet another fate before: a martian source, a wrong IP header, another fault of their own.
while read -r name hosts kind; do
    for host in ${hosts//,/ }; do
        seen=$(counter "$host" "$name") sent=$(frames "$kind")
        [ "$seen" -gt 0 ] && [ "$seen" -ge $((${sent:-0} / 8)) ]
        result $? "$host: $name is $seen, for $sent frames of the kind: $kind"
    done
done <<'KINDS'
bad_checksum primary,backup TCP checksum
malformed_segments primary,backup data offset
stray_in backup any flags
stray_in backup near misses
peer_bad_source primary,backup peer channel
peer_bad_tag primary,backup peer channel
peer_bad_length primary,backup peer channel
KINDS

rm -f "$WORK"/up.*
cut_off
wait_until 10 has_state backup solo && wait_until 30 all_up
status=$?
[ $status -eq 0 ] || describe
result $status "a takeover carries them on"
[ $status -ne 0 ] || attack "after the takeover" $((${HOSTILE:-40000} / 4))
touch "$WORK/end"
for name in "${!streams[@]}"; do
    wait "${streams[$name]}"
    status=$?
    [ $status -eq 0 ] || tell cat "$WORK/out.$name"
    result $status "$name: every byte right"
done
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
