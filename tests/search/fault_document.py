"""docs/faults.md: the prose is written by hand, the tables by these functions."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from sandbox.chapa.faults import Call
from tests.search.fault_cases import AFTER_ACTING, cases_of
from tests.search.fault_cells import Cell
from tests.search.fault_uses import NOBODY, USES

DOCUMENT = Path(__file__).parents[2] / "docs" / "faults.md"

type Cells = Mapping[tuple[str, bool], Cell | None]
"""By the name of the fault and whether it lasts."""

TITLES: Mapping[Call, str] = {
    "initialize": "initialize: open a payment",
    "verify": "verify: ask whether a payment is paid",
    "cancel": "cancel: close a page",
    "refund": "refund: pay money back",
    "refund_verify": "refund_verify: ask about a refund",
    "webhook": "webhook: Chapa reports an event",
    "callback": "callback: an unsigned report",
}
COLUMNS = (
    "Fault",
    "Client receives",
    "If repeated",
    "Immediately",
    "Finally",
    "After 27 h",
    "After recovery",
)
HEAD = f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}\n"
NOT_CALLED = "not called"
IF_IT_LASTS = "; if the fault lasts: "
EITHER = " ±"


def outcome(cell: Cell | None) -> tuple[str, ...]:
    """Three columns that a fault has both when it happens once and when it lasts, and the ends."""
    if cell is None:
        return (NOT_CALLED,)
    heads = (cell.received, cell.repeated or NOBODY, str(cell.immediately))
    end = str(cell.end) + (", by another webhook" if cell.denied else "")
    return (*heads, *([str(cell.after_27_hours)] if cell.after_27_hours else []), end)


def section(call: Call, use: str, cells: Cells) -> str:
    """A heading and a table, in which faults with equal outcomes share a row."""
    names: dict[str, list[str]] = {}
    for case in cases_of(call):
        once, lasting = (outcome(cells.get((case.name, lasts))) for lasts in (False, True))
        if once == lasting:
            continue  # Not called.
        if len(once) == len(lasting) - 1:
            pairs = zip(once[:3], lasting[:3], strict=True)
            heads = [a if a == b else f"{a}{IF_IT_LASTS}{b}" for a, b in pairs]
        else:
            heads = list((once if len(lasting) == 1 else lasting)[:3])
        ends = lasting[3:] or (NOT_CALLED, NOT_CALLED)
        columns = [*heads, once[3] if len(once) > 1 else NOT_CALLED, *ends]
        names.setdefault(" | ".join(columns), []).append(case.name)
    rows = (f"| {_in_short(faults)} | {columns} |\n" for columns, faults in names.items())
    return f"### {use}\n\n{HEAD}{''.join(rows)}"


def _in_short(names: list[str]) -> str:
    """A fault before and after acting is named once."""
    both = {name for name in names if name + AFTER_ACTING in names}
    dropped = {name + AFTER_ACTING for name in both}
    return ", ".join(name + EITHER * (name in both) for name in names if name not in dropped)


def expected(text: str, name: str, *, lasting: bool) -> tuple[str, ...]:
    """What a section says about one fault."""
    for line in text.splitlines():
        names, *columns = line.strip("| ").split(" | ")
        either = name.removesuffix(AFTER_ACTING) + EITHER
        if columns and {name, either} & set(names.split(", ")):
            heads = [column.split(IF_IT_LASTS)[-1 if lasting else 0] for column in columns[:3]]
            ends = columns[4:] if lasting else columns[3:4]
            return (NOT_CALLED,) if NOT_CALLED in ends else (*heads, *ends)
    return (NOT_CALLED,)


def sections(text: str) -> dict[tuple[str, str], str]:
    """By call and use case."""
    found = {}
    for part in text.split("\n## ")[1:]:
        call = part.partition(":")[0]
        for table in part.split("\n### ")[1:]:
            found[call, table.partition("\n")[0]] = f"### {table.rstrip()}\n"
    return found


def document(text: str, tables: Mapping[tuple[str, str], str]) -> str:
    """The prose of `text`, and then the tables."""
    prose = text.partition(f"\n## {TITLES['initialize']}")[0]
    return prose + "".join(_parts(tables))


def _parts(tables: Mapping[tuple[str, str], str]) -> Iterator[str]:
    for call, uses in USES.items():
        yield f"\n## {TITLES[call]}\n\n"
        yield f"Faults: {_in_short([case.name for case in cases_of(call)])}.\n"
        for use in uses:
            yield "\n" + tables.get((call, use.name), f"### {use.name}\n")
