"""The time to read and check a config of 100 processes."""

import kit
import row_one
import row_scale
import supervisors
from table import US, Row

COUNT = 100
LIMIT_MS = 10
# Debian's Python, which has the module of supervisord.
PYTHON = "/usr/bin/python3"
READ = """
import sys
from supervisor.options import ServerOptions
ServerOptions().realize(["-c", sys.argv[1]])
"""


def measure():
    with kit.Scratch() as directory:
        processes = row_scale.tree(directory, COUNT)
        config = supervisors.drainit(directory, processes)[-1]
        times = row_one.hyperfine({
            US: [kit.DRAINIT, "plan", "-c", config],
            "check": [kit.DRAINIT, "check", "-c", config],
        }, kit.rounds(50, 10), 1)
        check = times.pop("check")
        others = "supervisord, which reads its own config"
        times[others] = None
        if not supervisors.SUPERVISORD.missing():
            ini = supervisors.supervisord(directory, processes)[-1]
            read = directory / "read.py"
            read.write_text(READ)
            times |= row_one.hyperfine({others: [PYTHON, read, ini]}, 3, 0, rounds=1)
    return [Row(f"config: {COUNT:,} processes, `drainit plan`", "ms", times, f"{LIMIT_MS} ms", max(times[US], check) <= LIMIT_MS,
                detail=f"`check` {check:.1f}")]
