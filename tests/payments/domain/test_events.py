"""docs/events.schema.json says what events look like; these tests say when they are recorded."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from payments.aws.items import EventKey, events_item, events_of
from payments.domain import decisions, events, ids, refunds
from payments.domain.aggregate import Event, OrderAggregate
from payments.domain.answers import Said
from payments.domain.states import PaymentStatus as P
from payments.domain.states import RefundStatus
from tests import builders
from tests.builders import NOW, PRICE, RF, RULES, SKU, TX, aggregate, paid_order

EXPIRY = builders.order().expires_at
BY = ("sara", "why", NOW)
MONEY = (PRICE, "ETB")
PENDING, OPENING, CLOSED = aggregate(), aggregate(P.INITIALIZING), aggregate(P.CLOSED)
OWED = aggregate(P.REVIEW, paid_amount=PRICE, paid_currency="USD")
REFUSED = builders.refund(status=RefundStatus.REVIEW)
SENT, REFUSING = paid_order(builders.refund()), paid_order(REFUSED)
GOODS = builders.refund(returns={SKU: 1})


def said(before: OrderAggregate, what: Said, **facts: Any) -> OrderAggregate:
    return builders.decide(before, replace(builders.SUCCESS, said=what, **facts)).aggregate


def closed(reason: str) -> Event:
    return events.PaymentClosed(NOW, TX, reason)


def resolved(tx_or_refund: str, decision: str, by: str = "sara", why: str = "why") -> Event:
    if tx_or_refund == TX:
        return events.PaymentResolved(NOW, TX, decision, by, why)
    return events.RefundResolved(NOW, RF, TX, decision, by, why)


SUCCEEDED = events.PaymentSucceeded(NOW, TX, "AP1", *MONEY)
SOLD = events.SoldLine(SKU, "Yirgacheffe coffee, 250 g", 2, 45_000)
PAID = events.OrderPaid(NOW, TX, *MONEY, (SOLD,))
ORDER_GONE = events.OrderRefunded(NOW, TX)
GONE = [events.PaymentReversed(NOW, TX), ORDER_GONE]
BY_US = [events.PaymentRefunded(NOW, TX, "us"), ORDER_GONE]
BY_CHAPA = [events.PaymentRefunded(NOW, TX, "provider"), ORDER_GONE]
COMPLETED = events.RefundCompleted(NOW, RF, TX, *MONEY)
REFUND_REVERSED = events.RefundReversed(NOW, RF, TX, *MONEY)
REQUESTED = events.RefundRequested(NOW, RF, TX, *MONEY)
RETURNED = events.StockReturned(NOW, RF, {SKU: 1})
UNAPPLIED = events.PaymentUnapplied(NOW, TX, None, PRICE, "USD")
OWED_BACK = replace(REQUESTED, refund_id=ids.refund_id(TX, "owed back 0"), currency="USD")
GIVEN_BACK = [resolved(TX, "refund"), UNAPPLIED, OWED_BACK]
NOTHING_OWED = [resolved(TX, "refund"), replace(UNAPPLIED, amount=0, currency="ETB")]
FAILED = [events.PaymentFailed(NOW, TX, "provider says failed")]
WRONG = [events.PaymentReview(NOW, TX, "not as requested: amount, mode")]
REVERSED = [events.PaymentReview(NOW, TX, "provider says reversed")]
DISMISSED = [resolved(TX, "dismiss"), closed("dismissed by an operator")]
ACCEPTED = [resolved(TX, "accept"), replace(SUCCEEDED, provider_reference=None), PAID]
BY_CHAPA_TOO = resolved(RF, "dismiss", "provider", "the payment was refunded at the provider")
REFUSED_BY_REVERSAL = events.RefundReview(NOW, RF, TX, "the payment itself was reversed")
STEPS: list[tuple[Callable[[], OrderAggregate], Sequence[Event]]] = [
    (lambda: decisions.place(builders.order()), [events.OrderPlaced(NOW, *MONEY)]),
    (lambda: decisions.begin(PENDING, "x", "chapa-v1", NOW + 1, RULES), []),
    (lambda: decisions.opened(OPENING, TX, "https://pay", NOW, NOW), []),
    (lambda: decisions.maybe_opened(OPENING, TX, "timeout", NOW), []),
    (lambda: decisions.never_opened(OPENING, TX, "no", NOW), [closed("no")]),
    (lambda: decisions.close(aggregate(P.CLOSING), TX, "over", NOW), [closed("over")]),
    (lambda: decisions.end(CLOSED, EXPIRY), [events.OrderExpired(EXPIRY)]),
    (lambda: decisions.end(decisions.cancel(CLOSED), NOW), [events.OrderCancelled(NOW)]),
    (lambda: said(PENDING, Said.FAILED, status="failed"), FAILED),
    (lambda: said(PENDING, Said.PAID), [SUCCEEDED, PAID]),
    (lambda: said(PENDING, Said.PAID, amount=1, mode="live"), WRONG),
    (lambda: said(PENDING, Said.REVERSED), REVERSED),
    (lambda: said(paid_order(), Said.REFUNDED), BY_CHAPA),
    (lambda: said(REFUSING, Said.REFUNDED), [BY_CHAPA_TOO, *BY_CHAPA]),
    (lambda: said(paid_order(), Said.REVERSED), GONE),
    (lambda: said(SENT, Said.REVERSED), [REFUSED_BY_REVERSAL, *GONE]),
    (lambda: decisions.accept(PENDING, PENDING.payments[0], *BY), ACCEPTED),
    (lambda: decisions.give_back(PENDING, PENDING.payments[0], *BY), NOTHING_OWED),
    (lambda: decisions.give_back(OWED, OWED.payments[0], *BY), GIVEN_BACK),
    (lambda: decisions.dismiss(PENDING, PENDING.payments[0], Said.UNKNOWN, *BY), DISMISSED),
    (lambda: refunds.request_refund(paid_order(), GOODS, NOW), [REQUESTED, RETURNED]),
    (lambda: refunds.request_refund(paid_order(), replace(GOODS, amount=0), NOW), [RETURNED]),
    (lambda: refunds.before_sending(SENT, RF, NOW, RULES), []),
    (lambda: refunds.release(SENT, RF, NOW), []),
    (lambda: refunds.accepted(SENT, RF, "RF1", NOW), [events.RefundAccepted(NOW, RF, TX)]),
    (lambda: refunds.refused(SENT, RF, "no", NOW), [events.RefundReview(NOW, RF, TX, "no")]),
    (lambda: refunds.ended(SENT, RF, Said.REVERSED, NOW), [REFUND_REVERSED]),
    (lambda: refunds.ended(SENT, RF, Said.REFUNDED, NOW), [COMPLETED, *BY_US]),
    (lambda: refunds.retry(REFUSING, REFUSED, *BY), [resolved(RF, "retry")]),
    (
        lambda: refunds.settle_outside(REFUSING, REFUSED, *BY),
        [resolved(RF, "settle"), COMPLETED, *BY_US],
    ),
    (lambda: refunds.dismiss(REFUSING, REFUSED, *BY), [resolved(RF, "dismiss")]),
]
ELSEWHERE: list[Event] = [
    events.PaymentUnanswered(NOW, TX, NOW - 1),
    events.RefundUnanswered(NOW, RF, TX, NOW - 1),
    events.PaymentDiffers(NOW, TX, "missing", "succeeded", "not in the list"),
]
"""test_checks and test_comparison show when they are recorded."""


@pytest.mark.parametrize(("step", "recorded"), STEPS)
def test_each_step_records_its_events(
    step: Callable[[], OrderAggregate], recorded: Sequence[Event]
) -> None:
    assert list(step().new_events) == recorded


def test_every_kind_of_event_is_stored_and_read_back() -> None:
    every = [*(event for _, recorded in STEPS for event in recorded), *ELSEWHERE]
    assert {event.name for event in every} == events.EVENTS.keys()
    assert not [event for event in every if "at" in events.details(event)]
    assert events_of(events_item(EventKey("order", 1), every, NOW)) == every


@pytest.mark.parametrize(
    ("name", "stored", "error"),
    [
        ("order.lost", {}, "'order.lost'"),
        ("order.refunded", {}, "missing 1 required positional argument: 'tx_ref'"),
        ("order.expired", {"tx_ref": TX}, "unexpected keyword argument 'tx_ref'"),
    ],
)
def test_unknown_event_is_an_error(name: str, stored: dict[str, Any], error: str) -> None:
    with pytest.raises((KeyError, TypeError), match=error):
        events_of({"events": [{"name": name, "at": NOW, "details": stored}]})
