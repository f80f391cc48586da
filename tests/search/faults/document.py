"""`docs/faults.md`: what was played, as tables that are read and written."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from sandbox.chapa.faults import Call
from tests.search.faults.cases import AFTER_ACTING, Case, cases_of
from tests.search.faults.play import Cell
from tests.search.faults.uses import NOBODY, USES

DOCUMENT = Path(__file__).parents[3] / "docs" / "faults.md"
MANY = 6
"""Faults that are too many to be named twice."""

type Outcome = tuple[str, ...]
type Rows = Mapping[str, Outcome]
"""What came of each group of faults."""

TITLE = """# When Chapa goes wrong

What becomes of an order, whatever Chapa does. Written by `tests/search/faults`, which plays every
cell: each fault of Chapa's imitation (`sandbox/chapa/faults.py`), at each call, in each use case
that makes the call, once and for longer than a day. The test fails when something else comes of one
of them, and when what comes of it breaks a rule, whatever stands here.

    WRITE=1 .venv/bin/python -m pytest tests/search/faults    # write it anew

How to read it:

- **Told** is what the client is answered, or Chapa. **Then** is what a customer hears who asks
  again as often as they are told to, or what Chapa's later deliveries are answered.
- **At once** is how the order stands when the call is over.
- **In the end** is how it stands when the fault happened once, and only the schedule and the
  worker have had their time: nobody did anything.
- **After a day** is how it stands when the fault has lasted for 27 hours, **and
  then** what becomes of it when Chapa is well again.
- The stock follows the order: reserved while it is pending, sold when it is paid or refunded,
  back on the shelf when it is expired or cancelled. **review** means that an alarm calls a
  person.
- A question (verify, refund_verify) is asked up to three times by itself; here all three go
  wrong.

The faults: **refused** is a connection that nobody takes; a number is an HTTP code in Chapa's own
form, **for a day** with `Retry-After: 86400`; **html** is a web page instead; **malformed** is
half an answer; **slow 5 s** is in time, **slow 30 s** is not. **after acting**: Chapa has done
what it was asked before it goes wrong, and without these words it has not; **±** is short for
both.
"""

LEFT = """
Four things that the tables show and that an operator should know:

- A success that Chapa itself denies for longer than a day (404, pending, failed) is believed not to
  be one: the order ends. It is found by the next webhook about it, or by an operator's `ask`.
- A reversal whose webhook never comes is found by an operator's `ask`: nobody else asks about a
  paid payment again.
- A paid payment **in doubt** is asked about until Chapa says where its money is, however long that
  takes; an alarm calls a person each day.
- A refund of a part, whose answer was lost, ends with a person: Chapa has no way to ask for it.
"""

ABOUT: Mapping[Call, str] = {
    "initialize": "## initialize: a page to pay on",
    "verify": "## verify: was it paid?",
    "cancel": "## cancel: shut a page",
    "refund": "## refund: pay back",
    "refund_verify": "## refund_verify: was it paid back?",
    "webhook": "## webhook: Chapa says that something happened",
    "callback": "## callback: so says anybody",
}
HEAD = [
    "| Fault | Told | Then | At once | In the end | After a day | And then |",
    "|---|---|---|---|---|---|---|",
]
UNMET = "not called"
LASTS = "; if it lasts "


def outcome(cell: Cell | None) -> Outcome:
    """Of one fault that happens once, or that lasts."""
    if cell is None:
        return (UNMET,)
    told = (cell.told, cell.later or NOBODY, str(cell.at_once))
    end = str(cell.end) + (", by another webhook" if cell.denied else "")
    return (*told, end) if cell.lasted is None else (*told, str(cell.lasted), end)


def rows(cases: Sequence[Case], cells: Mapping[tuple[str, bool], Cell | None]) -> Rows:
    """Faults of which the same comes are one row."""
    groups: dict[Outcome, list[str]] = {}
    for case in cases:
        once, lasting = (outcome(cells.get((case.name, each))) for each in (False, True))
        if once == (UNMET,) == lasting:
            continue
        if (UNMET,) not in (once, lasting):
            # Whoever asks twice meets it again.
            heads = zip(once[:3], lasting[:3], strict=True)
            once = (*(a if a == b else f"{a}{LASTS}{b}" for a, b in heads), once[3])
        if once == (UNMET,):
            once = (*lasting[:3], UNMET)
        lasted = lasting[3:] if lasting != (UNMET,) else (UNMET, UNMET)
        groups.setdefault((*once, *lasted), []).append(case.name)
    return {", ".join(names): told for told, names in groups.items()}


def read(call: Call, use: str) -> dict[tuple[str, bool], Outcome]:
    """What the document says came of each fault, once and lasting."""
    said: dict[tuple[str, bool], Outcome] = {}
    for names, told in tables().get((call, use), {}).items():
        *heads, end, lasted, ended = told
        told_once = [head.partition(LASTS)[0] for head in heads]
        told_lasting = [head.rpartition(LASTS)[2] for head in heads]
        for name in names.split(", "):
            said[name, False] = (*told_once, end)
            said[name, True] = (*told_lasting, lasted, ended)
            if end == UNMET:
                said[name, False] = (UNMET,)
            if lasted == UNMET:
                said[name, True] = (UNMET,)
    for case in cases_of(call):
        for lasting in (False, True):
            said.setdefault((case.name, lasting), (UNMET,))
    return said


def write(call: Call, use: str, told: Rows) -> None:
    DOCUMENT.write_text(whole({**tables(), (call, use): told}))


def tables() -> Mapping[tuple[str, str], Rows]:
    found: dict[tuple[str, str], dict[str, Outcome]] = {}
    call = use = ""
    for line in DOCUMENT.read_text().splitlines() if DOCUMENT.exists() else ():
        if line.startswith("## "):
            call = line.removeprefix("## ").partition(":")[0]
        elif line.startswith("### "):
            use = line.removeprefix("### ")
        elif line.startswith("| ") and line not in HEAD:
            names, *told = (part.strip() for part in line.strip("|").split("|"))
            found.setdefault((call, use), {})[_in_full(names, call)] = tuple(told)
    return found


def whole(told: Mapping[tuple[str, str], Rows]) -> str:
    return "\n".join(_lines(told)) + "\n"


def _lines(told: Mapping[tuple[str, str], Rows]) -> Iterator[str]:
    yield TITLE.rstrip()
    yield LEFT.rstrip()
    for call, uses in USES.items():
        yield ""
        yield ABOUT[call]
        yield ""
        yield f"Faults: {_in_short([case.name for case in cases_of(call)])}."
        for use in uses:
            table = told.get((call, use.name), {})
            yield ""
            yield f"### {use.name}"
            yield ""
            yield from HEAD
            for names, outcome_ in table.items():
                yield f"| {' | '.join((_in_short(names.split(', ')), *outcome_))} |"


def _in_short(names: Sequence[str]) -> str:
    """A fault that may come before acting or after it is named once when it is both."""
    shown = []
    for name in names:
        base = name.removesuffix(f" {AFTER_ACTING}")
        if base == name and f"{name} {AFTER_ACTING}" in names:
            shown.append(f"{name} {EITHER}")
        elif base == name or base not in names:
            shown.append(name)
    return ", ".join(shown)


EITHER = "±"


def _in_full(names: str, call: str) -> str:
    full = []
    for name in names.split(", "):
        base = name.removesuffix(f" {EITHER}")
        full.append(base)
        if base != name:
            full.append(f"{base} {AFTER_ACTING}")
    order = [case.name for case in cases_of(call)]  # type: ignore[arg-type]
    return ", ".join(sorted(full, key=order.index))
