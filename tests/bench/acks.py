#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""How long a client's bytes wait for their acknowledgement, as its device sees it.

acks.py DEVICE PORT FILE   makes FILE as it begins to listen, until SIGTERM; then writes each wait in milliseconds to FILE, a line each
"""

import signal
import socket
import struct
import sys
import time

# Only who hears everything hears what goes out.
ear = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
ear.bind((sys.argv[1], 0))
port, waits, owed = int(sys.argv[2]), [], {}


def end(*_):
    with open(sys.argv[3], "w") as file:
        file.writelines(f"{wait * 1000:.3f}\n" for wait in waits)
    sys.exit(0)


signal.signal(signal.SIGTERM, end)
open(sys.argv[3], "w").close()
while True:
    frame, (_, _, direction, _, _) = ear.recvfrom(128)
    now = time.monotonic()
    packet = frame[14:]
    segment = packet[(packet[0] & 15) * 4 :]
    if frame[12:14] != b"\x08\x00" or packet[9] != socket.IPPROTO_TCP or len(segment) < 20:
        continue
    source, target, seq, ack, offset = struct.unpack("!HHIIH", segment[:14])
    length = struct.unpack("!H", packet[2:4])[0] - (packet[0] & 15) * 4 - (offset >> 12) * 4
    if direction == socket.PACKET_OUTGOING and target == port and length:
        # What is sent again waits since it was first sent.
        owed.setdefault((source, (seq + length) & 0xFFFFFFFF), now)
    elif direction != socket.PACKET_OUTGOING and source == port:
        for place in [place for place in owed if place[0] == target and (ack - place[1]) & 0xFFFFFFFF < 1 << 31]:
            waits.append(now - owed.pop(place))
