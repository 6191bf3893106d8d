"""Tries clocks that jump, machines that sleep, and slow starts."""

import os
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import kit
from matrix import SUPERVISORS, US, Skip, group
from run import Fault, Run
from tools import Service

row, tested = group("Time")
READY = ("drainit", "s6", "Horust")
DAY = 86400


@row("a machine that has been up for 100 days (time namespace)", "runs and stops, code 0")
def uptime(run):
    offset = str(100 * DAY)
    run.start(run.service("a"), options=["--time", "--boottime", offset, "--monotonic", offset])
    run.wait("a").stop().ended_well("a")


def with_loader():
    """Returns a dynamically linked drainit, because a static program ignores LD_PRELOAD."""
    programs = [Path(kit.DRAINIT), *(kit.ROOT / "target" / profile / "drainit" for profile in ("debug", "release"))]
    for program in programs:
        # The beginning of the file has the path of glibc's loader.
        if program.exists() and b"/ld-linux" in program.read_bytes()[:4096]:
            return str(program)
    raise Skip(f"none of {', '.join(str(program) for program in programs)} is linked dynamically with glibc")


@row("the wall clock jumps a day back, then two days forward, and during the stop two days back",
     "restarts continue, SIGKILL comes in time", SUPERVISORS)
def wall_clock(run):
    run.drainit = with_loader() if run.tool == US else run.drainit
    clock, library = run.dir / "clock", run.dir / "wall_clock.so"
    source = Path(__file__).with_name("wall_clock.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True)
    clock.write_text("0")
    run.start(run.service("a", "on=TERM:ignore", restart=True), run.service("b", "sleep=300", "exit=1", restart=True),
              prefix=["env", f"LD_PRELOAD={library}", f"WALL_CLOCK={clock}"]).wait("a")
    run.check(str(library) in Path(f"/proc/{run.pid}/maps").read_text(), "does not take the preload")
    for jump in (-DAY, DAY):
        # The clock jumps in the pause before a restart.
        ends = len(run.events("exit", "b"))
        run.until(lambda: len(run.events("exit", "b")) > ends, "end", 15)
        clock.write_text(str(jump))
        before, said = len(run.events("start", "b")), len(run.text())
        run.until(lambda: len(run.events("start", "b")) > before, f"restart after {jump} s", 15)
        if run.tool == US:
            run.until(lambda: time.strftime(" %FT", time.gmtime(time.time() + jump)).encode() in run.text()[said:],
                      f"line with the time after {jump} s")
    run.signal()
    time.sleep(0.3)
    clock.write_text(str(-DAY))
    run.end()


def suspend(run, seconds):
    """Stops and continues all processes of the namespace, like the freezer."""
    everybody = [run.pid, *run.inside()]
    since = run.since
    for number in (signal.SIGSTOP, signal.SIGCONT):
        for pid in everybody:
            run.signal(number, pid)
        time.sleep(seconds if number == signal.SIGSTOP else 0)
    run.since = since


@row("everything is suspended for 3 s (SIGSTOP and SIGCONT to all)", "the processes keep running, nothing is restarted, code 0")
def suspended(run):
    run.start(run.service("a")).wait("a")
    suspend(run, 3)
    time.sleep(1)
    run.check(len(run.events("start", "a")) == 1, "restarted").stop().ended_well("a")


WATCHDOG = """
import os, socket, sys, time
open(sys.argv[1], "a").write("start\\n")
path = os.environ["NOTIFY_SOCKET"]
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
while True:
    s.sendto(b"WATCHDOG=1", "\\0" + path[1:] if path[0] == "@" else path)
    time.sleep(0.2)
"""


@row("everything is suspended for 3 s, with a watchdog of 1 s", "the processes keep running, nothing is restarted, code 0", (US,))
def suspended_with_watchdog(run):
    starts = run.dir / "starts"
    run.start(Service("a", ["/usr/bin/python3", "-c", WATCHDOG, str(starts)], restart=True,
                      more={"liveness": {"notify": "1s"}}))
    run.until(lambda: b"everything is ready" in run.text(), "start")
    time.sleep(1)
    for _ in range(3):
        suspend(run, 3)
        time.sleep(1)
    run.check(starts.read_text() == "start\n", "restarted").stop(None)


@row("everything is suspended for 3 s during the stop", "the container ends soon after the suspension")
def suspended_stop(run):
    run.start(run.service("a", "on=TERM:exit:0:800")).wait("a").signal()
    time.sleep(0.3)
    suspend(run, 3)
    run.end()


@row("a process never becomes ready", "the container ends with 1, and the dependent never starts", READY)
def never_ready(run):
    run.start(run.service("a", ready=f"{run.dir}/never"), run.service("b", after="a"))
    run.end(1).check(not run.events("start", "b"), "started b").ended_well("a")


# Supervisor#122, #805, #954, #1336, #1450
@row("a process becomes ready after 1.5 s", "the dependent waits", READY)
def late(run):
    ready = run.dir / "ready"
    run.start(run.service("a", "sleep=1500", f"touch={ready}", ready=str(ready), ready_within=5),
              run.service("b", after="a"))
    run.wait("b")
    a, b = (run.events("start", name)[0].at for name in ("a", "b"))
    run.check(b - a > 1, "started too early")
    run.stop().ended_well("a", "b")


# Horust#58, s6-overlay#566, pebble#502
@row("SIGTERM while a process is not ready yet",
     "the process gets SIGTERM at once, the dependent never starts, code 0", READY)
def term_while_waiting(run):
    run.start(run.service("a", ready=f"{run.dir}/never", ready_within=30), run.service("b", after="a")).wait("a")
    run.stop().ended_well("a").check(not run.events("start", "b"), "started b").check(run.took < 3, f"{run.took:.1f} s")


@row("a readiness probe that hangs", "the container ends in time, code 1", READY)
def probe_hangs(run):
    run.start(run.service("a", probe="sleep 60"), run.service("b", after="a"))
    run.end(1).check(not run.events("start", "b"), "started b")


@row("a process is ready, then not ready, then ready again", "no process ends or is restarted", ("drainit", "s6"))
def flapping(run):
    ready = run.dir / "ready"
    run.start(run.service("a", f"touch={ready}", ready=str(ready)), run.service("b", after="a")).wait("b")
    for _ in range(5):
        ready.unlink()
        time.sleep(0.2)
        ready.touch()
        time.sleep(0.2)
    run.check(len(run.events("start")) == 2, "restarted").stop().ended_well("a", "b")


@row("SIGTERM 0, 1, 2, … 200 ms after the exec (peers: 0, 10, 20, … 200 ms)",
     "SIGTERM ends the container in at least 95 % of the tries. In the other tries, SIGTERM may come before the program can block signals", alone=True)
def term_at_start(run):
    step = 1 if run.tool == US else 10

    def one(after):
        with Run(run.tool) as each:
            each.start(each.service("a"))
            pid = each.pid
            while os.path.basename(os.readlink(f"/proc/{pid}/exe")) in ("unshare", "dash", "sh", "bash"):
                pass
            time.sleep(after / 1000)
            try:
                each.stop(None)
            except Fault:
                return 1
            return 0

    with ThreadPoolExecutor(4) as pool:
        lost = list(pool.map(one, range(0, 201, step)))
    run.check(sum(lost) <= 0.05 * len(lost), f"lost {sum(lost)} of {len(lost)}")
