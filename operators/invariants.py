"""The invariants, as one pure function over the table, Chapa's payments and what clients saw.

Tests, the local stack and the operators' `audit` use it. It reads the items of the table and uses
none of the code that decides.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from payments.aws.items import (
    COMPARISON_PK,
    EVENTS_PREFIX,
    aggregate_in,
    events_in,
    plain,
    product_in,
)
from payments.domain.aggregate import Event, OrderAggregate
from payments.domain.events import PaymentReview, RefundResolved
from payments.domain.ids import order_id_of
from payments.domain.records import Payment, Refund
from payments.domain.states import (
    COUNTED_REFUNDS,
    OPEN,
    PAID,
    OrderStatus,
    PaymentStatus,
    RefundStatus,
)
from payments.errors import CatalogueError
from payments.web.views import iso_time

ACCOUNTED_FOR = PAID | {PaymentStatus.REVIEW, PaymentStatus.REFUNDED, PaymentStatus.REVERSED}
"""Statuses of a payment that Chapa confirms."""

STATUS_AFTER: Mapping[str, PaymentStatus] = {
    "payment.failed": PaymentStatus.FAILED,
    "payment.closed": PaymentStatus.CLOSED,
    "payment.succeeded": PaymentStatus.SUCCEEDED,
    "payment.unapplied": PaymentStatus.UNAPPLIED,
    "payment.review": PaymentStatus.REVIEW,
    "payment.refunded": PaymentStatus.REFUNDED,
    "payment.reversed": PaymentStatus.REVERSED,
}
"""Status of a payment after each event about it."""

WITHOUT_EVENT = {PaymentStatus.INITIALIZING, PaymentStatus.PENDING}
"""Statuses that a payment has before the first event about it. `closing` may follow an event."""


class Confirmed(NamedTuple):
    """A payment that Chapa took money for, and how much of it Chapa gave back, in minor units."""

    tx_ref: str
    amount: int
    refunded: int = 0
    elsewhere: int = 0
    """The part of `refunded` that was given back without our reference, on Chapa's dashboard."""


class ClientView(NamedTuple):
    """Whether a response showed a client that the order has been paid."""

    order_id: str
    paid: bool
    asked_at: int | None = None
    """Time of the request, in seconds since the epoch. None: after everything else."""


@dataclass(frozen=True)
class StoredOrder:
    aggregate: OrderAggregate
    events: Sequence[Event]
    numbers: Sequence[int]
    """Of the events, in order."""
    indexed: bool
    """Whether the due index contains the order."""
    held: Mapping[str, int]
    """Units by SKU."""

    @property
    def paid_at(self) -> int | None:
        return next((event.at for event in self.events if event.name == "order.paid"), None)


@dataclass(frozen=True)
class Stored:
    """What the items of the table say."""

    orders: Mapping[str, StoredOrder]
    stock: Mapping[str, Mapping[str, Any]]
    broken: Sequence[str]
    """A sentence for each partition that cannot be read."""


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
    stored = read(items)
    held: Counter[str] = Counter()
    for order in stored.orders.values():
        held.update(order.held)
    found = [*stored.broken, *stock_violations(stored.stock, held, units or {})]
    found += order_violations(stored)
    if confirmed is not None:
        known = {each.tx_ref: each for each in confirmed}
        found += _confirmed(stored.orders, known.values(), settled=settled)
        for order in stored.orders.values():
            found += _not_at_chapa(order, known)
    for view in client_views:
        found += _client_view(stored.orders.get(view.order_id), view)
    return found


def order_violations(stored: Stored) -> list[str]:
    """What is wrong with each order by itself."""
    return [
        sentence
        for name, order in stored.orders.items()
        for check in (_order, _payments, _refunds, _event_log, _due)
        for sentence in _or_broken(name, check(order))
    ]


def _or_broken(order_id: str, sentences: Iterator[str]) -> Iterator[str]:
    """The sentences about an order, or that its items hold what cannot be compared."""
    try:
        yield from sentences
    except Exception as error:
        yield f"order {order_id} cannot be checked: {type(error).__name__}: {error}"


def read(items: Iterable[Mapping[str, Any]]) -> Stored:
    """The orders by id and the products by SKU. What cannot be read is named, and left out."""
    partitions: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for item in items:
        partitions[item["pk"]["S"]].append(item)
    orders: dict[str, StoredOrder] = {}
    stock: dict[str, Mapping[str, Any]] = {}
    broken: list[str] = []
    for pk, partition in partitions.items():
        kind, _, name = pk.partition("#")
        try:
            if kind == "STOCK":
                stock[name] = plain(partition[0])
                product_in(stock[name])
            elif kind not in {"CUSTOMER", COMPARISON_PK}:
                orders[name] = _stored_order(partition)
        except CatalogueError as error:
            broken.append(error.detail)
        except Exception as error:
            broken.append(f"{pk} cannot be read: {type(error).__name__}: {error}")
    return Stored(orders, stock, broken)


def _stored_order(partition: list[Mapping[str, Any]]) -> StoredOrder:
    partition.sort(key=lambda item: str(item["sk"]["S"]))
    stored = [item for item in partition if item["sk"]["S"].startswith(EVENTS_PREFIX)]
    logged = [event for item in stored for event in events_in(item)]
    aggregate = aggregate_in(plain(item) for item in partition)
    if aggregate is None:
        raise ValueError("it has no order")
    return StoredOrder(
        aggregate,
        [event for _, event in logged],
        [key.number for key, _ in logged],
        any("due_shard" in item for item in partition if item["sk"]["S"] == "ORDER"),
        {sku: int(units) for sku, units in aggregate.held_units.items()},
    )


def overdue(stored: Stored, now: int, after: int) -> list[str]:
    """A sentence for whatever is in manual review or unanswered for longer than `after` seconds."""
    return [
        sentence
        for name, order in stored.orders.items()
        for sentence in _or_broken(name, _overdue(order, now, after))
    ]


def _overdue(order: StoredOrder, now: int, after: int) -> Iterator[str]:
    records: list[tuple[str, Payment | Refund]] = [
        *((f"payment {p.tx_ref}", p) for p in order.aggregate.payments),
        *((f"refund {r.refund_id}", r) for r in order.aggregate.refunds),
    ]
    for name, record in records:
        in_review = record.status in {PaymentStatus.REVIEW, RefundStatus.REVIEW}
        since = record.moved_at if in_review else record.unanswered_since
        if since is not None and now - since > after:
            what = "in manual review" if in_review else "unanswered"
            yield f"{name} is {what} since {iso_time(since)}"


def stock_violations(
    stock: Mapping[str, Mapping[str, Any]], held: Mapping[str, int], units: Mapping[str, int]
) -> Iterator[str]:
    """`stock` are the products, `held` the units that all orders together hold."""
    for sku, item in stock.items():
        available, stocked = item.get("available"), item.get("stocked")
        if not isinstance(available, int) or not isinstance(stocked, int):
            continue  # It is named as broken.
        if available < 0:
            yield f"stock {sku}: {available} units are available"
        holding = held.get(sku, 0)
        if available + holding != stocked:
            yield (
                f"stock {sku}: {available} available and {holding} held by orders"
                f" are not the {stocked} units put in"
            )
        if units.get(sku, stocked) != stocked:
            yield f"stock {sku}: {units[sku]} units were put in, but {stocked} are counted"
    for sku in held.keys() - stock.keys():
        if held[sku]:
            yield f"stock {sku}: orders hold {held[sku]} units, but the catalogue has no such item"


def _order(order: StoredOrder) -> Iterator[str]:
    it, payments = order.aggregate.order, order.aggregate.payments
    name = f"order {it.order_id}"
    # A payment that paid its order may be in manual review later.
    applied = [
        p.tx_ref
        for p in payments
        if p.status is PaymentStatus.SUCCEEDED
        or (p.status is PaymentStatus.REVIEW and p.tx_ref == it.paid_by)
    ]
    if applied != ([it.paid_by] if it.status is OrderStatus.PAID else []):
        yield f"{name} is {it.status.value}, but {len(applied)} payments are applied to it"
    if it.status is OrderStatus.REFUNDED:
        payment = order.aggregate.payment(it.paid_by or "")
        if payment is None or payment.status not in {
            PaymentStatus.REFUNDED,
            PaymentStatus.REVERSED,
        }:
            yield f"{name} is refunded, but its payment is not"
    if it.amount != sum(line.unit_price * line.quantity for line in it.lines):
        yield f"{name}: its amount is not the sum of its lines"
    active = order.aggregate.active_payment
    if it.active_tx_ref and (active is None or active.status not in OPEN | {PaymentStatus.REVIEW}):
        yield f"{name}: its active payment cannot be paid"


def _payments(order: StoredOrder) -> Iterator[str]:
    it = order.aggregate.order
    for payment in order.aggregate.payments:
        name = f"payment {payment.tx_ref}"
        if payment.status is PaymentStatus.SUCCEEDED and not payment.accepted_by:
            ours = (it.amount, it.currency)
            if (payment.paid_amount, payment.paid_currency) != ours:
                yield f"{name}: the amount or currency paid is not that of its order"
            if not payment.provider_reference:
                yield f"{name} is paid, but has no reference of Chapa"
        if payment.status in PAID and payment.paid_at is None:
            yield f"{name} is paid, but has no time of it"
        if payment.status is PaymentStatus.UNAPPLIED and not order.aggregate.refunds_of(
            payment.tx_ref
        ):
            yield f"{name} is unapplied, but has no refund"


def _refunds(order: StoredOrder) -> Iterator[str]:
    owed: Counter[str] = Counter()
    for refund in order.aggregate.refunds:
        if refund.status in COUNTED_REFUNDS:
            owed[refund.tx_ref] += refund.amount
    for tx_ref, amount in owed.items():
        payment = order.aggregate.payment(tx_ref)
        if payment is None or amount > (payment.paid_amount or 0):
            yield f"payment {tx_ref}: its refunds add up to {amount}, more than was paid"
    for line in order.aggregate.order.lines:
        returned = sum(r.returns.get(line.sku, 0) for r in order.aggregate.refunds)
        if not returned == line.returned <= line.quantity:
            yield f"order {order.aggregate.order.order_id}: {returned} of {line.sku} came back"


def _event_log(order: StoredOrder) -> Iterator[str]:
    it = order.aggregate.order
    names = [event.name for event in order.events]
    if list(order.numbers) != list(range(1, it.event_count + 1)):
        yield f"order {it.order_id}: its event log has a gap: {list(order.numbers)}"
        return
    if names[:1] != ["order.placed"] or any(
        names.count(once) > 1 for once in ("order.placed", "order.paid", "order.refunded")
    ):
        yield f"order {it.order_id}: its event log cannot be true: {names}"
    times = [event.at for event in order.events]
    if times != sorted(times):
        yield f"order {it.order_id}: the times in its event log are not in order"
    ends = [name for name in names if name in {f"order.{status.value}" for status in OrderStatus}]
    if (ends[-1].partition(".")[2] if ends else "pending") != it.status.value:
        yield f"order {it.order_id} is {it.status.value}, but its event log says {ends}"
    for payment in order.aggregate.payments:
        said = [
            STATUS_AFTER[event.name]
            for event in order.events
            if getattr(event, "tx_ref", None) == payment.tx_ref and event.name in STATUS_AFTER
        ]
        status = payment.status
        wanted = [] if status in WITHOUT_EVENT else [status]
        if said[-1:] != wanted and status is not PaymentStatus.CLOSING:
            yield f"payment {payment.tx_ref} is {status.value}, but its event log says {said}"


def _due(order: StoredOrder) -> Iterator[str]:
    it, aggregate = order.aggregate.order, order.aggregate
    unfinished = (
        (it.status is OrderStatus.PENDING and not aggregate.in_review)
        or aggregate.open_payments
        or aggregate.open_refunds
        or any(payment.check_at for payment in aggregate.payments)
        or any(refund.check_at for refund in aggregate.refunds)
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
        known = orders.get(order_id_of(it.tx_ref) or "")
        payment = known.aggregate.payment(it.tx_ref) if known else None
        name = f"payment {it.tx_ref}"
        if known is None or payment is None:
            yield f"{name}: Chapa confirms it, but the table has no such payment"
            continue
        waiting = payment.status not in ACCOUNTED_FOR
        if waiting and (settled or known.aggregate.order.due_at is None):
            yield f"{name}: Chapa confirms it, and it is {payment.status.value}"
        if it.refunded > it.amount:
            yield f"{name}: Chapa gave back {it.refunded} of {it.amount}"
        # Chapa may pay out a refund though it reversed the payment and we have it in review.
        ours = sum(
            r.amount
            for r in known.aggregate.refunds_of(it.tx_ref)
            if r.status is not RefundStatus.REVERSED
        )
        if it.refunded - it.elsewhere > ours:
            yield f"{name}: Chapa gave back {it.refunded}, but our refunds add up to {ours}"


def _not_at_chapa(order: StoredOrder, confirmed: Mapping[str, Confirmed]) -> Iterator[str]:
    """Payments and refunds that the table has, but Chapa has not, and no operator vouches for."""
    paid_outside = {
        event.refund_id
        for event in order.events
        if isinstance(event, RefundResolved) and event.decision == "settle"
    }
    reviewed = {event.tx_ref for event in order.events if isinstance(event, PaymentReview)}
    for payment in order.aggregate.payments:
        if payment.status not in ACCOUNTED_FOR - {PaymentStatus.REVIEW} or payment.accepted_by:
            continue
        name = f"payment {payment.tx_ref}"
        at_chapa = confirmed.get(payment.tx_ref)
        # Of a payment that was in review the amount was in question, and an operator or Chapa's
        # refund has ended that.
        settled = payment.tx_ref in reviewed and payment.status is not PaymentStatus.SUCCEEDED
        paid = payment.paid_amount or payment.amount
        if at_chapa is None or (at_chapa.amount != paid and not settled):
            yield f"{name} is {payment.status.value}, but at Chapa it is {at_chapa}"
            continue
        done = sum(
            r.amount
            for r in order.aggregate.refunds_of(payment.tx_ref)
            if r.status is RefundStatus.REFUNDED and r.refund_id not in paid_outside
        )
        if done > at_chapa.refunded:
            yield f"{name}: refunds of {done} are done, but Chapa gave back {at_chapa.refunded}"
