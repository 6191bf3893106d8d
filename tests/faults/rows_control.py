"""Tries abuse of a tool's control socket, and hooks that hang."""

import contextlib
import resource
import socket
import time

from matrix import SUPERVISORS, group
from tools import GRACE, Service

row, tested = group("Control sockets and hooks")


def connect(run, count, send):
    """Opens connections and keeps them open, as many as the tool accepts."""
    path = str(run.until(lambda: [path for path in run.dir.iterdir() if path.is_socket()], "socket")[0])
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    kept = []
    for _ in range(count):
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(0.2)
        kept.append(connection)
        with contextlib.suppress(OSError):
            connection.connect(path)
            connection.sendall(send)
    return kept


# holds: C103
@row("1,500 connections to the control socket that say nothing, and stay", "SIGTERM still ends the container in time, code 0",
     ("drainit", "supervisord", "Horust"),
     alone=True)
def silent(run):
    run.start(run.service("a")).wait("a")
    kept = connect(run, 1500, b"")
    run.stop().ended_well("a").check(len(kept) == 1500, "")


@row("garbage on the control socket, 1 MB on each of 100 connections", "SIGTERM still ends the container in time, code 0",
     ("drainit", "supervisord", "Horust"),
     alone=True)
def garbage(run):
    run.start(run.service("a")).wait("a")
    kept = connect(run, 100, b"\0\xff GET" * 170_000)
    run.stop().ended_well("a").check(len(kept) == 100, "")


@row("a process has ended, and the command that the tool then runs hangs", "the tool gives up the command, and the container ends in time",
     ("drainit", "s6"))
def post_stop(run):
    run.start(run.service("a", post_stop=["sleep", "60"])).wait("a").stop(None).ended_well("a")


@row("an argument of 1 MB, more than the kernel takes", "the tool refuses the argument in time (code not 0)", SUPERVISORS)
def too_long(run):
    run.start(Service("a", ["sleep", "60", "x" * 1_000_000]))
    time.sleep(1)
    # supervisord takes about 8 s to read such a config.
    run.end(within=3 * GRACE).check(run.code() != 0, "code 0")
