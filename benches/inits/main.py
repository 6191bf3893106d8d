#!/usr/bin/env python3
"""Judges inits by pid1-probe, and writes docs/measured/inits.md: main.py PROBE [INIT…]

INIT is the name of an init, or a part of it. With names, the results are only printed.
"""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "benches/peers"), str(ROOT / "tests/faults")]

import kit  # noqa: E402
from inits import CIRCUS, CIRCUS_VERSION, INITS, MISSING, version  # noqa: E402

WORDS = {"pass": "yes", "fail": "**no**", "skip": "skipped"}


def judge(probe, command, *options):
    """The results of the rows, by name."""
    path = f"{kit.TOOLS}/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    environment = {"PATH": path, "HOME": "/root", "DRAINIT": kit.DRAINIT}
    done = subprocess.run([probe, "run", "--format=json", *options, "--", *command], env=environment, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, text=True)
    return {row["name"]: row for row in json.loads(done.stdout)["rows"]}


def attempt(probe, init):
    kit.say(f"{init.name} is judged")
    rows = judge(probe, init.command)
    if init.restarting:
        rows |= judge(probe, init.restarting, "--row=restart")
        rows |= judge(probe, init.command, "--row=stop-bound", "--row=order")
    return rows


def misses(rows):
    return [f"- {row['number']} `{name}`: {row['found']}" for name, row in rows.items() if row["result"] == "fail"]


def main(probe, *names):
    kit.install(CIRCUS, f"circus=={CIRCUS_VERSION}")
    chosen = [init for init in INITS if not names or any(name in init.name for name in names)]
    present = [init for init in chosen if kit.which(init.program)]
    absent = [init.name for init in chosen if init not in present]
    with ThreadPoolExecutor(2) as pool:
        results = dict(zip((init.name for init in present), pool.map(lambda init: attempt(probe, init), present)))
    rows = max(results.values(), key=len)
    cell = lambda name, row: WORDS[results[name][row]["result"]] if row in results[name] else "–"
    table = kit.table(["", "row", "level", *results],
                      [[str(row["number"]), f"`{name}`", row["level"], *(cell(init, name) for init in results)] for name, row in rows.items()],
                      numbers=False)
    parts = {name: misses(found) for name, found in results.items()}
    told = lambda name: f"**{name}** misses {len(parts[name])} of {len(results[name])} rows:\n\n" + "\n".join(parts[name]) if parts[name] else f"**{name}** misses none of {len(results[name])} rows."
    ours = "\n\n".join(told(name) for name in results if name.startswith("drainit"))
    others = "\n\n".join(told(name) for name in results if not name.startswith("drainit"))
    shown = lambda init: " ".join(init.command).replace(str(kit.ROOT) + "/", "").replace("/usr/bin/python3 -B ", "").replace("|", "\\|")
    commands = kit.table(["init", "version", "command"], [[init.name, version(init) or "unknown", f"`{shown(init)}`"] for init in present], numbers=False)
    if names:
        print(ours, others, table, sep="\n\n")
        return
    missing = "; ".join(f"{name} ({why})" for name, why in MISSING.items())
    head = f"{kit.measured(absent)} Not to be had as a package here: {missing}."
    kit.write_page("inits.md", "make probe", drainit=ours, commands=f"{head}\n\n{commands}", table=table, others=others)


if __name__ == "__main__":
    main(*sys.argv[1:])
