#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# What comes to the port of the peer channel and is not the peer's word: counted by its reason, dropped, and of no consequence.
# Topology: see lib.sh.

. "$(dirname "$0")/lib.sh"
# No takeover is meant to happen here, however busy the machine is.
INTERVAL=500
begin

cat >"$WORK/say.py" <<'PYTHON'
# say.py SOURCE [FILE [WHAT]]: sends a datagram to the primary's end of the channel, from port 7077 of SOURCE, by a raw socket.
# Without FILE 100 bytes of nonsense; else those of FILE, WHAT being what to change in them.
import random, socket, struct, sys
payload = random.Random(1).randbytes(100)
if len(sys.argv) > 2:
    payload = open(sys.argv[2], "rb").read()
what = sys.argv[3] if len(sys.argv) > 3 else ""
if what == "short":
    payload = payload[:20]
elif what == "long":
    payload = payload + bytes(1300)
elif what == "tag":
    payload = payload[:-1] + bytes([payload[-1] ^ 1])
elif what == "epoch":
    payload = payload[:4] + bytes([255]) + payload[5:]
udp = struct.pack("!HHHH", 7077, 7077, 8 + len(payload), 0)  # checksum 0: none
ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 0, 0, 0, 64, 17, 0, socket.inet_aton(sys.argv[1]), socket.inet_aton("10.0.0.1"))
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
raw.sendto(ip + udp + payload, ("10.0.0.1", 0))
PYTHON
cat >"$WORK/hear.py" <<'PYTHON'
# hear.py FILE: the next datagram that the backup sends to the primary, as an eavesdropper has it.
import socket, sys
ear = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
ear.bind(("eth0", 0))
while True:
    frame = ear.recv(2000)
    if frame[12:14] == b"\x08\x00" and frame[23] == 17 and frame[26:30] == socket.inet_aton("10.0.0.2") and frame[36:38] == b"\x1b\xa5":
        open(sys.argv[1], "wb").write(frame[42:])
        break
PYTHON

rises() { [ "$(counter primary "$1")" -gt "$2" ]; }
# dropped TEXT COUNTER COMMAND...: the command's datagram is counted there, and nothing else happens.
dropped() {
    local text=$1 name=$2 before status=0
    shift 2
    before=$(counter primary "$name")
    "$@" || status=1
    wait_until 5 rises "$name" "$before" || status=1
    has_state primary protected && has_state backup shadowing || status=1
    result $status "$text: $name"
}

client "$TRAFFIC" client echo --to "$(target 4)" --think 20 --mark-file "$WORK/up" --until-file "$WORK/end" --timeout "$PATIENCE" >"$WORK/result" 2>&1 &
talker=$!
wait_until 30 test -e "$WORK/up"
timeout 20 ip netns exec backup python3 "$WORK/hear.py" "$WORK/old"; result $? "a datagram of the backup is recorded"
dropped "from another host" peer_bad_source client python3 "$WORK/say.py" 10.0.0.10
dropped "from another host in the peer's name" peer_bad_tag client python3 "$WORK/say.py" 10.0.0.2
dropped "too short" peer_bad_length backup python3 "$WORK/say.py" 10.0.0.2 "$WORK/old" short
dropped "too long" peer_bad_length backup python3 "$WORK/say.py" 10.0.0.2 "$WORK/old" long
dropped "one bit of the tag changed" peer_bad_tag backup python3 "$WORK/say.py" 10.0.0.2 "$WORK/old" tag
dropped "another epoch under the old tag" peer_bad_tag backup python3 "$WORK/say.py" 10.0.0.2 "$WORK/old" epoch
dropped "a recorded one, played again" peer_replayed client python3 "$WORK/say.py" 10.0.0.2 "$WORK/old"
touch "$WORK/end"
wait $talker; result $? "a connection went on meanwhile"
set_control backup role off && wait_until 5 has_state primary solo &&
    set_control backup role backup && wait_until 10 has_state primary protected && wait_until 10 has_state backup shadowing
result $? "the backup starts again"
dropped "one of its earlier session" peer_bad_session client python3 "$WORK/say.py" 10.0.0.2 "$WORK/old"
[ "$(primary cat /proc/sys/net/sttcp/epoch)" -eq 1 ]; result $? "the epoch is what it was"
ktap_end
