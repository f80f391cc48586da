"""The promises as one pure function over what is stored, what Chapa has and what clients were told.

Everything that plays with the product is judged by it: tests, the local stack, and the operators'
`audit` of a real one. It reads the table's items, never the code's opinion of them.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from payments.repository import event_in, plain, story_in
from payments.states import (
    OPEN,
    PAID,
    OrderStatus,
    PaymentStatus,
    RefundStatus,
    StockStatus,
)
from payments.story import Event, Payment, Story

STOCK_OF: Mapping[OrderStatus, frozenset[StockStatus]] = {
    OrderStatus.PENDING: frozenset({StockStatus.RESERVED}),
    OrderStatus.PAID: frozenset({StockStatus.COMMITTED}),
    OrderStatus.EXPIRED: frozenset({StockStatus.RELEASED}),
    OrderStatus.CANCELLED: frozenset({StockStatus.RELEASED}),
    OrderStatus.REFUNDED: frozenset({StockStatus.COMMITTED, StockStatus.RELEASED}),
}

OWNED = PAID | {PaymentStatus.REVIEW, PaymentStatus.REFUNDED, PaymentStatus.REVERSED}
"""What a payment may be that Chapa confirms."""

SAYS: Mapping[str, PaymentStatus] = {
    "payment.initializing": PaymentStatus.INITIALIZING,
    "payment.pending": PaymentStatus.PENDING,
    "payment.failed": PaymentStatus.FAILED,
    "payment.closed": PaymentStatus.CLOSED,
    "payment.succeeded": PaymentStatus.SUCCEEDED,
    "payment.surplus": PaymentStatus.SURPLUS,
    "payment.review": PaymentStatus.REVIEW,
    "payment.refunded": PaymentStatus.REFUNDED,
    "payment.reversed": PaymentStatus.REVERSED,
}
"""What a payment is after each event about it."""


class Confirmed(NamedTuple):
    """A payment that Chapa took money for; `refunded` is what it gave back. Minor units."""

    tx_ref: str
    amount: int
    refunded: int = 0


class ClientView(NamedTuple):
    """What a client was answered about an order: whether it was ever paid."""

    order_id: str
    paid: bool
    asked_at: int | None = None
    """When the client asked, in seconds since the epoch; None when it may ask no more."""


@dataclass(frozen=True)
class Order:
    story: Story
    ledger: Sequence[Event]
    indexed: bool
    """Whether the due index has it."""

    @property
    def paid_at(self) -> int | None:
        return next((event.at for event in self.ledger if event.name == "order.paid"), None)


def violations(
    items: Iterable[Mapping[str, Any]],
    *,
    units: Mapping[str, int] | None = None,
    confirmed: Iterable[Confirmed] | None = None,
    client_views: Iterable[ClientView] = (),
    settled: bool = False,
) -> list[str]:
    """Every broken promise, in a sentence; none when all hold.

    `items` are the table's, in DynamoDB's JSON. `units` is how many of each SKU there ever were.
    `confirmed` are all payments that Chapa took money for, if that is known. `settled` says that
    the ordinary machinery had its time: then nothing that Chapa confirms may still be waiting.
    """
    orders, stock = sorted_out(items)
    found = list(_stock(stock, orders.values(), units or {}))
    for order in orders.values():
        for check in (_order, _payments, _refunds, _ledger, _due):
            found += check(order)
    if confirmed is not None:
        known = {each.tx_ref: each for each in confirmed}
        found += _confirmed(orders, known.values(), settled=settled)
        for order in orders.values():
            found += _made_up(order, known)
    for statement in client_views:
        found += _told(orders.get(statement.order_id), statement)
    return found


def sorted_out(
    items: Iterable[Mapping[str, Any]],
) -> tuple[dict[str, Order], dict[str, dict[str, Any]]]:
    """The orders by their id, and the products by their SKU."""
    parts: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for item in items:
        parts[item["pk"]["S"]].append(item)
    orders: dict[str, Order] = {}
    stock: dict[str, dict[str, Any]] = {}
    for pk, some in parts.items():
        kind, _, name = pk.partition("#")
        if kind == "STOCK":
            stock[name] = plain(some[0])
            continue
        some.sort(key=lambda item: str(item["sk"]["S"]))
        events = [event_in(item)[1] for item in some if item["sk"]["S"].startswith("EVENT#")]
        numbers = [int(i["number"]["N"]) for i in some if i["sk"]["S"].startswith("EVENT#")]
        story = story_in(plain(item) for item in some)
        if story is None:
            raise ValueError(f"{pk} has no order")
        if numbers != list(range(1, story.order.events + 1)):
            events.append(Event("a gap", 0, {"numbers": numbers}))
        indexed = any("due_shard" in i for i in some if i["sk"]["S"] == "ORDER")
        orders[name] = Order(story, events, indexed)
    return orders, stock


def _stock(
    stock: Mapping[str, Mapping[str, Any]], orders: Iterable[Order], units: Mapping[str, int]
) -> Iterator[str]:
    held: dict[StockStatus, Counter[str]] = {status: Counter() for status in StockStatus}
    for order in orders:
        for line in order.story.order.lines:
            held[order.story.order.stock][line.sku] += line.quantity
    for sku, item in stock.items():
        counters = {name: item[name] for name in ("available", "reserved", "committed")}
        if min(counters.values()) < 0:
            yield f"stock {sku}: a counter is below zero: {counters}"
        for name, status in (
            ("reserved", StockStatus.RESERVED),
            ("committed", StockStatus.COMMITTED),
        ):
            if counters[name] != held[status][sku]:
                yield f"stock {sku}: {name} {counters[name]}, but orders hold {held[status][sku]}"
        if sku in units and sum(counters.values()) != units[sku]:
            yield f"stock {sku}: {counters} do not add up to {units[sku]}"


def _order(order: Order) -> Iterator[str]:
    it, payments = order.story.order, order.story.payments
    name = f"order {it.order_id}"
    if it.stock not in STOCK_OF[it.status]:
        yield f"{name}: {it.status} with stock {it.stock}"
    applied = [p for p in payments if p.status is PaymentStatus.SUCCEEDED]
    if [p.tx_ref for p in applied] != ([it.paid_by] if it.status is OrderStatus.PAID else []):
        yield f"{name}: {it.status}, but {len(applied)} payments are applied"
    if it.status is OrderStatus.REFUNDED:
        payment = order.story.payment(it.paid_by or "")
        if payment is None or payment.status not in {
            PaymentStatus.REFUNDED,
            PaymentStatus.REVERSED,
        }:
            yield f"{name}: refunded, but its payment is not"
    if it.amount != sum(line.unit_price * line.quantity for line in it.lines):
        yield f"{name}: its amount is not that of its lines"
    live = order.story.live
    if it.live and (live is None or live.status not in OPEN | {PaymentStatus.REVIEW}):
        yield f"{name}: its live payment cannot be paid"


def _payments(order: Order) -> Iterator[str]:
    it = order.story.order
    for payment in order.story.payments:
        name = f"payment {payment.tx_ref}"
        if payment.status in PAID:
            ours = (it.amount, it.currency, it.amount)
            if (payment.amount, payment.currency, payment.paid_amount) != ours:
                yield f"{name}: what was paid is not what the order costs"
            if not payment.reference:
                yield f"{name}: paid, but without Chapa's reference"
        if payment.status is PaymentStatus.SURPLUS and not _owner_of(order.story, payment):
            yield f"{name}: surplus, but nobody owes it back"


def _owner_of(story: Story, payment: Payment) -> bool:
    """A refund that is under way, or one that a person hears of by its alarm."""
    return any(r.tx_ref == payment.tx_ref for r in story.refunds)


def _refunds(order: Order) -> Iterator[str]:
    promised: Counter[str] = Counter()
    for refund in order.story.refunds:
        if refund.status is not RefundStatus.REVERSED:
            promised[refund.tx_ref] += refund.amount
    for tx_ref, amount in promised.items():
        payment = order.story.payment(tx_ref)
        if payment is None or amount > (payment.paid_amount or 0):
            yield f"payment {tx_ref}: refunds of {amount} are more than was paid"


def _ledger(order: Order) -> Iterator[str]:
    it = order.story.order
    names = [event.name for event in order.ledger]
    if "a gap" in names:
        yield f"order {it.order_id}: its ledger has a gap: {order.ledger[-1].details['numbers']}"
        return
    if names[:1] != ["order.placed"] or any(
        names.count(once) > 1 for once in ("order.placed", "order.paid", "order.refunded")
    ):
        yield f"order {it.order_id}: its ledger tells another story: {names}"
    times = [event.at for event in order.ledger]
    if times != sorted(times):
        yield f"order {it.order_id}: its ledger is out of order"
    ends = [name for name in names if name in {f"order.{status}" for status in OrderStatus}]
    if (ends[-1].partition(".")[2] if ends else OrderStatus.PENDING) != it.status:
        yield f"order {it.order_id}: {it.status}, but its ledger says {ends}"
    for payment in order.story.payments:
        said = [
            SAYS[event.name]
            for event in order.ledger
            if event.details.get("tx_ref") == payment.tx_ref and event.name in SAYS
        ]
        # Closing is a lease and no event: whoever takes it has promised nothing yet.
        if payment.status is not PaymentStatus.CLOSING and said[-1:] != [payment.status]:
            yield f"payment {payment.tx_ref}: {payment.status}, but its ledger says {said}"


def _due(order: Order) -> Iterator[str]:
    it, story = order.story.order, order.story
    unfinished = (
        (it.status is OrderStatus.PENDING and not story.in_review)
        or story.open_payments
        or story.open_refunds
        or any(payment.in_doubt for payment in story.payments)
    )
    if unfinished and it.due_at is None:
        yield f"order {it.order_id}: something is left to do, but it is not due"
    if order.indexed is not (it.due_at is not None):
        yield f"order {it.order_id}: due at {it.due_at}, but in the index: {order.indexed}"


def _told(order: Order | None, told: ClientView) -> Iterator[str]:
    paid_at = order.paid_at if order else None
    if told.paid:
        untrue = paid_at is None
    else:
        untrue = paid_at is not None and (told.asked_at is None or paid_at < told.asked_at)
    if untrue:
        yield f"order {told.order_id}: a client was told paid={told.paid}, but paid at {paid_at}"


def _confirmed(
    orders: Mapping[str, Order], confirmed: Iterable[Confirmed], *, settled: bool
) -> Iterator[str]:
    for it in confirmed:
        known = orders.get(it.tx_ref.partition("-")[0])
        payment = known.story.payment(it.tx_ref) if known else None
        name = f"payment {it.tx_ref}"
        if known is None or payment is None:
            yield f"{name}: Chapa confirms it, and we do not know it"
            continue
        owned = payment.status in OWNED
        if not owned and (settled or known.story.order.due_at is None):
            yield f"{name}: Chapa confirms it, and it is {payment.status}"
        if it.refunded > it.amount:
            yield f"{name}: Chapa gave back {it.refunded} of {it.amount}"
        ours = sum(r.amount for r in known.story.refunds if r.tx_ref == it.tx_ref)
        if it.refunded > ours and known.story.refunds:
            yield f"{name}: Chapa gave back {it.refunded}, and we promised {ours}"


def _made_up(order: Order, confirmed: Mapping[str, Confirmed]) -> Iterator[str]:
    """Money that we say was paid or given back, and Chapa does not."""
    for payment in order.story.payments:
        if payment.status not in OWNED - {PaymentStatus.REVIEW}:
            continue
        name = f"payment {payment.tx_ref}"
        at_chapa = confirmed.get(payment.tx_ref)
        if at_chapa is None or at_chapa.amount != payment.amount:
            yield f"{name}: {payment.status}, but at Chapa it is {at_chapa}"
            continue
        refunds = [r for r in order.story.refunds if r.tx_ref == payment.tx_ref]
        done = sum(r.amount for r in refunds if r.status is RefundStatus.REFUNDED)
        if done > at_chapa.refunded:
            yield f"{name}: {done} refunded, but Chapa gave back {at_chapa.refunded}"
