"""The size of each program on disk."""

from pathlib import Path

import kit
from table import US, Row

# The target in MiB (docs/dev/decisions/0011).
LIMIT = 5.5


def size(*programs):
    """The size in MiB, or None if a file is missing."""
    paths = [kit.which(program) for program in programs]
    return sum(Path(path).resolve().stat().st_size for path in paths) / 2**20 if all(paths) else None


def measure():
    figures = {US: Path(kit.DRAINIT).stat().st_size / 2**20}
    alone = "run only one process"
    for name in ("tini", "tini-static", "dumb-init", "catatonit", "bash"):
        figures[name] = size(name)
    figures["s6-svscan and s6-supervise"] = size("s6-svscan", "s6-supervise")
    figures["runsvdir and runsv"] = size("runsvdir", "runsv")
    figures["Horust"] = size("horust")
    figures["Python, for supervisord"] = size("/usr/bin/python3")
    why = dict.fromkeys(("tini-static", "catatonit"), f"{alone}, and have no config, HTTP or drain")
    why |= dict.fromkeys(("tini", "dumb-init"), f"{alone}, and need libc")
    why |= dict.fromkeys(("s6-svscan and s6-supervise", "runsvdir and runsv"),
                         "need libc and a shell, and have no log prefix, HTTP or drain")
    why |= {"bash": "needs libc, curl and sleep", "Python, for supervisord": "needs libc and its library"}
    return [Row("binary, static and stripped", "MiB", figures, f"{LIMIT} MiB", figures[US] <= LIMIT, why=why)]
