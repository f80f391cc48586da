"""Every fault of the Chapa simulator, at every call and in every use case that makes it.

Each outcome is judged by the rules below and compared with `docs/faults.md`. By day each use case
meets one fault of each meaning, once, and the use cases share all kinds of fault among them; of the
version that PROVIDER does not choose there are only a few use cases. `make nightly` plays all. To
write the document again:
WRITE=1 .venv/bin/python -m pytest tests/search/test_faults.py
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence

import pytest

from sandbox.chapa.faults import Call
from sandbox.chapa.records import Version
from tests.depth import NIGHTLY
from tests.search.fault_cases import Case, Means, cases_of
from tests.search.fault_cells import Cell, Player, State
from tests.search.fault_document import (
    AS_V1,
    DOCUMENT,
    HEAD,
    all_uses,
    document,
    expected,
    outcome,
    repeated,
    section,
    sections,
)
from tests.search.fault_uses import (
    NOBODY,
    USES,
    WORKER_MILLISECONDS,
    Use,
    cancel,
    chapa_reverses,
    initialize,
    refresh,
    worker,
)
from tests.shop import CURRENT

WRITE = os.environ.get("WRITE") == "1"
EVERYTHING = NIGHTLY or WRITE

UNKNOWN = {Means.NO_ANSWER, Means.PERHAPS, Means.NOT_DONE, Means.REFUSED}
"""Neither order nor stock may move; nor with UNTRUE."""

OTHER_END = {Means.MONEY_BACK, Means.UNTRUE, Means.BELIEVED, Means.REFUSED}
"""Chapa says what is not so, or refuses: the order may end otherwise than without the fault."""


OF_THE_OTHER_BY_DAY = {
    "worker: not paid, order overdue",
    "worker: not paid, page over",
    "worker: paid, and only the list knows it",
    "part, repeated, response lost",
}

PROVIDERS: dict[Version, str] = {"v1": "chapa-v1", "v2": "chapa-v2"}


@pytest.fixture(scope="module")
def player(aws: None, provider: str) -> Player:
    return Player(provider)


def some_of(cases: Iterable[Case], uses: Sequence[Use], use: Use) -> list[Case]:
    """One case of each meaning, and this use case's share of the cases of each kind and meaning."""
    kinds = first_of_each(cases, lambda case: (case.kind, case.means))
    share = kinds[uses.index(use) :: len(uses)]
    met = {case.means for case in share}
    return share + first_of_each(
        (case for case in kinds if case.means not in met), lambda case: case.means
    )


def first_of_each(cases: Iterable[Case], sort: Callable[[Case], object]) -> list[Case]:
    firsts: dict[object, Case] = {}
    for case in cases:
        firsts.setdefault(sort(case), case)
    return list(firsts.values())


@pytest.mark.parametrize(
    ("provider", "version", "call", "use"),
    [
        pytest.param(PROVIDERS[version], version, call, use, id=f"{version} {call}: {use.name}")
        for version, call, use in all_uses()
        if EVERYTHING or PROVIDERS[version] == CURRENT or use.name in OF_THE_OTHER_BY_DAY
    ],
    indirect=["provider"],
)
def test_every_fault_ends_as_the_rules_and_the_document_say(
    player: Player, version: Version, call: Call, use: Use
) -> None:
    well = player.play(use, None)
    assert well is not None
    cells: dict[tuple[str, bool], Cell | None] = {}
    wrong = []

    def play(case: Case, *, lasting: bool) -> None:
        name = f"{case.name}, {'lasting' if lasting else 'once'}"
        try:
            cell = cells[case.name, lasting] = player.play(use, case, lasting=lasting)
        except AssertionError as error:
            wrong.append(f"{name}: {error}")
            return
        if cell is not None:
            wrong.extend(f"{name}: {why}" for why in complaints(call, use, case, cell, well))

    cases = list(cases_of(call, version))
    if not EVERYTHING:
        cases = some_of(cases, USES[version][call], use)
    for case in cases:
        play(case, lasting=False)
    met = [case for case in cases if cells.get((case.name, False))]
    assert met, "this use case does not make the call"
    for case in met if EVERYTHING else []:
        play(case, lasting=True)
    assert not wrong, "\n".join(wrong)

    text = DOCUMENT.read_text()
    tables = sections(text)
    place = (version, call, use.name)
    if WRITE:
        tables[place] = section(place, cells, tables)
        DOCUMENT.write_text(document(text, tables))
    for (name, lasting), cell in cells.items():
        assert outcome(cell) == expected(place, tables, name, lasting=lasting), (name, lasting)
    assert not EVERYTHING or tables[place] == section(place, cells, tables)


def test_document_holds_nothing_else() -> None:
    text = DOCUMENT.read_text()
    tables = sections(text)
    assert text == document(text, tables)
    assert all(HEAD in table or table.endswith(AS_V1) for table in tables.values())
    assert list(repeated(tables)) == []


def complaints(call: Call, use: Use, case: Case, cell: Cell, well: Cell) -> Iterator[str]:
    """Rules that an outcome breaks. `well` is the outcome without a fault."""
    now, means = cell.immediately, case.means
    if cell.seconds > (WORKER_MILLISECONDS / 1000 if use.act is worker else 29):
        yield f"the function would not live for {cell.seconds} s"
    if "paid" in cell.received and now.order != "paid":
        yield f"the client received {cell.received}, and the order is {now.order}"
    unknown = means in UNKNOWN or (means is Means.UNTRUE and case.kind != "wrong_amount")
    if unknown and _moved(cell.before, now):
        yield f"unknown, and the order moved: {cell.before} → {now}"
    # A fault that happens once, before the cancel, is not the last word.
    says_it_last = means is Means.PENDING and (use.fault_after or cell.after_27_hours)
    closes = [*zip(cell.before.payments, now.payments, strict=False)]
    if says_it_last and {("pending", "closed"), ("failed", "closed")} & {*closes}:
        yield f"Chapa says pending, and the payment was closed at once: {cell.before} → {now}"
    if means is Means.NO_ANSWER and not _same_or_closing(cell.before.payments, now.payments):
        yield f"unknown, and the payment moved: {cell.before} → {now}"
    if not cell.received.startswith(_may_receive(call, use, case, well)):
        yield f"the client received {cell.received}"
    if call == "initialize":
        status = {Means.PERHAPS: "initializing", Means.NOTHING: "pending"}.get(means, "closed")
        if now.payments[-1] != status:
            yield f"the payment is {now.payments[-1]}, not {status}"
    yield from _repetitions(cell)
    # Known: a paid payment is not checked again without a webhook.
    if not (means is Means.NEVER and use.act is chapa_reverses):
        yield from _ends(call, case, cell, well)


def _moved(before: State, after: State) -> bool:
    return (before.order, before.available) != (after.order, after.available)


def _same_or_closing(before: Sequence[str], after: Sequence[str]) -> bool:
    return len(before) == len(after) and all(
        now in {was, "closing"} for was, now in zip(before, after, strict=True)
    )


def _may_receive(call: Call, use: Use, case: Case, well: Cell) -> str | tuple[str, ...]:
    """How the response to the client begins."""
    if case.means in {Means.UNTRUE, Means.LISTED} and use.act in {initialize, cancel}:
        return ("20", "409 order_", "503 provider_unavailable, again in 5 s")
    unanswered = case.means in UNKNOWN
    match call:
        case "initialize" if case.means is Means.NOTHING:
            return "201"
        case "initialize":
            code = case.code_of_initialize
            return code if code == "400 provider_rejected" else f"{code}, again in "
        case "verify" | "cancel" if use.act is initialize and unanswered:
            return "503 provider_unavailable, again in 5 s"
        case "verify" | "cancel" if use.act is cancel and unanswered:
            return "202"
        case "verify" if use.act is cancel and case.means is Means.PENDING:
            return ("202", "409 order_paid")
        case "verify" | "cancel" if use.act is cancel:
            # v2 cannot close the page.
            open_ = ("202",) if case.version == "v2" else ()
            return ("200", "409 order_paid", "409 order_in_review", *open_)
        case "verify" if use.act is initialize:
            return ("201", "409 order_not_payable")
        case "verify" if use.act is refresh:
            return "200"
        case "webhook" if case.kind == "forged":
            return "401"
        case "webhook" | "callback" if case.kind in {"lost", "delayed"}:
            return (NOBODY, "200", "202")
        case "webhook" | "callback":
            return ("200", "202")
    return well.received[:3]


def _repetitions(cell: Cell) -> Iterator[str]:
    opened = [entry.tx_ref for entry in cell.journal if entry.call == "initialize"]
    if len(opened) != len(set(opened)):
        yield "a payment was opened twice under one reference"
    refunds: list[str] = []
    checked = True
    for entry in cell.journal:
        checked = checked or entry.call == "verify"
        if entry.call == "refund":
            if not checked:
                yield "a refund was repeated without a check of its payment"
            refunds.append(entry.body)
            checked = False
    if len(set(refunds)) > 1:
        yield f"a refund was repeated as another: {refunds}"
    if cell.refunds_at_chapa > 1:
        yield "Chapa refunded twice"


def _ends(call: Call, case: Case, cell: Cell, well: Cell) -> Iterator[str]:
    end, lasted, means = cell.end, cell.after_27_hours, case.means
    has_money = "success" in cell.at_chapa
    if end.order == "pending" and "review" not in end.payments + end.refunds:
        yield f"it ends as {end}, without manual review"
    owned = {"succeeded", "unapplied", "refunded", "reversed", "review"}
    if has_money and not owned & {*end.payments}:
        yield f"Chapa has the money, and it ends as {end}"
    if "succeeded" in end.payments and not has_money and means is not Means.BELIEVED:
        yield f"Chapa has no money, and it ends as {end}"
    # Whether Chapa opened or refunded is found out by asking, so these orders may end.
    acted = {Means.NOT_DONE, Means.PERHAPS} if call in {"initialize", "refund"} else set()
    if lasted and means in {Means.NO_ANSWER, Means.NOT_DONE, Means.PERHAPS} - acted:
        if lasted.order in {"expired", "cancelled"} and cell.before.order == "pending":
            yield f"unknown for a day, and the stock went back: {lasted}"
        if "review" in {*lasted.payments, *lasted.refunds} - {*cell.before.refunds}:
            yield f"unknown for a day, and in manual review: {lasted}"
    if lasted is None and means not in OTHER_END and well.at_chapa == cell.at_chapa:
        if _moved(well.end, end) and (call, means) != ("cancel", Means.NOT_OPEN):
            yield f"one fault, and it ends as {end}, not as {well.end}"
        # Nothing tells the outcome of a partial refund whose response was lost.
        partial = end.refunds == ("pending",) and end.order == "paid"
        if well.end.refunds != end.refunds and not partial:
            yield f"one fault, and it ends as {end}, not as {well.end}"
