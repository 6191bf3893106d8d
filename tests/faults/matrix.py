"""The rows: each is a name, what is expected, and a function that tries it with one tool."""

import time
from dataclasses import dataclass, field

from run import Fault, Run
from tools import WRITE

ALL = tuple(WRITE)
SUPERVISORS = tuple(tool for tool in ALL if tool != "tini")
US = "drainit"
# The groups of faults in features that no peer has.
DRAIN, OURS = "The drain of Envoy", "What only drainit has, beside the drain"


class Skip(Exception):
    """Skips a row that cannot be tried on this machine, and gives the reason."""


@dataclass
class Row:
    group: str
    what: str
    expected: str
    tools: tuple = ALL
    attempt: object = None
    # The test in tests/ that tries the fault with drainit, in a row that cannot be tried with any peer.
    test: str = ""
    # Whether the row runs alone, because it needs the whole machine.
    alone: bool = False
    cells: dict = field(default_factory=dict)


@dataclass
class Cell:
    """The fault of a tool in one or two words, empty if the tool passed, and the seconds that the tool took."""

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
