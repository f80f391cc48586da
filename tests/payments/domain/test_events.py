"""docs/events.schema.json says what events look like; these tests say when they are recorded."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from payments.domain import decisions, refunds
from payments.domain.aggregate import Event, OrderAggregate
from payments.domain.answers import Said
from payments.domain.events import (
    EVENTS,
    OrderCancelled,
    OrderExpired,
    OrderPaid,
    OrderPlaced,
    OrderRefunded,
    PaymentClosed,
    PaymentFailed,
    PaymentInitializing,
    PaymentPending,
    PaymentRefunded,
    PaymentResolved,
    PaymentReversed,
    PaymentReview,
    PaymentSucceeded,
    PaymentUnanswered,
    PaymentUnapplied,
    RefundAccepted,
    RefundCompleted,
    RefundRequested,
    RefundResolved,
    RefundReversed,
    RefundReview,
    RefundUnanswered,
    SoldLine,
    StockReturned,
    details,
    event_from,
)
from payments.domain.states import PaymentStatus, RefundStatus
from tests.builders import (
    NOW,
    PRICE,
    RF,
    RULES,
    SKU,
    SUCCESS,
    TX,
    aggregate,
    decide,
    order,
    paid_order,
    refund,
)

EXPIRY = order().expires_at
P = PaymentStatus
MONEY = (PRICE, "ETB")
BY = ("sara", "why", NOW)
SUCCEEDED = PaymentSucceeded(NOW, TX, "AP1", *MONEY)
PAID = OrderPaid(NOW, TX, *MONEY, (SoldLine(SKU, "Yirgacheffe coffee, 250 g", 2, 45_000),))
GONE = [PaymentReversed(NOW, TX), OrderRefunded(NOW, TX)]
INITIALIZING, CLOSED = aggregate(P.INITIALIZING), aggregate(P.CLOSED)
REFUSED = refund(status=RefundStatus.REVIEW)
COMPLETED = RefundCompleted(NOW, RF, TX, *MONEY)
BY_US = [PaymentRefunded(NOW, TX, "us"), OrderRefunded(NOW, TX)]
BY_PROVIDER = [PaymentRefunded(NOW, TX, "provider"), OrderRefunded(NOW, TX)]


def said(before: OrderAggregate, what: Said, **facts: Any) -> OrderAggregate:
    return decide(before, replace(SUCCESS, said=what, **facts)).aggregate


def unapplied(paid: int | None = PRICE, currency: str | None = "ETB") -> OrderAggregate:
    before = aggregate(P.REVIEW, paid_amount=paid, paid_currency=currency)
    return decisions.unapply(before, before.payments[0], "too late", NOW)


STEPS: dict[str, tuple[Callable[[], OrderAggregate], list[Event]]] = {
    "order placed": (lambda: decisions.place(order()), [OrderPlaced(NOW, *MONEY)]),
    "payment initializing": (
        lambda: decisions.begin(OrderAggregate(order()), TX, "chapa-v1", NOW + 1, RULES),
        [PaymentInitializing(NOW + 1, TX, *MONEY)],
    ),
    "payment opened": (
        lambda: decisions.opened(INITIALIZING, TX, "https://pay", NOW, NOW),
        [PaymentPending(NOW, TX)],
    ),
    "page lost": (lambda: decisions.maybe_opened(INITIALIZING, TX, "timeout", NOW), []),
    "payment refused": (
        lambda: decisions.never_opened(INITIALIZING, TX, "refused", NOW),
        [PaymentClosed(NOW, TX, "refused")],
    ),
    "payment closed": (
        lambda: decisions.close(aggregate(P.CLOSING), TX, "over", NOW),
        [PaymentClosed(NOW, TX, "over")],
    ),
    "order expired": (lambda: decisions.end(CLOSED, EXPIRY), [OrderExpired(EXPIRY)]),
    "order cancelled": (
        lambda: decisions.end(decisions.cancel(CLOSED), NOW),
        [OrderCancelled(NOW)],
    ),
    "payment failed": (
        lambda: said(aggregate(), Said.FAILED, status="failed"),
        [PaymentFailed(NOW, TX, "provider says failed")],
    ),
    "order paid": (lambda: said(aggregate(), Said.PAID), [SUCCEEDED, PAID]),
    "wrong amount and mode": (
        lambda: said(aggregate(), Said.PAID, amount=1, mode="live"),
        [PaymentReview(NOW, TX, "not as requested: amount, mode")],
    ),
    "payment unapplied": (
        unapplied,
        [
            PaymentUnapplied(NOW, TX, None, *MONEY),
            RefundRequested(NOW, unapplied().refunds[0].refund_id, TX, *MONEY),
        ],
    ),
    "nothing was paid": (
        lambda: unapplied(None, None),
        [PaymentUnapplied(NOW, TX, None, 0, "ETB")],
    ),
    "reversed before it was seen": (
        lambda: said(aggregate(), Said.REVERSED),
        [PaymentReview(NOW, TX, "provider says reversed")],
    ),
    "refunded by Chapa": (lambda: said(paid_order(), Said.REFUNDED), BY_PROVIDER),
    "refunded by Chapa after a refusal": (
        lambda: said(paid_order(REFUSED), Said.REFUNDED),
        [
            RefundResolved(
                NOW, RF, TX, "dismiss", "provider", "the payment was refunded at the provider"
            ),
            *BY_PROVIDER,
        ],
    ),
    "reversed": (lambda: said(paid_order(), Said.REVERSED), GONE),
    "reversed during a refund": (
        lambda: said(paid_order(refund()), Said.REVERSED),
        [RefundReview(NOW, RF, TX, "the payment itself was reversed"), *GONE],
    ),
    "payment accepted": (
        lambda: decisions.accept(aggregate(), aggregate().payments[0], *BY),
        [
            PaymentResolved(NOW, TX, "accept", "sara", "why"),
            replace(SUCCEEDED, provider_reference=None),
            PAID,
        ],
    ),
    "payment given back": (
        lambda: decisions.give_back(aggregate(), aggregate().payments[0], *BY),
        [
            PaymentResolved(NOW, TX, "refund", "sara", "why"),
            PaymentUnapplied(NOW, TX, None, 0, "ETB"),
        ],
    ),
    "payment dismissed": (
        lambda: decisions.dismiss(aggregate(), aggregate().payments[0], Said.UNKNOWN, *BY),
        [
            PaymentResolved(NOW, TX, "dismiss", "sara", "why"),
            PaymentClosed(NOW, TX, "dismissed: why"),
        ],
    ),
    "refund of money and goods": (
        lambda: refunds.request_refund(paid_order(), refund(returns={SKU: 1}), NOW),
        [RefundRequested(NOW, RF, TX, *MONEY), StockReturned(NOW, RF, {SKU: 1})],
    ),
    "refund sent": (lambda: refunds.before_sending(paid_order(refund()), RF, NOW, RULES), []),
    "refund unanswered": (lambda: refunds.release(paid_order(refund()), RF, NOW), []),
    "refund accepted": (
        lambda: refunds.accepted(paid_order(refund()), RF, "RF1", NOW),
        [RefundAccepted(NOW, RF, TX)],
    ),
    "refund refused": (
        lambda: refunds.refused(paid_order(refund()), RF, "low balance", NOW),
        [RefundReview(NOW, RF, TX, "low balance")],
    ),
    "refund reversed": (
        lambda: refunds.ended(paid_order(refund()), RF, Said.REVERSED, NOW),
        [RefundReversed(NOW, RF, TX, *MONEY)],
    ),
    "refunded by us": (
        lambda: refunds.ended(paid_order(refund()), RF, Said.REFUNDED, NOW),
        [COMPLETED, *BY_US],
    ),
    "refund retried": (
        lambda: refunds.retry(paid_order(REFUSED), REFUSED, *BY),
        [RefundResolved(NOW, RF, TX, "retry", "sara", "why")],
    ),
    "refund paid outside": (
        lambda: refunds.settle_outside(paid_order(REFUSED), REFUSED, *BY),
        [RefundResolved(NOW, RF, TX, "settle", "sara", "why"), COMPLETED, *BY_US],
    ),
    "refund dismissed": (
        lambda: refunds.dismiss(paid_order(REFUSED), REFUSED, *BY),
        [RefundResolved(NOW, RF, TX, "dismiss", "sara", "why")],
    ),
}
BY_CHECKS = [PaymentUnanswered(NOW, TX, NOW - 1), RefundUnanswered(NOW, RF, TX, NOW - 1)]
"""test_checks shows when they are recorded."""


@pytest.mark.parametrize(("step", "events"), STEPS.values(), ids=STEPS)
def test_each_step_records_its_events(
    step: Callable[[], OrderAggregate], events: list[Event]
) -> None:
    assert list(step().new_events) == events


def test_every_kind_of_event_is_stored_and_read_back() -> None:
    every = [*(event for _, events in STEPS.values() for event in events), *BY_CHECKS]
    assert {event.name for event in every} == EVENTS.keys()
    for event in every:
        assert "at" not in details(event)
        assert event_from(event.name, event.at, details(event)) == event


@pytest.mark.parametrize(
    ("name", "stored", "error"),
    [
        ("order.lost", {}, KeyError),
        ("order.refunded", {}, TypeError),
        ("order.expired", {"tx_ref": TX, "by": "us"}, TypeError),
    ],
)
def test_unknown_event_is_an_error(
    name: str, stored: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        event_from(name, NOW, stored)
