"""Helpers of all rows: processes that always end, /proc, and medians."""

import ctypes
import datetime
import os
import platform
import random
import re
import select
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT / "target/bench-tools"
CHILD = str(TOOLS / "bench-child")
ENVOY = ROOT / "target/envoy/1.40.0/envoy"
QUICK = bool(os.environ.get("QUICK"))
DRAINIT = os.environ.get("DRAINIT", str(ROOT / "target/static/drainit"))

PR_SET_CHILD_SUBREAPER = 36
# The command after these words is PID 1 of a new PID namespace, which ends with it.
NAMESPACE = ["unshare", *([] if os.geteuid() == 0 else ["--user", "--map-root-user"]), "--pid", "--fork", "--kill-child"]
VERSION = "import importlib.metadata, sys; print(importlib.metadata.version(sys.argv[1]))"


def rounds(full, quick):
    """The number of repetitions."""
    return quick if QUICK else full


def say(text):
    print(f"bench: {text}", file=sys.stderr, flush=True)


def which(program):
    """The path of a peer, or None."""
    path = os.pathsep.join([str(TOOLS / "bin"), os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    return shutil.which(program, path=path)


def write_page(page, command, **parts):
    """Writes each part of a page of docs/measured between its marks. The rest is written by hand."""
    path = ROOT / "docs/measured" / page
    text = path.read_text()
    for name, part in parts.items():
        before, mark, rest = text.partition(f"<!-- {command}: {name} -->\n")
        _, end, after = rest.partition("<!-- end -->\n")
        if not end:
            raise ValueError(f"{page} has no part {mark or name}")
        text = f"{before}{mark}\n{part.strip()}\n\n{end}{after}"
    path.write_text(text)
    say(f"written to docs/measured/{page}")


def table(head, rows, numbers=True):
    """A table of Markdown. The first column has texts. The others have numbers, or texts if `numbers` is false."""
    line = " | ".join
    rule = "|---" + ("|--:" if numbers else "|---") * (len(head) - 1) + "|"
    return "\n".join([f"| {line(head)} |".replace("|  |", "| |", 1), rule, *(f"| {line(row)} |" for row in rows)])


def kernel():
    return f"Linux {'.'.join(platform.release().split('.')[:2])}"


def measured(missing):
    """The sentences above the results: when and where they were measured, and what is missing."""
    text = f"Measured on {datetime.date.today()}, {kernel()}, with a load average of {os.getloadavg()[2]:.0f}."
    return text + (f" Not measured by then: {', '.join(missing)}." if missing else "")


def median(values):
    return statistics.median(values)


def wait_until(condition, seconds, what):
    """Polls every half millisecond, up to a timeout."""
    until = time.monotonic() + seconds
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > until:
            raise TimeoutError(f"no {what} within {seconds} s")
        time.sleep(0.0005)


def attempt(name, measure, *arguments):
    """Returns None and prints the error if a peer fails. drainit must not fail."""
    try:
        return measure(*arguments)
    except (TimeoutError, RuntimeError, OSError) as error:
        if name == "drainit":
            raise
        say(f"{name} cannot be measured: {error}")
        return None


# Programs.


def install(place, packages, environment=None, python=sys.executable):
    """A virtual environment with pinned packages, which is made once. `environment`: more variables for pip."""
    if not (place / "ok").exists():
        shutil.rmtree(place, ignore_errors=True)
        subprocess.run([python, "-m", "venv", place], check=True)
        subprocess.run([place / "bin/pip", "install", "--quiet", *packages.split()], check=True, env={**os.environ, **(environment or {})})
        (place / "ok").touch()


def version_of(command):
    """The version that a command prints, or None if the command fails."""
    try:
        said = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    found = re.search(r"(?:^\d+:)?(\d[\w.]*)", said.stdout or said.stderr)
    return found and found[1]


def version_in(place, package):
    """The version of a package in a virtual environment, or None."""
    return version_of([place / "bin/python", "-c", VERSION, package])


def version_of_debian(package):
    """The version of an installed package of Debian, or None."""
    return version_of(["dpkg-query", "-W", "-f", "${Version}", package])


def free_port():
    """A port below those that the kernel gives away, so that no client gets it before the server listens."""
    while True:
        port = random.randrange(10_000, 30_000)
        with socket.socket() as attempt:
            try:
                attempt.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


# Processes.


def adopt_orphans():
    """Makes leftover processes of a peer children of the bench, which can end them."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def start(command, **options):
    options.setdefault("stdin", subprocess.DEVNULL)
    options.setdefault("stdout", subprocess.DEVNULL)
    options.setdefault("stderr", subprocess.DEVNULL)
    return subprocess.Popen([str(part) for part in command], start_new_session=True, **options)


def in_namespace(command, **options):
    """A child that is PID 1 of a new PID namespace, which ends with it."""
    return subprocess.Popen([*NAMESPACE, "--mount-proc", *map(str, command)], **options)


def init_of(child):
    """PID 1 of the namespace of `child`, as seen from here. Fails until it has started."""
    return int(Path(f"/proc/{child.pid}/task/{child.pid}/children").read_text().split()[0])


def wait_end(process, seconds):
    """Waits for the exit code."""
    await_end(process, seconds)
    return process.wait()


def await_end(process, seconds):
    """Waits until the process has ended, without reaping it."""
    descriptor = os.pidfd_open(process.pid)
    try:
        if not select.select([descriptor], [], [], seconds)[0]:
            raise TimeoutError(f"{process.args[0]} has not ended within {seconds} s")
    finally:
        os.close(descriptor)


def children_of_all():
    """The children of every process, by the PID of the parent."""
    table = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                stat = Path("/proc", entry, "stat").read_text()
            except (FileNotFoundError, ProcessLookupError):
                continue
            state, parent = stat.rpartition(")")[2].split()[:2]
            table.setdefault(int(parent), []).append((int(entry), state))
    return table


def descendants(pid, table=None):
    """The living descendants, without `pid` itself."""
    table = table or children_of_all()
    found, left = [], [pid]
    while left:
        for child, state in table.get(left.pop(), []):
            left.append(child)
            if state != "Z":
                found.append(child)
    return found


def end(pids):
    for pid in pids:
        try:
            os.kill(pid, signal.SIGTERM)
        except ProcessLookupError:
            pass


def end_all():
    """Ends every descendant of the bench, and no other process."""
    until = time.monotonic() + 20
    while time.monotonic() < until:
        table = children_of_all()
        living = descendants(os.getpid(), table)
        for pid in living:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        for pid, state in table.get(os.getpid(), []):
            if state == "Z":
                try:
                    os.waitpid(pid, os.WNOHANG)
                except ChildProcessError:
                    pass
        if not living:
            return
        time.sleep(0.01)
    say("something cannot be killed")


def writers():
    """All running programs of the bench."""
    return [pid for pid in descendants(os.getpid()) if name_of(pid) == Path(CHILD).name]


def cpus():
    """Returns the CPU for all other processes, and the CPU for the measured process."""
    able = sorted(os.sched_getaffinity(0))
    return able[0], able[-1]


def name_of(pid):
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def own_processes(pid):
    """The processes of an init or supervisor itself: the tree from `pid`, without supervised processes."""
    return [each for each in [pid, *descendants(pid)] if name_of(each) != Path(CHILD).name]


# Costs of a process.


def cpu_ns(pid):
    """CPU time of all threads, as the scheduler counts it, in nanoseconds."""
    total = 0
    for thread in os.listdir(f"/proc/{pid}/task"):
        total += int(Path(f"/proc/{pid}/task/{thread}/schedstat").read_text().split()[0])
    return total


def switches(pid):
    """The number of times that the threads of a process got a CPU."""
    total = 0
    for thread in os.listdir(f"/proc/{pid}/task"):
        for line in Path(f"/proc/{pid}/task/{thread}/status").read_text().splitlines():
            if "ctxt_switches" in line:
                total += int(line.split()[1])
    return total


def memory(pid):
    """(anonymous, proportional) in KiB, from `smaps_rollup`.

        Anonymous pages (stack, heap, written pages of a file) cannot be read again from a file, so
        without swap the kernel cannot reclaim them. `Pss_Anon` divides a page among the processes that
        share it after a fork.
    """
    fields = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, number = line.split()[:2]
        fields[name.rstrip(":")] = int(number)
    return fields["Pss_Anon"] + fields["SwapPss"], fields["Pss"]


def machine():
    """The processor, the memory and the kernel of this machine."""
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    memory = int(re.search(r"MemTotal:\s*(\d+)", Path("/proc/meminfo").read_text())[1]) / 2**20
    cpu = model[1].strip() if model else platform.machine()
    return f"{len(os.sched_getaffinity(0))} cores ({cpu}), {memory:.0f} GiB, {kernel()}"


class Scratch:
    """A temporary directory. At its end it is removed, and all processes are ended."""

    def __enter__(self):
        self.path = Path(tempfile.mkdtemp(prefix="drainit-bench-"))
        return self.path

    def __exit__(self, *_):
        end_all()
        shutil.rmtree(self.path, ignore_errors=True)
