"""Tries signals to PID 1, and processes that ignore signals."""

import os
import signal
import time

import kit
from matrix import SUPERVISORS, group
from tools import Service

row, tested = group("Signals, and processes that do not obey")


# s6-overlay#204, #628, #331: the grace period is always slept in full.
@row("SIGTERM", "the process gets SIGTERM, and the container ends with 0 right after the process")
def term(run):
    run.start(run.service("a", "on=TERM:exit:0:300")).wait("a").stop().ended_well("a").promptly()


# Supervisor#122, process-compose#145; docker/compose#9800 is slow.
@row("SIGTERM, three processes in a chain", "each process ends before its dependency gets SIGTERM", SUPERVISORS)
def chain(run):
    run.start(run.service("a", "on=TERM:exit:0:100"), run.service("b", "on=TERM:exit:0:100", after="a"),
              run.service("c", "on=TERM:exit:0:100", after="b"))
    run.wait("a", "b", "c").stop().in_order("c", "b", "a").promptly()


# process-compose#280
@row("a process ignores SIGTERM", "SIGKILL at the deadline, code 137")
def ignores(run):
    run.start(run.service("a", "on=TERM:ignore")).wait("a").stop(137)


@row("a process and its child ignore SIGTERM", "SIGKILL to both at the deadline, code 137")
def ignore_together(run):
    run.start(run.service("a", "spawn=b,on=TERM:ignore", "on=TERM:ignore")).wait("a", "b").stop(137)


@row("in a chain, the process that is to stop first ignores SIGTERM", "the other processes still stop in order", SUPERVISORS)
def ignores_first(run):
    run.start(run.service("a", "on=TERM:exit:0:100"), run.service("b", "on=TERM:exit:0:100", after="a"),
              run.service("c", "on=TERM:ignore", after="b"))
    run.wait("a", "b", "c").stop(None).in_order("b", "a")


# s6-overlay#554, #337, #457, #333, emissary#4112
@row("all ten processes of a chain ignore SIGTERM", "the container ends within its grace period, code 137", SUPERVISORS)
def all_ignore(run):
    names = [f"p{number}" for number in range(10)]
    services = [run.service(name, "on=TERM:ignore", after=after) for name, after in zip(names, ["", *names])]
    run.start(*services).wait(*names).stop(137)


@row("SIGTERM twice at once", "the process has time to end, code 0")
def twice(run):
    run.start(run.service("a", "on=TERM:exit:0:300")).wait("a").signal().stop().ended_well("a")


# docker/cli#3909
@row("SIGHUP, SIGUSR1 and SIGUSR2", "the process keeps running, although it has no handlers for these signals")
def user_signals(run):
    starts = run.dir / "starts"
    run.start(Service("a", ["sh", "-c", f"echo start >>{starts}; exec sleep 60"]))
    run.until(starts.exists, "start")
    for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        run.signal(number)
        time.sleep(0.7)
        run.check(run.process.poll() is None, f"ended by {number.name}")
        run.check(starts.read_text() == "start\n", f"restarted by {number.name}")
    run.stop(None)


@row("10,000 signals a second for 2 s (CHLD, CONT, WINCH)", "SIGTERM still ends the container in time")
def flood(run):
    run.start(run.service("a")).wait("a")
    pid, began = run.pid, time.monotonic()
    for number in range(20_000):
        os.kill(pid, (signal.SIGCHLD, signal.SIGCONT, signal.SIGWINCH)[number % 3])
        time.sleep(max(0, began + number / 10_000 - time.monotonic()))
    run.stop().ended_well("a")


@row("SIGTERM to every process at once", "all processes end in time, code 0")
def everybody(run):
    run.start(run.service("a", "on=TERM:exit:0:200")).wait("a")
    inside = run.inside()
    run.signal()
    for pid in inside:
        run.signal(pid=pid)
    run.end(0).ended_well("a")


# holds: C620
@row("the process is stopped (SIGSTOP)", "the process is continued (SIGCONT) and ends by itself, code 0")
def stopped(run):
    run.start(run.service("a", "on=TERM:exit:0:100")).wait("a")
    run.signal(signal.SIGSTOP, pid=run.inside("child")[0]).stop().ended_well("a")


# docker/compose#2619, #9800
@row("SIGTERM, three independent processes", "all processes get SIGTERM at the same time", SUPERVISORS)
def independent(run):
    names = ("a", "b", "c")
    run.start(*(run.service(name, "on=TERM:exit:0:500") for name in names)).wait(*names).stop(None).ended_well(*names)
    asked = [run.events("got SIGTERM", name)[0].at for name in names]
    run.check(max(asked) - min(asked) < 0.4, "one after the other")


# The two tools that can run a single program without a config.
EXEC = {"drainit": [kit.DRAINIT, "exec"], "tini": [kit.which("tini")]}


# moby#43776, sapcc/helm-charts#11680
@row("SIGTERM to the whole process group (`drainit exec -g`, `tini -g`)", "a child of the process gets SIGTERM and time to end",
     tuple(EXEC))
def whole_group(run):
    command = run.child("a", "spawn=b,on=TERM:exit:0:100", "on=TERM:exit:0:300")
    run.start(tool=[*EXEC[run.tool], "-g", "--", *command]).wait("a", "b").stop().ended_well("a", "b")


# tini#69, kubernetes#80089, cloud-sql-proxy-operator#355
@row("the program ends with 143 (`drainit exec --remap-exit 143`, `tini -e 143`)", "the container ends with 0",
     tuple(EXEC))
def remapped(run):
    option = {"drainit": "--remap-exit", "tini": "-e"}[run.tool]
    run.start(tool=[*EXEC[run.tool], option, "143", "--", "sleep", "60"])
    run.until(lambda: run.inside("sleep"), "process")
    run.stop()
