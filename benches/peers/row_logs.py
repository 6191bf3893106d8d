"""Log lines: their CPU time, their latency, and whether they stay whole."""

import time

import kit
import loggers
from loggers import Running
from supervisors import Process
from table import US, Row

# A filter may hold the last lines back in its buffer. The reader does not wait for this many lines.
HELD = 1000
RATE = 10_000
WRITERS = 32
# The lines in one write of a busy writer: nearly the size of a pipe.
BLOCK = 400
# The number of lines of a run with one line per write, which is slow.
SINGLE_LINES = 400_000
BLOCKS = "writes whole blocks, so a line waits until its block is full"
UNPREFIXED = "supervisord, which has no prefix"


def cpu_of(logger, count, log=True, at_once=BLOCK):
    """(CPU nanoseconds of the logger alone, lines)"""
    with kit.Scratch() as directory:
        running = Running(logger, directory, [Process("app", ["lines", count, at_once], log=log)], ["count", count - HELD])
        pid = running.logger.pid
        own = kit.own_processes(pid)
        before = sum(map(kit.cpu_ns, own))
        running.go()
        lines = running.answer()[0]
        return sum(map(kit.cpu_ns, own)) - before, lines


def speeds_of(at_once, most):
    """Lines per CPU second, by name."""
    speeds = {}
    for logger in loggers.PREFIXERS:
        speeds[logger.name] = [] if logger.available() else None
    for _ in range(kit.rounds(3, 1)):
        for logger in loggers.PREFIXERS:
            if speeds[logger.name] is not None:
                count = min(most, logger.lines) // (4 if kit.QUICK else 1)
                result = kit.attempt(logger.name, cpu_of, logger, count, True, at_once)
                if result is None:
                    speeds[logger.name] = None
                else:
                    speeds[logger.name].append(result[1] / result[0] * 1e9)
    speeds = {name: values and kit.median(values) for name, values in speeds.items()}
    speeds[UNPREFIXED] = speeds.pop("supervisord")
    return speeds


def throughput():
    """Two rows: many lines per write, and one line per write. drainit reads all available lines at once, so the
    second row shows the cost of a process that writes each line alone."""
    speeds, single = speeds_of(BLOCK, 4_000_000), speeds_of(1, SINGLE_LINES)
    ours, slowest = speeds[US], speeds["bash `while read`"]
    rivals = [speeds[name] for name in ("sed -u", "awk", "s6-log")]
    why = {"awk": BLOCKS, UNPREFIXED: "copies blocks without cutting them into lines, so lines of several processes mix"}
    return [
        Row("logs: 156-byte lines with a prefix", "lines per CPU second", speeds,
            "100 × the lines of bash, and not slower than sed -u, awk, s6-log",
            ours >= 100 * slowest and all(rival and ours >= rival for rival in rivals), more_is_better=True,
            short="lines with a prefix per CPU second", detail=f"{ours / slowest:.0f} × the lines of bash", why=why),
        Row("logs: 156-byte lines with a prefix, written one at a time", "lines per CPU second", single, more_is_better=True,
            detail=f"{single[US] / single['bash `while read`']:.0f} × the lines of bash",
            why=why | dict.fromkeys(("s6-log", "awk, a line at a time"),
                                    "serves one process, and needs no queue to protect other processes")),
    ]


def waits_of(logger, count):
    """The latency in milliseconds: median, 99th percentile, maximum."""
    answers = []
    for _ in range(kit.rounds(3, 1)):
        with kit.Scratch() as directory:
            running = Running(logger, directory, [Process("app", ["paced", count, RATE])], ["waited", count])
            running.go()
            answers.append(running.answer())
    return [kit.median(column) / 1000 for column in zip(*answers)]


def waiting():
    count = kit.rounds(10_000, 5_000)
    waits = {logger.name: logger.available() and kit.attempt(logger.name, waits_of, logger, count) or None
             for logger in loggers.PREFIXERS}
    p99 = {name: times and times[1] for name, times in waits.items()}
    detail = f"median {waits[US][0]:.2g}, longest {waits[US][2]:.2g}"
    return Row(f"logs: delay of a line at {RATE:,} lines/s, 99th percentile", "ms", p99, "under 1 ms", p99[US] < 1,
               detail=detail,
               short="delay of a line at 10,000 lines/s, 99th percentile, ms",
               why={"awk, a line at a time": "one filter, which has no other work",
                    "supervisord": "passes blocks on as they come, without a prefix"} | dict.fromkeys(
                   ("sed -u", "bash `while read`", "s6-log"),
                   "serves one process, and needs no queue to protect other processes"))


def settle(processes):
    """Waits until no process has run for a second: then everything is written and read."""
    before = None
    while before != (before := sum(map(kit.switches, processes()))):
        time.sleep(1)


def mixing():
    each = kit.rounds(1000, 200)
    count = WRITERS * each
    broken = {}
    for logger in (loggers.DRAINIT, loggers.Logger("bash `while read`", 0, supervise=loggers.bash, needs="bash"),
                   loggers.SUPERVISORD, loggers.HORUST):
        broken[logger.name] = None
        if not logger.available():
            continue
        with kit.Scratch() as directory:
            writers = [Process(f"p{number}", ["mixed", number, each], may_end=True) for number in range(WRITERS)]
            running = Running(logger, directory, writers, ["whole", count])
            running.go()
            settle(kit.writers)
            running.logger.terminate()
            kit.end(running.writers())
            good, lost, _ = running.answer()
            broken[logger.name] = lost
    return Row(f"logs: {WRITERS} processes at once, lines of up to 6,000 bytes", f"lines mixed or lost, of {count:,}", broken, "0",
               broken[US] == 0, short=f"mixed lines among {count:,} lines of {WRITERS} processes")


def inherited():
    count = kit.rounds(1_000_000, 200_000)
    cost = {}
    for logger in (loggers.DRAINIT, loggers.Logger("tini", 0, supervise=loggers.tini, needs="tini"), loggers.HORUST):
        cost[logger.name] = None
        if logger.available():
            cost[logger.name] = kit.median([cpu_of(logger, count, log=False)[0] for _ in range(kit.rounds(3, 1))]) / 1e6
    return Row(f"logs, written without the init: {count:,} lines", "ms of CPU of the init", cost, "0", round(cost[US], 1) == 0)


def measure():
    return [*throughput(), waiting(), mixing(), inherited()]
