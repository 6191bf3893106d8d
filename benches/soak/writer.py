"""Writes numbered lines: ten at a time, ten times a second."""

import itertools
import time

for block in itertools.count():
    print("\n".join(f"line {10 * block + n} {'x' * 100}" for n in range(10)), flush=True)
    time.sleep(0.1)
