#!/usr/bin/env python3
"""Measures what each version of Envoy does, and writes docs/measured/envoy-facts.md; `make facts` runs it.

Usage: main.py [--versions 1.36.4,1.40.0] [--check] [WORD…]

WORDs select sections or rows by a part of their text, and then the page is not written. `--check` measures the cheap
rows, and fails if a cell differs from the cell of the page.
"""

import argparse
import asyncio
import contextlib
import itertools
import re
import subprocess
import sys

from kit import TOP, Envoy, Upstream, tested
from table import EXPERIMENTS

import closes  # noqa: F401
import calls  # noqa: F401
import flags  # noqa: F401

PAGE = TOP / "docs/measured/envoy-facts.md"
BEGIN, END = "<!-- make facts: results -->\n", "<!-- end -->\n"
# Each experiment mostly waits, so many of them run at the same time on a machine with two cores.
AT_ONCE = 6


async def measure(experiments, versions):
    """The cells by section, row and version."""
    slots, cells = asyncio.Semaphore(AT_ONCE), {}

    async def one(section, rows, experiment, version, upstream):
        def start(*flags, **options):
            return Envoy(options.pop("version", version), upstream, *flags, **options)

        async with contextlib.nullcontext() if experiment.rests else slots:
            for last in (False, True):
                try:
                    found = await asyncio.wait_for(experiment(start), 400)
                    break
                except Exception as error:
                    print(f"{version}: {rows[0]}: {type(error).__name__}: {error}", file=sys.stderr)
                    if last:
                        raise
        found = found if isinstance(found, tuple) else (found,)
        assert len(found) == len(rows), (rows, found)
        for row, cell in zip(rows, found):
            cells[section, row, version] = cell

    async with Upstream() as upstream:
        await asyncio.gather(
            *(
                one(section, rows, experiment, version, upstream)
                for (section, rows, _, experiment), version in itertools.product(experiments, versions)
            )
        )
    return cells


def tables(cells, versions):
    text = ""
    for section, rows in itertools.groupby(EXPERIMENTS, lambda experiment: experiment[0]):
        text += f"### {section}\n\n| | {' | '.join(versions)} |\n|---|{'---|' * len(versions)}\n"
        for _, rows, _, _ in rows:
            for row in rows:
                found = [cells[section, row, version] for version in versions]
                text += f"| {row} | {' | '.join(found)} |\n"
        text += "\n"
    return text


def written(text):
    """The cells of the page."""
    cells, section = {}, None
    for line in text.splitlines():
        if line.startswith("### "):
            section = line[4:]
        elif line.startswith("| | "):
            versions = line.strip("| ").split(" | ")
        elif line.startswith("| ") and section:
            row, *found = line.strip("|").strip().split(" | ")
            cells.update({(section, row, version): cell for version, cell in zip(versions, found)})
    return cells


def same(cell, other):
    """Whether two cells are equal, apart from times that differ by at most a second."""
    seconds = re.compile(r"\d+(?= to| s)")
    cell, other = (one.replace("at once", "after 0 s") for one in (cell, other))
    numbers = [[int(number) for number in seconds.findall(one)] for one in (cell, other)]
    is_near = all(abs(one - two) <= 1 for one, two in zip(*numbers))
    return seconds.sub("", cell) == seconds.sub("", other) and is_near


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--versions", default=",".join(tested()))
    parser.add_argument("--check", action="store_true")
    parser.add_argument("words", nargs="*")
    options = parser.parse_args()
    versions = options.versions.split(",")
    wanted = [
        experiment
        for experiment in EXPERIMENTS
        if (experiment[2] or not options.check)
        and (not options.words or any(word in " ".join((experiment[0], *experiment[1])) for word in options.words))
    ]
    cells = asyncio.run(measure(wanted, versions))
    page = PAGE.read_text()
    if options.check:
        known = written(page)
        differs = lambda key: not same(cells[key], known.get(key, "nothing"))
        # On a busy machine, the times of a row may be too long, so a row that differs is measured once more, alone.
        late = {key[:2] for key in cells if differs(key)}
        again = [one for one in wanted if any((one[0], row) in late for row in one[1])]
        cells |= asyncio.run(measure(again, versions))
        wrong = [key for key in cells if differs(key)]
        for section, row, version in wrong:
            key = (section, row, version)
            print(f"{section}: {row}: Envoy {version}: {cells[key]}; the page says {known.get(key)}")
        print(f"{len(cells)} cells, {len(wrong)} differ")
        sys.exit(1 if wrong else 0)
    if options.words or versions != tested():
        for (section, row, version), cell in sorted(cells.items()):
            print(f"{section}: {row}: {version}: {cell}")
        return
    processor = re.search(r"model name\s*: (.*)", open("/proc/cpuinfo").read())
    date = subprocess.run(["date", "+%F"], capture_output=True, text=True).stdout.strip()
    head, rest = page.split(BEGIN)
    measured = f"Measured on {date}, Linux {'.'.join(open('/proc/sys/kernel/osrelease').read().split('.')[:2])}.\n\n"
    PAGE.write_text(head + BEGIN + "\n" + measured + tables(cells, versions) + END + rest.split(END)[1])


main()
