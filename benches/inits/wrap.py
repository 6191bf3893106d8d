#!/usr/bin/env python3
"""Becomes a supervisor that runs a command: wrap.py TOOL [--restart] COMMAND… [-- COMMAND…]

Writes the config of the supervisor first. No child is started, so that the supervisor has the whole start for itself.
"""

import os
import signal
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "benches/peers"), str(ROOT / "tests/faults"), str(ROOT / "benches/inits")]

import inits  # noqa: E402

tool, *words = sys.argv[1:]
restart = words[:1] == ["--restart"]
directory = Path(tempfile.mkdtemp(prefix="pid1-probe-"))
command = inits.write(tool, directory, words[1:] if restart else words, restart)
# Python ignores these, and an exec would pass that on.
for number in (signal.SIGPIPE, signal.SIGXFSZ):
    signal.signal(number, signal.SIG_DFL)
os.execvp(command[0], command)
