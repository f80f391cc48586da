"""What the client of v2 sends, and what it makes of each answer.

The shapes are those of Chapa's docs and tools and of public integrators, which contradict one
another in places; each of the contradicting shapes is here.
"""

import io
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from typing import Any, cast

import pytest
import requests
from hypothesis import given
from hypothesis.strategies import integers
from requests import PreparedRequest

from payments.chapa import v2
from payments.chapa.calls import IDLE_SECONDS, word_of
from payments.chapa.v2 import MIN_AMOUNT, ChapaV2, from_wire, to_wire
from payments.domain.answers import Page, Said, Transaction, Verification
from payments.domain.money import MAX_AMOUNT, format_amount, parse_amount
from payments.errors import (
    ProviderError,
    ProviderRejected,
    ProviderTimeout,
)
from tests.environment import SETTINGS
from tests.payments.chapa.builders import (
    CUSTOMER,
    NOT_DONE,
    NOT_REACHED,
    ORDER,
    ORDER_ID,
    PAYMENT,
    PLENTY,
    REFUND,
    REFUND_ID,
    REFUSED,
    TRIES,
    TX_REF,
    UNCERTAIN,
    UNKNOWN,
    Api,
    Net,
)

URL = "https://api.chapa.global/v2"
KEY = "CHAPA_TEST_PRIV_0123456789abcdef"
REFERENCE = "TESTI89728391f"
PAGE = f"https://checkout.chapa.global/test/payment/hosted/{REFERENCE}"
CREATED = {"created_at": "2026-11-22T09:00:00Z", "expires_at": "2026-11-22T10:00:00Z"}
OPENED = {
    "status": "success",
    "message": "Payment initialized successfully",
    "data": {"checkout_url": PAGE, **CREATED},
}
ENDS = 1_795_341_600
DETAILS = {
    "chapa_reference": REFERENCE,
    "merchant_reference": TX_REF,
    "amount": 150_050,
    "currency": "ETB",
    "status": "success",
    "payment_method": "telebirr",
    "service_fee": 5_252,
    "customer": {"first_name": "Abebe", "last_name": None, "email": None, "phone_number": None},
    "created_at": "2026-11-22T09:00:00Z",
    "updated_at": "2026-11-22T09:05:00Z",
}
PAID = Verification(Said.PAID, TX_REF, 150_050, "ETB", "test", REFERENCE, "success", 5_252)
NOT_PAID = Verification(Said.NOT_PAID, status="not known to Chapa")
PENDING = replace(PAID, said=Said.PENDING, status="pending")

BY_CHAPA = f"/payments/{REFERENCE}/verify"
BY_US = f"/payments/{TX_REF}/verify"
LIST = f"/payments?reference={TX_REF}"


def details(**changes: object) -> dict[str, Any]:
    """Verify's answer."""
    message = "Payment retrieved successful"
    return {"status": "success", "message": message, "data": DETAILS | changes}


def listed(*items: object) -> dict[str, Any]:
    data = {"items": list(items), "pagination": {"limit": 20, "has_more": False}}
    return {"status": "success", "message": "Payments retrieved", "data": data}


def error(code: str | None, message: object = "Something", details: object = None) -> Any:
    inner = {} if code is None else {"code": code}
    return {"status": "error", "message": message, "error": inner | {"details": details}}


MISSING = error("NOT_FOUND", "Payment not found")


class ApiV2(Api):
    make = ChapaV2
    first_key = KEY

    def __init__(self, url: str = URL, **settings: str) -> None:
        settings = {"checkout_hosts": "checkout.chapa.global"} | settings
        super().__init__(url, **settings)
        self.payment = replace(PAYMENT, provider="chapa-v2", provider_reference=REFERENCE)
        self.refund = replace(REFUND, provider_refund_id="RFND1")


class NetV2(Net):
    def says(self, path: str, code: int, body: Any, method: str = "GET") -> None:
        kind = "body" if isinstance(body, str | bytes | Exception) else "json"
        self.add(method, f"{URL}{path}", status=code, **{kind: body})

    @property
    def asked(self) -> list[str]:
        return [str(request.url).removeprefix(URL) for request in self.sent]


@pytest.fixture
def net() -> Iterator[NetV2]:
    net = NetV2(assert_all_requests_are_fired=False)
    with net:
        yield net


@pytest.fixture
def api() -> ApiV2:
    return ApiV2()


# Open.

BODY = {
    "amount": 150_050,
    "currency": "ETB",
    "merchant_reference": TX_REF,
    "meta": {"order_id": ORDER_ID},
    "callback_url": SETTINGS["CALLBACK_URL"],
    "return_url": f"{SETTINGS['RETURN_URL']}?tx_ref={TX_REF}",
}


def test_open_sends_whole_santim_and_a_nested_customer(net: NetV2, api: ApiV2) -> None:
    net.says("/payments/hosted", 200, OPENED, "POST")
    api.customer = CUSTOMER
    opened = api.client.open(replace(ORDER, customer=CUSTOMER), api.payment, PLENTY)

    assert (opened.checkout_url, opened.page_expires_at) == (PAGE, ENDS)
    assert net.bodies == [BODY | {"customer": CUSTOMER | {"phone_number": "+251911234567"}}]
    headers = net.sent[0].headers
    assert headers["Authorization"] == f"Bearer {KEY}"
    assert (headers["Content-Type"], headers["Accept"]) == ("application/json",) * 2


@pytest.mark.parametrize(
    ("customer", "sent"),
    [({}, None), ({"phone_number": "0711234567"}, {"phone_number": "+251711234567"})],
)
def test_only_known_parts_of_the_customer_are_sent(
    net: NetV2, customer: dict[str, str], sent: object
) -> None:
    net.says("/payments/hosted", 200, OPENED, "POST")
    api = ApiV2(callback_url="", return_url="")
    api.customer = customer
    api.ask("open")

    [body] = net.bodies
    assert body.get("customer") == sent
    assert not body.keys() & {"callback_url", "return_url", "customization"}


NO_TIMES: list[object] = [None, "soon", 60, "", []]


@pytest.mark.parametrize(
    ("data", "reference", "ends"),
    [
        ({}, REFERENCE, ENDS),
        ({"chapa_reference": "CHAPA1"}, "CHAPA1", ENDS),
        ({"reference": "CHAPA1"}, "CHAPA1", ENDS),
        ({"reference": TX_REF}, REFERENCE, ENDS),
        ({"merchant_reference": TX_REF}, REFERENCE, ENDS),
        ({"checkout_url": "https://checkout.chapa.global/payment/APx12345/"}, "APx12345", ENDS),
        ({"checkout_url": "https://checkout.chapa.global/pay?token=x"}, None, ENDS),
        ({"checkout_url": "https://checkout.chapa.global/"}, None, ENDS),
        ({"expires_at": "2026-11-22T13:00:00+03:00"}, REFERENCE, ENDS),
        ({"expires_at": "2026-11-22T10:00:00.000000Z"}, REFERENCE, ENDS),
        ({"expires_at": "2026-11-22 10:00:00"}, REFERENCE, ENDS),
        *(({"expires_at": value}, REFERENCE, None) for value in NO_TIMES),
    ],
    ids=str,
)
def test_reference_and_end_of_the_page_come_from_wherever_they_are(
    net: NetV2, api: ApiV2, data: dict[str, Any], reference: str | None, ends: int | None
) -> None:
    net.says("/payments/hosted", 201, OPENED | {"data": OPENED["data"] | data}, "POST")  # type: ignore[operator]
    opened = api.client.open(ORDER, api.payment, PLENTY)

    assert (opened.provider_reference, opened.page_expires_at) == (reference, ends)


def test_only_a_page_of_a_configured_host_is_handed_out(net: NetV2) -> None:
    net.says("/payments/hosted", 200, OPENED, "POST")
    assert ApiV2(checkout_hosts="checkout.chapa.co").outcome("open") == UNCERTAIN


@pytest.mark.parametrize("length", [21, 22, 45])
def test_reference_that_chapa_would_answer_500_is_not_sent(
    net: NetV2, api: ApiV2, length: int
) -> None:
    api.payment = replace(api.payment, tx_ref="a" * length)
    assert api.outcome("open") == NOT_DONE
    assert not net.calls


def test_less_than_the_least_amount_is_refused_before_the_call(net: NetV2, api: ApiV2) -> None:
    api.payment = replace(api.payment, amount=MIN_AMOUNT - 1)
    with pytest.raises(ProviderRejected) as caught:
        api.ask("open")
    assert caught.value.members["provider_message"] == "The least amount is 1.00 ETB."
    assert not net.calls
    net.says("/payments/hosted", 200, OPENED, "POST")
    api.payment = replace(api.payment, amount=MIN_AMOUNT)
    assert api.ask("open") == PAGE


USED = "Transaction reference has been used before"
ERRORS: dict[str, tuple[int, Any, object]] = {
    "method": (400, error("INVALID_FORMAT", "Invalid payment method"), REFUSED),
    "currency": (400, error("INVALID_VALUE", "Invalid currency"), REFUSED),
    "amount": (422, error("INVALID_VALUE", "amount", {"amount": ["too small"]}), REFUSED),
    "missing": (400, error("MISSING_REQUIRED_FIELD"), REFUSED),
    "code before HTTP": (403, error("INVALID_VALUE"), REFUSED),
    "message as object": (400, error(None, {"amount": ["too small"]}), REFUSED),
    "message only": (400, {"status": "error", "message": "no"}, REFUSED),
    "422 without a code": (422, error(None), REFUSED),
    "200 that is an error": (200, error("INVALID_VALUE"), REFUSED),
    "200 with a code": (200, OPENED | {"error": {"code": "INVALID_VALUE"}}, REFUSED),
    "used before, 400": (400, error("INVALID_STATE", USED), UNCERTAIN),
    "used before, 409": (409, error("INVALID_STATE", USED), UNCERTAIN),
    "words are not read": (400, error("INVALID_VALUE", USED), REFUSED),
    "409 without a code": (409, error(None), UNCERTAIN),
    "key": (401, error(None, "Invalid API key or User does not exist"), NOT_DONE),
    "forbidden": (403, error("FORBIDDEN"), NOT_DONE),
    "404": (404, MISSING, NOT_DONE),
    "failed": (500, error("PROCESSING_FAILED", "Failed to initialize payment"), UNCERTAIN),
    "failed, 400": (400, error("PROCESSING_FAILED"), UNCERTAIN),
    "busy": (429, error(None), NOT_REACHED),
    "maintenance": (503, "<html>", UNCERTAIN),
    "no envelope": (200, "<html>", UNCERTAIN),
    "no URL": (200, OPENED | {"data": {}}, UNCERTAIN),
    "no data": (200, OPENED | {"data": None}, UNCERTAIN),
    "redirect": (302, OPENED, UNCERTAIN),
    "timeout": (200, requests.ReadTimeout(), (ProviderTimeout, True)),
    "error without details": (400, {"status": "error", "message": "", "error": "x"}, REFUSED),
}


@pytest.mark.parametrize("name", ERRORS)
def test_code_of_an_error_decides_what_open_and_refund_prove(
    net: NetV2, api: ApiV2, name: str
) -> None:
    code, body, expected = ERRORS[name]
    net.says("/payments/hosted", code, body, "POST")
    net.says("/refunds", code, body, "POST")

    assert api.outcome("open") == expected
    assert len(net.calls) == 1
    if "used" not in name and not name.startswith("no "):
        assert api.outcome("refund") == expected
        assert len(net.calls) == 2


def test_complaints_reach_the_client_and_the_request_id_the_log(
    net: NetV2, api: ApiV2, log: io.StringIO
) -> None:
    complaints = {"amount": ["validation.max"]}
    body = error("INVALID_VALUE", "Validation failed", complaints | {"request_id": "req-1"})
    net.says("/payments/hosted", 400, body, "POST")
    with pytest.raises(ProviderRejected) as caught:
        api.ask("open")

    assert caught.value.members["provider_message"] == complaints
    line = json.loads(log.getvalue())
    assert (line["request_id"], line["error_code"]) == ("req-1", "INVALID_VALUE")
    assert line["fields"] == ["amount"]


@pytest.mark.parametrize("call", ["open", "verify", "refund", "verify_refund"])
def test_request_id_of_a_failure_is_logged(
    net: NetV2, api: ApiV2, log: io.StringIO, call: str
) -> None:
    body = error("PROCESSING_FAILED", "Failed", {"request_id": "req-1"})
    for method in ("GET", "POST"):
        net.add(method, re.compile(re.escape(URL)), status=500, json=body)
    api.outcome(call)

    line = json.loads(log.getvalue().splitlines()[0])
    assert line["message"] == f"{call} failed"
    assert (line["http_status"], line["error_code"]) == (500, "PROCESSING_FAILED")
    assert line["request_id"] == "req-1"


@pytest.mark.parametrize("name", ["phone_number", "customer.phone_number"])
def test_customer_field_refused_by_name_is_dropped_once(net: NetV2, api: ApiV2, name: str) -> None:
    net.says("/payments/hosted", 400, error("INVALID_FORMAT", "", {name: ["wrong"]}), "POST")
    net.says("/payments/hosted", 200, OPENED, "POST")
    api.customer = {"phone_number": "0911234567", "first_name": "Abebe"}

    assert api.ask("open") == PAGE
    assert net.bodies[1] == BODY | {"customer": {"first_name": "Abebe"}}
    first, second = (request.headers["Idempotency-Key"] for request in net.sent)
    assert first != second


@pytest.mark.parametrize("details", [None, {}, {"request_id": "req-1"}])
def test_refusal_that_names_no_field_drops_the_customer_once(
    net: NetV2, api: ApiV2, details: object
) -> None:
    """Chapa may refuse the plus sign of a number without a word about the number."""
    net.says("/payments/hosted", 400, error("INVALID_FORMAT", "Invalid", details), "POST")
    net.says("/payments/hosted", 200, OPENED, "POST")
    api.customer = {"phone_number": "0911234567", "first_name": "Abebe"}

    assert api.ask("open") == PAGE
    assert net.bodies[1] == BODY


@pytest.mark.parametrize("customer", [{}, {"first_name": "Abebe"}])
def test_refusal_that_has_nothing_to_do_with_the_customer_is_final(
    net: NetV2, api: ApiV2, customer: dict[str, str]
) -> None:
    net.says("/payments/hosted", 400, error("INVALID_VALUE", "Invalid currency"), "POST")
    api.customer = customer
    assert api.outcome("open") == REFUSED
    assert len(net.calls) == 1 + bool(customer)


def test_same_request_has_the_same_idempotency_key(net: NetV2, api: ApiV2) -> None:
    net.says("/payments/hosted", 200, OPENED, "POST")
    net.says("/refunds", 200, details(), "POST")
    for call in ("open", "open", "refund", "refund"):
        api.ask(call)
    api.payment = replace(api.payment, tx_ref="a" * 20)
    api.ask("open")

    one, two, three, four, five = (request.headers["Idempotency-Key"] for request in net.sent)
    assert one == two
    assert three == four
    assert len({one, three, five}) == 3


def test_idle_connection_is_closed_before_a_post(
    net: NetV2, api: ApiV2, monkeypatch: pytest.MonkeyPatch
) -> None:
    net.says("/payments/hosted", 200, OPENED, "POST")
    net.says(BY_CHAPA, 200, details())
    closed: list[bool] = []
    monkeypatch.setattr(api.client.session, "close", lambda: closed.append(True))
    api.seconds += IDLE_SECONDS + 1
    api.ask("verify")
    assert not closed
    api.ask("open")
    assert closed


@pytest.mark.parametrize("path", ["/payments/hosted", "/refunds"])
def test_post_is_not_repeated_whatever_happens_to_it(api: ApiV2, path: str) -> None:
    retry = cast("Any", api.client.session.get_adapter(f"{URL}{path}")).max_retries
    assert (retry.connect, retry.other) == (0, 0) or retry.total == 0
    assert not retry.is_retry("POST", 503)


# Verify.


def test_verify_asks_by_chapas_reference_first(net: NetV2, api: ApiV2) -> None:
    net.says(BY_CHAPA, 200, details())
    assert api.ask("verify") == PAID
    assert net.asked == [BY_CHAPA]


type Answers = dict[str, tuple[int, Any]]

LEFT: dict[str, Any] = {"status": "error", "message": "Payment not found"}
ALL_ANSWERS: dict[str, tuple[Answers, Verification]] = {
    "by ours only": ({BY_CHAPA: (404, MISSING), BY_US: (200, details())}, PAID),
    "in the list only": (
        {BY_CHAPA: (404, MISSING), BY_US: (404, MISSING), LIST: (200, listed(DETAILS))},
        PAID,
    ),
    "nowhere": (
        {BY_CHAPA: (404, MISSING), BY_US: (404, MISSING), LIST: (200, listed())},
        NOT_PAID,
    ),
    "nowhere, without a code": (
        {BY_CHAPA: (404, LEFT), BY_US: (404, LEFT), LIST: (200, listed())},
        NOT_PAID,
    ),
    "nowhere, and no list": (
        {BY_CHAPA: (404, MISSING), BY_US: (404, MISSING), LIST: (404, MISSING)},
        NOT_PAID,
    ),
    # The filter has no effect: ours may be on another page.
    "list of others": (
        {
            BY_CHAPA: (404, MISSING),
            BY_US: (404, MISSING),
            LIST: (200, listed(DETAILS | {"merchant_reference": "another"}, None, "x")),
        },
        UNKNOWN,
    ),
    "list among others": (
        {
            BY_CHAPA: (404, MISSING),
            BY_US: (404, MISSING),
            LIST: (200, listed(DETAILS | {"merchant_reference": "another"}, DETAILS)),
        },
        PAID,
    ),
    "400 by Chapa's": ({BY_CHAPA: (400, error("INVALID_VALUE")), BY_US: (200, details())}, PAID),
    "400 everywhere": (
        {way: (400, error("INVALID_VALUE")) for way in (BY_CHAPA, BY_US, LIST)},
        UNKNOWN,
    ),
    "400 that is a missing one": (
        {BY_CHAPA: (400, MISSING), BY_US: (400, MISSING), LIST: (200, listed())},
        NOT_PAID,
    ),
    "400, then nowhere": (
        {BY_CHAPA: (400, error(None)), BY_US: (404, MISSING), LIST: (200, listed())},
        UNKNOWN,
    ),
    "another's by Chapa's": (
        {BY_CHAPA: (200, details(merchant_reference="another")), BY_US: (200, details())},
        PAID,
    ),
    "another's everywhere": (
        {
            BY_CHAPA: (200, details(merchant_reference="another")),
            BY_US: (200, details(merchant_reference="another")),
            LIST: (200, listed()),
        },
        UNKNOWN,
    ),
    "nobody's success": (
        {
            BY_CHAPA: (200, details(merchant_reference=None)),
            BY_US: (200, details(merchant_reference="")),
            LIST: (200, listed()),
        },
        UNKNOWN,
    ),
    "nobody's pending, by ours": (
        {
            BY_CHAPA: (200, details(merchant_reference="", status="pending")),
            BY_US: (200, details(merchant_reference="", status="pending")),
        },
        replace(PENDING, tx_ref=None),
    ),
    "404 of another server": (
        {BY_CHAPA: (404, {"message": "Not Found"}), BY_US: (404, MISSING), LIST: (200, listed())},
        UNKNOWN,
    ),
    "500": ({BY_CHAPA: (500, error("PROCESSING_FAILED"))}, UNKNOWN),
    "401": ({BY_CHAPA: (401, error(None))}, UNKNOWN),
    "429": ({BY_CHAPA: (429, error(None))}, UNKNOWN),
    "HTML": ({BY_CHAPA: (404, "<html>")}, UNKNOWN),
    "error with 200": (
        {way: (200, details() | {"status": "error"}) for way in (BY_CHAPA, BY_US, LIST)},
        UNKNOWN,
    ),
}


@pytest.mark.parametrize("name", ALL_ANSWERS)
def test_verify_believes_only_what_names_our_payment(net: NetV2, api: ApiV2, name: str) -> None:
    answers, expected = ALL_ANSWERS[name]
    for path, (code, body) in answers.items():
        net.says(path, code, body)

    assert api.ask("verify") == expected
    assert list(dict.fromkeys(net.asked)) == list(answers)


@pytest.mark.parametrize("call", ["verify", "verify_refund"])
def test_question_says_that_it_is_json_and_has_no_body(net: NetV2, api: ApiV2, call: str) -> None:
    """The docs ask for the content type on each request."""
    net.add("GET", re.compile(re.escape(URL)), json=details())
    api.ask(call)
    assert net.sent[0].headers["Content-Type"] == "application/json"
    assert net.sent[0].body is None


def test_verify_without_chapas_reference_asks_by_ours(net: NetV2, api: ApiV2) -> None:
    api.payment = replace(api.payment, provider_reference=None)
    net.says(BY_US, 200, details())
    assert api.ask("verify") == PAID
    assert net.asked == [BY_US]


def test_refused_verify_is_counted(net: NetV2, api: ApiV2, counted: dict[str, Any]) -> None:
    for way in (BY_CHAPA, BY_US, LIST):
        net.says(way, 400, error("INVALID_VALUE", "", {"request_id": "req-1"}))
    assert api.ask("verify") == UNKNOWN
    assert set(counted) == {"VerifyRefused"}


WORDS = {
    "success": Said.PAID,
    "pending": Said.PENDING,
    "auth_needed": Said.PENDING,
    "failed": Said.FAILED,
    "cancelled": Said.FAILED,
    "incomplete": Said.FAILED,
    "blocked": Said.FAILED,
    "refunded": Said.REFUNDED,
    "fully_refunded": Said.REFUNDED,
    "reversed": Said.REVERSED,
}


@pytest.mark.parametrize("word", WORDS)
@pytest.mark.parametrize("form", [str.lower, str.upper, str.title, lambda word: f"{word}\t"])
def test_each_status_has_a_meaning_in_any_case(
    net: NetV2, api: ApiV2, word: str, form: Any
) -> None:
    net.says(BY_CHAPA, 200, details(status=form(word)))
    assert api.ask("verify") == replace(PAID, said=WORDS[word], status=word)


def test_payment_that_went_back_in_part_has_no_amount_that_would_be_taken(
    net: NetV2, api: ApiV2
) -> None:
    net.says(BY_CHAPA, 200, details(status="partially_refunded"))
    assert api.ask("verify") == replace(PAID, amount=None, status="partially_refunded")


@pytest.mark.parametrize("word", ["paid", "on hold", "", None, 1, True, ["success"], "ተከፍሏል"])
def test_unknown_status_is_counted_and_means_nothing(
    net: NetV2, api: ApiV2, counted: dict[str, Any], word: object
) -> None:
    net.says(BY_CHAPA, 200, details(status=word))
    assert api.ask("verify") == UNKNOWN
    assert set(counted) == {"UnknownProviderStatus"}


@pytest.mark.parametrize("amount", [150_050, "150050", " 150050 "])
def test_amount_is_a_number_or_a_string_of_digits(net: NetV2, api: ApiV2, amount: object) -> None:
    net.says(BY_CHAPA, 200, details(amount=amount))
    assert api.ask("verify") == PAID


@pytest.mark.parametrize("amount", [1500.5, "1500.50", 150_050.0, "150,050", "1.5e5", -1, "", []])
def test_success_with_a_decimal_amount_has_no_amount_that_would_be_taken(
    net: NetV2, api: ApiV2, amount: object
) -> None:
    net.says(BY_CHAPA, 200, details(amount=amount))
    assert api.ask("verify") == replace(PAID, amount=None)


@pytest.mark.parametrize("fact", ["amount", "currency"])
def test_success_without_the_facts_is_unknown(net: NetV2, api: ApiV2, fact: str) -> None:
    net.says(BY_CHAPA, 200, details(**{fact: None}))
    assert api.ask("verify") == UNKNOWN


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"mode": "test"}, PAID),
        ({"mode": "LIVE"}, replace(PAID, mode="live")),
        ({"currency": "etb"}, PAID),
        ({"service_fee": None}, replace(PAID, fee=None)),
        ({"chapa_reference": "CHAPA1"}, replace(PAID, provider_reference="CHAPA1")),
        ({"chapa_reference": None}, PAID),
        ({"merchant_reference": None, "merchant_referece": TX_REF}, PAID),
        ({"amount": 150_049}, replace(PAID, amount=150_049)),
    ],
    ids=str,
)
def test_facts_are_read_in_each_form(
    net: NetV2, api: ApiV2, changes: dict[str, object], expected: Verification
) -> None:
    net.says(BY_CHAPA, 200, details(**changes))
    assert api.ask("verify") == expected


@pytest.mark.parametrize("time_left", [5, 10, PLENTY, 1])
@pytest.mark.parametrize("call", ["verify", "verify_refund"])
def test_all_ways_of_asking_share_the_time_left(
    net: NetV2, api: ApiV2, call: str, time_left: float
) -> None:
    def slow(_: PreparedRequest) -> tuple[int, dict[str, str], str]:
        api.seconds += time_left / 2
        return 404, {}, json.dumps(MISSING)

    net.add_callback("GET", re.compile(re.escape(URL)), slow)
    started = api.seconds
    assert api.outcome(call, time_left) in {UNKNOWN, Said.UNKNOWN}
    assert api.seconds - started <= time_left
    assert sum(net.waits) * TRIES <= time_left * 1.5


def test_cancel_is_not_supported_and_calls_nothing(net: NetV2, api: ApiV2) -> None:
    assert api.client.can_cancel is False
    assert api.ask("cancel") is False
    assert not net.calls


# Refunds.


def refunded(status: object = "success", **data: object) -> dict[str, Any]:
    given = {"chapa_reference": "RFND1", "payment_reference": REFERENCE, "amount": 150_050}
    given |= {"status": status, "merchant_reference": REFUND_ID}
    message = "Refund processed successfully"
    return {"status": "success", "message": message, "data": given | data}


def test_refund_is_json_in_santim_under_chapas_reference(net: NetV2, api: ApiV2) -> None:
    net.says("/refunds", 200, refunded(), "POST")
    api.refund = replace(api.refund, amount=7, reason="x" * 500)
    assert api.ask("refund") == "RFND1"
    assert net.bodies == [
        {
            "payment_reference": REFERENCE,
            "amount": 7,
            "reason": "x" * 400,
            "merchant_reference": REFUND_ID,
        }
    ]


@pytest.mark.parametrize(
    "data", [None, [], {}, {"chapa_reference": None}, {"chapa_reference": REFERENCE}]
)
def test_refund_without_an_id_of_its_own_is_accepted(net: NetV2, api: ApiV2, data: object) -> None:
    net.says("/refunds", 200, refunded() | {"data": data}, "POST")
    assert api.ask("refund") is None


@pytest.mark.parametrize("code", [400, 409])
@pytest.mark.parametrize(("sends", "outcome"), [(0, REFUSED), (1, None)])
def test_used_reference_of_a_refund_means_that_an_earlier_call_arrived(
    net: NetV2, api: ApiV2, code: int, sends: int, outcome: object
) -> None:
    """Before anything was sent it can only be the state of the payment that Chapa refuses."""
    net.says("/refunds", code, error("INVALID_STATE", USED), "POST")
    api.refund = replace(api.refund, sends=sends)
    assert api.outcome("refund") == outcome


BY_RFND = "/refunds/RFND1/verify"
BY_OUR_REFUND = f"/refunds/{REFUND_ID}/verify"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (refunded(), Said.REFUNDED),
        (refunded("SUCCESS"), Said.REFUNDED),
        (refunded("refunded"), Said.REFUNDED),
        (refunded("pending"), Said.PENDING),
        (refunded("processing"), Said.PENDING),
        (refunded("failed"), Said.FAILED),
        (refunded("reversed"), Said.REVERSED),
        (refunded(merchant_reference=None), Said.REFUNDED),
        (refunded(amount=None), Said.REFUNDED),
        (refunded(amount="150050"), Said.REFUNDED),
        (refunded("on hold"), Said.UNKNOWN),
        (refunded(merchant_reference="another"), Said.UNKNOWN),
        (refunded(amount="1500.50"), Said.UNKNOWN),
        (refunded(amount=1), Said.UNKNOWN),
        (refunded() | {"status": "error"}, Said.UNKNOWN),
        (refunded() | {"data": None}, Said.UNKNOWN),
    ],
    ids=str,
)
def test_refund_is_verified_by_its_own_facts(net: NetV2, api: ApiV2, body: Any, said: Said) -> None:
    net.says(BY_RFND, 200, body)
    net.says(BY_OUR_REFUND, 404, MISSING)
    assert api.ask("verify_refund") is said


@pytest.mark.parametrize("code", [400, 404])
def test_refund_is_asked_about_by_ours_too(net: NetV2, api: ApiV2, code: int) -> None:
    net.says(BY_RFND, code, MISSING)
    net.says(BY_OUR_REFUND, 200, refunded())
    assert api.ask("verify_refund") is Said.REFUNDED
    assert net.asked == [BY_RFND, BY_OUR_REFUND]


@pytest.mark.parametrize("word", ["on hold", None, 1])
def test_unknown_status_of_a_refund_is_counted_and_logged(
    net: NetV2, api: ApiV2, counted: dict[str, Any], log: io.StringIO, word: object
) -> None:
    net.says(BY_RFND, 200, refunded(word))
    assert api.ask("verify_refund") is Said.UNKNOWN
    assert set(counted) == {"UnknownProviderStatus"}
    assert json.loads(log.getvalue())["word"] == word_of(word)


def test_refund_that_cannot_be_asked_about_is_unknown(net: NetV2, api: ApiV2) -> None:
    net.says(BY_RFND, 503, error(None))
    assert api.ask("verify_refund") is Said.UNKNOWN


# Both versions.


@given(integers(min_value=0, max_value=MAX_AMOUNT))
def test_santim_on_the_wire_and_back_is_the_same_in_both_versions(santim: int) -> None:
    in_v1 = json.loads(json.dumps(format_amount(santim)))
    in_v2 = json.loads(json.dumps(to_wire(santim)))
    assert parse_amount(in_v1) == from_wire(in_v2) == from_wire(str(in_v2)) == santim
    # What one version writes, the other does not take for whole santim.
    assert from_wire(in_v1) is None


def test_wire_of_v2_is_in_santim() -> None:
    assert (to_wire(150_050), from_wire(150_050)) == (150_050, 150_050)
    assert [from_wire(Decimal("150050")), from_wire(True), from_wire(10**12)] == [None] * 3
    assert v2.UNITS_PER_MINOR == 1


@pytest.mark.parametrize("call", ["open", "verify", "refund", "verify_refund"])
def test_version_without_a_key_is_not_asked_and_counted(
    net: NetV2,
    log: io.StringIO,
    counted: dict[str, Any],
    called: list[tuple[str, bool]],
    call: str,
) -> None:
    api = ApiV2(url="")
    api.key = "CHASECK_TEST-0123456789abcdef"
    unasked = {"verify": UNKNOWN, "verify_refund": Said.UNKNOWN}
    assert api.outcome(call) == unasked.get(call, NOT_REACHED)
    assert api.client.mode == "test"
    assert not net.calls
    assert not called
    assert set(counted) == {"ProviderKeyMissing"}
    assert '"provider":"chapa-v2"' in log.getvalue()


@pytest.mark.parametrize("call", ["open", "verify", "refund", "verify_refund"])
@pytest.mark.parametrize(
    ("code", "body"),
    [
        (200, details(status="on hold for abebe@shop.example")),
        (400, error(KEY, f"no such key {KEY}, abebe@shop.example, +251 911 234 567")),
        (400, error("INVALID_VALUE", "", {f"{KEY} abebe@shop.example": ["+251 911 234 567"]})),
        (400, error("INVALID_VALUE", "", {"request_id": f"{KEY} abebe@shop.example"})),
        (401, error(KEY)),
        (200, KEY),
        (200, requests.ConnectionError(KEY)),
    ],
    ids=lambda value: str(value)[:40],
)
def test_neither_key_nor_customer_is_in_a_log_or_a_repr(
    net: NetV2, api: ApiV2, log: io.StringIO, call: str, code: int, body: Any
) -> None:
    for way in (BY_CHAPA, BY_US, LIST, BY_RFND, BY_OUR_REFUND):
        net.says(way, code, body)
    for path in ("/payments/hosted", "/refunds"):
        net.says(path, code, body, "POST")
    try:
        shown = repr(api.ask(call))
    except ProviderError as caught:
        shown = f"{caught} {caught!r} {caught.reason}"
    shown += f"{log.getvalue()}{api.client!r}{vars(api.client)!r}"
    for secret in ("0123456789abcdef", "abebe@", "911 234"):
        assert secret not in shown


# The lists.

AT = 1_795_338_000
ITEM = DETAILS | {"payment_type": "Hosted"}
LISTED = Transaction(Said.PAID, TX_REF, REFERENCE, 150_050, "ETB", AT, "success")
RANGE = "from=2026-11-22T08%3A59%3A00Z&to=2026-11-22T09%3A01%3A00Z&per_page=25&limit=25"
REFUND_ITEM = {
    "chapa_reference": "RFND1",
    "payment_reference": REFERENCE,
    "merchant_reference": REFUND_ID,
    "amount": 150_050,
    "currency": "ETB",
    "status": "success",
    "reason": None,
    "created_at": "2026-11-22T09:00:00Z",
}
REFUNDS = "refunds page 1"


def page_of(*items: object, **pagination: object) -> dict[str, Any]:
    data = {"items": list(items), "pagination": pagination}
    return {"status": "success", "message": "Payments retrieved", "data": data}


def transactions(net: NetV2, api: ApiV2, answer: Any, position: str | None = None) -> Page:
    for path in ("/payments", "/refunds"):
        net.says(path, 200, answer)
    return api.client.transactions(AT - 60, AT + 60, position, PLENTY)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, LISTED),
        ({"status": "REVERSED", "amount": "150050"}, {"said": Said.REVERSED, "status": "reversed"}),
        ({"status": "partially_refunded"}, {"amount": None, "status": "partially_refunded"}),
        ({"status": "held"}, {"said": Said.UNKNOWN, "status": "held"}),
        ({"merchant_reference": "", "merchant_referece": TX_REF}, {}),
        ({"merchant_reference": None}, {"reference": None}),
        (
            # Another unit than we think: a factor of 100.
            {"amount": "1500.50"},
            {"said": Said.UNKNOWN, "amount": None, "status": "success, amount not understood"},
        ),
    ],
)
def test_row_of_the_payments_is_read(
    net: NetV2, api: ApiV2, changes: dict[str, Any], expected: Any
) -> None:
    [row] = transactions(net, api, page_of(ITEM | changes)).transactions
    assert row == (expected if isinstance(expected, Transaction) else replace(LISTED, **expected))


def test_row_of_the_refunds_names_refund_and_payment(net: NetV2, api: ApiV2) -> None:
    page = transactions(net, api, page_of(REFUND_ITEM, {}, "row", has_more=False), REFUNDS)
    expected = replace(LISTED, said=Said.REFUNDED, reference=REFUND_ID, is_refund=True)
    assert (page.transactions, page.following, page.unreadable) == ((expected,), None, 2)


EARLIER = [ITEM | {"created_at": f"2026-11-22T08:5{minute}:00Z"} for minute in (8, 5)]


@pytest.mark.parametrize(
    ("position", "items", "pagination", "following"),
    [
        (None, [ITEM], {"next_cursor": "a b", "has_more": True}, "payments cursor a b"),
        ("payments cursor x", [ITEM], {"next_cursor": "y"}, "payments cursor y"),
        ("payments page 2", [ITEM], {"has_more": True}, "payments page 3"),
        ("payments page 2", [ITEM], {"page": 2, "total": 60}, "payments page 3"),
        (None, [ITEM], {"next_cursor": None, "has_more": True}, "payments page 2"),
        # The end of the payments is the beginning of the refunds.
        (None, [ITEM], {"next_cursor": None, "has_more": False}, REFUNDS),
        (None, [ITEM], {"next_cursor": None}, REFUNDS),
        ("payments page 4", [], {"page": 4}, REFUNDS),
        (None, EARLIER, {"next_cursor": "y", "has_more": True}, REFUNDS),
        ("refunds cursor x", [REFUND_ITEM], {"next_cursor": "y"}, "refunds cursor y"),
        ("refunds cursor x", [], {}, None),
    ],
)
def test_lists_are_followed_by_cursors_or_by_page_numbers(
    net: NetV2,
    api: ApiV2,
    position: str | None,
    items: list[Any],
    pagination: dict[str, Any],
    following: str | None,
) -> None:
    assert transactions(net, api, page_of(*items, **pagination), position).following == following


@pytest.mark.parametrize(
    ("position", "asked"),
    [
        (None, f"/payments?{RANGE}"),
        ("payments cursor a b", f"/payments?{RANGE}&cursor=a+b"),
        ("refunds page 2", f"/refunds?{RANGE}&page=2"),
    ],
)
def test_list_is_asked_for_the_range(
    net: NetV2, api: ApiV2, position: str | None, asked: str
) -> None:
    transactions(net, api, page_of(), position)
    assert net.asked == [asked]


def test_account_without_a_list_of_refunds_has_an_empty_one(net: NetV2, api: ApiV2) -> None:
    net.says("/refunds", 404, MISSING)
    assert api.client.transactions(AT, AT, REFUNDS, PLENTY) == Page((), None)


@pytest.mark.parametrize(
    ("code", "answer"), [(400, error("INVALID_VALUE")), (404, MISSING), (200, details())]
)
def test_answer_without_a_list_is_an_error(net: NetV2, api: ApiV2, code: int, answer: Any) -> None:
    net.says("/payments", code, answer)
    with pytest.raises(ProviderError, match="without a list"):
        api.client.transactions(AT, AT, None, PLENTY)
