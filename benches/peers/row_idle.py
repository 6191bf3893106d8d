"""The cost of an idle init. All inits are idle at the same time."""

import shutil
import time

import kit
import row_drain
import row_one
import row_scale
import supervisors
from table import US, Row

SECONDS = kit.rounds(60, 8)
# Limits in KiB.
LIMIT_ONE = 128
LIMIT_THREE = 320


class Idle:
    """The processes of one peer itself, without the processes that it supervises."""

    def __init__(self, pid):
        self.pids = kit.own_processes(pid)
        self.before = self.look()

    def look(self):
        return [sum(map(kit.switches, self.pids)), sum(map(kit.cpu_ns, self.pids)), time.monotonic()]

    def cost(self):
        """(wake-ups a second, milliseconds of CPU in a minute)"""
        switches, cpu, moment = (after - before for after, before in zip(self.look(), self.before))
        return switches / moment, cpu / 1e6 * 60 / moment

    def memory(self):
        """(anonymous, proportional) in KiB, the sum of all its processes."""
        return [sum(column) for column in zip(*map(kit.memory, self.pids))]


def start_ones(directory):
    """Starts each peer with one process."""
    started = {}
    for name, command in row_one.available().items():
        if name == US:
            # A copy of drainit, which shares no code pages with the other drainit of this bench.
            command = [shutil.copy(kit.DRAINIT, directory / "a-copy"), *command[1:]]
        started[name] = kit.start([*command, kit.CHILD, "idle"]).pid
    return started


def start_threes(directory):
    """Starts each peer with three processes, and with its control interface if it has one."""
    started = {}
    for supervisor in supervisors.ALL:
        if supervisor.missing():
            continue
        own = directory / supervisor.name.replace(" ", "-")
        own.mkdir()
        started[supervisor.name] = kit.start(supervisor.write(own, supervisors.chain(own))).pid
    for name in started:
        log = directory / name.replace(" ", "-") / "log"
        kit.wait_until(lambda: log.exists() and "router start" in log.read_text(), 20, f"start by {name}")
    return started


def idle_rows(what, idle, short=False):
    costs = {name: each.cost() for name, each in idle.items()}
    wakeups = {name: cost[0] for name, cost in costs.items()}
    cpu = {name: cost[1] for name, cost in costs.items()}
    return [
        Row(f"idle, {what}", "wake-ups a second", wakeups, "0", wakeups[US] == 0,
            short="wake-ups a second while idle" if short else ""),
        Row(f"idle, {what}", f"ms of CPU in a minute ({SECONDS} s measured)", cpu, "0", cpu[US] == 0),
    ]


def memory_rows(what, idle, limit, why, short=""):
    """Memory that the kernel cannot reclaim, and, without a target, all mapped memory."""
    memory = {name: each.memory() for name, each in idle.items()}
    anonymous = {name: sizes[0] for name, sizes in memory.items()}
    proportional = {name: sizes[1] for name, sizes in memory.items()}
    return [
        Row(f"memory that the kernel cannot reclaim, {what}", "KiB anonymous", anonymous, f"{limit} KiB", anonymous[US] <= limit,
            why=why, short=short),
        Row(f"memory with code pages, {what}", "KiB proportional", proportional, why=why,
            detail="all containers of an image share the code"),
    ]


def memory_of_one(idle):
    why = dict.fromkeys(("tini", "dumb-init", "catatonit", "tini-static"), "small C programs")
    return memory_rows("one process", idle, LIMIT_ONE, why)


def memory_of_three(idle, directory):
    # An answer takes memory, so drainit answers a request before its memory is measured.
    row_scale.status(directory / US / "control.sock", "GET", "/status", about=b"router")
    small = "small C programs, which share libc with other programs, and have no log prefix, HTTP, conditions, deadline or drain"
    why = dict.fromkeys(("s6", "runit"), small)
    why["bash entrypoint"] = "seven bashes, which share most of their pages, and have no HTTP, restarts, deadline or SIGKILL"
    return memory_rows("three processes, with control sockets", idle, LIMIT_THREE, why,
                       short="memory that the kernel cannot reclaim, three processes, KiB")


def measure():
    """These rows, and the rows of the drain, which is measured at the same time."""
    with kit.Scratch() as directory:
        ones, threes = start_ones(directory), start_threes(directory)
        # Peers that poll only at the start need this time to stop polling.
        time.sleep(3)
        ones = {name: Idle(pid) for name, pid in ones.items()}
        threes = {name: Idle(pid) for name, pid in threes.items()}
        until = time.monotonic() + SECONDS
        drain = row_drain.measure(directory)
        time.sleep(max(0, until - time.monotonic()))
        return [
            *idle_rows("one process", ones),
            *idle_rows("three processes, with control sockets", threes, short=True),
            *memory_of_one(ones),
            *memory_of_three(threes, directory),
            *drain,
        ]
