"""What the client sends, and what it makes of each answer."""

import io
import json
import re
import traceback
from dataclasses import replace
from itertools import product
from typing import Any, cast
from urllib.parse import parse_qs

import pytest
import requests
from requests.exceptions import ChunkedEncodingError, ContentDecodingError, InvalidHeader, SSLError

from payments.chapa.calls import IDLE_SECONDS, READ_RETRIES, word_of
from payments.domain.answers import Page, Said, Transaction, Verification
from payments.errors import ProviderError, ProviderFailed, ProviderRejected, ProviderTimeout
from tests.environment import SETTINGS
from tests.payments.chapa.builders import (
    ACTS,
    BROKEN,
    CHAPA,
    CHECKOUT_URL,
    CUSTOMER,
    DETAILS,
    KEY,
    NOT_DONE,
    NOT_PAID,
    NOT_REACHED,
    OPENED,
    ORDER_ID,
    PAID,
    PLENTY,
    REFUND_ID,
    REFUSED,
    ROUTES,
    TRIES,
    TX_REF,
    UNCERTAIN,
    UNKNOWN,
    Api,
    Net,
    details,
    failed,
)

HTML = "<!DOCTYPE html><html><body><h1>Bad Gateway</h1></body></html>"
BOMB = "[" * 30_000 + "]" * 30_000
EACH_CALL = pytest.mark.parametrize("call", ROUTES)
UNPROVED = {"cancel": False, "verify": UNKNOWN, "verify_refund": Said.UNKNOWN}
"""What cancel and the questions return for an answer that proves nothing."""

# Answers that any call can get: code, body, the error of open and refund, whether cancel returns
# True, and what verify returns.
type Row = tuple[int, Any, tuple[type[ProviderError], bool], bool, Verification]

ANSWERS: dict[str, Row] = {
    "400": (400, failed(), REFUSED, True, NOT_PAID),
    "401": (401, failed("Invalid API Key or User doesn't exist"), NOT_DONE, False, UNKNOWN),
    "403": (403, failed(), NOT_DONE, False, UNKNOWN),
    "404": (404, failed(), NOT_DONE, True, NOT_PAID),
    **{str(code): (code, failed(), NOT_DONE, True, UNKNOWN) for code in (405, 409, 410)},
    "422": (422, failed(), REFUSED, True, UNKNOWN),
    "429": (429, failed(), NOT_REACHED, False, UNKNOWN),
    **{
        str(code): (code, failed(), UNCERTAIN, False, UNKNOWN) for code in (500, 502, 503, 504, 520)
    },
    "400 of another server": (400, {"message": "Bad request"}, REFUSED, True, UNKNOWN),
    "404 of another server": (404, {"message": "Not Found"}, NOT_DONE, True, UNKNOWN),
    **{
        f"{code} in HTML": (code, HTML, UNCERTAIN, code < 500, UNKNOWN)
        for code in (200, 400, 404, 502)
    },
    **{f"{code} empty": (code, "", UNCERTAIN, True, UNKNOWN) for code in (200, 202, 204, 400)},
    "300": (300, OPENED | details(), UNCERTAIN, False, UNKNOWN),
    **{
        name: (200, body, UNCERTAIN, True, UNKNOWN)
        for name, body in {
            "half a body": json.dumps(details())[:40],
            "list": json.dumps([details()]),
            "string": '"Hosted Link"',
            "null": "null",
            "no message": json.dumps({"status": "success", "data": DETAILS}),
            "number as message": json.dumps(details() | {"message": 5}),
            "not UTF-8": b'{"message": "\xff"}',
            "NaN": '{"message": "", "status": "success", "data": NaN}',
            "infinity": '{"message": "", "status": "success", "data": -Infinity}',
            "number of 5000 digits": '{"message": "", "data": ' + "9" * 5_000 + "}",
            "huge exponent": '{"message": "", "data": 1e99999999999999999999}',
            "deeply nested": BOMB,
            "deeply nested data": f'{{"message": "", "data": {BOMB}}}',
        }.items()
    },
    **{
        type(error).__name__: (200, error, classified, False, UNKNOWN)
        for error, classified in [
            (requests.ConnectTimeout(), NOT_REACHED),
            (requests.ReadTimeout(), (ProviderTimeout, True)),
            (requests.ConnectionError(), BROKEN),
            (SSLError(), BROKEN),
            (ChunkedEncodingError(), UNCERTAIN),
            (ContentDecodingError(), UNCERTAIN),
            (requests.TooManyRedirects(), UNCERTAIN),
        ]
    },
}


@EACH_CALL
@pytest.mark.parametrize("name", ANSWERS)
def test_each_call_knows_what_an_answer_proves(
    net: Net,
    api: Api,
    counted: dict[str, Any],
    called: list[tuple[str, bool]],
    call: str,
    name: str,
) -> None:
    code, body, error, closed, verification = ANSWERS[name]
    net.answer(call, code, body)
    expected = UNPROVED | {"cancel": closed, "verify": verification}

    assert api.outcome(call) == expected.get(call, error)
    may_change = code in {429, 500, 502, 503, 504}
    assert len(net.calls) == (TRIES if may_change and call not in ACTS else 1)
    assert set(counted) == ({"ProviderRefusedKey"} if code == 401 else set())
    answered = code < 500 and code not in {401, 429} and not isinstance(body, Exception)
    assert called == [(call, answered)]


@pytest.mark.parametrize("url", [f"{CHAPA}/elsewhere", "https://[nowhere"])
@EACH_CALL
def test_redirect_is_not_followed(net: Net, api: Api, call: str, url: str) -> None:
    net.answer(call, 302, OPENED, headers={"Location": url})

    assert api.outcome(call) == UNPROVED.get(call, UNCERTAIN)
    assert len(net.calls) == 1


type Outcome = tuple[str, int, Any, object]


def started(**data: object) -> dict[str, Any]:
    return {"message": "Refund initiated", "status": "success", "data": data}


def refunded(status: object = "refunded", **data: object) -> dict[str, Any]:
    return {
        "message": "Refund verified successfully",
        "status": "success",
        "data": {"status": status, "amount": 1500.5, "merchant_reference": REFUND_ID} | data,
    }


def without(body: dict[str, Any], name: str) -> dict[str, Any]:
    """The body without a field of its `data`."""
    return body | {"data": {key: value for key, value in body["data"].items() if key != name}}


def said(said: Said, status: str) -> Verification:
    return replace(PAID, said=said, status=status)


def statuses(meaning: Said, *words: str) -> list[Outcome]:
    return [("verify", 200, details(status=w), said(meaning, w.strip().lower())) for w in words]


def not_paid(code: int, message: str, *words: object) -> list[Outcome]:
    return [("verify", code, failed(message, status=word), NOT_PAID) for word in words]


ENVELOPES: list[dict[str, Any]] = [
    {},
    {"message": "Payment details fetched successfully"},
    {"message": {"success": ["Payment details"]}},
    {"message": ["Payment details"]},
    {"message": None},
    *({"status": status} for status in (None, "null", "Success ", "failed", ["success"])),
]
NO_REFERENCES: list[object] = [None, "", True, 1.5, [], {}, "x" * 201]
PENDING_REFUND = ("initiated", "processing", "pending")
AMOUNTS: dict[Any, int] = {100: 10_000, 3.5: 350, 0.07: 7, 1234567.89: 123_456_789}
AMOUNTS |= {"100": 10_000, "100.00": 10_000, "12.000": 1_200, "10,000.00": 1_000_000}
NO_STATUS = {"message": "Payment details", "data": DETAILS}
USED = "Transaction reference has been used before"

OUTCOMES: list[Outcome] = [
    *(("open", code, OPENED, CHECKOUT_URL) for code in (200, 201, 202)),
    *(
        ("open", 200, OPENED | {"status": status}, CHECKOUT_URL)
        for status in ("success", "Success", None, "SUCCESS ", 1)
    ),
    *(
        ("open", 200, OPENED | {"data": data}, UNCERTAIN)
        for data in (None, [DETAILS], "success", {}, {"checkout_url": None}, {"checkout_url": 5})
    ),
    # Our own call arrived twice, so a payment is open: this is no refusal.
    *(("open", code, failed(USED), UNCERTAIN) for code in (200, 400)),
    ("open", 400, failed("transaction reference has been USED BEFORE\t"), UNCERTAIN),
    # Only `data` of verify decides.
    *(("verify", 200, details() | envelope, PAID) for envelope in ENVELOPES),
    ("verify", 200, NO_STATUS, PAID),
    *(("verify", code, details(), UNKNOWN) for code in (201, 202, 206)),
    *(
        ("verify", 200, details() | {"data": data}, UNKNOWN)
        for data in (None, [DETAILS], "success")
    ),
    *(("verify", 200, details(mode=mode), PAID) for mode in ("TEST", "Test ")),
    *(("verify", 200, details(currency=currency), PAID) for currency in ("etb", "Etb\t")),
    *(("verify", 200, details(charge=c), replace(PAID, fee=None)) for c in (None, "?", -1)),
    ("verify", 200, details(charge="1,250.50"), replace(PAID, fee=125_050)),
    ("verify", 200, details(reference=4711), replace(PAID, provider_reference="4711")),
    *(("verify", 200, details(amount=a), replace(PAID, amount=AMOUNTS[a])) for a in AMOUNTS),
    *statuses(Said.PAID, "Success ", "SUCCESS\t"),
    *statuses(Said.PENDING, "pending", "Pending"),
    *statuses(Said.FAILED, "failed", "failed/cancelled", "Failed/Cancelled"),
    *statuses(Said.FAILED, "cancelled", "canceled"),
    *statuses(Said.REFUNDED, "refunded"),
    *statuses(Said.REVERSED, "reversed"),
    *statuses(Said.NOT_PAID, "null", "NULL", "", " "),
    ("verify", 200, details(status=None), said(Said.NOT_PAID, "null")),
    ("verify", 200, without(details(), "status"), said(Said.NOT_PAID, "null")),
    (
        "verify",
        200,
        details() | {"data": {"status": "pending", "tx_ref": TX_REF, "amount": None}},
        Verification(Said.PENDING, tx_ref=TX_REF, status="pending"),
    ),
    *not_paid(404, "Invalid transaction or Transaction not found", "failed"),
    *not_paid(404, "Invalid transaction reference", "failed"),
    *not_paid(400, "Invalid transaction reference", "failed"),
    *not_paid(404, "Payment not paid yet", None, "null"),
    *not_paid(200, "Payment not paid yet", None, "null", "NULL ", ""),
    # Not paid only when Chapa says so: these could be anything.
    *(("verify", 200, failed(status=status), UNKNOWN) for status in ("failed", ["null"], 0, "የለም")),
    ("verify", 200, {"message": "Welcome"}, UNKNOWN),
    ("verify", 200, {"message": "Welcome", "data": None}, UNKNOWN),
    *(("refund", code, started(ref_id="R1"), "R1") for code in (200, 201, 202)),
    ("refund", 200, started(ref_id="R1", ref="other"), "R1"),
    ("refund", 200, started(ref="R2", chapa_reference="AP1"), "R2"),
    ("refund", 200, started(ref_id=4711), "4711"),
    ("refund", 200, started(ref=4711), "4711"),
    *(("refund", 200, started(ref_id=value), None) for value in NO_REFERENCES),
    *(("refund", 200, started() | {"data": data}, None) for data in NO_REFERENCES),
    *(("refund", code, failed(USED), None) for code in (200, 400)),
    *(("refund", code, failed(), REFUSED) for code in (200, 201, 400, 422)),
    *(("verify_refund", 200, refunded(word), Said.PENDING) for word in PENDING_REFUND),
    ("verify_refund", 200, refunded("Refunded "), Said.REFUNDED),
    ("verify_refund", 200, refunded("reversed"), Said.REVERSED),
    ("verify_refund", 200, refunded("failed"), Said.FAILED),
    *(("verify_refund", 200, refunded(word), Said.UNKNOWN) for word in ("success", "")),
    *(("verify_refund", 200, refunded(value), Said.UNKNOWN) for value in (None, 1, ["refunded"])),
    *(("verify_refund", code, refunded(), Said.REFUNDED) for code in (201, 202)),
    *(("verify_refund", 200, without(refunded(), n), Said.REFUNDED) for n in ("amount", "ref_id")),
    ("verify_refund", 200, without(refunded(), "merchant_reference"), Said.REFUNDED),
    ("verify_refund", 200, refunded(amount="1,500.50"), Said.REFUNDED),
    ("verify_refund", 200, refunded(amount=1), Said.UNKNOWN),
    ("verify_refund", 200, refunded(merchant_reference="other"), Said.UNKNOWN),
    ("verify_refund", 200, refunded() | {"data": [refunded()]}, Said.UNKNOWN),
]


@pytest.mark.parametrize(("call", "code", "body", "expected"), OUTCOMES)
def test_each_recorded_answer_has_one_outcome(
    net: Net, api: Api, call: str, code: int, body: Any, expected: object
) -> None:
    net.answer(call, code, body)

    assert api.outcome(call) == expected


WORDS = ["successful", "paid", "succes", "success/failed", "on hold", "ተከፍሏል", "\ud800"]
NO_WORDS: list[object] = [1, 0, True, 1.5, [], ["success"], {"success": True}, [[[]]]]


@pytest.mark.parametrize("word", [*WORDS, *NO_WORDS])
def test_unknown_status_is_counted_and_means_nothing(
    net: Net, api: Api, log: io.StringIO, counted: dict[str, Any], word: object
) -> None:
    net.answer("verify", 200, details(status=word))

    assert api.ask("verify") == UNKNOWN
    assert set(counted) == {"UnknownProviderStatus"}
    assert json.loads(log.getvalue())["word"] == word or not isinstance(word, str)


@pytest.mark.parametrize("word", ["success", "on hold", None])
def test_unknown_status_of_a_refund_is_counted_and_logged(
    net: Net, api: Api, log: io.StringIO, counted: dict[str, Any], word: object
) -> None:
    net.answer("verify_refund", 200, refunded(word))

    assert api.ask("verify_refund") is Said.UNKNOWN
    assert set(counted) == {"UnknownProviderStatus"}
    assert json.loads(log.getvalue())["word"] == word_of(word)


UNREADABLE: list[tuple[str, object]] = [
    *product(("tx_ref", "amount", "currency", "mode", "reference"), (None, True, [], "", "አ")),
    *product(("amount",), ("1.005", "-1", "1e3", "1,00", 1.005, -1)),
]


@pytest.mark.parametrize(("fact", "value"), UNREADABLE)
def test_success_without_readable_facts_is_unknown(
    net: Net, api: Api, fact: str, value: object
) -> None:
    net.answer("verify", 200, details(**{fact: value}))
    net.answer("verify", 200, without(details(), fact))

    assert [api.ask("verify"), api.ask("verify")] == [UNKNOWN, UNKNOWN]


BODY = {
    "amount": "1500.50",
    "currency": "ETB",
    "tx_ref": TX_REF,
    "customization": {"title": "Shop", "description": f"Order {ORDER_ID}"},
    "callback_url": SETTINGS["CALLBACK_URL"],
    "return_url": f"{SETTINGS['RETURN_URL']}?tx_ref={TX_REF}",
}


@pytest.mark.parametrize(
    ("customer", "settings", "changes"),
    [
        ({}, {}, {}),
        (CUSTOMER, {}, CUSTOMER),
        ({"first_name": "አበበ"}, {}, {"first_name": "አበበ"}),
        ({"phone_number": "0911234567"}, {}, {"phone_number": "0911234567"}),
        ({"amount": "0.01", "tx_ref": "another"}, {}, {}),
        ({}, {"callback_url": "", "return_url": ""}, {"callback_url": None, "return_url": None}),
        (
            {},
            {"return_url": "https://shop.example/thanks?lang=am"},
            {"return_url": f"https://shop.example/thanks?lang=am&tx_ref={TX_REF}"},
        ),
    ],
    ids=["no customer", "customer", "name", "phone", "own fields", "no URLs", "return URL query"],
)
def test_open_sends_what_chapa_documents(
    net: Net, customer: dict[str, str], settings: dict[str, Any], changes: dict[str, object]
) -> None:
    net.answer("open", 200, OPENED)
    api = Api(**settings)
    api.customer = customer

    assert api.ask("open") == CHECKOUT_URL
    assert net.sent[0].headers["Content-Type"] == "application/json"
    assert net.sent[0].headers["Authorization"] == f"Bearer {KEY}"
    assert net.bodies == [{k: v for k, v in (BODY | changes).items() if v is not None}]


@pytest.mark.parametrize(
    "refused",
    [{"email"}, {"phone_number"}, {"first_name", "last_name"}, {"email", "phone_number"}],
    ids=sorted,
)
def test_customer_field_refused_by_name_is_dropped_once(
    net: Net, api: Api, log: io.StringIO, refused: set[str]
) -> None:
    net.answer("open", 400, failed({name: ["validation"] for name in refused}))
    net.answer("open", 200, OPENED)
    api.customer = CUSTOMER

    assert api.ask("open") == CHECKOUT_URL
    sent = BODY | CUSTOMER
    assert net.bodies == [sent, {k: v for k, v in sent.items() if k not in refused}]
    assert "abebe@" not in log.getvalue()


@pytest.mark.parametrize(
    ("complaints", "customer", "times"),
    [
        ({"email": ["validation.email"]}, CUSTOMER, 2),
        ({"email": ["validation.email"]}, {"first_name": "Abebe"}, 1),
        ({"email": ["validation.email"], "amount": ["validation.max"]}, CUSTOMER, 1),
        ({"tx_ref": ["validation.required"]}, CUSTOMER, 1),
        ({"amount": ["validation.max"]}, CUSTOMER | {"amount": "1"}, 1),
        ({"customization.title": ["The title must not exceed 16 characters."]}, CUSTOMER, 1),
        ({}, CUSTOMER, 1),
        (["validation.email"], CUSTOMER, 1),
        ("email is invalid", CUSTOMER, 1),
        ("Invalid currency, XXX is not supported", CUSTOMER, 1),
        (None, CUSTOMER, 1),
    ],
    ids=str,
)
@pytest.mark.parametrize(
    ("code", "status"),
    [(400, "failed"), (422, "failed"), (200, "failed"), (200, "Failed "), (400, None)],
)
def test_refusal_carries_the_words_of_chapa_and_is_not_repeated(
    net: Net, api: Api, code: int, status: object, complaints: object, customer: Any, times: int
) -> None:
    net.answer("open", code, failed(complaints, status=status))
    api.customer = customer
    with pytest.raises(ProviderRejected) as caught:
        api.ask("open")

    assert caught.value.members["provider_message"] == complaints
    assert not caught.value.may_have_acted
    assert len(net.calls) == times


def test_second_try_without_a_field_has_only_the_time_that_is_left(net: Net, api: Api) -> None:
    def slow(request: object) -> tuple[int, dict[str, str], str]:
        api.seconds += 3
        return 400, {}, json.dumps(failed({"email": ["validation.email"]}))

    net.add_callback("POST", f"{CHAPA}/transaction/initialize", slow)
    api.customer = CUSTOMER

    assert api.outcome("open", 5) == REFUSED
    assert net.waits == [5, 2]
    assert api.outcome("open", 3.2) == NOT_REACHED
    assert len(net.calls) == 3


PAGES = {
    CHECKOUT_URL: True,
    "https://CHECKOUT.chapa.co/checkout/payment/token": True,
    "https://pay.chapa.co/checkout?token=token": True,
    "http://checkout.chapa.co/checkout/payment/token": False,
    "https://evil.example/checkout.chapa.co": False,
    "https://checkout.chapa.co.evil.example/": False,
    "https://checkout.chapa.co@evil.example/": False,
    "https://evil.example\\@checkout.chapa.co/": False,
    "https://evilcheckout.chapa.co/": False,
    "//checkout.chapa.co/": False,
    "/checkout/payment/token": False,
    "javascript:alert(1)//checkout.chapa.co": False,
    "https://[checkout.chapa.co/": False,
    "": False,
}
PAGES_ANYWHERE = dict.fromkeys(["javascript:alert(1)", "data:text/html,x", "https://[x", ""], False)


@pytest.mark.parametrize(
    ("hosts", "url", "trusted"),
    [
        *(("checkout.chapa.co, pay.chapa.co", url, trusted) for url, trusted in PAGES.items()),
        *(("*", url, trusted) for url, trusted in PAGES_ANYWHERE.items()),
        ("*", "http://127.0.0.1:8000/checkout", True),
    ],
)
def test_customer_is_given_only_a_checkout_page_of_a_configured_host(
    net: Net, hosts: str, url: str, trusted: bool
) -> None:
    net.answer("open", 200, OPENED | {"data": {"checkout_url": url}})

    assert Api(checkout_hosts=hosts).outcome("open") == (url if trusted else UNCERTAIN)


@pytest.mark.parametrize(
    ("provider_reference", "path"), [("AP1", "AP1"), (None, TX_REF), ("a/../b", "a%2F..%2Fb")]
)
def test_refund_is_a_form_at_the_reference_of_chapa(
    net: Net, api: Api, provider_reference: str | None, path: str
) -> None:
    net.post(f"{CHAPA}/refund/{path}", json=started(ref_id="R1"))
    api.payment = replace(api.payment, provider_reference=provider_reference)
    for changes in ({"reason": "Broken cup"}, {"amount": 7, "reason": None}):
        api.refund = replace(api.refund, **cast("Any", changes))
        assert api.ask("refund") == "R1"

    assert net.sent[0].headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert [parse_qs(str(request.body)) for request in net.sent] == [
        {"amount": ["1500.50"], "reference": [REFUND_ID], "reason": ["Broken cup"]},
        {"amount": ["0.07"], "reference": [REFUND_ID], "reason": ["Refund"]},
    ]


def test_each_attempt_of_a_refund_has_a_reference_of_its_own(net: Net, api: Api) -> None:
    net.answer("refund", 200, started(ref_id="R1"))
    for attempt in (1, 1, 3, 2, 2):
        api.refund = replace(api.refund, attempt=attempt)
        api.ask("refund")

    first, again, third, second, repeated = (
        parse_qs(str(request.body))["reference"][0] for request in net.sent
    )
    assert first == again == REFUND_ID
    assert second == repeated
    assert len({first, second, third}) == 3
    assert len(second) <= 20

    net.answer("verify_refund", 200, refunded(merchant_reference=second))
    assert api.ask("verify_refund") is Said.REFUNDED
    api.refund = replace(api.refund, attempt=1)
    assert api.ask("verify_refund") is Said.UNKNOWN


def test_refund_whose_id_was_lost_is_asked_about_by_our_reference(net: Net, api: Api) -> None:
    api.refund = replace(api.refund, provider_refund_id=None)
    net.add("GET", f"{CHAPA}/refund/{REFUND_ID}/verify", json=refunded())
    assert api.ask("verify_refund") is Said.REFUNDED


def test_questions_and_cancel_send_no_body_and_encode_references(net: Net, api: Api) -> None:
    for method in ("GET", "PUT"):
        net.add(method, re.compile(re.escape(CHAPA)), json=details())
    odd = "a/../b?c#d e%"
    api.payment = replace(api.payment, tx_ref=odd)
    api.refund = replace(api.refund, provider_refund_id=odd)
    for call in ("verify", "cancel", "verify_refund"):
        api.ask(call)

    assert [request.url for request in net.sent] == [
        f"{CHAPA}/transaction/verify/a%2F..%2Fb%3Fc%23d%20e%25",
        f"{CHAPA}/transaction/cancel/a%2F..%2Fb%3Fc%23d%20e%25",
        f"{CHAPA}/refund/a%2F..%2Fb%3Fc%23d%20e%25/verify",
    ]
    assert {request.body for request in net.sent} == {None}
    assert not any("Content-Type" in request.headers for request in net.sent)


@pytest.mark.parametrize("time_left", [5, 10, PLENTY, 900, float("inf"), 1, 2.5])
@EACH_CALL
def test_all_tries_and_their_pauses_keep_to_the_time_left(
    net: Net, api: Api, call: str, time_left: float
) -> None:
    net.answer(call, 503, failed())
    api.outcome(call, time_left)

    if call in ACTS:
        [wait] = net.waits
        assert 0 < wait <= min(time_left, 30)
    elif time_left >= 5:
        retry = cast("Any", api.client.session.get_adapter(str(net.sent[0].url))).max_retries
        assert len(net.waits) == TRIES
        assert sum(net.waits) + READ_RETRIES * retry.retry_after_max <= time_left
        assert retry.backoff_factor * 2 + retry.backoff_jitter <= retry.retry_after_max


@pytest.mark.parametrize("time_left", [0.4, 0, -5, float("-inf")])
@EACH_CALL
def test_without_time_left_nothing_is_sent(net: Net, api: Api, call: str, time_left: float) -> None:
    assert api.outcome(call, time_left) == UNPROVED.get(call, NOT_REACHED)
    assert not net.calls


def test_rotated_key_is_used_from_the_next_read_on(net: Net, api: Api) -> None:
    net.answer("verify", 200, details())
    assert api.client.mode == "test"
    api.ask("verify")
    api.key = "CHASECK_TEST-another"
    api.seconds += 60
    api.ask("verify")

    keys = [request.headers["Authorization"] for request in net.sent]
    assert keys == [f"Bearer {KEY}", "Bearer CHASECK_TEST-another"]


@pytest.mark.parametrize(
    ("idle", "closed"),
    [
        ([IDLE_SECONDS], 0),
        ([IDLE_SECONDS + 1], 1),
        # Verify has connections of its own, so it does not make this one fresh.
        ([IDLE_SECONDS, IDLE_SECONDS], 1),
    ],
    ids=["just long enough", "too long", "too long in spite of a verify"],
)
def test_idle_connection_is_closed_before_a_post(
    net: Net, api: Api, monkeypatch: pytest.MonkeyPatch, idle: list[float], closed: int
) -> None:
    net.answer("open", 200, OPENED)
    net.answer("verify", 200, details())
    sent_before: list[int] = []
    monkeypatch.setattr(api.client.session, "close", lambda: sent_before.append(len(net.calls)))
    api.ask("open")
    for number, seconds in enumerate(idle):
        if number:
            api.ask("verify")
        api.seconds += seconds
    api.ask("open")

    assert sent_before == [len(idle)] * closed
    assert len(net.calls) == len(idle) + 1


@pytest.mark.parametrize(
    ("code", "body"),
    [
        (200, OPENED),
        (200, details(status="on hold for abebe@shop.example")),
        (400, failed(f"no such key {KEY}, abebe@shop.example, +251 911 234 567")),
        (400, failed({f"{KEY} abebe@shop.example": ["+251 911 234 567"]})),
        (401, failed(KEY)),
        (403, failed(KEY)),
        (500, failed()),
        (200, KEY),
        (200, requests.ReadTimeout(KEY)),
        (200, requests.ConnectionError(KEY)),
        (200, InvalidHeader(KEY)),
    ],
    ids=lambda value: str(value)[:40],
)
@EACH_CALL
def test_neither_key_nor_customer_is_in_a_log_a_repr_or_a_traceback(
    net: Net, api: Api, log: io.StringIO, caplog: Any, call: str, code: int, body: Any
) -> None:
    caplog.set_level(1)
    net.answer(call, code, body)
    try:
        shown = repr(api.ask(call))
    except ProviderError as error:
        shown = f"{error} {error!r} {error.reason} {''.join(traceback.format_exception(error))}"
    client = api.client
    shown += f"{log.getvalue()}{caplog.text}{client!r}{vars(client)!r}{client.session.headers!r}"

    for secret in ("0123456789abcdef", "abebe@", "911 234"):
        assert secret not in shown


# The list.

ROW = {
    "status": "success",
    "ref_id": "APezQ1KKswbb",
    "type": "API",
    "created_at": "2026-11-22T09:00:00.000000Z",
    "currency": "ETB",
    "amount": "1500.500",
    "charge": "52.520",
    "trans_id": None,
    "payment_method": "telebirr",
    "customer": {"id": 1, "email": None, "first_name": None, "last_name": None, "mobile": None},
}
"""As in Chapa's sample, three decimals included."""
AT = 1_795_338_000
LISTED = Transaction(Said.PAID, None, "APezQ1KKswbb", 150_050, "ETB", AT, "success")


def transactions(*rows: object, following: str | None = None) -> dict[str, Any]:
    pagination = {"per_page": 25, "current_page": 1, "next_page_url": following}
    data = {"transactions": list(rows), "pagination": pagination}
    return {"message": "Transactions retrieved successfully", "status": "success", "data": data}


def listed(net: Net, api: Api, answer: Any, position: str | None = None, code: int = 200) -> Page:
    net.add("GET", f"{CHAPA}/transactions", status=code, json=answer)
    return api.client.transactions(AT - 60, AT + 60, position, PLENTY)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, LISTED),
        ({"status": "reversed"}, replace(LISTED, said=Said.REVERSED, status="reversed")),
        ({"status": "failed/cancelled", "amount": 1500.5}, None),
        ({"tx_ref": TX_REF}, replace(LISTED, reference=TX_REF)),
        ({"status": "held"}, replace(LISTED, said=Said.UNKNOWN, status="held")),
        ({"currency": None, "created_at": "x"}, replace(LISTED, currency=None, created_at=None)),
    ],
)
def test_row_of_the_list_is_read(
    net: Net, api: Api, changes: dict[str, Any], expected: Transaction | None
) -> None:
    [row] = listed(net, api, transactions(ROW | changes)).transactions
    failed = replace(LISTED, said=Said.FAILED, status="failed/cancelled")
    assert row == (expected or failed)


def test_row_without_a_readable_amount_is_unknown_and_without_a_name_unreadable(
    net: Net, api: Api
) -> None:
    page = listed(net, api, transactions(ROW | {"amount": "?"}, ROW | {"ref_id": None}, "row"))
    [row] = page.transactions
    assert (row.said, row.status) == (Said.UNKNOWN, "success, amount not understood")
    assert page.unreadable == 2


EARLY, OLD = "2026-11-22T08:58:00Z", "2026-11-22T08:50:00Z"


@pytest.mark.parametrize(
    ("rows", "following", "next_page"),
    [
        ([ROW], None, None),
        ([ROW], "https://anywhere", "3"),
        ([ROW | {"created_at": EARLY}, ROW | {"created_at": OLD}], "https://anywhere", None),
        # The oldest first, or in no order: what is wanted may be on a later page.
        ([ROW | {"created_at": OLD}, ROW | {"created_at": EARLY}], "https://anywhere", "3"),
        ([ROW | {"created_at": OLD}, ROW | {"created_at": OLD}], "https://anywhere", "3"),
        ([ROW | {"created_at": None}, ROW | {"created_at": OLD}], "https://anywhere", "3"),
    ],
)
def test_list_goes_on_until_its_end_or_until_it_is_older_than_the_range(
    net: Net, api: Api, rows: list[Any], following: str | None, next_page: str | None
) -> None:
    page = listed(net, api, transactions(*rows, following=following), position="2")
    assert page.following == next_page
    [sent] = net.sent
    assert sent.url == f"{CHAPA}/transactions?page=2&per_page=25"


@pytest.mark.parametrize("rows", [[], [ROW]])
def test_list_without_pagination_ends_with_an_empty_page(
    net: Net, api: Api, rows: list[Any]
) -> None:
    answer = transactions(*rows)
    del answer["data"]["pagination"]
    assert listed(net, api, answer).following == ("2" if rows else None)


@pytest.mark.parametrize(
    ("code", "answer"), [(200, failed()), (404, failed()), (200, {"message": "x", "data": []})]
)
def test_answer_without_a_list_is_an_error(net: Net, api: Api, code: int, answer: Any) -> None:
    with pytest.raises(ProviderFailed, match="without a list"):
        listed(net, api, answer, code=code)


def test_list_is_asked_for_again_after_a_passing_error(net: Net, api: Api) -> None:
    net.add("GET", f"{CHAPA}/transactions", status=502)
    assert listed(net, api, transactions(ROW)).transactions == (LISTED,)
