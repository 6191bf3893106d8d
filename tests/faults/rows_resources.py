"""Tries a shortage of resources: processes, memory, descriptors, disk, privileges, file systems."""

import os
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

from matrix import SUPERVISORS, group
from run import Fault, Run
from tools import Service

row, tested = group("Shortage of resources")


# The tools that can run as a user without a name. Horust cannot.
NAMELESS = ("drainit", "tini", "s6", "supervisord")


def fill_up(run):
    """Starts as many processes as the user may have."""
    user = ["setpriv", f"--reuid={run.uid}", f"--regid={run.uid}", "--clear-groups"]
    command = "while sleep 60 & do :; done 2>/dev/null; wait"
    return subprocess.Popen([*user, "prlimit", "--nproc=60", "sh", "-c", command],
                            stderr=subprocess.DEVNULL, start_new_session=True)


def empty(filler):
    os.killpg(filler.pid, signal.SIGKILL)
    filler.wait()


@row("no fork is possible (`prlimit --nproc`) when a process is to be restarted",
     "the process is restarted as soon as a fork is possible, and the other processes keep running", ("drainit", "s6", "supervisord"))
def no_fork(run):
    run.as_user(limits=["prlimit", "--nproc=60"])
    run.start(run.service("a", restart=True), run.service("b", restart=True)).wait("a", "b")
    filler = fill_up(run)
    try:
        time.sleep(1)
        run.signal(signal.SIGKILL, pid=outside(run, "b"))
        time.sleep(1.5)
    finally:
        empty(filler)
    run.until(lambda: len(run.events("handling", "b")) == 2, "restart")
    run.check(len(run.events("start", "a")) == 1, "restarted a").stop().ended_well("a", "b")


def outside(run, name):
    """Returns the PID of a child outside the namespace. The event log has the PID inside."""
    inside = str(run.events("start", name)[-1].pid)
    for pid in run.inside():
        with open(f"/proc/{pid}/status", encoding="utf-8") as status:
            if inside == next(line.split()[-1] for line in status if line.startswith("NSpid:")):
                return pid
    return None


@row("64 MiB of address space for the tool and its processes", "runs and stops, or refuses (code not 0)")
def no_memory(run):
    run.start(run.service("a", log=True), prefix=["prlimit", f"--as={64 << 20}"])
    time.sleep(2)
    if run.process.poll() is not None:
        run.check(run.code() != 0, "code 0")
    else:
        run.wait("a").stop().ended_well("a")


@row("20 descriptors", "three processes with logs run, or the tool refuses (code not 0)", SUPERVISORS)
def no_descriptors(run):
    names = ["a", "b", "c"]
    run.start(*(run.service(name, log=True) for name in names), prefix=["prlimit", "--nofile=20"])
    time.sleep(2)
    if run.process.poll() is not None:
        run.check(run.code() != 0, "code 0")
    else:
        run.wait(*names).stop().ended_well(*names)


@row("the disk of a log file is full (a tmpfs)", "the process is not blocked", SUPERVISORS)
def disk_full(run):
    full, done = run.dir / "full", run.dir / "done"
    full.mkdir()
    full.chmod(0o777)
    steps = ["lines=5000,a line that is longer than some others", f"touch={done}"]
    run.start(run.service("a", *steps, log_file=full / "log"),
              setup=f"mount -t proc none /proc && mount -t tmpfs -o size=16k,mode=777 none {full}")
    run.until(done.exists, "end of the output: blocked", 5)
    run.stop().ended_well("a")


# catatonit#12
@row("the parent of the tool leaves a descriptor open", "no process inherits this descriptor", SUPERVISORS)
def inherited(run):
    script = run.dir / "look"
    script.write_text(f"[ -e /proc/$$/fd/7 ] && : >{run.dir}/leak; : >{run.dir}/up; exec sleep 60")
    run.start(Service("a", ["sh", str(script)]), prefix=["sh", "-c", 'exec "$@" 7</dev/null', "sh"])
    run.until((run.dir / "up").exists, "start")
    run.stop(None).check(not (run.dir / "leak").exists(), "inherited")


@row("10 restarts of a process with a log", "no descriptor stays open", SUPERVISORS)
def restarts(run):
    starts, script = run.dir / "starts", run.dir / "restarted"
    script.write_text(f"echo >>{starts}; echo line; exec sleep 0.1")
    run.start(Service("a", ["sh", str(script)], restart=True, log=True, more={"restart_delay": "0s"}))

    def descriptors(number):
        run.until(lambda: starts.read_text().count("\n") >= number, f"start {number}", 60)
        return len(os.listdir(f"/proc/{run.pid}/fd"))

    few, many = descriptors(3), descriptors(13)
    run.stop(None).check(many < few + 5, f"{many - few} stay")


@row("a read-only root file system with one writable directory", "runs and stops, code 0")
def read_only(run):
    run.start(run.service("a"),
              setup=f"mount -t proc none /proc && mount --bind {run.dir} {run.dir} && mount -o remount,bind,ro /")
    run.wait("a").stop().ended_well("a")


# s6-overlay#600, #526, #578, #551, #397, #427
@row("the files of the tool lie on a `noexec` mount, as `/run` often is", "runs and stops, code 0",
     ("drainit", "s6", "supervisord"))
def noexec(run):
    run.start(run.service("a"),
              setup=f"mount -t proc none /proc && mount --bind {run.dir} {run.dir} && "
                    f"mount -o remount,bind,noexec,nosuid {run.dir}")
    run.wait("a").stop().ended_well("a")


@row("no /proc", "a process and its daemon get SIGTERM and time to end, code 0")
def no_proc(run):
    daemon, process = (" ".join(run.child(*child)) for child in (("b", "on=TERM:exit:0:300"), ("a",)))
    run.start(Service("a", ["sh", "-c", f"setsid {daemon} & exec {process}"]), setup="mount -t tmpfs none /proc")
    run.wait("a", "b").stop().ended_well("a", "b")


@row("no /dev", "runs and stops, code 0")
def no_dev(run):
    run.start(run.service("a"), setup="mount -t proc none /proc && mount -t tmpfs none /dev").wait("a")
    run.stop().ended_well("a")


# SeleniumHQ/docker-selenium#802, rstudio/helm#263, pulsar-manager#407
@row("any user, no capability, no new privileges", "runs and stops, code 0")
def no_privileges(run):
    run.as_user(limits=["setpriv", "--no-new-privs"])
    run.start(run.service("a")).wait("a").stop().ended_well("a")


# A script that a shell runs without a second process or thread.
SMALL = "mkfifo never && exec 3<>never && trap ': >asked; exit 0' TERM && : >up && read -r line <&3"


def survey(run, option, limits):
    """Starts the tool once under each limit. It must run and stop, or refuse with a code other than 0."""
    def one(limit):
        with Run(run.tool) as each:
            try:
                each.as_user(limits=["prlimit", f"--{option}={limit}"])
                each.start(Service("a", ["sh", "-c", f"cd {each.dir} && {SMALL}"], log=True))
                each.until(lambda: (each.dir / "up").exists() or each.process.poll() is not None,
                           "start or refusal")
                if each.process.poll() is not None:
                    # A limit can be too low for glibc, which then aborts. If nothing has started, this is a refusal.
                    wrong = (0, 139) if (each.dir / "up").exists() else (0,)
                    each.check(each.code() not in wrong, f"code {each.code()}")
                else:
                    each.stop(None).check((each.dir / "asked").exists(), "killed cold")
            except Fault as fault:
                each.show()
                return f"{fault} at {limit}"
            return ""

    with ThreadPoolExecutor(4) as pool:
        faults = [fault for fault in pool.map(one, limits) if fault]
    run.check(not faults, f"{len(faults)} of {len(limits)}, among them: {', '.join(faults[:2])}")


@row("limits of 12 to 40 descriptors, each tried once", "runs and stops, or refuses (code not 0)", NAMELESS,
     alone=True)
def descriptors(run):
    survey(run, "nofile", range(12, 41))


@row("limits of 1 to 20 processes and threads, each tried once", "runs and stops, or refuses (code not 0)",
     NAMELESS, alone=True)
def processes(run):
    survey(run, "nproc", range(1, 21))


@row("limits of 24 to 64 MiB of address space, each tried once", "runs and stops, or refuses (code not 0)", NAMELESS,
     alone=True)
def memory(run):
    survey(run, "as", [limit << 20 for limit in range(24, 65, 2)])
