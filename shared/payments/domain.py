"""What may happen to an order and its payments: pure decisions, no I/O, no clock of its own.

A `Story` is everything about one order as one consistent read showed it. Each function takes a
story and returns the story as it should be next; `repository.save(before, after)` writes the
difference in one transaction that holds only if nobody wrote in between. Times are whole seconds
since the epoch, UTC. Amounts are minor units.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Literal

from payments.states import (
    OPEN,
    OPEN_REFUNDS,
    PAID,
    UNPAID,
    OrderStatus,
    PaymentStatus,
    RefundStatus,
    StockStatus,
)
from payments.story import IllegalMove, Order, Payment, Refund, Story

type LateSuccessPolicy = Literal["reserve", "refund", "review"]


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
    return (
        order.status is OrderStatus.PENDING
        and now < order.expires_at
        and not order.cancelling
        and not story.in_review
    )


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
            story = _shut(story, payment, reason, now).with_order(unknown_since=None)
    return story


def _shut(story: Story, payment: Payment, reason: str, now: int) -> Story:
    story = story.with_payment(
        payment.tx_ref, status=PaymentStatus.CLOSED, reason=reason, lease_until=0
    )
    if story.order.live == payment.tx_ref:
        story = story.with_order(live=None)
    return story.tell("payment.closed", now, tx_ref=payment.tx_ref, reason=reason)


def cancel(story: Story) -> Story:
    """The customer does not want a pending order any more: from now on nothing may pay it."""
    if story.order.status is not OrderStatus.PENDING:
        return story
    return story.with_order(cancelling=True)


def end(story: Story, now: int) -> Story:
    """Expire or cancel: give the stock back, once nothing can pay the order any more."""
    order = story.order
    over = order.cancelling or now >= order.expires_at
    if (
        order.status is not OrderStatus.PENDING
        or not over
        or story.open_payments
        or story.in_review
    ):
        return story
    status = OrderStatus.CANCELLED if order.cancelling else OrderStatus.EXPIRED
    after = story.with_order(status=status, stock=StockStatus.RELEASED)
    return after.tell(f"order.{status}", now)


def decide(
    story: Story, tx_ref: str, verification: Verification, now: int, mode: str, rules: Rules
) -> Decision:
    """What Chapa's answer about one payment means. `mode` is ours: `test` or `live`."""
    payment = story.payment(tx_ref)
    if payment is None:
        raise KeyError(tx_ref)
    had_money = verification.said in {Said.PAID, Said.REFUNDED, Said.REVERSED}
    if of_another(payment, verification, mode) and not (had_money and payment.status in UNPAID):
        # Money of something else is for a person to look at; the rest is nonsense.
        return Decision(story, Outcome.UNKNOWN)
    match verification.said:
        case Said.UNKNOWN:
            return Decision(story, Outcome.UNKNOWN)
        case Said.OPEN | Said.FAILED if payment.status in PAID:
            # It was paid once: this is no word about where its money is now.
            return Decision(story, Outcome.UNKNOWN)
        case Said.PAID if payment.status in UNPAID:
            return _paid(story, payment, verification, now, mode, rules)
        case Said.REFUNDED | Said.REVERSED if payment.status in UNPAID:
            # Money came and went before we saw it: nothing to apply, and nothing to guess.
            return _review(story, payment, f"provider says {verification.said}", now)
        case Said.REFUNDED if payment.status in PAID and not _refunding(story, tx_ref):
            after = story.tell("payment.refunded", now, tx_ref=tx_ref, by="provider")
            return Decision(
                _money_gone(after, tx_ref, PaymentStatus.REFUNDED, now), Outcome.APPLIED
            )
        case Said.REFUNDED if payment.status in PAID:
            # By us; the refund itself says when it is done.
            return Decision(trusted(story, tx_ref), Outcome.OPEN)
        case Said.REVERSED if payment.status in PAID:
            return Decision(_reversed(story, tx_ref, now), Outcome.APPLIED)
        case Said.FAILED if payment.status in {PaymentStatus.INITIALIZING, PaymentStatus.PENDING}:
            reason = f"provider says {verification.status}"
            after = story.with_payment(
                payment.tx_ref, status=PaymentStatus.FAILED, reason=reason, lease_until=0
            ).with_order(unknown_since=None)
            return Decision(
                after.tell("payment.failed", now, tx_ref=tx_ref, reason=reason), Outcome.APPLIED
            )
        case _:
            outcome = Outcome.OPEN if payment.status in OPEN else Outcome.DUPLICATE
            return Decision(trusted(story, tx_ref), outcome)


def of_another(payment: Payment, said: Verification, mode: str) -> bool:
    """Whether an answer names another payment than the one that Chapa was asked about.

    Its amount says nothing here: nobody knows what Chapa shows of one that was refunded in part.
    """
    return (
        said.tx_ref not in {None, payment.tx_ref}
        or said.currency not in {None, payment.currency}
        or said.mode not in {None, mode}
    )


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
    price = {"amount": payment.amount, "currency": payment.currency}
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
            "payment.succeeded", now, tx_ref=payment.tx_ref, reference=said.reference, **price
        )
        after = after.tell("order.paid", now, tx_ref=payment.tx_ref, **price)
        return Decision(after, Outcome.APPLIED)

    late = order.status in {OrderStatus.EXPIRED, OrderStatus.CANCELLED}
    if late and rules.late_success == "review":
        return _review(story, payment, f"paid after the order was {order.status}", now, said)

    after = story.with_payment(payment.tx_ref, status=PaymentStatus.SURPLUS, reason=None, **facts)
    after = after.tell(
        "payment.surplus", now, tx_ref=payment.tx_ref, reference=said.reference, **price
    )
    refund = Refund(
        reference=f"late-{payment.tx_ref}",
        tx_ref=payment.tx_ref,
        amount=payment.amount,
        currency=payment.currency,
        created_at=now,
        reason="Paid too late or twice",
    )
    return Decision(request_refund(after, refund, now), Outcome.APPLIED)


def refundable(story: Story, tx_ref: str) -> int:
    """What is left of a payment after all that was, is being or may have been refunded of it."""
    payment = story.payment(tx_ref)
    if payment is None or payment.status not in PAID:
        return 0
    promised = sum(
        r.amount
        for r in story.refunds
        if r.tx_ref == tx_ref and r.status is not RefundStatus.REVERSED
    )
    return (payment.paid_amount or 0) - promised


def request_refund(story: Story, refund: Refund, now: int) -> Story:
    """Owe money back, before Chapa hears of it. The caller has compared it with `refundable`."""
    if refund.amount > refundable(story, refund.tx_ref):
        raise IllegalMove(f"refund {refund.reference} is more than what is left")
    after = replace(story, refunds=(*story.refunds, refund))
    return after.tell(
        "refund.requested",
        now,
        tx_ref=refund.tx_ref,
        refund=refund.reference,
        amount=refund.amount,
        currency=refund.currency,
    )


def try_refund(story: Story, reference: str, now: int, rules: Rules) -> Story:
    """Write ahead that Chapa is about to be asked; others leave the refund alone meanwhile."""
    refund = story.refund(reference)
    if refund is None:
        return story
    return story.with_refund(reference, tries=refund.tries + 1, lease_until=now + rules.lease)


def refund_accepted(story: Story, reference: str, handle: str | None, now: int) -> Story:
    """Chapa has the refund; `handle` is None when only that much is known."""
    refund = story.refund(reference)
    if refund is None or refund.status is not RefundStatus.REQUESTED:
        return story
    after = story.with_refund(reference, status=RefundStatus.PENDING, handle=handle, lease_until=0)
    return after.tell("refund.accepted", now, tx_ref=refund.tx_ref, refund=reference)


def refund_unanswered(story: Story, reference: str, now: int) -> Story:
    """Whether Chapa has it is not known: the same reference is sent again later."""
    refund = story.refund(reference)
    if refund is None or refund.status not in OPEN_REFUNDS:
        return story
    return story.with_refund(reference, lease_until=now)


def refund_review(story: Story, reference: str, reason: str, now: int) -> Story:
    refund = story.refund(reference)
    if refund is None or refund.status not in OPEN_REFUNDS:
        return story
    after = story.with_refund(reference, status=RefundStatus.REVIEW, reason=reason, lease_until=0)
    return after.tell("refund.review", now, tx_ref=refund.tx_ref, refund=reference, reason=reason)


def refund_ended(story: Story, reference: str, said: Said, now: int) -> Story:
    """Chapa says that a refund is final: `refunded` or `reversed`."""
    refund = story.refund(reference)
    if refund is None or refund.status not in OPEN_REFUNDS:
        return story
    facts = {
        "tx_ref": refund.tx_ref,
        "refund": reference,
        "amount": refund.amount,
        "currency": refund.currency,
    }
    if said is Said.REVERSED:
        after = story.with_refund(reference, status=RefundStatus.REVERSED, lease_until=0)
        return after.tell("refund.reversed", now, **facts)
    after = story.with_refund(reference, status=RefundStatus.REFUNDED, lease_until=0)
    after = after.tell("refund.completed", now, **facts)
    payment = after.payment(refund.tx_ref)
    back = [
        r for r in after.refunds if r.tx_ref == refund.tx_ref and r.status is RefundStatus.REFUNDED
    ]
    if payment is None or sum(r.amount for r in back) < (payment.paid_amount or 0):
        return after
    after = after.tell("payment.refunded", now, tx_ref=refund.tx_ref, by="us")
    return _money_gone(
        after,
        refund.tx_ref,
        PaymentStatus.REFUNDED,
        now,
        return_stock=any(r.return_stock for r in back),
    )


def _refunding(story: Story, tx_ref: str) -> bool:
    return any(r.tx_ref == tx_ref for r in story.open_refunds)


def _reversed(story: Story, tx_ref: str, now: int) -> Story:
    for refund in story.open_refunds:
        if refund.tx_ref == tx_ref:
            reason = "the payment itself was reversed"
            story = refund_review(story, refund.reference, reason, now)
    after = story.tell("payment.reversed", now, tx_ref=tx_ref)
    return _money_gone(after, tx_ref, PaymentStatus.REVERSED, now)


def _money_gone(
    story: Story, tx_ref: str, status: PaymentStatus, now: int, *, return_stock: bool = False
) -> Story:
    """All of a payment is with the customer again; the order that it paid goes with it."""
    after = story.with_payment(tx_ref, status=status, in_doubt=False)
    if after.order.paid_by != tx_ref or after.order.status is not OrderStatus.PAID:
        return after
    stock = StockStatus.RELEASED if return_stock else after.order.stock
    after = after.with_order(status=OrderStatus.REFUNDED, stock=stock)
    return after.tell("order.refunded", now, tx_ref=tx_ref, stock_returned=return_stock)


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
    """A look changed nothing: count it, and call a person if the provider was silent for too long.

    For what is open, that is its review. Whatever else waits for an answer waits on, and a person
    is called again each time that it has waited so long.
    """
    order = story.order
    # A last look that got no answer was no look: with it, a success would be lost sight of.
    doubtful = any(payment.in_doubt for payment in story.payments)
    # One that somebody asked for between two others takes the place of neither.
    asked_for = order.nudged_to is not None and order.nudged_to <= now
    last = not (doubtful or story.open_payments or story.open_refunds)
    counts = not last or not (unknown or asked_for)
    since = (order.unknown_since or now) if unknown else None
    nudge = None if asked_for else order.nudged_to
    # Without the look that was just taken: even one that changed nothing is stored, and with it the
    # next one.
    after = story.with_order(
        looks=order.looks + counts, unknown_since=since, nudged_to=nudge, due_at=None
    )
    if since is None or now - since < rules.review_after:
        return after
    after = after.with_order(unknown_since=now)
    if not (after.open_payments or after.open_refunds):
        return after.tell("order.unanswered", now)
    reason = "provider unreachable for too long"
    for payment in after.open_payments:
        after = _review(after, payment, reason, now).story
    for refund in after.open_refunds:
        after = refund_review(after, refund.reference, reason, now)
    return after


def due_at(story: Story, now: int, rules: Rules) -> int | None:
    """When the order should next be looked at; None when nothing more can happen by itself."""
    order = story.order
    doubtful = [payment for payment in story.payments if payment.in_doubt]
    busy: list[Payment | Refund] = [*story.open_payments, *doubtful, *story.open_refunds]
    if busy:
        if any(refund.tries == 0 for refund in story.open_refunds):
            return now  # Money that is owed is paid at once.
        pause = rules.look_after[min(order.looks, len(rules.look_after) - 1)]
        leases = [each.lease_until for each in busy if each.lease_until > now]
        expiry = [order.expires_at] if payable(story, now) else []
        return min([now + pause, *leases, *expiry])
    if order.status is OrderStatus.PENDING and not story.in_review:
        return now if order.cancelling else max(order.expires_at, now)
    if story.unpaid and order.unknown_since is not None:
        return now + rules.look_after[-1]  # What was asked last is still to be answered.
    if story.unpaid and order.looks < len(rules.last_look_after):
        # Shut or parked, but a success may still surface, and its webhook may have been lost.
        return now + rules.last_look_after[order.looks]
    return None


def scheduled(before: Story | None, after: Story, now: int, rules: Rules) -> Story:
    """`after` with the time of its next look. What moved is looked at soon again."""
    if before is not None and _statuses(before) != _statuses(after):
        after = after.with_order(looks=0)
    nudge = after.order.nudged_to if worth_a_look(after) else None
    times = [at for at in (due_at(after, now, rules), nudge) if at is not None]
    return after.with_order(due_at=min(times, default=None), nudged_to=nudge)


def doubted(story: Story, tx_ref: str) -> Story:
    """Somebody says that the money of a paid payment went back: Chapa has to be asked."""
    payment = story.payment(tx_ref)
    if payment is None or payment.status not in PAID or payment.in_doubt:
        return story
    return story.with_payment(tx_ref, in_doubt=True)


def trusted(story: Story, tx_ref: str) -> Story:
    """Chapa was asked, and there is nothing in it."""
    payment = story.payment(tx_ref)
    if payment is None or not payment.in_doubt:
        return story
    return story.with_payment(tx_ref, in_doubt=False)


def nudged(story: Story, at: int) -> Story:
    """Have the order looked at by `at`; the same story when it is due by then anyway."""
    due = story.order.due_at
    if not worth_a_look(story) or (due is not None and due <= at):
        return story
    return story.with_order(due_at=at, nudged_to=at)


def worth_a_look(story: Story) -> bool:
    """Whether there is anything about which Chapa can be asked."""
    return bool(story.to_ask or story.open_refunds)


def not_looked(story: Story, at: int) -> Story:
    """Somebody else asked a moment ago, and may have died with the answer: look again then."""
    return story.with_order(due_at=None, nudged_to=at)


def _statuses(story: Story) -> tuple[object, ...]:
    payments = ((p.tx_ref, p.status) for p in story.payments)
    refunds = ((r.reference, r.status) for r in story.refunds)
    return (story.order.status, *payments, *refunds)
