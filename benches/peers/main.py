"""Measures drainit beside its peers. `make bench` builds everything that it needs first.

    python3 benches/peers/main.py [ROW…]

ROW is the `*` of a file row_*.py; all rows by default. Only a run of all rows without QUICK is
written to docs/measured/benchmarks.md. Exits with 1 if drainit misses a target.
"""

import importlib
import signal
import sys
import time

import document
import kit

# Rows that are sensitive to noise come first, before the others warm the machine up.
ROWS = ["one", "graph", "idle", "binary", "logs", "orphans", "scale", "config", "polling", "levels", "signal"]


# The programs that the bench needs. Peers that are not in this list may be missing.
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
    # All rows are imported first, so that a change of a file during the run has no effect.
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
    return 1 if missed else 0


if __name__ == "__main__":
    try:
        code = main(sys.argv[1:])
    finally:
        kit.end_all()
    sys.exit(code)
