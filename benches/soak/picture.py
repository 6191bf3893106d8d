"""Draws docs/measured/soak.svg: four measures over time, each from zero.

The greys are readable on both a light and a dark page.
"""

import math

TEXT = "#737b85"
FONT = "ui-sans-serif, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif"
COLOURS = ["#1f9d72", "#c9a227", "#3b82c4"]
WIDTH, HEIGHT = 880, 440
# A panel: its size, and the room for its title above and the labels of its lines beside it.
PANEL_WIDTH, PANEL_HEIGHT = 290, 130
COLUMN, ROW, LEFT, TOP = 450, 215, 46, 60
# For each panel: its title, whether its values come from the samples or from the rounds, and {measure: label}.
PANELS = [
    ("Memory, MiB", "samples", {"rss": "resident", "anonymous": "anonymous"}),
    ("Descriptors, children, threads", "samples",
     {"descriptors": "descriptors", "children": "children", "threads": "threads"}),
    ("Processor time a round, ms", "rounds", {"cpu": "all threads"}),
    ("Wake-ups a round", "rounds", {"switches": "main thread"}),
]


def svg(result):
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" '
        f'height="{HEIGHT}" font-family="{FONT}" font-size="11" fill="{TEXT}" role="img">',
        "<title>Memory, descriptors, processor time and wake-ups of drainit over time</title>",
    ]
    for place, (title, kind, lines) in enumerate(PANELS):
        x, y = COLUMN * (place % 2) + LEFT, ROW * (place // 2) + TOP
        parts += panel(x, y, title, result[kind], lines)
    return "\n".join([*parts, "</svg>", ""])


def panel(x, y, title, rows, lines):
    scale = 1 / 1024 if "MiB" in title else 1
    end = rows[-1]["at"]
    most = round_up(scale * max(row[measure] for row in rows for measure in lines))
    bottom = y + PANEL_HEIGHT
    parts = [text(x, y - 14, title, 'font-size="14" font-weight="600"')]
    for share in (0, 0.5, 1):
        at = bottom - PANEL_HEIGHT * share
        parts.append(f'<path d="M{x} {at:g}h{PANEL_WIDTH}" stroke="{TEXT}" stroke-opacity=".25"/>')
        parts.append(text(x - 6, at + 4, f"{most * share:g}", 'text-anchor="end"'))
    for share in (0, 0.5, 1):
        label = f"{end * share / 60:.0f} min"
        parts.append(text(x + PANEL_WIDTH * share, bottom + 16, label, 'text-anchor="middle"'))
    labels = []
    for colour, (measure, label) in zip(COLOURS, lines.items()):
        across = [x + PANEL_WIDTH * row["at"] / end for row in rows]
        down = [bottom - PANEL_HEIGHT * scale * row[measure] / most for row in rows]
        points = " ".join(f"{px:.1f},{py:.1f}" for px, py in zip(across, down))
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}"/>')
        labels.append((down[-1] + 4, label, colour))
    # If lines are close together, their labels move apart, from the lowest label up.
    limit = bottom + 4
    for at, label, colour in sorted(labels, reverse=True):
        at = min(at, limit)
        parts.append(text(x + PANEL_WIDTH + 8, at, label, f'fill="{colour}" font-weight="600"'))
        limit = at - 13
    return parts


def round_up(value):
    """The next higher number that is 1, 2, 4, 6 or 8 times a power of ten."""
    digit = 10 ** math.floor(math.log10(value))
    return next(number for number in (digit, 2 * digit, 4 * digit, 6 * digit, 8 * digit, 10 * digit)
                if number >= value)


def text(x, y, words, style=""):
    return f'<text x="{x:g}" y="{y:.1f}" {style}>{words}</text>'
