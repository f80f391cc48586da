from typing import Any

import pytest

from payments.domain.aggregate import IllegalMoveError, OrderAggregate
from payments.domain.events import OrderExpired, OrderPlaced
from payments.domain.records import Line
from payments.domain.states import OrderStatus, PaymentStatus, RefundStatus
from tests import builders
from tests.builders import NOW, OTHER, RF, TX, aggregate, paid_order, payment, refund


@pytest.mark.parametrize("status", OrderStatus)
def test_order_holds_what_was_not_returned_until_it_ends_unpaid(status: OrderStatus) -> None:
    lines = (Line("A", "Coffee", 3, 1, returned=1), Line("B", "Mug", 2, 1))
    ended = status in {OrderStatus.EXPIRED, OrderStatus.CANCELLED}
    held = OrderAggregate(builders.order(status=status, lines=lines)).held_units
    assert held == ({"A": 0, "B": 0} if ended else {"A": 2, "B": 2})


def test_record_takes_the_place_of_the_one_of_its_id_or_is_added() -> None:
    before = aggregate(refunds=(refund(amount=1), refund(OTHER, 2)))
    failed, other = payment(PaymentStatus.FAILED), payment(tx_ref=OTHER)
    added = before.put(other)
    assert (added.payments, added.order) == ((*before.payments, other), before.order)
    assert added.put(failed).payments == (failed, other)
    sent = refund(amount=1, sends=1)
    assert before.put(sent).refunds == (sent, before.refunds[1])
    assert aggregate().put(sent).refunds == (sent,)
    assert before.put(builders.order(cancelling=True)).order.cancelling


def test_records_are_found_by_their_ids() -> None:
    other = payment(PaymentStatus.CLOSED, tx_ref=OTHER)
    mine, its = refund(), refund("x", tx_ref=OTHER, status=RefundStatus.REVIEW)
    stored = aggregate(refunds=(mine, its)).put(other)
    assert (stored.payment(OTHER), stored.payment("x"), stored.payment(None)) == (other, None, None)
    assert (stored.refund(RF), stored.refund(TX)) == (mine, None)
    assert (stored.refunds_of(TX), stored.refunds_of(OTHER)) == ((mine,), (its,))
    assert (stored.active_payment, *stored.open_payments) == (stored.payments[0],) * 2
    assert stored.open_refunds == (mine,)
    assert not stored.in_review
    assert aggregate(PaymentStatus.REVIEW).in_review


def test_events_are_recorded_in_order() -> None:
    first, second = OrderPlaced(NOW, 1, "ETB"), OrderExpired(NOW)
    assert aggregate().record(first).record(second, first).new_events == (first, second, first)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (payment(), "PaymentStatus: succeeded → pending"),
        (builders.order(status=OrderStatus.EXPIRED), "OrderStatus: paid → expired"),
        (refund(status=RefundStatus.PENDING), "RefundStatus: refunded → pending"),
    ],
)
def test_transition_that_the_tables_lack_is_an_error(record: Any, message: str) -> None:
    with pytest.raises(IllegalMoveError, match=message):
        paid_order(refund(status=RefundStatus.REFUNDED)).put(record)
