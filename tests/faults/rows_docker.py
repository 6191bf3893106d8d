"""Tries faults in Docker containers: `docker stop`, `docker pause`, limits."""

import shutil
import subprocess
import time

from matrix import Skip, group
from run import IMAGE, Run

row, tested = group("In a Docker container")


def start(run, *services, options=()):
    if not shutil.which("docker") or subprocess.run(["docker", "info"], capture_output=True, check=False).returncode:
        raise Skip("no Docker")
    if subprocess.run(["docker", "image", "inspect", IMAGE], capture_output=True, check=False).returncode:
        subprocess.run(f"tar c --files-from /dev/null | docker import - {IMAGE}", shell=True, check=True,
                       capture_output=True)
    return run.start_container(*services, options=options).wait(services[-1].name)


# s6-overlay#204
@row("`docker stop`", "the process gets SIGTERM and 300 ms to end, then the container ends at once, code 0", alone=True)
def stop(run):
    start(run, run.service("a", "on=TERM:exit:0:300")).docker("stop").end(0).ended_well("a").promptly()


@row("`docker pause` for 3 s, then `docker stop`", "nothing is restarted, code 0", alone=True)
def pause(run):
    start(run, run.service("a")).docker("pause")
    time.sleep(3)
    run.docker("unpause")
    time.sleep(0.5)
    run.docker("stop").end(0).check(len(run.events("start", "a")) == 1, "restarted").ended_well("a")


# holds: S128
@row("more memory than the container may have (`--memory`)",
     "the kernel kills the process, the container ends with 137", alone=True)
def memory(run):
    limits = ["--memory=96m", "--memory-swap=96m"]
    start(run, run.service("a", "sleep=1000", "hog=300"), options=limits).end(137)


@row("no fork is possible (`--pids-limit`) when a process is to be restarted",
     "the process is restarted as soon as a fork is possible, and the other processes keep running", ("drainit", "s6", "supervisord"),
     alone=True)
def pids(run):
    go = run.dir / "go"
    start(run, run.service("a", restart=True), run.service("b", f"await={go}", "exit=1", restart=True),
          options=["--pids-limit=100"]).wait("a")
    run.docker("update", "--pids-limit=1")
    go.touch()
    run.until(lambda: run.events("exit", "b"), "end")
    go.unlink()
    time.sleep(1.5)
    run.check(len(run.events("start", "b")) == 1, "has forked").docker("update", "--pids-limit=100")
    run.until(lambda: len(run.events("handling", "b")) == 2, "restart within 20 s")
    run.check(len(run.events("start", "a")) == 1, "restarted a").docker("stop").end(0).ended_well("a")


@row("read-only, any user, no capabilities, no new privileges", "the process gets SIGTERM and 300 ms to end, code 0", alone=True)
def hardened(run):
    run.as_user()
    options = ["--read-only", f"--user={run.uid}:{run.uid}", "--cap-drop=ALL", "--security-opt=no-new-privileges"]
    start(run, run.service("a", "on=TERM:exit:0:300"), options=options).docker("stop").end(0).ended_well("a")


# s6-overlay#182
# holds: S68
@row("the PID namespace of another container (`--pid`)", "runs and stops, and signals no process of the other container",
     ("drainit", "tini", "s6", "supervisord"), alone=True)
def shared_namespace(run):
    with Run("tini") as other:
        start(other, other.service("b"))
        start(run, run.service("a"), options=[f"--pid=container:{other.container}"]).docker("stop")
        run.end(None).check(not other.events("got SIG", "b"), "stops the other").ended_well("a")
        run.check(run.code() == 0, f"code {run.code()}")
