"""The limits of a run. They compare the last quarter of the rounds with the first quarter, and, for memory, also the
last third with the second third."""

import kit

# The measures of a round: the name of each, and how much more the last quarter may have than the first, as a share plus
# an amount. The bench reads the measures when all is quiet after a round. The measures in COSTS are costs of the round.
MEASURES = {
    "rss": ("resident memory, KiB", 0.05, 128),
    "anonymous": ("anonymous memory, KiB", 0.05, 128),
    "descriptors": ("descriptors", 0, 0),
    "threads": ("threads", 0, 0),
    "children": ("children", 0, 0),
    "cpu": ("processor time per round, ms", 0.25, 20),
    "switches": ("wake-ups of the main thread per round", 0.25, 100),
}
# In a run of at least LONG rounds, the last third may have at most this many KiB of anonymous memory more than the
# second third. After the first third, the allocator has taken all memory that it keeps.
STEADY = 32
LONG = 120
# Other programs of the machine only add to these costs, so the least disturbed rounds count.
COSTS = {"cpu", "switches"}
# The events that must not happen at all.
NEVER = {
    "zombies": "zombies for 3 s or longer",
    "failed": "failed requests",
    "failed operations": "operations with an unexpected result",
    "lost lines": "lost lines",
}


def number(value):
    return value if isinstance(value, int) else len(value)


def typical(measure, values):
    """The median, or the tenth percentile of a cost."""
    return sorted(values)[len(values) // 10] if measure in COSTS else kit.median(values)


def quarters(result, measure):
    """The typical value of the first and of the last quarter."""
    values = [each[measure] for each in result["rounds"]]
    count = max(1, len(values) // 4)
    return typical(measure, values[:count]), typical(measure, values[-count:])


def thirds(result):
    """The anonymous memory in the second and in the last third."""
    values = [each["anonymous"] for each in result["rounds"]]
    count = max(1, len(values) // 3)
    return kit.median(values[-2 * count:-count] or values), kit.median(values[-count:])


def exceeded(result):
    found = []
    for measure, (name, share, amount) in MEASURES.items():
        first, last = quarters(result, measure)
        # Counts have to stay the same. Other measures may also fall.
        if last > first * (1 + share) + amount or (share == 0 and last != first):
            found.append(f"{name}: {first:g} at first, {last:g} at last")
    before, last = thirds(result)
    if len(result["rounds"]) >= LONG and last > before + STEADY:
        found.append(f"anonymous memory still grows: {before:g} KiB in the second third, {last:g} in the last")
    found += [f"{number(result[key])} {name}" for key, name in NEVER.items() if result[key]]
    return found
