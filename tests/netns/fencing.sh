#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Fencing: a silent primary is switched off by a program of the operator's before the backup speaks. One that succeeds, fails, hangs, cannot be
# run; unload in the middle; and who may name a program. Topology: see lib.sh.

. "$(dirname "$0")/lib.sh"
said() { dmesg | grep -q "sttcp: $1"; }
lines() { dmesg | grep -c "sttcp: $1"; }
unfenced=$(lines 'no fence_command')
begin

rises() { [ "$(counter "$1" "$2")" -gt "$3" ]; }
set_fence() { set_control "$silent" fence_command "$1"; }

# Programs run in the guest's own namespaces.
cat >"$WORK/works" <<SCRIPT
#!/bin/bash
printf '%s\n' "\$*" "\$STTCP_PEER" "\$STTCP_EPOCH" "\$UID" "\$HOME" >"$WORK/told"
ip -n switch link set "to-\$(ip netns exec primary ip address show to "\$STTCP_PEER" | grep -q . && echo primary || echo backup)" down
SCRIPT
cat >"$WORK/fails" <<SCRIPT
#!/bin/sh
echo x >>"$WORK/tried"
exit 3
SCRIPT
cat >"$WORK/hangs" <<SCRIPT
#!/bin/bash
echo \$\$ >"$WORK/hangs.pid"
exec sleep 1000
SCRIPT
chmod +x "$WORK"/{works,fails,hangs}
hanging() { [ -s "$WORK/hangs.pid" ] && kill -0 "$(<"$WORK/hangs.pid")" 2>/dev/null; }

# talk: a stream that is protected.
talk() {
    rm -f "$WORK"/{up,end}
    client "$TRAFFIC" client echo --to "$(target 4)" --connections 3 --think 5 --timeout "$PATIENCE" \
        --mark-file "$WORK/up" --until-file "$WORK/end" >"$WORK/result" 2>"$WORK/errors" &
    talker=$!
    moves && wait_until 10 all_protected
}
moves() {
    rm -f "$WORK/up"
    wait_until 15 test -e "$WORK/up"
}
ends_well() {
    touch "$WORK/end"
    wait $talker || {
        sed 's/^/# /' "$WORK"/{result,errors}
        return 1
    }
}

[ "$(lines 'no fence_command')" -eq $((unfenced + 2)) ]
result $? "each host has said once that there is no fencing"
set_control backup role off && set_control backup role backup && settle
[ "$(lines 'no fence_command')" -eq $((unfenced + 2)) ]
result $? "and does not say it again"

if unshare --user --map-root-user --net true 2>/dev/null; then
    ! unshare --user --map-root-user --net sh -c 'echo /bin/true >/proc/sys/net/sttcp/fence_command' 2>"$WORK/errors" &&
        grep -q 'not permitted' "$WORK/errors" && said 'fence_command refused: it takes CAP_SYS_ADMIN'
    result $? "root of a container cannot name a program"
else
    skip "root of a container cannot name a program" "this kernel has no user namespaces"
fi

# It works.
set_fence "$WORK/works now  please"
[ "$(ip netns exec "$silent" cat /proc/sys/net/sttcp/fence_command)" = "$WORK/works now please" ]
result $? "a program is named while the role is on"
for round in 1 2; do
    epoch=$(ip netns exec "$silent" cat /proc/sys/net/sttcp/epoch)
    talk
    result $? "fence $round: streams are protected"
    part
    wait_until 15 has_state "$silent" solo && moves
    result $? "fence $round: the other host took over, the streams go on"
    printf '%s\n' "now please" "10.0.0.$([ $speaker = primary ] && echo 1 || echo 2)" $((epoch + 1)) 0 / | cmp -s - "$WORK/told"
    result $? "fence $round: the program had its arguments, the peer's address, the epoch"
    said 'primary .* silent for .* fence_command is to switch it off' && said 'primary .* is switched off: taking over, epoch' &&
        [ "$(counter "$silent" takeovers_fenced)" -ge 1 ] && [ "$(counter "$silent" fences_failed)" -eq 0 ]
    result $? "fence $round: the log and the counters say so"
    mend
    # The host that was switched off comes back.
    rejoin && moves && ends_well
    result $? "fence $round: the host comes back, no stream broke"
    set_fence "$WORK/works now please"
done

# A dead primary costs as much as the program takes.
talk
cut_at=$EPOCHREALTIME
ip -n switch link set "to-$speaker" down
wait_until 15 has_state "$silent" solo && moves
result $? "the primary's host is gone: streams go on"
echo "# $(awk -v from="$cut_at" -v to="$EPOCHREALTIME" 'BEGIN { printf "%.0f", (to - from) * 1000 }') ms from the cut to the state, heartbeat $(interval) ms"
rejoin && moves && ends_well
result $? "no stream broke"

# By an agent of fence-agents: fence_dummy keeps the state of the host in a file.
set_fence "/share/fence-agents.sh fence_dummy --type=file --status-file=$WORK/power"
printf on >"$WORK/power"
talk
ip -n switch link set "to-$speaker" down
wait_until 30 has_state "$silent" solo && moves && grep -q off "$WORK/power"
result $? "an agent of fence-agents switches the host off: streams go on"
rejoin && moves && ends_well
result $? "no stream broke"
set_fence "/share/fence-agents.sh fence_dummy --type=fail"
failed=$(counter "$silent" fences_failed)
talk
part
wait_until 30 rises "$silent" fences_failed "$failed" && has_state "$silent" fencing
result $? "an agent that fails: state is fencing"
mend
settle && moves && ends_well
result $? "no stream broke"

# It fails: the backup is silent, the primary serves on.
set_fence "$WORK/fails"
failed=$(counter "$silent" fences_failed)
talk
part
wait_until 10 rises "$silent" fences_failed "$failed" && has_state "$silent" fencing && said 'fence_command failed, exit status 3: silent for the service'
result $? "a program that fails: state is fencing, and the log says why"
wait_until 10 rises "$silent" fences_failed $((failed + 1)) && [ "$(wc -l <"$WORK/tried")" -ge 2 ]
result $? "it is tried again"
has_state "$speaker" solo && moves
result $? "the primary serves on alone"
mend
settle && moves && ends_well
result $? "the hosts hear each other again: the pair is in step, no stream broke"

# It hangs.
set_fence "$WORK/hangs"
set_control "$silent" fence_timeout_ms 700
failed=$(counter "$silent" fences_failed)
talk
part
wait_until 10 hanging && has_state "$silent" fencing
result $? "a program that hangs: state is fencing"
wait_until 10 rises "$silent" fences_failed "$failed" && said 'fence_command failed, ended by signal 9'
result $? "after fence_timeout_ms it is stopped"
mend
settle && moves && ends_well
result $? "the hosts hear each other again: the pair is in step, no stream broke"

# It is not there.
set_fence /nowhere
failed=$(counter "$silent" fences_failed)
talk
# A primary that nobody hears and that hears nobody.
ip -n switch link set "to-$speaker" down
wait_until 10 rises "$silent" fences_failed "$failed" && said 'fence_command failed, could not be run, error -2'
result $? "a program that is not there: the log says so"
has_state "$silent" fencing
result $? "and nobody takes over"
ip netns exec "$silent" sh -c 'echo 1 >/proc/sys/net/sttcp/takeover' && wait_until 5 has_state "$silent" solo && moves
result $? "unless an operator says so: streams go on"
rejoin && moves && ends_well
result $? "no stream broke"

# No program any longer.
set_fence /nowhere
talk
ip -n switch link set "to-$speaker" down
wait_until 10 has_state "$silent" fencing
set_fence ""
wait_until 10 has_state "$silent" solo && moves
result $? "an empty fence_command ends the waiting: streams go on"
rejoin && moves && ends_well
result $? "no stream broke"

# Stopping does not wait for the program.
set_fence "$WORK/hangs"
set_control "$silent" fence_timeout_ms 600000
rm -f "$WORK/hangs.pid"
part
wait_until 10 hanging
begun=$SECONDS
set_control "$silent" role off && [ $((SECONDS - begun)) -le $((2 * SLOW)) ] && ! hanging
result $? "role=off stops a program that hangs"
mend
set_control "$silent" role backup && settle
rm -f "$WORK/hangs.pid"
part
wait_until 10 hanging
begun=$SECONDS
rmmod sttcp && [ $((SECONDS - begun)) -le $((3 * SLOW)) ] && ! hanging
result $? "rmmod too"
ktap_end
