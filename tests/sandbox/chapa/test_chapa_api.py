"""Initialize, verify and cancel."""

import json
import re
from typing import Any

import pytest
import requests

from sandbox.chapa.in_process import BASE_URL
from tests.sandbox.chapa.merchant import LIVE_KEY, LocalMerchant

UNPAID = {"message": "Payment not paid yet", "status": None, "data": None}
USED = "Transaction reference has been used before"


def refusal(response: requests.Response) -> Any:
    """The message of a 400, after a check of its form."""
    assert response.status_code == 400
    body = response.json()
    assert (body["status"], body["data"]) == ("failed", None)
    return body["message"]


def test_initialize_returns_its_own_hosted_link(merchant: LocalMerchant) -> None:
    urls = []
    for tx_ref in ("tx-1", "tx-2"):
        response = merchant.initialize(tx_ref)
        assert response.status_code == 200
        body = response.json()
        assert (body["message"], body["status"]) == ("Hosted Link", "success")
        urls.append(body["data"]["checkout_url"])
        assert re.fullmatch(rf"{BASE_URL}/checkout/payment/[A-Za-z0-9]{{45}}", urls[-1])
    assert urls[0] != urls[1]


def test_form_is_read_like_json_and_bracket_keys_only_in_forms(merchant: LocalMerchant) -> None:
    form = {"amount": "10", "currency": "ETB", "tx_ref": "tx-1", "customization[title]": "Shoes"}
    form["meta[order][id]"] = "o-1"
    assert merchant.call("POST", "/transaction/initialize", data=form).status_code == 200
    payment = merchant.control.payment("tx-1")
    assert payment["customization"]["title"] == "Shoes"
    assert payment["meta"] == {"order": {"id": "o-1"}}
    response = merchant.initialize("tx-2", **{"customization[title]": "A title that is too long"})
    assert response.status_code == 200
    assert merchant.control.payment("tx-2")["customization"]["title"] is None


def test_call_without_secret_key_is_unauthorized(merchant: LocalMerchant) -> None:
    texts = dict.fromkeys(("", "Basic abc", "Bearer "), "Authorization required")
    for key in ("Bearer CHAPUBK_TEST-abc", "Bearer sk_test_abc"):
        texts[key] = "Invalid API Key or User doesn't exist"
    for authorization, text in texts.items():
        headers = {"Authorization": authorization}
        response = merchant.call("GET", "/transaction/verify/tx-1", key="", headers=headers)
        assert response.status_code == 401
        assert response.json() == {"message": text, "status": "failed", "data": None}


BAD: dict[str, list[Any]] = {
    "amount": [None, "ten", "1,000.00", "1_000", "1e3", True, "0", -1, "1.005", "10000000.00"],
    "currency": [None],
    "tx_ref": [None, "x" * 51, 7],
    "email": ["unknown", "a@example.com", "a@shop.test"],
    "phone_number": ["+251911234567", "0811234567"],
    "callback_url": ["shop.et/callback"],
    "return_url": ["ftp://shop.et"],
    "meta": ["text"],
    "customization": ["text"],
    "customization.title": ["x" * 17],
    "customization.description": ["x" * 51, "ጫማ", "a, b"],
    "customization.logo": ["logo.png"],
}


@pytest.mark.parametrize("name", BAD)
def test_bad_field_is_refused_by_name(merchant: LocalMerchant, name: str) -> None:
    for value in BAD[name]:
        outer, _, inner = name.partition(".")
        fields: dict[str, Any] = {outer: {inner: value} if inner else value}
        assert list(refusal(merchant.initialize(**fields))) == [name], value


def test_fields_at_the_limits_are_accepted(merchant: LocalMerchant) -> None:
    accepted: list[dict[str, Any]] = [
        {"amount": 1500.5},
        {"amount": "9999999.99", "currency": "USD"},
        {"tx_ref": "x" * 50},
        {"email": "abebe@gmail.com", "phone_number": "0911234567"},
        {"customization": {"title": "x" * 16, "description": "Two shoes_size-40. " + "x" * 31}},
    ]
    for number, fields in enumerate(accepted):
        response = merchant.initialize(**{"tx_ref": f"tx-{number}", **fields})
        assert response.status_code == 200, fields


def test_texts_of_known_field_rules(merchant: LocalMerchant) -> None:
    custom = {"title": "x" * 17, "description": "x" * 51}
    message = refusal(
        merchant.initialize(amount=None, currency="", email="unknown", customization=custom)
    )
    assert message == {
        "amount": ["validation.required"],
        "currency": ["validation.required"],
        "email": ["validation.email"],
        "customization.title": ["The customization.title must not exceed 16 characters."],
        "customization.description": [
            "The customization.description must not exceed 50 characters."
        ],
    }
    message = refusal(merchant.initialize(currency="EUR"))
    assert message == "Invalid currency, EUR is not supported"
    response = merchant.call("POST", "/transaction/initialize", data=b"{}")
    assert refusal(response).startswith("Incorrect header settings")


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"\xff", b'{"tx_ref": "\\ud800"}', b'{"amount": NaN}', b"[" * 100_000],
)
def test_unreadable_json_has_no_fields(merchant: LocalMerchant, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    response = merchant.call("POST", "/transaction/initialize", data=body, headers=headers)
    message = refusal(response)
    assert message == {name: ["validation.required"] for name in ("amount", "currency", "tx_ref")}


def test_switches_of_validation(merchant: LocalMerchant) -> None:
    control = merchant.control
    control.switch(phone="international")
    assert merchant.initialize(phone_number="+251911234567").status_code == 200
    control.switch(email="required")
    assert refusal(merchant.initialize("tx-2")) == {"email": ["validation.required"]}
    control.switch(email="refused", phone="refused")
    customer = {"email": "abebe@gmail.com", "phone_number": "0911234567"}
    assert refusal(merchant.initialize("tx-2", **customer)).keys() == customer.keys()
    control.switch(email="required", validation="off")
    custom = {"title": "x" * 99, "description": "ጫማ"}
    response = merchant.initialize("tx-2", email="unknown", amount="1.005", customization=custom)
    assert response.status_code == 200
    assert list(refusal(merchant.initialize("tx-3", email="a", amount="ten"))) == ["amount"]


def test_tx_ref_can_be_used_once(merchant: LocalMerchant) -> None:
    refusal(merchant.initialize(amount="0"))  # A refused request does not use it.
    assert merchant.initialize().status_code == 200
    assert refusal(merchant.initialize()) == USED
    merchant.clock.advance(10 * 365 * 86400)
    assert refusal(merchant.initialize()) == USED
    assert refusal(merchant.initialize(key=LIVE_KEY)) == USED
    merchant.control.switch(duplicate_tx_ref="per_mode")
    assert merchant.initialize(key=LIVE_KEY).status_code == 200
    assert refusal(merchant.initialize(key=LIVE_KEY)) == USED
    merchant.control.switch(refusals="200")
    response = merchant.initialize()
    assert response.status_code == 200
    assert response.json() == {"message": USED, "status": "failed", "data": None}


def test_verify_and_webhook_of_a_success_have_all_fields(merchant: LocalMerchant) -> None:
    fields: dict[str, Any] = {"first_name": "Abebe", "meta": {"rate": 1.5, "note": "ጫማ"}}
    custom = {"title": "Shoes", "description": "One pair"}
    reference = merchant.paid(
        amount="1500.50", phone_number="0911234567", customization=custom, **fields
    )
    assert re.fullmatch(r"AP[A-Za-z0-9]{10}", reference)
    shared = fields | {
        "last_name": None,
        "email": None,
        "currency": "ETB",
        "mode": "test",
        "type": "API",
        "status": "success",
        "reference": reference,
        "tx_ref": "tx-1",
        "customization": {**custom, "logo": None},
        "created_at": "2026-11-22T09:00:00.000000Z",
        "updated_at": "2026-11-22T09:00:00.000000Z",
    }
    assert merchant.verify().status_code == 200
    assert merchant.verify().json() == {
        "message": "Payment details",
        "status": "success",
        "data": shared | {"amount": 1500.5, "charge": 52.52, "method": "test"},
    }
    assert merchant.webhooks == []
    assert merchant.deliver() == [200]
    assert json.loads(merchant.webhooks[0].body) == shared | {
        "event": "charge.success",
        "amount": "1500.50",
        "charge": "52.52",
        "mobile": "0911234567",
        "payment_method": "test",
    }


def statuses(outer: str | None, inner: str) -> dict[str, Any]:
    return {"status": outer, "data.status": inner}


NOT_FOUND = {"message": "Invalid transaction or Transaction not found", "status": "failed"}
INVALID = {**NOT_FOUND, "message": "Invalid transaction reference", "data": None}
PENDING_AFTER_CANCEL = {"verify_cancelled": "unpaid", "verify_unpaid": "pending"}
FETCHED = {"message": "Payment details fetched successfully"}


@pytest.mark.parametrize(
    ("state", "switches", "code", "expected"),
    [
        ("unknown", {}, 404, NOT_FOUND),
        ("unknown", {"verify_unknown": "invalid_reference"}, 404, INVALID),
        ("initialize", {}, 404, UNPAID),
        ("initialize", {"verify_unpaid": "404_null_string"}, 404, {**UNPAID, "status": "null"}),
        ("initialize", {"verify_unpaid": "pending"}, 200, statuses("pending", "pending")),
        ("initialize", {"verify_unpaid": "200_null"}, 200, {**UNPAID, "status": "null"}),
        ("initialize", {"verify_unpaid": "400"}, 400, INVALID),
        ("begin", {}, 200, statuses("pending", "pending")),
        ("begin", {"top_level_status": "call"}, 200, statuses("success", "pending")),
        ("fail", {}, 200, statuses("failed/cancelled", "failed/cancelled")),
        ("fail", {"failed_word": "failed"}, 200, statuses("failed", "failed")),
        ("cancel", {"verify_cancelled": "unpaid"}, 404, UNPAID),
        ("cancel", PENDING_AFTER_CANCEL, 200, statuses("pending", "pending")),
        ("pay", {}, 200, {"data.amount": 10000}),
        ("pay", {"verify_amounts": "string"}, 200, {"data.amount": "10000.00"}),
        ("pay", {"verify_amounts": "commas"}, 200, {"data.amount": "10,000.00"}),
        ("pay", {"verify_amount": "less_charge"}, 200, {"data.amount": 9650}),
        ("pay", {"verify_case": "other"}, 200, {"data.currency": "etb", "data.mode": "TEST"}),
        ("pay", {"verify_message": "fetched"}, 200, FETCHED),
        ("pay", {"verify_meta": "dropped"}, 200, {"data.meta": None}),
    ],
)
def test_verify_follows_the_state_and_the_switches(
    merchant: LocalMerchant, state: str, switches: dict[str, str], code: int, expected: Any
) -> None:
    if state != "unknown":
        merchant.initialize(amount="10000.00", meta={"order": "o-1"})
    if state in ("begin", "fail", "cancel", "pay"):
        getattr(merchant.control, state)("tx-1")
    merchant.control.switch(**switches)
    response = merchant.verify()
    body = response.json()
    body |= {f"data.{name}": value for name, value in (body["data"] or {}).items()}
    assert response.status_code == code
    # As JSON, where 10000 and 10000.0 differ.
    assert json.dumps({name: body[name] for name in expected}) == json.dumps(expected)


def test_key_decides_the_mode_and_other_mode_is_unauthorized(merchant: LocalMerchant) -> None:
    merchant.paid("tx-live", key=LIVE_KEY)
    assert merchant.verify("tx-live", key=LIVE_KEY).json()["data"]["mode"] == "live"
    merchant.paid()
    assert merchant.verify(key=LIVE_KEY).status_code == 401
    assert merchant.cancel(key=LIVE_KEY).status_code == 401


def test_get_with_body_returns_html_only_if_switched(merchant: LocalMerchant) -> None:
    merchant.initialize()
    assert merchant.call("GET", "/transaction/verify/tx-1", json={}).json() == UNPAID
    merchant.control.switch(get_with_body="html")
    response = merchant.call("GET", "/transaction/verify/tx-1", json={})
    assert response.status_code == 400
    assert response.text.startswith("<!DOCTYPE html>")


def test_only_open_payment_can_be_cancelled(merchant: LocalMerchant) -> None:
    merchant.initialize()
    assert merchant.cancel().status_code == 200
    assert merchant.status() == "failed/cancelled"
    merchant.paid("tx-paid")
    merchant.initialize("tx-old")
    merchant.control.expire("tx-old")
    for tx_ref, code in (("tx-1", 400), ("tx-paid", 400), ("tx-old", 400), ("unknown", 404)):
        assert merchant.cancel(tx_ref).status_code == code
    assert merchant.status("tx-paid") == "success"
    for other in (404, 405, 409, 410, 422):
        merchant.control.switch(cancel_inactive=str(other))
        assert merchant.cancel().status_code == other


def test_success_of_cancel_may_have_no_body(merchant: LocalMerchant) -> None:
    merchant.initialize()
    merchant.control.switch(cancel_answer="empty")
    response = merchant.cancel()
    assert (response.status_code, response.content) == (200, b"")
    assert merchant.status() == "failed/cancelled"
    assert merchant.cancel().status_code == 400
