"""Requests that are not as they should be: each has its problem document, and writes nothing."""

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest

from sandbox.client import Response, until
from tests.journeys.shop import Shop, is_problem


@pytest.fixture(autouse=True)
def _unchanged(shop: Shop, prepared: "Prepared") -> Iterator[None]:
    """Whatever a test of this file sends, the table stays as it was."""
    with shop.nothing_written():
        yield


class Prepared:
    """A product and orders in each state, made once."""

    def __init__(self, shop: Shop) -> None:
        self.sku = shop.product(5)
        self.open, self.tx_ref = shop.begun(self.sku, 1)
        self.paid, _ = shop.paid(self.sku, 1)
        self.expired, _ = shop.expired(self.sku, 1)


@pytest.fixture(scope="module")
def prepared(_stack: Shop) -> Prepared:
    return Prepared(_stack)


def refused(answer: Response, status: int, code: str) -> bool:
    return (answer.status, answer.code) == (status, code) and is_problem(answer)


NOT_JSON = {
    "nothing": b"",
    "half of it": b'{"items": [',
    "not UTF-8": b'{"items": "\xff\xfe"}',
    "not JSON at all": b"items=coffee&quantity=1",
    "a number that is none": b'{"items": [{"sku": "x", "quantity": NaN}]}',
    "two documents": b"{}{}",
    "half a surrogate pair": rb'{"items": [{"sku": "\ud800", "quantity": 1}]}',
    "a null byte": b'{"items": [{"sku": "x\x00", "quantity": 1}]}',
    "very deep": b"[" * 30_000,
    "one megabyte": b'{"items": "' + b"x" * 1_000_000 + b'"}',
    "one megabyte of nothing": b" " * 1_000_000,
    "an array": b"[]",
    "a string": b'"order"',
    "null": b"null",
}


@pytest.mark.parametrize("path", ["/orders", "/payments"])
@pytest.mark.parametrize("data", NOT_JSON.values(), ids=NOT_JSON.keys())
def test_a_body_that_is_no_request_is_refused(shop: Shop, path: str, data: bytes) -> None:
    for headers in ({"content-type": "application/json"}, {}):
        answer = shop.ask("POST", path, data=data, user="abebe", headers=headers)
        assert refused(answer, 400, "invalid_request")
        assert len(json.dumps(answer.body)) < 5_000


@pytest.mark.parametrize(
    "items",
    [
        None,
        [],
        {},
        "coffee",
        [None],
        ["coffee"],
        [{}],
        [{"sku": "SKU"}],
        [{"quantity": 1}],
        [{"sku": 7, "quantity": 1}],
        [{"sku": "", "quantity": 1}],
        [{"sku": "a b", "quantity": 1}],
        [{"sku": "../STOCK", "quantity": 1}],
        [{"sku": "x" * 65, "quantity": 1}],
        [{"sku": "SKU", "quantity": 0}],
        [{"sku": "SKU", "quantity": -1}],
        [{"sku": "SKU", "quantity": 1.5}],
        [{"sku": "SKU", "quantity": 1.0}],
        [{"sku": "SKU", "quantity": "1"}],
        [{"sku": "SKU", "quantity": True}],
        [{"sku": "SKU", "quantity": None}],
        [{"sku": "SKU", "quantity": 10_001}],
        [{"sku": "SKU", "quantity": 10**30}],
        [{"sku": "SKU", "quantity": 6_000}, {"sku": "SKU", "quantity": 6_000}],
        [{"sku": "SKU", "quantity": 1, "unit_price": "0.01"}],
        [{"sku": "SKU", "quantity": 1}] * 501,
        [{"sku": f"p{n}", "quantity": 1} for n in range(91)],
    ],
    ids=lambda items: json.dumps(items)[:50],
)
def test_items_that_cannot_be_ordered_are_refused(
    shop: Shop, prepared: Prepared, items: Any
) -> None:
    body = json.loads(json.dumps({"items": items}).replace('"SKU"', f'"{prepared.sku}"'))
    assert refused(shop.ask("POST", "/orders", body, user="abebe"), 400, "invalid_request")


@pytest.mark.parametrize(
    "extra",
    [
        {"amount": "1.00"},
        {"status": "paid"},
        {"user_id": "sara"},
        {"customer": "Birtukan"},
        {"customer": {"email": "nobody"}},
        {"customer": {"email": "a@b.et" * 100}},
        {"customer": {"phone_number": "12"}},
        {"customer": {"phone_number": 911928374}},
        {"customer": {"first_name": ""}},
        {"customer": {"first_name": "x" * 101}},
        {"customer": {"first_name": "two\nlines"}},
        {"customer": {"password": "x"}},
    ],
    ids=lambda extra: json.dumps(extra)[:50],
)
def test_fields_that_are_unknown_or_wrong_are_named(
    shop: Shop, prepared: Prepared, extra: dict[str, Any]
) -> None:
    body = {"items": [{"sku": prepared.sku, "quantity": 1}]} | extra
    answer = shop.ask("POST", "/orders", body, user="abebe")
    assert refused(answer, 400, "invalid_request")
    [field] = extra
    assert {error["field"].split(".")[0] for error in answer["errors"]} == {field}


@pytest.mark.parametrize("key", ["", "x" * 201])
def test_an_idempotency_key_of_no_or_too_many_characters_is_refused(
    shop: Shop, prepared: Prepared, key: str
) -> None:
    assert refused(shop.place({prepared.sku: 1}, key=key), 400, "invalid_request")


def test_products_that_cannot_be_sold_are_refused(shop: Shop, prepared: Prepared) -> None:
    unknown = shop.place({"no-such-product": 1, prepared.sku: 1})
    assert refused(unknown, 422, "unknown_sku")
    assert unknown["skus"] == ["no-such-product"]
    mixed = shop.place({"jebena": 1, "gift-card-usd": 1})
    assert refused(mixed, 422, "mixed_currency")
    sold_out = shop.place({prepared.sku: 6})
    assert refused(sold_out, 409, "out_of_stock")
    assert sold_out["skus"] == [prepared.sku]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"order_id": None},
        {"order_id": 7},
        {"order_id": ["a"]},
        {"order_id": ""},
        {"order_id": "a" * 65},
        {"order_id": "a" * 20, "amount": "1.00"},
        {"orderId": "a" * 20},
    ],
    ids=json.dumps,
)
def test_a_payment_of_nothing_is_refused(shop: Shop, body: dict[str, Any]) -> None:
    assert refused(shop.ask("POST", "/payments", body, user="abebe"), 400, "invalid_request")


@pytest.mark.parametrize("order_id", ["a" * 20, "nonsense", "ORDER#x", "../..", "💥", " "])
def test_an_order_that_is_not_there_cannot_be_paid(shop: Shop, order_id: str) -> None:
    assert refused(shop.initialize(order_id), 404, "order_not_found")


def test_somebody_else_s_order_is_not_there(shop: Shop, prepared: Prepared) -> None:
    told = shop.initialize(prepared.open, user="sara")
    assert refused(told, 404, "order_not_found")
    assert told.body == shop.initialize("a" * 20, user="sara").body | {"order_id": prepared.open}
    assert refused(shop.order(prepared.open, user="sara"), 404, "order_not_found")
    for refresh in (False, True):
        seen = shop.payment(prepared.tx_ref, user="sara", refresh=refresh)
        assert refused(seen, 404, "payment_not_found")
    assert shop.calls("verify", prepared.tx_ref) == []


@pytest.mark.parametrize("state", ["paid", "expired"])
def test_an_order_that_has_ended_cannot_be_paid(shop: Shop, prepared: Prepared, state: str) -> None:
    answer = shop.initialize(getattr(prepared, state))
    assert refused(answer, 409, "order_not_payable")
    assert answer["order_status"] == state


@pytest.mark.parametrize("order_id", ["x", "%00", "%F0%9F%92%A5", "a" * 20, "a" * 3_000])
def test_an_order_that_is_not_there_cannot_be_seen(shop: Shop, order_id: str) -> None:
    assert refused(shop.order(order_id), 404, "order_not_found")


@pytest.mark.parametrize("tx_ref", ["x", "%00", "a" * 20, "a" * 20 + "-" + "b" * 24, "a" * 3_000])
def test_a_payment_that_is_not_there_cannot_be_seen(shop: Shop, tx_ref: str) -> None:
    for refresh in (False, True):
        assert refused(shop.payment(tx_ref, refresh=refresh), 404, "payment_not_found")


def test_refresh_is_true_or_false(shop: Shop, prepared: Prepared) -> None:
    answer = shop.ask("GET", f"/payments/{prepared.tx_ref}?refresh=maybe", user="abebe")
    assert refused(answer, 400, "invalid_request")


ROUTES = [
    ("POST", "/orders"),
    ("GET", "/orders/{open}"),
    ("POST", "/payments"),
    ("GET", "/payments/{tx_ref}"),
]


def forged_tokens(genuine: str) -> dict[str, str | None]:
    header, claims, signature = genuine.split(".")

    def encoded(part: Any) -> str:
        return base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")

    told = json.loads(base64.urlsafe_b64decode(claims + "=="))
    unsigned = encoded({"alg": "none", "typ": "JWT"})
    return {
        "none": None,
        "empty": "",
        "nonsense": "nonsense",
        "another's claims": f"{header}.{encoded(told | {'sub': 'sara'})}.{signature}",
        "no algorithm": f"{unsigned}.{claims}.",
        "no signature": f"{header}.{claims}.",
        "a signature of zeros": f"{header}.{claims}.{'A' * len(signature)}",
    }


@pytest.mark.parametrize(("method", "path"), ROUTES, ids=[f"{m} {p}" for m, p in ROUTES])
def test_without_a_token_that_the_issuer_signed_nobody_gets_in(
    shop: Shop, prepared: Prepared, method: str, path: str
) -> None:
    body = {
        "/orders": {"items": [{"sku": prepared.sku, "quantity": 1}]},
        "/payments": {"order_id": prepared.open},
    }
    for token in forged_tokens(shop.stack["users"]["abebe"]["token"]).values():
        answer = shop.ask(method, path.format_map(vars(prepared)), body.get(path), token=token)
        # The gateway says this, not a function: it has no problem document.
        assert (answer.status, answer.body) == (401, {"message": "Unauthorized"})


def test_a_token_that_has_run_out_is_refused(shop: Shop, prepared: Prepared) -> None:
    token = shop.brief_token()
    path = f"/orders/{prepared.open}"
    answer = until(
        lambda: shop.ask("GET", path, token=token),
        lambda answer: answer.status == 401,
        "the token has run out",
    )
    assert answer.body == {"message": "Unauthorized"}


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/"), ("GET", "/orders"), ("DELETE", "/orders/x"), ("PUT", "/payments"),
     ("POST", "/webhooks"), ("DELETE", "/webhooks/chapa"), ("POST", "/payments/x/refunds")],
)  # fmt: skip
def test_what_is_no_route_is_not_found(shop: Shop, method: str, path: str) -> None:
    answer = shop.ask(method, path, user="abebe")
    assert (answer.status, answer.body) == (404, {"message": "Not Found"})


@pytest.mark.parametrize("event", ["payout.success", "customer.created", "x"])
def test_a_webhook_about_something_else_is_ignored(
    shop: Shop, prepared: Prepared, event: str
) -> None:
    body = json.dumps({"event": event, "tx_ref": prepared.tx_ref}).encode()
    assert shop.notify(body).body == {"outcome": "ignored"}
