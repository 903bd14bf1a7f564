#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Only one host speaks, with hosts of their own: a primary that stands still for longer than its backup waits and then goes on, one that is cut off and
# comes back, two that cannot hear each other; by lease (isolation=yield), and by fencing through QEMU's monitor, which may fail or hang. A Redis session and a
# download go on each time; the client gets nothing from the old primary once the new one speaks, and nothing from a backup that may not. Prints a table in Markdown.
#
#     client 10.0.0.10 ──┐
#     primary 10.0.0.1 ──┼── a bridge that floods, 10.0.0.250: QEMU's monitors        service 10.0.0.100 on both servers
#     backup 10.0.0.2 ───┘
#
# Three guests, see scripts/segment.sh and lib.sh. ROUNDS=N does all of it so often; STTCP_RECORD=1 writes the table to
# docs/results/failures.md.

set -euo pipefail
. "$(dirname "$0")/../../scripts/segment.sh"
. "$STTCP_TOP/tests/vm/lib.sh"
. "$STTCP_TOP/tests/vm/lib-sessions.sh"
ROUNDS=${ROUNDS:-1}
ip address add 10.0.0.250/24 dev segment

mac() { [[ $1 == primary ]] && echo 52:54:00:00:00:01 || echo 52:54:00:00:00:02; }
qmp() { [[ $1 == primary ]] && echo 4401 || echo 4402; }

# The client writes down what it gets from each host for the service: in ms of its Unix time, and the host's last digit.
hears() {
    cat >"$(share client)/hear.py" <<'PYTHON'
import socket, time
ear = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
ear.bind(("eth0", 0))
service = socket.inet_aton("10.0.0.100")
out = open("/tmp/heard", "w", buffering=1)
open("hears", "w").close()
while True:
    frame, (_, _, direction, _, _) = ear.recvfrom(2000)
    kind = frame[12:14]
    if direction != socket.PACKET_OUTGOING and (kind == b"\x08\x00" and frame[26:30] == service or kind == b"\x08\x06" and frame[28:32] == service):
        print("%.3f %d %s" % (time.time() * 1000, frame[11], "RST" if kind == b"\x08\x00" and frame[23] == 6 and frame[47] & 4 else ""), file=out)
PYTHON
    rm -f "$(share client)/hears"
    on client 'pkill -f hear.py; setsid python3 hear.py >/dev/null 2>&1 </dev/null &'
    wait_until 20 test -e "$(share client)/hears"
}
# is_mute NAME OTHER: the client has heard the other, and nothing from this one.
is_mute() {
    local mute other
    mute=$(mac "$1") other=$(mac "$2")
    on client "awk '\$2 == $((16#${mute##*:})) { said = 1 } \$2 == $((16#${other##*:})) { heard = 1 } END { exit said || !heard }' /tmp/heard"
}
# figures OLD: "LATE SPAN RESETS GAP": frames of the old primary since the first of the new one, within how many ms, resets among them, and
# the ms from its last one before to the first of the new one.
figures() {
    local old
    old=$(mac "$1")
    on client "awk -v old=$((16#${old##*:})) '
        \$2 == old && !new { last = \$1 }
        \$2 == old && new { if (!late++) from = \$1; to = \$1; if (\$3 == \"RST\") resets++ }
        \$2 != old && !new { new = \$1 }
        END { printf \"%d %.0f %d %.0f\n\", late, to - from, resets, new - last }' /tmp/heard"
}

streams() {
    talk redis redis --to "$VIP:6379" --think 5
    talk download client get --to "$VIP:7000" --each --size 1M
    talking redis && talking download
}
end_well() {
    local status=0
    hush redis
    hush download
    heard redis || status=1
    heard download || status=1
    [[ $status -eq 0 ]] || sed 's/^/# /' "$WORK"/*.json
    return $status
}
# protect HOST ISOLATION [FENCE_COMMAND [TIMEOUT]]
protect() { on "$1" "cd /proc/sys/net/sttcp && echo $2 >isolation && echo '${3-}' >fence_command && echo ${4-10000} >fence_timeout_ms"; }

# part, mend: the bridge carries nothing between the two servers.
part() { for name in primary backup; do bridge link set dev "tap-$name" isolated on; done; }
mend() { for name in primary backup; do bridge link set dev "tap-$name" isolated off; done; }

# judge TEXT OLD [LATE]: the client got nothing of the old one since the new one spoke; but for LATE frames at most, which its network card had
# already when it was stopped.
judge() {
    local late span resets gap
    read -r late span resets gap < <(figures "$2")
    echo "# $1: $gap ms between the last frame of the old primary and the first of the new one; pauses: Redis $(pause redis) ms, download $(pause download) ms"
    [[ $late -eq 0 ]] || echo "# $1: $late frames of the old primary came later, within $span ms"
    [[ $late -le ${3:-0} && $span -le 200 && $resets -eq 0 ]]
    result $? "$1: nothing of the old primary since the new one speaks${3:+, but for what its card had already}, and no reset"
}

# stands_still TEXT: the speaker stands still until the other has taken over, and then goes on.
stands_still() {
    local text=$1 old=$speaker status=0
    hears && streams || status=1
    pause_guest "$old"
    wait_until 20 has_state "$silent" solo || status=1
    moved_on redis download || status=1
    nap 1
    resume_guest "$old"
    swap
    in_step || status=1
    nap 1
    moved_on redis download && end_well || status=1
    scan client "$speaker" || status=1
    note "$text" silence
    result $status "$text: the pair is in step again, Redis session and download went on"
    judge "$text" "$old" 64
}

# loses_contact TEXT CUT MEND: the speaker hears its backup no longer, and again when it is isolated.
loses_contact() {
    local text=$1 old=$speaker status=0
    hears && streams || status=1
    eval "$2"
    wait_until 20 has_state "$silent" solo && wait_until 20 has_state "$old" isolated || status=1
    moved_on redis download || status=1
    eval "$3"
    swap
    in_step || status=1
    nap 1
    moved_on redis download && end_well || status=1
    scan client primary backup || status=1
    note "$text" silence
    result $status "$text: the pair is in step again, Redis session and download went on"
    judge "$text" "$old"
}

# cannot_fence TEXT: the two cannot hear each other, and the speaker is not switched off; so it serves on, and the other is silent.
cannot_fence() {
    local text=$1 status=0 failed
    failed=$(counter "$silent" fences_failed)
    hears && streams || status=1
    part
    wait_until 20 has_state "$silent" fencing && wait_until 20 has_state "$speaker" solo || status=1
    wait_until 20 failed_since "$failed" || status=1
    moved_on redis download || status=1
    mend
    in_step || status=1
    moved_on redis download && end_well || status=1
    scan client primary backup || status=1
    note "$text" silence
    result $status "$text: the primary serves on, and the pair is in step again; Redis session and download went on"
    echo "# $(logged "$silent" 'fence_command failed')"
    shows "$text: the client heard nothing from the backup" is_mute "$silent" "$speaker"
}
failed_since() { [[ $(counter "$silent" fences_failed) -gt $1 ]]; }

# is_fenced TEXT COMMAND...: after the command the speaker is switched off, and the other speaks.
is_fenced() {
    local text=$1 old=$speaker status=0
    shift
    hears && streams || status=1
    "$@" "$old"
    wait_until 30 has_state "$silent" solo || status=1
    ! alive "$old" || status=1
    moved_on redis download && end_well || status=1
    scan client "$silent" || status=1
    note "$text" "silence, fencing"
    result $status "$text: it was switched off before the other spoke, Redis session and download went on"
    echo "# $(logged "$silent" 'switched off')"
    swap
    judge "$text" "$old"
    reboot
    result $? "$text: it comes back as a backup"
}

# Guests whose QEMU can be told over the network.
boot_guest() {
    local options=()
    [[ $1 == client ]] || options=(-- -qmp "tcp:10.0.0.250:$(qmp "$1"),server=on,wait=off")
    start "$1" -t 3000 "${options[@]}"
    cp "$TRAFFIC" "$MODULE" "$STTCP_TOP/scripts/fence/qemu.sh" "$(share "$1")/"
}
fence_of() { echo "/share/qemu.sh 10.0.0.250 $(qmp "$1")"; }

ktap_begin
pair_up || bail "the pair does not come up"
for _ in $(seq "$ROUNDS"); do
    for host in primary backup; do protect $host yield; done
    for _ in 1 2; do stands_still "stands still, by lease"; done
    for _ in 1 2; do loses_contact "cut off, by lease" "unplug $speaker" "plug $speaker"; done
    for _ in 1 2; do loses_contact "partition, by lease" part mend; done
    protect "$speaker" serve
    protect "$silent" serve /bin/false
    cannot_fence "partition, fencing fails"
    protect "$silent" serve '/bin/sleep 1000' 1000
    cannot_fence "partition, fencing hangs"
    # The lease rests on the clock, and QEMU stops that with the machine: only fencing is sure.
    protect "$silent" serve "$(fence_of "$speaker")"
    is_fenced "cut off, by fencing" unplug
    protect "$silent" serve "$(fence_of "$speaker")"
    is_fenced "paused by its hypervisor, by fencing" freeze
    protect "$silent" serve "$(fence_of "$speaker")"
    is_fenced "dead, by fencing" kill_guest
done
record "what happens"
ktap_end
