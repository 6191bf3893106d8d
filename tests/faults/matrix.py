"""The rows: each is a name, what is expected, and a function that tries it with one tool."""

import time
from dataclasses import dataclass, field

from run import Fault, Run
from tools import WRITE

ALL = tuple(WRITE)
SUPERVISORS = tuple(tool for tool in ALL if tool != "tini")
US = "drainit"
# The groups of what no peer has.
DRAIN, OURS = "The drain of Envoy", "What only drainit has, beside the drain"


class Skip(Exception):
    """Why a row cannot be tried here."""


@dataclass
class Row:
    group: str
    what: str
    expected: str
    tools: tuple = ALL
    attempt: object = None
    # A test of tests/ that tries it with drainit, if no peer has what the row is about, or none can be set up for it.
    test: str = ""
    # The row runs alone, because it takes all of the machine.
    alone: bool = False
    cells: dict = field(default_factory=dict)


@dataclass
class Cell:
    """A fault in a word or two, or none; and the seconds that the tool took."""

    fault: str = ""
    took: float = 0
    skipped: bool = False

    def text(self):
        if self.skipped:
            return f"skipped: {self.fault}"
        return f"**{self.fault}**" if self.fault else f"pass, {self.took:.2f} s"


ROWS = []


def group(title):
    """Returns the decorator of the rows of one group, and the function that adds tests to it."""

    def row(what, expected, tools=ALL, **more):
        def add(attempt):
            ROWS.append(Row(title, what, expected, tools, attempt, **more))
            return attempt
        return add

    def tested(what, expected, test):
        ROWS.append(Row(title, what, expected, (US,), test=test))

    return row, tested


def attempt(row, tool):
    with Run(tool) as run:
        began = time.monotonic()
        try:
            row.attempt(run)
            return Cell("", run.took or time.monotonic() - began)
        except Fault as fault:
            run.show()
            return Cell(str(fault), run.took)
        except Skip as reason:
            return Cell(str(reason), skipped=True)
