"""What an init costs while nothing happens. All of them are idle at the same time."""

import time

import kit
import row_drain
import row_one
import supervisors
from table import US, Row

SECONDS = kit.rounds(60, 8)
MEMORY_LIMIT_ONE = 400


class Idle:
    """The own processes of one peer, without what they run."""

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
        """(private, proportional, written to) in KiB, together."""
        return [sum(column) for column in zip(*map(kit.memory, self.pids))]


def start_ones(directory):
    """One process each."""
    started = {}
    for name, command in row_one.available().items():
        if name == US:
            # Its pages would not be private beside those of the other drainit.
            own = kit.copy(kit.DRAINIT, directory / "a-copy")
            command = [own, *command[1:]]
        started[name] = kit.start([*command, kit.CHILD, "idle"]).pid
    return started


def start_threes(directory):
    """Three processes each, with control surfaces where there are any."""
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


def rows_of(what, idle, memory_limit, why):
    costs = {name: each.cost() for name, each in idle.items()}
    memory = {name: each.memory() for name, each in idle.items()}
    wakeups = {name: cost[0] for name, cost in costs.items()}
    cpu = {name: cost[1] for name, cost in costs.items()}
    private = {name: sizes[0] for name, sizes in memory.items()}
    proportional = {name: sizes[1] for name, sizes in memory.items()}
    written = memory[US][2]
    limit = f"{memory_limit:,} KiB"
    return [
        Row(f"idle, {what}", "wake-ups a second", wakeups, "0", round(wakeups[US], 1) == 0),
        Row(f"idle, {what}", f"ms of CPU in a minute, of {SECONDS} s measured", cpu, "0", round(cpu[US], 1) == 0),
        Row(f"memory, {what}", "KiB private", private, limit, private[US] <= memory_limit,
            detail=f"{written} of it written to, the rest pages of the binary", why=why),
        Row(f"memory, {what}", "KiB proportional", proportional, limit, proportional[US] <= memory_limit, why=why),
    ]


def measure():
    """These rows, and those of the drain, which is measured meanwhile."""
    with kit.Scratch() as directory:
        ones, threes = start_ones(directory), start_threes(directory)
        # What looks now and then at first has found by then that all is well.
        time.sleep(3)
        ones = {name: Idle(pid) for name, pid in ones.items()}
        threes = {name: Idle(pid) for name, pid in threes.items()}
        until = time.monotonic() + SECONDS
        drain = row_drain.measure(directory)
        time.sleep(max(0, until - time.monotonic()))
        small = "C, dynamically linked: libc's pages are shared with whoever has them"
        why_one = {name: small for name in ones} | {"catatonit": "C, static", "tini-static": "C, static"}
        why_three = {name: "four C programs with no log prefix, HTTP, conditions, deadline or drain; libc's pages are shared"
                     for name in ("s6", "runit")}
        return [
            *rows_of("one process", ones, MEMORY_LIMIT_ONE, why_one),
            *rows_of("three processes, control surfaces on", threes, 1024, why_three),
            *drain,
        ]
