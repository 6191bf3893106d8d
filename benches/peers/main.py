"""Measures drainit beside its peers: `make bench`, which makes everything that is needed first.

    python3 benches/peers/main.py [ROW…]

ROW is one of the files row_*.py without the rest of its name; all of them unless given. Only a run of all of them, and without
QUICK, is written to docs/benchmarks.md. Ends with 1 where drainit misses what it is to reach.
"""

import importlib
import signal
import sys
import time

import document
import kit

# The rows that are sensitive to noise come first, before the others warm the machine up.
ROWS = ["one", "graph", "idle", "binary", "logs", "orphans", "scale", "config", "polling"]


# drainit is held against these; the others may be missing.
NEEDED = ["tini", "catatonit", "s6-log", "bash", "sed", "awk", "hyperfine", "taskset", "unshare", kit.DRAINIT, kit.CHILD,
          str(kit.ENVOY), "curl"]


def end(*_):
    sys.exit(130)


def main(wanted):
    unknown = set(wanted) - set(ROWS)
    if unknown:
        sys.exit(f"no row {', '.join(sorted(unknown))}: there are {', '.join(ROWS)}")
    missing = [program for program in NEEDED if not kit.which(program)]
    if missing:
        sys.exit(f"missing: {', '.join(missing)}; `make bench` as root installs and builds them")
    for stop in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(stop, end)
    kit.adopt_orphans()
    began = time.monotonic()
    rows = []
    # All of them first: a file that is changed meanwhile changes nothing.
    modules = {name: importlib.import_module(f"row_{name}") for name in wanted or ROWS}
    for name, module in modules.items():
        kit.say(f"{name} …")
        for row in module.measure():
            print(row.plain(), flush=True)
            rows.append(row)
    took = time.monotonic() - began
    missed = [row for row in rows if not row.met]
    for row in missed:
        kit.say(f"missed: {row.what}, {row.unit}")
    kit.say(f"{took:.0f} s")
    if not wanted and not kit.QUICK:
        document.write(rows, took)
        kit.say("written to docs/benchmarks.md")
    return 1 if missed else 0


if __name__ == "__main__":
    try:
        code = main(sys.argv[1:])
    finally:
        kit.end_all()
    sys.exit(code)
