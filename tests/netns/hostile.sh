#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# HOSTILE malformed and forged frames (100,000 unless told), by SEED, to both hosts of a pair that serves streams: the streams go on, the
# pair stays in step, nothing is left behind, and a takeover still works. Topology: see lib.sh; what is sent: see `hostile` of the traffic tool.

. "$(dirname "$0")/lib.sh"
# No takeover is meant to happen before the end, however busy the machine is.
INTERVAL=500
begin

# stream NAME ARGUMENTS...: a client that runs until it is told to end.
declare -A streams
stream() {
    local name=$1
    shift
    client "$TRAFFIC" client "$@" --timeout 30 --mark-file "$WORK/up.$name" --until-file "$WORK/end" >"$WORK/out.$name" 2>&1 &
    streams[$name]=$!
}
all_up() { [ "$(find "$WORK" -name 'up.*' | wc -l)" -eq ${#streams[@]} ]; }
connections() { ip netns exec "$1" awk -v state="$2" '$3 == state' /proc/net/sttcp | wc -l; }
all_protected() { [ "$(connections primary protected)" -eq 12 ] && [ "$(connections backup shadow)" -eq 12 ]; }
# sum HOST PREFIX: of all counters whose names begin so.
sum() { ip netns exec "$1" awk -v prefix="$2" 'index($1, prefix) == 1 { sum += $2 } END { print sum + 0 }' /proc/net/sttcp_stat; }
# known HOST: a client's connection that is there, but for those of which only SYNs came.
no_connections() { [ "$(ip netns exec "$1" cat /proc/net/sttcp | grep -vc '^client ')" -eq 0 ]; }
link_of() { ip netns exec "$1" cat /sys/class/net/eth0/address; }

for version in 4 6; do
    stream echo$version echo --to "$(target $version)" --connections 2
    stream ask$version ask --to "$(target $version)" --connections 2 --think 5
    stream get$version get --to "$(target $version)" --size 256K --think 20
    stream put$version put --to "$(target $version)" --size 16K --think 20
done
wait_until 30 all_up && wait_until 10 all_protected; result $? "12 streams are up and protected"
mapfile -t live < <(client ss -Htn state established "dport = :$PORT" | awk '{ print "--live"; print $3 }')
[ ${#live[@]} -eq 24 ]; result $? "their ports are known"

epoch=$(backup cat /proc/sys/net/sttcp/epoch)
malformed=$(sum primary malformed_segments) stray=$(sum backup stray_in)
client "$TRAFFIC" hostile --dev eth0 --mac 03:00:00:00:00:64 --to "$(target 4)" --to "$(target 6)" --from 10.0.0.10 --from fd00::10 \
    --peer "10.0.0.1:7077=$(link_of primary)" --peer "10.0.0.2:7077=$(link_of backup)" "${live[@]}" \
    --seed "${SEED:-1}" --count "${HOSTILE:-100000}" >"$WORK/hostile" 2>&1
result $? "hostile frames were sent: $(cat "$WORK/hostile")"

in_step && [ "$speaker" = primary ]; result $? "the pair is in step"
[ "$(primary cat /proc/sys/net/sttcp/epoch)" = "$epoch" ] && [ "$(backup cat /proc/sys/net/sttcp/epoch)" = "$epoch" ]
result $? "no takeover happened"
all_protected
status=$?
[ $status -eq 0 ] || for host in primary backup; do ip netns exec $host cat /proc/net/sttcp | sed "s/^/# $host: /"; done
result $status "the streams are protected"
for name in unprotected_stalled unprotected_shadow_gone unprotected_open_timeout; do
    [ "$(counter primary $name)" -eq 0 ]; result $? "primary: $name is 0"
done

# They came, and were refused for their reasons.
[ "$(sum primary malformed_segments)" -gt "$malformed" ] && [ "$(sum backup malformed_segments)" -gt 0 ]
result $? "malformed segments were seen by both"
[ "$(sum backup stray_in)" -gt "$stray" ]; result $? "the backup saw strays"
for host in primary backup; do
    for name in bad_checksum fragments peer_bad_source peer_bad_length peer_bad_tag; do
        [ "$(counter $host $name)" -gt 0 ]; result $? "$host: $name counts"
    done
done

touch "$WORK/end"
for name in "${!streams[@]}"; do
    wait "${streams[$name]}"
    status=$?
    [ $status -eq 0 ] || sed 's/^/# /' "$WORK/out.$name"
    result $status "$name: every byte right"
done
for host in primary backup; do
    wait_until 20 no_connections $host
    status=$?
    [ $status -eq 0 ] || ip netns exec $host cat /proc/net/sttcp | sed 's/^/# /'
    result $status "$host: no connection is left behind"
done
for host in primary backup; do
    echo "# $host: $(ip netns exec $host grep -v ' 0$' /proc/net/sttcp_stat | tr '\n' ' ')"
done
survives "echo over a takeover" client echo --to "$(target 4)" --connections 4
survives "and over IPv6" client ask --to "$(target 6)" --connections 4
ktap_end
