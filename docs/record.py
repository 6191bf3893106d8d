#!/usr/bin/env python3
"""Records a command in a terminal as an animated SVG: record.py FILE.svg SHOWN COMMAND…

The picture shows SHOWN behind the prompt, and each line of the output when it came; a pause of more than a second is
shortened to one. A reader who wants no motion sees the last screen. `make record` writes docs/demo.svg.
"""

import html
import os
import pty
import sys
import time

COLUMNS, ROWS = 82, 30
WIDTH, HEIGHT, TOP, LEFT = 8.0, 18, 44, 18  # of a character, of a line, and the margins
PAUSE, HOLD = 1.0, 6.0  # the longest pause, and how long the end stays


def recorded(command):
    """The lines of the output with their times, in seconds."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ.update(COLUMNS=str(COLUMNS), TERM="dumb", NO_COLOR="1")
        os.execvp(command[0], command)
    lines, rest, began = [], "", time.monotonic()
    while True:
        try:
            data = os.read(terminal, 4096)
        except OSError:  # the command has ended
            break
        if not data:
            break
        *whole, rest = (rest + data.decode(errors="replace").replace("\r\n", "\n")).split("\n")
        lines += [(time.monotonic() - began, line) for line in whole]
    if os.waitpid(pid, 0)[1] != 0:
        sys.exit("the command failed:\n" + "\n".join(line for _, line in lines))
    return lines


def shortened(lines):
    now, before = 1.0, 0.0
    for at, line in lines:
        now, before = now + min(at - before, PAUSE), at
        yield now, line[:COLUMNS]


def svg(shown, lines):
    lines = [(0.0, f"$ {shown}"), *shortened(lines)]
    total = lines[-1][0] + HOLD
    percent = lambda at: f"{100 * at / total:.2f}%"
    rules, texts, scrolls = [], [], []
    for number, (at, line) in enumerate(lines):
        rules.append(f"@keyframes l{number} {{ 0%, {percent(max(at - 0.01, 0))} {{ opacity: 0 }} {percent(at)}, 100% {{ opacity: 1 }} }}")
        style = f"animation: l{number} {total:.1f}s linear infinite"
        kind = "prompt" if number == 0 else "good" if line.startswith("No request failed") else "text"
        y = TOP + HEIGHT * number
        texts.append(f'<text x="{LEFT}" y="{y}" class="{kind}" style="{style}" xml:space="preserve">{html.escape(line)}</text>')
        if number >= ROWS:
            up = -HEIGHT * (number - ROWS + 1)
            scrolls.append(f"{percent(at)} {{ transform: translateY({up}px) }}")
    width, height = LEFT * 2 + COLUMNS * WIDTH, TOP + ROWS * HEIGHT + 8
    up = -HEIGHT * max(len(lines) - ROWS, 0)
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}" width="{width:.0f}" height="{height}" role="img" aria-labelledby="title">
<title id="title">{html.escape(shown)} in a terminal</title>
<style>
text {{ font: 13px ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; fill: #d1d5da }}
.prompt {{ fill: #ffffff; font-weight: bold }}
.good {{ fill: #56d364; font-weight: bold }}
.lines {{ animation: scroll {total:.1f}s step-end infinite }}
@keyframes scroll {{ 0% {{ transform: none }} {" ".join(scrolls)} 100% {{ transform: translateY({up}px) }} }}
{chr(10).join(rules)}
@media (prefers-reduced-motion: reduce) {{ text {{ animation: none !important }} .lines {{ animation: none; transform: translateY({up}px) }} }}
</style>
<clipPath id="screen"><rect x="0" y="28" width="100%" height="{height - 32}"/></clipPath>
<rect width="100%" height="100%" rx="8" fill="#0d1117"/>
<circle cx="20" cy="16" r="5" fill="#ff5f56"/><circle cx="38" cy="16" r="5" fill="#ffbd2e"/><circle cx="56" cy="16" r="5" fill="#27c93f"/>
<g clip-path="url(#screen)"><g class="lines">
{chr(10).join(texts)}
</g></g>
</svg>
"""


def main():
    path, shown, *command = sys.argv[1:]
    with open(path, "w") as file:
        file.write(svg(shown, recorded(command)))


if __name__ == "__main__":
    main()
