"""Forged and hostile requests in one process: what they cost, change and log."""

import base64
import hmac
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from io import StringIO
from typing import Any
from urllib.parse import parse_qsl, unquote

import pytest
from pydantic import BaseModel

from payments.chapa import signature
from payments.domain.states import OrderStatus, PaymentStatus
from payments.web import http
from sandbox.client import Response
from tests.depth import depth
from tests.forgeries import (
    HEADERS_OF_BODIES,
    KEYS,
    PRIVATE,
    QUERIES,
    SEGMENTS,
    SIGNATURE,
    Sent,
    forgeries,
    hostile,
    no_requests,
    notification,
    notification_v2,
)
from tests.shop import API_KEYS, PROVIDERS, WEBHOOK_SECRET, Shop, http_event

TEXT = {"application/json", "application/xml", "application/javascript"}
"""API Gateway passes bodies of these types and of text/* on as text, all others in base64."""


@pytest.fixture(params=depth(PROVIDERS[:1], PROVIDERS))
def provider(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def arrive(shop: Shop, sent: Sent, function: str = "webhook", user: str | None = None) -> Response:
    """As API Gateway passes it on: names in lower case, repeated headers joined by commas."""
    headers: dict[str, str] = {}
    for name, value in sent.headers:
        text = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
        headers[name] = f"{headers[name]},{text}" if name in headers else text
    kind = headers.get("content-type", "").partition(";")[0]
    in_base64 = kind not in TEXT and not kind.startswith("text/")
    body = base64.b64encode(sent.body) if in_base64 else sent.body.decode("utf-8", "replace")
    event = http_event("POST", body, user=user, headers=headers, base64_encoded=in_base64)
    return shop.http(function, event)


class Costs:
    """Counts HMACs, parsed bodies, messages, and calls to AWS and Chapa."""

    def __init__(self, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
        self._shop = shop
        self.done: list[str] = []
        for function in ("webhook", "orders", "initialize"):
            import_module(f"functions.{function}.app")  # A cold start reads its settings.
        monkeypatch.setattr(hmac, "new", self._counted("hmac", hmac.new))
        monkeypatch.setattr(json, "loads", self._counted("loads", json.loads))
        for name in ("model_validate", "model_validate_json"):
            method = vars(BaseModel)[name].__func__
            monkeypatch.setattr(BaseModel, name, classmethod(self._counted(name, method)))
        for client in (shop.dynamodb, shop._secrets):
            client.meta.events.register("before-call", self._aws)

    def _counted(self, name: str, function: Any) -> Any:
        def counted(*args: Any, **kwargs: Any) -> Any:
            self.done.append(name)
            return function(*args, **kwargs)

        return counted

    def _aws(self, model: Any, **_: Any) -> None:
        self.done.append(model.name)

    @contextmanager
    def counted(self) -> Iterator[list[str]]:
        """The costs of one request through `Shop.http`."""
        called, queued = len(self._shop.simulator.journal.entries()), len(self._shop.messages)
        del self.done[:]
        yield self.done
        self.done.remove("loads")  # `Shop.http` reads the response.
        self.done += ["Chapa"] * (len(self._shop.simulator.journal.entries()) - called)
        self.done += ["SQS"] * (len(self._shop.messages) - queued)


def quiet(log: StringIO, *also: str) -> bool:
    """No traceback, no alarm, no secret and no customer data in the log; empties it."""
    lines = log.getvalue()
    log.truncate(0)
    log.seek(0)
    levels = {json.loads(line)["level"] for line in lines.splitlines()}
    return levels <= {"INFO", "WARNING"} and not any(
        word in lines for word in (*PRIVATE, *API_KEYS.values(), WEBHOOK_SECRET, "Traceback", *also)
    )


@pytest.mark.parametrize("write", [notification, notification_v2], ids=["v1", "v2"])
def test_forged_webhook_costs_one_hmac_and_nothing_else(
    shop: Shop,
    log: StringIO,
    monkeypatch: pytest.MonkeyPatch,
    subtests: pytest.Subtests,
    write: Callable[[str], bytes],
) -> None:
    _, tx_ref = shop.begun()
    shop.control.pay(tx_ref, webhook=False)
    before, costs = shop.dump(), Costs(shop, monkeypatch)
    quiet(log)
    for name, sent in forgeries(tx_ref, WEBHOOK_SECRET, API_KEYS[shop.provider], write).items():
        with subtests.test(name):
            with costs.counted() as done:
                response = arrive(shop, sent)
            if len(sent.body) > http.MAX_BODY:
                assert (response.status, response.code, done) == (400, "invalid_request", [])
            else:
                assert (response.status, response.code) == (401, "bad_signature")
                assert done in ([], ["hmac"])
            # A flood fills no log: forgeries are counted.
            assert log.getvalue() == ""
    assert shop.dump() == before


def test_signature_check_takes_the_same_time_for_each_secret(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compared: list[bytes] = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append(other)
        return one == other

    monkeypatch.setattr(hmac, "compare_digest", compare)
    secrets = [WEBHOOK_SECRET, "the previous one"]
    for secret in secrets:
        claims = dict.fromkeys(signature.HEADERS, signature.sign(b"{}", secret))
        assert signature.verify(b"{}", claims, secrets)
    expected = [signature.sign(b"{}", secret).encode() for secret in secrets for _ in claims]
    assert compared == expected * 2


BAD_BASE64 = (
    " e30=",
    "e30=\t",
    "e3=0",
    "e",
    "e30=\0",
    "====",
    '{"event":"charge.success"}',
    "e30",
    "e30===",
    "e30=e30=",
    "e30=\n",
    "e3 0=",
    "-_-_",
    "\ud800",
    "አበበ",
    "data:application/json;base64,e30=",
)


@pytest.mark.parametrize("function", ["webhook", "orders", "initialize"])
def test_bad_base64_is_refused_before_anything_else(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, subtests: pytest.Subtests, function: str
) -> None:
    costs = Costs(shop, monkeypatch)
    for body in BAD_BASE64:
        claim = signature.sign(body.encode("utf-8", "replace"), WEBHOOK_SECRET)
        event = http_event("POST", body, headers={SIGNATURE: claim}, base64_encoded=True)
        with subtests.test(repr(body)):
            with costs.counted() as done:
                response = shop.http(function, event)
            assert (response.status, response.code) == (400, "invalid_request")
            assert done == []


def test_signed_hostile_webhook_settles_nothing(
    shop: Shop, log: StringIO, subtests: pytest.Subtests
) -> None:
    order_id, tx_ref = shop.begun()
    quiet(log)
    for name, (body, expected) in hostile(tx_ref).items():
        shop.clock.advance(3)
        signed = ((SIGNATURE, signature.sign(body, WEBHOOK_SECRET)),)
        with subtests.test(name):
            response = arrive(shop, Sent(body, signed))
            assert response.body.get("outcome", response.body.get("code")) == expected
            assert response.status == (200 if "outcome" in response.body else 400)
            assert len(json.dumps(response.body)) < 1_000
            assert quiet(log)
    assert state(shop, order_id, tx_ref)[:3] == ("pending", "pending", 8)


def state(shop: Shop, order_id: str, tx_ref: str) -> tuple[Any, ...]:
    """Statuses of order and payment, the units available, and the event log."""
    return (
        shop.aggregate(order_id).order.status.value,
        shop.payment(tx_ref).status.value,
        shop.available("COFFEE-250"),
        shop.event_names(order_id),
    )


EVENTS = ("charge.success", "charge.failed/cancelled", "charge.refunded", "charge.reversed")


def replay(shop: Shop, order_id: str, tx_ref: str) -> None:
    """Send every event about the payment again: none may change anything."""
    before = state(shop, order_id, tx_ref)
    for event in EVENTS:
        shop.clock.advance(shop.backend.settings.verify_every_seconds)
        response = shop.webhook(notification(tx_ref, event))
        assert response.body["outcome"] in {"duplicate", "deferred"}
    shop.work()
    assert state(shop, order_id, tx_ref) == before


def test_repeated_events_change_nothing_at_any_time(shop: Shop) -> None:
    order_id, tx_ref = shop.begun()
    replay(shop, order_id, tx_ref)
    shop.control.pay(tx_ref, webhook=False)
    shop.clock.advance(3)
    assert shop.notify(tx_ref).body == {"outcome": "applied"}
    replay(shop, order_id, tx_ref)
    shop.clock.advance(9 * 86_400)
    replay(shop, order_id, tx_ref)
    shop.control.reverse(tx_ref, webhook=False)
    shop.clock.advance(3)
    assert shop.notify(tx_ref, "charge.reversed").body == {"outcome": "applied"}
    replay(shop, order_id, tx_ref)
    shop.clock.advance(9 * 86_400)
    replay(shop, order_id, tx_ref)
    assert shop.payment(tx_ref).status is PaymentStatus.REVERSED


def test_repeated_events_leave_an_expired_order_expired(shop: Shop) -> None:
    order_id, tx_ref = shop.expired()
    replay(shop, order_id, tx_ref)
    assert state(shop, order_id, tx_ref)[:3] == ("expired", "closed", 10)


@pytest.mark.parametrize("key", ["test", "live"])
def test_payment_of_the_other_mode_goes_to_review(shop: Shop, key: str) -> None:
    """Chapa signs events of both modes with the same secret."""
    if key == "live":
        live = "CHASECK-0123456789abcdefghij"
        shop.simulator.api_keys |= {live}
        shop.set_secret(api_key=live, api_key_other="")
        shop.configure(chapa_url="https://api.chapa.co/v1")
    order_id, tx_ref = shop.begun()
    shop.control.add_fault("verify", "wrong_mode", times=None)
    shop.control.pay(tx_ref, webhook=False)
    response = shop.webhook(notification(tx_ref, mode="test" if key == "live" else "live"))
    assert response.body == {"outcome": "applied"}
    assert shop.payment(tx_ref).status is PaymentStatus.REVIEW
    assert shop.payment(tx_ref).reason == "not as requested: mode"
    assert shop.aggregate(order_id).order.status is OrderStatus.PENDING


def test_mode_in_the_webhook_is_ignored(shop: Shop) -> None:
    order_id, tx_ref = shop.begun()
    shop.control.pay(tx_ref, webhook=False)
    assert shop.webhook(notification(tx_ref, mode="live")).body == {"outcome": "applied"}
    assert shop.aggregate(order_id).order.status is OrderStatus.PAID


def test_webhook_settles_only_the_payment_of_its_tx_ref(shop: Shop) -> None:
    ours, our_ref = shop.begun()
    theirs = shop.order({"MUG": 1}, user="sara").body["order_id"]
    their_ref = shop.pay(theirs, user="sara").body["tx_ref"]
    shop.control.pay(their_ref, webhook=False)
    # Every other field names the other payment.
    webhook = notification(our_ref, reference="AP1", order_id=theirs, meta={"tx_ref": their_ref})
    assert shop.webhook(webhook).body == {"outcome": "deferred"}
    webhook = notification(their_ref, reference="AP1", order_id=ours, meta={"tx_ref": our_ref})
    assert shop.webhook(webhook).body == {"outcome": "applied"}
    assert shop.aggregate(ours).order.status is OrderStatus.PENDING
    assert shop.aggregate(theirs).order.status is OrderStatus.PAID


GOOD_ORDER = json.dumps({"items": [{"sku": "EBOOK", "quantity": 1}]}).encode()


@pytest.mark.parametrize("function", ["orders", "initialize"])
def test_unreadable_request_body_is_refused_and_writes_nothing(
    shop: Shop, log: StringIO, subtests: pytest.Subtests, function: str
) -> None:
    order_id = shop.order(customer={"email": PRIVATE[2]}).body["order_id"]
    good = {"orders": GOOD_ORDER, "initialize": json.dumps({"order_id": order_id}).encode()}
    before, called = shop.dump(), len(shop.simulator.journal.entries())
    for name, body in no_requests(good[function]).items():
        for kind, headers in HEADERS_OF_BODIES.items():
            with subtests.test(f"{name} as {kind}"):
                response = arrive(shop, Sent(body, tuple(headers.items())), function, "abebe")
                assert (response.status, response.code) == (400, "invalid_request")
                assert len(json.dumps(response.body)) < 5_000
    assert shop.dump() == before
    assert len(shop.simulator.journal.entries()) == called
    assert quiet(log)


def test_body_is_read_as_json_whatever_its_headers_say(
    shop: Shop, subtests: pytest.Subtests
) -> None:
    shop.configure(max_unpaid_orders="0")
    for name, headers in HEADERS_OF_BODIES.items():
        with subtests.test(name):
            sent = Sent(GOOD_ORDER, tuple(headers.items()))
            assert arrive(shop, sent, "orders", "abebe").status == 201


def test_last_of_repeated_keys_counts(shop: Shop) -> None:
    body = b'{"items": [{"sku": "MUG", "quantity": 1}],'
    body += b' "items": [{"sku": "LAST", "sku": "COFFEE-250", "quantity": 1, "quantity": 3}]}'
    response = shop.http("orders", http_event("POST", body))
    [line] = response.body["items"]
    assert (line["sku"], line["quantity"], response.body["amount"]) == ("COFFEE-250", 3, "1350.00")
    assert [shop.available(sku) for sku in ("COFFEE-250", "MUG", "LAST")] == [7, 2, 1]
    other = shop.order({"MUG": 1}).body["order_id"]
    twice = f'{{"order_id": "{response.body["order_id"]}", "order_id": "{other}"}}'
    assert shop.http("initialize", http_event("POST", twice)).body["order_id"] == other


def test_hostile_path_finds_nothing(shop: Shop, log: StringIO, subtests: pytest.Subtests) -> None:
    reads = shop.count_reads()
    for name, segment in SEGMENTS.items():
        for errors in ("replace", "surrogateescape"):
            text = unquote(segment, errors=errors)
            with subtests.test(name):
                for method, function, field, code in (
                    ("GET", "status", "order_id", "order_not_found"),
                    ("GET", "status", "tx_ref", "payment_not_found"),
                    ("POST", "orders", "order_id", "order_not_found"),
                ):
                    response = shop.http(function, http_event(method, path={field: text}))
                    assert (response.status, response.code) == (404, code)
                if 0 < len(text) <= 64 and text.isprintable():
                    assert shop.pay(text).code == "order_not_found"
    assert reads == []
    assert quiet(log)


def test_hostile_query_is_refused_or_ignored(
    shop: Shop, log: StringIO, subtests: pytest.Subtests
) -> None:
    _, tx_ref = shop.begun()
    for name, raw in QUERIES.items():
        query: dict[str, str] = {}
        for field, value in parse_qsl(raw, keep_blank_values=True, errors="surrogateescape"):
            query[field] = f"{query[field]},{value}" if field in query else value
        with subtests.test(name):
            response = shop.http("status", http_event("GET", path={"tx_ref": tx_ref}, query=query))
            assert (response.status, response.body.get("code")) == (
                (400, "invalid_request") if "refresh" in query else (200, None)
            )
            callback = {"trx_ref": query.get("refresh", ""), **query}
            response = shop.http("webhook", http_event("GET", user=None, query=callback))
            assert response.body == {"outcome": "noted"}
    assert shop.asked("verify") == 0
    assert quiet(log)


def test_hostile_idempotency_key_finds_its_own_order_and_no_other(
    shop: Shop, log: StringIO, subtests: pytest.Subtests
) -> None:
    shop.configure(max_unpaid_orders="0")
    found: set[str] = set()
    body = json.dumps({"items": [{"sku": "EBOOK", "quantity": 1}]})
    for name, key in KEYS.items():
        for text in {key.decode("latin-1"), key.decode("utf-8", "surrogateescape")}:
            with subtests.test(name):
                event = http_event("POST", body, headers={"idempotency-key": text})
                first, second = (shop.http("orders", event) for _ in range(2))
                if 1 <= len(text) <= 200:
                    assert (first.status, second.status) == (201, 200)
                    assert first.body == second.body
                    assert first.body["order_id"] not in found
                    found.add(first.body["order_id"])
                else:
                    assert (first.code, second.code) == ("invalid_request", "invalid_request")
    assert len(found) > 10
    assert quiet(log)
