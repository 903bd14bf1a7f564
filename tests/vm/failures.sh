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
ROUNDS=${ROUNDS:-1}
APP_FAILURE=node

# What is said of a failure and how it was found; the pauses.
note() { printf '%s|%s|%s|%s\n' "$1" "$2" "$(pause redis)" "$(pause download)" >>"$WORK/figures"; }

# begin_streams: a Redis session, and a download that is in the middle.
begin_streams() {
    local begin
    talk redis redis --to "$VIP:6379" --think 5
    talking redis || return 1
    begin=$(delivered)
    talk download client get --to "$VIP:7000" --bytes 24M --size 1M
    wait_until 60 has_delivered $((begin + (8 << 20)))
}
# end_streams: both come to a good end.
end_streams() {
    local status=0
    heard download || status=1
    moved_on redis || status=1
    hush redis
    heard redis || status=1
    [[ $status -eq 0 ]] || sed 's/^/# /' "$WORK"/*.json
    return $status
}

# survives TEXT FOUND STATE COMMAND...: both go on when the command made the speaker fail, and the other has this state.
survives() {
    local text=$1 found=$2 state=$3 status=0
    shift 3
    say "$text ..."
    begin_streams || status=1
    "$@"
    wait_until 20 has_state "$silent" "$state" || status=1
    end_streams || status=1
    scan client "$silent" || status=1
    echo "# $(logged "$silent" 'taking over')"
    note "$text" "$found"
    result "$status" "$text: Redis session and download go on"
    swap
}

# says_goodbye TEXT COMMAND...: the same; and the backup was told, so nobody waited as long as until the host is missed.
says_goodbye() {
    local text=$1 before
    shift
    before=$(counter "$silent" takeovers_goodbye)
    survives "$text" goodbye solo "$@"
    [[ $(counter "$speaker" takeovers_goodbye) -eq $((before + 1)) ]]
    result $? "$text: the host has said so"
    awk -v redis="$(pause redis)" -v download="$(pause download)" -v limit=$((2 * INTERVAL)) 'BEGIN { exit !(redis < limit && download < limit) }'
    result $? "$text: the clients wait less than two heartbeats"
}

# moves TEXT FOUND COUNTER COMMAND...: the speaker's host lives, its server fails, and the other serves.
moves() {
    local text=$1 found=$2 name=$3 before
    shift 3
    before=$(counter "$speaker" "$name")
    survives "$text" "$found" protected "$@"
    [[ $(counter "$silent" "$name") -gt $before ]] && in_step
    result $? "$text: $name; the pair is in step"
    restart_servers "$silent"
}

# disturbs TEXT FOUND STATE COMMAND...: something on the silent side fails; the speaker goes on, and has this state.
disturbs() {
    local text=$1 found=$2 state=$3 status=0
    shift 3
    say "$text ..."
    begin_streams || status=1
    "$@"
    wait_until 20 has_state "$speaker" "$state" || status=1
    end_streams || status=1
    scan client "$speaker" || status=1
    note "$text" "$found"
    result "$status" "$text: Redis session and download go on"
}

# switches_over TEXT: the speaker hands over by order.
switches_over() {
    survives "$1" order protected on "$speaker" 'echo 1 >/proc/sys/net/sttcp/switchover'
    in_step
    result $? "$1: the roles are exchanged"
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

table() {
    echo '| what fails | found by | times | Redis session, ms | download, ms |'
    echo '| --- | --- | ---: | ---: | ---: |'
    awk -F'|' '
        function median(list,    value, count, at, to, held) {
            count = split(list, value, " ")
            for (at = 2; at <= count; at++) { held = value[at]; for (to = at - 1; to > 0 && value[to] + 0 > held + 0; to--) value[to + 1] = value[to]; value[to + 1] = held }
            return sprintf("%.0f (%.0f to %.0f)", value[int((count + 1) / 2)], value[1], value[count])
        }
        !($1 in times) { order[++rows] = $1 }
        { times[$1]++; found[$1] = $2; redis[$1] = redis[$1] " " $3; download[$1] = download[$1] " " $4 }
        END { for (row = 1; row <= rows; row++) { it = order[row]; printf "| %s | %s | %d | %s | %s |\n", it, found[it], times[it], median(redis[it]), median(download[it]) } }' "$WORK/figures"
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
table >"$WORK/table"
sed 's/^/# /' "$WORK/table"
if [[ ${STTCP_RECORD-} == 1 ]]; then
    {
        sed '/^| what fails/,$d' "$STTCP_TOP/docs/results/failures.md"
        cat "$WORK/table"
        sed -n '/^| what fails/,$p' "$STTCP_TOP/docs/results/failures.md" | sed '/^|/d'
    } >"$WORK/document"
    cp "$WORK/document" "$STTCP_TOP/docs/results/failures.md"
fi
ktap_end
