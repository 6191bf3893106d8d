#!/usr/bin/env python3
"""Runs the search of `make search`: search.py [--write] COMMAND. With --write, writes the numbers of states into
docs/measured/search.md. Worlds that are too large for a complete search are left out."""

import collections
import pathlib
import re
import resource
import subprocess
import sys
import time

PAGE = pathlib.Path(__file__).resolve().parent.parent / "docs/measured/search.md"
BEGIN, END = "<!-- make search: states -->\n", "<!-- end -->\n"
WORLD = re.compile(r"^(\d) (.*): (\d+) states, all: (true|false)$", re.M)
# The limits of a world, and those that a world without its own has.
KINDS = {
    "stop_signals": "stop signals", "requests": "requests", "drain_requests": "`POST /drain`", "faults": "faults",
    "rests": "groups left", "survivors": "survivors",
}
USUAL = {"stop_signals": 1, "faults": 1}


def limits(worlds):
    """The highest limit of each kind in any of the worlds."""
    highest = collections.Counter(USUAL)
    for words, _ in worlds:
        highest |= collections.Counter({name: int(number) for name, number in re.findall(r"(\w+)=(\d+)", words)})
    return ", ".join(f"{highest[kind]} {words}" for kind, words in KINDS.items() if highest[kind])


def table(worlds, hours):
    counts = {int(count): [] for count in sorted(world[0] for world in worlds)}
    for count, words, states, _ in worlds:
        counts[int(count)].append((words, int(states)))
    rows = [f"On {time.strftime('%Y-%m-%d')} `make search` searched {len(worlds)} worlds whole in {hours:.1f} hours of "
            "processor time, and found no broken promise:\n",
            "| processes | graphs | worlds | highest limit of each kind in any of the worlds | states |",
            "|--:|--:|--:|---|--:|"]
    for count, of in counts.items():
        graphs = 4 ** (count * (count - 1) // 2)
        rows.append(f"| {count} | {graphs} | {len(of)} | {limits(of)} | {sum(states for _, states in of):,} |")
    return "\n".join(rows) + "\n"


def main():
    command = [word for word in sys.argv[1:] if word != "--write"]
    built = subprocess.run([*command, "--no-run"])
    if built.returncode:
        sys.exit(built.returncode)
    spent = lambda: sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
    before = spent()
    search = subprocess.run([*command, "--", "--nocapture"], stderr=subprocess.PIPE, text=True)
    print(search.stderr, file=sys.stderr)
    whole = [world for world in WORLD.findall(search.stderr) if world[3] == "true"]
    if search.returncode or "--write" not in sys.argv:
        sys.exit(search.returncode)
    head, rest = PAGE.read_text().split(BEGIN)
    PAGE.write_text(head + BEGIN + "\n" + table(whole, (spent() - before) / 3600) + "\n" + END + rest.split(END)[1])


if __name__ == "__main__":
    main()
