"""Tries orphans, leftover processes and large numbers of processes."""

import ctypes
import fcntl
import os
import threading
import time

import kit
from matrix import SUPERVISORS, US, group
from tools import Service

row, tested = group("Orphans, leftovers and large numbers")

PTRACE_SEIZE, PTRACE_INTERRUPT = 0x4206, 0x4207
WALL = 0x40000000


# multirun#15, Supervisor#936, apple/container#1225, containerd#13334, #9979
@row("20,000 orphans end as fast as they can be forked", "all orphans are reaped, then SIGTERM ends the container with 0")
def storm(run):
    over = run.dir / "over"
    run.start(run.service("a", "torrent=20000", f"touch={over}")).wait("a")
    run.until(over.exists, "end of the storm", 60)
    run.until(lambda: all(state != "Z" for _, state in kit.children_of_all().get(run.pid, [])), "reaping of some zombies")
    run.stop().ended_well("a")


# dumb-init#212, #80, #141
# holds: S65
@row("a daemon (double fork) that takes 300 ms to end", "the daemon gets SIGTERM and 300 ms to end, code 0")
def daemon(run):
    run.start(run.service("a", "daemon=b,on=TERM:exit:0:300")).wait("b").stop(0).ended_well("a", "b")


@row("a daemon that ignores SIGTERM", "the daemon is killed, code 137")
def stubborn_daemon(run):
    run.start(run.service("a", "daemon=b,on=TERM:ignore")).wait("b").stop(137).ended_well("a")
    run.check(run.events("got SIGTERM", "b"), "killed cold")


# Supervisor#1101, #1158, #1396
@row("a process ends before its child (same process group)", "the child gets SIGTERM and 300 ms to end, code 0")
def grandchild(run):
    run.start(run.service("a", "spawn=b,on=TERM:exit:0:300")).wait("b").stop(0).ended_well("a", "b")


@row("a daemon outlives a process that exits with 3", "the daemon gets SIGTERM, code 3")
def daemon_of_the_dead(run):
    run.start(run.service("a", "daemon=b,on=TERM:exit:0:300", "exit=3")).end(3).ended_well("b")


# The other tools do not stop daemons: the kernel kills them.
@row("10,000 daemons", "all daemons are stopped in time, code 0", ("drainit", "s6", "Horust"), alone=True)
def horde(run):
    run.start(run.service("a", "horde=10000", stop=4)).wait("a", what="horde")
    run.check(len(run.inside()) > 9000, "the machine has no room").stop(0)


@row("50 levels of processes, each in a session of its own", "all processes get SIGTERM and end in time, code 0")
def deep(run):
    script, deepest = run.dir / "level", run.dir / "deepest"
    script.write_text(f"""#!/bin/sh
trap 'echo "$1" >>{run.dir}/asked; exit 0' TERM
if [ "$1" = 0 ]; then sleep 60 & sleep 0.3; touch {deepest}; else setsid "$0" $(($1 - 1)) & fi
wait
""")
    script.chmod(0o755)
    run.start(Service("a", [str(script), "50"])).until(deepest.exists, "level 50")
    run.stop()
    asked = (run.dir / "asked").read_text().splitlines()
    run.check(len(asked) == 51, f"{51 - len(asked)} killed cold")


@row("50 services in a chain", "the services stop one after the other, in order, code 0", SUPERVISORS)
def fifty(run):
    names = [f"p{number}" for number in range(50)]
    run.start(*(run.service(name, after=after) for name, after in zip(names, ["", *names])))
    run.until(lambda: run.events("handling", names[-1]), "last one", 60)
    run.wait(*names).stop().in_order(*reversed(names))


@row("the process is stopped by a debugger", "SIGKILL at the deadline, code 137")
def traced(run):
    run.start(Service("a", ["sleep", "60"]))
    (pid,) = run.until(lambda: run.inside("sleep"), "process")
    libc, seized, over = ctypes.CDLL(None), threading.Event(), threading.Event()

    def trace():
        """Holds the process, and waits for its end, like gdb."""
        libc.ptrace(PTRACE_SEIZE, pid, None, None)
        libc.ptrace(PTRACE_INTERRUPT, pid, None, None)
        os.waitpid(pid, WALL)
        seized.set()
        while not over.is_set() and not os.WIFSIGNALED(os.waitpid(pid, os.WNOHANG | WALL)[1]):
            time.sleep(0.01)

    tracer = threading.Thread(target=trace, daemon=True)
    tracer.start()
    try:
        run.check(seized.wait(5), "not traced").stop(137)
    finally:
        over.set()
        tracer.join(1)


# The main thread of this program has ended, so the process looks like a zombie. Another thread waits for SIGTERM.
LEADERLESS = """
import ctypes, os, signal, sys, threading, time
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
def wait():
    time.sleep(0.2)
    open(sys.argv[1] + "/ready", "w")
    signal.sigwait({signal.SIGTERM})
    time.sleep(0.3)
    open(sys.argv[1] + "/asked", "w")
    os._exit(0)
threading.Thread(target=wait).start()
ctypes.CDLL(None).syscall(60 if os.uname().machine == "x86_64" else 93, 0)
"""


@row("a daemon whose main thread has ended, so that the daemon looks like a zombie", "the daemon gets SIGTERM and 300 ms to end, code 0")
def leaderless(run):
    script = run.dir / "daemon.py"
    script.write_text(LEADERLESS)
    command = f"setsid /usr/bin/python3 {script} {run.dir} & trap 'exit 0' TERM; sleep 60 & wait"
    run.start(Service("a", ["sh", "-c", command]))
    run.until((run.dir / "ready").exists, "daemon")
    run.stop().check((run.dir / "asked").exists(), "killed cold")


# holds: S66
@row("a daemon that forks and ends at full speed, so that no scan finds it", "the container ends in time, code 137",
     ("drainit", "s6"))
def relay(run):
    run.start(run.service("a", f"relay=0,{run.dir}/relay")).wait("a", what="relay").stop(137)


# These tests run beside another PID 1. The config of s6 is for PID 1: beside another PID 1, s6 would signal every
# process that it sees.
BESIDE = ("drainit", "tini", "supervisord", "Horust")


def not_init(run, *steps):
    """Runs the tool beside another PID 1, and stops it."""
    code = run.dir / "code"
    run.start(run.service("a", *steps), prefix=[
        "env", "TINI_SUBREAPER=1", "sh", "-c", f'"$@" & tool=$!; sleep 61 & wait $tool; echo $? >{code}; exec sleep 60', "sh"])
    verb = steps[0].partition("=")[0]
    run.until(lambda: len(run.events(verb, "a")) == len(steps), verb)
    tool = min(pid for pid, _ in kit.children_of_all()[run.pid])
    run.signal(pid=tool).until(code.exists, "end")
    run.took = time.monotonic() - run.since


def is_locked(path):
    """Whether a process of the relay is alive: it holds a lock on the file."""
    with open(path, encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


# linuxserver/docker-openssh-server#76, s6-overlay#634
@row("not as PID 1: a daemon that takes 300 ms to end",
     "the daemon gets SIGTERM and 300 ms to end, and no process stays behind", BESIDE)
def daemon_beside_an_init(run):
    not_init(run, "daemon=b,on=TERM:exit:0:300")
    run.check(not run.inside("child"), "an orphan stays").ended_well("a", "b")


@row("not as PID 1: a daemon that forks and ends every 2 ms and ignores SIGTERM", "no process stays behind", (US,))
def relay_beside_an_init(run):
    not_init(run, f"relay=2000,{run.dir}/relay")
    run.check(not is_locked(run.dir / "relay"), "an orphan stays")


@row("not as PID 1: ten daemons that fork and end at full speed", "no process stays behind, or code 137", (US,))
def fast_relay_beside_an_init(run):
    relays = [run.dir / f"relay{number}" for number in range(10)]
    not_init(run, *(f"relay=0,{relay}" for relay in relays))
    is_told = (run.dir / "code").read_text() == "137\n" and b"error: leftover processes survive SIGKILL" in run.output
    run.check(is_told or not any(map(is_locked, relays)), "orphans stay")


# s6-overlay#182
# holds: S68
@row("not as PID 1: other processes run beside the tool", "the other processes get no signal", BESIDE)
def bystander(run):
    not_init(run, f"touch={run.dir}/up")
    run.check(run.inside("sleep"), "stops the other").ended_well("a")
