#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Only one host speaks, with hosts of their own: a primary that stands still for longer than its backup waits and then goes on, one that is cut off and
# comes back; by lease (isolation=yield), and by fencing through QEMU's monitor. A Redis session and a download go on each time; the client
# gets nothing from the old primary once the new one speaks. Prints the figures.
#
#     client 10.0.0.10 ──┐
#     primary 10.0.0.1 ──┼── a bridge that floods, 10.0.0.250: QEMU's monitors        service 10.0.0.100 on both servers
#     backup 10.0.0.2 ───┘
#
# Three guests, see scripts/segment.sh and lib.sh. ROUNDS=N does all of it so often.

set -euo pipefail
. "$(dirname "$0")/../../scripts/segment.sh"
. "$STTCP_TOP/tests/vm/lib.sh"
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
protect() { on "$1" "cd /proc/sys/net/sttcp && echo $2 >isolation && echo '${3-}' >fence_command && echo 10000 >fence_timeout_ms"; }

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
    result $status "$text: the pair is in step again, Redis session and download went on"
    judge "$text" "$old" 64
}

# cut_off TEXT: the speaker's link is cut, and mended when it is isolated.
cut_off() {
    local text=$1 old=$speaker status=0
    hears && streams || status=1
    unplug "$old"
    wait_until 20 has_state "$silent" solo && wait_until 20 has_state "$old" isolated || status=1
    moved_on redis download || status=1
    plug "$old"
    swap
    in_step || status=1
    nap 1
    moved_on redis download && end_well || status=1
    scan client primary backup || status=1
    result $status "$text: the pair is in step again, Redis session and download went on"
    judge "$text" "$old"
}

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
for round in $(seq "$ROUNDS"); do
    for host in primary backup; do protect $host yield; done
    for again in 1 2; do stands_still "round $round, by lease: $speaker stands still ($again)"; done
    for again in 1 2; do cut_off "round $round, by lease: $speaker is cut off ($again)"; done
    # The lease rests on the clock, and QEMU stops that with the machine: only fencing is sure.
    protect primary serve "$(fence_of backup)"
    protect backup serve "$(fence_of primary)"
    is_fenced "round $round, by fencing: $speaker is cut off" unplug
    protect "$silent" serve "$(fence_of "$speaker")"
    is_fenced "round $round, by fencing: $speaker is paused by its hypervisor" freeze
    protect "$silent" serve "$(fence_of "$speaker")"
    is_fenced "round $round, by fencing: $speaker is dead" kill_guest
done
ktap_end
