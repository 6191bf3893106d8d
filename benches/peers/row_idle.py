"""What an init costs while nothing happens. All of them are idle at the same time."""

import time

import kit
import row_drain
import row_one
import row_scale
import supervisors
from table import US, Row

SECONDS = kit.rounds(60, 8)
# Long enough for drainit to let its code go again after an answer.
SETTLED = 1.5
# KiB.
LIMIT_ONE = 400
LIMIT_THREE = 1024


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


def idle_rows(what, idle, short=False):
    costs = {name: each.cost() for name, each in idle.items()}
    wakeups = {name: cost[0] for name, cost in costs.items()}
    cpu = {name: cost[1] for name, cost in costs.items()}
    return [
        Row(f"idle, {what}", "wake-ups a second", wakeups, "0", wakeups[US] == 0,
            short="wake-ups a second while idle" if short else ""),
        Row(f"idle, {what}", f"ms of CPU in a minute, of {SECONDS} s measured", cpu, "0", cpu[US] == 0),
    ]


def memory_of_one(idle):
    memory = {name: each.memory() for name, each in idle.items()}
    private = {name: sizes[0] for name, sizes in memory.items()}
    proportional = {name: sizes[1] for name, sizes in memory.items()}
    small = "its code is a few pages, and those of libc are shared with whoever has them"
    static = "a small C program"
    why = dict.fromkeys(("tini", "dumb-init"), small) | dict.fromkeys(("catatonit", "tini-static"), static)
    return [
        Row("memory, one process", "KiB private", private, f"{LIMIT_ONE} KiB", private[US] <= LIMIT_ONE,
            why=dict.fromkeys(why, "a small C program"), detail=f"{memory[US][2]} of it written to, the rest is code"),
        Row("memory, one process", "KiB proportional", proportional, why=why),
    ]


def memory_of_three(idle, directory):
    # Somebody will ask: its endpoints are on to be asked.
    row_scale.status(directory / US / "control.sock", "GET", "/status", about=b"router")
    asked = idle[US].memory()[0]
    time.sleep(SETTLED)
    memory = {name: each.memory() for name, each in idle.items()}
    private = {name: sizes[0] for name, sizes in memory.items()}
    proportional = {name: sizes[1] for name, sizes in memory.items()}
    what = "memory, three processes, control surfaces on"
    why = {name: "four small C programs without a log prefix, HTTP, conditions, a deadline or a drain; libc's pages are shared"
           for name in ("s6", "runit")}
    why["bash entrypoint"] = "seven bashes share most of their pages; no HTTP, restarts, deadline or KILL"
    return [
        Row(what, "KiB private", private, f"{LIMIT_THREE:,} KiB", private[US] <= LIMIT_THREE, why=why,
            detail=f"{memory[US][2]} of it written to, the rest is the binary; {asked:,} in the second after an answer",
            short="private memory with three processes, KiB"),
        Row(what, "KiB proportional", proportional, why=why),
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
        return [
            *idle_rows("one process", ones),
            *idle_rows("three processes, control surfaces on", threes, short=True),
            *memory_of_one(ones),
            *memory_of_three(threes, directory),
            *drain,
        ]
