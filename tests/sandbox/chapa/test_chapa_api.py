"""Initialize, verify and cancel."""

import re
from decimal import Decimal
from typing import Any

import pytest
import requests

from sandbox.chapa.app import create_app
from sandbox.chapa.control import Control
from sandbox.chapa.in_process import BASE_URL, ManualClock, session_for
from sandbox.chapa.simulator import Simulator
from tests.sandbox.chapa.merchant import LIVE_KEY, TEST_KEY, Merchant, paid

UNPAID = {"message": "Payment not paid yet", "status": None, "data": None}
USED = "Transaction reference has been used before"


def refusal(response: requests.Response) -> Any:
    """What a 400 says, once it is sure to have the form of one."""
    assert response.status_code == 400
    body = response.json()
    assert (body["status"], body["data"]) == ("failed", None)
    return body["message"]


def test_initialize_answers_with_a_hosted_link_on_its_own_host(merchant: Merchant) -> None:
    response = merchant.initialize()
    assert response.status_code == 200
    assert response.json()["message"] == "Hosted Link"
    assert response.json()["status"] == "success"
    url = response.json()["data"]["checkout_url"]
    assert re.fullmatch(rf"{BASE_URL}/checkout/payment/[A-Za-z0-9]{{45}}", url)


def test_no_two_checkout_links_are_alike(merchant: Merchant) -> None:
    assert merchant.checkout_path("tx-1") != merchant.checkout_path("tx-2")


def test_a_form_is_as_good_as_json(merchant: Merchant, control: Control) -> None:
    form = {
        "amount": "10",
        "currency": "ETB",
        "tx_ref": "tx-form",
        "customization[title]": "Shoes",
        "meta[order][id]": "o-1",
    }
    assert merchant.call("POST", "/transaction/initialize", data=form).status_code == 200
    payment = control.payment("tx-form")
    assert payment["customization"]["title"] == "Shoes"
    assert payment["meta"] == {"order": {"id": "o-1"}}


def test_bracket_keys_in_json_are_ignored(merchant: Merchant, control: Control) -> None:
    response = merchant.initialize(**{"customization[title]": "A title that is far too long"})
    assert response.status_code == 200
    assert control.payment("tx-1")["customization"]["title"] is None


@pytest.mark.parametrize(
    ("authorization", "text"),
    [
        ("", "Authorization required"),
        ("Basic abc", "Authorization required"),
        ("Bearer ", "Authorization required"),
        ("Bearer CHAPUBK_TEST-abc", "Invalid API Key or User doesn't exist"),
        ("Bearer sk_test_abc", "Invalid API Key or User doesn't exist"),
    ],
)
def test_a_call_without_a_secret_key_is_unauthorized(
    merchant: Merchant, authorization: str, text: str
) -> None:
    headers = {"Authorization": authorization}
    response = merchant.call("GET", "/transaction/verify/tx-1", key="", headers=headers)
    assert response.status_code == 401
    assert response.json() == {"message": text, "status": "failed", "data": None}


def test_only_the_configured_keys_are_accepted_when_there_are_any(clock: ManualClock) -> None:
    with session_for(Simulator(api_keys=[TEST_KEY], clock=clock)) as session:
        merchant = Merchant(session)
        assert merchant.initialize().status_code == 200
        assert merchant.initialize("tx-2", key=TEST_KEY + "x").status_code == 401


@pytest.mark.parametrize("field", ["amount", "currency", "tx_ref"])
def test_a_missing_field_is_named(merchant: Merchant, field: str) -> None:
    without: dict[str, Any] = {field: None}
    assert refusal(merchant.initialize(**without)) == {field: ["validation.required"]}


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"amount": "ten"}, "amount"),
        ({"amount": "1,000.00"}, "amount"),
        ({"amount": "1_000"}, "amount"),
        ({"amount": "1e3"}, "amount"),
        ({"amount": True}, "amount"),
        ({"amount": "0"}, "amount"),
        ({"amount": -1}, "amount"),
        ({"amount": "1.005"}, "amount"),
        ({"amount": "10000000.00"}, "amount"),
        ({"tx_ref": "x" * 51}, "tx_ref"),
        ({"tx_ref": 7}, "tx_ref"),
        ({"email": "nobody"}, "email"),
        ({"email": "a@example.com"}, "email"),
        ({"email": "a@shop.test"}, "email"),
        ({"phone_number": "+251911234567"}, "phone_number"),
        ({"phone_number": "0811234567"}, "phone_number"),
        ({"callback_url": "shop.et/callback"}, "callback_url"),
        ({"return_url": "ftp://shop.et"}, "return_url"),
        ({"meta": "text"}, "meta"),
        ({"customization": "text"}, "customization"),
        ({"customization": {"title": "x" * 17}}, "customization.title"),
        ({"customization": {"description": "x" * 51}}, "customization.description"),
        ({"customization": {"description": "ጫማ"}}, "customization.description"),
        ({"customization": {"description": "a, b"}}, "customization.description"),
        ({"customization": {"logo": "logo.png"}}, "customization.logo"),
    ],
)
def test_a_field_that_chapa_would_refuse_is_refused_by_name(
    merchant: Merchant, fields: dict[str, Any], name: str
) -> None:
    message = refusal(merchant.initialize(**fields))
    assert list(message) == [name]


@pytest.mark.parametrize(
    "fields",
    [
        {"amount": 1500.5},
        {"amount": "9999999.99"},
        {"tx_ref": "x" * 50},
        {"email": "abebe@gmail.com", "phone_number": "0911234567"},
        {"currency": "USD"},
        {"customization": {"title": "x" * 16, "description": "Two shoes_size-40. " + "x" * 31}},
    ],
)
def test_what_is_just_within_the_rules_is_accepted(
    merchant: Merchant, fields: dict[str, Any]
) -> None:
    assert merchant.initialize(**fields).status_code == 200


def test_the_texts_of_the_known_field_rules(merchant: Merchant) -> None:
    custom = {"title": "x" * 17, "description": "x" * 51}
    message = refusal(merchant.initialize(email="nobody", customization=custom))
    assert message == {
        "email": ["validation.email"],
        "customization.title": ["The customization.title must not exceed 16 characters."],
        "customization.description": [
            "The customization.description must not exceed 50 characters."
        ],
    }


def test_another_currency_is_refused_in_a_sentence(merchant: Merchant) -> None:
    message = refusal(merchant.initialize(currency="EUR"))
    assert message == "Invalid currency, EUR is not supported"


def test_another_content_type_is_refused(merchant: Merchant) -> None:
    response = merchant.call("POST", "/transaction/initialize", data=b"{}")
    assert refusal(response).startswith("Incorrect header settings")


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"\xff", b'{"tx_ref": "\\ud800"}', b'{"amount": NaN}', b"[" * 100_000],
)
def test_unreadable_json_has_no_fields(merchant: Merchant, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    response = merchant.call("POST", "/transaction/initialize", data=body, headers=headers)
    assert sorted(refusal(response)) == ["amount", "currency", "tx_ref"]


def test_strictness_can_be_switched_off(merchant: Merchant, control: Control) -> None:
    control.switch(validation="off")
    custom = {"title": "x" * 99, "description": "ጫማ"}
    response = merchant.initialize(email="nobody", amount="1.005", customization=custom)
    assert response.status_code == 200
    assert "amount" in refusal(merchant.initialize("tx-2", amount="nothing"))


def test_an_email_can_be_made_a_duty(merchant: Merchant, control: Control) -> None:
    control.switch(email="required")
    assert refusal(merchant.initialize()) == {"email": ["validation.required"]}


def test_international_phone_numbers_can_be_allowed(merchant: Merchant, control: Control) -> None:
    control.switch(phone="international")
    assert merchant.initialize(phone_number="+251911234567").status_code == 200


def test_a_tx_ref_can_be_used_once(merchant: Merchant, clock: ManualClock) -> None:
    merchant.initialize()
    assert refusal(merchant.initialize()) == USED
    clock.advance(10 * 365 * 86400)
    assert refusal(merchant.initialize()) == USED


def test_a_refused_initialize_uses_up_no_tx_ref(merchant: Merchant) -> None:
    refusal(merchant.initialize(amount="0"))
    assert merchant.initialize().status_code == 200


def test_a_tx_ref_is_used_up_in_both_modes(merchant: Merchant, control: Control) -> None:
    merchant.initialize()
    assert refusal(merchant.initialize(key=LIVE_KEY)) == USED
    control.switch(duplicate_tx_ref="per_mode")
    assert merchant.initialize(key=LIVE_KEY).status_code == 200
    assert refusal(merchant.initialize(key=LIVE_KEY)) == USED


def test_a_refusal_can_come_as_a_200(merchant: Merchant, control: Control) -> None:
    merchant.initialize()
    control.switch(refusals="200")
    response = merchant.initialize()
    assert response.status_code == 200
    assert response.json() == {"message": USED, "status": "failed", "data": None}


def test_verify_of_an_unpaid_payment_is_a_404(merchant: Merchant) -> None:
    merchant.initialize()
    assert merchant.verify().status_code == 404
    assert merchant.verify().json() == UNPAID


def test_an_unpaid_payment_can_say_the_word_null_or_pending(
    merchant: Merchant, control: Control
) -> None:
    merchant.initialize()
    control.switch(verify_unpaid="404_null_string")
    assert merchant.verify().json() == {**UNPAID, "status": "null"}
    control.switch(verify_unpaid="pending")
    assert merchant.verify().status_code == 200
    assert merchant.verify().json()["data"]["status"] == "pending"


def test_verify_of_an_unknown_tx_ref_is_another_404(merchant: Merchant, control: Control) -> None:
    response = merchant.verify("nobody")
    assert response.status_code == 404
    assert response.json()["status"] == "failed"
    assert response.json()["message"] == "Invalid transaction or Transaction not found"
    control.switch(verify_unknown="invalid_reference")
    assert merchant.verify("nobody").json()["message"] == "Invalid transaction reference"


def test_verify_of_an_attempt_in_progress_says_pending(
    merchant: Merchant, control: Control
) -> None:
    merchant.initialize()
    control.begin("tx-1")
    body = merchant.verify().json()
    assert (body["status"], body["data"]["status"]) == ("pending", "pending")
    control.switch(top_level_status="call")
    body = merchant.verify().json()
    assert (body["status"], body["data"]["status"]) == ("success", "pending")


def test_verify_of_a_paid_payment_has_all_its_fields(merchant: Merchant, control: Control) -> None:
    custom = {"title": "Shoes", "description": "One pair"}
    meta = {"rate": 1.5, "note": "ጫማ"}
    reference = paid(
        merchant, control, amount="1500.50", first_name="Abebe", customization=custom, meta=meta
    )
    assert re.fullmatch(r"AP[A-Za-z0-9]{10}", reference)
    assert merchant.verify().status_code == 200
    assert merchant.verify().json() == {
        "message": "Payment details",
        "status": "success",
        "data": {
            "first_name": "Abebe",
            "last_name": None,
            "email": None,
            "currency": "ETB",
            "amount": 1500.5,
            "charge": 52.52,
            "mode": "test",
            "method": "test",
            "type": "API",
            "status": "success",
            "reference": reference,
            "tx_ref": "tx-1",
            "customization": {**custom, "logo": None},
            "meta": meta,
            "created_at": "2026-11-22T09:00:00.000000Z",
            "updated_at": "2026-11-22T09:00:00.000000Z",
        },
    }


def test_amounts_in_verify_have_three_styles(merchant: Merchant, control: Control) -> None:
    paid(merchant, control, amount="10000.00")
    assert merchant.verify().text.count('"amount": 10000,') == 1
    control.switch(verify_amounts="string")
    assert merchant.verify().json()["data"]["amount"] == "10000.00"
    control.switch(verify_amounts="commas")
    assert merchant.verify().json()["data"]["amount"] == "10,000.00"


def test_verify_can_report_the_amount_less_the_charge(merchant: Merchant, control: Control) -> None:
    paid(merchant, control)
    control.switch(verify_amount="less_charge")
    data = merchant.verify().json()["data"]
    assert Decimal(str(data["amount"])) == 100 - Decimal(str(data["charge"]))


def test_verify_can_use_other_words(merchant: Merchant, control: Control) -> None:
    paid(merchant, control, meta={"order": "o-1"})
    control.switch(verify_message="fetched", verify_meta="dropped")
    body = merchant.verify().json()
    assert body["message"] == "Payment details fetched successfully"
    assert body["data"]["meta"] is None


@pytest.mark.parametrize("word", ["failed/cancelled", "failed"])
def test_a_failed_payment_has_either_word(merchant: Merchant, control: Control, word: str) -> None:
    merchant.initialize()
    control.fail("tx-1")
    control.switch(failed_word=word)
    body = merchant.verify().json()
    assert (body["status"], body["data"]["status"]) == (word, word)


def test_the_mode_follows_from_the_key(merchant: Merchant, control: Control) -> None:
    merchant.initialize("tx-live", key=LIVE_KEY)
    control.pay("tx-live")
    assert merchant.verify("tx-live", key=LIVE_KEY).json()["data"]["mode"] == "live"


def test_a_key_of_the_other_mode_is_unauthorized(merchant: Merchant, control: Control) -> None:
    paid(merchant, control)
    assert merchant.verify(key=LIVE_KEY).status_code == 401
    assert merchant.cancel(key=LIVE_KEY).status_code == 401


def test_a_get_with_a_body_can_meet_an_html_page(merchant: Merchant, control: Control) -> None:
    merchant.initialize()
    assert merchant.call("GET", "/transaction/verify/tx-1", json={}).json() == UNPAID
    control.switch(get_with_body="html")
    response = merchant.call("GET", "/transaction/verify/tx-1", json={})
    assert response.status_code == 400
    assert response.text.startswith("<!DOCTYPE html>")


def test_a_cancelled_payment_says_failed_and_cannot_be_cancelled_again(
    merchant: Merchant, control: Control
) -> None:
    merchant.initialize()
    assert merchant.cancel().status_code == 200
    assert merchant.verify().json()["data"]["status"] == "failed/cancelled"
    assert merchant.cancel().status_code == 400
    control.switch(cancel_inactive="404", verify_cancelled="unpaid")
    assert merchant.cancel().status_code == 404
    assert merchant.verify().json() == UNPAID


def test_a_paid_expired_or_unknown_payment_cannot_be_cancelled(
    merchant: Merchant, control: Control
) -> None:
    paid(merchant, control, "tx-paid")
    merchant.initialize("tx-old")
    control.expire("tx-old")
    assert merchant.cancel("tx-paid").status_code == 400
    assert merchant.verify("tx-paid").json()["data"]["status"] == "success"
    assert merchant.cancel("tx-old").status_code == 400
    assert merchant.cancel("nobody").status_code == 404


def test_two_simulators_share_nothing(clock: ManualClock) -> None:
    first, second = Simulator(clock=clock), Simulator(clock=clock)
    create_app(second)
    with session_for(first) as one, session_for(second) as other:
        assert Merchant(one).initialize().status_code == 200
        assert Merchant(other).initialize().status_code == 200
