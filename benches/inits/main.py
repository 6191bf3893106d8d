#!/usr/bin/env python3
"""Judges inits by pid1-probe, and writes docs/measured/inits.md: main.py PROBE [INIT…]

INIT is the name of an init, or a part of it. The results of the other inits are those of earlier runs.
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

KEPT = kit.ROOT / "target/inits.json"
WORKERS = 4
WORDS = {"pass": "yes", "fail": "**no**", "skip": "skipped"}


def judge(probe, command, *options):
    """The results of the rows, by name."""
    path = f"{kit.TOOLS}/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    environment = {"PATH": path, "HOME": "/root", "DRAINIT": kit.DRAINIT}
    done = subprocess.run([probe, "run", "--format=json", *options, "--", *command], env=environment, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, text=True)
    if not done.stdout:
        raise RuntimeError(f"{' '.join(command)} cannot be judged")
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
    # Another user, too, must be able to execute this Python.
    kit.install(CIRCUS, f"circus=={CIRCUS_VERSION}", python="/usr/bin/python3")
    present = [init for init in INITS if kit.which(init.program)]
    absent = [init.name for init in INITS if init not in present]
    results = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    chosen = [init for init in present if not names or any(name in init.name for name in names)]
    with ThreadPoolExecutor(WORKERS) as pool:
        results |= zip((init.name for init in chosen), pool.map(lambda init: attempt(probe, init), chosen))
    KEPT.write_text(json.dumps(results))
    present = [init for init in present if init.name in results]
    results = {init.name: results[init.name] for init in present}
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
    missing = "; ".join(f"{name} ({why})" for name, why in MISSING.items())
    head = f"{kit.measured(absent)} Not to be had as a package here: {missing}."
    kit.write_page("inits.md", "make probe", drainit=ours, commands=f"{head}\n\n{commands}", table=table, others=others)


if __name__ == "__main__":
    main(*sys.argv[1:])
