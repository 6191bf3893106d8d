"""Runs one tool as PID 1 of a new PID namespace, with the steps and the checks of the rows."""

import contextlib
import os
import random
import select
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import kit
import tools
from tools import GRACE, Service

CHILD = os.environ.get("CHILD", str(kit.ROOT / "target/debug/child"))
NAMESPACE = ["unshare", "--fork", "--kill-child", "--pid", "--mount"]
# The limit in seconds for something that should happen at once, with a wide margin.
SOON = 20
# The limit in seconds for a prompt end of children that need 300 ms, with a wide margin.
PROMPT = 3
# The name of an empty image.
IMAGE = "drainit-faults"


class Fault(Exception):
    """A fault of a tool, in one or two words."""


@dataclass
class Event:
    at: float
    name: str
    pid: int
    what: str


@dataclass
class Run:
    tool: str
    dir: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="drainit-fault-")))
    process: subprocess.Popen = None
    since: float = 0
    took: float = 0
    signalled: bool = False
    # The paths of the programs: copies, if another user has to read them.
    child_program: str = CHILD
    drainit: str = kit.DRAINIT
    uid: int = 0
    container: str = ""
    output: bytearray = field(default_factory=bytearray)
    limits: list = field(default_factory=list)

    def __post_init__(self):
        self.log = self.dir / "events"
        self.dir.chmod(0o777)
        self.log.touch()
        self.log.chmod(0o666)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.container:
            subprocess.run(["docker", "rm", "--force", self.container], capture_output=True, check=False, timeout=60)
        if self.process:
            self.process.kill()
            self.process.wait()
        # The kernel may still be removing a tmpfs of the namespace.
        shutil.rmtree(self.dir, ignore_errors=True)

    def child(self, name, *steps):
        """The command of the program of the tests, see tests/testkit/src/bin/child/main.rs."""
        return ["env", f"TESTKIT_EVENTS={self.log}", self.child_program, name, *steps]

    def service(self, name, *steps, **options):
        return Service(name, self.child(name, *steps), **options)

    def as_user(self, limits=()):
        """Runs the tool as a separate user without capabilities, under limits that do not apply to root."""
        self.uid, self.limits = random.randrange(100_000, 1_000_000), [*limits]
        self.child_program = shutil.copy(self.child_program, self.dir)
        self.drainit = shutil.copy(self.drainit, self.dir)

    def start(self, *services, setup="mount -t proc none /proc", prefix=(), options=(), tool=None, stdout=None):
        """Starts the tool with these services. Before the tool, the shell script `setup` runs, which may change the
        tool's file systems and limits. `prefix` is a program that executes the tool."""
        command = tool or tools.write(self.tool, self.dir, list(services), self.uid == 0)
        command = [self.drainit if part == kit.DRAINIT else part for part in command]
        if self.uid:
            subprocess.run(["chown", "-R", f"{self.uid}:{self.uid}", self.dir], check=True)
            prefix = [*self.limits, "setpriv", f"--reuid={self.uid}", f"--regid={self.uid}", "--clear-groups",
                      "--inh-caps=-all", "--bounding-set=-all", *prefix]
        # The environment of the bench must not affect a tool.
        environment = {"PATH": f"{kit.TOOLS}/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root",
                       "TMPDIR": str(self.dir)}
        reader, writer = os.pipe()
        # Like container runtimes, gives the pipe to the user.
        os.fchown(writer, self.uid, self.uid)
        self.since = time.monotonic()
        # The script runs in the process that becomes PID 1.
        self.process = subprocess.Popen(
            [*NAMESPACE, *options, "sh", "-c", f'{setup} && exec "$@"', "sh", *prefix, *command],
            env=environment, stdin=subprocess.DEVNULL, stdout=stdout or writer, stderr=writer, cwd="/",
            restore_signals=True, start_new_session=True)
        os.close(writer)
        self.reader = threading.Thread(target=self.read, args=(reader,), daemon=True)
        self.reader.start()
        return self

    def start_container(self, *services, options=()):
        """Runs the tool in a Docker container with the file system of this machine, read-only."""
        command = tools.write(self.tool, self.dir, list(services), self.uid == 0)
        if self.uid:
            subprocess.run(["chown", "-R", f"{self.uid}:{self.uid}", self.dir], check=True)
        self.since = time.monotonic()
        name, root = self.dir.name, {"/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc", str(kit.ROOT)}
        mounts = [f"--volume={path}:{path}:ro" for path in sorted(root) if Path(path).exists()]
        self.process = subprocess.Popen(
            ["docker", "run", "--rm", f"--name={name}", "--network=none", *mounts, f"--volume={self.dir}:{self.dir}",
             f"--env=PATH={kit.TOOLS}/bin:/usr/sbin:/usr/bin:/sbin:/bin", f"--env=TMPDIR={self.dir}",
             *options, IMAGE, *command],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
        self.reader = threading.Thread(target=self.read, args=(self.process.stdout.fileno(),), daemon=True)
        self.reader.start()
        self.container = name
        return self

    def docker(self, *command):
        self.since, self.signalled = time.monotonic(), True
        subprocess.run(["docker", *command, self.container], check=True, capture_output=True, timeout=60)
        return self

    def read(self, reader):
        with open(reader, "rb", buffering=0, closefd=not self.container) as output:
            while block := output.read(1 << 16):
                self.output += block

    @property
    def pid(self):
        """The PID that PID 1 of the namespace has outside."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        (pid,) = self.until(lambda: children.read_text().split(), "PID 1")
        return int(pid)

    def events(self, what, name=None):
        found = []
        for line in self.log.read_text(errors="replace").splitlines():
            at, who, pid, text = line.split(" ", 3)
            if text.startswith(what) and name in (None, who):
                found.append(Event(int(at) / 1e9, who, int(pid), text))
        return found

    def text(self):
        """The output so far; all output if the tool has ended."""
        if self.process and self.process.poll() is not None:
            self.reader.join(5)
        return bytes(self.output)

    def until(self, condition, what, seconds=SOON):
        """Waits until a condition holds. Fails if the time is over or the tool ends before the condition holds."""
        limit = time.monotonic() + seconds
        while True:
            has_ended = self.process.poll() is not None
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                if result := condition():
                    return result
            if has_ended:
                raise Fault(f"ended, {self.code()}")
            if time.monotonic() > limit:
                raise Fault(f"no {what}")
            time.sleep(0.005)

    def wait(self, *names, what="handling"):
        """Waits until these children have recorded this event."""
        for name in names:
            missing = f"start of process {name}" if what == "handling" else f"`{what}` of {name}"
            self.until(lambda name=name: self.events(what, name), missing)
        return self

    def signal(self, number=signal.SIGTERM, pid=None):
        self.since, self.signalled = time.monotonic(), True
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid or self.pid, number)
        return self

    def inside(self, name=None):
        """The outside PIDs of the processes in the namespace except PID 1, of all programs or of one program."""
        return [pid for pid in kit.descendants(self.pid) if name in (None, kit.name_of(pid))]

    def show(self):
        if os.environ.get("SHOW"):
            print(self.log.read_text(), self.text()[-4000:].decode(errors="replace"), sep="\n")

    def code(self):
        code = self.process.returncode
        return 128 - code if code < 0 else code

    def end(self, code=None, within=GRACE, at_least=0, word=None):
        """Waits for the end like a container runtime, and checks the exit code and the time."""
        descriptor = os.pidfd_open(self.process.pid)
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        ended = poll.poll(1000 * max(0, self.since + within - time.monotonic()))
        os.close(descriptor)
        self.took = time.monotonic() - self.since
        if not ended:
            raise Fault(f"killed at {within} s" if self.signalled else "runs on")
        self.process.wait()
        if code is not None and self.code() not in (code if isinstance(code, tuple) else (code,)):
            raise Fault(word or f"code {self.code()}")
        if self.took < at_least:
            raise Fault(f"ended after {self.took:.1f} s")
        return self

    def stop(self, code=0, **limits):
        return self.signal().end(code, **limits)

    def promptly(self):
        """Checks that the tool ended when its children were gone, and did not sleep for the whole grace period."""
        return self.check(self.took < PROMPT, "slept on")

    def check(self, holds, word):
        if not holds:
            raise Fault(word)
        return self

    def ended_well(self, *names):
        """Checks that the children got a stop signal and had enough time to end."""
        return self.check(all(self.events("exit", name) for name in names), "killed cold")

    def in_order(self, *names):
        """Checks that the children ended in this order, each before the next child got its stop signal."""
        self.ended_well(*names)
        ends = [self.events("exit", name)[0].at for name in names]
        asked = [self.events("got SIGTERM", name) for name in names]
        late = [end <= ask[0].at for end, ask in zip(ends, asked[1:]) if ask]
        return self.check(all(late) and ends == sorted(ends), "no order")
