"""Every fault of the simulator, at every call that may have it, in every use case that makes it.

Chapa goes wrong once, in each way, and then for longer than a day. What came of it is compared
with the rules below, and with `docs/faults.md`. `make test` plays one of each kind and meaning, and
for a day those with the most to lose; `make nightly` plays every one. To write the document anew:

    WRITE=1 .venv/bin/python -m pytest tests/search/faults
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence

import pytest
from moto import mock_aws

from sandbox.chapa.faults import Call
from tests.depth import NIGHTLY
from tests.search.faults import document
from tests.search.faults.cases import ACTS, Case, Means, cases_of, told_at_initialize
from tests.search.faults.play import Cell, Picture, Player
from tests.search.faults.uses import (
    NOBODY,
    USES,
    WORKER_MILLISECONDS,
    Use,
    cancels,
    chapa_reverses,
    click,
    refresh,
    worker,
)
from tests.search.interleavings.world import World, one_shard

WRITES = os.environ.get("WRITE") == "1"

# Asked about, and not known: neither order nor stock may move.
UNMOVED = {Means.NO_ANSWER, Means.UNTRUE, Means.PERHAPS, Means.NOT_DONE, Means.REFUSED}

# Chapa itself says what is not so, or refuses: it need not end as if nothing had happened.
ANOTHER_END = {Means.MONEY_BACK, Means.UNTRUE, Means.BELIEVED, Means.REFUSED}


# What may last for a day with the most to lose; the rest does so at night.
TELLING = {Means.NO_ANSWER, Means.PERHAPS, Means.NEVER}


@pytest.fixture(scope="module")
def player() -> Iterator[Player]:
    with mock_aws(), one_shard():
        yield Player(World())


def some(cases: Iterable[Case], sort: Callable[[Case], object]) -> list[Case]:
    """The first of each sort."""
    firsts: dict[object, Case] = {}
    for case in cases:
        firsts.setdefault(sort(case), case)
    return list(firsts.values())


@pytest.mark.parametrize(
    ("call", "use"),
    [
        pytest.param(call, use, id=f"{call}: {use.name}")
        for call, uses in USES.items()
        for use in uses
    ],
)
def test_whatever_chapa_does_ends_well_and_as_the_document_says(
    player: Player, call: Call, use: Use
) -> None:
    well = player.play(use, None)
    assert well is not None
    cells: dict[tuple[str, bool], Cell | None] = {}
    wrong = []

    def play(case: Case, *, lasting: bool) -> None:
        name = f"{case.name}, {'for a day' if lasting else 'once'}"
        try:
            cell = player.play(use, case, lasting=lasting)
        except AssertionError as error:
            wrong.append(f"{name}: {error}")
            return
        cells[case.name, lasting] = cell
        if cell is not None:
            wrong.extend(f"{name}: {why}" for why in complaints(call, use, case, cell, well))

    cases = list(cases_of(call))
    if not (NIGHTLY or WRITES):
        cases = some(cases, lambda case: (case.means, case.kind))
    for case in cases:
        play(case, lasting=False)
    met = [case for case in cases if cells.get((case.name, False))]
    assert met, "this use case does not make the call"
    last = met
    if not (NIGHTLY or WRITES):
        last = some((case for case in met if case.means in TELLING), lambda case: case.means)
    for case in last:
        play(case, lasting=True)
    if WRITES:
        document.write(call, use.name, document.rows(cases, cells))
    assert not wrong, "\n".join(wrong)

    told = document.read(call, use.name)
    differences = [
        f"{name}, {'for a day' if lasting else 'once'}: the document says {said}, but it was {was}"
        for (name, lasting), cell in cells.items()
        if (was := document.outcome(cell)) != (said := told.get((name, lasting)))
    ]
    assert not differences, "\n".join(differences)


def test_the_document_has_nothing_but_what_is_played() -> None:
    assert document.DOCUMENT.read_text() == document.whole(document.tables())


def complaints(call: Call, use: Use, case: Case, cell: Cell, well: Cell) -> Iterator[str]:
    """What the rules have against an outcome. `well` is the one when nothing goes wrong."""
    at_once, means = cell.at_once, case.means
    if cell.seconds > (WORKER_MILLISECONDS / 1000 if use.act is worker else 29):
        yield f"the function would not have lived for {cell.seconds} s"
    if "paid" in cell.told and at_once.order != "paid":
        yield f"told {cell.told}, and it is not"
    if means in UNMOVED and case.kind != "wrong_amount" and _moved(cell.before, at_once):
        yield f"nobody knows, and the order moved: {cell.before} → {at_once}"
    if means is Means.NO_ANSWER and not _same_or_closing(cell.before.payments, at_once.payments):
        yield f"nobody knows, and the payment moved: {cell.before} → {at_once}"
    if not cell.told.startswith(_may_be_told(call, use, case, well)):
        yield f"told {cell.told}"
    if call == "initialize":
        stands = {Means.PERHAPS: "initializing", Means.NOTHING: "pending"}.get(means, "closed")
        if at_once.payments[-1] != stands:
            yield f"the payment is {at_once.payments[-1]}, not {stands}"
    yield from _repeated(cell)
    if means is Means.NEVER and use.act is chapa_reverses:
        return  # Known: nobody asks about a paid payment of which nobody tells anything.
    yield from _wrong_end(call, case, cell, well)


def _moved(before: Picture, after: Picture) -> bool:
    return (before.order, before.stock, before.shelf) != (after.order, after.stock, after.shelf)


def _same_or_closing(before: Sequence[str], after: Sequence[str]) -> bool:
    return len(before) == len(after) and all(
        now in {was, "closing"} for was, now in zip(before, after, strict=True)
    )


def _may_be_told(call: Call, use: Use, case: Case, well: Cell) -> str | tuple[str, ...]:
    """How what a client hears has to begin."""
    if case.means is Means.UNTRUE and use.act in {click, cancels}:
        # Known, if only the amount is untrue of what was not paid; in vain otherwise.
        return ("20", "409 order_in_review", "503 provider_unavailable, again in 5 s")
    in_vain = case.means in {Means.NO_ANSWER, Means.NOT_DONE, Means.PERHAPS, Means.REFUSED}
    match call:
        case "initialize" if case.means is Means.NOTHING:
            return "201"
        case "initialize":
            code = told_at_initialize(case)
            return code if code == "400 provider_rejected" else f"{code}, again in "
        case "verify" | "cancel" if use.act is click and in_vain:
            return "503 provider_unavailable, again in 5 s"
        case "verify" | "cancel" if use.act is cancels and in_vain:
            return "202"
        case "verify" | "cancel" if use.act is cancels:
            return ("200", "409 order_paid", "409 order_in_review")
        case "verify" if use.act is click:
            return ("201", "409 order_not_payable")
        case "verify" if use.act is refresh:
            return "200"
        case "webhook" if case.kind == "forged":
            return "401"
        case "webhook" | "callback" if case.kind in {"lost", "delayed"}:
            return (NOBODY, "200", "202")
        case "webhook" | "callback":
            return ("200", "202")
        case _:
            return well.told[:3]


def _repeated(cell: Cell) -> Iterator[str]:
    opened = [entry.tx_ref for entry in cell.journal if entry.call == "initialize"]
    if len(opened) != len(set(opened)):
        yield "a payment was opened twice under one reference"
    asked: list[str] = []
    looked = True
    for entry in cell.journal:
        looked = looked or entry.call == "verify"
        if entry.call == "refund":
            if not looked:
                yield "a refund was asked for again without a look at its payment"
            asked.append(entry.body)
            looked = False
    if len(set(asked)) > 1:
        yield f"a refund was asked for again as another: {asked}"
    if cell.refunds_at_chapa > 1:
        yield "Chapa was made to pay back twice"


def _wrong_end(call: Call, case: Case, cell: Cell, well: Cell) -> Iterator[str]:
    end, means = cell.end, case.means
    holds_money = "success" in cell.at_chapa
    with_a_person = "review" in end.payments + end.refunds
    if end.order == "pending" and not with_a_person:
        yield f"it ends as {end}, and nobody looks"
    owned = {"succeeded", "surplus", "refunded", "reversed", "review"}
    if holds_money and not owned & {*end.payments}:
        yield f"Chapa has the money, and it ends as {end}"
    if "succeeded" in end.payments and not holds_money and means is not Means.BELIEVED:
        yield f"Chapa has no money, and it ends as {end}"
    if cell.lasted and means in {Means.NO_ANSWER, Means.NOT_DONE, Means.PERHAPS} - _ACTED[call]:
        if cell.lasted.order in {"expired", "cancelled"} and cell.before.order == "pending":
            yield f"nobody knew for a day, and the stock went back: {cell.lasted}"
        if cell.lasted.order == "pending" and "review" not in cell.lasted.payments:
            yield f"nobody knew for a day, and nobody was called: {cell.lasted}"
    if cell.lasted is None and means not in ANOTHER_END and well.at_chapa == cell.at_chapa:
        if _moved(well.end, end) and (call, means) != ("cancel", Means.NOT_OPEN):
            yield f"it was wrong once, and ended as {end}, not as {well.end}"
        if well.end.refunds != end.refunds and "part" not in case.name and not _a_part(cell):
            yield f"it was wrong once, and ended as {end}, not as {well.end}"


# What Chapa did or not at these calls is found out by asking, so that an order can still end.
_ACTED: dict[Call, set[Means]] = {
    call: {Means.NOT_DONE, Means.PERHAPS} if call in {"initialize", "refund"} else set()
    for call in (*ACTS, "verify", "refund_verify", "webhook", "callback")
}


def _a_part(cell: Cell) -> bool:
    """Of a part whose answer was lost nobody learns the end, so that a person is asked."""
    return cell.end.refunds == ("review",) and cell.end.order == "paid"
