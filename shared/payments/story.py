"""What is known about one order: the order itself, its payments, refunds and news.

Records only; what may be done with them stands in `domain`. Times are whole seconds since the
epoch, UTC. Amounts are minor units.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from payments.states import (
    OPEN,
    OPEN_REFUNDS,
    ORDER_MOVES,
    PAYMENT_MOVES,
    REFUND_MOVES,
    STOCK_MOVES,
    UNPAID,
    OrderStatus,
    PaymentStatus,
    RefundStatus,
    StockStatus,
)


class IllegalMove(Exception):
    """The code asked for a transition that `states` does not have: a bug, never an input."""


@dataclass(frozen=True)
class Line:
    sku: str
    name: str
    quantity: int
    unit_price: int


@dataclass(frozen=True)
class Order:
    order_id: str
    user_id: str
    amount: int
    currency: str
    lines: tuple[Line, ...]
    created_at: int
    expires_at: int
    request_hash: str
    customer: Mapping[str, str] = field(default_factory=dict)
    status: OrderStatus = OrderStatus.PENDING
    stock: StockStatus = StockStatus.RESERVED
    live: str | None = None
    """The tx_ref of the one payment whose checkout URL is handed out."""
    paid_by: str | None = None
    cancelling: bool = False
    """The customer wants it cancelled, and what is open is being shut."""
    due_at: int | None = None
    """When somebody should look next; None when nothing can happen by itself any more."""
    nudged_to: int | None = None
    """An earlier look that somebody asked for; it stays until such a look was taken."""
    looks: int = 0
    """Looks in a row that found nothing new."""
    unknown_since: int | None = None
    """Since when the provider could not be asked."""
    version: int = 0
    """Grows with every write of the story; 0 is not stored yet."""
    events: int = 0
    """How many ledger events the order has."""


@dataclass(frozen=True)
class Payment:
    tx_ref: str
    amount: int
    currency: str
    created_at: int
    status: PaymentStatus = PaymentStatus.INITIALIZING
    lease_until: int = 0
    """Until when whoever opens or closes this payment is left alone."""
    checkout_url: str | None = None
    reference: str | None = None
    """Chapa's own name for a payment that was made; refunds go by it."""
    paid_amount: int | None = None
    reason: str | None = None
    """Why the payment was closed, failed or sent to review."""
    in_doubt: bool = False
    """Paid, but somebody says that the money went back, and Chapa could not be asked yet."""


@dataclass(frozen=True)
class Refund:
    """Money owed back. `reference` is ours, and the same on every try.

    `handle` is Chapa's name for it. A refund that Chapa has without our knowing its handle is found
    to be done by asking about the payment.
    """

    reference: str
    tx_ref: str
    amount: int
    currency: str
    created_at: int
    status: RefundStatus = RefundStatus.REQUESTED
    reason: str | None = None
    return_stock: bool = False
    """Whether the goods are back on the shelf once all is refunded."""
    handle: str | None = None
    tries: int = 0
    """How often Chapa was asked for it; more than once only when an answer was lost."""
    lease_until: int = 0


@dataclass(frozen=True)
class Event:
    """One line of an order's ledger."""

    name: str
    at: int
    details: Mapping[str, Any]


@dataclass(frozen=True)
class Story:
    order: Order
    payments: tuple[Payment, ...] = ()
    refunds: tuple[Refund, ...] = ()
    news: tuple[Event, ...] = ()
    """Events that happened since the read and are written with the next save."""

    def payment(self, tx_ref: str) -> Payment | None:
        return next((p for p in self.payments if p.tx_ref == tx_ref), None)

    @property
    def live(self) -> Payment | None:
        return self.payment(self.order.live) if self.order.live else None

    @property
    def open_payments(self) -> tuple[Payment, ...]:
        return tuple(p for p in self.payments if p.status in OPEN)

    def refund(self, reference: str) -> Refund | None:
        return next((r for r in self.refunds if r.reference == reference), None)

    @property
    def open_refunds(self) -> tuple[Refund, ...]:
        return tuple(r for r in self.refunds if r.status in OPEN_REFUNDS)

    @property
    def unpaid(self) -> tuple[Payment, ...]:
        return tuple(p for p in self.payments if p.status in UNPAID)

    @property
    def to_ask(self) -> tuple[Payment, ...]:
        """Payments about which Chapa may have something new to say."""
        return tuple(p for p in self.payments if p.status in UNPAID or p.in_doubt)

    @property
    def in_review(self) -> bool:
        return any(p.status is PaymentStatus.REVIEW for p in self.payments)

    def with_order(self, **changes: Any) -> "Story":
        order = replace(self.order, **changes)
        _check(ORDER_MOVES, self.order.status, order.status)
        if (
            order.stock is not self.order.stock
            and (self.order.stock, order.stock) not in STOCK_MOVES
        ):
            raise IllegalMove(f"stock: {self.order.stock} → {order.stock}")
        return replace(self, order=order)

    def with_payment(self, tx_ref: str, **changes: Any) -> "Story":
        payments = []
        for payment in self.payments:
            if payment.tx_ref == tx_ref:
                changed = replace(payment, **changes)
                _check(PAYMENT_MOVES, payment.status, changed.status)
                payments.append(changed)
            else:
                payments.append(payment)
        return replace(self, payments=tuple(payments))

    def with_refund(self, reference: str, **changes: Any) -> "Story":
        refunds = []
        for refund in self.refunds:
            if refund.reference == reference:
                changed = replace(refund, **changes)
                _check(REFUND_MOVES, refund.status, changed.status)
                refunds.append(changed)
            else:
                refunds.append(refund)
        return replace(self, refunds=tuple(refunds))

    def tell(self, name: str, at: int, **details: Any) -> "Story":
        return replace(self, news=(*self.news, Event(name, at, details)))


def _check[S: StrEnum](moves: Mapping[S, frozenset[S]], before: S, after: S) -> None:
    if after is not before and after not in moves[before]:
        raise IllegalMove(f"{type(before).__name__}: {before} → {after}")
