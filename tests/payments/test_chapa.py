"""What the client sends, how it reads each answer, and how it survives broken connections."""

import gzip
import io
import json
import random
import re
import socket
import time
import traceback
import tracemalloc
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import product
from threading import Event, Thread
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import ANY

import pytest
import requests
import responses
from requests.exceptions import ChunkedEncodingError, ContentDecodingError, InvalidHeader, SSLError

from payments.chapa import IDLE_SECONDS, READ_RETRIES, Chapa
from payments.domain import Said, Verification
from payments.errors import (
    ProviderError,
    ProviderFailed,
    ProviderRejected,
    ProviderTimeout,
    ProviderUnavailable,
)
from payments.settings import SecretStore, Settings
from payments.telemetry import metrics
from payments.wire import MOST_BYTES
from sandbox.chapa.control import Control
from sandbox.chapa.server import Server
from sandbox.chapa.simulator import Simulator
from tests import builders
from tests.environment import SETTINGS

KEY = "CHASECK_TEST-0123456789abcdef"
CHAPA = "https://api.chapa.co/v1"
ORDER_ID = "abcdefghijklmnopqrst"
TX_REF = f"{ORDER_ID}-{'x' * 24}"
CHECKOUT_URL = "https://checkout.chapa.co/checkout/payment/token"
INITIALIZE = f"{CHAPA}/transaction/initialize"
VERIFY = f"{CHAPA}/transaction/verify/{TX_REF}"
CANCEL = f"{CHAPA}/transaction/cancel/{TX_REF}"
PLENTY = 27.0
TRIES = READ_RETRIES + 1
CUSTOMER = {
    "first_name": "አበበ",
    "last_name": "Bikila",
    "email": "abebe@shop.example",
    "phone_number": "0911234567",
}
OPENED = {"message": "Hosted Link", "status": "success", "data": {"checkout_url": CHECKOUT_URL}}
HTML = "<!DOCTYPE html><html><body><h1>Bad Gateway</h1></body></html>"
PAYMENT = builders.payment(tx_ref=TX_REF, amount=150_050)
REFUND = builders.refund(tx_ref=TX_REF, amount=150_050)
UNKNOWN = Verification(Said.UNKNOWN)


class Vault:
    """Secrets Manager with one secret, whose key can be changed."""

    key = KEY

    def get_secret_value(self, **_: object) -> dict[str, str]:
        return {"SecretString": json.dumps({"api_key": self.key})}


class Clock:
    seconds = 1_000.0

    def __call__(self) -> float:
        return self.seconds


def client(
    url: str = CHAPA, *, clock: Clock | None = None, vault: Vault | None = None, **settings: str
) -> Chapa:
    environment = SETTINGS | {"CHAPA_URL": url} | {k.upper(): v for k, v in settings.items()}
    clock = clock or Clock()
    secrets = SecretStore(cast("Any", vault or Vault()), "chapa", url, clock)
    return Chapa(Settings.from_environment(environment), secrets, clock)


def initialize(
    chapa: Chapa, time_left: float = PLENTY, customer: Mapping[str, str] | None = None
) -> str:
    order = builders.order(ORDER_ID, amount=150_050, customer=customer or {})
    return chapa.initialize(order, PAYMENT, time_left)


def verify(chapa: Chapa, time_left: float = PLENTY) -> Verification:
    return chapa.verify(TX_REF, time_left)


def cancel(chapa: Chapa, time_left: float = PLENTY) -> bool:
    return chapa.cancel(TX_REF, time_left)


CALLS: dict[str, Callable[..., object]] = {
    "initialize": initialize,
    "verify": verify,
    "cancel": cancel,
}


@pytest.fixture
def net() -> Iterator[responses.RequestsMock]:
    """A network on which only what a test adds exists."""
    with responses.RequestsMock(assert_all_requests_are_fired=False) as net:
        yield net


@pytest.fixture(autouse=True)
def counted() -> Iterator[dict[str, Any]]:
    metrics.clear_metrics()
    yield metrics.metric_set
    metrics.clear_metrics()


@pytest.fixture(autouse=True)
def slept(monkeypatch: pytest.MonkeyPatch, log: io.StringIO) -> list[float]:
    """The pauses before retries, which take no time."""
    pauses: list[float] = []
    monkeypatch.setattr("urllib3.util.retry.time", SimpleNamespace(sleep=pauses.append))
    return pauses


def sent(net: responses.RequestsMock) -> requests.PreparedRequest:
    return net.calls[0].request


def failed_to(call: Callable[[], object]) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        call()
    return caught.value


def answer(code: int, message: object = "Something went wrong", **more: object) -> dict[str, Any]:
    return {"status": code, "json": {"message": message, "status": "failed", "data": None} | more}


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
    ids=[
        "nothing known of the customer",
        "everything known of the customer",
        "name only",
        "telephone number only",
        "customer fields named like ours",
        "no URLs",
        "return URL with a query",
    ],
)
def test_initialize_sends_what_chapa_documents(
    net: responses.RequestsMock,
    customer: dict[str, str],
    settings: dict[str, Any],
    changes: dict[str, object],
) -> None:
    net.post(INITIALIZE, json=OPENED)

    assert initialize(client(**settings), customer=customer) == CHECKOUT_URL
    assert sent(net).headers["Content-Type"] == "application/json"
    assert sent(net).headers["Authorization"] == f"Bearer {KEY}"
    expected = {name: value for name, value in (BODY | changes).items() if value is not None}
    assert json.loads(sent(net).body or "") == expected


@pytest.mark.parametrize("status", ["success", "Success", None, "SUCCESS ", 1])
def test_checkout_url_counts_whatever_the_status_beside_it(
    net: responses.RequestsMock, status: object
) -> None:
    net.post(INITIALIZE, json=OPENED | {"status": status})

    assert initialize(client()) == CHECKOUT_URL


@pytest.mark.parametrize(
    "message",
    [
        "Invalid currency, XXX is not supported",
        {"email": ["validation.email"]},
        ["validation.required"],
        None,
    ],
    ids=["sentence", "complaints by field", "list", "nothing"],
)
@pytest.mark.parametrize(
    ("code", "status"),
    [(400, "failed"), (422, "failed"), (200, "failed"), (200, "Failed "), (400, None)],
)
def test_refusal_carries_the_words_of_chapa(
    net: responses.RequestsMock, code: int, status: str | None, message: object
) -> None:
    net.post(INITIALIZE, **answer(code, message, status=status))

    error = failed_to(lambda: initialize(client()))

    assert type(error) is ProviderRejected
    assert error.members["provider_message"] == message
    assert not error.may_have_acted
    assert len(net.calls) == 1


@pytest.mark.parametrize("code", [200, 400])
@pytest.mark.parametrize(
    "message",
    ["Transaction reference has been used before", "transaction reference has been USED BEFORE\t"],
)
def test_used_reference_means_that_our_own_call_arrived_twice(
    net: responses.RequestsMock, code: int, message: str
) -> None:
    """So a payment is open: this is no refusal."""
    net.post(INITIALIZE, **answer(code, message))

    error = failed_to(lambda: initialize(client()))

    assert type(error) is ProviderFailed
    assert error.may_have_acted


DETAILS = {
    "first_name": "Abebe",
    "last_name": None,
    "email": "abebe@shop.example",
    "currency": "ETB",
    "amount": 1500.5,
    "charge": 52.52,
    "mode": "test",
    "method": "telebirr",
    "type": "API",
    "status": "success",
    "reference": "APezQ1KKswbb",
    "tx_ref": TX_REF,
    "customization": {"title": "Shop", "description": None, "logo": None},
    "meta": None,
    "created_at": "2026-11-22T09:00:00.000000Z",
    "updated_at": "2026-11-22T09:00:00.000000Z",
}
PAID = Verification(
    Said.PAID,
    tx_ref=TX_REF,
    amount=150_050,
    currency="ETB",
    mode="test",
    reference="APezQ1KKswbb",
    status="success",
)


def details(**changes: object) -> dict[str, Any]:
    return {"message": "Payment details", "status": "success", "data": DETAILS | changes}


GOOD = details(checkout_url=CHECKOUT_URL)
"""A body that would do for every call."""

BOMB = "[" * 100_000 + "]" * 100_000
NOT_DONE = (ProviderFailed, False)
UNCERTAIN = (ProviderFailed, True)
REFUSED = (ProviderRejected, False)
NOT_REACHED = (ProviderUnavailable, False)
BROKEN = (ProviderUnavailable, True)

type Classified = tuple[dict[str, Any], tuple[type[ProviderError], bool], bool]

ANSWERS: dict[str, Classified] = {
    "400": (answer(400), REFUSED, True),
    "401 for a wrong key": (answer(401, "Invalid API Key or User doesn't exist"), NOT_DONE, False),
    "403": (answer(403), NOT_DONE, False),
    "404 in JSON": (answer(404, "Payments through API is disabled"), NOT_DONE, True),
    "422": (answer(422), REFUSED, False),
    "429": (answer(429), NOT_REACHED, False),
    **{str(code): (answer(code), UNCERTAIN, False) for code in (500, 502, 503, 504, 520)},
    **{
        f"{code} in HTML": ({"status": code, "body": HTML}, UNCERTAIN, False)
        for code in (200, 400, 404, 502)
    },
    "201": ({"status": 201, "json": GOOD}, UNCERTAIN, False),
    **{
        f"redirect to {url}": (
            {"status": 302, "headers": {"Location": url}, "json": GOOD},
            UNCERTAIN,
            False,
        )
        for url in (f"{CHAPA}/elsewhere", "https://[nowhere")
    },
    **{
        f"data {data!r}": ({"json": GOOD | {"data": data}}, UNCERTAIN, True)
        for data in (None, [DETAILS], "success")
    },
    **{
        name: ({"body": body}, UNCERTAIN, False)
        for name, body in {
            "no body": "",
            "half a body": json.dumps(GOOD)[:40],
            "list": json.dumps([GOOD]),
            "string": '"Hosted Link"',
            "null": "null",
            "no message": json.dumps({"status": "success", "data": GOOD["data"]}),
            "number as message": json.dumps(GOOD | {"message": 5}),
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
        type(error).__name__: ({"body": error}, classified, False)
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
"""Answers that open no payment and prove none: what each means to initialize, and to cancel."""

EACH_ANSWER = pytest.mark.parametrize(
    ("said", "error", "closed"), ANSWERS.values(), ids=list(ANSWERS)
)


@EACH_ANSWER
def test_initialize_says_whether_chapa_may_have_acted(
    net: responses.RequestsMock,
    said: dict[str, Any],
    error: tuple[type[ProviderError], bool],
    closed: bool,
) -> None:
    net.post(INITIALIZE, **said)

    raised = failed_to(lambda: initialize(client()))

    assert (type(raised), raised.may_have_acted) == error
    assert len(net.calls) == 1


@EACH_ANSWER
def test_verify_without_a_usable_answer_is_unknown(
    net: responses.RequestsMock, said: dict[str, Any], error: object, closed: bool
) -> None:
    net.get(VERIFY, **said)

    not_paid = said is ANSWERS["404 in JSON"][0]
    expected = Verification(Said.OPEN, status="not paid yet") if not_paid else UNKNOWN
    assert verify(client()) == expected


@EACH_ANSWER
def test_cancel_closes_only_when_chapa_says_that_nothing_is_open(
    net: responses.RequestsMock, said: dict[str, Any], error: object, closed: bool
) -> None:
    net.put(CANCEL, **said)

    assert cancel(client()) is closed
    assert len(net.calls) == 1
    assert sent(net).body is None


@pytest.mark.parametrize("data", [{}, {"checkout_url": None}, {"checkout_url": 5}], ids=str)
def test_answer_without_checkout_url_leaves_it_open_whether_chapa_acted(
    net: responses.RequestsMock, data: object
) -> None:
    net.post(INITIALIZE, json=OPENED | {"data": data})

    error = failed_to(lambda: initialize(client()))

    assert (type(error), error.may_have_acted) == UNCERTAIN


def test_refused_key_is_counted(net: responses.RequestsMock, counted: dict[str, Any]) -> None:
    net.post(INITIALIZE, **answer(401))

    failed_to(lambda: initialize(client()))

    assert set(counted) == {"ProviderRefusedKey"}


@pytest.mark.parametrize(
    "url",
    [
        CHECKOUT_URL,
        "https://CHECKOUT.chapa.co/checkout/payment/token",
        "https://pay.chapa.co/checkout?token=token",
    ],
)
def test_checkout_page_is_on_a_configured_host(net: responses.RequestsMock, url: str) -> None:
    net.post(INITIALIZE, json=OPENED | {"data": {"checkout_url": url}})

    assert initialize(client(checkout_hosts="checkout.chapa.co,pay.chapa.co")) == url


@pytest.mark.parametrize(
    ("hosts", "url"),
    [
        *(
            ("checkout.chapa.co", url)
            for url in (
                "http://checkout.chapa.co/checkout/payment/token",
                "https://evil.example/checkout.chapa.co",
                "https://checkout.chapa.co.evil.example/",
                "https://checkout.chapa.co@evil.example/",
                "https://evil.example\\@checkout.chapa.co/",
                "https://evilcheckout.chapa.co/",
                "//checkout.chapa.co/",
                "/checkout/payment/token",
                "javascript:alert(1)//checkout.chapa.co",
                "https://[checkout.chapa.co/",
                "",
            )
        ),
        *(("*", url) for url in ("javascript:alert(1)", "data:text/html,x", "https://[x", "")),
    ],
)
def test_other_checkout_page_is_never_given_to_a_customer(
    net: responses.RequestsMock, hosts: str, url: str
) -> None:
    net.post(INITIALIZE, json=OPENED | {"data": {"checkout_url": url}})

    error = failed_to(lambda: initialize(client(checkout_hosts=hosts)))

    assert (type(error), error.may_have_acted) == UNCERTAIN
    assert "CHECKOUT_HOSTS" in error.reason


@pytest.mark.parametrize(
    "envelope",
    [
        {},
        {"message": "Payment details fetched successfully"},
        {"message": {"success": ["Payment details"]}},
        {"message": ["Payment details"]},
        {"message": None},
        {"status": None},
        {"status": "null"},
        {"status": "Success "},
        {"status": "failed"},
        {"status": ["success"]},
        "no status",
    ],
    ids=str,
)
def test_only_the_data_of_verify_decides(
    net: responses.RequestsMock, envelope: dict[str, object] | str
) -> None:
    body = details()
    if isinstance(envelope, dict):
        body |= envelope
    else:
        del body["status"]
    net.get(VERIFY, json=body)

    assert verify(client()) == PAID


@pytest.mark.parametrize(
    ("written", "minor"),
    [
        ("100", 10_000),
        ("100.00", 10_000),
        ("3.5", 350),
        ('"100.00"', 10_000),
        ('"100"', 10_000),
        ('"10,000.00"', 1_000_000),
        ("0.07", 7),
        ("1234567.89", 123_456_789),
    ],
)
def test_amount_is_read_exactly_in_every_form(
    net: responses.RequestsMock, written: str, minor: int
) -> None:
    body = json.dumps(details(amount=0)).replace('"amount": 0', f'"amount": {written}')
    net.get(VERIFY, body=body)

    assert verify(client()).amount == minor


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("success", Said.PAID),
        ("Success ", Said.PAID),
        ("SUCCESS\t", Said.PAID),
        ("pending", Said.OPEN),
        ("failed", Said.FAILED),
        ("failed/cancelled", Said.FAILED),
        ("Failed/Cancelled", Said.FAILED),
        ("cancelled", Said.FAILED),
        ("canceled", Said.FAILED),
        ("refunded", Said.REFUNDED),
        ("reversed", Said.REVERSED),
        ("null", Said.OPEN),
        ("", Said.OPEN),
        *((value, Said.OPEN) for value in (None, 1, True, ["success"], {"success": True})),
    ],
    ids=repr,
)
def test_every_known_status_has_one_meaning(
    net: responses.RequestsMock, word: object, said: Said
) -> None:
    net.get(VERIFY, json=details(status=word))

    verification = verify(client())

    assert verification.said is said
    assert verification.status == (word.strip().lower() if isinstance(word, str) else "")


def test_pending_payment_may_have_no_facts_yet(net: responses.RequestsMock) -> None:
    data = {"status": "pending", "tx_ref": TX_REF, "amount": None, "reference": None}
    net.get(VERIFY, json={"message": "Payment details", "status": "pending", "data": data})

    assert verify(client()) == Verification(Said.OPEN, tx_ref=TX_REF, status="pending")


@pytest.mark.parametrize("word", ["successful", "paid", "succes", "success/failed", "on hold"])
def test_unknown_status_is_counted_and_means_nothing(
    net: responses.RequestsMock, log: io.StringIO, counted: dict[str, Any], word: str
) -> None:
    net.get(VERIFY, json=details(status=word))

    assert verify(client()) == UNKNOWN
    assert set(counted) == {"UnknownProviderStatus"}
    assert word in log.getvalue()


UNREADABLE: list[tuple[str, object]] = [
    *product(("tx_ref", "amount", "currency", "mode", "reference"), (None, True, [], "missing")),
    *(("amount", text) for text in ("1.005", "-1", "1e3", "1,00", "NaN", "", "many")),
]


@pytest.mark.parametrize(("fact", "value"), UNREADABLE)
def test_success_without_readable_facts_is_unknown(
    net: responses.RequestsMock, fact: str, value: object
) -> None:
    body = details(**{fact: value})
    if value == "missing":
        del body["data"][fact]
    net.get(VERIFY, json=body)

    assert verify(client()) == UNKNOWN


@pytest.mark.parametrize(
    ("message", "status"),
    [
        ("Invalid transaction or Transaction not found", "failed"),
        ("Invalid transaction reference", "failed"),
        ("Payment not paid yet", None),
        ("Payment not paid yet", "null"),
    ],
)
def test_payment_that_is_not_found_is_not_paid_yet(
    net: responses.RequestsMock, message: str, status: str | None
) -> None:
    net.get(VERIFY, **answer(404, message, status=status))

    assert verify(client()) == Verification(Said.OPEN, status="not paid yet")


def test_verify_sends_no_body(net: responses.RequestsMock) -> None:
    net.get(VERIFY, json=details())
    verify(client())

    assert sent(net).body is None
    assert "Content-Type" not in sent(net).headers


def test_reference_is_encoded_into_the_path(net: responses.RequestsMock) -> None:
    net.get(re.compile(re.escape(CHAPA)), json=details())
    net.put(re.compile(re.escape(CHAPA)), json=OPENED)
    client().verify("a/../b?c#d e%", PLENTY)
    client().cancel("a/../b?c#d e%", PLENTY)

    assert [call.request.url for call in net.calls] == [
        f"{CHAPA}/transaction/verify/a%2F..%2Fb%3Fc%23d%20e%25",
        f"{CHAPA}/transaction/cancel/a%2F..%2Fb%3Fc%23d%20e%25",
    ]


def test_status_that_names_the_customer_is_not_repeated(
    net: responses.RequestsMock, log: io.StringIO
) -> None:
    net.get(VERIFY, json=details(status="on hold for abebe@shop.example"))
    verification = verify(client())

    assert "abebe@" not in log.getvalue() + repr(verification)


def waits(net: responses.RequestsMock) -> list[float]:
    """For each request, how long it could have taken at most."""
    return [cast("Any", call.request).req_kwargs["timeout"].total for call in net.calls]


@pytest.mark.parametrize("time_left", [1, 2.5, 5, 10, PLENTY, 900, float("inf")])
@pytest.mark.parametrize("name", ["initialize", "cancel"])
def test_initialize_and_cancel_keep_to_the_time_left(
    net: responses.RequestsMock, name: str, time_left: float
) -> None:
    net.post(INITIALIZE, json=OPENED)
    net.put(CANCEL, json=OPENED)
    CALLS[name](client(), time_left)

    [wait] = waits(net)
    assert 0 < wait <= min(time_left, 30)


@pytest.mark.parametrize("time_left", [5, 10, PLENTY, 900, float("inf")])
def test_all_tries_of_verify_and_their_pauses_keep_to_the_time_left(
    net: responses.RequestsMock, time_left: float
) -> None:
    net.get(VERIFY, **answer(503))
    chapa = client()
    verify(chapa, time_left)
    retry = cast("Any", chapa.session.get_adapter(VERIFY)).max_retries

    assert len(net.calls) == TRIES
    assert sum(waits(net)) + READ_RETRIES * retry.retry_after_max <= time_left
    assert retry.backoff_factor * 2 + retry.backoff_jitter <= retry.retry_after_max


@pytest.mark.parametrize("time_left", [0.4, 0, -5, float("-inf")])
@pytest.mark.parametrize("name", CALLS)
def test_without_time_left_nothing_is_sent(
    net: responses.RequestsMock, name: str, time_left: float
) -> None:
    outcome: object
    try:
        outcome = CALLS[name](client(), time_left)
    except ProviderUnavailable as error:
        outcome = error.may_have_acted

    assert outcome in (False, UNKNOWN)
    assert not net.calls


def test_rotated_key_is_used_from_the_next_read_on(net: responses.RequestsMock) -> None:
    net.get(VERIFY, json=details())
    vault, clock = Vault(), Clock()
    chapa = client(clock=clock, vault=vault)
    verify(chapa)
    vault.key = "CHASECK_TEST-another"
    clock.seconds += 60
    verify(chapa)

    assert [call.request.headers["Authorization"] for call in net.calls] == [
        f"Bearer {KEY}",
        "Bearer CHASECK_TEST-another",
    ]


def test_mode_is_that_of_the_key() -> None:
    assert client().mode == "test"


@pytest.fixture
def traffic(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Each request, and each time that all connections were closed."""
    done: list[str] = []
    close, request = requests.Session.close, requests.Session.request

    def closes(self: requests.Session) -> None:
        done.append("close")
        close(self)

    def asks(self: requests.Session, method: str, *args: Any, **kwargs: Any) -> requests.Response:
        done.append(method)
        return request(self, method, *args, **kwargs)

    monkeypatch.setattr(requests.Session, "close", closes)
    monkeypatch.setattr(requests.Session, "request", asks)
    return done


@pytest.mark.parametrize(
    ("idle", "done"),
    [
        ([IDLE_SECONDS], ["POST", "POST"]),
        ([IDLE_SECONDS + 1], ["POST", "close", "POST"]),
        # Verify has connections of its own, so it does not make this one fresh.
        ([IDLE_SECONDS, IDLE_SECONDS], ["POST", "GET", "close", "POST"]),
    ],
    ids=["just long enough", "too long", "too long in spite of a verify"],
)
def test_idle_connection_is_closed_before_initialize(
    net: responses.RequestsMock, traffic: list[str], idle: list[float], done: list[str]
) -> None:
    net.post(INITIALIZE, json=OPENED)
    net.get(VERIFY, json=details())
    clock = Clock()
    chapa = client(clock=clock)
    initialize(chapa)
    for number, seconds in enumerate(idle):
        if number:
            verify(chapa)
        clock.seconds += seconds
    initialize(chapa)

    assert traffic == done


@pytest.mark.parametrize(
    "said",
    [
        {"json": OPENED},
        answer(400, f"no such key {KEY}, abebe@shop.example, +251 911 234 567"),
        answer(401, KEY),
        answer(403, KEY),
        answer(500),
        {"body": KEY},
        {"body": requests.ReadTimeout(KEY)},
        {"body": requests.ConnectionError(KEY)},
        {"body": InvalidHeader(KEY)},
    ],
    ids=lambda said: str(said)[:40],
)
@pytest.mark.parametrize("name", CALLS)
def test_neither_key_nor_customer_is_in_a_log_a_repr_or_a_traceback(
    net: responses.RequestsMock,
    log: io.StringIO,
    caplog: pytest.LogCaptureFixture,
    name: str,
    said: dict[str, Any],
) -> None:
    caplog.set_level(1)
    for method, url in {"POST": INITIALIZE, "GET": VERIFY, "PUT": CANCEL}.items():
        net.add(responses.Response(method=method, url=url, **said))
    chapa = client()
    try:
        shown = repr(CALLS[name](chapa))
    except ProviderError as error:
        shown = f"{error} {error!r} {error.reason} {''.join(traceback.format_exception(error))}"
    shown += f"{log.getvalue()}{caplog.text}{chapa!r}{vars(chapa)!r}{chapa.session.headers!r}"

    for secret in ("0123456789abcdef", "abebe@", "911 234"):
        assert secret not in shown


class Wire:
    """The simulator behind a real socket."""

    def __init__(self, server: Server) -> None:
        self.url = f"{server.url}/v1"
        self.control = Control(server.url)
        self.chapa = client(self.url, shop_name="Sixteen letters.")

    def requests(self, call: Any) -> int:
        return len(self.control.journal(call))

    def close(self) -> None:
        self.chapa.session.close()
        self.control._session.close()


@pytest.fixture
def wire() -> Iterator[Wire]:
    with Server(Simulator(api_keys=[KEY], rng=random.Random(7))) as server:
        wire = Wire(server)
        yield wire
        wire.close()


def test_strict_simulator_accepts_what_initialize_sends(wire: Wire) -> None:
    assert "/checkout/" in initialize(wire.chapa, customer=CUSTOMER)
    assert wire.control.payment(TX_REF)["status"] == "unpaid"

    with pytest.raises(ProviderFailed, match="used before"):
        initialize(wire.chapa)


SHORT = 0.5
"""Seconds left where a test waits until they are over; with less, nothing is sent."""


@pytest.mark.parametrize(
    ("kind", "more", "time_left", "error"),
    [
        ("timeout_before", {"seconds": 30}, SHORT, (ProviderTimeout, True)),
        ("timeout_after", {"seconds": 30}, SHORT, (ProviderTimeout, True)),
        ("timeout_before", {"seconds": 0}, PLENTY, BROKEN),
        ("reset", {}, PLENTY, BROKEN),
        ("reset_after", {}, PLENTY, BROKEN),
        ("status", {"status": 502}, PLENTY, UNCERTAIN),
        ("status", {"status": 503, "retry_after": 1}, PLENTY, UNCERTAIN),
        ("status", {"status": 429, "retry_after": 1}, PLENTY, NOT_REACHED),
        ("html", {"status": 200}, PLENTY, UNCERTAIN),
        ("malformed", {}, PLENTY, UNCERTAIN),
    ],
    ids=str,
)
def test_initialize_cancel_and_refund_are_sent_exactly_once(
    wire: Wire,
    slept: list[float],
    kind: Any,
    more: dict[str, Any],
    time_left: float,
    error: tuple[type[ProviderError], bool],
) -> None:
    for call in ("initialize", "cancel", "refund"):
        wire.control.add_fault(call, kind, times=None, **more)

    for act in (
        lambda: initialize(wire.chapa, time_left),
        lambda: wire.chapa.refund(PAYMENT, REFUND, time_left),
    ):
        raised = failed_to(act)
        assert (type(raised), raised.may_have_acted) == error
    assert not cancel(wire.chapa, time_left)
    assert [wire.requests(call) for call in ("initialize", "cancel", "refund")] == [1, 1, 1]
    assert not slept


@pytest.mark.parametrize(
    ("kind", "more", "times", "time_left"),
    [
        *(("status", {"status": code}, READ_RETRIES, PLENTY) for code in (429, 500, 502)),
        ("status", {"status": 503, "retry_after": 1}, READ_RETRIES, PLENTY),
        ("html", {"status": 504}, READ_RETRIES, PLENTY),
        ("reset", {}, READ_RETRIES, PLENTY),
        ("reset_after", {}, READ_RETRIES, PLENTY),
        ("timeout_before", {"seconds": 0}, READ_RETRIES, PLENTY),
        ("timeout_before", {"seconds": 30}, 1, 2 + TRIES * 1.0),
    ],
    ids=str,
)
def test_verify_is_retried(
    wire: Wire, kind: Any, more: dict[str, Any], times: int, time_left: float
) -> None:
    initialize(wire.chapa)
    wire.control.pay(TX_REF, webhook=False)
    wire.control.add_fault("verify", kind, times=times, **more)

    assert verify(wire.chapa, time_left) == replace(PAID, reference=ANY)
    assert wire.requests("verify") == times + 1


@pytest.mark.parametrize(
    ("kind", "more", "tries"),
    [
        ("status", {}, TRIES),
        ("reset", {}, TRIES),
        *(("status", {"status": code}, 1) for code in (400, 401, 403, 404)),
    ],
    ids=str,
)
def test_verify_is_retried_a_few_times_and_only_if_the_answer_may_change(
    wire: Wire, kind: Any, more: dict[str, Any], tries: int
) -> None:
    wire.control.add_fault("verify", kind, times=None, **more)

    verification = verify(wire.chapa)
    assert verification.said is (Said.OPEN if more == {"status": 404} else Said.UNKNOWN)
    assert wire.requests("verify") == tries


def test_pause_that_chapa_asks_for_is_bounded(wire: Wire, slept: list[float]) -> None:
    wire.control.add_fault("verify", "status", times=None, status=503, retry_after=3_600)
    verify(wire.chapa)

    assert slept == [1.0] * READ_RETRIES


type Talk = Callable[[socket.socket, Event], None]


@contextmanager
def connected(talk: Talk, *, accepts: int = 100) -> Iterator[Chapa]:
    """A client of a server that hands each connection to `talk`, which may wait for the event."""
    over = Event()

    def serve() -> None:
        for _ in range(accepts):
            while not over.is_set():
                with suppress(TimeoutError):
                    connection, _ = listener.accept()
                    with connection, suppress(OSError):
                        talk(connection, over)
                    break

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.05)
        thread = Thread(target=serve)
        thread.start()
        chapa = client(f"http://127.0.0.1:{listener.getsockname()[1]}/v1")
        try:
            yield chapa
        finally:
            chapa.session.close()
            over.set()
            thread.join()


def read_request(connection: socket.socket) -> None:
    request = b""
    while not request.endswith(b"}"):  # The end of initialize's body.
        part = connection.recv(65_536)
        if not part:
            raise ConnectionError
        request += part


def once(reply: bytes, *, hang_up: bool = True) -> Talk:
    """Answer one request with these bytes; then close the connection, or keep it and be silent."""

    def talk(connection: socket.socket, over: Event) -> None:
        read_request(connection)
        connection.sendall(reply)
        if not hang_up:
            over.wait()

    return talk


def endless(first: bytes, part: bytes, pause: float, answered: list[object]) -> Talk:
    """Answer `first` and then `part` again and again."""

    def talk(connection: socket.socket, over: Event) -> None:
        answered.append(connection)
        connection.recv(65_536)
        connection.sendall(first)
        while not over.wait(pause):
            connection.sendall(part)

    return talk


HEADERS = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
CUT_SHORT = HEADERS + b'Content-Length: 500\r\n\r\n{"message":'


@pytest.mark.parametrize(
    ("reply", "hang_up", "error"),
    [
        (CUT_SHORT, False, ProviderTimeout),
        (CUT_SHORT, True, ProviderFailed),
        (HEADERS + b'Transfer-Encoding: chunked\r\n\r\nff\r\n{"message":', True, ProviderFailed),
        (HEADERS + b"Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}", True, ProviderFailed),
        (b"SSH-2.0-OpenSSH_9.6\r\n", True, ProviderUnavailable),
        (HEADERS, False, ProviderTimeout),
        (b"", True, ProviderUnavailable),
    ],
    ids=[
        "body that stops",
        "body cut short",
        "chunk cut short",
        "not gzip",
        "not HTTP",
        "headers that stop",
        "nothing",
    ],
)
def test_broken_answer_leaves_it_open_whether_chapa_acted(
    reply: bytes, hang_up: bool, error: type[ProviderError]
) -> None:
    with connected(once(reply, hang_up=hang_up)) as chapa:
        raised = failed_to(lambda: initialize(chapa, PLENTY if hang_up else SHORT))

    assert (type(raised), raised.may_have_acted) == (error, True)


CHUNKED = HEADERS + b"Transfer-Encoding: chunked\r\n\r\n"
DRIPS = {
    "status": (b"HTTP/1.1 200 ", b"O"),
    "headers": (b"HTTP/1.1 200 OK\r\nX-Dull: ", b"a"),
    "header after header": (b"HTTP/1.1 200 OK\r\n", b"X-Dull: a\r\n"),
    "interim answers": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "body": (HEADERS + b"Content-Length: 5000\r\n\r\n{", b" "),
    "body without a length": (HEADERS + b"\r\n{", b" "),
    "chunks": (CHUNKED, b"1\r\n \r\n"),
    "body of an error": (b"HTTP/1.1 503 No\r\nContent-Length: 5000\r\n\r\n{", b" "),
}


@pytest.mark.parametrize(("first", "part"), DRIPS.values(), ids=DRIPS)
def test_slow_answer_to_initialize_does_not_outlast_the_time_left(
    first: bytes, part: bytes
) -> None:
    answered: list[object] = []
    with connected(endless(first, part, 0.05, answered)) as chapa:
        began = time.monotonic()
        error = failed_to(lambda: initialize(chapa, SHORT))
        took = time.monotonic() - began

    assert (type(error), error.may_have_acted) == (ProviderTimeout, True)
    assert took < SHORT + 0.5
    assert len(answered) == 1


@pytest.mark.parametrize("name", ["headers", "body", "body of an error"])
def test_slow_answer_to_verify_does_not_outlast_the_time_left(name: str) -> None:
    answered: list[object] = []
    with connected(endless(*DRIPS[name], 0.05, answered)) as chapa:
        began = time.monotonic()
        assert verify(chapa, 2 + TRIES * SHORT) == UNKNOWN
        took = time.monotonic() - began

    assert took < TRIES * SHORT + 0.5
    assert 1 <= len(answered) <= TRIES


LITTLE = b" " * 65_536


@pytest.mark.parametrize(
    ("first", "part"),
    [
        (b"HTTP/1.1 200 ", b"O" * 65_536),
        (b"HTTP/1.1 200 OK\r\n", b"X-Dull: a\r\n" * 1_000),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1_000),
        (HEADERS + b"Content-Length: 5000000000\r\n\r\n{", LITTLE),
        (HEADERS + b"\r\n{", LITTLE),
        (CHUNKED, b"10000\r\n" + LITTLE + b"\r\n"),
        (CHUNKED, b"0" * 65_536),
        (CHUNKED + b"0\r\n", b"X-Dull: a\r\n" * 1_000),
        (b"HTTP/1.1 503 No\r\n\r\n{", LITTLE),
    ],
    ids=[
        "status",
        "header after header",
        "interim answers",
        "body",
        "body without a length",
        "chunks",
        "size of a chunk",
        "headers after the chunks",
        "body of an error",
    ],
)
def test_endless_answer_is_not_read_to_the_end(first: bytes, part: bytes) -> None:
    answered: list[object] = []
    with connected(endless(first, part, 0, answered)) as chapa:
        error = failed_to(lambda: initialize(chapa))
        assert not cancel(chapa)
        assert len(answered) == 2
        assert verify(chapa) == UNKNOWN

    assert error.may_have_acted
    assert len(answered) <= 2 + TRIES


@pytest.mark.parametrize("times", [1, 2, 3])
def test_compressed_answer_is_not_unpacked_to_the_end(times: int) -> None:
    content = b"[" + b"0," * 8_000_000 + b"0]"
    for _ in range(times):
        content = gzip.compress(content)
    encoding = ", ".join(["gzip"] * times).encode()
    assert len(content) < MOST_BYTES
    head = b"Content-Encoding: %b\r\nContent-Length: %d\r\n\r\n" % (encoding, len(content))

    with connected(once(HEADERS + head + content)) as chapa:
        tracemalloc.start()
        error = failed_to(lambda: initialize(chapa))
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()

    assert (type(error), error.may_have_acted) == UNCERTAIN
    assert most < 8_000_000


def longest(*, compressed: bool = False) -> bytes:
    """An answer that is as long as one may be."""
    content = json.dumps(OPENED | {"room": "x" * (MOST_BYTES - len(json.dumps(OPENED)) - 500)})
    body, head = content.encode(), b""
    if compressed:
        body, head = gzip.compress(body), b"Content-Encoding: gzip\r\n"
    return HEADERS + head + b"Content-Length: %d\r\n\r\n" % len(body) + body


@pytest.mark.parametrize("compressed", [True, False])
def test_longest_allowed_answer_is_read(compressed: bool) -> None:
    with connected(once(longest(compressed=compressed))) as chapa:
        assert initialize(chapa) == CHECKOUT_URL


def test_connection_is_reused_and_each_answer_has_its_own_bound() -> None:
    def talk(connection: socket.socket, over: Event) -> None:
        while True:
            read_request(connection)
            connection.sendall(longest())

    with connected(talk, accepts=1) as chapa:
        assert [initialize(chapa) for _ in range(3)] == [CHECKOUT_URL] * 3


@pytest.fixture
def closed_port() -> Iterator[str]:
    """An address that refuses connections, and that no other process can take meanwhile."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}/v1"


def test_refused_connection_means_that_chapa_did_not_act(closed_port: str) -> None:
    error = failed_to(lambda: initialize(client(closed_port)))

    assert (type(error), error.may_have_acted) == NOT_REACHED
    assert verify(client(closed_port)) == UNKNOWN
    assert not cancel(client(closed_port))


def test_proxy_of_the_machine_does_not_see_the_key(
    wire: Wire, closed_port: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, closed_port)

    initialize(wire.chapa)
    assert wire.requests("initialize") == 1
