"""Writes docs/soak.md: what ran, the table, and the limits."""

import kit
import limits
import picture

INTRODUCTION = """# A soak

One drainit, as PID 1 of a PID namespace, does everything at once for an hour. It must not grow, lose a request or a
line, or leave a process behind. `make soak` runs it again; `make soak MINUTES=2` is a quick one, which writes no page.

<img src="soak.svg" alt="Memory, descriptors, processor time and wake-ups of drainit in an hour" width="880">

## What runs

[The config](../benches/soak/config/drainit.yaml) has {processes} processes, with real traffic through three of them: {clients} clients,
which keep their connections and never retry, send ten requests a second each. All the time there are copies that crash
after a minute, a process that hangs and fails its watchdog, two that write 100 lines a second each (to standard output
with a prefix, and to a file that is rotated), orphans, and liveness probes of every kind.

Every 15 s there is [a round](../benches/soak/rounds.py):

- `drainit restart` of a server by `start-first`, of one by `stop-first` with `listen`, of a real Envoy {envoy} by
  `hot-restart`, and of a process with a dependent that follows;
- a new instance that never gets ready, which is taken back;
- `drainit stop` of two processes and `drainit start`, and a oneshot that runs again;
- new values in an `env_file`, a secret and a template, which the next start reads;
- a changed file of `watch` that restarts a process, and one that sends it a signal;
- `drainit reload` to another config, which replaces two processes and adds two, and back; each a second time by
  `watch`, and one of a config with an error, which is refused;
- `status`, `logs`, a reader of `logs -f` that goes away, `kill`, `/metrics`, `/status`, `/readyz`, and clients that go
  away in the middle of a request.

drainit keeps [the last 16 KiB of lines](operating.md#status-and-logs) of each process that it reads, and the place of
each line among all. So each process with a log writes [more than that](../benches/soak/full.sh) when it starts: this
memory is full after the first round, and is not what grows later.

What has to go right is checked: each command's exit code, each client's answer, and that each numbered line comes once
and in its order.

## Measured

"""
LIMITS = """
Memory, descriptors, threads and children are read when all is ready after a round, and the figures are the medians of
the first and the last quarter of the rounds; some rounds before them do not count. Processor time and wake-ups
(voluntary context switches) are what a whole round has cost. Other programs of the machine add to them, so there the
figure is the tenth percentile, and the peaks of the picture are theirs. `make soak` fails when the last quarter exceeds
its limit, when a number of the second table is not 0, or when the anonymous memory of the last third is more than
{steady} KiB above that of the second: they are {last:,.0f} and {before:,.0f} KiB. What the allocator keeps it takes before.
"""
OPERATIONS = """
## How often

"""


def limit(share, amount):
    if not share:
        return "equal"
    return f"at most {100 * share:g} % + {amount} more"


def measures(result):
    rows = [("", "first quarter", "last quarter", "limit")]
    for measure, (name, share, amount) in limits.MEASURES.items():
        first, last = limits.quarters(result, measure)
        rows.append((name, f"{first:,.0f}", f"{last:,.0f}", limit(share, amount)))
    return rows


def never(result):
    """What must not happen, out of how many."""
    operations = sum(count for name, count in result["operations"].items() if not is_event(name))
    of = {"failed": f"{result['requests']:,} requests", "lost lines": f"{result['lines']:,} lines",
          "failed operations": f"{operations:,} operations", "zombies": f"{len(result['samples']):,} samples"}
    return [("", "number", "of")] + [
        (name, str(limits.number(result[key])), of[key]) for key, name in limits.NEVER.items()
    ]


def is_event(name):
    return name.startswith("event ")


def operations(result):
    """Both the calls and the events that drainit has written, the most frequent first."""
    counts = result["operations"]
    calls = [(name, count) for name, count in counts.items() if not is_event(name)]
    events = [(f"`{name[6:]}`", count) for name, count in counts.items() if is_event(name)]
    text = []
    for title, rows in [("operation", calls), ("[event](events.md)", events)]:
        rows = sorted(rows, key=lambda row: -row[1])
        text.append(markdown([(title, "number")] + [(name, f"{count:,}") for name, count in rows]))
    return "\n".join(text)


def markdown(rows):
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    lines.insert(1, "|---" + "|--:" * (len(rows[0]) - 1) + "|")
    return "\n".join(lines).replace("|  |", "| |", 1) + "\n"


def table(result):
    return markdown(measures(result)) + "\n" + markdown(never(result))


def write(result):
    docs = kit.ROOT / "docs"
    introduction = INTRODUCTION.format(**{name: result[name] for name in ["processes", "clients", "envoy"]})
    before, last = limits.thirds(result)
    below = LIMITS.format(before=before, last=last, steady=limits.STEADY)
    run = (f"{result['date']}, {result['drainit']} of commit {result['commit']}, {result['rounds'][-1]['at'] / 60:.0f} minutes, "
           f"{len(result['rounds'])} rounds, on {result['machine']}.\n\n")
    (docs / "soak.md").write_text(introduction + run + table(result) + below + OPERATIONS + operations(result))
    (docs / "soak.svg").write_text(picture.svg(result))
