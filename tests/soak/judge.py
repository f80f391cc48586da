"""Whether what clients were told agrees with the table, and with what Chapa has.

The promises that can be seen in the table alone are judged by `operators.invariants`. Pure
functions; each finding is a sentence.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from operators.invariants import StoredOrder
from payments.money import format_amount, parse_amount
from payments.states import (
    ORDER_MOVES,
    PAYMENT_MOVES,
    OrderStatus,
    PaymentStatus,
    RefundStatus,
)
from tests.soak.story import GAVE_UP, Call, Heard, Story
from tests.soak.trouble import Kill

ANSWERS: Mapping[Call, frozenset[int | str]] = {
    "place": frozenset({200, 201, "out_of_stock"}),
    "place again": frozenset({200, 201, "out_of_stock"}),
    "initialize": frozenset({200, 201, "order_not_payable", "payment_in_progress"}),
    "cancel": frozenset({200, 202, "order_paid", "order_in_review"}),
    "order": frozenset({200}),
    "payment": frozenset({200}),
}
"""What a good request may be answered, by its status or the code of its problem."""

TROUBLE = frozenset({"provider_error", "provider_unavailable", "provider_timeout"})
"""What besides, when Chapa goes wrong."""

FUNCTION: Mapping[Call, str] = {
    "place": "checkout",
    "place again": "checkout",
    "initialize": "initialize",
    "cancel": "checkout",
    "order": "status",
    "payment": "status",
}

NOTICED = 2
"""Seconds after which MiniStack knows at the latest that a process was killed."""

SLACK = 15
"""Seconds that may lie between an event's time, which is when it was decided, and its writing."""


@dataclass(frozen=True)
class World:
    """What is when all is at rest."""

    orders: Mapping[str, StoredOrder]
    at_chapa: Mapping[str, Mapping[str, Any]]
    """Chapa's payments by tx_ref, as its control API shows them."""
    units: Mapping[str, int]
    kills: Sequence[Kill] = ()
    chapa_was_faulty: bool = False


def untrue(stories: Iterable[Story], world: World) -> list[str]:
    """Everything in which a story, the table and Chapa do not agree."""
    stories = list(stories)
    found: list[str] = []
    belong = defaultdict(list)
    for order_id, order in world.orders.items():
        belong[order.story.order.customer.get("first_name")].append(order_id)
    held = Held(world)
    for story in stories:
        about = [
            *story.complaints,
            *_answers(story, world),
            *_orders(story, belong[story.name], world),
            *_pages(story, world),
            *_order_of_time(story, world),
            *_money(story, world),
            *_money_back(story, world),
            *_sold_out(story, held),
        ]
        found += [f"{story.name}, who {story.wants}: {finding}" for finding in about]
    found += _at_chapa(stories, world)
    return found


def _answers(story: Story, world: World) -> Iterator[str]:
    for heard in story.heard:
        allowed = ANSWERS[heard.call] | {"busy", GAVE_UP}
        if world.chapa_was_faulty and heard.call == "initialize":
            allowed |= TROUBLE
        if heard.status in allowed or heard.code in allowed:
            continue
        if (heard.status == 0 or heard.status >= 500) and not heard.code and _cut(heard, world):
            continue
        yield f"{heard.call} was answered {heard.status} {heard.code or dict(heard.body)}"


def _cut(heard: Heard, world: World) -> bool:
    """Whether a process of the function that answers was killed during the call, or so shortly
    before that MiniStack still gave it the call."""
    return any(
        kill.function == FUNCTION[heard.call] and heard.began - NOTICED <= kill.at <= heard.ended
        for kill in world.kills
    )


def _orders(story: Story, in_table: Sequence[str], world: World) -> Iterator[str]:
    for heard in story.heard:
        if not heard.call.startswith("place") or not heard.good:
            continue
        order_id = str(heard.body["order_id"])
        known = world.orders.get(order_id)
        if known is None:
            yield f"was told of order {order_id}, which does not exist"
            continue
        order = known.story.order
        if {line.sku: line.quantity for line in order.lines} != dict(story.basket):
            yield f"order {order_id} has other goods than were ordered"
        if format_amount(order.amount) != heard.body["amount"]:
            yield f"order {order_id} has another price than was told"
    if story.key and len(in_table) > 1:
        yield f"one Idempotency-Key made {len(in_table)} orders: {sorted(in_table)}"
    unanswered = sum(
        heard.call.startswith("place") and (heard.status == 0 or heard.status >= 500)
        for heard in story.heard
    )
    untold = set(in_table) - story.orders
    if len(untold) > unanswered:
        yield f"has orders that nobody was told of: {sorted(untold)}"


def _pages(story: Story, world: World) -> Iterator[str]:
    for heard in story.heard:
        if heard.call != "initialize" or not heard.good:
            continue
        tx_ref, order_id = str(heard.body["tx_ref"]), str(heard.body["order_id"])
        known = world.orders.get(order_id)
        at_chapa = world.at_chapa.get(tx_ref)
        if known is None or known.story.payment(tx_ref) is None:
            yield f"was handed payment {tx_ref}, which does not exist"
        elif at_chapa is None:
            yield f"was handed payment {tx_ref}, which Chapa does not know"
        elif not str(heard.body["checkout_url"]).endswith(f"/{at_chapa['token']}"):
            yield f"was handed another page than that of payment {tx_ref}"
        elif (
            not at_chapa["amount"]
            == heard.body["amount"]
            == format_amount(known.story.order.amount)
        ):
            yield f"payment {tx_ref} asks for another amount than order {order_id} costs"


class Seen(NamedTuple):
    """What somebody saw of an order, or of a payment, in a stretch of time."""

    began: float
    ended: float
    status: str


def _order_of_time(story: Story, world: World) -> Iterator[str]:
    """Nothing that was seen may be undone: each status leads to every one that is seen later."""
    orders: dict[str, list[Seen]] = defaultdict(list)
    payments: dict[str, list[Seen]] = defaultdict(list)
    for heard in story.heard:
        body = heard.body
        when = (heard.began, heard.ended)
        if order_status := (
            body.get("order_status") or ("items" in body and heard.good and body.get("status"))
        ):
            orders[str(body["order_id"])].append(Seen(*when, str(order_status)))
        for payment in [*body.get("payments", []), body] if heard.good else []:
            if "tx_ref" in payment:
                payments[payment["tx_ref"]].append(Seen(*when, payment["status"]))
        if heard.code == "order_paid":
            orders[str(body["order_id"])].append(Seen(*when, "paid"))
        if heard.call == "cancel" and heard.status == 200 and body["status"] == "pending":
            yield f"was told that order {body['order_id']} has ended, but it is pending"
        if heard.call == "cancel" and heard.status == 202:
            known = world.orders.get(str(body["order_id"]))
            pending = known and known.story.order.status is OrderStatus.PENDING
            if known and pending and not known.story.in_review:
                yield f"was told that order {body['order_id']} will be cancelled, but it never was"
    for order_id, seen in orders.items():
        if known_order := world.orders.get(order_id):
            now = known_order.story.order.status
            yield from _undone(f"order {order_id}", OrderStatus, ORDER_MOVES, seen, now)
    for tx_ref, seen in payments.items():
        known_order = world.orders.get(tx_ref.partition("-")[0])
        if known_order and (payment_now := known_order.story.payment(tx_ref)):
            yield from _undone(
                f"payment {tx_ref}", PaymentStatus, PAYMENT_MOVES, seen, payment_now.status
            )


def _undone[S: StrEnum](
    what: str,
    kind: type[S],
    moves: Mapping[S, frozenset[S]],
    seen: list[Seen],
    now: S,
) -> Iterator[str]:
    seen = [*sorted(seen), Seen(float("inf"), float("inf"), now)]
    for number, earlier in enumerate(seen):
        for later in seen[number + 1 :]:
            # What was asked at the same time may have been answered in any order.
            if later.began > earlier.ended and not _leads(
                moves, kind(earlier.status), kind(later.status)
            ):
                then = "is" if later is seen[-1] else "was seen"
                yield f"{what} was seen {earlier.status}, and later {then} {later.status}"
                return


def _leads[S: StrEnum](moves: Mapping[S, frozenset[S]], start: S, end: S) -> bool:
    reached, fresh = {start}, {start}
    while fresh:
        fresh = {target for state in fresh for target in moves[state]} - reached
        reached |= fresh
    return end in reached


def _money(story: Story, world: World) -> Iterator[str]:
    for tx_ref in sorted(story.paid):
        at_chapa = world.at_chapa.get(tx_ref)
        known = world.orders.get(tx_ref.partition("-")[0])
        payment = known.story.payment(tx_ref) if known else None
        if at_chapa is None or at_chapa["status"] not in {"success", "refunded", "reversed"}:
            yield f"paid {tx_ref}, of which Chapa knows nothing"
        elif known is None or payment is None:
            yield f"paid {tx_ref}, of which we know nothing"
        elif payment.status is PaymentStatus.SUCCEEDED:
            if known.story.order.paid_by != tx_ref:
                yield f"paid {tx_ref}, but the order is paid by {known.story.order.paid_by}"
        elif payment.status in {PaymentStatus.SURPLUS, PaymentStatus.REFUNDED}:
            owed = sum(
                refund.amount
                for refund in known.story.refunds
                if refund.tx_ref == tx_ref and refund.status is not RefundStatus.REVERSED
            )
            if owed != payment.amount:
                yield f"paid {tx_ref} in vain, and {format_amount(owed)} of it are owed back"
        elif payment.status is PaymentStatus.REVERSED:
            if at_chapa["status"] != "reversed":
                yield f"paid {tx_ref}, which is reversed, and Chapa says {at_chapa['status']}"
        elif payment.status is not PaymentStatus.REVIEW:
            yield f"paid {tx_ref}, and it is {payment.status}: the money is nobody's"


def _money_back(story: Story, world: World) -> Iterator[str]:
    for tx_refs, end in (
        (story.taken_back, PaymentStatus.REVERSED),
        (story.promised_back, PaymentStatus.REFUNDED),
    ):
        for tx_ref in sorted(tx_refs):
            known = world.orders.get(tx_ref.partition("-")[0])
            payment = known.story.payment(tx_ref) if known else None
            if known is None or payment is None:
                yield f"got {tx_ref} back, of which we know nothing"
            elif payment.status is not end:
                yield f"should see {tx_ref} {end}, and it is {payment.status}"
            elif known.story.order.status is not OrderStatus.REFUNDED:
                yield f"got {tx_ref} back, and the order is {known.story.order.status}"


class Held:
    """Who held which units when, as far as the ledgers tell."""

    def __init__(self, world: World) -> None:
        self._units = world.units
        self._held: dict[str, list[tuple[float, float, int]]] = defaultdict(list)
        for order in world.orders.values():
            for since, until in _holding(order):
                for line in order.story.order.lines:
                    self._held[line.sku].append((since, until, line.quantity))

    def may_have_lacked(self, sku: str, quantity: int, began: float, ended: float) -> bool:
        """Whether so many units were perhaps not there at some moment between these two."""
        held = sum(
            units
            for since, until, units in self._held[sku]
            if since <= ended and until + SLACK >= began
        )
        return self._units[sku] - held < quantity


def _holding(order: StoredOrder) -> Iterator[tuple[float, float]]:
    since: float | None = None
    for event in order.events:
        match event.name:
            case "order.placed":
                since = event.at
            case "order.paid" if since is None:
                since = event.at
            case "order.expired" | "order.cancelled" | "order.refunded" if (
                since is not None and event.details.get("stock_returned", True)
            ):
                yield since, event.at
                since = None
    if since is not None:
        yield since, float("inf")


def _sold_out(story: Story, held: Held) -> Iterator[str]:
    for heard in story.heard:
        if heard.code == "out_of_stock" and not any(
            held.may_have_lacked(sku, story.basket[sku], heard.began, heard.ended)
            for sku in heard.body["skus"]
        ):
            yield f"was told that {heard.body['skus']} are sold out, but they were there"


def _at_chapa(stories: Iterable[Story], world: World) -> Iterator[str]:
    paid = {tx_ref for story in stories for tx_ref in story.paid}
    for tx_ref, at_chapa in world.at_chapa.items():
        name = f"Chapa's payment {tx_ref}"
        known = world.orders.get(tx_ref.partition("-")[0])
        payment = known.story.payment(tx_ref) if known else None
        if payment is None:
            yield f"{name}: we do not know it"
            continue
        if payment.status is PaymentStatus.SUCCEEDED and tx_ref not in paid:
            yield f"{name}: we say that it is paid, and nobody paid it"
        if at_chapa["status"] in {"success", "refunded", "reversed"} and tx_ref not in paid:
            yield f"{name}: it is {at_chapa['status']}, and nobody paid it"
        refunds = [r for r in at_chapa["refunds"] if r["status"] != "reversed"]
        back = sum(parse_amount(refund["amount"]) or 0 for refund in refunds)
        if back > (parse_amount(at_chapa["amount"]) or 0):
            yield f"{name}: {format_amount(back)} of {at_chapa['amount']} went back"
        references = Counter(refund["merchant_reference"] for refund in refunds)
        if twice := [reference for reference, times in references.items() if times > 1]:
            yield f"{name}: refunded twice as {twice}"
        if payment.status is PaymentStatus.REFUNDED and back != payment.amount:
            yield f"{name}: we say that it went back, and Chapa gave back {format_amount(back)}"


def unpublished(orders: Mapping[str, StoredOrder], heard: Iterable[str]) -> list[str]:
    """Ledger events that never were on the bus, and events on the bus that are in no ledger."""
    ids = {
        f"{order_id}#{number}"
        for order_id, order in orders.items()
        for number in range(1, len(order.events) + 1)
    }
    told = set(heard)
    return [f"event {each} was never published" for each in sorted(ids - told)] + [
        f"event {each} was published, and is in no ledger" for each in sorted(told - ids)
    ]
