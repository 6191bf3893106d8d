"""20,000 orphans, as fast as the kernel can fork them."""

import http.client
import socket
import subprocess
import threading
import time

import kit
import row_one
import supervisors
from supervisors import Process
from table import US, Row

COUNT = 20_000


class Torrent:
    """The latency of `/livez` while a supervisor reaps: each answer, in milliseconds."""

    def __init__(self, path):
        self.path = str(path)
        self.times = []
        self.over = threading.Event()
        self.asker = threading.Thread(target=self.ask, daemon=True)

    def ask(self):
        while not self.over.is_set():
            began = time.monotonic()
            # If no answer comes, the latency stays infinite, so that a missing answer counts.
            self.times.append(float("inf"))
            connection = http.client.HTTPConnection("drainit", timeout=5)
            connection.sock = socket.socket(socket.AF_UNIX)
            connection.sock.connect(self.path)
            connection.request("GET", "/livez")
            connection.getresponse().read()
            connection.close()
            self.times[-1] = 1000 * (time.monotonic() - began)


def answer(process):
    """Milliseconds until the last orphan was reaped."""
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"{process.args[0]} ended before its orphans")
    return int(line) / 1e6


def one_round(command):
    """(milliseconds until all were reaped, milliseconds of CPU of the init)"""
    with kit.Scratch():
        # Each init has its own PID namespace, because not every init can be a subreaper.
        process = kit.start([*kit.NAMESPACE, *command, kit.CHILD, "torrent", COUNT],
                            stdout=subprocess.PIPE)
        took = answer(process)
        init = kit.children_of_all()[process.pid][0][0]
        return took, kit.cpu_ns(init) / 1e6


def while_reaping():
    """The 99th percentile of `/livez` during the reaping."""
    with kit.Scratch() as directory:
        torrent = Process("torrent", [kit.CHILD, "torrent", str(COUNT)], log=False)
        process = kit.start(supervisors.drainit(directory, [torrent]), stdout=subprocess.PIPE)
        socket_path = directory / "control.sock"
        kit.wait_until(socket_path.exists, 10, "control socket")
        asked = Torrent(socket_path)
        asked.asker.start()
        answer(process)
        asked.over.set()
        asked.asker.join(10)
        return sorted(asked.times)[int(len(asked.times) * 0.99)]


def measure():
    commands = row_one.available()
    results = {name: [] for name in commands}
    for _ in range(kit.rounds(5, 1)):
        for name, command in commands.items():
            # As PID 1, tini does not need the flag `-s`, and logs a line about the flag.
            command = [part for part in command if part != "-s"]
            result = kit.attempt(name, one_round, command)
            results[name] += [result] if result else []
    took = {name: kit.median([each[0] for each in values]) if values else None for name, values in results.items()}
    cost = {name: kit.median([each[1] for each in values]) if values else None for name, values in results.items()}
    late = kit.median([while_reaping() for _ in range(kit.rounds(3, 1))])
    kernel = "the kernel's work is the same for all; "
    return [
        Row(f"orphans: {COUNT:,} forked at full speed, time until all are reaped", "ms", took, "faster than tini",
            took[US] < took["tini"],
            detail=f"meanwhile `drainit run` answers 99 % of the `/livez` requests within {late:.2g} ms",
            why=dict.fromkeys(took, kernel + "forking them is most of the time")),
        Row(f"orphans: {COUNT:,} forked at full speed", "ms of CPU of the init", cost, "less than tini",
            cost[US] < cost["tini"],
            why=dict.fromkeys(cost, kernel + "an init that wakes up less often reaps more at a time")),
    ]
