"""Samples of drainit's values in /proc, every few seconds."""

import os
import threading
import time
from pathlib import Path

import kit

PAUSE = 3
TICK_MS = 1000 / os.sysconf("SC_CLK_TCK")


def read(pid):
    """All measures at this moment, and the PIDs of drainit's children that are zombies."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    status = dict(line.split(":", 1) for line in lines)
    stat = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    children = kit.children_of_all().get(pid, [])
    zombies = [child for child, state in children if state == "Z"]
    return {
        "rss": int(status["VmRSS"].split()[0]),
        "anonymous": kit.memory(pid)[0],
        "descriptors": len(os.listdir(f"/proc/{pid}/fd")),
        "threads": int(status["Threads"]),
        "children": len(children) - len(zombies),
        "cpu": TICK_MS * (int(stat[11]) + int(stat[12])),
        "switches": int(status["voluntary_ctxt_switches"]),
    }, zombies


class Sampler(threading.Thread):
    """Collects a sample every few seconds. A zombie counts if the next sample still has it."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.pid, self.samples, self.zombies = pid, [], set()
        self.began, self.is_over = time.monotonic(), threading.Event()

    def run(self):
        before = set()
        while not self.is_over.wait(PAUSE):
            try:
                measures, zombies = read(self.pid)
            except (FileNotFoundError, ProcessLookupError):
                return
            self.zombies |= before & set(zombies)
            before = set(zombies)
            self.samples.append(measures | {"at": time.monotonic() - self.began})
