import pytest

from sandbox.client import Response
from tests import builders
from tests.shop import Shop, http_event


def cancel(shop: Shop, order_id: str, user: str = "abebe") -> Response:
    return shop.http("checkout", http_event("POST", user=user, path={"order_id": order_id}))


def test_order_without_payment_is_cancelled_at_once(shop: Shop) -> None:
    order_id = shop.order().body["order_id"]
    answer = cancel(shop, order_id)
    assert (answer.status, answer.body["status"]) == (200, "cancelled")
    assert shop.stock("COFFEE-250") == (10, 0, 0)
    assert shop.asked("cancel") == 0


def test_payment_is_closed_before_the_stock_is_released(shop: Shop) -> None:
    order_id, tx_ref = shop.begun()
    stock: list[tuple[int, int, int]] = []
    shop.before_chapa("cancel", lambda: stock.append(shop.stock("COFFEE-250")))
    first = cancel(shop, order_id)
    assert (first.status, first.body["status"]) == (200, "cancelled")
    assert stock == [(8, 2, 0)]
    assert shop.stock("COFFEE-250") == (10, 0, 0)
    assert shop.payment(tx_ref).status == "closed"

    before = shop.dump()
    again = cancel(shop, order_id)
    assert (again.status, again.body) == (first.status, first.body)
    assert shop.dump() == before


def test_order_whose_payment_succeeded_is_paid(shop: Shop) -> None:
    order_id, tx_ref = shop.begun()
    shop.control.pay(tx_ref, webhook=False)
    answer = cancel(shop, order_id)
    assert (answer.status, answer.code) == (409, "order_paid")
    assert shop.story(order_id).order.status == "paid"
    assert shop.stock("COFFEE-250") == (8, 0, 2)


def test_payment_between_verify_and_cancel_pays_the_order(shop: Shop) -> None:
    order_id, tx_ref = shop.begun()
    shop.before_chapa("cancel", lambda: shop.control.pay(tx_ref))
    assert cancel(shop, order_id).code == "order_paid"
    shop.deliver()
    assert shop.story(order_id).order.status == "paid"


@pytest.mark.parametrize("call", ["cancel", "verify"])
def test_worker_completes_the_cancellation_if_chapa_is_unreachable(shop: Shop, call: str) -> None:
    order_id, tx_ref = shop.begun()
    shop.control.add_fault(call, "status", status=500, times=None)  # type: ignore[arg-type]
    answer = cancel(shop, order_id)
    assert (answer.status, answer.body["status"]) == (202, "pending")
    assert answer.body["cancelling"] is True
    refused = shop.pay(order_id)
    assert refused.code == "order_not_payable"
    assert refused.body["detail"] == "The order is being cancelled."
    assert shop.stock("COFFEE-250") == (8, 2, 0)
    shop.control.clear_faults()
    shop.clock.advance(3)
    shop.work()
    assert shop.story(order_id).order.status == "cancelled"
    assert shop.payment(tx_ref).status == "closed"
    assert shop.stock("COFFEE-250") == (10, 0, 0)


def test_expired_order_stays_expired(shop: Shop) -> None:
    order_id, _ = builders.expired(shop)
    answer = cancel(shop, order_id)
    assert (answer.status, answer.body["status"]) == (200, "expired")


def test_order_in_review_cannot_be_cancelled(shop: Shop) -> None:
    order_id, tx_ref = shop.begun()
    shop.control.pay(tx_ref, webhook=False)
    shop.control.add_fault("verify", "wrong_amount", times=None)
    assert cancel(shop, order_id).code == "order_in_review"
    assert shop.stock("COFFEE-250") == (8, 2, 0)


def test_order_of_another_user_cannot_be_cancelled(shop: Shop) -> None:
    order_id = shop.order().body["order_id"]
    before = shop.dump()
    assert cancel(shop, order_id, user="sara").code == "order_not_found"
    assert shop.dump() == before


def test_worker_cancels_after_a_payment_was_opened(shop: Shop) -> None:
    order_id = shop.order().body["order_id"]
    answers: list[Response] = []
    shop.before_chapa("initialize", lambda: answers.append(cancel(shop, order_id)))
    shop.pay(order_id)
    assert [answer.status for answer in answers] == [202]
    shop.clock.advance(3)
    shop.work()
    assert shop.story(order_id).order.status == "cancelled"
    assert [p.status for p in shop.story(order_id).payments] == ["closed"]


def test_late_success_may_revive_a_cancelled_order(shop: Shop) -> None:
    order_id, tx_ref = shop.begun()
    cancel(shop, order_id)
    shop.clock.advance(3)
    shop.control.pay(tx_ref, late=True)
    shop.deliver()
    assert shop.story(order_id).order.status == "paid"
