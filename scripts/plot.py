#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Draws the client's pause at a takeover against the heartbeat interval, from the table in docs/results/failover.md or pauses.md.

plot.py TABLE.md PLOT.svg
"""

import math
import sys

WIDTH, HEIGHT = 720, 420
LEFT, RIGHT, TOP, BOTTOM = 80, 140, 30, 60
COLOURS = {"echo": "#1b6ca8", "interactive": "#d1495b", "bulk": "#66a182", "upload": "#edae49"}


def rows(path):
    """The table's cells below the line of dashes."""
    with open(path, encoding="utf-8") as file:
        cells = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in file if line.startswith("| ")]
    head, body = cells[0], [row for row in cells[1:] if not row[0].startswith("-")]
    return [dict(zip(head, row)) for row in body]


def ticks(low, high):
    return [step * 10**power for power in range(int(math.log10(low)) - 1, int(math.log10(high)) + 1) for step in (1, 2, 5) if low <= step * 10**power <= high]


table = [row for row in rows(sys.argv[1]) if row.get("what happens", "silence") == "silence"]
intervals = sorted({float(row["interval"]) for row in table})
values = [float(row[name]) for row in table for name in ("pause", "detection")]
low, high = min(intervals) * 0.8, max(intervals) * 1.25
bottom, top = min(values) * 0.7, max(values) * 1.4


def x(interval):
    return LEFT + (WIDTH - LEFT - RIGHT) * math.log(interval / low) / math.log(high / low)


def y(pause):
    return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * math.log(pause / bottom) / math.log(top / bottom)


out = [
    f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">',
    f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
]
for value in ticks(low, high):
    out.append(f'<line x1="{x(value):.1f}" y1="{TOP}" x2="{x(value):.1f}" y2="{HEIGHT - BOTTOM}" stroke="#ddd"/>')
    out.append(f'<text x="{x(value):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{value:g}</text>')
for value in ticks(bottom, top):
    out.append(f'<line x1="{LEFT}" y1="{y(value):.1f}" x2="{WIDTH - RIGHT}" y2="{y(value):.1f}" stroke="#ddd"/>')
    out.append(f'<text x="{LEFT - 8}" y="{y(value) + 4:.1f}" text-anchor="end">{value:g}</text>')
out.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 15}" text-anchor="middle">heartbeat interval, ms (three misses)</text>')
out.append(f'<text transform="translate(18 {(TOP + HEIGHT - BOTTOM) / 2}) rotate(-90)" text-anchor="middle">client\'s pause, ms (median)</text>')

detection = [(interval, next(float(row["detection"]) for row in table if float(row["interval"]) == interval)) for interval in intervals]
out.append(f'<polyline fill="none" stroke="#333" stroke-dasharray="6 4" points="{" ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in detection)}"/>')
legend = [("detection", "#333")]
for place, (kind, colour) in enumerate(COLOURS.items()):
    points = [(float(row["interval"]), float(row["pause"])) for row in table if row["traffic"] == kind]
    if not points:
        continue
    legend.append((kind, colour))
    # Side by side, or they would hide each other.
    out += [f'<circle cx="{x(a) + 5 * (place - 1.5):.1f}" cy="{y(b):.1f}" r="4" fill="{colour}"><title>{kind}, {a:g} ms: {b:g} ms</title></circle>' for a, b in points]
for place, (name, colour) in enumerate(legend):
    out.append(f'<circle cx="{WIDTH - RIGHT + 22}" cy="{TOP + 12 + 20 * place}" r="4" fill="{colour}"/>')
    out.append(f'<text x="{WIDTH - RIGHT + 34}" y="{TOP + 16 + 20 * place}">{name}</text>')
out.append("</svg>")
with open(sys.argv[2], "w", encoding="utf-8") as file:
    file.write("\n".join(out) + "\n")
