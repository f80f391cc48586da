"""Refunds: what may be given back, and what becomes of it."""

from collections.abc import Mapping
from dataclasses import replace

from payments.domain import ids
from payments.domain.aggregate import IllegalMoveError, OrderAggregate
from payments.domain.answers import Said
from payments.domain.events import (
    OrderRefunded,
    PaymentRefunded,
    RefundAccepted,
    RefundCompleted,
    RefundResolved,
    RefundReversed,
    RefundReview,
    StockReturned,
    refund_requested,
)
from payments.domain.records import Order, Payment, Refund
from payments.domain.rules import Rules
from payments.domain.states import (
    COUNTED_REFUNDS,
    OPEN_REFUNDS,
    PAID,
    OrderStatus,
    PaymentStatus,
    RefundStatus,
)


def refundable(aggregate: OrderAggregate, tx_ref: str) -> int:
    """What is left of a payment after all that was, is being or may have been refunded of it.

    A refund that the provider certainly refused does not count.
    """
    payment = aggregate.payment(tx_ref)
    if payment is None or payment.status not in PAID:
        return 0
    return (payment.paid_amount or 0) - sum(
        refund.amount for refund in aggregate.refunds_of(tx_ref) if refund.status in COUNTED_REFUNDS
    )


def returnable(aggregate: OrderAggregate) -> Mapping[str, int]:
    """Units by SKU that were sold and have not come back."""
    order = aggregate.order
    if order.status not in {OrderStatus.PAID, OrderStatus.REFUNDED}:
        return {}
    return {line.sku: line.quantity - line.returned for line in order.lines}


def request_refund(aggregate: OrderAggregate, refund: Refund, now: int) -> OrderAggregate:
    """Owe money back, take goods back, or both, before the provider is called.

    The caller has compared it with `refundable` and `returnable`. Nothing is sent for an amount
    of 0.
    """
    left = returnable(aggregate)
    _check_left(aggregate, refund)
    if any(units > left.get(sku, 0) for sku, units in refund.returns.items()):
        raise IllegalMoveError(f"refund {refund.refund_id} is more than what is left")
    if not refund.amount:
        refund = replace(refund, status=RefundStatus.REFUNDED)
    aggregate = aggregate.put(refund)
    if refund.amount:
        aggregate = aggregate.record(refund_requested(refund, now))
    if not refund.returns:
        return aggregate
    return aggregate.put(_with_returned(aggregate.order, refund.returns)).record(
        StockReturned(now, refund.refund_id, dict(refund.returns))
    )


def _check_left(aggregate: OrderAggregate, refund: Refund) -> None:
    if refund.amount > refundable(aggregate, refund.tx_ref):
        raise IllegalMoveError(f"refund {refund.refund_id} is more than what is left")


def _with_returned(order: Order, units: Mapping[str, int]) -> Order:
    lines = tuple(
        replace(line, returned=line.returned + units.get(line.sku, 0)) for line in order.lines
    )
    return replace(order, lines=lines)


def owe_back(aggregate: OrderAggregate, payment: Payment, reason: str, now: int) -> OrderAggregate:
    """Request a refund of all that is left of a payment, if anything is."""
    left = refundable(aggregate, payment.tx_ref)
    if not left:
        return aggregate
    earlier = len(aggregate.refunds_of(payment.tx_ref))
    refund = Refund(
        refund_id=ids.refund_id(payment.tx_ref, f"owed back {earlier}"),
        tx_ref=payment.tx_ref,
        amount=left,
        currency=payment.paid_currency or payment.currency,
        created_at=now,
        reason=reason,
        whole=True,
    )
    return request_refund(aggregate, refund, now)


def before_sending(
    aggregate: OrderAggregate, refund_id: str, now: int, rules: Rules
) -> OrderAggregate:
    """Write ahead that the provider is called next; other processes leave the refund alone."""
    refund = aggregate.refund(refund_id)
    if refund is None or refund.status is not RefundStatus.REQUESTED:
        return aggregate
    return aggregate.put(
        replace(
            refund,
            sends=refund.sends + 1,
            lease_until=now + rules.lease,
            check_at=now + rules.lease,
        )
    )


def release(aggregate: OrderAggregate, refund_id: str, now: int) -> OrderAggregate:
    """The provider gave no usable answer: the same reference is sent again later."""
    refund = aggregate.refund(refund_id)
    if refund is None or refund.status not in OPEN_REFUNDS:
        return aggregate
    return aggregate.put(replace(refund, lease_until=now))


def accepted(
    aggregate: OrderAggregate, refund_id: str, provider_refund_id: str | None, now: int
) -> OrderAggregate:
    """The provider has the refund; `provider_refund_id` is None when it named none."""
    refund = aggregate.refund(refund_id)
    if refund is None or refund.status is not RefundStatus.REQUESTED:
        return aggregate
    return aggregate.put(
        replace(
            refund,
            status=RefundStatus.PENDING,
            provider_refund_id=provider_refund_id,
            lease_until=0,
        )
    ).record(RefundAccepted(now, refund_id, refund.tx_ref))


def refused(aggregate: OrderAggregate, refund_id: str, words: str, now: int) -> OrderAggregate:
    """The provider certainly refused: manual review. The money counts as refundable again."""
    refund = aggregate.refund(refund_id)
    if refund is None or refund.status not in OPEN_REFUNDS:
        return aggregate
    return aggregate.put(
        replace(refund, status=RefundStatus.REVIEW, refusal=words, lease_until=0)
    ).record(RefundReview(now, refund_id, refund.tx_ref, words))


def ended(aggregate: OrderAggregate, refund_id: str, said: Said, now: int) -> OrderAggregate:
    """The provider says that a refund is final: refunded or reversed."""
    refund = aggregate.refund(refund_id)
    if refund is None or refund.status not in OPEN_REFUNDS:
        return aggregate
    if said is Said.REVERSED:
        return aggregate.put(replace(refund, status=RefundStatus.REVERSED, lease_until=0)).record(
            RefundReversed(now, refund_id, refund.tx_ref, refund.amount, refund.currency)
        )
    return _completed(aggregate, refund, now)


def _completed(aggregate: OrderAggregate, refund: Refund, now: int) -> OrderAggregate:
    tx_ref = refund.tx_ref
    aggregate = aggregate.put(replace(refund, status=RefundStatus.REFUNDED, lease_until=0)).record(
        RefundCompleted(now, refund.refund_id, tx_ref, refund.amount, refund.currency)
    )
    payment = aggregate.payment(tx_ref)
    if (
        payment is None
        or payment.status not in PAID
        or given_back(aggregate, tx_ref) < (payment.paid_amount or 0)
    ):
        return aggregate
    return money_returned(
        aggregate.record(PaymentRefunded(now, tx_ref, "us")), payment, PaymentStatus.REFUNDED, now
    )


def given_back(aggregate: OrderAggregate, tx_ref: str) -> int:
    """The sum of our completed refunds of a payment."""
    return sum(r.amount for r in aggregate.refunds_of(tx_ref) if r.status is RefundStatus.REFUNDED)


def money_returned(
    aggregate: OrderAggregate, payment: Payment, status: PaymentStatus, now: int
) -> OrderAggregate:
    """All of a payment went back, refunded or reversed; so did its order's money."""
    aggregate = aggregate.put(replace(payment, status=status, lease_until=0))
    order = aggregate.order
    if order.paid_by != payment.tx_ref or order.status is not OrderStatus.PAID:
        return aggregate
    return aggregate.put(replace(order, status=OrderStatus.REFUNDED)).record(
        OrderRefunded(now, payment.tx_ref)
    )


def retry(
    aggregate: OrderAggregate, refund: Refund, by: str, reason: str, now: int
) -> OrderAggregate:
    """An operator has a refused refund sent again, under a fresh reference."""
    _check_left(aggregate, refund)
    return aggregate.put(
        replace(
            refund,
            status=RefundStatus.REQUESTED,
            attempt=refund.attempt + 1,
            sends=0,
            provider_refund_id=None,
            refusal=None,
        )
    ).record(RefundResolved(now, refund.refund_id, refund.tx_ref, "retry", by, reason))


def settle_outside(
    aggregate: OrderAggregate, refund: Refund, by: str, reason: str, now: int
) -> OrderAggregate:
    """An operator says that the customer was paid back by other means."""
    if refund.status is RefundStatus.REVIEW:
        _check_left(aggregate, refund)
    return _completed(
        aggregate.record(
            RefundResolved(now, refund.refund_id, refund.tx_ref, "settle", by, reason)
        ),
        refund,
        now,
    )


def dismiss(
    aggregate: OrderAggregate, refund: Refund, by: str, reason: str, now: int
) -> OrderAggregate:
    """An operator decides that a refused refund is not paid out."""
    return aggregate.put(replace(refund, status=RefundStatus.DISMISSED)).record(
        RefundResolved(now, refund.refund_id, refund.tx_ref, "dismiss", by, reason)
    )
