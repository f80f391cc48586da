import json
from dataclasses import replace
from typing import Any

import pytest

from payments.domain.aggregate import Event, OrderAggregate
from payments.domain.events import (
    EVENTS,
    OrderPaid,
    OrderPlaced,
    PaymentFailed,
    PaymentResolved,
    PaymentUnanswered,
    RefundCompleted,
    RefundResolved,
    RefundUnanswered,
    SoldLine,
    StockReturned,
)
from payments.domain.records import Line, Order, Payment, Refund
from payments.domain.states import OrderStatus, PaymentStatus, RefundStatus
from payments.web import views

NOW, TIME = 1_795_338_000, "2026-11-22T09:00:00Z"
LINES = (Line("MUG", "Mug", 2, 15_050, returned=1),)
ORDER = Order("order", "abebe", 30_100, "ETB", LINES, NOW, NOW + 1800, "hash", active_tx_ref="tx")
PAYMENT = Payment("tx", "chapa-v1", 30_100, "ETB", NOW, PaymentStatus.PENDING, checkout_url="url")
OTHER = replace(PAYMENT, tx_ref="other", checkout_url="another")
SHOWN = {"tx_ref": "tx", "status": "pending", "amount": "301.00", "currency": "ETB"}
SHOWN |= {"created_at": TIME}
AGGREGATE = OrderAggregate(ORDER, (PAYMENT, OTHER))


@pytest.mark.parametrize(("seconds", "text"), [(0, "1970-01-01T00:00:00Z"), (NOW, TIME)])
def test_time_is_iso_8601_in_utc(seconds: int, text: str) -> None:
    assert views.iso_time(seconds) == text


def test_order_shows_what_was_ordered_and_nothing_internal() -> None:
    item = {"sku": "MUG", "name": "Mug", "quantity": 2, "unit_price": "150.50"}
    shown: dict[str, Any] = {"order_id": "order", "status": "pending", "amount": "301.00"}
    shown |= {"currency": "ETB", "items": [item], "created_at": TIME}
    shown |= {"expires_at": "2026-11-22T09:30:00Z"}
    assert views.order_view(AGGREGATE) == shown
    cancelling = replace(ORDER, cancelling=True)
    assert views.order_view(OrderAggregate(cancelling)) == shown | {"cancelling": True}
    cancelled = replace(cancelling, status=OrderStatus.CANCELLED)
    assert views.order_view(OrderAggregate(cancelled)) == shown | {"status": "cancelled"}


def test_checkout_page_is_shown_of_the_pending_active_payment_alone() -> None:
    shown = SHOWN | {"checkout_url": "url"}
    payments = views.order_with_payments_view(AGGREGATE, NOW)["payments"]
    assert payments == [shown, SHOWN | {"tx_ref": "other"}]
    begun = views.begun_payment_view(AGGREGATE, PAYMENT)
    assert begun == shown | {"order_id": "order", "expires_at": "2026-11-22T09:30:00Z"}
    paid = replace(PAYMENT, status=PaymentStatus.SUCCEEDED, provider_reference="AP1")
    [view] = views.order_with_payments_view(OrderAggregate(ORDER, (paid,)), NOW)["payments"]
    assert view == SHOWN | {"status": "succeeded", "provider_reference": "AP1"}


@pytest.mark.parametrize(
    "order",
    [
        ORDER,  # The page is at its end.
        replace(ORDER, expires_at=NOW),
        replace(ORDER, cancelling=True),
    ],
)
def test_page_that_would_not_be_handed_out_is_not_shown(order: Order) -> None:
    ends = NOW + (60 if order is ORDER else 3600)
    aggregate = OrderAggregate(order, (replace(PAYMENT, page_expires_at=ends),))
    [view] = views.order_with_payments_view(aggregate, NOW)["payments"]
    assert view == SHOWN
    assert "checkout_url" not in views.payment_view(aggregate, aggregate.payments[0], [], NOW)


def test_customer_sees_the_events_of_the_payment_and_the_order_but_no_operator() -> None:
    events = [
        OrderPlaced(NOW, 30_100, "ETB"),
        PaymentFailed(NOW, "tx", "why"),
        PaymentFailed(NOW, "other", "why"),
        PaymentUnanswered(NOW, "tx", NOW - 60),
        PaymentResolved(NOW, "tx", "accept", "arn:aws:iam::1:user/x", "why"),
        RefundResolved(NOW, "refund", "tx", "retry", "arn:aws:iam::1:user/x", "why"),
        RefundCompleted(NOW, "refund", "tx", 100, "ETB"),
    ]
    view = views.payment_view(AGGREGATE, PAYMENT, events, NOW)
    assert view == SHOWN | {
        "checkout_url": "url",
        "order_id": "order",
        "order_status": "pending",
        "events": [
            {"name": "order.placed", "at": TIME, "amount": "301.00", "currency": "ETB"},
            {"name": "payment.failed", "at": TIME, "tx_ref": "tx", "reason": "why"},
            {"name": "payment.unanswered", "at": TIME, "tx_ref": "tx"}
            | {"since": "2026-11-22T08:59:00Z"},
            {"name": "refund.completed", "at": TIME, "refund_id": "refund", "tx_ref": "tx"}
            | {"amount": "1.00", "currency": "ETB"},
        ],
    }
    operators = {name for name in EVENTS if name.endswith((".resolved", ".differs"))}
    assert operators == views.INTERNAL


@pytest.mark.parametrize(
    ("event", "shown"),
    [
        (
            OrderPaid(NOW, "tx", 5, "ETB", (SoldLine("MUG", "Mug", 1, 5),)),
            {"tx_ref": "tx", "amount": "0.05", "currency": "ETB"}
            | {"lines": [{"sku": "MUG", "name": "Mug", "quantity": 1, "unit_price": "0.05"}]},
        ),
        (StockReturned(NOW, "refund", {"MUG": 2}), {"refund_id": "refund", "units": {"MUG": 2}}),
        (
            RefundUnanswered(NOW, "refund", "tx", NOW),
            {"refund_id": "refund", "tx_ref": "tx", "since": TIME},
        ),
    ],
)
def test_amounts_are_decimal_strings_and_times_iso_8601(event: Event, shown: object) -> None:
    assert views.details_view(event) == shown
    assert json.dumps(shown)


def test_value_that_an_event_does_not_have_is_left_out() -> None:
    event = EVENTS["payment.succeeded"](NOW, "tx", None, 5, "ETB")  # type: ignore[call-arg]
    assert views.details_view(event) == {"tx_ref": "tx", "amount": "0.05", "currency": "ETB"}


def test_refund_shows_its_amount_and_what_came_back() -> None:
    refund = Refund("refund", "tx", 100, "ETB", NOW, RefundStatus.PENDING)
    shown: dict[str, Any] = {"refund_id": "refund", "tx_ref": "tx", "status": "pending"}
    shown |= {"amount": "1.00", "currency": "ETB"}
    assert views.refund_view(refund) == shown
    returns = {"MUG": 1}
    assert views.refund_view(replace(refund, returns=returns)) == shown | {"returns": returns}
