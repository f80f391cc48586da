"""docs/faults.md: the prose is written by hand, the tables by these functions.

The tables of v2 have only the faults whose outcome differs from v1's.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from sandbox.chapa.faults import Call
from sandbox.chapa.records import Version
from tests.search.fault_cases import AFTER_ACTING, Case, cases_of
from tests.search.fault_cells import Cell
from tests.search.fault_uses import NOBODY, USES, Use

DOCUMENT = Path(__file__).parents[2] / "docs" / "faults.md"

type Cells = Mapping[tuple[str, bool], Cell | None]
"""By the name of the fault and whether it lasts."""

type Place = tuple[Version, Call, str]
"""Where a section is: the name of its use case comes last."""

TITLES: Mapping[Call, str] = {
    "initialize": "open a payment",
    "verify": "ask whether a payment is paid",
    "list": "search for a payment that verify does not know",
    "cancel": "close a page",
    "refund": "pay money back",
    "refund_verify": "ask about a refund",
    "webhook": "Chapa reports an event",
    "callback": "an unsigned report",
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
NEVER_CALLED = " | ".join([NOT_CALLED] * 6)
IF_IT_LASTS = "; if the fault lasts: "
EITHER = " ±"
AS_V1 = "As v1.\n"


def outcome(cell: Cell | None) -> tuple[str, ...]:
    """Three columns that a fault has both when it happens once and when it lasts, and the ends."""
    if cell is None:
        return (NOT_CALLED,)
    heads = (cell.received, cell.repeated or NOBODY, str(cell.immediately))
    end = str(cell.end) + (", by another webhook" if cell.denied else "")
    return (*heads, *([str(cell.after_27_hours)] if cell.after_27_hours else []), end)


def section(place: Place, cells: Cells, tables: Mapping[Place, str]) -> str:
    """A heading and a table, in which faults with equal outcomes share a row."""
    version, call, use = place
    usual = tables.get(("v1", call, use), "") if version != "v1" else ""
    names: dict[str, list[str]] = {}
    for case in cases_of(call, version):
        columns = _columns(case, cells)
        if columns != _row(usual, case.name):
            names.setdefault(columns or NEVER_CALLED, []).append(case.name)
    rows = [f"| {_in_short(faults)} | {columns} |\n" for columns, faults in names.items()]
    return f"### {use}\n\n" + (HEAD + "".join(rows) if rows else AS_V1)


def _columns(case: Case, cells: Cells) -> str | None:
    once, lasting = (outcome(cells.get((case.name, lasts))) for lasts in (False, True))
    if once == lasting:
        return None  # Not called.
    if len(once) == len(lasting) - 1:
        pairs = zip(once[:3], lasting[:3], strict=True)
        heads = [a if a == b else f"{a}{IF_IT_LASTS}{b}" for a, b in pairs]
    else:
        heads = list((once if len(lasting) == 1 else lasting)[:3])
    ends = lasting[3:] or (NOT_CALLED, NOT_CALLED)
    return " | ".join([*heads, once[3] if len(once) > 1 else NOT_CALLED, *ends])


def _in_short(names: list[str]) -> str:
    """A fault before and after acting is named once."""
    both = {name for name in names if name + AFTER_ACTING in names}
    dropped = {name + AFTER_ACTING for name in both}
    return ", ".join(name + EITHER * (name in both) for name in names if name not in dropped)


def _row(section: str, name: str) -> str | None:
    """The columns that a section has about one fault."""
    either = name.removesuffix(AFTER_ACTING) + EITHER
    for line in section.splitlines():
        names, _, columns = line.removeprefix("| ").removesuffix(" |").partition(" | ")
        if columns and {name, either} & set(names.split(", ")):
            return columns
    return None


def repeated(tables: Mapping[Place, str]) -> Iterator[tuple[Place, str]]:
    """Faults that a table of v2 has, although their outcome is v1's."""
    for (version, call, use), table in tables.items():
        usual = tables.get(("v1", call, use), "") if version != "v1" else ""
        for case in cases_of(call, version):
            columns = _row(usual, case.name)
            if columns and columns == _row(table, case.name):
                yield (version, call, use), case.name


def expected(
    place: Place, tables: Mapping[Place, str], name: str, *, lasting: bool
) -> tuple[str, ...]:
    """What the document says about one fault."""
    _, call, use = place
    found = (_row(tables.get(each, ""), name) for each in (place, ("v1", call, use)))
    columns = next(filter(None, found), NEVER_CALLED).split(" | ")
    heads = [column.split(IF_IT_LASTS)[-1 if lasting else 0] for column in columns[:3]]
    ends = columns[4:] if lasting else columns[3:4]
    return (NOT_CALLED,) if NOT_CALLED in ends else (*heads, *ends)


def sections(text: str) -> dict[Place, str]:
    places = {_heading(v, call, use.name): (v, call, use.name) for v, call, use in all_uses()}
    found = {}
    for part in text.split("\n## ")[1:]:
        title = part.partition("\n")[0]
        for table in part.split("\n### ")[1:]:
            place = places[title, table.partition("\n")[0]]
            found[place] = f"### {table.rstrip()}\n"
    return found


def _heading(version: Version, call: Call, use: str) -> tuple[str, str]:
    return _title(version, call), use


def _title(version: Version, call: Call) -> str:
    return f"{version} {call}: {TITLES[call]}"


def all_uses() -> Iterator[tuple[Version, Call, Use]]:
    for version, calls in USES.items():
        for call, uses in calls.items():
            for use in uses:
                yield version, call, use


def document(text: str, tables: Mapping[Place, str]) -> str:
    """The prose of `text`, and then the tables."""
    prose = text.partition(f"\n## {_title('v1', 'initialize')}")[0]
    return prose + "".join(_parts(tables))


def _parts(tables: Mapping[Place, str]) -> Iterator[str]:
    for version, calls in USES.items():
        for call, uses in calls.items():
            yield f"\n## {_title(version, call)}\n\n"
            yield f"Faults: {_in_short([case.name for case in cases_of(call, version)])}.\n"
            for use in uses:
                yield "\n" + tables.get((version, call, use.name), f"### {use.name}\n")
