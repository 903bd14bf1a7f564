#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# What comes to the port of the peer channel and is not the peer's word: counted by its reason, dropped, and of no consequence. One of each kind, and
# then FORGED of them (10000 unless told). Topology: see lib.sh.

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

cat >"$WORK/record.py" <<'PYTHON'
# record.py FILE COUNT: datagrams that the two hosts send each other, both ways, as an eavesdropper has them.
import pickle, socket, sys
ear = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
ear.bind(("eth0", 0))
heard = []
while len(heard) < int(sys.argv[2]):
    frame = ear.recv(2000)
    if frame[12:14] == b"\x08\x00" and frame[23] == 17 and frame[36:38] == b"\x1b\xa5":
        heard.append((socket.inet_ntoa(frame[26:30]), socket.inet_ntoa(frame[30:34]), frame[42:]))
pickle.dump(heard, open(sys.argv[1], "wb"))
PYTHON
cat >"$WORK/forge.py" <<'PYTHON'
# forge.py FILE COUNT: sends so many datagrams that come from those recorded, in the name of who sent those. None of them is the peer's word.
import pickle, random, socket, struct, sys
heard, rng = pickle.load(open(sys.argv[1], "rb")), random.Random(7)
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
for _ in range(int(sys.argv[2])):
    source, target, payload = rng.choice(heard)
    payload = bytearray(payload)
    kind = rng.randrange(7)
    if kind == 0:  # a bit is another
        at = rng.randrange(len(payload) * 8)
        payload[at // 8] ^= 1 << at % 8
    elif kind == 1:  # cut off
        del payload[rng.randrange(len(payload)):]
    elif kind == 2:  # longer
        payload += rng.randbytes(rng.randrange(1, 1450 - len(payload)))
    elif kind == 3:  # a goodbye, or a leave, in place of what it was
        payload[1] = rng.choice([3, 5])
    elif kind == 4:  # a primary of a later epoch
        payload[2:8] = bytes([1, 2]) + struct.pack("!I", rng.randrange(1 << 32))
    elif kind == 5:  # nothing but noise
        payload[:] = rng.randbytes(len(payload))
    # else as it was: played again
    udp = struct.pack("!HHHH", 7077, 7077, 8 + len(payload), 0)
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 0, 0, 0, 64, 17, 0, socket.inet_aton(source), socket.inet_aton(target))
    raw.sendto(ip + udp + payload, (target, 0))
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
# refusals: all datagrams that were dropped for what they were, on both hosts.
refusals() {
    local host sum=0
    for host in primary backup; do
        sum=$((sum + $(ip netns exec $host awk '/^peer_(bad_|replayed|role_conflict)/ { sum += $2 } END { print sum }' /proc/net/sttcp_stat)))
    done
    echo $sum
}
refused() { [ "$(refusals)" -ge "$1" ]; }
FORGED=${FORGED:-10000}
timeout 60 ip netns exec backup python3 "$WORK/record.py" "$WORK/many" 200; result $? "datagrams both ways are recorded"
before=$(refusals)
others=$(primary cat /proc/net/sttcp_stat /proc/sys/net/sttcp/epoch | grep -E '^(takeovers|peer_lost|peer_alone|stepped|switch|[0-9])')
client python3 "$WORK/forge.py" "$WORK/many" "$FORGED"; result $? "$FORGED forged datagrams are sent"
wait_until 20 refused $((before + FORGED))
result $? "each of them is refused ($(($(refusals) - before)) of $FORGED)"
has_state primary protected && has_state backup shadowing &&
    [ "$(primary cat /proc/net/sttcp_stat /proc/sys/net/sttcp/epoch | grep -E '^(takeovers|peer_lost|peer_alone|stepped|switch|[0-9])')" = "$others" ]
result $? "nothing else has changed"
rm -f "$WORK/up" && wait_until 10 test -e "$WORK/up"
result $? "the connection goes on"
touch "$WORK/end"
wait $talker; result $? "a connection went on meanwhile"

# A new key, host by host, under traffic: nothing is refused, and what is signed with the old one is of no use in the end.
NEW=ffeeddccbbaa99887766554433221100ffeeddccbbaa99887766554433221100
sum() { echo $(($(counter primary "$1") + $(counter backup "$1"))); }
given_up() { [ "$(dmesg | grep -c 'sttcp: key: the old one is of no more use')" -ge "$1" ]; }
streams 6 --think 2
result $? "streams begin"
before=$(sum peer_bad_tag)
set_control primary key "${NEW/f/e}" && move_on
result $? "a wrong key on one host alone changes nothing"
set_control primary key "$KEY" && set_control primary key "$NEW" && move_on && set_control backup key "$NEW"
result $? "it is taken back, and a new one given to both"
wait_until 10 given_up 2 && [ "$(sum keys_changed)" -eq 2 ]
result $? "both have changed, and given up the old one"
[ "$(sum peer_bad_tag)" -eq "$before" ] && has_state primary protected && has_state backup shadowing
result $? "no datagram was refused"
move_on && all_protected && end_well
result $? "the streams have gone on, protected"
dropped "a recorded one, signed with the old key" peer_bad_tag client python3 "$WORK/say.py" 10.0.0.2 "$WORK/old"
timeout 20 ip netns exec backup python3 "$WORK/hear.py" "$WORK/old"
set_control backup role off && wait_until 5 has_state primary solo &&
    set_control backup role backup && wait_until 10 has_state primary protected && wait_until 10 has_state backup shadowing
result $? "the backup starts again"
dropped "one of its earlier session" peer_bad_session client python3 "$WORK/say.py" 10.0.0.2 "$WORK/old"
[ "$(primary cat /proc/sys/net/sttcp/epoch)" -eq 1 ]; result $? "the epoch is what it was"
ktap_end
