"""The state machines, as data: the one place that says what may follow what.

`domain` decides with these tables and `repository` turns the same tables into the conditions of
its writes.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple


class OrderStatus(StrEnum):
    PENDING = "pending"
    PAID = "paid"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    REFUNDED = "refunded"


class PaymentStatus(StrEnum):
    INITIALIZING = "initializing"
    """Written before the provider was called: whether it answered is not known."""
    PENDING = "pending"
    """The checkout URL is known."""
    FAILED = "failed"
    """Chapa says failed or cancelled. Soft: the customer may try again on the same page."""
    CLOSING = "closing"
    """Leased by somebody who is shutting it at Chapa."""
    CLOSED = "closed"
    """Unpaid and shut at Chapa, or never opened there."""
    SUCCEEDED = "succeeded"
    SURPLUS = "surplus"
    """Paid, but its order cannot take it: the money is owed back."""
    REVIEW = "review"
    """A person has to look: what Chapa says is not what was asked for, or nobody could find out."""
    REFUNDED = "refunded"
    REVERSED = "reversed"


class RefundStatus(StrEnum):
    REQUESTED = "requested"
    """Owed, and not known to have reached Chapa."""
    PENDING = "pending"
    """Chapa has it, and takes days over it."""
    REFUNDED = "refunded"
    REVERSED = "reversed"
    """Chapa took it back: the money is ours again, and still owed."""
    REVIEW = "review"
    """Chapa refused it, or nobody could find out: a person has to look."""


class StockStatus(StrEnum):
    RESERVED = "reserved"
    COMMITTED = "committed"
    RELEASED = "released"


_P = PaymentStatus
_O = OrderStatus
_R = RefundStatus
_S = StockStatus

_VERIFIED = frozenset({_P.SUCCEEDED, _P.SURPLUS, _P.REVIEW})

PAYMENT_MOVES: Mapping[PaymentStatus, frozenset[PaymentStatus]] = {
    _P.INITIALIZING: _VERIFIED | {_P.PENDING, _P.FAILED, _P.CLOSING, _P.CLOSED},
    _P.PENDING: _VERIFIED | {_P.FAILED, _P.CLOSING},
    _P.FAILED: _VERIFIED | {_P.CLOSING},
    _P.CLOSING: _VERIFIED | {_P.CLOSED},
    _P.CLOSED: _VERIFIED,
    _P.REVIEW: frozenset({_P.SUCCEEDED, _P.SURPLUS}),
    _P.SUCCEEDED: frozenset({_P.REFUNDED, _P.REVERSED}),
    _P.SURPLUS: frozenset({_P.REFUNDED, _P.REVERSED}),
    _P.REFUNDED: frozenset(),
    _P.REVERSED: frozenset(),
}

ORDER_MOVES: Mapping[OrderStatus, frozenset[OrderStatus]] = {
    _O.PENDING: frozenset({_O.PAID, _O.EXPIRED, _O.CANCELLED}),
    _O.PAID: frozenset({_O.REFUNDED}),
    # Only by a late success that could take all of its stock again.
    _O.EXPIRED: frozenset({_O.PAID}),
    _O.CANCELLED: frozenset({_O.PAID}),
    _O.REFUNDED: frozenset(),
}

REFUND_MOVES: Mapping[RefundStatus, frozenset[RefundStatus]] = {
    _R.REQUESTED: frozenset({_R.PENDING, _R.REFUNDED, _R.REVERSED, _R.REVIEW}),
    _R.PENDING: frozenset({_R.REFUNDED, _R.REVERSED, _R.REVIEW}),
    _R.REFUNDED: frozenset(),
    _R.REVERSED: frozenset(),
    _R.REVIEW: frozenset(),
}

OPEN = frozenset({_P.INITIALIZING, _P.PENDING, _P.FAILED, _P.CLOSING})
"""Payments that can still be paid at Chapa."""

UNPAID = OPEN | {_P.CLOSED, _P.REVIEW}
"""Payments that a verified success changes."""

PAID = frozenset({_P.SUCCEEDED, _P.SURPLUS})
"""Payments whose money we hold, and that a refund or a reversal changes."""

OPEN_REFUNDS = frozenset({_R.REQUESTED, _R.PENDING})


class StockChange(NamedTuple):
    """What one unit does to each of a SKU's three counters; their sum never changes."""

    available: int = 0
    reserved: int = 0
    committed: int = 0


STOCK_MOVES: Mapping[tuple[StockStatus | None, StockStatus], StockChange] = {
    (None, _S.RESERVED): StockChange(available=-1, reserved=+1),
    (_S.RESERVED, _S.COMMITTED): StockChange(reserved=-1, committed=+1),
    (_S.RESERVED, _S.RELEASED): StockChange(reserved=-1, available=+1),
    (_S.RELEASED, _S.COMMITTED): StockChange(available=-1, committed=+1),
    # A refunded order whose goods came back to the shelf.
    (_S.COMMITTED, _S.RELEASED): StockChange(committed=-1, available=+1),
}


def sources[S: StrEnum](moves: Mapping[S, frozenset[S]], target: S) -> list[S]:
    """The states from which `target` may be reached."""
    return sorted(state for state, targets in moves.items() if target in targets)
