"""Measures graphs of N processes: independent, in a chain, and each with a prefix.

    python3 benches/peers/shapes.py [N…]

`make bench-scale` runs this script. For each process, the script prints the milliseconds of wall-clock time and of
drainit's CPU time, to start and to stop. For all processes together, it prints the KiB of drainit's memory that
cannot be reclaimed, and the milliseconds for `/status`. `bare` is the cost of fork, exec and the end of the same
program alone.
"""

import os
import resource
import signal
import sys
import time
from pathlib import Path

import kit
import row_scale
import supervisors
from supervisors import Process

SIZES = [10, 100]
SHAPES = {
    "flat": {},
    "chain": {"after": True},
    "prefix": {"log": True},
}


def graph(directory, count, after=False, log=False):
    command = [kit.CHILD, "serve", "p", str(directory / "log")]
    return [Process(f"p{number}", command, after=f"p{number - 1}" if after and number else "", log=log)
            for number in range(count)]


def cpu(pid):
    """CPU milliseconds of all threads of a process, also of ended threads and of a zombie, in ticks."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return 1000 * (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(command, directory, count, is_drainit):
    log = directory / "log"
    log.touch()
    began = time.monotonic()
    process = kit.start(command)
    kit.wait_until(lambda: log.stat().st_size and log.read_bytes().count(b" start ") == count, 120, f"start of {count}")
    started = time.monotonic()
    # drainit still has to notice the last process.
    time.sleep(0.3)
    cpu_started, anonymous = cpu(process.pid), kit.memory(process.pid)[0]
    status = row_scale.status(directory / "control.sock", "GET", "/status") if is_drainit else None
    cpu_asked, asked = cpu(process.pid), time.monotonic()
    process.terminate()
    kit.await_end(process, 120)
    ended, cpu_ended = time.monotonic(), cpu(process.pid)
    if process.wait() != 0:
        raise RuntimeError(f"{command[0]} ended with {process.returncode}")
    each = [1000 * (started - began), cpu_started, 1000 * (ended - asked), cpu_ended - cpu_asked]
    return [value / count for value in each], anonymous, status


def main(sizes):
    kit.adopt_orphans()
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    print("                 start: clock     cpu   stop: clock     cpu   status ms  KiB anonymous")
    for count in sizes:
        for shape in ["bare", *SHAPES]:
            with kit.Scratch() as directory:
                if shape == "bare":
                    command = row_scale.bare(directory, [None] * count)
                else:
                    command = supervisors.drainit(directory, graph(directory, count, **SHAPES[shape]))
                each, anonymous, status = measure(command, directory, count, shape != "bare")
            print("{:8}{:6}{:16.3f}{:8.3f}{:14.3f}{:8.3f}".format(shape, count, *each)
                  + ("" if status is None else f"{status:12.1f}{anonymous:15}"), flush=True)


if __name__ == "__main__":
    for stop in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(stop, lambda *_: sys.exit(130))
    try:
        main([int(size) for size in sys.argv[1:]] or SIZES)
    finally:
        kit.end_all()
