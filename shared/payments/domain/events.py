"""Every kind of event, and what it carries.

The event's name, its metric, `docs/events.schema.json` and the tables of `docs/events.md` follow
from these classes. Fields hold no personal data of customers. Amounts are minor units here and
decimal strings outside; `since` is in seconds since the epoch here and an ISO 8601 time outside.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, ClassVar, Literal

from payments.domain.aggregate import Event
from payments.domain.records import Order, Payment, Refund

type TxRef = Annotated[str, "our reference of the payment"]
type RefundId = Annotated[str, "our id of the refund"]
type Amount = Annotated[int, "in `currency`"]
type Currency = Annotated[
    str, "`ETB` or `USD`; another one if an operator accepted a payment that came in it"
]
type ProviderReference = Annotated[str | None, "Chapa's id of the payment"]
type Reason = Annotated[str, "why, in words"]
type Reminder = Annotated[bool, "whether it is the daily reminder of a review that is still open"]
type Since = Annotated[int, "since when"]
type Decision = Annotated[str, "what was decided"]
type DecidedBy = Annotated[
    str, "the AWS identity of the operator, or `provider` when the money went back at Chapa"
]


@dataclass(frozen=True)
class SoldLine:
    sku: str
    name: str
    quantity: int
    unit_price: int


@dataclass(frozen=True)
class OrderPlaced(Event):
    """An order exists, and its stock is reserved."""

    name: ClassVar[str] = "order.placed"
    amount: Amount
    currency: Currency


@dataclass(frozen=True)
class OrderPaid(Event):
    """The payment `tx_ref` paid the order; its stock is sold."""

    name: ClassVar[str] = "order.paid"
    tx_ref: TxRef
    amount: Amount
    currency: Currency
    lines: Annotated[
        tuple[SoldLine, ...],
        "what was sold: `sku`, `name`, `quantity` and `unit_price` of each product",
    ]


@dataclass(frozen=True)
class OrderExpired(Event):
    """The order was not paid in time; its stock is available again."""

    name: ClassVar[str] = "order.expired"


@dataclass(frozen=True)
class OrderCancelled(Event):
    """The customer cancelled the unpaid order; its stock is available again."""

    name: ClassVar[str] = "order.cancelled"


@dataclass(frozen=True)
class OrderRefunded(Event):
    """All that was paid for the order went back to the customer, by a refund or a reversal."""

    name: ClassVar[str] = "order.refunded"
    tx_ref: TxRef


@dataclass(frozen=True)
class StockReturned(Event):
    """Units that were sold came back and are available again."""

    name: ClassVar[str] = "stock.returned"
    refund_id: RefundId
    units: Annotated[Mapping[str, int], "units by SKU"]


@dataclass(frozen=True)
class PaymentFailed(Event):
    """Chapa says that the payment failed. The customer may still succeed on the same page."""

    name: ClassVar[str] = "payment.failed"
    tx_ref: TxRef
    reason: Reason


@dataclass(frozen=True)
class PaymentClosed(Event):
    """The payment is closed at Chapa unpaid, or was never opened there."""

    name: ClassVar[str] = "payment.closed"
    tx_ref: TxRef
    reason: Reason


@dataclass(frozen=True)
class PaymentSucceeded(Event):
    """Chapa confirms the payment, or an operator accepted it, and it pays its order."""

    name: ClassVar[str] = "payment.succeeded"
    tx_ref: TxRef
    provider_reference: ProviderReference
    amount: Amount
    currency: Currency


@dataclass(frozen=True)
class PaymentUnapplied(Event):
    """The payment is confirmed, but its order cannot take it. A refund follows."""

    name: ClassVar[str] = "payment.unapplied"
    tx_ref: TxRef
    provider_reference: ProviderReference
    amount: Amount
    currency: Currency


@dataclass(frozen=True)
class PaymentReview(Event):
    """Manual review: a person must decide. Repeated every day until somebody decides."""

    name: ClassVar[str] = "payment.review"
    tx_ref: TxRef
    reason: Reason
    reminder: Reminder = False


@dataclass(frozen=True)
class PaymentUnanswered(Event):
    """Chapa has given no usable answer about the payment for a day. Repeated every day."""

    name: ClassVar[str] = "payment.unanswered"
    tx_ref: TxRef
    since: Since


@dataclass(frozen=True)
class PaymentRefunded(Event):
    """All of the payment went back to the customer."""

    name: ClassVar[str] = "payment.refunded"
    tx_ref: TxRef
    refunded_by: Annotated[
        Literal["us", "provider"], "`us`, or `provider` when nobody here requested the refund"
    ]


@dataclass(frozen=True)
class PaymentReversed(Event):
    """Chapa took the payment back."""

    name: ClassVar[str] = "payment.reversed"
    tx_ref: TxRef


@dataclass(frozen=True)
class PaymentDiffers(Event):
    """Chapa's list differs from our books. Repeated by each comparison that finds it."""

    name: ClassVar[str] = "payment.differs"
    tx_ref: TxRef
    what: Annotated[
        Literal["status", "amount", "currency", "refund", "missing"],
        "what differs; `missing` when Chapa's list does not have the payment",
    ]
    ours: Annotated[str, "what our books have"]
    theirs: Annotated[str, "what Chapa's list has"]


@dataclass(frozen=True)
class PaymentResolved(Event):
    """An operator decided about the payment: `accept`, `refund` or `dismiss`."""

    name: ClassVar[str] = "payment.resolved"
    tx_ref: TxRef
    decision: Decision
    decided_by: DecidedBy
    reason: Reason


@dataclass(frozen=True)
class RefundRequested(Event):
    """The customer is owed a refund."""

    name: ClassVar[str] = "refund.requested"
    refund_id: RefundId
    tx_ref: TxRef
    amount: Amount
    currency: Currency


@dataclass(frozen=True)
class RefundAccepted(Event):
    """Chapa has accepted the refund."""

    name: ClassVar[str] = "refund.accepted"
    refund_id: RefundId
    tx_ref: TxRef


@dataclass(frozen=True)
class RefundCompleted(Event):
    """The customer has the money."""

    name: ClassVar[str] = "refund.completed"
    refund_id: RefundId
    tx_ref: TxRef
    amount: Amount
    currency: Currency


@dataclass(frozen=True)
class RefundReversed(Event):
    """Chapa took the refund back: the money is still owed."""

    name: ClassVar[str] = "refund.reversed"
    refund_id: RefundId
    tx_ref: TxRef
    amount: Amount
    currency: Currency


@dataclass(frozen=True)
class RefundReview(Event):
    """Manual review: Chapa refused the refund. Repeated every day until somebody decides."""

    name: ClassVar[str] = "refund.review"
    refund_id: RefundId
    tx_ref: TxRef
    reason: Reason
    reminder: Reminder = False


@dataclass(frozen=True)
class RefundUnanswered(Event):
    """Chapa has given no usable answer about the refund for a day. Repeated every day."""

    name: ClassVar[str] = "refund.unanswered"
    refund_id: RefundId
    tx_ref: TxRef
    since: Since


@dataclass(frozen=True)
class RefundResolved(Event):
    """A refused refund was decided about: `retry`, `settle` (paid back outside) or `dismiss`."""

    name: ClassVar[str] = "refund.resolved"
    refund_id: RefundId
    tx_ref: TxRef
    decision: Decision
    decided_by: DecidedBy
    reason: Reason


def _kinds(base: type[Event]) -> Iterator[type[Event]]:
    for kind in base.__subclasses__():
        yield kind
        yield from _kinds(kind)


EVENTS: Mapping[str, type[Event]] = {kind.name: kind for kind in _kinds(Event)}


def gives_back(event: Event) -> bool:
    """Whether money went back to the customer by this event, and by no other one."""
    match event:
        case RefundCompleted() | PaymentReversed():
            return True
        case PaymentRefunded():
            # Our refunds have events of their own.
            return event.refunded_by == "provider"
        case _:
            return False


def details(event: Event) -> dict[str, object]:
    """What an event carries, but for its time."""
    return {name: value for name, value in asdict(event).items() if name != "at"}


def order_paid(order: Order, payment: Payment, now: int) -> OrderPaid:
    lines = tuple(
        SoldLine(line.sku, line.name, line.quantity, line.unit_price) for line in order.lines
    )
    return OrderPaid(now, payment.tx_ref, payment.amount, payment.currency, lines)


def refund_requested(refund: Refund, now: int) -> RefundRequested:
    return RefundRequested(now, refund.refund_id, refund.tx_ref, refund.amount, refund.currency)
