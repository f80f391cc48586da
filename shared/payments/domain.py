"""What may happen to an order and its payments: pure decisions, no I/O, no clock of its own.

A `Story` is everything about one order as one consistent read showed it. Each function takes a
story and returns the story as it should be next; `repository.save(before, after)` writes the
difference in one transaction that holds only if nobody wrote in between. Times are whole seconds
since the epoch, UTC. Amounts are minor units.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Literal

from payments.states import (
    OPEN,
    ORDER_MOVES,
    PAYMENT_MOVES,
    STOCK_MOVES,
    UNPAID,
    OrderStatus,
    PaymentStatus,
    RefundStatus,
    StockStatus,
)

type LateSuccessPolicy = Literal["reserve", "refund", "review"]


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


@dataclass(frozen=True)
class Refund:
    """Money owed back. `reference` is ours, and the same on every try."""

    reference: str
    tx_ref: str
    amount: int
    currency: str
    created_at: int
    status: RefundStatus = RefundStatus.REQUESTED


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

    @property
    def unpaid(self) -> tuple[Payment, ...]:
        return tuple(p for p in self.payments if p.status in UNPAID)

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

    def tell(self, name: str, at: int, **details: Any) -> "Story":
        return replace(self, news=(*self.news, Event(name, at, details)))


def _check[S: StrEnum](moves: Mapping[S, frozenset[S]], before: S, after: S) -> None:
    if after is not before and after not in moves[before]:
        raise IllegalMove(f"{type(before).__name__}: {before} → {after}")


@dataclass(frozen=True)
class Rules:
    """The numbers of the domain, set by the operator. All times in seconds."""

    order_ttl: int
    lease: int
    look_after: tuple[int, ...]
    """How long to wait before each further look at something open; the last one repeats."""
    last_look_after: tuple[int, ...]
    """Looks at closed payments of a finished order, for a late success that nobody reported."""
    review_after: int
    late_success: LateSuccessPolicy


class Said(StrEnum):
    """What Chapa's verify comes down to."""

    PAID = "paid"
    FAILED = "failed"
    OPEN = "open"
    REFUNDED = "refunded"
    REVERSED = "reversed"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Verification:
    """Chapa's answer about one payment. The facts are None where the answer had none to read."""

    said: Said
    tx_ref: str | None = None
    amount: int | None = None
    currency: str | None = None
    mode: str | None = None
    reference: str | None = None
    status: str | None = None
    """The provider's own word, for the logs."""


class Outcome(StrEnum):
    APPLIED = "applied"
    DUPLICATE = "duplicate"
    """Nothing to do: it was done before."""
    OPEN = "open"
    """Nothing to do yet: not paid, not failed."""
    UNKNOWN = "unknown"
    """The provider could not be asked, or made no sense."""
    NOT_ASKED = "not_asked"
    """Somebody asked a moment ago; to ask again so soon would only burden the provider."""


@dataclass(frozen=True)
class Decision:
    story: Story
    outcome: Outcome


def place(order: Order) -> Story:
    """A new order, with its stock reserved by the same write."""
    return Story(order).tell(
        "order.placed", order.created_at, amount=order.amount, currency=order.currency
    )


def payable(story: Story, now: int) -> bool:
    """Whether a payment for the order may be begun or handed out."""
    order = story.order
    return order.status is OrderStatus.PENDING and now < order.expires_at and not story.in_review


def begin(story: Story, tx_ref: str, now: int, rules: Rules) -> Story:
    """Write ahead: the payment exists, and is the order's live one, before Chapa hears of it."""
    order = story.order
    payment = Payment(
        tx_ref=tx_ref,
        amount=order.amount,
        currency=order.currency,
        created_at=now,
        lease_until=now + rules.lease,
    )
    after = replace(story, payments=(*story.payments, payment)).with_order(live=tx_ref)
    return after.tell(
        "payment.initializing", now, tx_ref=tx_ref, amount=order.amount, currency=order.currency
    )


def opened(story: Story, tx_ref: str, checkout_url: str, now: int) -> Story:
    """Chapa answered. Changes nothing when the payment was settled or closed meanwhile."""
    payment = story.payment(tx_ref)
    if payment is None or payment.status is not PaymentStatus.INITIALIZING:
        return story
    after = story.with_payment(
        tx_ref, status=PaymentStatus.PENDING, checkout_url=checkout_url, lease_until=0
    )
    return after.tell("payment.pending", now, tx_ref=tx_ref)


def never_opened(story: Story, tx_ref: str, reason: str, now: int) -> Story:
    """Chapa certainly did not open the payment: it can be forgotten, and another begun at once."""
    payment = story.payment(tx_ref)
    if payment is None or payment.status is not PaymentStatus.INITIALIZING:
        return story
    return _shut(story, payment, reason, now)


def lost(story: Story, tx_ref: str, reason: str, now: int) -> Story:
    """Whether Chapa opened the payment is not known, and its URL cannot be fetched again.

    The lease ends now, so that the next caller may close this payment and begin another.
    """
    payment = story.payment(tx_ref)
    if payment is None or payment.status is not PaymentStatus.INITIALIZING:
        return story
    return story.with_payment(tx_ref, lease_until=now, reason=reason)


def to_close(story: Story, now: int) -> tuple[Payment, ...]:
    """The open payments that must be made impossible at Chapa, and that nobody else is at.

    All of them when the order cannot be paid any more; else those that no page leads to: their
    URL was lost, or somebody died while closing them.
    """
    over = not payable(story, now)
    return tuple(
        p
        for p in story.open_payments
        if now >= p.lease_until
        and (over or p.status in {PaymentStatus.INITIALIZING, PaymentStatus.CLOSING})
    )


def lease(story: Story, payments: Iterable[Payment], now: int, rules: Rules) -> Story:
    """Take payments for closing; whoever finds them so leaves them alone until the lease ends."""
    for payment in payments:
        story = story.with_payment(
            payment.tx_ref, status=PaymentStatus.CLOSING, lease_until=now + rules.lease
        )
    return story


def let_go(story: Story, tx_refs: Iterable[str], now: int) -> Story:
    """Closing did not work out; whoever comes next may try."""
    for tx_ref in tx_refs:
        payment = story.payment(tx_ref)
        if payment is not None and payment.status is PaymentStatus.CLOSING:
            story = story.with_payment(tx_ref, lease_until=now)
    return story


def close(story: Story, tx_refs: Iterable[str], reason: str, now: int) -> Story:
    """These payments are shut at Chapa and, asked once more after that, unpaid."""
    for tx_ref in tx_refs:
        payment = story.payment(tx_ref)
        if payment is not None and payment.status is PaymentStatus.CLOSING:
            story = _shut(story, payment, reason, now)
    return story


def _shut(story: Story, payment: Payment, reason: str, now: int) -> Story:
    story = story.with_payment(
        payment.tx_ref, status=PaymentStatus.CLOSED, reason=reason, lease_until=0
    )
    if story.order.live == payment.tx_ref:
        story = story.with_order(live=None)
    return story.tell("payment.closed", now, tx_ref=payment.tx_ref, reason=reason)


def expire(story: Story, now: int) -> Story:
    """Give the stock back, once nothing can pay the order any more."""
    order = story.order
    if (
        order.status is not OrderStatus.PENDING
        or now < order.expires_at
        or story.open_payments
        or story.in_review
    ):
        return story
    after = story.with_order(status=OrderStatus.EXPIRED, stock=StockStatus.RELEASED)
    return after.tell("order.expired", now)


def decide(
    story: Story, tx_ref: str, verification: Verification, now: int, mode: str, rules: Rules
) -> Decision:
    """What Chapa's answer about one payment means. `mode` is ours: `test` or `live`."""
    payment = story.payment(tx_ref)
    if payment is None:
        raise KeyError(tx_ref)
    match verification.said:
        case Said.UNKNOWN:
            return Decision(story, Outcome.UNKNOWN)
        case Said.PAID if payment.status in UNPAID:
            return _paid(story, payment, verification, now, mode, rules)
        case Said.REFUNDED | Said.REVERSED if payment.status in UNPAID:
            # Money came and went before we saw it: nothing to apply, and nothing to guess.
            return _review(story, payment, f"provider says {verification.said}", now)
        case Said.FAILED if payment.status in {PaymentStatus.INITIALIZING, PaymentStatus.PENDING}:
            reason = f"provider says {verification.status}"
            after = story.with_payment(
                payment.tx_ref, status=PaymentStatus.FAILED, reason=reason, lease_until=0
            ).with_order(unknown_since=None)
            return Decision(
                after.tell("payment.failed", now, tx_ref=tx_ref, reason=reason), Outcome.APPLIED
            )
        case _:
            return Decision(story, Outcome.OPEN if payment.status in OPEN else Outcome.DUPLICATE)


def _paid(
    story: Story, payment: Payment, said: Verification, now: int, mode: str, rules: Rules
) -> Decision:
    ours = {
        "tx_ref": payment.tx_ref,
        "amount": payment.amount,
        "currency": payment.currency,
        "mode": mode,
    }
    wrong = [name for name, value in ours.items() if getattr(said, name) != value]
    if not said.reference:
        wrong.append("reference")
    if wrong:
        return _review(story, payment, f"not as asked: {', '.join(wrong)}", now, said)

    order = story.order
    facts = {"reference": said.reference, "paid_amount": said.amount, "lease_until": 0}
    if order.status is OrderStatus.PENDING or (
        order.status in {OrderStatus.EXPIRED, OrderStatus.CANCELLED}
        and rules.late_success == "reserve"
    ):
        # From `released`, committing takes the stock again, and the write fails if some is gone.
        after = story.with_payment(
            payment.tx_ref, status=PaymentStatus.SUCCEEDED, reason=None, **facts
        ).with_order(
            status=OrderStatus.PAID, stock=StockStatus.COMMITTED, paid_by=payment.tx_ref, live=None
        )
        after = after.tell(
            "payment.succeeded", now, tx_ref=payment.tx_ref, reference=said.reference
        )
        return Decision(after.tell("order.paid", now, tx_ref=payment.tx_ref), Outcome.APPLIED)

    late = order.status in {OrderStatus.EXPIRED, OrderStatus.CANCELLED}
    if late and rules.late_success == "review":
        return _review(story, payment, f"paid after the order was {order.status}", now, said)

    refund = Refund(
        reference=f"late-{payment.tx_ref}",
        tx_ref=payment.tx_ref,
        amount=payment.amount,
        currency=payment.currency,
        created_at=now,
    )
    after = story.with_payment(payment.tx_ref, status=PaymentStatus.SURPLUS, reason=None, **facts)
    after = replace(after, refunds=(*after.refunds, refund))
    after = after.tell("payment.surplus", now, tx_ref=payment.tx_ref, reference=said.reference)
    after = after.tell(
        "refund.requested",
        now,
        tx_ref=payment.tx_ref,
        refund=refund.reference,
        amount=refund.amount,
    )
    return Decision(after, Outcome.APPLIED)


def _review(
    story: Story, payment: Payment, reason: str, now: int, said: Verification | None = None
) -> Decision:
    if payment.status is PaymentStatus.REVIEW and payment.reason == reason:
        return Decision(story, Outcome.DUPLICATE)
    after = story.with_payment(
        payment.tx_ref,
        status=PaymentStatus.REVIEW,
        reason=reason,
        lease_until=0,
        reference=said.reference if said else payment.reference,
        paid_amount=said.amount if said else payment.paid_amount,
    )
    return Decision(
        after.tell("payment.review", now, tx_ref=payment.tx_ref, reason=reason), Outcome.APPLIED
    )


def looked(story: Story, now: int, *, unknown: bool, rules: Rules) -> Story:
    """A look changed nothing: count it, and give up on a provider that was silent for too long."""
    order = story.order
    # A last look that got no answer was no look: with it, a success would be lost sight of.
    counts = not unknown or bool(story.open_payments)
    since = (order.unknown_since or now) if unknown else None
    nudge = order.nudged_to if order.nudged_to is not None and order.nudged_to > now else None
    after = story.with_order(looks=order.looks + counts, unknown_since=since, nudged_to=nudge)
    if since is not None and now - since >= rules.review_after:
        for payment in after.open_payments:
            after = _review(after, payment, "provider unreachable for too long", now).story
    return after


def due_at(story: Story, now: int, rules: Rules) -> int | None:
    """When the order should next be looked at; None when nothing more can happen by itself."""
    order = story.order
    if story.open_payments:
        pause = rules.look_after[min(order.looks, len(rules.look_after) - 1)]
        leases = [p.lease_until for p in story.open_payments if p.lease_until > now]
        expiry = [order.expires_at] if payable(story, now) else []
        return min([now + pause, *leases, *expiry])
    if order.status is OrderStatus.PENDING and not story.in_review:
        return max(order.expires_at, now)
    if story.unpaid and order.looks < len(rules.last_look_after):
        # Shut or parked, but a success may still surface, and its webhook may have been lost.
        return now + rules.last_look_after[order.looks]
    return None


def scheduled(before: Story | None, after: Story, now: int, rules: Rules) -> Story:
    """`after` with the time of its next look. What moved is looked at soon again."""
    if before is not None and _statuses(before) != _statuses(after):
        after = after.with_order(looks=0)
    due = due_at(after, now, rules)
    if due is None:
        return after.with_order(due_at=None, nudged_to=None)
    nudge = after.order.nudged_to
    return after.with_order(due_at=due if nudge is None else min(due, nudge))


def nudged(story: Story, at: int) -> Story:
    """Have the order looked at by `at`; the same story when it is due by then anyway."""
    due = story.order.due_at
    if not story.unpaid or (due is not None and due <= at):
        return story
    return story.with_order(due_at=at, nudged_to=at)


def _statuses(story: Story) -> tuple[object, ...]:
    return (story.order.status, *((p.tx_ref, p.status) for p in story.payments))
