#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Failures of the server's program while its host lives (app_failure=node): killed, ended in order, stopped; on the primary, whose clients must not
# hear of it, and on the backup, where nothing is lost but protection. And connections that end as they should. Topology: see lib.sh.

. "$(dirname "$0")/lib.sh"
begin

# judge_lag BYTES MS: how far, and for how long, a program may be behind the other.
judge_lag() {
    for host in primary backup; do
        set_control $host app_lag_bytes "$1"
        set_control $host app_lag_ms "$2"
    done
}
judge_lag 0 $((1000 * SLOW))
for host in primary backup; do
    set_control $host app_failure node
    set_control $host fin_hold_ms $((500 * SLOW))
    serve_anew $host
done
settle

sum() { echo $(($(counter primary "$1") + $(counter backup "$1"))); }
rises() { [ "$(sum "$1")" -gt "$2" ]; }
none_protected() { ! ip netns exec "$speaker" grep -q ' protected ' /proc/net/sttcp; }

# Connections that end in every way leave no suspicion.
churned() {
    client "$TRAFFIC" client greet --to "$(target 4 $GREET)" --connections 8 --count 40 --timeout "$PATIENCE" &&
        client "$TRAFFIC" client echo --to "$(target 6)" --connections 8 --count 40 --each --timeout "$PATIENCE" &&
        client "$TRAFFIC" client get --to "$(target 4)" --bytes 2M --timeout "$PATIENCE" &&
        client "$TRAFFIC" client put --to "$(target 6)" --bytes 1M --timeout "$PATIENCE"
}
churned >"$WORK/result" 2>"$WORK/errors"
result $? "connections come and go"
[ "$(sum servers_ended)" -eq 0 ] && [ "$(sum servers_hung)" -eq 0 ] && [ "$(sum unprotected_server_ended)" -eq 0 ] && [ "$(sum unprotected_server_hung)" -eq 0 ]
result $? "no server is suspected"
echo "# held for a moment: $(sum farewells_held), told after all: $(sum farewells_said)"

protected_streams() { streams "$1" --think 5 && wait_until 10 all_protected; }

# fails_here TEXT SIGNAL COUNTER [COMMAND...]: once all is protected the speaker's program gets the signal, and then the command is run.
fails_here() {
    local text=$1 before old=$speaker
    before=$(counter "$old" "$3")
    protected_streams 4
    result $? "$text: streams are protected"
    kill "-$2" "${server[$old]}"
    "${@:4}"
    wait_until 15 has_state "$silent" protected && settle
    result $? "$text: the other host serves, this one is the backup"
    move_on && end_well
    result $? "$text: the streams go on, no client was told"
    [ "$(counter "$old" "$3")" -gt "$before" ] && dmesg | grep -q 'sttcp: handing over: backup .* takes over'
    result $? "$text: $3, and a line in the log"
    echo "# longest pauses: echo $(gap echo) ms, download $(gap get) ms, upload $(gap put) ms"
    # The program is started again; what comes from now on is protected.
    serve_anew "$old"
}
# fails_there TEXT SIGNAL COUNTER...: the silent host's program gets the signal.
fails_there() {
    local text=$1 sent=$2 name before=0 after=0
    shift 2
    for name; do before=$((before + $(counter "$speaker" "$name"))); done
    protected_streams 6
    result $? "$text: streams are protected"
    kill "-$sent" "${server[$silent]}"
    wait_until 15 none_protected && move_on && end_well
    result $? "$text: the streams go on without protection"
    for name; do after=$((after + $(counter "$speaker" "$name"))); done
    [ $after -gt $before ] && has_state "$speaker" protected
    result $? "$text: counted as one of: $*"
    serve_anew "$silent"
}

for _ in 1 2; do
    fails_here "killed, $speaker" KILL servers_ended
    fails_here "ended, $speaker" TERM servers_ended
    fails_here "stopped, $speaker" STOP servers_hung
done
# By bytes alone: less than a window that has only begun to open (RFC 6928), so the download is far behind at once. Not before the program has stopped: on a busy machine one that lives falls so far behind as well.
judge_lag 0 0
fails_here "stopped, far behind, $speaker" STOP servers_hung judge_lag 10000 0
judge_lag 0 $((1000 * SLOW))
fails_there "killed on the backup" KILL unprotected_server_ended unprotected_shadow_gone
fails_there "stopped on the backup" STOP unprotected_server_hung unprotected_stalled
# Told not to care, a primary passes its server's end on.
for host in primary backup; do set_control $host app_failure off; done
protected_streams 4
result $? "app_failure=off: streams are protected"
kill -KILL "${server[$speaker]}"
! wait "${stream[echo]}" && has_state "$speaker" protected
result $? "app_failure=off: the clients hear of it, nobody takes over"
touch "$WORK"/{echo,get,put}.end
ktap_end
