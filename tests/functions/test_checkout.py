import json
from typing import Any

import pytest

from tests.shop import Shop, http_event

GOOD = {"sku": "MUG", "quantity": 1}


@pytest.mark.parametrize(
    "body",
    [
        "",
        "{",
        "null",
        "[]",
        "NaN",
        "\ud800",
        "[" * 10_000,
        {},
        {"items": None},
        {"items": []},
        {"items": GOOD},
        {"items": [GOOD], "total": "1.00"},
        {"items": [GOOD | {"unit_price": "0.01"}]},
        {"items": [{"sku": "MUG"}]},
        {"items": [{"sku": "", "quantity": 1}]},
        {"items": [{"sku": "STOCK#MUG", "quantity": 1}]},
        {"items": [{"sku": 7, "quantity": 1}]},
        *({"items": [GOOD | {"quantity": q}]} for q in (0, -1, 10_001, 10**30, 1.0, "1", True)),
        {"items": [GOOD | {"quantity": None}]},
        {"items": [GOOD | {"quantity": 9_999}, GOOD | {"quantity": 9_999}]},
        {"items": [GOOD] * 501},
        {"items": [GOOD], "customer": "abebe"},
        {"items": [GOOD], "customer": {"email": "nobody"}},
        {"items": [GOOD], "customer": {"phone_number": "12345"}},
        {"items": [GOOD], "customer": {"phone_number": "0811111111"}},
        {"items": [GOOD], "customer": {"phone_number": "09" + "\u0661" * 8}},
        {"items": [GOOD], "customer": {"first_name": ""}},
        {"items": [GOOD], "customer": {"first_name": "a\nb"}},
        {"items": [GOOD], "customer": {"last_name": "a" * 101}},
        {"items": [GOOD], "customer": {"password": "x"}},
        "x" * 1_000_000,
    ],
    ids=lambda body: json.dumps(body)[:60],
)  # fmt: skip
def test_bad_input_is_a_bad_request_and_writes_nothing(shop: Shop, body: Any) -> None:
    before = shop.dump()
    answer = shop.http("checkout", http_event("POST", body))
    assert (answer.status, answer.code) == (400, "invalid_request")
    assert answer.headers["content-type"] == "application/problem+json"
    assert shop.dump() == before


@pytest.mark.parametrize("key", ["", "k" * 201])
def test_an_idempotency_key_has_a_length(shop: Shop, key: str) -> None:
    event = http_event("POST", {"items": [GOOD]}, headers={"Idempotency-Key": key})
    assert shop.http("checkout", event).code == "invalid_request"


def test_the_answer_does_not_repeat_what_was_sent(shop: Shop) -> None:
    body = {"items": [GOOD], "customer": {"email": "abebe at example"}}
    assert "abebe" not in json.dumps(shop.http("checkout", http_event("POST", body)).body)


def test_a_number_with_the_country_s_prefix_is_sent_as_chapa_wants_it(shop: Shop) -> None:
    order_id = shop.order(customer={"phone_number": "+251911223344"}).body["order_id"]
    assert shop.story(order_id).order.customer == {"phone_number": "0911223344"}
