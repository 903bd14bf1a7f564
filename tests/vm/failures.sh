#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Six ways in which a primary fails; a Redis session and a download survive each, every reply and byte checked. A host
# that died comes back as the backup of the other, which is the next to fail. One whose kernel can still speak says goodbye, and is
# not waited for.
#
#     client 10.0.0.10 ──┐
#     primary 10.0.0.1 ──┼── a bridge that floods        service 10.0.0.100 on both servers
#     backup 10.0.0.2 ───┘
#
# Three guests, see scripts/segment.sh and lib.sh.

set -euo pipefail
. "$(dirname "$0")/../../scripts/segment.sh"
. "$STTCP_TOP/tests/vm/lib.sh"

# survives TEXT COMMAND...: both go on when the command made the speaker fail.
survives() {
    local text=$1 status=0 begin
    shift
    say "$text ..."
    talk redis redis --to "$VIP:6379" --think 5
    talking redis || status=1
    begin=$(delivered)
    talk download client get --to "$VIP:7000" --bytes 24M --size 1M
    wait_until 60 has_delivered $((begin + (8 << 20))) || status=1
    "$@"
    wait_until 20 has_state "$silent" solo || status=1
    heard download || status=1
    moved_on redis || status=1
    hush redis
    heard redis || status=1
    scan client "$silent" || status=1
    echo "# $(logged "$silent" 'taking over')"
    echo "# longest pause: Redis session $(pause redis) ms, download $(pause download) ms"
    [[ $status -eq 0 ]] || sed 's/^/# /' "$WORK"/*.json
    result "$status" "$text: Redis session and download go on"
    swap
}

# says_goodbye TEXT COMMAND...: the same; and the backup was told, so nobody waited as long as until the host is missed.
says_goodbye() {
    local before
    before=$(counter "$silent" takeovers_goodbye)
    survives "$@"
    [[ $(counter "$speaker" takeovers_goodbye) -eq $((before + 1)) ]]
    result $? "$1: the host has said so"
    awk -v redis="$(pause redis)" -v download="$(pause download)" -v limit=$((2 * INTERVAL)) 'BEGIN { exit !(redis < limit && download < limit) }'
    result $? "$1: the clients wait less than two heartbeats"
}

panic() { on "$speaker" 'echo c >/proc/sysrq-trigger' || true; }
restart() { on "$speaker" 'python3 -c "import ctypes; ctypes.CDLL(None).reboot(0x1234567)"; sleep 60' || true; }
unload() { on "$speaker" 'rmmod sttcp'; }
power_off() { on "$speaker" 'echo o >/proc/sysrq-trigger; sleep 60' || true; }

ktap_begin
pair_up || bail "the pair does not come up"

survives "link down" unplug "$speaker"
plug "$silent"
in_step || bail "the host whose link came back does not join"
survives "SIGKILL to QEMU" kill_guest "$speaker"
reboot || bail "the killed host does not join again"
says_goodbye "kernel panic" panic
reboot || bail "the host that panicked does not join again"
says_goodbye "reboot" restart
reboot || bail "the host that was rebooted does not join again"
says_goodbye "power-off" power_off
reboot || bail "the host that was switched off does not join again"
says_goodbye "module unload" unload
ktap_end
