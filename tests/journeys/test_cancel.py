"""Customers who do not want their order any more, and what Chapa may do to that wish."""

from typing import Any

import pytest

from sandbox.client import Stock, until
from tests.journeys.shop import Shop, at_once, is_problem


def test_an_order_without_a_payment_is_cancelled_without_a_call_to_chapa(shop: Shop) -> None:
    sku = shop.product()
    order_id = shop.ordered(sku)
    answer = shop.cancel(order_id)
    assert (answer.status, answer["status"]) == (200, "cancelled")
    assert shop.stock(sku) == Stock(10, 0, 0)
    assert shop.ledger(order_id) == ["order.placed", "order.cancelled"]


def test_an_order_is_cancelled_at_once_and_its_page_is_shut_first(shop: Shop) -> None:
    sku = shop.product()
    order_id = shop.ordered(sku)
    begun = shop.initialize(order_id)
    answer = shop.cancel(order_id)
    assert (answer.status, answer["status"]) == (200, "cancelled")
    assert shop.state(order_id) == ("cancelled", ["closed"])
    assert shop.stock(sku) == Stock(10, 0, 0)
    assert shop.ledger(order_id)[-2:] == ["payment.closed", "order.cancelled"]
    calls = [entry.call for entry in shop.chapa.journal(tx_ref=begun["tx_ref"])]
    assert "verify" in calls[calls.index("cancel") :]
    page = shop.visit(begun["checkout_url"])
    assert "can no longer be paid" in page.text
    assert shop.initialize(order_id).code == "order_not_payable"


def test_a_payment_that_turns_out_paid_wins(shop: Shop) -> None:
    sku = shop.product()
    order_id, tx_ref = shop.begun(sku)
    shop.chapa.pay(tx_ref, webhook=False)
    for _ in range(2):
        answer = shop.cancel(order_id)
        assert (answer.status, answer.code) == (409, "order_paid")
        assert is_problem(answer)
    assert shop.state(order_id) == ("paid", ["succeeded"])
    assert shop.stock(sku) == Stock(8, 0, 2)
    assert "order.cancelled" not in shop.ledger(order_id)


def test_who_pays_while_it_is_being_cancelled_has_bought(shop: Shop) -> None:
    sku = shop.product()
    order_id, tx_ref = shop.begun(sku)
    shop.chapa.add_fault("cancel", "slow", tx_ref=tx_ref, seconds=15)

    def cancel_or_pay(number: int) -> str:
        if number == 0:
            return shop.cancel(order_id).code
        until(lambda: shop.calls("cancel", tx_ref), bool, "Chapa is shutting the page")
        shop.chapa.pay(tx_ref, late=True)
        shop.chapa.clear_faults()
        return ""

    assert at_once(2, cancel_or_pay) == ["order_paid", ""]
    shop.await_worker()
    assert shop.state(order_id) == ("paid", ["succeeded"])
    assert shop.stock(sku) == Stock(8, 0, 2)
    assert shop.ledger(order_id).count("order.paid") == 1


@pytest.mark.parametrize(
    ("call", "kind", "details"), [("cancel", "status", {"status": 503}), ("verify", "reset", {})]
)
def test_the_worker_finishes_what_chapa_s_absence_delayed(
    shop: Shop, call: Any, kind: Any, details: dict[str, int]
) -> None:
    sku = shop.product()
    order_id, tx_ref = shop.begun(sku)
    shop.chapa.add_fault(call, kind, tx_ref=tx_ref, times=None, **details)
    answer = shop.cancel(order_id)
    assert (answer.status, answer["status"], answer["cancelling"]) == (202, "pending", True)
    assert shop.initialize(order_id).code == "order_not_payable"
    assert shop.stock(sku) == Stock(8, 2, 0)
    shop.await_worker()
    assert shop.order(order_id)["status"] == "pending"
    shop.chapa.clear_faults()
    shop.look(order_id)
    assert shop.state(order_id) == ("cancelled", ["closed"])
    assert shop.stock(sku) == Stock(10, 0, 0)
    assert shop.chapa.payment(tx_ref)["cancelled"]


def test_the_worker_finishes_by_itself_when_chapa_is_back_in_a_moment(shop: Shop) -> None:
    sku = shop.product()
    order_id, tx_ref = shop.begun(sku)
    shop.chapa.add_fault("cancel", "status", tx_ref=tx_ref, status=503)
    assert shop.cancel(order_id).status == 202
    shop.await_order(order_id, "cancelled")
    assert shop.stock(sku) == Stock(10, 0, 0)


def test_a_stranger_s_order_cannot_be_cancelled_nor_told_from_none(shop: Shop) -> None:
    order_id, _ = shop.begun(shop.product())
    with shop.nothing_written():
        for answer in (
            shop.cancel(order_id, user="sara"),
            shop.cancel("a" * 20),
            shop.cancel("nonsense"),
        ):
            assert (answer.status, answer.code) == (404, "order_not_found")
    assert shop.state(order_id) == ("pending", ["pending"])


def test_a_cancelled_order_stays_cancelled_however_often_it_is_asked_for(shop: Shop) -> None:
    sku = shop.product()
    order_id, _ = shop.begun(sku)
    answers = at_once(4, lambda _: shop.cancel(order_id))
    assert {answer.status for answer in answers} <= {200, 202}
    shop.await_order(order_id, "cancelled")
    again = shop.cancel(order_id)
    assert (again.status, again["status"]) == (200, "cancelled")
    shop.await_worker()
    assert shop.stock(sku) == Stock(10, 0, 0)
    assert shop.ledger(order_id).count("order.cancelled") == 1


def test_an_order_that_waits_for_a_person_is_not_cancelled(shop: Shop) -> None:
    order_id, tx_ref = shop.begun(shop.product())
    shop.chapa.add_fault("verify", "wrong_amount", tx_ref=tx_ref, times=None)
    shop.chapa.pay(tx_ref, webhook=False)
    answer = shop.cancel(order_id)
    assert (answer.status, answer.code) == (409, "order_in_review")
    assert shop.state(order_id) == ("pending", ["review"])
