import pytest

from sandbox.client import Response
from tests.shop import Died, Shop, die, http_event


def cancel(shop: Shop, order_id: str, user: str = "abebe") -> Response:
    return shop.http("checkout", http_event("POST", user=user, path={"order_id": order_id}))


def test_an_order_without_a_payment_is_cancelled_at_once(shop: Shop) -> None:
    order_id = shop.order().body["order_id"]
    answer = cancel(shop, order_id)
    assert (answer.status, answer.body["status"]) == (200, "cancelled")
    assert shop.stock("COFFEE-250") == (10, 0, 0)
    assert shop.simulator.journal.entries("cancel") == []


def test_its_page_is_shut_before_the_stock_goes_back(shop: Shop) -> None:
    order_id, tx_ref = shop.begun()
    stock: list[tuple[int, int, int]] = []
    shop.before_chapa("cancel", lambda: stock.append(shop.stock("COFFEE-250")))
    answer = cancel(shop, order_id)
    assert (answer.status, answer.body["status"]) == (200, "cancelled")
    assert stock == [(8, 2, 0)]
    assert shop.stock("COFFEE-250") == (10, 0, 0)
    assert shop.payment(tx_ref).status == "closed"


def test_a_payment_that_turns_out_paid_wins(shop: Shop) -> None:
    order_id, tx_ref = shop.begun()
    shop.control.pay(tx_ref, webhook=False)
    answer = cancel(shop, order_id)
    assert (answer.status, answer.code) == (409, "order_paid")
    assert shop.story(order_id).order.status == "paid"
    assert shop.stock("COFFEE-250") == (8, 0, 2)


def test_a_customer_who_pays_in_another_window_meanwhile_wins(shop: Shop) -> None:
    order_id, tx_ref = shop.begun()
    shop.before_chapa("cancel", lambda: shop.control.pay(tx_ref))
    assert cancel(shop, order_id).code == "order_paid"
    shop.deliver()
    assert shop.story(order_id).order.status == "paid"


@pytest.mark.parametrize("call", ["cancel", "verify"])
def test_the_worker_finishes_when_chapa_cannot_be_reached(shop: Shop, call: str) -> None:
    order_id, tx_ref = shop.begun()
    shop.control.add_fault(call, "status", status=500, times=None)  # type: ignore[arg-type]
    answer = cancel(shop, order_id)
    assert (answer.status, answer.body["status"]) == (202, "pending")
    assert answer.body["cancelling"] is True
    refused = shop.pay(order_id)
    assert (refused.code, refused.body["detail"]) == (
        "order_not_payable",
        "The order is being cancelled.",
    )
    assert shop.stock("COFFEE-250") == (8, 2, 0)
    shop.control.clear_faults()
    shop.clock.advance(3)
    shop.work()
    assert shop.story(order_id).order.status == "cancelled"
    assert shop.payment(tx_ref).status == "closed"
    assert shop.stock("COFFEE-250") == (10, 0, 0)


def test_cancelling_twice_is_cancelling_once(shop: Shop) -> None:
    order_id, _ = shop.begun()
    first = cancel(shop, order_id)
    before = shop.dump()
    again = cancel(shop, order_id)
    assert (again.status, again.body) == (first.status, first.body)
    assert shop.dump() == before


def test_an_order_that_expired_has_ended_already(shop: Shop) -> None:
    order_id = shop.order().body["order_id"]
    shop.clock.advance(1800)
    shop.sweep()
    answer = cancel(shop, order_id)
    assert (answer.status, answer.body["status"]) == (200, "expired")


def test_an_order_under_review_waits_for_the_person(shop: Shop) -> None:
    order_id, tx_ref = shop.begun()
    shop.control.pay(tx_ref, webhook=False)
    shop.control.add_fault("verify", "wrong_amount", times=None)
    assert cancel(shop, order_id).code == "order_in_review"
    assert shop.stock("COFFEE-250") == (8, 2, 0)


def test_a_stranger_cancels_nothing(shop: Shop) -> None:
    order_id = shop.order().body["order_id"]
    before = shop.dump()
    assert cancel(shop, order_id, user="sara").code == "order_not_found"
    assert shop.dump() == before


def test_while_a_payment_is_being_opened_the_worker_cancels_after_it(shop: Shop) -> None:
    order_id = shop.order().body["order_id"]
    answers: list[Response] = []
    shop.before_chapa("initialize", lambda: answers.append(cancel(shop, order_id)))
    shop.pay(order_id)
    assert [answer.status for answer in answers] == [202]
    shop.clock.advance(3)
    shop.work()
    assert shop.story(order_id).order.status == "cancelled"
    assert [p.status for p in shop.story(order_id).payments] == ["closed"]


def test_a_late_success_may_revive_a_cancelled_order(shop: Shop) -> None:
    order_id, tx_ref = shop.begun()
    cancel(shop, order_id)
    shop.clock.advance(3)
    shop.control.pay(tx_ref, late=True)
    shop.deliver()
    assert shop.story(order_id).order.status == "paid"


@pytest.mark.parametrize("skip", [0, 1, 2])
@pytest.mark.parametrize("when", ["before", "after"])
def test_who_dies_while_cancelling_is_followed_by_the_worker(
    shop: Shop, when: str, skip: int
) -> None:
    order_id, _ = shop.begun()
    shop.before_aws("TransactWriteItems", die, skip=skip, when=when)
    with pytest.raises(Died):
        cancel(shop, order_id)
    shop.clock.advance(1800)
    shop.sweep()
    shop.clock.advance(90)
    shop.sweep()
    assert shop.story(order_id).order.status in {"cancelled", "expired"}
    assert shop.stock("COFFEE-250") == (10, 0, 0)
