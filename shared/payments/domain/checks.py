"""When the provider is asked next about each payment and refund, and when the order is due.

Time is kept where the question is. The pause until the next check follows from the age since the
status last changed. The order is due at the earliest of its checks and, while it is pending, when
its time is over.
"""

from dataclasses import replace

from payments.domain.aggregate import OrderAggregate
from payments.domain.answers import Outcome
from payments.domain.decisions import (
    check_after_lease,
    page_is_over_at,
    past_its_time,
    payable,
)
from payments.domain.events import (
    PaymentReview,
    PaymentUnanswered,
    RefundReview,
    RefundUnanswered,
)
from payments.domain.records import Order, Payment, Refund
from payments.domain.rules import Rules, pause_at
from payments.domain.states import (
    OPEN,
    OPEN_REFUNDS,
    PAID,
    UNPAID,
    OrderStatus,
    PaymentStatus,
    RefundStatus,
)


def payments_to_check(aggregate: OrderAggregate, now: int) -> tuple[Payment, ...]:
    """Payments about which the provider is to be asked now, the most promising first.

    Before an order ends, all that may have been paid.
    """
    ends = (
        aggregate.order.status is OrderStatus.PENDING
        and past_its_time(aggregate.order, now)
        and not aggregate.in_review
    )
    due = [
        p
        for p in aggregate.payments
        if p.check_at is not None and p.lease_until <= now and (p.check_at <= now or ends)
    ]
    active = aggregate.order.active_tx_ref
    return tuple(sorted(due, key=lambda p: (p.tx_ref != active, p.status not in OPEN)))


def refunds_to_check(aggregate: OrderAggregate, now: int) -> tuple[Refund, ...]:
    """Refunds that are to be sent, asked about or reminded of now."""
    return tuple(
        r
        for r in aggregate.refunds
        if r.check_at is not None and r.check_at <= now and r.lease_until <= now
    )


def check_by(
    aggregate: OrderAggregate, tx_ref: str, at: int, *, paid_too: bool = False
) -> OrderAggregate:
    """An early check of a payment and of its open refunds, at this time at the latest.

    With `paid_too` also of a paid payment: a possible reversal.
    """
    payment = aggregate.payment(tx_ref)
    if payment is not None and payment.status in (UNPAID | PAID if paid_too else UNPAID):
        # The process that opens or closes it is left alone until its lease ends.
        soon = max(at, payment.lease_until)
        if payment.check_at is None or payment.check_at > soon:
            aggregate = aggregate.put(replace(payment, check_at=soon))
    for refund in aggregate.open_refunds:
        soon = max(at, refund.lease_until)
        if refund.tx_ref == tx_ref and (refund.check_at is None or refund.check_at > soon):
            aggregate = aggregate.put(replace(refund, check_at=soon))
    return aggregate


def payment_checked(
    aggregate: OrderAggregate, tx_ref: str, outcome: Outcome, now: int, rules: Rules
) -> OrderAggregate:
    """The payment was checked: when is the next check, and must an operator know?"""
    payment = aggregate.payment(tx_ref)
    if payment is None or payment.check_at is None:
        return aggregate
    if outcome is Outcome.NOT_ASKED:
        # Another process asked a moment ago; it may have died with the answer.
        at = max(now + rules.verify_every, payment.lease_until)
        return aggregate.put(replace(payment, check_at=at))
    remind = _overdue(payment, outcome, now, rules)
    if outcome is Outcome.UNANSWERED:
        since = payment.unanswered_since or now
        # Of what is closed nothing new is likely: once an hour is enough.
        pauses = rules.check_after if payment.status in OPEN | PAID else rules.check_after[-1:]
        checked = replace(
            payment, unanswered_since=since, check_at=now + pause_at(now - since, pauses)
        )
        event = PaymentUnanswered(now, tx_ref, since)
    else:
        checked = replace(
            payment, unanswered_since=None, check_at=next_payment_check(payment, now, rules)
        )
        event = None
    checked = replace(checked, check_at=_by_the_end(aggregate.order, checked, now))
    if payment.status is PaymentStatus.REVIEW and remind:
        aggregate = aggregate.record(
            PaymentReview(now, tx_ref, payment.reason or "", reminder=True)
        )
    elif remind and event:
        aggregate = aggregate.record(event)
    return aggregate.put(replace(checked, reminded_at=now) if remind else checked)


def refund_checked(
    aggregate: OrderAggregate, refund_id: str, outcome: Outcome, now: int, rules: Rules
) -> OrderAggregate:
    """The refund was sent or asked about; one in manual review is only reminded of."""
    refund = aggregate.refund(refund_id)
    if refund is None or refund.check_at is None or refund.lease_until > now:
        return aggregate
    if outcome is Outcome.NOT_ASKED:
        return aggregate
    remind = _overdue(refund, outcome, now, rules)
    if refund.status is RefundStatus.REVIEW:
        checked = replace(refund, check_at=now + rules.unanswered_after)
        if remind:
            aggregate = aggregate.record(
                RefundReview(now, refund_id, refund.tx_ref, refund.refusal or "", reminder=True)
            )
    elif outcome is Outcome.UNANSWERED:
        since = refund.unanswered_since or now
        pause = pause_at(now - since, rules.check_after)
        checked = replace(refund, unanswered_since=since, check_at=now + pause)
        if remind:
            aggregate = aggregate.record(RefundUnanswered(now, refund_id, refund.tx_ref, since))
    else:
        checked = replace(
            refund, unanswered_since=None, check_at=next_refund_check(refund, now, rules)
        )
    return aggregate.put(replace(checked, reminded_at=now) if remind else checked)


def _overdue(record: Payment | Refund, outcome: Outcome, now: int, rules: Rules) -> bool:
    """Whether an operator is to be alarmed: a review or an unanswered question lasts for a day."""
    if record.status in {PaymentStatus.REVIEW, RefundStatus.REVIEW}:
        since = record.moved_at
    elif outcome is Outcome.UNANSWERED:
        since = record.unanswered_since or now
    else:
        return False
    return now - max(since, record.reminded_at or 0) >= rules.unanswered_after


def next_payment_check(payment: Payment, now: int, rules: Rules) -> int | None:
    """When the provider may next have something new to say; None when it may not."""
    age = now - payment.moved_at
    if payment.lease_until > now:
        at = check_after_lease(payment.lease_until, early=False)
        if payment.status is PaymentStatus.INITIALIZING:
            # The first check of the payment that is being opened: opening it moves nothing then.
            return max(at, now + rules.check_after[0])
        return at
    if payment.status in OPEN:
        at = now + pause_at(age, rules.check_after)
        # It is closed as soon as it can be.
        ends = [] if payment.can_cancel else [page_is_over_at(payment, rules)]
        if payment.status is PaymentStatus.CLOSING:
            ends.append(payment.moved_at + rules.pending_grace)
        return min([at, *(end for end in ends if end > now)])
    if payment.status is PaymentStatus.REVIEW:
        return now + min(rules.unanswered_after, rules.check_after[-1])
    if payment.status is PaymentStatus.CLOSED:
        # A success may still come, and its webhook may be lost.
        pause = pause_at(age, (*rules.final_check_after, 0))
        return now + pause if pause else None
    return None


def _by_the_end(order: Order, payment: Payment, now: int) -> int | None:
    """Its next check. An open payment is checked, and then closed, when its order ends."""
    at = payment.check_at
    ends = order.status is OrderStatus.PENDING and now < order.expires_at
    if at is None or not ends or payment.status not in OPEN:
        return at
    return min(at, max(order.expires_at, payment.lease_until))


def next_refund_check(refund: Refund, now: int, rules: Rules) -> int | None:
    if refund.status is RefundStatus.REVIEW:
        return now + rules.unanswered_after
    if refund.status not in OPEN_REFUNDS:
        return None
    if refund.status is RefundStatus.REQUESTED and not refund.sends:
        return now  # Money that is owed is paid back at once.
    return now + pause_at(now - refund.moved_at, rules.check_after)


def due_at(aggregate: OrderAggregate, now: int) -> int | None:
    """When the order needs the worker next; None when nothing more happens by itself."""
    order = aggregate.order
    times = [p.check_at for p in aggregate.payments if p.check_at is not None]
    times += [r.check_at for r in aggregate.refunds if r.check_at is not None]
    may_end = order.status is OrderStatus.PENDING and not aggregate.in_review
    if may_end and (payable(aggregate, now) or not aggregate.open_payments):
        times.append(now if order.cancelling else max(now, order.expires_at))
    return min(times, default=None)


def schedule(
    before: OrderAggregate | None, after: OrderAggregate, now: int, rules: Rules
) -> OrderAggregate:
    """`after` with the times of what changed its status, and with the order's due time.

    While a process has a payment for itself, the order may be due too early: it moves its due time
    when it is done, and each move costs two writes of the index.
    """
    for payment in after.payments:
        old = before.payment(payment.tx_ref) if before else None
        if old is not None and old.status is payment.status:
            continue
        moved = replace(payment, moved_at=now, unanswered_since=None, reminded_at=None)
        first = next_payment_check(moved, now, rules)
        if first is not None and payment.check_at is not None:
            first = min(first, payment.check_at)  # An early check is kept.
        scheduled = replace(moved, check_at=first)
        after = after.put(replace(scheduled, check_at=_by_the_end(after.order, scheduled, now)))
    for refund in after.refunds:
        was = before.refund(refund.refund_id) if before else None
        if was is not None and was.status is refund.status:
            continue
        fresh = replace(refund, moved_at=now, unanswered_since=None, reminded_at=None)
        after = after.put(replace(fresh, check_at=next_refund_check(fresh, now, rules)))
    due = due_at(after, now)
    early = before.order.due_at if before else None
    if early and due and early < due and any(p.lease_until > now for p in after.payments):
        due = early
    return after.put(replace(after.order, due_at=due, queued=0))
