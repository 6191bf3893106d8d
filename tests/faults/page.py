"""Writes the matrix of `docs/measured/faults.md`."""

import re
import time

import document
import kit
from matrix import ALL, US


def versions():
    wanted = ("drainit", "Horust", "tini", "s6", "supervisor", "no Horust")
    parts = [part for part in document.versions().rstrip(".").split(", ") if part.startswith(wanted)]
    # If Horust is not installed, its cells and its version come from an earlier run.
    earlier = re.search(r"Horust \d[\d.]*\d", (kit.ROOT / "docs/measured/faults.md").read_text())
    return ", ".join(earlier[0] if part == "no Horust" and earlier else part for part in parts) + "."


def cell(row, tool):
    if tool not in row.cells:
        return "–"
    # A time below 0.1 s is not worth showing.
    text = re.sub(r"^pass, 0\.0\d s$", "pass", row.cells[tool].text())
    return text.removeprefix("pass, ")


def table(rows):
    """The rows of one group, without the columns that no row fills."""
    tools = [tool for tool in ALL if any(tool in row.cells for row in rows)]
    cells = [[row.what, row.expected, *(cell(row, tool) for tool in tools)] for row in rows]
    return f"## {rows[0].group}\n\n{kit.table(['fault', 'expected', *tools], cells, numbers=False)}"


def write(rows):
    """Writes the rows that are tried with the peers. rows_tested.py lists the other rows, with their tests."""
    compared = [row for row in rows if not row.test]
    groups = dict.fromkeys(row.group for row in compared)
    tables = [table([row for row in compared if row.group == name]) for name in groups]
    ours = [row.cells[US] for row in rows]
    failed, skipped = (sum(1 for cell in ours if cell.fault and cell.skipped == kind) for kind in (False, True))
    rest = "".join(f", {word} {count}" for word, count in (("fails", failed), ("skips", skipped)) if count)
    run = (f"{time.strftime('%Y-%m-%d')}, on {kit.machine()}.\n{len(rows)} faults. {len(rows) - len(compared)} of these "
           f"faults are tried with drainit only. drainit passes {len(ours) - failed - skipped}{rest}.\n\n{versions()}")
    kit.write_page("faults.md", "make faults", run=run, tables="\n\n".join(tables))
