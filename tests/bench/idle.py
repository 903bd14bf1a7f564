#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Connections that say nothing.

idle.py serve ADDR PORT             takes every connection and keeps it
idle.py hold ADDR PORT COUNT FILE FROM...  opens so many, in turn from each of these addresses, makes FILE when all are open, and keeps them
"""

import resource
import signal
import socket
import sys

resource.setrlimit(resource.RLIMIT_NOFILE, (200_000, 200_000))
role, address, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
kept = []
if role == "serve":
    ear = socket.create_server((address, port), backlog=4096)
    while True:
        kept.append(ear.accept()[0])
count, file, sources = int(sys.argv[4]), sys.argv[5], sys.argv[6:]
for number in range(count):
    one = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    one.setsockopt(socket.IPPROTO_IP, 24, 1)  # IP_BIND_ADDRESS_NO_PORT: a port may serve several destinations
    one.bind((sources[number % len(sources)], 0))
    one.settimeout(60)
    one.connect((address, port))
    kept.append(one)
open(file, "w").close()
signal.pause()
