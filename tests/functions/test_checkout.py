import json
from typing import Any

import pytest

from tests.shop import Shop, http_event

GOOD = {"sku": "MUG", "quantity": 1}

BAD: list[Any] = [
    "\ud800",
    {"items": None},
    {"items": []},
    {"items": GOOD},
    {"items": [GOOD], "total": "1.00"},
    {"items": [GOOD | {"unit_price": "0.01"}]},
    {"items": [{"sku": "MUG"}]},
    {"items": [{"SKU": "MUG", "quantity": 1}]},
    *({"items": [GOOD | {"sku": sku}]} for sku in ("", "STOCK#MUG", 7)),
    *({"items": [GOOD | {"quantity": q}]} for q in (0, -1, 10_001, 10**30, 1.0, "1", True, None)),
    {"items": [GOOD | {"quantity": 9_999}, GOOD | {"quantity": 9_999}]},
    {"items": [GOOD] * 501},
    {"items": [GOOD], "customer": "abebe"},
    {"items": [GOOD], "customer": {"email": "abebe"}},
    {"items": [GOOD], "customer": {"phone_number": "12345"}},
    {"items": [GOOD], "customer": {"phone_number": "0811111111"}},
    {"items": [GOOD], "customer": {"phone_number": "09" + "\u0661" * 8}},
    {"items": [GOOD], "customer": {"first_name": ""}},
    {"items": [GOOD], "customer": {"first_name": "a\nb"}},
    {"items": [GOOD], "customer": {"last_name": "a" * 101}},
    {"items": [GOOD], "customer": {"password": "x"}},
]


def test_bad_input_is_refused_and_writes_nothing(shop: Shop, subtests: pytest.Subtests) -> None:
    before = shop.dump()
    for body in BAD:
        with subtests.test(json.dumps(body)[:60]):
            response = shop.http("checkout", http_event("POST", body))
            assert (response.status, response.code) == (400, "invalid_request")
            assert response.headers["content-type"] == "application/problem+json"
    assert shop.dump() == before


@pytest.mark.parametrize("key", ["", "k" * 201])
def test_idempotency_key_of_bad_length_is_refused(shop: Shop, key: str) -> None:
    event = http_event("POST", {"items": [GOOD]}, headers={"Idempotency-Key": key})
    assert shop.http("checkout", event).code == "invalid_request"


def test_response_does_not_repeat_what_was_sent(shop: Shop) -> None:
    body = {"items": [GOOD], "customer": {"email": "abebe at example"}}
    assert "abebe" not in json.dumps(shop.http("checkout", http_event("POST", body)).body)


def test_phone_number_with_country_code_is_stored_as_chapa_wants_it(shop: Shop) -> None:
    order_id = shop.order(customer={"phone_number": "+251911223344"}).body["order_id"]
    assert shop.story(order_id).order.customer == {"phone_number": "0911223344"}
