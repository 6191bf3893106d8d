"""The loggers between a process and the container's output. A logger runs a writer and prefixes the writer's lines."""

import select
import subprocess
import time
from dataclasses import dataclass

import kit
import supervisors
from table import US

BASH = 'while IFS= read -r line; do echo "[$PREFIX] $line"; done'


@dataclass
class Logger:
    name: str
    # The number of lines that the logger handles in about a second, if each write has many lines.
    lines: int
    # The command of a filter. Without it, `supervise` makes the command of a supervisor.
    filter: list = None
    supervise: object = None
    needs: str = ""

    def available(self):
        return bool(kit.which(self.needs or self.filter[0]))


def drainit(directory, *writers):
    return supervisors.drainit(directory, writers, control=False)


def supervisord(directory, *writers):
    return supervisors.supervisord(directory, writers)


def horust(directory, *writers):
    return supervisors.horust(directory, writers)


def bash(directory, *writers):
    """A script with a prefixer for each writer, as in the entrypoint, or without any."""
    lines = [f"prefix() {{ {BASH}; }}"]
    for writer in writers:
        command = " ".join(writer.command)
        lines.append(f"{command} > >(PREFIX={writer.name} prefix) &" if writer.log else f"{command} &")
    return ["bash", "-c", "\n".join([*lines, "wait"])]


def tini(directory, writer):
    return [kit.which("tini"), "-s", "--", *writer.command]


DRAINIT = Logger(US, 4_000_000, supervise=drainit, needs="env")
SUPERVISORD = Logger("supervisord", 3_000_000, supervise=supervisord, needs="supervisord")
HORUST = Logger("Horust", 0, supervise=horust, needs="horust")
PREFIXERS = [
    DRAINIT,
    Logger("bash `while read`", 20_000, ["bash", "-c", f"PREFIX=app; {BASH}"]),
    Logger("sed -u", 25_000, ["sed", "-u", "s/^/[app] /"]),
    Logger("awk", 2_000_000, ["awk", '{print "[app] " $0}']),
    Logger("awk, a line at a time", 500_000, ["mawk", "-W", "interactive", '{print "[app] " $0; fflush()}']),
    Logger("s6-log", 1_000_000, ["s6-log", "p[app]", "1"]),
    SUPERVISORD,
]


class Running:
    """Runs writers, the logger on its own CPU, and the reader of its output."""

    def __init__(self, logger, directory, writers, reader):
        others, own = kit.cpus()
        for writer in writers:
            writer.command = [kit.CHILD, *map(str, writer.command), f"go={directory}/go", f"cpu={others}"]
        self.directory = directory
        reader = [kit.CHILD, *reader, f"cpu={others}"]
        self.reader = kit.start(reader, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        on_cpu = ["taskset", "-c", own]
        if logger.supervise:
            self.logger = kit.start([*on_cpu, *logger.supervise(directory, *writers)], stdout=self.reader.stdin)
        else:
            (writer,) = writers
            self.logger = kit.start([*on_cpu, *logger.filter], stdin=subprocess.PIPE, stdout=self.reader.stdin)
            kit.start(writer.command, stdout=self.logger.stdin)
            self.logger.stdin.close()
        self.reader.stdin.close()
        # Once a writer runs under a supervisor, the supervisor has read its config, so the measurement does not include
        # the reading.
        kit.wait_until(lambda: len(kit.writers()) > len(writers), 20, f"writer under {logger.name}")
        time.sleep(0.2)

    def writers(self):
        return [pid for pid in kit.writers() if pid != self.reader.pid]

    def go(self):
        (self.directory / "go").touch()

    def answer(self, seconds=60):
        """Returns the numbers that the reader prints."""
        if not select.select([self.reader.stdout], [], [], seconds)[0]:
            raise TimeoutError(f"lines are missing after {seconds} s")
        return [int(word) for word in self.reader.stdout.readline().split()]
