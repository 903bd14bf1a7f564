#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Two paths between the hosts, the service's link and a cable of their own, and each of the links that can be cut is: the cable, the service's link at the
# primary, at the backup, at both. A Redis session and a download survive each, every reply and byte checked. Prints a table in Markdown.
#
#     client 10.0.0.10 ──┐
#     primary 10.0.0.1 ──┼── a bridge that floods        service 10.0.0.100 on both servers
#     backup 10.0.0.2 ───┘
#     primary 10.1.0.1 ───── cable ───── 10.1.0.2 backup
#
# Three guests, see scripts/segment.sh and lib.sh. ROUNDS=N does all of it so often; STTCP_RECORD=1 writes the table to
# docs/results/failures.md.

set -euo pipefail
export CABLE=1
. "$(dirname "$0")/../../scripts/segment.sh"
. "$STTCP_TOP/tests/vm/lib.sh"
. "$STTCP_TOP/tests/vm/lib-sessions.sh"
ROUNDS=${ROUNDS:-1}

# epochs: of both hosts; a takeover makes them rise.
epochs() { for name in primary backup; do on "$name" 'cat /proc/sys/net/sttcp/epoch'; done | paste -sd ' '; }
# note_paths: how often each host has missed a path so far, which need not be the same; lost: both have missed one more.
note_paths() { primary_lost=$(counter primary paths_lost) backup_lost=$(counter backup paths_lost); }
lost() { [[ $(counter primary paths_lost) -gt $primary_lost && $(counter backup paths_lost) -gt $backup_lost ]]; }

# cut_cable: and both hosts notice.
cut_cable() {
    unplug primary 1
    wait_until 20 lost || true
}
# cable_back: both hosts hear each other by it, which after a cut may take the second between two ARP requests.
cable_back() {
    local name
    for name in primary backup; do
        [[ $(logged "$name" '10\.1\.0\.[12]:7077') == *'is heard again'* ]] || return 1
    done
}
# cut_both: the service's link, for as long as three heartbeats are missed and more; clients wait.
cut_both() {
    unplug primary && unplug backup
    sleep 3
    plug primary && plug backup
}
# stays TEXT COMMAND...: nobody takes over, whatever the command cuts.
stays() {
    local text=$1 before
    before=$(epochs)
    note_paths
    disturbs "$text" - protected "${@:2}"
    shows "$text: nobody takes over" [ "$(epochs)" = "$before" ]
    shows "$text: the pair is in step" in_step
}

ktap_begin
pair_up || bail "the pair does not come up"
for _ in $(seq "$ROUNDS"); do
    stays "cable cut" cut_cable
    shows "cable cut: both hosts have noticed" lost
    plug primary 1
    wait_until 20 cable_back || bail "the cable does not come back"
    in_step || bail "the pair is not in step by the cable"
    cut=$(counter "$speaker" cut_off)
    survives "service link cut at the primary" "other path" protected unplug "$speaker"
    shows "service link cut at the primary: it says so and hands over" [ "$(counter "$silent" cut_off)" -eq $((cut + 1)) ]
    plug "$silent"
    in_step || bail "the link does not come back"
    stays "service link cut at the backup" unplug "$silent"
    plug "$silent"
    in_step || bail "the link does not come back"
    # Whoever notices first takes the other for the better one, which nobody but the cable can tell.
    goes_on "service link cut at both, for 3 s" - settled cut_both
    settle || bail "the links do not come back"
done
record "which link fails"
ktap_end
