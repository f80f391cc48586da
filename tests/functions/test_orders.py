import json
from typing import Any

import pytest

from tests.shop import Shop, http_event

GOOD = {"sku": "MUG", "quantity": 1}

BAD_ITEMS: list[Any] = [None, [], {}, GOOD, "coffee", [None], ["coffee"], [{}]]

BAD_BODIES: list[Any] = [
    "\ud800",
    b'{"items": [{"sku": "MUG\x00", "quantity": 1}]}',
    b" " * 1_000_000,
    *({"items": items} for items in BAD_ITEMS),
    {"items": [{"sku": "MUG"}]},
    {"items": [{"quantity": 1}]},
    {"items": [{"SKU": "MUG", "quantity": 1}]},
    {"items": [GOOD | {"unit_price": "0.01"}]},
    *(
        {"items": [GOOD | {"sku": sku}]}
        for sku in ("", "STOCK#MUG", 7, "a b", "../STOCK", "x" * 65)
    ),
    *(
        {"items": [GOOD | {"quantity": quantity}]}
        for quantity in (0, -1, 10_001, 10**30, 1.0, 1.5, "1", True, None)
    ),
    {"items": [GOOD | {"quantity": 9_999}, GOOD | {"quantity": 9_999}]},
    {"items": [GOOD] * 501},
]

WRONG_FIELDS: list[dict[str, Any]] = [
    *({"total": "1.00"}, {"amount": "1.00"}, {"status": "paid"}, {"user_id": "sara"}),
    *(
        {"customer": customer}
        for customer in (
            "abebe",
            {"email": "abebe"},
            {"email": "a@b.et" * 100},
            *(
                {"phone_number": number}
                for number in ("12", "12345", 911928374, "0811111111", "09" + "\u0661" * 8)
            ),
            *({"first_name": name} for name in ("", "x" * 101, "two\nlines")),
            {"last_name": "a" * 101},
            {"password": "x"},
        )
    ),
]


def test_bad_order_is_refused_and_writes_nothing(shop: Shop, subtests: pytest.Subtests) -> None:
    before = shop.dump()
    for body in [*BAD_BODIES, *({"items": [GOOD]} | extra for extra in WRONG_FIELDS)]:
        with subtests.test(f"{body!r:.60}"):
            response = shop.http("orders", http_event("POST", body))
            assert (response.status, response.code) == (400, "invalid_request")
            assert response.headers["content-type"] == "application/problem+json"
    assert shop.dump() == before


def test_refusal_names_the_unknown_or_wrong_field(shop: Shop, subtests: pytest.Subtests) -> None:
    for extra in WRONG_FIELDS:
        with subtests.test(json.dumps(extra)[:60]):
            response = shop.http("orders", http_event("POST", {"items": [GOOD]} | extra))
            [field] = extra
            assert {error["field"].split(".")[0] for error in response.body["errors"]} == {field}


@pytest.mark.parametrize("key", ["", "k" * 201])
def test_idempotency_key_of_bad_length_is_refused(shop: Shop, key: str) -> None:
    event = http_event("POST", {"items": [GOOD]}, headers={"Idempotency-Key": key})
    assert shop.http("orders", event).code == "invalid_request"


def test_response_does_not_repeat_what_was_sent(shop: Shop) -> None:
    body = {"items": [GOOD], "customer": {"email": "abebe at example"}}
    assert "abebe" not in json.dumps(shop.http("orders", http_event("POST", body)).body)


@pytest.mark.parametrize("number", ["+251911223344", "251911223344", "0911223344"])
def test_phone_number_is_stored_as_chapa_wants_it(shop: Shop, number: str) -> None:
    order_id = shop.order(customer={"phone_number": number}).body["order_id"]
    assert shop.aggregate(order_id).order.customer == {"phone_number": "0911223344"}
