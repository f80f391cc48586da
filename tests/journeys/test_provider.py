"""What a client hears when Chapa is in trouble, and that a second try puts it right."""

from typing import Any

import pytest

from sandbox.client import Response, Stock, until
from tests.journeys.shop import Shop, is_problem


def told_to_ask_again(answer: Response, order_id: str) -> bool:
    told = answer.headers.get("retry-after")
    if answer.code == "provider_rejected":
        # What was refused once is refused again, though a person may try.
        return is_problem(answer) and told is None and answer["order_id"] == order_id
    return (
        is_problem(answer)
        and told is not None
        and int(told) > 0
        and answer["retry_after"] == int(told)
        and answer["order_id"] == order_id
    )


def begins_anew(shop: Shop, order_id: str, sku: str) -> None:
    """A second try opens another payment and leaves no page open but its own."""
    assert shop.stock(sku) == Stock(8, 2, 0)
    assert shop.order(order_id)["status"] == "pending"
    again = shop.initialize(order_id)
    assert again.status == 201
    lost = [p for p in shop.order(order_id)["payments"] if p["tx_ref"] != again["tx_ref"]]
    assert [payment["status"] for payment in lost] == ["closed"]
    known = {p["tx_ref"]: p for p in shop.chapa.payments()}
    assert known.get(lost[0]["tx_ref"], {"cancelled": True})["cancelled"]
    shop.press(shop.visit(again["checkout_url"]), "pay")
    shop.await_order(order_id, "paid")
    assert shop.stock(sku) == Stock(8, 0, 2)


@pytest.mark.parametrize(
    ("kind", "details", "status", "code"),
    [
        ("status", {"status": 400}, 400, "provider_rejected"),
        ("status", {"status": 401}, 502, "provider_error"),
        ("status", {"status": 429}, 503, "provider_unavailable"),
        ("status", {"status": 500}, 502, "provider_error"),
        ("status", {"status": 503, "acts": True}, 502, "provider_error"),
        ("html", {"status": 200, "acts": True}, 502, "provider_error"),
        ("malformed", {}, 502, "provider_error"),
        ("reset", {}, 503, "provider_unavailable"),
        ("reset_after", {}, 503, "provider_unavailable"),
        ("timeout_after", {"seconds": 0.2}, 503, "provider_unavailable"),
    ],
)
def test_each_trouble_has_its_code_and_a_second_try_succeeds(
    shop: Shop, kind: Any, details: dict[str, Any], status: int, code: str
) -> None:
    sku = shop.product()
    order_id = shop.ordered(sku)
    shop.chapa.add_fault("initialize", kind, **details)
    answer = shop.initialize(order_id)
    assert (answer.status, answer.code) == (status, code)
    assert told_to_ask_again(answer, order_id)
    if status > 500:
        assert "do not place another" in answer["detail"]
    begins_anew(shop, order_id, sku)


def test_a_chapa_that_does_not_answer_in_time_is_a_504(shop: Shop) -> None:
    sku = shop.product()
    order_id = shop.ordered(sku)
    shop.chapa.add_fault("initialize", "timeout_after", seconds=5)
    # No call lasts longer than what is left of the invocation: with less of it, the test is short.
    with shop.reconfigured("initialize", Timeout=5):
        answer = shop.initialize(order_id)
    assert (answer.status, answer.code) == (504, "provider_timeout")
    assert told_to_ask_again(answer, order_id)
    assert "do not place another" in answer["detail"]
    begins_anew(shop, order_id, sku)


def test_a_chapa_that_refuses_connections_is_a_503(shop: Shop) -> None:
    sku = shop.product()
    order_id = shop.ordered(sku)
    shop.chapa.refuse(1)
    answer = shop.initialize(order_id)
    assert (answer.status, answer.code) == (503, "provider_unavailable")
    assert told_to_ask_again(answer, order_id)
    until(shop.chapa.answers, bool, "Chapa answers again")
    begins_anew(shop, order_id, sku)


def test_input_that_chapa_refuses_comes_back_in_its_own_words(shop: Shop) -> None:
    order_id = shop.place({shop.product(): 1}, customer={"email": "birtukan@example.com"})[
        "order_id"
    ]
    answer = shop.initialize(order_id)
    assert (answer.status, answer.code) == (400, "provider_rejected")
    assert answer["provider_message"] == {"email": ["validation.email"]}
    assert shop.state(order_id) == ("pending", ["closed"])


def test_a_lost_payment_that_was_paid_all_the_same_pays_its_order(shop: Shop) -> None:
    sku = shop.product()
    order_id = shop.ordered(sku)
    shop.chapa.add_fault("initialize", "reset_after")
    assert shop.initialize(order_id).status == 503
    [payment] = shop.order(order_id)["payments"]
    assert payment["status"] == "initializing"
    shop.chapa.pay(payment["tx_ref"], webhook=False)
    answer = shop.initialize(order_id)
    assert (answer.status, answer.code) == (409, "order_not_payable")
    assert shop.state(order_id) == ("paid", ["succeeded"])
    assert shop.stock(sku) == Stock(8, 0, 2)


def test_a_lost_payment_is_not_replaced_while_it_cannot_be_shut(shop: Shop) -> None:
    sku = shop.product()
    order_id = shop.ordered(sku)
    shop.chapa.add_fault("initialize", "reset_after")
    assert shop.initialize(order_id).status == 503
    shop.chapa.add_fault("cancel", "status", status=500)
    answer = shop.initialize(order_id)
    assert (answer.status, answer.code) == (503, "provider_unavailable")
    assert told_to_ask_again(answer, order_id)
    assert len(shop.order(order_id)["payments"]) == 1
    begins_anew(shop, order_id, sku)
