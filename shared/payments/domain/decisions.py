"""What may happen to an order and its payments, decided from the aggregate and the clock alone."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from payments.domain import refunds
from payments.domain.aggregate import IllegalMoveError, OrderAggregate
from payments.domain.answers import Outcome, Said, Verification
from payments.domain.events import (
    OrderCancelled,
    OrderExpired,
    OrderPlaced,
    PaymentClosed,
    PaymentFailed,
    PaymentRefunded,
    PaymentResolved,
    PaymentReversed,
    PaymentReview,
    PaymentSucceeded,
    PaymentUnapplied,
    order_paid,
)
from payments.domain.records import Order, Payment
from payments.domain.rules import LateSuccessPolicy, Rules
from payments.domain.states import (
    COUNTED_REFUNDS,
    OPEN,
    OPEN_REFUNDS,
    PAID,
    UNPAID,
    OrderStatus,
    PaymentStatus,
    RefundStatus,
)

ENDED_UNPAID = frozenset({OrderStatus.EXPIRED, OrderStatus.CANCELLED})

PAGE_MARGIN_SECONDS = 120
"""A checkout page with less time left is not handed out: the customer could not finish on it.
And so long after its end a page counts as alive: clocks differ, and answers come late."""

PARTLY_REFUNDED = "provider says refunded, and our refunds are only a part of it"
"""Why a payment is in review; the same answer again says nothing new."""


@dataclass(frozen=True)
class Decision:
    aggregate: OrderAggregate
    outcome: Outcome


def place(order: Order) -> OrderAggregate:
    """A new order; the same write reserves its stock."""
    return OrderAggregate(order).record(OrderPlaced(order.created_at, order.amount, order.currency))


def past_its_time(order: Order, now: int) -> bool:
    """Whether a pending order is to end: its time is over or its customer cancels it."""
    return order.cancelling or now >= order.expires_at


def payable(aggregate: OrderAggregate, now: int) -> bool:
    """Whether a payment of the order may be opened or handed out."""
    order = aggregate.order
    return (
        order.status is OrderStatus.PENDING
        and not past_its_time(order, now)
        and not aggregate.in_review
    )


def begin(
    aggregate: OrderAggregate,
    tx_ref: str,
    provider: str,
    now: int,
    rules: Rules,
    *,
    can_cancel: bool = True,
) -> OrderAggregate:
    """Write ahead: the payment exists, and is the active one, before the provider is called."""
    order = aggregate.order
    payment = Payment(
        tx_ref=tx_ref,
        provider=provider,
        amount=order.amount,
        currency=order.currency,
        created_at=now,
        lease_until=now + rules.lease,
        can_cancel=can_cancel,
    )
    return aggregate.put(payment).put(replace(order, active_tx_ref=tx_ref))


def opened(
    aggregate: OrderAggregate,
    tx_ref: str,
    checkout_url: str,
    now: int,
    page_expires_at: int,
    provider_reference: str | None = None,
) -> OrderAggregate:
    """The provider opened it. No change when the payment was settled or closed meanwhile."""
    payment = aggregate.payment(tx_ref)
    if payment is None or payment.status is not PaymentStatus.INITIALIZING:
        return aggregate
    return aggregate.put(
        replace(
            payment,
            status=PaymentStatus.PENDING,
            checkout_url=checkout_url,
            page_expires_at=page_expires_at,
            provider_reference=provider_reference,
            lease_until=0,
            # An order that was cancelled meanwhile is not kept waiting.
            check_at=payment.check_at if payable(aggregate, now) else now,
        )
    )


def never_opened(aggregate: OrderAggregate, tx_ref: str, reason: str, now: int) -> OrderAggregate:
    """The provider certainly did not open the payment: another may begin at once."""
    payment = aggregate.payment(tx_ref)
    if payment is None or payment.status is not PaymentStatus.INITIALIZING:
        return aggregate
    return _close(aggregate, payment, reason, now)


def maybe_opened(aggregate: OrderAggregate, tx_ref: str, reason: str, now: int) -> OrderAggregate:
    """The provider may have opened the payment, and its page is lost.

    The lease ends now, so that the next caller may close this payment and begin another.
    """
    payment = aggregate.payment(tx_ref)
    if payment is None or payment.status is not PaymentStatus.INITIALIZING:
        return aggregate
    return aggregate.put(replace(payment, lease_until=now, check_at=now, reason=reason))


def page_is_usable(payment: Payment, now: int) -> bool:
    """Whether the customer may be sent to the checkout page of this payment."""
    return payment.status is PaymentStatus.PENDING and (
        payment.page_expires_at is None or now < payment.page_expires_at - PAGE_MARGIN_SECONDS
    )


def page_is_over_at(payment: Payment, rules: Rules) -> int:
    """From when the customer certainly cannot pay any more on the page, known or lost."""
    ends = payment.page_expires_at or payment.created_at + rules.link
    return ends + PAGE_MARGIN_SECONDS


def closable(payment: Payment, now: int, rules: Rules) -> bool:
    """Whether the payment may be closed once it is verified as not paid.

    Without a cancel at the provider its page must be over, unless the shop's rules prefer a late
    success to stock that is held longer than the order lives.
    """
    return (
        payment.can_cancel
        or not rules.hold_until_page_expires
        or now >= page_is_over_at(payment, rules)
    )


def to_close(aggregate: OrderAggregate, now: int, rules: Rules) -> tuple[Payment, ...]:
    """The open payments that must be closed, that can be, and that no other process has.

    All of them when the order cannot be paid any more; else those that no page leads to: their
    page was lost, or a process died while it closed them.
    """
    over = not payable(aggregate, now)
    return tuple(
        p
        for p in aggregate.open_payments
        if now >= p.lease_until
        and closable(p, now, rules)
        and (over or p.status in {PaymentStatus.INITIALIZING, PaymentStatus.CLOSING})
    )


def check_after_lease(until: int, *, early: bool) -> int:
    """When a payment is checked whose lease ends without another decision.

    An early check, which somebody asked for, comes at the end of the lease, any other one a second
    later. So `_close` knows which of them it keeps.
    """
    return until if early else until + 1


def lease(
    aggregate: OrderAggregate, payments: Iterable[Payment], now: int, rules: Rules
) -> OrderAggregate:
    """Take payments for closing; other processes leave them alone until the lease ends."""
    until = now + rules.lease
    for payment in payments:
        early = payment.check_at is not None and payment.check_at > now
        at = check_after_lease(until, early=early)
        aggregate = aggregate.put(
            replace(payment, status=PaymentStatus.CLOSING, lease_until=until, check_at=at)
        )
    return aggregate


def release(aggregate: OrderAggregate, tx_ref: str, now: int) -> OrderAggregate:
    """The payment could not be closed now; the next process may try."""
    payment = aggregate.payment(tx_ref)
    if payment is None or payment.status is not PaymentStatus.CLOSING:
        return aggregate
    return aggregate.put(replace(payment, lease_until=now))


def replaceable(aggregate: OrderAggregate, tx_ref: str, now: int) -> OrderAggregate:
    """The payment is verified as not paid, and its page lives on: another payment may begin.

    Stock stays with the order, and it is paid once: a success of the other payment is owed back.
    """
    payment = aggregate.payment(tx_ref)
    if payment is None or payment.status is not PaymentStatus.CLOSING:
        return aggregate
    return _inactive(release(aggregate, tx_ref, now), payment)


def close(aggregate: OrderAggregate, tx_ref: str, reason: str, now: int) -> OrderAggregate:
    """The payment is closed at the provider and, verified after that, not paid."""
    payment = aggregate.payment(tx_ref)
    if payment is None or payment.status is not PaymentStatus.CLOSING:
        return aggregate
    return _close(aggregate, payment, reason, now)


def _close(aggregate: OrderAggregate, payment: Payment, reason: str, now: int) -> OrderAggregate:
    latest = check_after_lease(payment.lease_until, early=True)
    early = payment.check_at is not None and payment.check_at <= latest
    closed = replace(
        payment,
        status=PaymentStatus.CLOSED,
        reason=reason,
        lease_until=0,
        check_at=payment.check_at if early else None,
    )
    aggregate = _inactive(aggregate.put(closed), payment)
    return aggregate.record(PaymentClosed(now, payment.tx_ref, reason))


def _inactive(aggregate: OrderAggregate, payment: Payment) -> OrderAggregate:
    if aggregate.order.active_tx_ref != payment.tx_ref:
        return aggregate
    return aggregate.put(replace(aggregate.order, active_tx_ref=None))


def still_in_grace(payment: Payment, said: Said, now: int, rules: Rules) -> bool:
    """Whether a payment may still be paid though its cancel succeeded or its page is over.

    The provider calls it pending: a wallet may be asking the customer right now.
    """
    return said is Said.PENDING and now < payment.moved_at + rules.pending_grace


def cancel(aggregate: OrderAggregate) -> OrderAggregate:
    """The customer does not want a pending order any more: from now on nothing may pay it."""
    if aggregate.order.status is not OrderStatus.PENDING or aggregate.order.cancelling:
        return aggregate
    return aggregate.put(replace(aggregate.order, cancelling=True))


def end(aggregate: OrderAggregate, now: int) -> OrderAggregate:
    """Expire or cancel the order, once nothing can pay it any more; its stock is released."""
    order = aggregate.order
    if (
        order.status is not OrderStatus.PENDING
        or not past_its_time(order, now)
        or aggregate.open_payments
        or aggregate.in_review
    ):
        return aggregate
    if order.cancelling:
        return aggregate.put(replace(order, status=OrderStatus.CANCELLED)).record(
            OrderCancelled(now)
        )
    return aggregate.put(replace(order, status=OrderStatus.EXPIRED)).record(OrderExpired(now))


def decide(
    aggregate: OrderAggregate,
    tx_ref: str,
    answer: Verification,
    now: int,
    mode: str,
    late_success: LateSuccessPolicy,
) -> Decision:
    """What the provider's answer about one payment means. `mode` is ours: `test` or `live`."""
    payment = aggregate.known_payment(tx_ref)
    unpaid = payment.status in UNPAID
    has_money = answer.said in {Said.PAID, Said.REFUNDED, Said.REVERSED}
    if names_another(payment, answer, mode) and not (has_money and unpaid):
        return Decision(aggregate, Outcome.UNANSWERED)
    match answer.said:
        case Said.UNKNOWN:
            return Decision(aggregate, Outcome.UNANSWERED)
        case Said.PAID if unpaid:
            return _paid(aggregate, payment, answer, now, mode, late_success)
        case Said.REFUNDED | Said.REVERSED if unpaid:
            return _returned_unseen(aggregate, payment, answer, now)
        case Said.REFUNDED if payment.status in PAID:
            return _refunded(aggregate, payment, now)
        case Said.REVERSED if payment.status in PAID:
            return Decision(_reversed(aggregate, payment, now), Outcome.APPLIED)
        case Said.NOT_PAID | Said.PENDING | Said.FAILED if payment.status in PAID:
            # It was paid. An answer that denies it does not say where the money is.
            return Decision(aggregate, Outcome.UNANSWERED)
        case Said.FAILED if payment.status in {PaymentStatus.INITIALIZING, PaymentStatus.PENDING}:
            reason = f"provider says {answer.status}"
            failed = replace(payment, status=PaymentStatus.FAILED, reason=reason, lease_until=0)
            return Decision(
                aggregate.put(failed).record(PaymentFailed(now, tx_ref, reason)), Outcome.APPLIED
            )
        case _:
            return Decision(
                aggregate, Outcome.OPEN if payment.status in OPEN else Outcome.DUPLICATE
            )


def names_another(payment: Payment, answer: Verification, mode: str) -> bool:
    """Whether an answer names another payment than the one that was asked about.

    The amount is not compared: what Chapa shows of a payment that was refunded in part is unknown.
    """
    return (
        answer.tx_ref not in {None, payment.tx_ref}
        or answer.currency not in {None, payment.paid_currency or payment.currency}
        or answer.mode not in {None, mode}
    )


def _paid(
    aggregate: OrderAggregate,
    payment: Payment,
    answer: Verification,
    now: int,
    mode: str,
    late_success: LateSuccessPolicy,
) -> Decision:
    wrong = [
        name
        for name, theirs, ours in (
            ("tx_ref", answer.tx_ref, payment.tx_ref),
            ("amount", answer.amount, payment.amount),
            ("currency", answer.currency, payment.currency),
            ("mode", answer.mode, mode),
        )
        if theirs != ours
    ]
    if not answer.provider_reference:
        wrong.append("provider_reference")
    # What Chapa shows of a payment that was refunded in part is not known.
    counted = aggregate.refunds_of(payment.tx_ref)
    facts = replace(
        payment,
        provider_reference=answer.provider_reference or payment.provider_reference,
        paid_amount=payment.paid_amount if counted else answer.amount,
        paid_currency=answer.currency,
        fee=payment.fee if answer.fee is None else answer.fee,
        paid_at=payment.paid_at or now,
    )
    if wrong:
        return _review(aggregate, facts, f"not as requested: {', '.join(wrong)}", now)
    order = aggregate.order
    if order.status in ENDED_UNPAID and late_success == "review":
        return _review(aggregate, facts, f"paid after the order was {order.status.value}", now)
    if can_take(order, facts) and (order.status not in ENDED_UNPAID or late_success == "reserve"):
        return Decision(_applied(aggregate, facts, now), Outcome.APPLIED)
    return Decision(unapply(aggregate, facts, "Paid too late or twice", now), Outcome.APPLIED)


def can_take(order: Order, payment: Payment) -> bool:
    """Whether the order is not paid yet, or is paid by this very payment."""
    if order.status is OrderStatus.PAID:
        return order.paid_by == payment.tx_ref
    return order.status is not OrderStatus.REFUNDED


def _applied(aggregate: OrderAggregate, payment: Payment, now: int) -> OrderAggregate:
    """The payment pays its order; an ended order takes its stock again with the same write."""
    aggregate = aggregate.put(
        replace(payment, status=PaymentStatus.SUCCEEDED, reason=None, lease_until=0)
    ).record(
        PaymentSucceeded(
            now,
            payment.tx_ref,
            payment.provider_reference,
            # What was paid; an operator may accept less than was asked for.
            payment.amount if payment.paid_amount is None else payment.paid_amount,
            payment.paid_currency or payment.currency,
        )
    )
    order = aggregate.order
    if order.status is OrderStatus.PAID:
        return aggregate
    return aggregate.put(
        replace(order, status=OrderStatus.PAID, paid_by=payment.tx_ref, active_tx_ref=None)
    ).record(order_paid(order, payment, now))


def unapply(aggregate: OrderAggregate, payment: Payment, reason: str, now: int) -> OrderAggregate:
    """The order cannot take the money: what was really paid is owed back."""
    aggregate = _inactive(
        aggregate.put(replace(payment, status=PaymentStatus.UNAPPLIED, reason=None, lease_until=0)),
        payment,
    )
    aggregate = aggregate.record(
        PaymentUnapplied(
            now,
            payment.tx_ref,
            payment.provider_reference,
            payment.paid_amount or 0,
            payment.paid_currency or payment.currency,
        )
    )
    return refunds.owe_back(aggregate, payment, reason, now)


def _returned_unseen(
    aggregate: OrderAggregate, payment: Payment, answer: Verification, now: int
) -> Decision:
    """The money went back, and the payment was not applied."""
    reason = f"provider says {answer.said.value}"
    if payment.status is not PaymentStatus.REVIEW:
        # It came and went before we saw it.
        return _review(aggregate, payment, reason, now)
    if answer.tx_ref not in {None, payment.tx_ref}:
        return Decision(aggregate, Outcome.UNANSWERED)
    known = {reason, PARTLY_REFUNDED} if answer.said is Said.REFUNDED else {reason}
    if payment.reason in known:
        return Decision(aggregate, Outcome.DUPLICATE)
    return Decision(_returned(aggregate, payment, answer.said, now), Outcome.APPLIED)


def _returned(aggregate: OrderAggregate, payment: Payment, said: Said, now: int) -> OrderAggregate:
    if said is Said.REVERSED:
        return _reversed(aggregate, payment, now)
    for refund in aggregate.refunds_of(payment.tx_ref):
        if refund.status is RefundStatus.REVIEW:
            aggregate = refunds.dismiss(
                aggregate, refund, "provider", "the payment was refunded at the provider", now
            )
    return refunds.money_returned(
        _inactive(aggregate, payment).record(PaymentRefunded(now, payment.tx_ref, "provider")),
        payment,
        PaymentStatus.REFUNDED,
        now,
    )


def _refunded(aggregate: OrderAggregate, payment: Payment, now: int) -> Decision:
    ours = [
        r for r in aggregate.refunds_of(payment.tx_ref) if r.amount and r.status in COUNTED_REFUNDS
    ]
    if any(r.status in OPEN_REFUNDS for r in ours):
        # By us; the check of the refund itself says when it is done.
        return Decision(aggregate, Outcome.OPEN)
    if not ours:
        return Decision(_returned(aggregate, payment, Said.REFUNDED, now), Outcome.APPLIED)
    return _review(aggregate, payment, PARTLY_REFUNDED, now)


def _reversed(aggregate: OrderAggregate, payment: Payment, now: int) -> OrderAggregate:
    for refund in aggregate.refunds_of(payment.tx_ref):
        if refund.status in OPEN_REFUNDS:
            reason = "the payment itself was reversed"
            aggregate = refunds.refused(aggregate, refund.refund_id, reason, now)
    return refunds.money_returned(
        _inactive(aggregate, payment).record(PaymentReversed(now, payment.tx_ref)),
        payment,
        PaymentStatus.REVERSED,
        now,
    )


def _review(aggregate: OrderAggregate, payment: Payment, reason: str, now: int) -> Decision:
    known = aggregate.payment(payment.tx_ref)
    if known and known.status is PaymentStatus.REVIEW and known.reason == reason:
        return Decision(aggregate, Outcome.DUPLICATE)
    reviewed = replace(payment, status=PaymentStatus.REVIEW, reason=reason, lease_until=0)
    return Decision(
        aggregate.put(reviewed).record(PaymentReview(now, payment.tx_ref, reason)),
        Outcome.APPLIED,
    )


RESOLVABLE = OPEN | {PaymentStatus.REVIEW}
"""Payments that an operator may decide about."""


def accept(
    aggregate: OrderAggregate, payment: Payment, by: str, reason: str, now: int
) -> OrderAggregate:
    """An operator has a payment pay its order, whatever its facts are, if `can_take`."""
    if not can_take(aggregate.order, payment):
        raise IllegalMoveError(f"order {aggregate.order.order_id} cannot take {payment.tx_ref}")
    accepted = replace(
        payment,
        accepted_by=by,
        paid_amount=payment.amount if payment.paid_amount is None else payment.paid_amount,
        paid_currency=payment.paid_currency or payment.currency,
        paid_at=payment.paid_at or now,
    )
    return _applied(
        aggregate.record(PaymentResolved(now, payment.tx_ref, "accept", by, reason)),
        accepted,
        now,
    )


def give_back(
    aggregate: OrderAggregate, payment: Payment, by: str, reason: str, now: int
) -> OrderAggregate:
    """An operator has what was really paid refunded. The caller knows that something was paid."""
    aggregate = aggregate.record(PaymentResolved(now, payment.tx_ref, "refund", by, reason))
    if aggregate.order.paid_by == payment.tx_ref:
        return refunds.owe_back(_applied(aggregate, payment, now), payment, reason, now)
    return unapply(aggregate, payment, reason, now)


def dismiss(
    aggregate: OrderAggregate, payment: Payment, said: Said, by: str, reason: str, now: int
) -> OrderAggregate:
    """An operator decides that no money came, or that it went back already, as `said` says."""
    aggregate = aggregate.record(PaymentResolved(now, payment.tx_ref, "dismiss", by, reason))
    went_back = said in {Said.REFUNDED, Said.REVERSED}
    if payment.status is PaymentStatus.REVIEW and (
        went_back or aggregate.order.paid_by == payment.tx_ref
    ):
        return end(_returned(aggregate, payment, said, now), now)
    return end(_close(aggregate, payment, "dismissed by an operator", now), now)
