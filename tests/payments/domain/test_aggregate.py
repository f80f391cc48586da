from collections.abc import Callable

import pytest

from payments.domain.aggregate import IllegalMoveError, OrderAggregate
from payments.domain.events import OrderExpired, OrderPlaced
from payments.domain.records import Line
from payments.domain.states import OrderStatus, PaymentStatus, RefundStatus
from tests.builders import (
    NOW,
    OTHER,
    PRICE,
    RF,
    TX,
    aggregate,
    order,
    paid_order,
    payment,
    refund,
)


@pytest.mark.parametrize(
    ("status", "held"),
    [
        (OrderStatus.PENDING, {"A": 2, "B": 1}),
        (OrderStatus.PAID, {"A": 2, "B": 1}),
        (OrderStatus.REFUNDED, {"A": 2, "B": 1}),
        (OrderStatus.EXPIRED, {"A": 0, "B": 0}),
        (OrderStatus.CANCELLED, {"A": 0, "B": 0}),
    ],
)
def test_order_holds_its_units_until_it_ends_unpaid(
    status: OrderStatus, held: dict[str, int]
) -> None:
    lines = (Line("A", "Coffee", 2, 1), Line("B", "Mug", 1, 1))
    assert OrderAggregate(order(status=status, lines=lines)).held_units == held


@pytest.mark.parametrize("status", [OrderStatus.PAID, OrderStatus.REFUNDED])
def test_returned_units_are_not_held(status: OrderStatus) -> None:
    lines = (Line("A", "Coffee", 3, 1, returned=1), Line("B", "Mug", 1, 1, returned=1))
    assert OrderAggregate(order(status=status, lines=lines)).held_units == {"A": 2, "B": 0}


def test_record_is_put_in_the_place_of_the_one_of_its_id() -> None:
    before = aggregate(refunds=(refund(amount=1), refund(OTHER, 2)))
    other = payment(PaymentStatus.FAILED, tx_ref=OTHER)
    added = before.put(other)
    assert added.payments == (*before.payments, other)
    changed = payment(PaymentStatus.FAILED)
    assert added.put(changed).payments == (changed, other)
    assert added.put(changed).order == before.order
    requested = refund(amount=1, sends=1)
    assert before.put(requested).refunds == (requested, before.refunds[1])
    assert aggregate().put(requested).refunds == (requested,)
    assert before.put(order(cancelling=True)).order.cancelling


def test_records_are_found_by_their_ids() -> None:
    other = payment(PaymentStatus.CLOSED, tx_ref=OTHER)
    mine, its = refund(), refund("x", tx_ref=OTHER, status=RefundStatus.REVIEW)
    stored = aggregate(refunds=(mine, its)).put(other)
    assert (stored.payment(OTHER), stored.payment("x"), stored.payment(None)) == (other, None, None)
    assert (stored.refund(RF), stored.refund(TX)) == (mine, None)
    assert (stored.refunds_of(TX), stored.refunds_of(OTHER)) == ((mine,), (its,))
    assert stored.active_payment == stored.payments[0]
    assert stored.open_payments == stored.payments[:1]
    assert stored.open_refunds == (mine,)
    assert not stored.in_review
    assert aggregate(PaymentStatus.REVIEW).in_review


def test_events_are_recorded_in_order() -> None:
    first, second = OrderPlaced(NOW, PRICE, "ETB"), OrderExpired(NOW)
    assert aggregate().record(first).record(second, first).new_events == (first, second, first)


@pytest.mark.parametrize(
    ("move", "message"),
    [
        (lambda: paid_order().put(payment()), "PaymentStatus: succeeded → pending"),
        (
            lambda: aggregate().put(order(status=OrderStatus.REFUNDED)),
            "OrderStatus: pending → refunded",
        ),
        (
            lambda: paid_order(refund(status=RefundStatus.REFUNDED)).put(
                refund(status=RefundStatus.PENDING)
            ),
            "RefundStatus: refunded → pending",
        ),
    ],
)
def test_transition_that_the_tables_lack_is_an_error(
    move: Callable[[], OrderAggregate], message: str
) -> None:
    with pytest.raises(IllegalMoveError, match=message):
        move()
