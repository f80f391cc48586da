import pytest

from payments.domain.states import OrderStatus, PaymentStatus
from sandbox.client import Response
from tests.shop import Shop


def test_order_without_payment_is_cancelled_at_once(shop: Shop) -> None:
    order_id = shop.order().body["order_id"]
    response = shop.cancel(order_id)
    assert (response.status, response.body["status"]) == (200, "cancelled")
    assert shop.available("COFFEE-250") == 10
    assert shop.asked("cancel") == 0


def test_payment_is_closed_before_the_stock_is_released(shop: Shop) -> None:
    order_id, tx_ref = shop.begun()
    available: list[int] = []
    shop.before_chapa("cancel", lambda: available.append(shop.available("COFFEE-250")))
    first = shop.cancel(order_id)
    assert (first.status, first.body["status"]) == (200, "cancelled")
    assert available == [8]
    assert shop.available("COFFEE-250") == 10
    assert shop.payment(tx_ref).status is PaymentStatus.CLOSED

    before = shop.dump()
    again = shop.cancel(order_id)
    assert (again.status, again.body) == (first.status, first.body)
    assert shop.dump() == before


def test_order_whose_payment_succeeded_is_paid(shop: Shop) -> None:
    order_id, tx_ref = shop.begun()
    shop.control.pay(tx_ref, webhook=False)
    response = shop.cancel(order_id)
    assert (response.status, response.code) == (409, "order_paid")
    assert shop.aggregate(order_id).order.status is OrderStatus.PAID
    assert shop.available("COFFEE-250") == 8


def test_payment_between_verify_and_cancel_pays_the_order(shop: Shop) -> None:
    order_id, tx_ref = shop.begun()
    shop.before_chapa("cancel", lambda: shop.control.pay(tx_ref))
    assert shop.cancel(order_id).code == "order_paid"
    shop.deliver()
    assert shop.aggregate(order_id).order.status is OrderStatus.PAID


@pytest.mark.parametrize("call", ["cancel", "verify"])
def test_worker_completes_the_cancellation_if_chapa_is_unreachable(shop: Shop, call: str) -> None:
    order_id, tx_ref = shop.begun()
    shop.control.add_fault(call, "status", status=500, times=None)  # type: ignore[arg-type]
    response = shop.cancel(order_id)
    assert (response.status, response.body["status"]) == (202, "pending")
    assert response.body["cancelling"] is True
    refused = shop.pay(order_id)
    assert refused.code == "order_not_payable"
    assert refused.body["detail"] == "The order is being cancelled."
    assert shop.available("COFFEE-250") == 8
    shop.control.clear_faults()
    shop.clock.advance(3)
    shop.work()
    assert shop.aggregate(order_id).order.status is OrderStatus.CANCELLED
    assert shop.payment(tx_ref).status is PaymentStatus.CLOSED
    assert shop.available("COFFEE-250") == 10


def test_expired_order_stays_expired(shop: Shop) -> None:
    order_id, _ = shop.expired()
    response = shop.cancel(order_id)
    assert (response.status, response.body["status"]) == (200, "expired")


def test_order_in_review_cannot_be_cancelled(shop: Shop) -> None:
    order_id, tx_ref = shop.begun()
    shop.control.pay(tx_ref, webhook=False)
    shop.control.add_fault("verify", "wrong_amount", times=None)
    assert shop.cancel(order_id).code == "order_in_review"
    assert shop.available("COFFEE-250") == 8


def test_order_of_another_user_cannot_be_cancelled(shop: Shop) -> None:
    order_id = shop.order().body["order_id"]
    before = shop.dump()
    assert shop.cancel(order_id, user="sara").code == "order_not_found"
    assert shop.dump() == before


def test_worker_cancels_after_a_payment_was_opened(shop: Shop) -> None:
    order_id = shop.order().body["order_id"]
    answers: list[Response] = []
    shop.before_chapa("initialize", lambda: answers.append(shop.cancel(order_id)))
    shop.pay(order_id)
    assert [answer.status for answer in answers] == [202]
    shop.clock.advance(3)
    shop.sweep()
    assert shop.aggregate(order_id).order.status is OrderStatus.CANCELLED
    assert [p.status.value for p in shop.aggregate(order_id).payments] == ["closed"]


def test_late_success_may_revive_a_cancelled_order(shop: Shop) -> None:
    order_id, tx_ref = shop.begun()
    shop.cancel(order_id)
    shop.clock.advance(3)
    shop.control.pay(tx_ref, late=True)
    shop.deliver()
    assert shop.aggregate(order_id).order.status is OrderStatus.PAID


def test_cancelled_order_waits_for_the_grace_period_while_chapa_says_pending(shop: Shop) -> None:
    shop.control.switch(verify_unpaid="pending", verify_cancelled="unpaid")
    order_id, tx_ref = shop.begun()
    response = shop.cancel(order_id)
    assert (response.status, response.body["cancelling"]) == (202, True)
    assert shop.payment(tx_ref).status is PaymentStatus.CLOSING
    shop.wait(order_id, 299)
    assert shop.aggregate(order_id).order.status is OrderStatus.PENDING
    assert shop.available("COFFEE-250") == 8
    shop.wait(order_id, 61)
    assert shop.aggregate(order_id).order.status is OrderStatus.CANCELLED
    assert shop.available("COFFEE-250") == 10
