"""Tries every fault with drainit and its peers, and writes docs/measured/faults.md. `make faults` builds all for it.

    python3 tests/faults/main.py [--tool TOOL…] [--tests] [ROW…]

ROW is a row's name, or a part of it. `--tests` prints the rows that a test of the project tries, and runs
nothing. docs/measured/faults.md is written when each row has a result of this or an earlier run. Exits with 1 if
drainit fails a row. With `CI=true`, a skipped row counts as failed, so that it cannot pass unnoticed.
SHOW=1 prints the output of a tool that fails.
"""

import argparse
import importlib
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / "benches/peers")]

import kit  # noqa: E402
import matrix  # noqa: E402
import page  # noqa: E402
from matrix import ALL, ROWS, US, Cell  # noqa: E402
from tools import NEEDS  # noqa: E402

for name in ("ends", "signals", "processes", "control", "output", "resources", "time", "docker", "tested"):
    importlib.import_module(f"rows_{name}")

WORKERS = 4
# The results of earlier runs.
KEPT = kit.ROOT / "target/faults.json"


def test_programs():
    """Builds the integration tests and the simulation, and returns the paths of their programs by name."""
    command = ["cargo", "test", "--quiet", "--locked", "--workspace", "--test", "main", "--test", "simulation"]
    command += ["--no-run", "--message-format=json"]
    lines = subprocess.run(command, cwd=kit.ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    artifacts = [json.loads(line) for line in lines]
    # cargo also lists drainit, which is not a test.
    built = [each for each in artifacts if each.get("executable") and each["profile"]["test"]]
    return {each["target"]["name"]: each["executable"] for each in built}


def by_test(programs, name):
    began = time.monotonic()
    program = programs["main"]
    if name.startswith("simulation::"):
        program, name = programs["simulation"], name.removeprefix("simulation::")
    # The first test that uses a container builds the images.
    limit = 1800 if name.startswith("docker::") else 120
    try:
        done = subprocess.run([program, "--exact", name], cwd=kit.ROOT, capture_output=True, text=True, timeout=limit)
    except subprocess.TimeoutExpired:
        return Cell("the test hangs", limit)
    took = time.monotonic() - began
    if "1 passed" not in done.stdout:
        return Cell("the test fails", took)
    skipped = [line for line in done.stderr.splitlines() if line.startswith("skipped: ")]
    return Cell(skipped[0].partition(": ")[2], took, True) if skipped else Cell("", took)


def keep(rows):
    """Stores the results of these rows beside those of earlier runs, and loads all results into ROWS."""
    kept = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    for row in rows:
        kept[row.what] = kept.get(row.what, {}) | {tool: asdict(cell) for tool, cell in row.cells.items()}
    KEPT.write_text(json.dumps(kept, indent=1))
    for row in ROWS:
        row.cells = {tool: Cell(**cell) for tool, cell in kept.get(row.what, {}).items() if tool in row.tools}


def main(options):
    rows = [row for row in ROWS if [row.what] == options.row]
    rows = rows or [row for row in ROWS if all(part in row.what for part in options.row)]
    if options.tests:
        print("\n".join(sorted({row.test for row in rows if row.test})))
        return 0
    tools = [tool for tool in options.tool or ALL if all(kit.which(program) for program in NEEDS.get(tool, ()))]
    # With --tool, the rows that a test of the project tries are left out.
    pairs = [(row, tool) for row in rows for tool in row.tools if tool in tools and not (options.tool and row.test)]
    programs = test_programs() if any(row.test for row, _ in pairs) else {}
    began = time.monotonic()

    def attempt(pair):
        row, tool = pair
        row.cells[tool] = by_test(programs, row.test) if row.test else matrix.attempt(row, tool)
        print(f"{row.what}: {tool}: {row.cells[tool].text()}", flush=True)

    # Tests of the project, and rows that need the whole machine, run alone.
    for alone, workers in ((False, WORKERS), (True, 1)):
        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(attempt, [pair for pair in pairs if (pair[0].alone or bool(pair[0].test)) == alone]))
    took = time.monotonic() - began
    ours = [(row, row.cells[US]) for row in rows if US in row.cells]
    if not options.tool:
        keep(rows)
    failed = [row for row, cell in ours if cell.fault and not cell.skipped]
    skipped = [(row, cell) for row, cell in ours if cell.skipped]
    kit.say(f"{len(rows)} rows in {took:.0f} s; drainit fails {len(failed)}, skips {len(skipped)}")
    if os.environ.get("CI") == "true":
        for row, cell in skipped:
            kit.say(f"skipped, and this is CI: {row.what}: {cell.fault}")
            failed.append(row)
    if not options.tool and all(row.cells.keys() == {*row.tools} for row in ROWS):
        page.write(ROWS)
    return 1 if failed else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--tool", action="append", choices=ALL)
    parser.add_argument("--tests", action="store_true")
    parser.add_argument("row", nargs="*")
    sys.exit(main(parser.parse_args()))
