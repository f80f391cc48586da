"""What a provider's answers come down to, and what became of them."""

from dataclasses import dataclass
from enum import Enum


class Said(Enum):
    """What the provider says of a payment or a refund."""

    PAID = "paid"
    FAILED = "failed"
    PENDING = "pending"
    """An attempt may be under way, or it is the provider's word for unpaid."""
    NOT_PAID = "not paid"
    REFUNDED = "refunded"
    REVERSED = "reversed"
    UNKNOWN = "unknown"
    """No answer, or none that could be understood."""


@dataclass(frozen=True)
class Verification:
    """The provider's answer about one payment. A fact that the answer does not have is None."""

    said: Said
    tx_ref: str | None = None
    amount: int | None = None
    currency: str | None = None
    mode: str | None = None
    provider_reference: str | None = None
    status: str | None = None
    """The provider's own word, for logs."""
    fee: int | None = None
    """What the provider keeps of the payment."""


@dataclass(frozen=True)
class Transaction:
    """A payment or a refund in the provider's list. A fact that the list does not have is None."""

    said: Said
    """`UNKNOWN` when the status or the amount could not be understood."""
    reference: str | None = None
    """Ours: the tx_ref of a payment, or the reference of a refund."""
    provider_reference: str | None = None
    """Chapa's id of the payment, also of a refund."""
    amount: int | None = None
    currency: str | None = None
    created_at: int | None = None
    status: str = ""
    """The provider's own word."""
    is_refund: bool = False


@dataclass(frozen=True)
class Page:
    """A part of the provider's list."""

    transactions: tuple[Transaction, ...]
    following: str | None
    """Where the next page begins, in the provider's own form; None after the last."""
    unreadable: int = 0
    """Rows that name nothing."""


class Outcome(Enum):
    """What became of checking a payment or a refund."""

    APPLIED = "applied"
    DUPLICATE = "duplicate"
    """Nothing to do: it was done before."""
    OPEN = "open"
    """Nothing to do yet: the provider answered that it is neither paid nor failed."""
    UNANSWERED = "unanswered"
    """The provider gave no usable answer."""
    NOT_ASKED = "not_asked"
    """The provider was asked a moment ago, or there was no time left to ask."""
