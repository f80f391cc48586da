"""What is stored of an order, its payments and its refunds.

Times are whole seconds since the epoch, UTC. Amounts are minor units.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from payments.domain.states import OrderStatus, PaymentStatus, RefundStatus


@dataclass(frozen=True)
class Line:
    sku: str
    name: str
    quantity: int
    unit_price: int
    returned: int = 0
    """Units that were sold and came back."""


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
    active_tx_ref: str | None = None
    """The payment whose checkout URL is handed out."""
    paid_by: str | None = None
    """The tx_ref of the payment that was applied."""
    cancelling: bool = False
    """The customer wants it cancelled, and what is open is being closed."""
    due_at: int | None = None
    """When the sweep queues it next; None when no check is due any more."""
    queued: int = 0
    """How often the sweep has queued it since the last save."""
    version: int = 0
    """Grows with every write of the aggregate; 0 is not stored yet."""
    event_count: int = 0
    """How many events the order's event log has."""


@dataclass(frozen=True)
class Payment:
    tx_ref: str
    provider: str
    """Name of the provider that opened it and that settles, closes and refunds it."""
    amount: int
    currency: str
    created_at: int
    status: PaymentStatus = PaymentStatus.INITIALIZING
    lease_until: int = 0
    """Until then the process that opens or closes this payment has it for itself."""
    checkout_url: str | None = None
    page_expires_at: int | None = None
    """When the checkout page ends."""
    can_cancel: bool = True
    """Whether its provider can close it before its page ends."""
    provider_reference: str | None = None
    """Chapa's id of the payment; refunds are requested by it."""
    paid_amount: int | None = None
    """What the provider says was paid."""
    paid_currency: str | None = None
    fee: int | None = None
    """The provider's fee, in `paid_currency`; None when the provider did not say."""
    paid_at: int | None = None
    """When we first knew that it was paid."""
    reason: str | None = None
    """Why the payment was closed, failed or sent to manual review."""
    accepted_by: str | None = None
    """The operator who accepted it although its facts were not as requested."""
    moved_at: int = 0
    """When its status last changed."""
    check_at: int | None = None
    """When the provider is asked about it next; None when nothing new can come of that."""
    unanswered_since: int | None = None
    """Since when no check got a usable answer."""
    reminded_at: int | None = None
    """When operators were last reminded of it."""
    listed_at: int | None = None
    """The start of the last comparison that found it in the provider's list."""
    differed_at: int | None = None
    """When a comparison last recorded that the provider's list differs from it."""


@dataclass(frozen=True)
class Refund:
    """Money owed back to the customer, goods taken back, or both."""

    refund_id: str
    tx_ref: str
    amount: int
    currency: str
    created_at: int
    status: RefundStatus = RefundStatus.REQUESTED
    reason: str | None = None
    """Why the money is owed back."""
    whole: bool = False
    """Whether all that was left was requested, and not an amount."""
    returns: Mapping[str, int] = field(default_factory=dict)
    """Units by SKU that came back with it."""
    attempt: int = 1
    """Each attempt has a reference of its own at the provider; a new one only after a refusal."""
    sends: int = 0
    """How often this attempt was sent; more than once only when an answer was lost."""
    provider_refund_id: str | None = None
    """Chapa's id of the refund."""
    refusal: str | None = None
    """The provider's words when it refused."""
    moved_at: int = 0
    check_at: int | None = None
    unanswered_since: int | None = None
    reminded_at: int | None = None
    lease_until: int = 0
    """Until then the process that sends it has it for itself."""
