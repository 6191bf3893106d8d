"""Writes `docs/faults.md`: the matrix, and how each tool is set up."""

import re
import time

import document
import kit
from matrix import ALL, US
from tools import GRACE, STOP

PAGE = kit.ROOT / "docs/faults.md"

TEXT = """\
# Faults

<!-- Written by `make faults`: change benches/faults, not this file. -->

What goes wrong in containers, tried with drainit and with its peers: {rows} faults. drainit passes {passed}{rest}.
`make faults` installs the peers, tries every row and writes this file; `make faults ROW="ignores TERM"` tries the
rows with that text in their name anew. It exits with 1 if drainit fails a row. The tests of the project try the
column of drainit (`tests/fault_matrix.rs`).

{when}, on {machine}.

{versions}

Of the rows, {compared} are tried with every tool that has what they are about, {tested} only with drainit, by the test of
the project that the last column names. It asserts more than fits here, and the time of a whole test would say nothing.

A cell is *pass* and the time from the fault or the signal to the end, or the word for what went wrong. "–" means that
the tool does not have what the row is about, or cannot be set up for it here, such as a machine that sleeps.
*killed at {grace} s* means that the tool was still there when a container runtime kills the container, which is after
{grace} s here; *killed cold* that a process got no TERM, or no time after it; *runs on* that the tool stays although it
should end; *slept on* that it ended seconds after its processes.

{tables}

## How each tool is set up

Each is PID 1 of a PID namespace or of a container of its own and runs the same processes, which record when they
start, get a signal and end. A process gets {stop} s to end where the tool has a time for that. The set-ups are those
of the documentation of each tool, and lie in `benches/faults/tools.py`:

- **drainit**: `drainit run` with a config. The clock is shifted for the binary of `target/debug`, because a static one
  takes no preload.
- **tini**: `tini -- COMMAND`. It runs one process, and leaves the time to end to the container runtime: so a process
  that ignores TERM is *killed at {grace} s* by design.
- **s6**: s6-svscan with a `run` and a `finish` script for each service, `timeout-kill`, and `notification-fd` with
  s6-notifyoncheck; the end of a service ends the container with its code, and what is left at the end gets TERM and a
  second, as s6-overlay does it. Without s6-rc it stops all services at once and has no oneshots. They write to stdout
  themselves; s6-log is for files.
- **supervisord**: `nodaemon`, `stopasgroup` and `killasgroup`, `priority` for the order, a `group` for programs
  of the same priority, and an event listener that ends it when a program ends. Its exit code is 0 then: it has no other.
- **Horust**: one file a service, with `start-after`, `shutdown-after`, `termination.wait`, `failure.strategy =
  "shutdown"` and `--unsuccessful-exit-finished-failed`.
"""


def versions():
    wanted = ("drainit", "Horust", "tini", "s6", "supervisor", "no Horust")
    parts = [part for part in document.versions().rstrip(".").split(", ") if part.startswith(wanted)]
    # The cells of a Horust that is not installed are those of an earlier run.
    earlier = re.search(r"Horust \d[\d.]*\d", PAGE.read_text())
    return ", ".join(earlier[0] if part == "no Horust" and earlier else part for part in parts) + "."


def cell(row, tool):
    if tool not in row.cells:
        return "–"
    text = row.cells[tool].text()
    return text.partition(",")[0] if row.test and text.startswith("pass,") else text


def table(rows):
    lines = [f"| fault | expected | {' | '.join(ALL)} | test |", "|---|---|" + "---|" * (len(ALL) + 1)]
    for row in rows:
        test = f"`{row.test}`" if row.test else ""
        lines.append(f"| {row.what} | {row.expected} | {' | '.join(cell(row, tool) for tool in ALL)} | {test} |")
    return "\n".join(lines)


def write(rows):
    groups = list(dict.fromkeys(row.group for row in rows))
    tables = [f"## {name}\n\n{table([row for row in rows if row.group == name])}" for name in groups]
    ours = [row.cells[US] for row in rows]
    failed, skipped = (sum(1 for cell in ours if cell.fault and cell.skipped == kind) for kind in (False, True))
    rest = "".join(f", {word} {count}" for word, count in (("fails", failed), ("skips", skipped)) if count)
    tested = sum(1 for row in rows if row.test)
    text = TEXT.format(rows=len(rows), compared=len(rows) - tested, tested=tested,
                       passed=len(ours) - failed - skipped, rest=rest,
                       when=time.strftime("%Y-%m-%d"), machine=kit.machine(),
                       versions=versions(), grace=GRACE, stop=STOP,
                       tables="\n\n".join(tables))
    PAGE.write_text(text)
