#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The ways in which a primary fails, or its server, or its backup; a Redis session and a download survive each, every reply and byte checked. A host
# that died comes back as the backup of the other, which is the next to fail. One whose kernel can still speak says goodbye, and is
# not waited for. Prints a table in Markdown.
#
#     client 10.0.0.10 ──┐
#     primary 10.0.0.1 ──┼── a bridge that floods        service 10.0.0.100 on both servers
#     backup 10.0.0.2 ───┘
#
# Three guests, see scripts/segment.sh and lib.sh. ROUNDS=N does all of it so often; STTCP_RECORD=1 writes the table to
# docs/results/failures.md.

set -euo pipefail
. "$(dirname "$0")/../../scripts/segment.sh"
. "$STTCP_TOP/tests/vm/lib.sh"
. "$STTCP_TOP/tests/vm/lib-sessions.sh"
ROUNDS=${ROUNDS:-1}
APP_FAILURE=node
# A kernel that panics stops for a second, and not for ever as is the default: QEMU, which is told to end with it, would now and then do so before the
# last word has left.
GUEST_APPEND=panic=1

# says_goodbye TEXT COMMAND...: the same; and the backup was told, so nobody waited as long as until the host is missed.
says_goodbye() {
    local text=$1 before
    shift
    before=$(counter "$silent" takeovers_goodbye)
    survives "$text" goodbye solo "$@"
    echo "# $(logged "$silent" '(dying|going down)')"
    echo "# $(logged "$speaker" 'took over in')"
    shows "$text: the host has said so" [ "$(counter "$speaker" takeovers_goodbye)" -eq $((before + 1)) ]
    shows "$text: the clients wait less than two heartbeats" pauses_below $((2 * INTERVAL))
}

pauses_below() { awk -v redis="$(pause redis)" -v download="$(pause download)" -v limit="$1" 'BEGIN { exit !(redis < limit && download < limit) }'; }

# moves TEXT FOUND COUNTER COMMAND...: the speaker's host lives, its server fails, and the other serves.
moves() {
    local text=$1 found=$2 name=$3 before
    shift 3
    before=$(counter "$speaker" "$name")
    survives "$text" "$found" protected "$@"
    shows "$text: $name" [ "$(counter "$silent" "$name")" -gt "$before" ]
    shows "$text: the pair is in step" in_step
    restart_servers "$silent"
}

# switches_over TEXT: the speaker hands over by order.
switches_over() {
    survives "$1" order protected on "$speaker" 'echo 1 >/proc/sys/net/sttcp/switchover'
    shows "$1: the roles are exchanged" in_step
}

panic() { on "$speaker" 'echo c >/proc/sysrq-trigger' || true; }
restart() { on "$speaker" 'python3 -c "import ctypes; ctypes.CDLL(None).reboot(0x1234567)"; sleep 60' || true; }
unload() { on "$speaker" 'rmmod sttcp'; }
power_off() { on "$speaker" 'echo o >/proc/sysrq-trigger; sleep 60' || true; }
# signal_servers NAME SIGNAL
signal_servers() { on "$1" "pkill -$2 redis-server; pkill -$2 sttcp-traffic; true"; }
restart_servers() {
    on -t 90 "$1" "pkill -KILL redis-server; pkill -KILL sttcp-traffic; until [[ -z \$(ss -Hltn src $VIP) ]]; do sleep 0.1; done; $SERVERS" && in_step
}

ktap_begin
pair_up || bail "the pair does not come up"
for _ in $(seq "$ROUNDS"); do
    # What the clients see of this set-up alone.
    disturbs "nothing" "-" protected true
    switches_over "switchover"
    switches_over "and back"
    survives "link of the primary cut" silence solo unplug "$speaker"
    plug "$silent"
    in_step || bail "the host whose link came back does not join"
    disturbs "link of the backup cut" silence solo unplug "$silent"
    # It has taken over too, and steps down or not, as the epochs are: it is begun anew.
    on "$silent" 'echo off >/proc/sys/net/sttcp/role'
    plug "$silent"
    on "$silent" 'echo backup >/proc/sys/net/sttcp/role'
    in_step || bail "the backup whose link came back does not join"
    moves "server killed" "comparison" servers_ended signal_servers "$speaker" KILL
    moves "server ended in order" "comparison" servers_ended signal_servers "$speaker" TERM
    moves "server stopped" "comparison" servers_hung signal_servers "$speaker" STOP
    for signal in KILL TERM STOP; do
        case $signal in KILL) what=killed ;; TERM) what="ended in order" ;; STOP) what=stopped ;; esac
        disturbs "backup's server $what" "comparison" protected signal_servers "$silent" $signal
        restart_servers "$silent" || bail "the pair is not in step with a new server"
    done
    survives "SIGKILL to QEMU" silence solo kill_guest "$speaker"
    reboot || bail "the killed host does not join again"
    disturbs "SIGKILL to the backup's QEMU" silence solo kill_guest "$silent"
    reboot || bail "the killed host does not join again"
    says_goodbye "kernel panic" panic
    reboot || bail "the host that panicked does not join again"
    says_goodbye "reboot" restart
    reboot || bail "the host that was rebooted does not join again"
    says_goodbye "power-off" power_off
    reboot || bail "the host that was switched off does not join again"
    says_goodbye "module unload" unload
    serve_again "$silent" || bail "the host whose module was unloaded does not join again"
done
record "what fails"
ktap_end
