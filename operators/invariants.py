"""The invariants, as one pure function over the table, Chapa's payments and what clients saw.

Tests, the local stack and the operators' `audit` use it. It reads the items of the table and uses
none of the code that decides.
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
from payments.story import Event, Story

STOCK_OF: Mapping[OrderStatus, frozenset[StockStatus]] = {
    OrderStatus.PENDING: frozenset({StockStatus.RESERVED}),
    OrderStatus.PAID: frozenset({StockStatus.COMMITTED}),
    OrderStatus.EXPIRED: frozenset({StockStatus.RELEASED}),
    OrderStatus.CANCELLED: frozenset({StockStatus.RELEASED}),
    OrderStatus.REFUNDED: frozenset({StockStatus.COMMITTED, StockStatus.RELEASED}),
}

ACCOUNTED_FOR = PAID | {PaymentStatus.REVIEW, PaymentStatus.REFUNDED, PaymentStatus.REVERSED}
"""Statuses of a payment that Chapa confirms."""

STATUS_AFTER: Mapping[str, PaymentStatus] = {
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
"""Status of a payment after each event about it."""


class Confirmed(NamedTuple):
    """A payment that Chapa took money for, and how much of it Chapa gave back, in minor units."""

    tx_ref: str
    amount: int
    refunded: int = 0


class ClientView(NamedTuple):
    """Whether a response showed a client that the order has been paid."""

    order_id: str
    paid: bool
    asked_at: int | None = None
    """Time of the request, in seconds since the epoch. None: after everything else."""


@dataclass(frozen=True)
class StoredOrder:
    story: Story
    events: Sequence[Event]
    indexed: bool
    """Whether the due index contains the order."""

    @property
    def paid_at(self) -> int | None:
        return next((event.at for event in self.events if event.name == "order.paid"), None)


def violations(
    items: Iterable[Mapping[str, Any]],
    *,
    units: Mapping[str, int] | None = None,
    confirmed: Iterable[Confirmed] | None = None,
    client_views: Iterable[ClientView] = (),
    settled: bool = False,
) -> list[str]:
    """One sentence for each violation of an invariant.

    `items` are all items of the table, in DynamoDB's JSON. `units` is how many units of each SKU
    were ever put in. `confirmed` holds every payment that Chapa took money for, if known. With
    `settled`, no payment that Chapa confirms may still wait for a check.
    """
    orders, stock = stored_orders(items)
    found = list(_stock(stock, orders.values(), units or {}))
    for order in orders.values():
        for check in (_order, _payments, _refunds, _event_log, _due):
            found += check(order)
    if confirmed is not None:
        known = {each.tx_ref: each for each in confirmed}
        found += _confirmed(orders, known.values(), settled=settled)
        for order in orders.values():
            found += _not_at_chapa(order, known)
    for view in client_views:
        found += _client_view(orders.get(view.order_id), view)
    return found


def stored_orders(
    items: Iterable[Mapping[str, Any]],
) -> tuple[dict[str, StoredOrder], dict[str, dict[str, Any]]]:
    """Orders by id, and products by SKU."""
    partitions: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for item in items:
        partitions[item["pk"]["S"]].append(item)
    orders: dict[str, StoredOrder] = {}
    stock: dict[str, dict[str, Any]] = {}
    for pk, partition in partitions.items():
        kind, _, name = pk.partition("#")
        if kind == "STOCK":
            stock[name] = plain(partition[0])
            continue
        partition.sort(key=lambda item: str(item["sk"]["S"]))
        logged = [item for item in partition if item["sk"]["S"].startswith("EVENT#")]
        events = [event_in(item)[1] for item in logged]
        numbers = [int(item["number"]["N"]) for item in logged]
        story = story_in(plain(item) for item in partition)
        if story is None:
            raise ValueError(f"{pk} has no order")
        if numbers != list(range(1, story.order.events + 1)):
            events.append(Event("a gap", 0, {"numbers": numbers}))
        indexed = any("due_shard" in i for i in partition if i["sk"]["S"] == "ORDER")
        orders[name] = StoredOrder(story, events, indexed)
    return orders, stock


def _stock(
    stock: Mapping[str, Mapping[str, Any]], orders: Iterable[StoredOrder], units: Mapping[str, int]
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
            counted, in_orders = counters[name], held[status][sku]
            if counted != in_orders:
                yield f"stock {sku}: {name} is {counted}, but orders hold {in_orders}"
        if sku in units and sum(counters.values()) != units[sku]:
            yield f"stock {sku}: {counters} do not add up to the {units[sku]} units put in"


def _order(order: StoredOrder) -> Iterator[str]:
    it, payments = order.story.order, order.story.payments
    name = f"order {it.order_id}"
    if it.stock not in STOCK_OF[it.status]:
        yield f"{name} is {it.status}, but its stock is {it.stock}"
    applied = [p for p in payments if p.status is PaymentStatus.SUCCEEDED]
    if [p.tx_ref for p in applied] != ([it.paid_by] if it.status is OrderStatus.PAID else []):
        yield f"{name} is {it.status}, but {len(applied)} payments are applied to it"
    if it.status is OrderStatus.REFUNDED:
        payment = order.story.payment(it.paid_by or "")
        if payment is None or payment.status not in {
            PaymentStatus.REFUNDED,
            PaymentStatus.REVERSED,
        }:
            yield f"{name} is refunded, but its payment is not"
    if it.amount != sum(line.unit_price * line.quantity for line in it.lines):
        yield f"{name}: its amount is not the sum of its lines"
    live = order.story.live
    if it.live and (live is None or live.status not in OPEN | {PaymentStatus.REVIEW}):
        yield f"{name}: its active payment cannot be paid"


def _payments(order: StoredOrder) -> Iterator[str]:
    it = order.story.order
    for payment in order.story.payments:
        name = f"payment {payment.tx_ref}"
        if payment.status in PAID:
            ours = (it.amount, it.currency, it.amount)
            if (payment.amount, payment.currency, payment.paid_amount) != ours:
                yield f"{name}: the amount or currency paid is not that of its order"
            if not payment.reference:
                yield f"{name} is paid, but has no reference of Chapa"
        refunded = {refund.tx_ref for refund in order.story.refunds}
        if payment.status is PaymentStatus.SURPLUS and payment.tx_ref not in refunded:
            yield f"{name} is surplus, but has no refund"


def _refunds(order: StoredOrder) -> Iterator[str]:
    owed: Counter[str] = Counter()
    for refund in order.story.refunds:
        if refund.status is not RefundStatus.REVERSED:
            owed[refund.tx_ref] += refund.amount
    for tx_ref, amount in owed.items():
        payment = order.story.payment(tx_ref)
        if payment is None or amount > (payment.paid_amount or 0):
            yield f"payment {tx_ref}: its refunds add up to {amount}, more than was paid"


def _event_log(order: StoredOrder) -> Iterator[str]:
    it = order.story.order
    names = [event.name for event in order.events]
    if "a gap" in names:
        yield f"order {it.order_id}: its event log has a gap: {order.events[-1].details['numbers']}"
        return
    if names[:1] != ["order.placed"] or any(
        names.count(once) > 1 for once in ("order.placed", "order.paid", "order.refunded")
    ):
        yield f"order {it.order_id}: its event log cannot be true: {names}"
    times = [event.at for event in order.events]
    if times != sorted(times):
        yield f"order {it.order_id}: the times in its event log are not in order"
    ends = [name for name in names if name in {f"order.{status}" for status in OrderStatus}]
    if (ends[-1].partition(".")[2] if ends else OrderStatus.PENDING) != it.status:
        yield f"order {it.order_id} is {it.status}, but its event log says {ends}"
    for payment in order.story.payments:
        said = [
            STATUS_AFTER[event.name]
            for event in order.events
            if event.details.get("tx_ref") == payment.tx_ref and event.name in STATUS_AFTER
        ]
        # Closing is a lease; it writes no event.
        if payment.status is not PaymentStatus.CLOSING and said[-1:] != [payment.status]:
            yield f"payment {payment.tx_ref} is {payment.status}, but its event log says {said}"


def _due(order: StoredOrder) -> Iterator[str]:
    it, story = order.story.order, order.story
    unfinished = (
        (it.status is OrderStatus.PENDING and not story.in_review)
        or story.open_payments
        or story.open_refunds
        or any(payment.in_doubt for payment in story.payments)
    )
    if unfinished and it.due_at is None:
        yield f"order {it.order_id} has work left, but is not due"
    if order.indexed is not (it.due_at is not None):
        yield f"order {it.order_id} is due at {it.due_at}, but in the due index: {order.indexed}"


def _client_view(order: StoredOrder | None, view: ClientView) -> Iterator[str]:
    paid_at = order.paid_at if order else None
    if view.paid:
        wrong = paid_at is None
    else:
        wrong = paid_at is not None and (view.asked_at is None or paid_at < view.asked_at)
    if wrong:
        yield f"order {view.order_id}: a client saw paid={view.paid}, but paid_at is {paid_at}"


def _confirmed(
    orders: Mapping[str, StoredOrder], confirmed: Iterable[Confirmed], *, settled: bool
) -> Iterator[str]:
    for it in confirmed:
        known = orders.get(it.tx_ref.partition("-")[0])
        payment = known.story.payment(it.tx_ref) if known else None
        name = f"payment {it.tx_ref}"
        if known is None or payment is None:
            yield f"{name}: Chapa confirms it, but the table has no such payment"
            continue
        waiting = payment.status not in ACCOUNTED_FOR
        if waiting and (settled or known.story.order.due_at is None):
            yield f"{name}: Chapa confirms it, and it is {payment.status}"
        if it.refunded > it.amount:
            yield f"{name}: Chapa gave back {it.refunded} of {it.amount}"
        ours = sum(r.amount for r in known.story.refunds if r.tx_ref == it.tx_ref)
        if it.refunded > ours and known.story.refunds:
            yield f"{name}: Chapa gave back {it.refunded}, but our refunds add up to {ours}"


def _not_at_chapa(order: StoredOrder, confirmed: Mapping[str, Confirmed]) -> Iterator[str]:
    """Payments and refunds that the table has, but Chapa has not."""
    for payment in order.story.payments:
        if payment.status not in ACCOUNTED_FOR - {PaymentStatus.REVIEW}:
            continue
        name = f"payment {payment.tx_ref}"
        at_chapa = confirmed.get(payment.tx_ref)
        if at_chapa is None or at_chapa.amount != payment.amount:
            yield f"{name} is {payment.status}, but at Chapa it is {at_chapa}"
            continue
        refunds = [r for r in order.story.refunds if r.tx_ref == payment.tx_ref]
        done = sum(r.amount for r in refunds if r.status is RefundStatus.REFUNDED)
        if done > at_chapa.refunded:
            yield f"{name}: refunds of {done} are done, but Chapa gave back {at_chapa.refunded}"
