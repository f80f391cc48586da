"""Requests of one customer through several functions: refusals and what they name."""

from typing import Any

import pytest

from tests.shop import Shop, http_event

BAD_PAYMENTS: list[dict[str, Any]] = [
    *({"order_id": order_id} for order_id in (None, 7, ["a"], "", "a" * 65)),
    {"order_id": "a" * 12, "amount": "1.00"},
    {"orderId": "a" * 12},
]


def test_bad_payment_is_refused_and_writes_nothing(shop: Shop, subtests: pytest.Subtests) -> None:
    before = shop.dump()
    for body in BAD_PAYMENTS:
        with subtests.test(f"{body!r:.60}"):
            response = shop.http("initialize", http_event("POST", body))
            assert (response.status, response.code) == (400, "invalid_request")
    assert shop.dump() == before


@pytest.mark.parametrize("claims", [{}, {"sub": ""}, {"sub": " "}, {"sub": None}])
def test_token_without_a_subject_is_refused_by_every_route(
    shop: Shop, claims: dict[str, object]
) -> None:
    order_id, tx_ref = shop.begun()
    before = shop.dump()
    for function, event in (
        ("orders", http_event("POST", {"items": [{"sku": "MUG", "quantity": 1}]})),
        ("orders", http_event("POST", path={"order_id": order_id})),
        ("initialize", http_event("POST", {"order_id": order_id})),
        ("status", http_event("GET", path={"order_id": order_id})),
        ("status", http_event("GET", path={"tx_ref": tx_ref})),
    ):
        event["requestContext"]["authorizer"]["jwt"]["claims"] = claims
        response = shop.http(function, event)
        assert (response.status, response.code) == (403, "no_subject")
    assert shop.dump() == before


@pytest.mark.parametrize(
    ("items", "skus"), [({"NOTHING": 1, "MUG": 1}, ["NOTHING"]), ({"MUG": 3}, ["MUG"])]
)
def test_refusal_names_the_products_that_cannot_be_sold(
    shop: Shop, items: dict[str, int], skus: list[str]
) -> None:
    assert shop.order(items).body["skus"] == skus


@pytest.mark.parametrize("status", ["paid", "expired"])
def test_refusal_names_the_status_of_an_ended_order(shop: Shop, status: str) -> None:
    order_id, _ = shop.paid() if status == "paid" else shop.expired()
    response = shop.pay(order_id)
    assert (response.code, response.body["order_status"]) == ("order_not_payable", status)


def test_second_cancel_of_a_paid_order_is_refused_too(shop: Shop) -> None:
    order_id, tx_ref = shop.begun()
    shop.control.pay(tx_ref, webhook=False)
    responses = [shop.cancel(order_id) for _ in range(2)]
    assert [(response.status, response.code) for response in responses] == [(409, "order_paid")] * 2
    assert "order.cancelled" not in shop.event_names(order_id)
