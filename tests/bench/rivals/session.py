#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""A client that counts up in Redis, one INCR after the other, and begins anew when it must.

session.py ADDR PORT UP UNTIL [SENTINEL...]   makes the file UP when it has an answer and there is none, and ends when the file UNTIL is there.
With sentinels (ADDR:PORT) it asks them who is master whenever it begins. Prints a line of JSON: how often it began, requests that failed, numbers that it was
told and that were lost, the longest time between two answers.
"""

import json
import os
import socket
import sys
import time

# For a sentinel's answer.
PATIENCE = 0.5
PAUSE = 0.01


def ask(stream, *words):
    """One command and its answer."""
    stream.write(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words))
    stream.flush()
    return answer(stream)


def answer(stream):
    line = stream.readline()
    if not line.endswith(b"\r\n"):
        raise ConnectionError("closed")
    kind, rest = line[:1], line[1:-2]
    if kind == b"-":
        raise ConnectionError(rest.decode())
    if kind == b":":
        return int(rest)
    if kind == b"$":
        return None if rest == b"-1" else stream.read(int(rest) + 2)[:-2]
    if kind == b"*":
        return None if rest == b"-1" else [answer(stream) for _ in range(int(rest))]
    return rest


def dial(address, timeout):
    one = socket.create_connection(address, timeout=timeout)
    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return one.makefile("rwb")


def master():
    for name in sentinels:
        host, port = name.rsplit(":", 1)
        try:
            found = ask(dial((host, int(port)), PATIENCE), b"SENTINEL", b"get-master-addr-by-name", b"service")
            return found[0].decode(), int(found[1])
        except (OSError, TypeError):
            continue
    raise ConnectionError("no sentinel answers")


address, up, until, sentinels = (sys.argv[1], int(sys.argv[2])), sys.argv[3], sys.argv[4], sys.argv[5:]
patience = float(os.environ["SESSION_PATIENCE"])
stream, begun, failed, told, lost = None, 0, 0, 0, 0
last, gap = None, 0.0
while not os.path.exists(until):
    try:
        if stream is None:
            stream = dial(master() if sentinels else address, patience)
            begun += 1
        number = ask(stream, b"INCR", b"count")
        now = time.monotonic()
        if number <= told:
            lost += told - number + 1
        told = number
        if last is not None:
            gap = max(gap, now - last)
        if not os.path.exists(up):
            open(up, "w").close()
        last = now
        time.sleep(0.002)
    except (OSError, ValueError):
        failed += 1
        stream = None
        time.sleep(PAUSE)
print(json.dumps({"sessions": begun, "failed": failed, "lost": lost, "gap_ms": round(gap * 1000, 1), "count": told}))
