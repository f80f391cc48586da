"""Requests of one customer through several functions: refusals and what they name."""

import json
from typing import Any

import pytest

from tests.shop import Shop, http_event

GOOD = {"sku": "MUG", "quantity": 1}

BAD_ITEMS: list[Any] = [
    *({}, "coffee", [None], ["coffee"], [{}], [{"quantity": 1}]),
    *([GOOD | {"sku": sku}] for sku in ("a b", "../STOCK", "x" * 65)),
    [GOOD | {"quantity": 1.5}],
]

BAD_ORDERS: list[bytes | dict[str, Any]] = [
    b'{"items": [{"sku": "MUG\x00", "quantity": 1}]}',
    b" " * 1_000_000,
    *({"items": items} for items in BAD_ITEMS),
]

BAD_PAYMENTS: list[dict[str, Any]] = [
    *({"order_id": order_id} for order_id in (None, 7, ["a"], "", "a" * 65)),
    {"order_id": "a" * 20, "amount": "1.00"},
    {"orderId": "a" * 20},
]

WRONG_FIELDS: list[dict[str, Any]] = [
    {"amount": "1.00"},
    {"status": "paid"},
    {"user_id": "sara"},
    *(
        {"customer": customer}
        for customer in (
            "Birtukan",
            {"email": "nobody"},
            {"email": "a@b.et" * 100},
            {"phone_number": "12"},
            {"phone_number": 911928374},
            {"first_name": ""},
            {"first_name": "x" * 101},
            {"first_name": "two\nlines"},
            {"password": "x"},
        )
    ),
]


def test_bad_order_or_payment_is_refused_and_writes_nothing(
    shop: Shop, subtests: pytest.Subtests
) -> None:
    before = shop.dump()
    requests = [("checkout", body) for body in BAD_ORDERS]
    requests += [("initialize", body) for body in BAD_PAYMENTS]
    for function, body in requests:
        with subtests.test(f"{function} {body!r:.60}"):
            response = shop.http(function, http_event("POST", body))
            assert (response.status, response.code) == (400, "invalid_request")
    assert shop.dump() == before


def test_refusal_names_the_unknown_or_wrong_field(shop: Shop, subtests: pytest.Subtests) -> None:
    for extra in WRONG_FIELDS:
        with subtests.test(json.dumps(extra)[:60]):
            response = shop.http("checkout", http_event("POST", {"items": [GOOD]} | extra))
            assert (response.status, response.code) == (400, "invalid_request")
            [field] = extra
            assert {error["field"].split(".")[0] for error in response.body["errors"]} == {field}


@pytest.mark.parametrize(
    ("items", "skus"), [({"NOTHING": 1, "MUG": 1}, ["NOTHING"]), ({"MUG": 3}, ["MUG"])]
)
def test_refusal_names_the_products_that_cannot_be_sold(
    shop: Shop, items: dict[str, int], skus: list[str]
) -> None:
    assert shop.order(items).body["skus"] == skus


@pytest.mark.parametrize("status", ["paid", "expired"])
def test_refusal_names_the_status_of_an_ended_order(shop: Shop, status: str) -> None:
    order_id, tx_ref = shop.begun()
    if status == "paid":
        shop.control.pay(tx_ref, webhook=False)
        shop.notify(tx_ref)
    else:
        shop.clock.advance(1800)
        shop.sweep()
    response = shop.pay(order_id)
    assert (response.code, response.body["order_status"]) == ("order_not_payable", status)


def test_refresh_of_a_missing_payment_is_not_found(shop: Shop) -> None:
    for tx_ref in ("x", "%00", "a" * 20, "a" * 20 + "-" + "b" * 24, "a" * 3_000):
        response = shop.status(tx_ref, refresh=True)
        assert (response.status, response.code) == (404, "payment_not_found")


def test_second_cancel_of_a_paid_order_is_refused_too(shop: Shop) -> None:
    order_id, tx_ref = shop.begun()
    shop.control.pay(tx_ref, webhook=False)
    event = http_event("POST", path={"order_id": order_id})
    responses = [shop.http("checkout", event) for _ in range(2)]
    assert [(response.status, response.code) for response in responses] == [(409, "order_paid")] * 2
    assert "order.cancelled" not in shop.ledger(order_id)


def test_payment_between_cancel_and_final_verify_pays_the_order(shop: Shop) -> None:
    order_id, tx_ref = shop.begun()
    shop.clock.advance(1800)

    def pay_before_the_next_verify() -> None:
        shop.before_chapa("verify", lambda: shop.control.pay(tx_ref, late=True, webhook=False))

    shop.before_chapa("cancel", pay_before_the_next_verify)
    shop.sweep()
    assert shop.story(order_id).order.status == "paid"
    assert "order.expired" not in shop.ledger(order_id)


def callback(shop: Shop, **query: str) -> tuple[int, dict[str, Any]]:
    response = shop.http("webhook", http_event("GET", user=None, query=query))
    return response.status, response.body


def test_callback_that_names_the_tx_ref_otherwise_leads_to_a_check(shop: Shop) -> None:
    order_id, tx_ref = shop.begun()
    shop.control.pay(tx_ref, webhook=False)
    assert callback(shop, tx_ref=tx_ref) == (202, {"outcome": "noted"})
    shop.clock.advance(3)
    shop.work()
    assert shop.story(order_id).order.status == "paid"


def test_callback_about_an_unknown_payment_writes_nothing(shop: Shop) -> None:
    order_id, _ = shop.begun()
    before = shop.dump()
    for tx_ref in (f"{order_id}-{'a' * 24}", "nonsense", "\0💥", "x" * 5_000):
        assert callback(shop, trx_ref=tx_ref) == (202, {"outcome": "noted"})
        shop.clock.advance(3)
        shop.work()
    assert shop.dump() == before


@pytest.mark.parametrize("event", ["payout.success", "payout.failed/cancelled", "party.began"])
def test_event_about_something_else_needs_no_tx_ref(shop: Shop, event: str) -> None:
    response = shop.webhook({"event": event, "tx_ref": None})
    assert (response.status, response.body) == (200, {"outcome": "ignored"})
