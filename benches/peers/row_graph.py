"""A chain of three processes: the time from exec to the last start, and the time of a stop beyond the time that the
processes themselves take to end."""

import time

import kit
import supervisors
from table import US, Row

# The time that each process takes to end.
TAKE_MS = 50


class Notes:
    """The times in the log of the processes, in nanoseconds."""

    def __init__(self, text):
        self.at = {}
        for line in text.splitlines():
            name, what, moment = line.split()
            self.at[name, what] = int(moment)

    def busy(self):
        """The time in which at least one process was ending, in nanoseconds."""
        names = {name for name, what in self.at if what == "term"}
        spans = sorted((self.at[name, "term"], self.at[name, "end"]) for name in names)
        total, until = 0, 0
        for begin, end in spans:
            total += max(0, end - max(begin, until))
            until = max(until, end)
        return total

    def in_order(self):
        """Whether each process got its signal only after its dependent had ended."""
        order = ["router", "policy-engine", "python-executor"]
        return all(self.at[before, "end"] <= self.at[after, "term"] for before, after in zip(order, order[1:]))


def one_round(supervisor):
    """(start, stop beyond the processes) in milliseconds, and whether the stop was in order."""
    with kit.Scratch() as directory:
        command = supervisor.write(directory, supervisors.chain(directory, TAKE_MS))
        log = directory / "log"
        log.touch()
        began = time.time_ns()
        process = kit.start(command)
        kit.wait_until(lambda: "router start" in log.read_text(), 20, f"start by {supervisor.name}")
        up = Notes(log.read_text()).at["router", "start"] - began
        # Peers that poll need this time to notice that everything runs.
        time.sleep(1)
        asked = time.time_ns()
        process.send_signal(supervisor.stop)
        kit.wait_end(process, 30)
        over = time.time_ns()
        # runsvdir ends before its processes, so the bench waits for their notes in the log.
        kit.wait_until(lambda: log.read_text().count(" end ") == 3, 30, f"end of {supervisor.name}")
        notes = Notes(log.read_text())
        over = max(over, *(moment for (_, what), moment in notes.at.items() if what == "end"))
        return up / 1e6, (over - asked - notes.busy()) / 1e6, notes.in_order()


def measure():
    up, stop, unordered = {}, {}, []
    for supervisor in supervisors.ALL:
        if supervisor.missing():
            up[supervisor.name] = stop[supervisor.name] = None
            continue
        slow = supervisor.name in ("bash entrypoint", "supervisord", "Horust", "runit")
        times = range(kit.rounds(3 if slow else 7, 1 if slow else 3))
        results = kit.attempt(supervisor.name, lambda: [one_round(supervisor) for _ in times])
        if results is None:
            up[supervisor.name] = stop[supervisor.name] = None
            continue
        up[supervisor.name] = kit.median([result[0] for result in results])
        stop[supervisor.name] = kit.median([result[1] for result in results])
        if not all(result[2] for result in results):
            unordered.append(supervisor.name)
    together = "stops everything at once, in no order"
    return [
        Row("start of a chain of three processes: from exec until the last process has started", "ms", up, "20 ms", up[US] <= 20,
            short="start a chain of three, ms",
            why={"supervisord": "does not wait: it only forks in an order"}),
        Row("stop of the chain, without the time that its processes take to end", "ms", stop, "5 ms", stop[US] <= 5 and US not in unordered,
            short="stop the chain, without the time that its processes take to end, ms",
            detail="in order" if US not in unordered else "NOT in order", why={name: together for name in unordered}),
    ]
