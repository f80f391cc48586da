"""Payments through v2: open, verify and list."""

import re
from typing import Any

import pytest
import requests

from sandbox.chapa.in_process import BASE_URL
from tests.sandbox.chapa.merchant import V2_LIVE_KEY, LocalMerchant

LONG = "x" * 21


def refusal(response: requests.Response) -> tuple[int, str]:
    """HTTP status and `error.code`, after a check of the envelope."""
    body = response.json()
    assert body.keys() == {"status", "message", "error"}
    assert body["status"] == "error"
    assert body["error"].keys() == {"code", "details"}
    return response.status_code, body["error"]["code"]


def test_open_returns_the_page_and_its_times(merchant: LocalMerchant) -> None:
    response = merchant.v2.open(customer={"email": "abebe@gmail.com"}, meta={"order": "o-1"})
    assert response.status_code == 200
    body = response.json()
    url = body["data"].pop("checkout_url")
    assert body == {
        "status": "success",
        "message": "Payment initialized successfully",
        "data": {"created_at": "2026-11-22T09:00:00Z", "expires_at": "2026-11-22T10:00:00Z"},
    }
    assert re.fullmatch(rf"{BASE_URL}/test/payment/hosted/TEST[A-Z]\d{{8}}[a-z]", url)
    assert merchant.session.get(url).status_code == 200
    live = merchant.v2.checkout_path("ref-2", key=V2_LIVE_KEY)
    assert re.fullmatch(r"/payment/hosted/[A-Z]\d{8}[a-z]", live)


@pytest.mark.parametrize(
    ("switch", "value", "names", "path"),
    [
        ("create_answer", "chapa_reference", {"chapa_reference", "expires_at"}, "/test/payment/"),
        ("create_answer", "reference", {"reference", "expires_at"}, "/test/payment/"),
        ("expires_at", "absent", set(), "/test/payment/"),
        ("checkout_path", "payment", {"expires_at"}, "/payment/TEST"),
    ],
)
def test_answer_of_open_follows_the_switches(
    merchant: LocalMerchant, switch: str, value: str, names: set[str], path: str
) -> None:
    merchant.control.switch_v2(**{switch: value})
    data = merchant.v2.open().json()["data"]
    assert data.keys() == {"checkout_url", "created_at", *names}
    assert data["checkout_url"].startswith(f"{BASE_URL}{path}")
    assert merchant.session.get(data["checkout_url"]).status_code == 200
    last = data["checkout_url"].rpartition("/")[2]
    assert data.get("chapa_reference", data.get("reference", last)) == last


FAILS = (500, "PROCESSING_FAILED")
INVALID = (400, "INVALID_VALUE")
MISSING = (400, "MISSING_REQUIRED_FIELD")
FORMAT = (400, "INVALID_FORMAT")
OK = None


@pytest.mark.parametrize(
    ("switches", "fields", "outcome"),
    [
        ({}, {"merchant_reference": "x" * 20}, OK),
        ({}, {"merchant_reference": LONG}, FAILS),
        ({"long_reference": "accepted"}, {"merchant_reference": LONG}, OK),
        ({"long_reference": "refused"}, {"merchant_reference": LONG}, INVALID),
        ({}, {"merchant_reference": "a_b"}, INVALID),
        ({"odd_reference": "fails"}, {"merchant_reference": "a_b"}, FAILS),
        ({"odd_reference": "accepted"}, {"merchant_reference": "a_b"}, OK),
        ({}, {"merchant_reference": 7}, FORMAT),
        ({}, {"amount": None}, MISSING),
        ({}, {"amount": "10000"}, INVALID),
        ({}, {"amount": 100.0}, INVALID),
        ({}, {"amount": True}, INVALID),
        ({"amount_type": "any"}, {"amount": "ten"}, INVALID),
        ({"amount_type": "any"}, {"amount": "9" * 50}, INVALID),
        ({}, {"amount": 99}, INVALID),
        ({}, {"amount": 100}, OK),
        ({"smallest_amount": "refused"}, {"amount": 100}, INVALID),
        ({}, {"amount": 2_147_483_647}, OK),
        ({}, {"amount": 2_147_483_648}, INVALID),
        ({}, {"currency": None}, MISSING),
        ({}, {"currency": "EUR"}, INVALID),
        ({}, {"currency": "DJF"}, OK),
        ({}, {"customer": "Abebe"}, FORMAT),
        ({}, {"customer": {"phone_number": "911234567"}}, FORMAT),
        ({}, {"customer": {"phone_number": "+251911234567"}}, OK),
        ({"phone": "without_plus"}, {"customer": {"phone_number": "+251911234567"}}, FORMAT),
        ({"phone": "without_plus"}, {"customer": {"phone_number": "251911234567"}}, OK),
        ({"phone": "refused"}, {"customer": {"phone_number": "251911234567"}}, FORMAT),
        ({}, {"meta": []}, FORMAT),
        ({}, {"return_url": "shop.et"}, FORMAT),
    ],
)
def test_fields_are_accepted_or_refused_with_a_code(
    merchant: LocalMerchant, switches: Any, fields: Any, outcome: tuple[int, str] | None
) -> None:
    merchant.control.switch_v2(**switches)
    response = merchant.v2.open(**fields)
    assert (response.status_code == 200) is (outcome is OK)
    assert outcome is OK or refusal(response) == outcome
    assert len(merchant.control.payments()) == (outcome is OK)


def test_birr_are_taken_for_santim_if_switched(merchant: LocalMerchant) -> None:
    merchant.control.switch_v2(amount_type="any")
    merchant.v2.open(amount="1500.50")
    assert merchant.v2.data()["amount"] == 1500
    assert merchant.control.payment("ref-1")["amount"] == "15.00"


@pytest.mark.parametrize(
    ("switches", "status", "message", "details"),
    [
        ({}, 400, "Invalid currency", None),
        ({"error_details": "fields"}, 400, "Invalid currency", {"currency": ["Invalid currency"]}),
        ({"error_message": "object"}, 400, {"currency": ["Invalid currency"]}, None),
        ({"validation_code": "422"}, 422, "Invalid currency", None),
    ],
)
def test_error_follows_the_switches(
    merchant: LocalMerchant, switches: Any, status: int, message: object, details: object
) -> None:
    merchant.control.switch_v2(**switches)
    response = merchant.v2.open(currency="EUR")
    assert refusal(response) == (status, "INVALID_VALUE")
    body = response.json()
    assert (body["message"], body["error"]["details"]) == (message, details)


def test_reference_can_be_used_once(merchant: LocalMerchant) -> None:
    assert merchant.v2.open().status_code == 200
    for code in ("400", "409"):
        merchant.control.switch_v2(duplicate_reference=code)
        assert refusal(merchant.v2.open()) == (int(code), "INVALID_STATE")


def test_payment_without_merchant_reference_has_only_chapas(merchant: LocalMerchant) -> None:
    for _ in range(2):
        body = {"amount": 500, "currency": "ETB", "tx_ref": "ignored"}
        assert merchant.v2.call("POST", "/payments/hosted", json=body).status_code == 200
    shown = merchant.control.payments()
    assert [each["tx_ref"] for each in shown] == [each["reference"] for each in shown]


@pytest.mark.parametrize(
    ("style", "same", "other"),
    [
        ("ignored", 400, 400),
        ("replayed", 200, 200),
        ("replayed_or_409", 200, 409),
    ],
)
def test_idempotency_key_follows_the_switch(
    merchant: LocalMerchant, style: str, same: int, other: int
) -> None:
    merchant.control.switch_v2(idempotency_key=style)
    headers = {"Idempotency-Key": "k-1"}
    first = merchant.v2.open(headers=headers)
    repeated = merchant.v2.open(headers=headers)
    assert repeated.status_code == same
    assert (repeated.json() == first.json()) is (same == 200)
    assert merchant.v2.open(headers=headers, amount=20_000).status_code == other
    assert len(merchant.control.payments()) == 1


def test_replay_returns_the_page_that_a_timeout_lost(merchant: LocalMerchant) -> None:
    merchant.control.switch_v2(idempotency_key="replayed")
    merchant.control.add_fault("initialize", "timeout_after")
    headers = {"Idempotency-Key": "k-1"}
    with pytest.raises(requests.ReadTimeout):
        merchant.v2.open(headers=headers)
    assert "checkout_url" in merchant.v2.open(headers=headers).json()["data"]


def test_verify_of_a_success_has_all_fields(merchant: LocalMerchant) -> None:
    customer = {"first_name": "Abebe", "phone_number": "+251911234567"}
    reference = merchant.v2.paid(amount=150_050, customer=customer, meta={"order": "o-1"})
    response = merchant.v2.verify(reference)
    assert response.status_code == 200
    assert response.json() == {
        "status": "success",
        "message": "Payment retrieved successful",
        "data": {
            "chapa_reference": reference,
            "merchant_reference": "ref-1",
            "amount": 150_050,
            "currency": "ETB",
            "status": "success",
            "payment_method": "test",
            "service_fee": 5252,
            "customer": {**customer, "last_name": None, "email": None},
            "created_at": "2026-11-22T09:00:00Z",
            "updated_at": "2026-11-22T09:00:00Z",
        },
    }


@pytest.mark.parametrize(
    ("state", "switches", "expected"),
    [
        ("open", {}, {"status": "pending"}),
        ("begin", {"verify_unpaid": "404"}, {"status": "pending"}),
        ("fail", {}, {"status": "failed"}),
        ("cancel", {}, {"status": "cancelled"}),
        ("pay", {"status_case": "upper"}, {"status": "SUCCESS"}),
        ("pay", {"verify_amounts": "string"}, {"amount": "10000", "service_fee": "350"}),
        ("pay", {"verify_amounts": "decimal"}, {"amount": "100.00", "service_fee": "3.50"}),
        ("pay", {"verify_amount": "less_fee"}, {"amount": 9650, "service_fee": 350}),
        ("open", {"verify_reference": "empty_while_pending"}, {"merchant_reference": ""}),
        ("pay", {"verify_reference": "empty_while_pending"}, {"merchant_reference": "ref-1"}),
        ("pay", {"verify_reference": "misspelt"}, {"merchant_referece": "ref-1"}),
        ("pay", {"verify_mode": "present"}, {"mode": "test"}),
        ("pay", {"verify_mode": "wrong"}, {"mode": "live"}),
    ],
)
def test_verify_follows_the_state_and_the_switches(
    merchant: LocalMerchant, state: str, switches: Any, expected: dict[str, object]
) -> None:
    merchant.v2.open()
    if state != "open":
        getattr(merchant.control, state)("ref-1")
    merchant.control.switch_v2(**switches)
    data = merchant.v2.data()
    assert {name: data[name] for name in expected} == expected
    assert ("merchant_referece" in data) is ("merchant_reference" not in data)


def test_unpaid_payment_is_not_found_if_switched(merchant: LocalMerchant) -> None:
    merchant.v2.open()
    merchant.control.switch_v2(verify_unpaid="404")
    assert refusal(merchant.v2.verify()) == (404, "NOT_FOUND")


@pytest.mark.parametrize(
    ("switch", "outcome"),
    [("404", (404, "NOT_FOUND")), ("400", INVALID), ("500", FAILS)],
)
def test_unknown_reference_follows_the_switch(
    merchant: LocalMerchant, switch: str, outcome: tuple[int, str]
) -> None:
    merchant.control.switch_v2(verify_unknown=switch)
    assert refusal(merchant.v2.verify()) == outcome


@pytest.mark.parametrize("accepted", ["both", "chapa_reference", "merchant_reference"])
def test_verify_accepts_the_references_of_the_switch(
    merchant: LocalMerchant, accepted: str
) -> None:
    references = {"chapa_reference": merchant.v2.paid(), "merchant_reference": "ref-1"}
    merchant.control.switch_v2(verify_by=accepted)
    codes = {kind: merchant.v2.verify(each).status_code for kind, each in references.items()}
    assert codes == {kind: 200 if accepted in (kind, "both") else 404 for kind in references}


@pytest.mark.parametrize(
    ("kind", "details", "expected"),
    [
        ("wrong_amount", {"amount": "1.00"}, {"amount": 100}),
        ("wrong_currency", {}, {"currency": "USD"}),
        ("wrong_mode", {}, {"mode": "live"}),
        ("wrong_tx_ref", {"value": "ref-2"}, {"merchant_reference": "ref-2"}),
        ("says", {"word": "auth_needed"}, {"status": "auth_needed"}),
    ],
)
def test_verify_returns_one_wrong_field(
    merchant: LocalMerchant, kind: Any, details: Any, expected: dict[str, object]
) -> None:
    merchant.v2.paid()
    merchant.control.add_fault("verify", kind, tx_ref="ref-1", **details)
    wrong, right = merchant.v2.data(), merchant.v2.data()
    assert wrong == right | expected != right


def test_injected_error_has_the_envelope_of_v2(merchant: LocalMerchant) -> None:
    reference = merchant.v2.paid()
    merchant.control.add_fault("verify", "status", status=503, tx_ref="ref-1")
    assert refusal(merchant.v2.verify(reference)) == (503, "PROCESSING_FAILED")
    merchant.control.add_fault("verify", "says", word="404")
    assert refusal(merchant.v2.verify(reference)) == (404, "NOT_FOUND")


@pytest.mark.parametrize(
    ("end", "status", "events", "payable"),
    [
        ("incomplete", "incomplete", [("payment.incomplete", "reason", "TIMEOUT")], False),
        ("cancelled", "cancelled", [("payment.cancelled", "cancelled_by", "SYSTEM")], False),
        ("pending", "pending", [], False),
        ("payable", "pending", [], True),
    ],
)
def test_link_ends_after_an_hour_as_the_switch_says(
    merchant: LocalMerchant, end: str, status: str, events: list[tuple[str, ...]], payable: bool
) -> None:
    merchant.control.switch_v2(link_end=end)
    url = BASE_URL + merchant.v2.checkout_path()
    merchant.clock.advance(3599)
    merchant.deliver()
    assert merchant.v2.data()["status"] == "pending"
    assert merchant.webhooks == []
    merchant.clock.advance(1)
    merchant.deliver()
    assert [(b["event"], name, b[name]) for b in merchant.bodies for _, name, _ in events] == events
    assert merchant.v2.data()["status"] == status
    code = merchant.session.post(url, data={"action": "pay"}, allow_redirects=False).status_code
    assert code == (303 if payable else 409)


def test_ended_link_can_bring_a_late_success(merchant: LocalMerchant) -> None:
    merchant.v2.open()
    merchant.control.begin("ref-1")
    merchant.control.expire("ref-1")
    assert merchant.v2.data()["status"] == "incomplete"
    merchant.control.pay("ref-1", late=True)
    assert merchant.v2.data()["status"] == "success"
    merchant.deliver()
    assert merchant.events == ["payment.incomplete", "payment.success"]


def test_paid_or_failed_payment_keeps_its_status_at_the_end_of_the_link(
    merchant: LocalMerchant,
) -> None:
    merchant.v2.paid("ref-1")
    merchant.v2.open("ref-2")
    merchant.control.fail("ref-2")
    merchant.clock.advance(3600)
    merchant.deliver()
    assert [merchant.v2.data(each)["status"] for each in ("ref-1", "ref-2")] == [
        "success",
        "failed",
    ]
    assert merchant.events == ["payment.success", "payment.failed"]


@pytest.mark.parametrize(("after", "code"), [("open", 303), ("closed", 409)])
def test_failed_attempt_can_be_repeated_unless_switched(
    merchant: LocalMerchant, after: str, code: int
) -> None:
    merchant.control.switch_v2(after_failure=after)
    url = BASE_URL + merchant.v2.checkout_path()
    for action, expected in (("fail", 303), ("pay", code)):
        response = merchant.session.post(url, data={"action": action}, allow_redirects=False)
        assert response.status_code == expected


@pytest.mark.parametrize(
    ("switch", "location"),
    [
        ("unchanged", "http://shop.local/?a=1&b=2"),
        ("appended", "http://shop.local/?a=1&b=2&tx_ref=ref-1&chapa_reference=TEST"),
        ("escaped", "http://shop.local/?a=1&amp;b=2"),
    ],
)
def test_return_url_follows_the_switch(merchant: LocalMerchant, switch: str, location: str) -> None:
    merchant.control.switch_v2(return_url=switch)
    url = BASE_URL + merchant.v2.checkout_path(return_url="http://shop.local/?a=1&b=2")
    response = merchant.session.post(url, data={"action": "pay"}, allow_redirects=False)
    assert response.headers["Location"].startswith(location)


@pytest.mark.parametrize(
    ("switch", "unpaid", "begun", "unfiltered"),
    [("attempted", 0, 1, 1), ("always", 1, 1, 2), ("never", 0, 0, 1)],
)
def test_list_by_reference_follows_the_switch(
    merchant: LocalMerchant, switch: str, unpaid: int, begun: int, unfiltered: int
) -> None:
    merchant.control.switch_v2(list_by_reference=switch)
    merchant.v2.open("ref-1")
    merchant.v2.open("ref-2")
    merchant.control.begin("ref-2")
    counts = [len(merchant.v2.listed(reference=each)["items"]) for each in ("ref-1", "ref-2")]
    assert counts == [unpaid, begun]
    assert len(merchant.v2.listed()["items"]) == unfiltered


def test_listed_payment_is_like_verify(merchant: LocalMerchant) -> None:
    reference = merchant.v2.paid()
    [item] = merchant.v2.listed(reference=reference)["items"]
    assert item == merchant.v2.data() | {"payment_type": "Hosted"}


FILTERS: list[tuple[dict[str, Any], list[int]]] = [
    ({"status": "success"}, [3, 2]),
    ({"status": "FAILED"}, [1]),
    ({"currency": "USD"}, [3]),
    ({"from": "2026-11-22T09:01:00Z"}, [3, 2]),
    ({"to": "2026-11-22T09:01:00Z"}, [2, 1]),
    ({"min": 200, "max": 250}, [2]),
    ({"email": "two@gmail.com"}, [2]),
]


def test_list_can_be_filtered(merchant: LocalMerchant) -> None:
    merchant.v2.open("ref-1", amount=100)
    merchant.control.fail("ref-1")
    merchant.clock.advance(60)
    merchant.v2.paid("ref-2", amount=200, customer={"email": "two@gmail.com"})
    merchant.clock.advance(60)
    merchant.v2.paid("ref-3", amount=300, currency="USD")
    for params, numbers in FILTERS:
        items = merchant.v2.listed(**params)["items"]
        assert [item["merchant_reference"] for item in items] == [f"ref-{n}" for n in numbers]
    for query in ("from=yesterday", "cursor=x"):
        assert merchant.v2.call("GET", f"/payments?{query}").status_code == 400


def test_all_pages_of_the_list_have_each_payment_once(merchant: LocalMerchant) -> None:
    for number in range(5):
        merchant.v2.paid(f"ref-{number}")
    expected = [["ref-4", "ref-3"], ["ref-2", "ref-1"], ["ref-0"]]
    by_number = [merchant.v2.listed(page=number, per_page=2) for number in (1, 2, 3)]
    page = merchant.v2.listed(limit=2)
    by_cursor = [page]
    merchant.v2.paid("ref-new")  # A new payment does not move the pages behind the first.
    while page["pagination"]["has_more"]:
        page = merchant.v2.listed(limit=2, cursor=page["pagination"]["next_cursor"])
        by_cursor.append(page)
    for pages in (by_number, by_cursor):
        assert [[i["merchant_reference"] for i in p["items"]] for p in pages] == expected
    assert page["pagination"]["next_cursor"] is None
    back = merchant.v2.listed(limit=2, cursor=page["pagination"]["prev_cursor"])
    assert back["items"] == by_cursor[1]["items"]


def test_lists_follow_the_switches(merchant: LocalMerchant) -> None:
    for number in range(3):
        merchant.v2.paid(f"ref-{number}")
    merchant.control.switch_v2(list_pages="page", list_filters="ignored", refund_list="absent")
    page = merchant.v2.listed(page=2, per_page=2, status="failed")
    assert [item["merchant_reference"] for item in page["items"]] == ["ref-0"]
    assert page["pagination"] == {"page": 2, "per_page": 2, "total": 3}
    assert merchant.v2.call("GET", "/refunds").status_code == 404
