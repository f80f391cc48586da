"""What the client sends, how it reads each answer, and, over loopback, what it makes of wires."""

import gzip
import io
import json
import random
import re
import socket
import threading
import time
import traceback
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import SimpleNamespace
from typing import Any, cast

import pytest
import requests
import responses

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
from payments.story import Order, Payment, Refund
from payments.telemetry import metrics
from payments.wire import MOST_BYTES
from sandbox.chapa.control import Control
from sandbox.chapa.server import Server
from sandbox.chapa.simulator import Simulator
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
OPENED = {
    "message": "Hosted Link",
    "status": "success",
    "data": {"checkout_url": CHECKOUT_URL},
}
HTML = "<!DOCTYPE html><html><body><h1>Bad Gateway</h1></body></html>"


def order(**customer: str) -> Order:
    return Order(
        order_id=ORDER_ID,
        user_id="abebe",
        amount=150_050,
        currency="ETB",
        lines=(),
        created_at=0,
        expires_at=1_800,
        request_hash="",
        customer=customer,
    )


PAYMENT = Payment(tx_ref=TX_REF, amount=150_050, currency="ETB", created_at=0)
REFUND = Refund("op-1", TX_REF, 150_050, "ETB", 0)


class Vault:
    """Secrets Manager with one secret, whose key can be changed."""

    def __init__(self) -> None:
        self.key = KEY

    def get_secret_value(self, **_: object) -> dict[str, str]:
        return {"SecretString": json.dumps({"api_key": self.key})}


class Clock:
    def __init__(self) -> None:
        self.seconds = 1_000.0

    def __call__(self) -> float:
        return self.seconds


def client(
    url: str = CHAPA, *, clock: Clock | None = None, vault: Vault | None = None, **settings: str
) -> Chapa:
    environment = SETTINGS | {"CHAPA_URL": url} | {k.upper(): v for k, v in settings.items()}
    clock = clock or Clock()
    secrets = SecretStore(cast("Any", vault or Vault()), "chapa", url, clock)
    return Chapa(Settings.from_environment(environment), secrets, clock)


def opens(chapa: Chapa, time_left: float = PLENTY) -> str:
    return chapa.initialize(order(), PAYMENT, time_left)


@pytest.fixture
def net() -> Iterator[responses.RequestsMock]:
    """A network with nobody on it but who is put there."""
    with responses.RequestsMock(assert_all_requests_are_fired=False) as net:
        yield net


@pytest.fixture(autouse=True)
def counted() -> Iterator[dict[str, Any]]:
    metrics.clear_metrics()
    yield metrics.metric_set
    metrics.clear_metrics()


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses before further tries; none is taken."""
    pauses: list[float] = []
    monkeypatch.setattr("urllib3.util.retry.time", SimpleNamespace(sleep=pauses.append))
    return pauses


def sent(net: responses.RequestsMock, number: int = 0) -> requests.PreparedRequest:
    return net.calls[number].request


def body_of(net: responses.RequestsMock) -> dict[str, Any]:
    return dict(json.loads(sent(net).body or ""))


def test_initialize_sends_what_chapa_documents(net: responses.RequestsMock) -> None:
    net.post(INITIALIZE, json=OPENED)

    assert opens(client()) == CHECKOUT_URL
    assert sent(net).headers["Content-Type"] == "application/json"
    assert sent(net).headers["Authorization"] == f"Bearer {KEY}"
    assert body_of(net) == {
        "amount": "1500.50",
        "currency": "ETB",
        "tx_ref": TX_REF,
        "customization": {"title": "Shop", "description": f"Order {ORDER_ID}"},
        "callback_url": SETTINGS["CALLBACK_URL"],
        "return_url": f"{SETTINGS['RETURN_URL']}?tx_ref={TX_REF}",
    }


@pytest.mark.parametrize(
    "customer", [{}, {"first_name": "አበበ"}, {"phone_number": "0911234567"}, CUSTOMER]
)
def test_what_is_not_known_of_a_customer_is_not_made_up(
    net: responses.RequestsMock, customer: dict[str, str]
) -> None:
    net.post(INITIALIZE, json=OPENED)
    client().initialize(order(**customer), PAYMENT, PLENTY)

    assert {name: body_of(net).get(name) for name in CUSTOMER if name in body_of(net)} == customer


def test_no_field_of_a_customer_replaces_one_of_ours(net: responses.RequestsMock) -> None:
    net.post(INITIALIZE, json=OPENED)
    client().initialize(order(amount="0.01", tx_ref="another"), PAYMENT, PLENTY)

    assert body_of(net)["amount"] == "1500.50"
    assert body_of(net)["tx_ref"] == TX_REF


def test_urls_that_are_not_set_are_not_sent(net: responses.RequestsMock) -> None:
    net.post(INITIALIZE, json=OPENED)
    opens(client(callback_url="", return_url=""))

    assert not {"callback_url", "return_url"} & set(body_of(net))


def test_a_return_url_keeps_the_query_that_it_has(net: responses.RequestsMock) -> None:
    net.post(INITIALIZE, json=OPENED)
    opens(client(return_url="https://shop.example/thanks?lang=am"))

    assert body_of(net)["return_url"] == f"https://shop.example/thanks?lang=am&tx_ref={TX_REF}"


def test_the_texts_on_chapas_page_fit_what_chapa_takes(net: responses.RequestsMock) -> None:
    net.post(INITIALIZE, json=OPENED)
    opens(client(shop_name="s" * 16))

    assert len(body_of(net)["customization"]["title"]) <= 16
    assert re.fullmatch(r"[A-Za-z0-9_ .-]{1,50}", body_of(net)["customization"]["description"])


@pytest.mark.parametrize("status", ["success", "Success", None, "SUCCESS ", 1])
def test_a_checkout_url_counts_whatever_the_status_beside_it_is(
    net: responses.RequestsMock, status: object
) -> None:
    net.post(INITIALIZE, json=OPENED | {"status": status})

    assert opens(client()) == CHECKOUT_URL


MESSAGES = {
    "a sentence": "Invalid currency, XXX is not supported",
    "complaints by field": {"email": ["validation.email"]},
    "a list": ["validation.required"],
    "nothing": None,
}


@pytest.mark.parametrize("message", MESSAGES.values(), ids=MESSAGES)
@pytest.mark.parametrize(
    ("code", "status"),
    [(400, "failed"), (422, "failed"), (200, "failed"), (200, "Failed "), (400, None)],
)
def test_a_refusal_of_our_input_carries_the_providers_words(
    net: responses.RequestsMock, code: int, status: str | None, message: object
) -> None:
    net.post(INITIALIZE, status=code, json={"message": message, "status": status, "data": None})

    with pytest.raises(ProviderRejected) as caught:
        opens(client())

    assert caught.value.members["provider_message"] == message
    assert not caught.value.may_have_acted
    assert len(net.calls) == 1


@pytest.mark.parametrize("code", [200, 400])
@pytest.mark.parametrize(
    "message",
    ["Transaction reference has been used before", "transaction reference has been USED BEFORE\t"],
)
def test_a_reference_that_was_used_before_was_used_by_us(
    net: responses.RequestsMock, code: int, message: str
) -> None:
    """Our own call arrived twice, so a payment is open: this is no refusal."""
    net.post(INITIALIZE, status=code, json={"message": message, "status": "failed", "data": None})

    with pytest.raises(ProviderFailed) as caught:
        opens(client())

    assert caught.value.may_have_acted


def failure(code: int, message: str = "Something went wrong") -> dict[str, Any]:
    return {
        "status": code,
        "json": {"message": message, "status": "failed", "data": None},
    }


BOMB = "[" * 100_000 + "]" * 100_000
NONSENSE: dict[str, dict[str, Any]] = {
    "an HTML page": {"body": HTML, "content_type": "text/html"},
    "nothing": {"body": ""},
    "half of it": {"body": json.dumps(OPENED)[:40]},
    "a list": {"json": [OPENED]},
    "a string": {"json": "Hosted Link"},
    "null": {"body": "null"},
    "no message": {"json": {"status": "success", "data": None}},
    "a message that is a number": {"json": {"message": 5, "status": "success", "data": None}},
    "not UTF-8": {"body": b'{"message": "\xff"}'},
    "not a number": {"body": '{"message": "", "status": "success", "data": NaN}'},
    "infinity": {"body": '{"message": "", "status": "success", "data": -Infinity}'},
    "a number without end": {"body": '{"message": "", "data": ' + "9" * 5_000 + "}"},
    "an exponent without end": {"body": '{"message": "", "data": 1e99999999999999999999}'},
    "a nested bomb": {"body": BOMB},
    "a nested bomb as data": {"body": f'{{"message": "", "data": {BOMB}}}'},
}

NOT_OPENED: list[tuple[str, dict[str, Any], type[ProviderError], bool]] = [
    ("bad key", failure(401, "Invalid API Key or User doesn't exist"), ProviderFailed, False),
    ("no API", failure(404, "Payments through API is disabled"), ProviderFailed, False),
    ("forbidden", failure(403), ProviderFailed, False),
    ("too many", failure(429), ProviderUnavailable, False),
    ("created, says another version", {"status": 201, "json": OPENED}, ProviderFailed, True),
    ("server error", failure(500), ProviderFailed, True),
    ("bad gateway", {"status": 502, "body": HTML}, ProviderFailed, True),
    ("unavailable", failure(503), ProviderFailed, True),
    ("gateway timeout", failure(504), ProviderFailed, True),
    ("HTML of a firewall", {"status": 400, "body": HTML}, ProviderFailed, True),
    (
        "a redirect",
        {"status": 302, "headers": {"Location": CHECKOUT_URL}, "json": OPENED},
        ProviderFailed,
        True,
    ),
    *((f"200 and {name}", said, ProviderFailed, True) for name, said in NONSENSE.items()),
    *(
        (f"200 and {name}", {"json": OPENED | {"data": data}}, ProviderFailed, True)
        for name, data in {
            "no data": None,
            "data that is a list": [CHECKOUT_URL],
            "no checkout URL": {},
            "null for a checkout URL": {"checkout_url": None},
            "a number for a checkout URL": {"checkout_url": 5},
        }.items()
    ),
]


@pytest.mark.parametrize(
    ("said", "error", "may_have_acted"),
    [case[1:] for case in NOT_OPENED],
    ids=[case[0] for case in NOT_OPENED],
)
def test_each_way_not_to_open_a_payment_is_told_apart_and_sent_once(
    net: responses.RequestsMock,
    said: dict[str, Any],
    error: type[ProviderError],
    may_have_acted: bool,
) -> None:
    net.post(INITIALIZE, **said)

    with pytest.raises(ProviderError) as caught:
        opens(client())

    assert type(caught.value) is error
    assert caught.value.may_have_acted is may_have_acted
    assert len(net.calls) == 1


@pytest.mark.parametrize(
    ("raised", "error", "may_have_acted"),
    [
        (requests.ConnectTimeout(), ProviderUnavailable, False),
        (requests.ReadTimeout(), ProviderTimeout, True),
        (requests.ConnectionError(), ProviderUnavailable, True),
        (requests.exceptions.SSLError(), ProviderUnavailable, True),
        (requests.exceptions.ChunkedEncodingError(), ProviderFailed, True),
        (requests.exceptions.ContentDecodingError(), ProviderFailed, True),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_whether_chapa_may_have_acted_depends_on_where_the_wire_broke(
    net: responses.RequestsMock,
    raised: Exception,
    error: type[ProviderError],
    may_have_acted: bool,
) -> None:
    net.post(INITIALIZE, body=raised)

    with pytest.raises(ProviderError) as caught:
        opens(client())

    assert type(caught.value) is error
    assert caught.value.may_have_acted is may_have_acted
    assert len(net.calls) == 1


def test_a_refused_key_is_counted(
    net: responses.RequestsMock, log: io.StringIO, counted: dict[str, Any]
) -> None:
    net.post(INITIALIZE, **failure(401))

    with pytest.raises(ProviderFailed):
        opens(client())

    assert set(counted) == {"ProviderRefusedKey"}


@pytest.mark.parametrize(
    "url",
    [
        CHECKOUT_URL,
        "https://CHECKOUT.chapa.co/checkout/payment/token",
        "https://pay.chapa.co/checkout?token=token",
    ],
)
def test_a_checkout_page_is_on_a_host_that_the_operator_names(
    net: responses.RequestsMock, url: str
) -> None:
    net.post(INITIALIZE, json=OPENED | {"data": {"checkout_url": url}})

    assert opens(client(checkout_hosts="checkout.chapa.co,pay.chapa.co")) == url


@pytest.mark.parametrize(
    "url",
    [
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
    ],
)
def test_a_checkout_page_elsewhere_is_never_handed_to_a_customer(
    net: responses.RequestsMock, url: str
) -> None:
    net.post(INITIALIZE, json=OPENED | {"data": {"checkout_url": url}})

    with pytest.raises(ProviderFailed, match="CHECKOUT_HOSTS") as caught:
        opens(client(checkout_hosts="checkout.chapa.co"))

    assert caught.value.may_have_acted


@pytest.mark.parametrize("url", ["javascript:alert(1)", "data:text/html,x", "https://[x", ""])
def test_where_any_host_will_do_it_is_still_a_web_page(
    net: responses.RequestsMock, url: str
) -> None:
    net.post(INITIALIZE, json=OPENED | {"data": {"checkout_url": url}})

    with pytest.raises(ProviderFailed):
        opens(client(checkout_hosts="*"))


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


def test_a_paid_payment_is_read_with_its_facts(net: responses.RequestsMock) -> None:
    net.get(VERIFY, json=details())

    assert client().verify(TX_REF, PLENTY) == PAID


@pytest.mark.parametrize(
    "envelope",
    [
        {"message": "Payment details fetched successfully"},
        {"message": {"success": ["Payment details"]}},
        {"message": ["Payment details"]},
        {"message": None},
        {"status": None},
        {"status": "null"},
        {"status": "Success "},
        {"status": "failed"},
        {"status": ["success"]},
    ],
    ids=str,
)
def test_only_the_data_decides_whatever_surrounds_it(
    net: responses.RequestsMock, envelope: dict[str, object]
) -> None:
    net.get(VERIFY, json=details() | envelope)

    assert client().verify(TX_REF, PLENTY) == PAID


def test_the_status_round_the_data_may_be_missing(net: responses.RequestsMock) -> None:
    net.get(VERIFY, json={"message": "Payment details", "data": DETAILS})

    assert client().verify(TX_REF, PLENTY) == PAID


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
def test_an_amount_is_read_exactly_however_it_is_written(
    net: responses.RequestsMock, written: str, minor: int
) -> None:
    net.get(
        VERIFY, body=json.dumps(details(amount=0)).replace('"amount": 0', f'"amount": {written}')
    )

    assert client().verify(TX_REF, PLENTY).amount == minor


WORDS = {
    "success": Said.PAID,
    "Success ": Said.PAID,
    "SUCCESS\t": Said.PAID,
    "pending": Said.OPEN,
    "failed": Said.FAILED,
    "failed/cancelled": Said.FAILED,
    "Failed/Cancelled": Said.FAILED,
    "cancelled": Said.FAILED,
    "canceled": Said.FAILED,
    "refunded": Said.REFUNDED,
    "reversed": Said.REVERSED,
    "null": Said.OPEN,
    "": Said.OPEN,
}


@pytest.mark.parametrize(("word", "said"), WORDS.items(), ids=repr)
def test_every_word_that_was_seen_has_one_meaning(
    net: responses.RequestsMock, word: str, said: Said
) -> None:
    net.get(VERIFY, json=details(status=word))

    verification = client().verify(TX_REF, PLENTY)

    assert verification.said is said
    assert verification.status == word.strip().lower()


@pytest.mark.parametrize("word", [None, 1, True, ["success"], {"success": True}], ids=repr)
def test_a_status_that_is_no_word_is_no_success(net: responses.RequestsMock, word: object) -> None:
    net.get(VERIFY, json=details(status=word))

    assert client().verify(TX_REF, PLENTY).said is Said.OPEN


def test_a_payment_in_progress_may_have_no_facts_yet(net: responses.RequestsMock) -> None:
    data = {"status": "pending", "tx_ref": TX_REF, "amount": None, "reference": None}
    net.get(VERIFY, json={"message": "Payment details", "status": "pending", "data": data})

    assert client().verify(TX_REF, PLENTY) == Verification(
        Said.OPEN, tx_ref=TX_REF, status="pending"
    )


@pytest.mark.parametrize("word", ["successful", "paid", "succes", "success/failed", "on hold"])
def test_an_unknown_word_means_nothing_and_is_counted(
    net: responses.RequestsMock, log: io.StringIO, counted: dict[str, Any], word: str
) -> None:
    net.get(VERIFY, json=details(status=word))

    assert client().verify(TX_REF, PLENTY) == Verification(Said.UNKNOWN)
    assert set(counted) == {"UnknownProviderStatus"}
    assert word in log.getvalue()


@pytest.mark.parametrize("fact", ["tx_ref", "amount", "currency", "mode", "reference"])
@pytest.mark.parametrize("value", [None, True, [], "missing"], ids=repr)
def test_a_success_without_its_facts_is_none(
    net: responses.RequestsMock, fact: str, value: object
) -> None:
    said = details(**{fact: value})
    if value == "missing":
        del said["data"][fact]
    net.get(VERIFY, json=said)

    assert client().verify(TX_REF, PLENTY) == Verification(Said.UNKNOWN)


@pytest.mark.parametrize("amount", ["1.005", "-1", "1e3", "1,00", "NaN", "", "many"])
def test_a_success_with_an_amount_that_cannot_be_read_is_none(
    net: responses.RequestsMock, amount: str
) -> None:
    net.get(VERIFY, json=details(amount=amount))

    assert client().verify(TX_REF, PLENTY).said is Said.UNKNOWN


@pytest.mark.parametrize(
    "body",
    [
        {
            "message": "Invalid transaction or Transaction not found",
            "status": "failed",
            "data": None,
        },
        {"message": "Invalid transaction reference", "status": "failed", "data": None},
        {"message": "Payment not paid yet", "status": None, "data": None},
        {"message": "Payment not paid yet", "status": "null", "data": None},
    ],
    ids=lambda body: f"{body['message']}, {body['status']!r}",
)
def test_what_is_not_found_is_not_paid_yet(
    net: responses.RequestsMock, body: dict[str, object]
) -> None:
    net.get(VERIFY, status=404, json=body)

    assert client().verify(TX_REF, PLENTY) == Verification(Said.OPEN, status="not paid yet")


UNANSWERED: dict[str, dict[str, Any]] = {
    "400": failure(400),
    "401, for instance a test payment asked for with a live key": failure(401),
    "403": failure(403),
    "429": failure(429),
    **{str(code): failure(code) for code in (500, 502, 503, 504, 520)},
    "404 of somebody else": {"status": 404, "body": HTML, "content_type": "text/html"},
    "201": {"status": 201, "json": details()},
    "a redirect": {
        "status": 302,
        "headers": {"Location": f"{CHAPA}/elsewhere"},
        "json": details(),
    },
    "a redirect to nowhere": {
        "status": 302,
        "headers": {"Location": "https://[nowhere"},
        "json": details(),
    },
    "no data": {"json": details() | {"data": None}},
    "data that is a list": {"json": details() | {"data": [DETAILS]}},
    "data that is a word": {"json": details() | {"data": "success"}},
    **{f"200 and {name}": said for name, said in NONSENSE.items()},
}


@pytest.mark.parametrize("said", UNANSWERED.values(), ids=UNANSWERED)
def test_not_knowing_is_not_failing(
    net: responses.RequestsMock, log: io.StringIO, said: dict[str, Any]
) -> None:
    net.get(VERIFY, **said)

    assert client().verify(TX_REF, PLENTY) == Verification(Said.UNKNOWN)


@pytest.mark.parametrize(
    "raised",
    [
        requests.ConnectTimeout(),
        requests.ReadTimeout(),
        requests.ConnectionError(),
        requests.exceptions.ChunkedEncodingError(),
        requests.TooManyRedirects(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_question_that_got_no_answer_is_unknown(
    net: responses.RequestsMock, log: io.StringIO, raised: Exception
) -> None:
    net.get(VERIFY, body=raised)

    assert client().verify(TX_REF, PLENTY) == Verification(Said.UNKNOWN)


def test_a_question_has_no_body(net: responses.RequestsMock) -> None:
    net.get(VERIFY, json=details())
    client().verify(TX_REF, PLENTY)

    assert sent(net).body is None
    assert "Content-Type" not in sent(net).headers


def test_a_reference_is_encoded_into_the_path(net: responses.RequestsMock) -> None:
    net.get(re.compile(re.escape(CHAPA)), json=details())
    net.put(re.compile(re.escape(CHAPA)), json=OPENED)
    client().verify("a/../b?c#d e%", PLENTY)
    client().cancel("a/../b?c#d e%", PLENTY)

    assert [call.request.url for call in net.calls] == [
        f"{CHAPA}/transaction/verify/a%2F..%2Fb%3Fc%23d%20e%25",
        f"{CHAPA}/transaction/cancel/a%2F..%2Fb%3Fc%23d%20e%25",
    ]


def test_what_chapa_knows_of_the_customer_is_left_unread(
    net: responses.RequestsMock, log: io.StringIO
) -> None:
    net.get(VERIFY, json=details(status="on hold for abebe@shop.example"))
    verification = client().verify(TX_REF, PLENTY)

    assert "abebe@" not in log.getvalue() + repr(verification)


@pytest.mark.parametrize(
    ("said", "shut"),
    [
        ({"json": {"message": "Transaction cancelled", "status": "success"}}, True),
        (failure(400, "Only an active transaction can be cancelled"), True),
        (failure(404, "Transaction not found"), True),
        (failure(401), False),
        (failure(403), False),
        (failure(422), False),
        (failure(429), False),
        (failure(500), False),
        (failure(503), False),
        ({"status": 302, "headers": {"Location": CHAPA}, "json": OPENED}, False),
        ({"status": 200, "body": HTML}, False),
        ({"status": 404, "body": HTML}, False),
        ({"body": requests.ReadTimeout()}, False),
        ({"body": requests.ConnectTimeout()}, False),
        ({"body": requests.ConnectionError()}, False),
    ],
    ids=lambda value: str(value)[:60],
)
def test_a_payment_is_shut_when_chapa_says_that_nothing_is_open(
    net: responses.RequestsMock, log: io.StringIO, said: dict[str, Any], shut: bool
) -> None:
    net.put(CANCEL, **said)

    assert client().cancel(TX_REF, PLENTY) is shut
    assert len(net.calls) == 1
    assert sent(net).body is None


type Ask = Callable[[Chapa, float], object]

CALLS: dict[str, Ask] = {
    "initialize": opens,
    "verify": lambda chapa, left: chapa.verify(TX_REF, left),
    "cancel": lambda chapa, left: chapa.cancel(TX_REF, left),
}


def waits(net: responses.RequestsMock) -> list[float]:
    """For each request, how long it could have taken at most."""
    return [cast("Any", call.request).req_kwargs["timeout"].total for call in net.calls]


@pytest.mark.parametrize("time_left", [1, 2.5, 5, 10, PLENTY, 900, float("inf")])
@pytest.mark.parametrize("ask", [opens, CALLS["cancel"]], ids=["initialize", "cancel"])
def test_an_act_takes_no_longer_than_there_is_time(
    net: responses.RequestsMock, ask: Ask, time_left: float
) -> None:
    net.post(INITIALIZE, json=OPENED)
    net.put(CANCEL, json=OPENED)
    ask(client(), time_left)

    [wait] = waits(net)
    assert 0 < wait <= min(time_left, 30)


@pytest.mark.parametrize("time_left", [5, 10, PLENTY, 900, float("inf")])
def test_all_tries_of_a_question_and_their_pauses_take_no_longer_than_there_is_time(
    net: responses.RequestsMock, log: io.StringIO, time_left: float
) -> None:
    net.get(VERIFY, **failure(503))
    chapa = client()
    chapa.verify(TX_REF, time_left)
    retry = cast("Any", chapa.session.get_adapter(VERIFY)).max_retries

    assert len(net.calls) == TRIES
    assert sum(waits(net)) + READ_RETRIES * retry.retry_after_max <= time_left
    assert retry.backoff_factor * 2 + retry.backoff_jitter <= retry.retry_after_max


@pytest.mark.parametrize("time_left", [0.4, 0, -5, float("-inf")])
@pytest.mark.parametrize("name", CALLS)
def test_without_time_nobody_is_called(
    net: responses.RequestsMock, log: io.StringIO, name: str, time_left: float
) -> None:
    outcome: object
    try:
        outcome = CALLS[name](client(), time_left)
    except ProviderUnavailable as error:
        outcome = error.may_have_acted

    assert outcome in (False, Verification(Said.UNKNOWN))
    assert not net.calls


def test_a_rotated_key_is_used_from_the_next_read_on(net: responses.RequestsMock) -> None:
    net.get(VERIFY, json=details())
    vault, clock = Vault(), Clock()
    chapa = client(clock=clock, vault=vault)
    chapa.verify(TX_REF, PLENTY)
    vault.key = "CHASECK_TEST-another"
    clock.seconds += 60
    chapa.verify(TX_REF, PLENTY)

    assert [call.request.headers["Authorization"] for call in net.calls] == [
        f"Bearer {KEY}",
        "Bearer CHASECK_TEST-another",
    ]


def test_the_mode_is_that_of_the_key() -> None:
    assert client().mode == "test"


@pytest.fixture
def hung_up(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Each request and each time that all connections were given up."""
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
        (IDLE_SECONDS, ["POST", "POST"]),
        (IDLE_SECONDS + 1, ["POST", "close", "POST"]),
    ],
)
def test_a_connection_that_was_idle_is_not_trusted_with_an_act(
    net: responses.RequestsMock, hung_up: list[str], idle: float, done: list[str]
) -> None:
    net.post(INITIALIZE, json=OPENED)
    clock = Clock()
    chapa = client(clock=clock)
    opens(chapa)
    clock.seconds += idle
    opens(chapa)

    assert hung_up == done


def test_a_question_just_asked_does_not_make_an_idle_connection_fresh(
    net: responses.RequestsMock, hung_up: list[str]
) -> None:
    """Questions travel on connections of their own."""
    net.post(INITIALIZE, json=OPENED)
    net.get(VERIFY, json=details())
    clock = Clock()
    chapa = client(clock=clock)
    opens(chapa)
    clock.seconds += IDLE_SECONDS
    chapa.verify(TX_REF, PLENTY)
    clock.seconds += IDLE_SECONDS
    opens(chapa)

    assert hung_up == ["POST", "GET", "close", "POST"]


@pytest.mark.parametrize(
    "said",
    [
        {"json": OPENED},
        failure(400, f"no such key {KEY}, abebe@shop.example, +251 911 234 567"),
        failure(401, KEY),
        failure(403, KEY),
        failure(500),
        {"body": KEY},
        {"body": requests.ReadTimeout(KEY)},
        {"body": requests.ConnectionError(KEY)},
        {"body": requests.exceptions.InvalidHeader(KEY)},
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
    net.add(responses.Response(method="POST", url=INITIALIZE, **said))
    net.add(responses.Response(method="GET", url=VERIFY, **said))
    net.add(responses.Response(method="PUT", url=CANCEL, **said))
    chapa = client()
    told = ""
    try:
        told += repr(CALLS[name](chapa, PLENTY))
    except ProviderError as error:
        told += f"{error} {error!r} {error.reason} {''.join(traceback.format_exception(error))}"
    told += f"{log.getvalue()}{caplog.text}{chapa!r}{vars(chapa)!r}{chapa.session.headers!r}"

    assert "0123456789abcdef" not in told
    assert "abebe@" not in told
    assert "911 234" not in told


class Wire:
    """The real simulator behind a real socket."""

    def __init__(self, server: Server) -> None:
        self.url = f"{server.url}/v1"
        self.control = Control(server.url)
        self.chapa = client(self.url)

    def asked(self, call: Any) -> int:
        return len(self.control.journal(call))

    def close(self) -> None:
        self.chapa.session.close()
        self.control._session.close()


@pytest.fixture
def wire(slept: list[float]) -> Iterator[Wire]:
    with Server(Simulator(api_keys=[KEY], rng=random.Random(7))) as server:
        wire = Wire(server)
        yield wire
        wire.close()


def test_chapa_takes_what_initialize_sends(wire: Wire) -> None:
    """The simulator is as strict as Chapa was ever seen to be."""
    chapa = client(wire.url, shop_name="Sixteen letters.")
    url = chapa.initialize(order(**CUSTOMER), PAYMENT, PLENTY)
    chapa.session.close()

    assert "/checkout/" in url
    assert wire.control.payment(TX_REF)["status"] == "unpaid"


@pytest.mark.parametrize(
    ("switch", "value"),
    [
        ("verify_amounts", "number"),
        ("verify_amounts", "string"),
        ("verify_amounts", "commas"),
        ("verify_message", "fetched"),
        ("top_level_status", "payment"),
        ("top_level_status", "call"),
        ("get_with_body", "html"),
        ("verify_meta", "dropped"),
    ],
)
def test_a_payment_is_followed_from_opened_to_paid(wire: Wire, switch: str, value: str) -> None:
    wire.control.switch(**{switch: value})
    opens(wire.chapa)
    assert wire.chapa.verify(TX_REF, PLENTY).said is Said.OPEN

    wire.control.pay(TX_REF, webhook=False)
    paid = wire.chapa.verify(TX_REF, PLENTY)
    assert (paid.said, paid.tx_ref, paid.amount) == (Said.PAID, TX_REF, 150_050)
    assert (paid.currency, paid.mode) == ("ETB", "test")
    assert paid.reference


@pytest.mark.parametrize("unpaid", ["404", "404_null_string", "pending"])
def test_an_unpaid_payment_is_open_in_each_way_of_saying_so(wire: Wire, unpaid: str) -> None:
    wire.control.switch(verify_unpaid=unpaid)
    opens(wire.chapa)

    assert wire.chapa.verify(TX_REF, PLENTY).said is Said.OPEN


@pytest.mark.parametrize("inactive", ["400", "404"])
def test_a_payment_can_be_shut_twice(wire: Wire, inactive: str) -> None:
    wire.control.switch(cancel_inactive=inactive)
    opens(wire.chapa)

    assert wire.chapa.cancel(TX_REF, PLENTY)
    assert wire.chapa.cancel(TX_REF, PLENTY)
    assert wire.asked("cancel") == 2


def test_a_reference_is_opened_once(wire: Wire) -> None:
    opens(wire.chapa)

    with pytest.raises(ProviderFailed, match="used before"):
        opens(wire.chapa)


SHORT = 1.0
"""Seconds left, where the test waits for the time to run out."""

FAULTS: list[tuple[str, dict[str, Any], float, type[ProviderError], bool]] = [
    ("timeout_before", {"seconds": 30}, SHORT, ProviderTimeout, True),
    ("timeout_after", {"seconds": 30}, SHORT, ProviderTimeout, True),
    ("timeout_before", {"seconds": 0}, PLENTY, ProviderUnavailable, True),
    ("reset", {}, PLENTY, ProviderUnavailable, True),
    ("reset_after", {}, PLENTY, ProviderUnavailable, True),
    ("status", {"status": 502}, PLENTY, ProviderFailed, True),
    ("status", {"status": 503, "retry_after": 1}, PLENTY, ProviderFailed, True),
    ("status", {"status": 429, "retry_after": 1}, PLENTY, ProviderUnavailable, False),
    ("html", {"status": 200}, PLENTY, ProviderFailed, True),
    ("malformed", {}, PLENTY, ProviderFailed, True),
]


@pytest.mark.parametrize(
    ("kind", "more", "time_left", "error", "may_have_acted"),
    FAULTS,
    ids=[f"{kind} {more}" for kind, more, *_ in FAULTS],
)
def test_an_act_is_sent_exactly_once_however_it_fails(
    wire: Wire,
    slept: list[float],
    kind: Any,
    more: dict[str, Any],
    time_left: float,
    error: type[ProviderError],
    may_have_acted: bool,
) -> None:
    for call in ("initialize", "cancel", "refund"):
        wire.control.add_fault(call, kind, times=None, **more)

    for act in (opens, lambda chapa, left: chapa.refund(PAYMENT, REFUND, left)):
        with pytest.raises(ProviderError) as caught:
            act(wire.chapa, time_left)
        assert type(caught.value) is error
        assert caught.value.may_have_acted is may_have_acted
    assert not wire.chapa.cancel(TX_REF, time_left)
    assert [wire.asked(call) for call in ("initialize", "cancel", "refund")] == [1, 1, 1]
    assert not slept


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("status", {"status": 502}),
        ("status", {"status": 500}),
        ("status", {"status": 429}),
        ("status", {"status": 503, "retry_after": 1}),
        ("html", {"status": 504}),
        ("reset", {}),
        ("reset_after", {}),
        ("timeout_before", {"seconds": 0}),
    ],
    ids=str,
)
def test_a_question_is_asked_again_by_itself(wire: Wire, kind: Any, more: dict[str, Any]) -> None:
    opens(wire.chapa)
    wire.control.pay(TX_REF, webhook=False)
    wire.control.add_fault("verify", kind, times=READ_RETRIES, **more)

    assert wire.chapa.verify(TX_REF, PLENTY).said is Said.PAID
    assert wire.asked("verify") == TRIES


def test_a_question_is_asked_again_after_a_silence(wire: Wire) -> None:
    opens(wire.chapa)
    wire.control.pay(TX_REF, webhook=False)
    wire.control.add_fault("verify", "timeout_before", seconds=30)

    assert wire.chapa.verify(TX_REF, 2 + TRIES * SHORT).said is Said.PAID
    assert wire.asked("verify") == 2


@pytest.mark.parametrize("kind", ["status", "reset"])
def test_a_question_is_not_asked_for_ever(wire: Wire, log: io.StringIO, kind: Any) -> None:
    wire.control.add_fault("verify", kind, times=None)

    assert wire.chapa.verify(TX_REF, PLENTY).said is Said.UNKNOWN
    assert wire.asked("verify") == TRIES


@pytest.mark.parametrize("code", [400, 401, 403, 404])
def test_an_answer_that_will_not_change_is_taken_at_once(
    wire: Wire, log: io.StringIO, code: int
) -> None:
    wire.control.add_fault("verify", "status", times=None, status=code)
    wire.chapa.verify(TX_REF, PLENTY)

    assert wire.asked("verify") == 1


def test_chapa_may_ask_for_a_pause_but_not_for_an_hour(
    wire: Wire, slept: list[float], log: io.StringIO
) -> None:
    wire.control.add_fault("verify", "status", times=None, status=503, retry_after=3_600)
    wire.chapa.verify(TX_REF, PLENTY)

    assert slept == [1.0] * READ_RETRIES


@contextmanager
def somebody(answer: bytes, *, hang_up: bool) -> Iterator[str]:
    """Somebody who takes one connection, reads a request, answers with these bytes, and waits."""
    asked_to_leave = threading.Event()

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            request = b""
            while b"\r\n\r\n" not in request:
                request += connection.recv(65_536)
            connection.sendall(answer)
            if not hang_up:
                asked_to_leave.wait()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        finally:
            asked_to_leave.set()
            thread.join()


HEADERS = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
BROKEN = {
    "a body that stops": (
        HEADERS + b'Content-Length: 500\r\n\r\n{"message":',
        False,
        ProviderTimeout,
    ),
    "a body cut short": (
        HEADERS + b'Content-Length: 500\r\n\r\n{"message":',
        True,
        ProviderFailed,
    ),
    "a chunk cut short": (
        HEADERS + b'Transfer-Encoding: chunked\r\n\r\nff\r\n{"message":',
        True,
        ProviderFailed,
    ),
    "no gzip": (
        HEADERS + b"Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}",
        True,
        ProviderFailed,
    ),
    "no HTTP": (b"SSH-2.0-OpenSSH_9.6\r\n", True, ProviderUnavailable),
    "headers that stop": (HEADERS, False, ProviderTimeout),
    "nothing": (b"", True, ProviderUnavailable),
}


@pytest.mark.parametrize(("answer", "hang_up", "error"), BROKEN.values(), ids=BROKEN)
def test_an_answer_that_breaks_off_leaves_it_open_whether_chapa_acted(
    answer: bytes, hang_up: bool, error: type[ProviderError]
) -> None:
    with somebody(answer, hang_up=hang_up) as url:
        chapa = client(url)
        with pytest.raises(ProviderError) as caught:
            opens(chapa, SHORT)
        chapa.session.close()

    assert type(caught.value) is error
    assert caught.value.may_have_acted


@contextmanager
def somebody_endless(first: bytes, part: bytes, pause: float) -> Iterator[tuple[str, list[int]]]:
    """Somebody who never ends, to whoever asks; and how many bytes they got rid of each time."""
    asked_to_leave = threading.Event()
    sent: list[int] = []

    def serve() -> None:
        while not asked_to_leave.is_set():
            with suppress(OSError):
                answer(listener.accept()[0])

    def answer(connection: socket.socket) -> None:
        sent.append(0)
        with connection:
            connection.recv(65_536)
            connection.sendall(first)
            while not asked_to_leave.wait(pause):
                connection.sendall(part)
                sent[-1] += len(part)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.05)
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1", sent
        finally:
            asked_to_leave.set()
            thread.join()


CHUNKED = HEADERS + b"Transfer-Encoding: chunked\r\n\r\n"
DRIPS = {
    "its status": (b"HTTP/1.1 200 ", b"O"),
    "its headers": (b"HTTP/1.1 200 OK\r\nX-Dull: ", b"a"),
    "header after header": (b"HTTP/1.1 200 OK\r\n", b"X-Dull: a\r\n"),
    "interim answers": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "its body": (HEADERS + b"Content-Length: 5000\r\n\r\n{", b" "),
    "a body without a length": (HEADERS + b"\r\n{", b" "),
    "its chunks": (CHUNKED, b"1\r\n \r\n"),
    "the body of an error": (b"HTTP/1.1 503 No\r\nContent-Length: 5000\r\n\r\n{", b" "),
}


BRIEF = 0.6


@pytest.mark.parametrize(("first", "part"), DRIPS.values(), ids=DRIPS)
def test_who_drips_at_an_act_does_not_outlast_the_time_that_is_left(
    first: bytes, part: bytes
) -> None:
    with somebody_endless(first, part, pause=0.05) as (url, sent):
        chapa = client(url)
        began = time.monotonic()
        with pytest.raises(ProviderTimeout) as caught:
            opens(chapa, BRIEF)
        took = time.monotonic() - began
        chapa.session.close()

    assert caught.value.may_have_acted
    assert took < BRIEF + 0.5
    assert len(sent) == 1


@pytest.mark.parametrize("name", ["its headers", "its body", "the body of an error"])
def test_who_drips_at_a_question_does_not_outlast_the_time_that_is_left(
    log: io.StringIO, slept: list[float], name: str
) -> None:
    first, part = DRIPS[name]
    with somebody_endless(first, part, pause=0.05) as (url, sent):
        chapa = client(url)
        began = time.monotonic()
        assert chapa.verify(TX_REF, 2 + TRIES * BRIEF) == Verification(Said.UNKNOWN)
        took = time.monotonic() - began
        chapa.session.close()

    assert took < TRIES * BRIEF + 0.5
    assert 1 <= len(sent) <= TRIES


LITTLE = b" " * 65_536
FLOODS = {
    "its status": (b"HTTP/1.1 200 ", b"O" * 65_536),
    "header after header": (b"HTTP/1.1 200 OK\r\n", b"X-Dull: a\r\n" * 1_000),
    "interim answers": (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1_000),
    "its body": (HEADERS + b"Content-Length: 5000000000\r\n\r\n{", LITTLE),
    "a body without a length": (HEADERS + b"\r\n{", LITTLE),
    "its chunks": (CHUNKED, b"10000\r\n" + LITTLE + b"\r\n"),
    "the size of a chunk": (CHUNKED, b"0" * 65_536),
    "what comes after its chunks": (CHUNKED + b"0\r\n", b"X-Dull: a\r\n" * 1_000),
    "the body of an error": (b"HTTP/1.1 503 No\r\n\r\n{", LITTLE),
}


@pytest.mark.parametrize(("first", "part"), FLOODS.values(), ids=FLOODS)
def test_who_floods_is_not_read_to_the_end(
    log: io.StringIO, slept: list[float], first: bytes, part: bytes
) -> None:
    with somebody_endless(first, part, pause=0) as (url, sent):
        chapa = client(url)
        with pytest.raises(ProviderError) as caught:
            opens(chapa)
        assert not chapa.cancel(TX_REF, PLENTY)
        assert len(sent) == 2
        assert chapa.verify(TX_REF, PLENTY) == Verification(Said.UNKNOWN)
        chapa.session.close()

    assert caught.value.may_have_acted
    assert len(sent) <= 2 + TRIES


@pytest.mark.parametrize("wrappings", [1, 2, 3])
def test_little_that_unfolds_into_much_is_not_unfolded_to_the_end(wrappings: int) -> None:
    content = b"[" + b"0," * 16_000_000 + b"0]"
    for _ in range(wrappings):
        content = gzip.compress(content)
    encoding = ", ".join(["gzip"] * wrappings).encode()
    assert len(content) < MOST_BYTES
    head = b"Content-Encoding: %b\r\nContent-Length: %d\r\n\r\n" % (encoding, len(content))

    with somebody(HEADERS + head + content, hang_up=True) as url:
        chapa = client(url)
        tracemalloc.start()
        with pytest.raises(ProviderFailed) as caught:
            opens(chapa)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        chapa.session.close()

    assert caught.value.may_have_acted
    assert most < 8_000_000


@pytest.mark.parametrize("encoding", ["gzip", None])
def test_the_longest_answer_that_counts_is_read(encoding: str | None) -> None:
    room = MOST_BYTES - len(json.dumps(OPENED)) - 500
    content = json.dumps(OPENED | {"room": "x" * room}).encode()
    head = b""
    if encoding:
        content = gzip.compress(content)
        head = b"Content-Encoding: gzip\r\n"
    head += b"Content-Length: %d\r\n\r\n" % len(content)

    with somebody(HEADERS + head + content, hang_up=True) as url:
        chapa = client(url)
        assert opens(chapa) == CHECKOUT_URL
        chapa.session.close()


def test_a_connection_that_answered_is_used_again() -> None:
    """The bound of one answer is not that of the next on the same connection."""
    content = json.dumps(OPENED | {"room": "x" * (MOST_BYTES - 1_000)}).encode()
    answer = HEADERS + b"Content-Length: %d\r\n\r\n" % len(content) + content
    accepted: list[int] = []

    def serve() -> None:
        connection, _ = listener.accept()
        accepted.append(1)
        with connection:
            request = b""
            while part := connection.recv(65_536):
                request += part
                if request.endswith(b"}"):
                    request = b""
                    connection.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        chapa = client(f"http://127.0.0.1:{listener.getsockname()[1]}/v1")
        assert [opens(chapa) for _ in range(3)] == [CHECKOUT_URL] * 3
        chapa.session.close()
        thread.join()

    assert accepted == [1]


@pytest.fixture
def nobody() -> Iterator[str]:
    """An address that refuses connections, and that nobody else can get meanwhile."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}/v1"


def test_a_refused_connection_happened_before_chapa_knew(nobody: str) -> None:
    with pytest.raises(ProviderUnavailable) as caught:
        opens(client(nobody))

    assert not caught.value.may_have_acted


def test_nobody_there_is_unknown_and_shuts_nothing(
    nobody: str, log: io.StringIO, slept: list[float]
) -> None:
    assert client(nobody).verify(TX_REF, PLENTY) == Verification(Said.UNKNOWN)
    assert not client(nobody).cancel(TX_REF, PLENTY)


def test_no_proxy_of_the_machine_sees_the_key(
    wire: Wire, nobody: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, nobody)

    opens(wire.chapa)
    assert wire.asked("initialize") == 1
