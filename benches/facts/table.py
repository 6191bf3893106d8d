"""The rows of the page: each experiment measures the cells of some rows for one version of Envoy."""

import asyncio

EXPERIMENTS = []


def measures(section, *rows, cheap=False, rests=False):
    """Declares a coroutine `experiment(start)`, where `start(*flags, …)` is an Envoy of one version. The coroutine
    returns a cell for each row. A `cheap` experiment takes a few seconds, and `make test` compares its cells with the
    page. An experiment that `rests` waits for minutes, and needs no processor."""

    def declare(experiment):
        experiment.rests = rests
        EXPERIMENTS.append((section, rows, cheap, experiment))
        return experiment

    return declare


def yes(condition):
    return "yes" if condition else "no"


def after(seconds):
    """A time in the words of a cell. On a busy machine, a time may be some tenths of a second too long."""
    return "at once" if seconds < 0.8 else f"after {seconds:.0f} s"


def when(connections, began, left=None):
    """The number of connections that were asked to leave, how, and when."""
    asked = [one for one in connections if one.asked is not None and one.asked - began < (left or 1e9)]
    if not asked:
        return f"0 of {len(connections)}"
    times = sorted(one.asked - began for one in asked)
    hows = " or ".join(sorted({one.how for one in asked}))
    first, last = times[0], times[-1]
    span = "at once" if last < 0.8 else f"{first:.0f} to {last:.0f} s"
    if last >= 0.8 and f"{first:.0f}" == f"{last:.0f}":
        span = f"{last:.0f} s"
    return f"{len(asked)} of {len(connections)}, {span}, {hows}"


async def until(condition, limit):
    """The seconds until the condition holds; `limit` if it does not hold in time."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    while loop.time() - began < limit:
        result = condition()
        if await result if asyncio.iscoroutine(result) else result:
            break
        await asyncio.sleep(0.05)
    return loop.time() - began
