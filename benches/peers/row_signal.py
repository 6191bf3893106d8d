"""The time from SIGTERM for drainit to the first stop signal, beside many other processes in the PID namespace."""

import json
import os
import signal
import subprocess
import sys
import time

import kit
from table import US, Row

OTHERS = (0, 250, 1000)
# The descriptors of each of the other processes.
DESCRIPTORS = 20
# The processes load their programs meanwhile.
LOADED_SECONDS = 2.5


def crowd(others):
    """Starts processes that do nothing. They end with the namespace."""
    for _ in range(others):
        if os.fork() == 0:
            for _ in range(DESCRIPTORS):
                os.open("/dev/null", os.O_RDONLY)
            signal.pause()


def one_stop(config):
    """(milliseconds until drainit says that it sends the first SIGTERM, milliseconds until its end)"""
    process = subprocess.Popen([kit.DRAINIT, "run", "-c", config], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                               stderr=subprocess.PIPE)
    for line in process.stderr:
        if b"everything is ready" in line:
            break
    time.sleep(LOADED_SECONDS)
    asked, first = time.monotonic(), None
    process.terminate()
    for line in process.stderr:
        if b"sending SIGTERM" in line and first is None:
            first = time.monotonic() - asked
    process.wait()
    return 1000 * first, 1000 * (time.monotonic() - asked)


def main(config, others, rounds):
    """Runs as PID 1 of a namespace, and prints the medians."""
    crowd(int(others))
    times = [one_stop(config) for _ in range(int(rounds))]
    print(json.dumps([kit.median(column) for column in zip(*times)]), flush=True)
    # The namespace ends with its PID 1.
    os._exit(0)


def beside(directory, others):
    config = directory / f"beside-{others}.yaml"
    processes = {f"nap-{number}": {"command": ["sleep", "1000"]} for number in range(3)}
    config.write_text(json.dumps({"shutdown": {"grace_period": "30s"}, "processes": processes}))
    command = [sys.executable, "-B", __file__, str(config), str(others), str(kit.rounds(9, 3))]
    with kit.in_namespace(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL) as init:
        return json.loads(init.stdout.read())


def measure():
    with kit.Scratch() as directory:
        times = {others: beside(directory, others) for others in OTHERS}
    alone, *crowded = (times[others][0] for others in OTHERS)
    crowds = {f"beside {others:,} others": times[others][0] for others in OTHERS[1:]}
    return [Row("from SIGTERM to the first stop signal, three processes", "ms", {US: alone, **crowds},
                "the same 20 ms beside 250 and beside 1,000 others", max(crowded) <= 20,
                detail=f"the whole stop takes {times[0][1]:.1f} ms",
                why=dict.fromkeys(crowds, "drainit, too: the differences are noise"))]


if __name__ == "__main__":
    main(*sys.argv[1:])
