"""Writes the tables of docs/measured/soak.md."""

import kit
import limits
import picture


def limit(share, amount):
    if not share:
        return "equal"
    return f"at most {100 * share:g} % + {amount} more"


def measures(result):
    rows = []
    for measure, (name, share, amount) in limits.MEASURES.items():
        first, last = limits.quarters(result, measure)
        rows.append((name, f"{first:,.0f}", f"{last:,.0f}", limit(share, amount)))
    return kit.table(("", "first quarter", "last quarter", "limit"), rows)


def never(result):
    """The events that must not happen, and out of how many."""
    operations = sum(count for name, count in result["operations"].items() if not is_event(name))
    of = {"failed": f"{result['requests']:,} requests", "lost lines": f"{result['lines']:,} lines",
          "failed operations": f"{operations:,} operations", "zombies": f"{len(result['samples']):,} samples"}
    rows = [(name, str(limits.number(result[key])), of[key]) for key, name in limits.NEVER.items()]
    return kit.table(("", "number", "of"), rows)


def is_event(name):
    return name.startswith("event ")


def table(result):
    return f"{measures(result)}\n\n{never(result)}"


def write(result):
    before, last = limits.thirds(result)
    run = (f"{result['date']}, {result['drainit']} of commit {result['commit']}, {result['rounds'][-1]['at'] / 60:.0f} minutes, "
           f"{len(result['rounds'])} rounds, {result['processes']} processes, {result['clients']} clients, Envoy {result['envoy']}, "
           f"on {result['machine']}. Anonymous memory: {before:,.0f} KiB in the second third, {last:,.0f} KiB in the last.")
    measured = f"{run}\n\n{table(result)}"
    kit.write_page("soak.md", "make soak", measured=measured)
    (kit.ROOT / "docs/measured/soak.svg").write_text(picture.svg(result))
