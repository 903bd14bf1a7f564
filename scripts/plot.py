#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Draws the table of a document in docs/results.

plot.py TABLE.md PLOT.svg

Of failover.md and pauses.md: the client's pause at a takeover against the heartbeat interval. Of overhead.md: what each mode costs the primary.
"""

import math
import re
import sys

WIDTH, HEIGHT = 720, 420
LEFT, RIGHT, TOP, BOTTOM = 80, 140, 30, 60
COLOURS = {"echo": "#1b6ca8", "interactive": "#d1495b", "bulk": "#66a182", "upload": "#edae49"}
MODES = {"off": "#999999", "alone": "#66a182", "gated": "#1b6ca8", "eager": "#edae49", "gated-digest": "#d1495b"}


def rows(path):
    """The table's cells below the line of dashes."""
    with open(path, encoding="utf-8") as file:
        cells = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in file if line.startswith("| ")]
    head, body = cells[0], [row for row in cells[1:] if not row[0].startswith("-")]
    return [dict(zip(head, row)) for row in body]


def text(x, y, words, anchor="middle"):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{words}</text>'


def upright(words):
    return f'<text transform="translate(18 {(TOP + HEIGHT - BOTTOM) / 2}) rotate(-90)" text-anchor="middle">{words}</text>'


def line(x1, y1, x2, y2, colour="#ddd"):
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"/>'


def legend(entries):
    out = []
    for place, (name, colour) in enumerate(entries):
        out.append(f'<circle cx="{WIDTH - RIGHT + 22}" cy="{TOP + 12 + 20 * place}" r="4" fill="{colour}"/>')
        out.append(text(WIDTH - RIGHT + 34, TOP + 16 + 20 * place, name, "start"))
    return out


def ticks(low, high):
    return [step * 10**power for power in range(int(math.log10(low)) - 1, int(math.log10(high)) + 1) for step in (1, 2, 5) if low <= step * 10**power <= high]


def pauses(table):
    table = [row for row in table if row.get("what happens", "silence") == "silence"]
    intervals = sorted({float(row["interval"]) for row in table})
    values = [float(row[name]) for row in table for name in ("pause", "detection")]
    low, high = min(intervals) * 0.8, max(intervals) * 1.25
    bottom, top = min(values) * 0.7, max(values) * 1.4

    def x(interval):
        return LEFT + (WIDTH - LEFT - RIGHT) * math.log(interval / low) / math.log(high / low)

    def y(pause):
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * math.log(pause / bottom) / math.log(top / bottom)

    out = []
    for value in ticks(low, high):
        out.append(line(x(value), TOP, x(value), HEIGHT - BOTTOM))
        out.append(text(x(value), HEIGHT - BOTTOM + 18, f"{value:g}"))
    for value in ticks(bottom, top):
        out.append(line(LEFT, y(value), WIDTH - RIGHT, y(value)))
        out.append(text(LEFT - 8, y(value) + 4, f"{value:g}", "end"))
    out.append(text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 15, "heartbeat interval, ms (three misses)"))
    out.append(upright("client's pause, ms (median)"))
    detection = [(interval, next(float(row["detection"]) for row in table if float(row["interval"]) == interval)) for interval in intervals]
    out.append(f'<polyline fill="none" stroke="#333" stroke-dasharray="6 4" points="{" ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in detection)}"/>')
    names = [("detection", "#333")]
    for place, (kind, colour) in enumerate(COLOURS.items()):
        points = [(float(row["interval"]), float(row["pause"])) for row in table if row["traffic"] == kind]
        if not points:
            continue
        names.append((kind, colour))
        # Side by side, or they would hide each other.
        out += [f'<circle cx="{x(a) + 5 * (place - 1.5):.1f}" cy="{y(b):.1f}" r="4" fill="{colour}"><title>{kind}, {a:g} ms: {b:g} ms</title></circle>' for a, b in points]
    return out + legend(names)


def overhead(table):
    loads = list(dict.fromkeys(row["for each"] for row in table))
    more = {(row["for each"], row["mode"]): float(re.search(r"\(([-+.0-9]+) %", row["primary"])[1]) for row in table}
    low, high = min(0, *more.values()) - 5, max(more.values()) + 5

    def y(percent):
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (percent - low) / (high - low)

    out = []
    for value in range(0, int(high) + 1, 20):
        out.append(line(LEFT, y(value), WIDTH - RIGHT, y(value), "#ddd" if value else "#333"))
        out.append(text(LEFT - 8, y(value) + 4, f"{value}", "end"))
    wide = (WIDTH - LEFT - RIGHT) / len(loads)
    bar = wide / (len(MODES) + 1.5)
    for at, load in enumerate(loads):
        begin = LEFT + at * wide + bar * 0.75
        for place, (mode, colour) in enumerate(MODES.items()):
            if (load, mode) not in more:
                continue
            percent = more[load, mode]
            top, bottom = y(max(percent, 0)), y(min(percent, 0))
            out.append(
                f'<rect x="{begin + place * bar:.1f}" y="{top:.1f}" width="{bar - 2:.1f}" height="{max(bottom - top, 1):.1f}" fill="{colour}">'
                f"<title>{load}, {mode}: {percent:+.1f} %</title></rect>"
            )
        out.append(text(LEFT + (at + 0.5) * wide, HEIGHT - BOTTOM + 18, load))
    out.append(upright("primary's instructions beyond plain TCP, %"))
    return out + legend(MODES.items())


table = rows(sys.argv[1])
drawing = overhead(table) if "for each" in table[0] else pauses(table)
with open(sys.argv[2], "w", encoding="utf-8") as file:
    file.write(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">\n')
    file.write(f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>\n' + "\n".join(drawing) + "\n</svg>\n")
