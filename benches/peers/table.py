"""The rows of the table, and the table."""

from dataclasses import dataclass, field

import kit

US = "drainit"


def number(value):
    """Formats a number with three significant digits."""
    if value == 0:
        return "0"
    if value >= 1000:
        return f"{value:,.0f}"
    if value >= 100:
        return f"{value:.0f}"
    if value >= 10:
        return f"{value:.1f}"
    if value >= 1:
        return f"{value:.2f}"
    return f"{value:.2g}"


@dataclass
class Row:
    """The results: `figures` has drainit and each peer by name, with None for a peer that could not be measured."""

    what: str
    unit: str
    figures: dict
    # An empty text means that there is no target.
    target: str = ""
    met: bool = True
    more_is_better: bool = False
    detail: str = ""
    # The title in the short table, or empty if the row is not in it.
    short: str = ""
    # The reason why a peer may be ahead.
    why: dict = field(default_factory=dict)

    @property
    def ours(self):
        return self.figures[US]

    def peers(self):
        """The peers, best first. Peers without a figure come last."""
        named = [(name, value) for name, value in self.figures.items() if name != US]
        return sorted(named, key=lambda pair: (pair[1] is None, (-1 if self.more_is_better else 1) * (pair[1] or 0)))

    def ahead(self):
        """The peers that are ahead of drainit by more than 2 %, which is the noise."""
        def better(value):
            return value > 1.02 * self.ours if self.more_is_better else 1.02 * value < self.ours
        return [name for name, value in self.peers() if value is not None and better(value)]

    def peer_text(self, name, value):
        if value is None:
            return f"{name}: not measured"
        # A difference of two measurements may be slightly below zero.
        if value <= 0 or self.ours <= 0:
            return f"{name} {number(value)}"
        return f"{name} {number(value)} ({number(value / self.ours)}×)"

    def lost(self):
        """The peers that are ahead of drainit, grouped by reason."""
        reasons = {}
        for name in self.ahead():
            reasons.setdefault(self.why.get(name, "not explained yet"), []).append(name)
        return "<br>".join(f"{', '.join(names)}: {reason}" for reason, names in reasons.items())

    def cells(self):
        ours = f"**{number(self.ours)}**" + (f"<br>{self.detail}" if self.detail else "")
        peers = "<br>".join(self.peer_text(*pair) for pair in self.peers()) or "–"
        target = f"{self.target}: {'met' if self.met else '**missed**'}" if self.target else "–"
        return f"{self.what}, {self.unit}", ours, peers, target, self.lost() or "–"

    def plain(self):
        """A row as text for the terminal, while the bench runs."""
        peers = " · ".join(self.peer_text(*pair) for pair in self.peers())
        detail = f" [{self.detail}]" if self.detail else ""
        target = f" | {self.target}: {'met' if self.met else 'MISSED'}" if self.target else ""
        return f"{self.what}, {self.unit}: {number(self.ours)}{detail} | {peers}{target}"


def find(figures, names):
    value = next((figures[name] for name in names if figures.get(name) is not None), None)
    return "" if value is None else number(value)


def short(rows):
    """The short table: some rows, and a column for each well-known peer."""
    columns = [[US], ["tini"], ["s6", "s6-log"], ["supervisord"], ["Horust"], ["bash entrypoint", "bash `while read`"]]
    lines = []
    for row in (row for row in rows if row.short):
        ours, *peers = [find(row.figures, names) for names in columns]
        lines.append([row.short, f"**{ours}**", *peers])
    return kit.table(["", *(names[0] for names in columns)], lines)


def markdown(rows):
    head = ["what", "drainit", "the others", "target", "ahead of drainit, and why"]
    return kit.table(head, [row.cells() for row in rows], numbers=False)
