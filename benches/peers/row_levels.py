"""The stop of five idle servers in a chain, each with `drain: connections`, beside the stop of one."""

import json
import subprocess
import sys
import time

import kit
from table import US, Row

LEVELS = 5
SERVER = """
import signal, socket, sys
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
signal.pause()
"""


def config(levels):
    ports = [kit.free_port() for _ in range(levels)]
    # Each server depends on the server before it.
    return {"shutdown": {"grace_period": "30s"}, "processes": {f"level-{place}": {
        "command": [sys.executable, "-S", "-c", SERVER, str(port)],
        "depends_on": [f"level-{place - 1}"] if place else [],
        "readiness": {"tcp": f"127.0.0.1:{port}"},
        "drain": "connections",
    } for place, port in enumerate(ports)}}


def one_round(levels):
    """Milliseconds from SIGTERM to the end."""
    with kit.Scratch() as directory:
        path = directory / "drainit.yaml"
        path.write_text(json.dumps(config(levels)))
        process = kit.start([kit.DRAINIT, "run", "-c", path], stderr=subprocess.PIPE)
        for line in process.stderr:
            if b"everything is ready" in line:
                break
        else:
            raise RuntimeError("the servers did not become ready")
        asked = time.monotonic()
        process.terminate()
        process.stderr.read()
        kit.wait_end(process, 30)
        return 1000 * (time.monotonic() - asked)


def measure():
    times = {levels: [one_round(levels) for _ in range(kit.rounds(5, 1))] for levels in (1, LEVELS)}
    one, all_of_them = (kit.median(times[levels]) for levels in (1, LEVELS))
    return [Row(f"stop of a chain of {LEVELS} idle servers, each with `drain: connections`", "ms",
                {US: all_of_them, "one such server under drainit": one}, "at most 1.3 times that of one server",
                all_of_them <= 1.3 * one,
                detail="load balancers get their 5 s (`min`) once, and each level is looked at once more",
                why={"one such server under drainit": "each level is looked at for the last time after its dependents"})]
