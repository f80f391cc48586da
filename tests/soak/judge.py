"""Whether the customers' logs agree with the table and with Chapa.

`operators.invariants` judges the table and Chapa; here follows what only the logs can show.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import Any, NamedTuple

from operators.invariants import Confirmed, StoredOrder, read, violations
from payments.domain.events import StockReturned
from payments.domain.ids import order_id_of
from payments.domain.money import format_amount, parse_amount
from payments.domain.records import Payment
from payments.domain.states import (
    COUNTED_REFUNDS,
    ORDER_MOVES,
    PAYMENT_MOVES,
    OrderStatus,
    PaymentStatus,
)
from sandbox.chapa.journal import Entry
from tests.soak.customer_log import GAVE_UP, Call, CustomerLog, LoggedCall
from tests.soak.trouble import Kill

ALLOWED: Mapping[Call, frozenset[int | str]] = {
    "place": frozenset({200, 201, "out_of_stock"}),
    "place again": frozenset({200, 201, "out_of_stock"}),
    "initialize": frozenset({200, 201, "order_not_payable", "payment_in_progress"}),
    "cancel": frozenset({200, 202, "order_paid", "order_in_review"}),
    "order": frozenset({200}),
    "payment": frozenset({200}),
}
"""Statuses and problem codes that a response can have."""

PROVIDER_CODES = frozenset({"provider_error", "provider_unavailable", "provider_timeout"})
"""Also allowed for initialize while Chapa is faulty."""

FUNCTION: Mapping[Call, str] = {
    "place": "orders",
    "place again": "orders",
    "initialize": "initialize",
    "cancel": "orders",
    "order": "status",
    "payment": "status",
}

NOTICED_SECONDS = 2
"""After this time MiniStack knows that a process was killed."""

WRITE_SECONDS = 15
"""The longest time between an event's time, when it is decided, and its writing."""

PAID_AT_CHAPA = {"success", "refunded", "reversed"}


@dataclass(frozen=True)
class FinalState:
    """The state after the soak, when nothing is left to do."""

    items: Sequence[Mapping[str, Any]]
    """The table's items in DynamoDB's JSON."""
    at_chapa: Mapping[str, Mapping[str, Any]]
    """Chapa's payments by tx_ref, as its control API shows them."""
    units: Mapping[str, int]
    kills: Sequence[Kill] = ()
    chapa_was_faulty: bool = False

    @cached_property
    def orders(self) -> Mapping[str, StoredOrder]:
        return read(self.items).orders

    def payment(self, tx_ref: str) -> Payment | None:
        order = self.orders.get(order_id_of(tx_ref) or "")
        return order.aggregate.payment(tx_ref) if order else None

    def confirmed(self) -> Iterator[Confirmed]:
        """All payments that Chapa took money for, with the sum of their refunds."""
        for tx_ref, payment in self.at_chapa.items():
            if payment["status"] in PAID_AT_CHAPA:
                done = [r["amount"] for r in payment["refunds"] if r["status"] == "refunded"]
                yield Confirmed(tx_ref, _minor(payment["amount"]), sum(map(_minor, done)))


def _minor(amount: str) -> int:
    return parse_amount(amount) or 0


def findings(logs: Iterable[CustomerLog], state: FinalState) -> list[str]:
    """Every broken invariant, and every disagreement of a log with the table or Chapa."""
    logs = list(logs)
    found = violations(state.items, units=state.units, confirmed=[*state.confirmed()], settled=True)
    orders_of = defaultdict(set)
    for order_id, order in state.orders.items():
        orders_of[order.aggregate.order.customer.get("first_name")].add(order_id)
    held = HeldUnits(state)
    for log in logs:
        about = [
            *log.failures,
            *_responses(log, state),
            *_orders(log, orders_of[log.name], state),
            *_pages(log, state),
            *_cancellations(log, state),
            *_statuses(log, state),
            *_money(log, state),
            *_sold_out(log, held),
        ]
        found += [f"{log.name}, who {log.wants}: {finding}" for finding in about]
    found += _at_chapa({tx_ref for log in logs for tx_ref in log.paid}, state)
    return found


def _responses(log: CustomerLog, state: FinalState) -> Iterator[str]:
    for call in log.calls:
        allowed = ALLOWED[call.call] | {"busy", "unavailable", GAVE_UP}
        if state.chapa_was_faulty and call.call == "initialize":
            allowed |= PROVIDER_CODES
        lost = (call.status == 0 or call.status >= 500) and not call.code and _cut(call, state)
        if not (call.status in allowed or call.code in allowed or lost):
            yield f"{call.call} returned {call.status} {call.code or dict(call.body)}"


def _cut(call: LoggedCall, state: FinalState) -> bool:
    """Whether a process of the call's function was killed during the call or shortly before."""
    return any(
        kill.function == FUNCTION[call.call]
        and call.began - NOTICED_SECONDS <= kill.at <= call.ended
        for kill in state.kills
    )


def _orders(log: CustomerLog, in_table: set[str], state: FinalState) -> Iterator[str]:
    placed = [call for call in log.calls if call.call.startswith("place")]
    for call in placed:
        if not call.good:
            continue
        order_id = str(call.body["order_id"])
        known = state.orders.get(order_id)
        if known is None:
            yield f"received order {order_id}, which does not exist"
            continue
        order = known.aggregate.order
        if {line.sku: line.quantity for line in order.lines} != dict(log.basket):
            yield f"order {order_id} has other goods than the basket"
        if format_amount(order.amount) != call.body["amount"]:
            yield f"order {order_id} has another price than the response"
    if log.key and len(in_table) > 1:
        yield f"one Idempotency-Key made {len(in_table)} orders: {sorted(in_table)}"
    unanswered = sum(call.status == 0 or call.status >= 500 for call in placed)
    if len(unknown := in_table - log.orders) > unanswered:
        yield f"has orders that no response named: {sorted(unknown)}"


def _pages(log: CustomerLog, state: FinalState) -> Iterator[str]:
    for call in log.calls:
        if call.call != "initialize" or not call.good:
            continue
        tx_ref, order_id = str(call.body["tx_ref"]), str(call.body["order_id"])
        at_chapa = state.at_chapa.get(tx_ref)
        if state.payment(tx_ref) is None:
            yield f"received payment {tx_ref}, which does not exist"
        elif at_chapa is None:
            yield f"received payment {tx_ref}, which Chapa does not know"
        elif not str(call.body["checkout_url"]).endswith(f"/{at_chapa['token']}"):
            yield f"received another page than that of payment {tx_ref}"
        else:
            cost = format_amount(state.orders[order_id].aggregate.order.amount)
            if not at_chapa["amount"] == call.body["amount"] == cost:
                yield f"payment {tx_ref} has another amount than order {order_id}"


def _cancellations(log: CustomerLog, state: FinalState) -> Iterator[str]:
    for call in log.calls:
        if call.call != "cancel" or call.status not in {200, 202}:
            continue
        order_id = str(call.body["order_id"])
        known = state.orders.get(order_id)
        pending = known and known.aggregate.order.status is OrderStatus.PENDING
        if call.status == 200 and call.body["status"] == "pending":
            yield f"cancel returned 200, but order {order_id} was pending"
        elif call.status == 202 and known and pending and not known.aggregate.in_review:
            yield f"cancel returned 202, but order {order_id} is still pending"


class Seen(NamedTuple):
    """A status of an order or a payment in a response."""

    began: float
    ended: float
    status: str


def _statuses(log: CustomerLog, state: FinalState) -> Iterator[str]:
    """Each status that was seen leads to every status seen later."""
    orders: dict[str, list[Seen]] = defaultdict(list)
    payments: dict[str, list[Seen]] = defaultdict(list)
    for call in log.calls:
        body = call.body
        status = body.get("order_status") or ("items" in body and call.good and body["status"])
        if call.code == "order_paid":
            status = "paid"
        if status:
            orders[str(body["order_id"])].append(Seen(call.began, call.ended, str(status)))
        for payment in [*body.get("payments", []), body] if call.good else []:
            if "tx_ref" in payment:
                seen = Seen(call.began, call.ended, payment["status"])
                payments[payment["tx_ref"]].append(seen)
    for order_id, seen_statuses in orders.items():
        if known := state.orders.get(order_id):
            now = known.aggregate.order.status
            yield from _undone(f"order {order_id}", OrderStatus, ORDER_MOVES, seen_statuses, now)
    for tx_ref, seen_statuses in payments.items():
        if at_end := state.payment(tx_ref):
            name = f"payment {tx_ref}"
            yield from _undone(name, PaymentStatus, PAYMENT_MOVES, seen_statuses, at_end.status)


def _undone[S: Enum](
    name: str, kind: type[S], moves: Mapping[S, frozenset[S]], seen: list[Seen], now: S
) -> Iterator[str]:
    seen = [*sorted(seen), Seen(float("inf"), float("inf"), str(now.value))]
    for number, earlier in enumerate(seen):
        for later in seen[number + 1 :]:
            # Concurrent calls can be answered in any order.
            if later.began > earlier.ended and not _leads(
                moves, kind(earlier.status), kind(later.status)
            ):
                then = "is" if later is seen[-1] else "was seen"
                yield f"{name} was seen {earlier.status}, and later {then} {later.status}"
                return


def _leads[S: Enum](moves: Mapping[S, frozenset[S]], start: S, end: S) -> bool:
    reached, fresh = {start}, {start}
    while fresh:
        fresh = {target for state in fresh for target in moves[state]} - reached
        reached |= fresh
    return end in reached


def _money(log: CustomerLog, state: FinalState) -> Iterator[str]:
    for tx_ref in sorted(log.paid):
        at_chapa = state.at_chapa.get(tx_ref, {"status": "missing"})["status"]
        payment = state.payment(tx_ref)
        if at_chapa not in PAID_AT_CHAPA:
            yield f"paid {tx_ref}, but at Chapa it is {at_chapa}"
        elif payment and payment.status in {PaymentStatus.UNAPPLIED, PaymentStatus.REFUNDED}:
            refunds = state.orders[order_id_of(tx_ref) or ""].aggregate.refunds_of(tx_ref)
            owed = sum(r.amount for r in refunds if r.status in COUNTED_REFUNDS)
            if owed != payment.amount:
                yield f"paid {tx_ref}, which pays no order, but {format_amount(owed)} is owed back"
        elif payment and payment.status is PaymentStatus.REVERSED and at_chapa != "reversed":
            yield f"paid {tx_ref}, which is reversed, but at Chapa it is {at_chapa}"
    for tx_refs, end in (
        (log.reversed, PaymentStatus.REVERSED),
        (log.refunded, PaymentStatus.REFUNDED),
    ):
        for tx_ref in sorted(tx_refs):
            payment = state.payment(tx_ref)
            if payment is None or payment.status is not end:
                now = payment.status.value if payment else "missing"
                yield f"got {tx_ref} {end.value}, but it is {now}"


class HeldUnits:
    """Which units orders held at which time, from the event logs."""

    def __init__(self, state: FinalState) -> None:
        self._units = state.units
        self._held: dict[str, list[tuple[float, float, int]]] = defaultdict(list)
        for order in state.orders.values():
            for line in order.aggregate.order.lines:
                self._held[line.sku] += _holding(order, line.sku, line.quantity)

    def could_lack(self, sku: str, quantity: int, began: float, ended: float) -> bool:
        """Whether fewer units than `quantity` could be available at some time in between."""
        held = sum(
            units
            for since, until, units in self._held[sku]
            if since <= ended and until + WRITE_SECONDS >= began
        )
        return self._units[sku] - held < quantity


def _holding(order: StoredOrder, sku: str, quantity: int) -> Iterator[tuple[float, float, int]]:
    """Since when and until when the order held how many units."""
    since, held = 0.0, 0
    for event in order.events:
        released = 0
        match event.name:
            case "order.placed" | "order.paid" if not held:
                since, held = event.at, quantity
            case "order.expired" | "order.cancelled":
                released = held
        if isinstance(event, StockReturned):
            released = event.units.get(sku, 0)
        if released:
            yield since, event.at, released
            held -= released
    if held:
        yield since, float("inf"), held


def _sold_out(log: CustomerLog, held: HeldUnits) -> Iterator[str]:
    for call in log.calls:
        if call.code == "out_of_stock" and not any(
            held.could_lack(sku, log.basket[sku], call.began, call.ended)
            for sku in call.body["skus"]
        ):
            yield f"{call.body['skus']} were out of stock in a response, but available"


def _at_chapa(paid: set[str], state: FinalState) -> Iterator[str]:
    for tx_ref, at_chapa in state.at_chapa.items():
        name = f"Chapa's payment {tx_ref}"
        if state.payment(tx_ref) is None:
            yield f"{name}: it is not in the table"
        elif at_chapa["status"] in PAID_AT_CHAPA and tx_ref not in paid:
            yield f"{name}: it is {at_chapa['status']}, but no customer paid it"
        refunds = [r for r in at_chapa["refunds"] if r["status"] != "reversed"]
        if sum(_minor(refund["amount"]) for refund in refunds) > _minor(at_chapa["amount"]):
            yield f"{name}: more than its amount was refunded"
        references = Counter(refund["merchant_reference"] for refund in refunds)
        if twice := [reference for reference, times in references.items() if times > 1]:
            yield f"{name}: refunded twice as {twice}"


def unpublished(orders: Mapping[str, StoredOrder], published: Iterable[str]) -> list[str]:
    """Events that are missing on the bus, and events on the bus that are in no event log."""
    logged = {
        f"{order_id}#{number}"
        for order_id, order in orders.items()
        for number in range(1, len(order.events) + 1)
    }
    on_bus = set(published)
    return [f"event {event} was never published" for event in sorted(logged - on_bus)] + [
        f"event {event} was published, but is in no event log" for event in sorted(on_bus - logged)
    ]


def accepted_forgeries(webhooks: Iterable[Entry]) -> Iterator[str]:
    """Forged webhooks that were not refused; a killed process cannot refuse."""
    for entry in webhooks:
        if "forged" in entry.faults and entry.status not in {401, 500, 502, None}:
            yield f"a forged webhook of {entry.tx_ref} was answered {entry.status}"
