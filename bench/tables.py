"""Markdown tables, and what is said of the goals."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
PRINTED = ROOT / ".bench"

MISSED = "Missed: "
"""How the line of missed goals begins. `bench.results` collects these lines."""


class Goal(NamedTuple):
    what: str
    value: float
    limit: float
    least: bool = False
    """Whether the limit is the least value, and not the most."""

    @property
    def met(self) -> bool:
        return self.value >= self.limit if self.least else self.value <= self.limit


def markdown(head: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(str, cells))} |" for cells in lines)


def rows_of(table: str) -> list[list[str]]:
    """The cells of each row of a printed table, without its head."""
    lines = [line for line in table.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line[1:-1].split("|")] for line in lines[2:]]


def printed(name: str) -> str:
    """What another bench has printed in this run. Ends the program if it has not run."""
    path = PRINTED / f"{name}.md"
    if not path.exists():
        raise SystemExit(f"First run: python -m bench.{name} > {path.relative_to(ROOT)}")
    return path.read_text()


def verdict(goals: Sequence[Goal]) -> str:
    """One line: which goals are missed and by how much, or that none is."""
    missed = [
        f"{goal.what} {goal.value:.3g} ({'≥' if goal.least else '≤'} {goal.limit:g})"
        for goal in goals
        if not goal.met
    ]
    return f"{MISSED}{'; '.join(missed)}." if missed else "All goals are reached."
