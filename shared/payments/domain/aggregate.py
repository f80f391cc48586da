"""The order aggregate: an order with its payments and refunds, as one consistent read shows them.

Every change makes a new aggregate; `repository.save(before, after)` writes the difference in one
transaction that succeeds only if nothing was written in between.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import ClassVar

from payments.domain.records import Order, Payment, Refund
from payments.domain.states import (
    HOLDS_STOCK,
    OPEN,
    OPEN_REFUNDS,
    ORDER_MOVES,
    PAYMENT_MOVES,
    REFUND_MOVES,
    PaymentStatus,
)


class IllegalMoveError(Exception):
    """The code asked for a change that the rules do not allow: a bug, never an input."""


@dataclass(frozen=True)
class Event:
    """One line of an order's event log. Each kind is a subclass, in `events`."""

    name: ClassVar[str]
    at: int


@dataclass(frozen=True)
class OrderAggregate:
    order: Order
    payments: tuple[Payment, ...] = ()
    refunds: tuple[Refund, ...] = ()
    new_events: tuple[Event, ...] = ()
    """Events that happened since the read; the next save writes them."""

    def payment(self, tx_ref: str | None) -> Payment | None:
        return next((p for p in self.payments if p.tx_ref == tx_ref), None)

    def refund(self, refund_id: str) -> Refund | None:
        return next((r for r in self.refunds if r.refund_id == refund_id), None)

    def known_payment(self, tx_ref: str) -> Payment:
        """Raises KeyError if the order does not have it."""
        if (payment := self.payment(tx_ref)) is None:
            raise KeyError(tx_ref)
        return payment

    def known_refund(self, refund_id: str) -> Refund:
        """Raises KeyError if the order does not have it."""
        if (refund := self.refund(refund_id)) is None:
            raise KeyError(refund_id)
        return refund

    def refunds_of(self, tx_ref: str) -> tuple[Refund, ...]:
        return tuple(r for r in self.refunds if r.tx_ref == tx_ref)

    @property
    def active_payment(self) -> Payment | None:
        return self.payment(self.order.active_tx_ref)

    @property
    def open_payments(self) -> tuple[Payment, ...]:
        return tuple(p for p in self.payments if p.status in OPEN)

    @property
    def open_refunds(self) -> tuple[Refund, ...]:
        return tuple(r for r in self.refunds if r.status in OPEN_REFUNDS)

    @property
    def in_review(self) -> bool:
        return any(p.status is PaymentStatus.REVIEW for p in self.payments)

    @property
    def held_units(self) -> Mapping[str, int]:
        """Units by SKU that are not available to others because of this order."""
        holds = self.order.status in HOLDS_STOCK
        return {
            line.sku: (line.quantity - line.returned) if holds else 0 for line in self.order.lines
        }

    def put(self, record: Order | Payment | Refund) -> "OrderAggregate":
        """The aggregate with this record in place of the one of its id, or added to it.

        Raises IllegalMoveError for a status that may not follow.
        """
        match record:
            case Order():
                _check(ORDER_MOVES, self.order.status, record.status)
                return replace(self, order=record)
            case Payment():
                known = self.payment(record.tx_ref)
                if known is None:
                    return replace(self, payments=(*self.payments, record))
                _check(PAYMENT_MOVES, known.status, record.status)
                return replace(
                    self, payments=tuple(record if p is known else p for p in self.payments)
                )
            case Refund():
                old = self.refund(record.refund_id)
                if old is None:
                    return replace(self, refunds=(*self.refunds, record))
                _check(REFUND_MOVES, old.status, record.status)
                return replace(self, refunds=tuple(record if r is old else r for r in self.refunds))

    def record(self, *events: Event) -> "OrderAggregate":
        """The aggregate with these events at the end of its event log."""
        return replace(self, new_events=(*self.new_events, *events))


def _check[S: Enum](moves: Mapping[S, frozenset[S]], before: S, after: S) -> None:
    if after is not before and after not in moves[before]:
        raise IllegalMoveError(f"{type(before).__name__}: {before.value} → {after.value}")
