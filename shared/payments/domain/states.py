"""The state machines, as data: the one place that says which status may follow which.

The decisions of this package use these tables, and the repository turns the same tables into the
conditions of its writes.
"""

from collections.abc import Mapping
from enum import Enum


class OrderStatus(Enum):
    PENDING = "pending"
    PAID = "paid"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    REFUNDED = "refunded"


class PaymentStatus(Enum):
    INITIALIZING = "initializing"
    """Written before the provider is called: the provider may or may not have opened it."""
    PENDING = "pending"
    """The checkout URL is known."""
    FAILED = "failed"
    """The provider says failed or cancelled. The customer may try again on the same page."""
    CLOSING = "closing"
    """Leased by a process that closes it at the provider."""
    CLOSED = "closed"
    """Unpaid and closed at the provider, or never opened there."""
    SUCCEEDED = "succeeded"
    UNAPPLIED = "unapplied"
    """Paid, but its order cannot take it: the money is owed back."""
    REVIEW = "review"
    """A fact needs the decision of a person: manual review."""
    REFUNDED = "refunded"
    REVERSED = "reversed"


class RefundStatus(Enum):
    REQUESTED = "requested"
    """Owed. The provider may or may not have received it."""
    PENDING = "pending"
    """The provider has accepted it; it takes days."""
    REFUNDED = "refunded"
    REVERSED = "reversed"
    """The provider took it back: we have the money again, and still owe it."""
    REVIEW = "review"
    """The provider certainly refused it: manual review."""
    DISMISSED = "dismissed"
    """A person decided that it is not paid out."""


_P = PaymentStatus
_O = OrderStatus
_R = RefundStatus

_CONFIRMED = frozenset({_P.SUCCEEDED, _P.UNAPPLIED, _P.REVIEW})
_RETURNED = frozenset({_P.REFUNDED, _P.REVERSED})

PAYMENT_MOVES: Mapping[PaymentStatus, frozenset[PaymentStatus]] = {
    _P.INITIALIZING: _CONFIRMED | {_P.PENDING, _P.FAILED, _P.CLOSING, _P.CLOSED},
    _P.PENDING: _CONFIRMED | {_P.FAILED, _P.CLOSING, _P.CLOSED},
    _P.FAILED: _CONFIRMED | {_P.CLOSING, _P.CLOSED},
    _P.CLOSING: _CONFIRMED | {_P.CLOSED},
    _P.CLOSED: _CONFIRMED,
    _P.REVIEW: _RETURNED | {_P.SUCCEEDED, _P.UNAPPLIED, _P.CLOSED},
    _P.SUCCEEDED: _RETURNED | {_P.REVIEW},
    _P.UNAPPLIED: _RETURNED | {_P.REVIEW},
    _P.REFUNDED: frozenset(),
    _P.REVERSED: frozenset(),
}

ORDER_MOVES: Mapping[OrderStatus, frozenset[OrderStatus]] = {
    _O.PENDING: frozenset({_O.PAID, _O.EXPIRED, _O.CANCELLED}),
    _O.PAID: frozenset({_O.REFUNDED}),
    # Only by a late success, and only if all of its stock is available again.
    _O.EXPIRED: frozenset({_O.PAID}),
    _O.CANCELLED: frozenset({_O.PAID}),
    _O.REFUNDED: frozenset(),
}

REFUND_MOVES: Mapping[RefundStatus, frozenset[RefundStatus]] = {
    _R.REQUESTED: frozenset({_R.PENDING, _R.REFUNDED, _R.REVERSED, _R.REVIEW}),
    _R.PENDING: frozenset({_R.REFUNDED, _R.REVERSED, _R.REVIEW}),
    _R.REVIEW: frozenset({_R.REQUESTED, _R.REFUNDED, _R.DISMISSED}),
    _R.REFUNDED: frozenset(),
    _R.REVERSED: frozenset(),
    _R.DISMISSED: frozenset(),
}

OPEN = frozenset({_P.INITIALIZING, _P.PENDING, _P.FAILED, _P.CLOSING})
"""Payments that the customer may still be able to pay at the provider."""

UNPAID = OPEN | {_P.CLOSED, _P.REVIEW}
"""Payments that a verified success changes."""

PAID = frozenset({_P.SUCCEEDED, _P.UNAPPLIED})
"""Payments whose money we hold, and that a refund or a reversal changes."""

OPEN_REFUNDS = frozenset({_R.REQUESTED, _R.PENDING})

COUNTED_REFUNDS = OPEN_REFUNDS | {_R.REFUNDED}
"""Refunds that count against what was paid: they are, or may be, paid out."""

HOLDS_STOCK = frozenset({_O.PENDING, _O.PAID, _O.REFUNDED})
"""Orders whose units are not available to others, but for the units that were returned."""


def sources[S: Enum](moves: Mapping[S, frozenset[S]], target: S) -> list[str]:
    """The values of the statuses from which `target` may be reached, sorted."""
    return sorted(str(state.value) for state, targets in moves.items() if target in targets)
