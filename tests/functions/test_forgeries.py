"""A hostile internet, in this process: what it costs, what it changes, and what is logged of it."""

import base64
import hmac
import json
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from io import StringIO
from typing import Any
from urllib.parse import parse_qsl, unquote

import pytest
from pydantic import BaseModel

from payments import http, signature
from sandbox.client import Response
from tests.forgeries import (
    HEADERS_OF_BODIES,
    KEYS,
    PRIVATE,
    QUERIES,
    SEGMENTS,
    Sent,
    forgeries,
    hostile,
    no_requests,
    notification,
)
from tests.shop import API_KEY, WEBHOOK_SECRET, Shop, http_event

TEXT = {"application/json", "application/xml", "application/javascript"}
"""Bodies of these types, and of text, API Gateway hands on as they are; all others in base64."""


def arrive(shop: Shop, sent: Sent, function: str = "webhook", user: str | None = None) -> Response:
    """As API Gateway hands it on: names in lower case, repeated headers joined by commas."""
    headers: dict[str, str] = {}
    for name, value in sent.headers:
        text = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
        headers[name] = f"{headers[name]},{text}" if name in headers else text
    kind = headers.get("content-type", "").partition(";")[0]
    if kind in TEXT or kind.startswith("text/"):
        event = http_event("POST", sent.body.decode("utf-8", "replace"), user=user, headers=headers)
    else:
        encoded = base64.b64encode(sent.body)
        event = http_event("POST", encoded, user=user, headers=headers, base64_encoded=True)
    return shop.http(function, event)


class Costs:
    """What was done since: HMACs, parsed bodies, calls to AWS and to Chapa, messages."""

    def __init__(self, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
        self._shop = shop
        self.done: list[str] = []
        import_module("functions.webhook.app")  # A process that starts reads its settings.
        monkeypatch.setattr(hmac, "new", self._counted("hmac", hmac.new))
        for where, name in ((json, "loads"), (http, "parse")):
            monkeypatch.setattr(where, name, self._counted(name, getattr(where, name)))
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
        asked, queued = len(self._shop.simulator.journal.entries()), len(self._shop.messages)
        del self.done[:]
        yield self.done
        self.done += ["Chapa"] * (len(self._shop.simulator.journal.entries()) - asked)
        self.done += ["SQS"] * (len(self._shop.messages) - queued)


def quiet(log: StringIO, *also: str) -> bool:
    """No traceback, no alarm, no secret and nothing of a customer."""
    told = log.getvalue()
    levels = {json.loads(line)["level"] for line in told.splitlines()}
    return levels <= {"INFO", "WARNING"} and not any(
        word in told for word in (*PRIVATE, API_KEY, WEBHOOK_SECRET, "Traceback", *also)
    )


def test_a_forgery_costs_one_hmac_and_nothing_else(
    shop: Shop, log: StringIO, monkeypatch: pytest.MonkeyPatch, subtests: pytest.Subtests
) -> None:
    _, tx_ref = shop.begun()
    shop.control.pay(tx_ref, webhook=False)
    before, costs = shop.dump(), Costs(shop, monkeypatch)
    for name, sent in forgeries(tx_ref, WEBHOOK_SECRET, API_KEY).items():
        log.truncate(0)
        log.seek(0)
        with subtests.test(name):
            with costs.counted() as done:
                answer = arrive(shop, sent)
                # The answer itself is read by this test.
                done.remove("loads")
            assert (answer.status, answer.code) == (401, "bad_signature")
            assert done in ([], ["hmac"])
            assert quiet(log, tx_ref)
    assert shop.dump() == before


def test_which_secret_was_right_cannot_be_timed(monkeypatch: pytest.MonkeyPatch) -> None:
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


BASE64_TRICKS = {
    "a blank before it": " e30=",
    "a tabulator": "e30=\t",
    "padding in the middle": "e3=0",
    "one letter": "e",
    "a null character": "e30=\0",
    "padding and nothing else": "====",
    "JSON": '{"event":"charge.success"}',
    "without padding": "e30",
    "too much padding": "e30===",
    "two in one": "e30=e30=",
    "line breaks": "e30=\n",
    "blanks": "e3 0=",
    "the alphabet of URLs": "-_-_",
    "half a surrogate pair": "\ud800",
    "Amharic": "አበበ",
    "a data URL": "data:application/json;base64,e30=",
}


@pytest.mark.parametrize("body", BASE64_TRICKS.values(), ids=BASE64_TRICKS)
def test_base64_that_is_none_is_refused_before_anything_else(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, body: str
) -> None:
    headers = {"x-chapa-signature": signature.sign(body.encode("utf-8", "replace"), WEBHOOK_SECRET)}
    event = http_event("POST", body, user=None, headers=headers, base64_encoded=True)
    costs = Costs(shop, monkeypatch)
    with costs.counted() as done:
        answer = shop.http("webhook", event)
        done.remove("loads")
    assert (answer.status, answer.code) == (400, "invalid_request")
    assert done == []


@pytest.mark.parametrize("function", ["checkout", "initialize"])
@pytest.mark.parametrize("body", BASE64_TRICKS.values(), ids=BASE64_TRICKS)
def test_base64_that_is_none_is_no_request_either(shop: Shop, function: str, body: str) -> None:
    answer = shop.http(function, http_event("POST", body, base64_encoded=True))
    assert (answer.status, answer.code) == (400, "invalid_request")


def test_a_hostile_body_makes_nothing_true(
    shop: Shop, log: StringIO, subtests: pytest.Subtests
) -> None:
    order_id, tx_ref = shop.begun()
    for name, (body, told) in hostile(tx_ref).items():
        log.truncate(0)
        log.seek(0)
        shop.clock.advance(3)
        signed = (("x-chapa-signature", signature.sign(body, WEBHOOK_SECRET)),)
        with subtests.test(name):
            answer = arrive(shop, Sent(body, signed))
            assert answer.body.get("outcome", answer.body.get("code")) == told
            assert answer.status == (200 if "outcome" in answer.body else 400)
            assert len(json.dumps(answer.body)) < 1_000
            assert quiet(log)
    assert shop.story(order_id).order.status == "pending"
    assert shop.payment(tx_ref).status == "pending"
    assert shop.stock("COFFEE-250") == (8, 2, 0)


EVENTS = ("charge.success", "charge.failed/cancelled", "charge.refunded", "charge.reversed")


def replay(shop: Shop, tx_ref: str) -> set[str]:
    outcomes = set()
    for event in EVENTS:
        shop.clock.advance(shop.backend.settings.verify_every_seconds)
        outcomes.add(shop.webhook(notification(tx_ref, event)).body["outcome"])
    return outcomes


def test_old_events_change_nothing_whenever_they_come_again(shop: Shop) -> None:
    order_id, tx_ref = shop.begun()

    def unmoved() -> bool:
        known = (
            shop.story(order_id).order.status,
            shop.payment(tx_ref).status,
            shop.stock("COFFEE-250"),
        )
        ledger = shop.ledger(order_id)
        assert replay(shop, tx_ref) <= {"duplicate", "deferred"}
        shop.work()
        now = (
            shop.story(order_id).order.status,
            shop.payment(tx_ref).status,
            shop.stock("COFFEE-250"),
        )
        return now == known and shop.ledger(order_id) == ledger

    assert unmoved()
    shop.control.pay(tx_ref, webhook=False)
    shop.clock.advance(3)
    assert shop.notify(tx_ref).body == {"outcome": "applied"}
    assert unmoved()
    shop.clock.advance(9 * 86_400)
    assert unmoved()
    shop.control.reverse(tx_ref, webhook=False)
    shop.clock.advance(3)
    assert shop.notify(tx_ref, "charge.reversed").body == {"outcome": "applied"}
    assert unmoved()
    shop.clock.advance(9 * 86_400)
    assert unmoved()
    assert shop.payment(tx_ref).status == "reversed"


def test_old_events_do_not_bring_an_expired_order_back(shop: Shop) -> None:
    order_id, tx_ref = shop.begun()
    shop.clock.advance(1800)
    shop.sweep()
    assert shop.story(order_id).order.status == "expired"
    assert replay(shop, tx_ref) <= {"duplicate", "deferred"}
    shop.work()
    assert shop.story(order_id).order.status == "expired"
    assert shop.stock("COFFEE-250") == (10, 0, 0)


def test_test_money_pays_nothing_on_a_live_key(shop: Shop) -> None:
    """A payment of the test mode has the tx_ref of a live one; its event is signed all the same."""
    live = "CHASECK-0123456789abcdefghij"
    shop.simulator.api_keys |= {live}
    shop.set_secret(api_key=live)
    shop.configure(chapa_url="https://api.chapa.co/v1")
    order_id, tx_ref = shop.begun()
    shop.control.add_fault("verify", "wrong_mode", times=None)
    shop.control.pay(tx_ref, webhook=False)
    answer = shop.webhook(notification(tx_ref, mode="test"))
    assert answer.body == {"outcome": "applied"}
    assert shop.payment(tx_ref).status == "review"
    assert shop.payment(tx_ref).reason == "not as asked: mode"
    assert shop.story(order_id).order.status == "pending"


def test_live_money_pays_nothing_on_a_test_key(shop: Shop) -> None:
    order_id, tx_ref = shop.begun()
    shop.control.add_fault("verify", "wrong_mode", times=None)
    shop.control.pay(tx_ref, webhook=False)
    answer = shop.webhook(notification(tx_ref, mode="live"))
    assert answer.body == {"outcome": "applied"}
    assert shop.payment(tx_ref).status == "review"
    assert shop.payment(tx_ref).reason == "not as asked: mode"
    assert shop.story(order_id).order.status == "pending"


def test_an_event_of_the_other_mode_is_what_chapa_says_that_it_is(shop: Shop) -> None:
    order_id, tx_ref = shop.begun()
    shop.control.pay(tx_ref, webhook=False)
    assert shop.webhook(notification(tx_ref, mode="live")).body == {"outcome": "applied"}
    assert shop.story(order_id).order.status == "paid"


def test_an_event_of_somebody_else_s_payment_pays_theirs_and_not_ours(shop: Shop) -> None:
    ours, our_ref = shop.begun()
    theirs = shop.order({"MUG": 1}, user="sara").body["order_id"]
    their_ref = shop.pay(theirs, user="sara").body["tx_ref"]
    shop.control.pay(their_ref, webhook=False)
    # All that it says is theirs, but for the tx_ref, or all but the tx_ref ours.
    told = notification(our_ref, reference="AP1", order_id=theirs, meta={"tx_ref": their_ref})
    assert shop.webhook(told).body == {"outcome": "deferred"}
    told = notification(their_ref, reference="AP1", order_id=ours, meta={"tx_ref": our_ref})
    assert shop.webhook(told).body == {"outcome": "applied"}
    assert shop.story(ours).order.status == "pending"
    assert shop.story(theirs).order.status == "paid"


GOOD_ORDER = json.dumps({"items": [{"sku": "MUG", "quantity": 1}]}).encode()


@pytest.mark.parametrize("function", ["checkout", "initialize"])
def test_what_is_no_request_is_refused_and_writes_nothing(
    shop: Shop, log: StringIO, subtests: pytest.Subtests, function: str
) -> None:
    order_id = shop.order(customer={"email": PRIVATE[2]}).body["order_id"]
    good = {"checkout": GOOD_ORDER, "initialize": json.dumps({"order_id": order_id}).encode()}
    before, asked = shop.dump(), len(shop.simulator.journal.entries())
    for name, body in no_requests(good[function]).items():
        for kind, headers in HEADERS_OF_BODIES.items():
            with subtests.test(f"{name} as {kind}"):
                answer = arrive(shop, Sent(body, tuple(headers.items())), function, "abebe")
                assert (answer.status, answer.code) == (400, "invalid_request")
                assert len(json.dumps(answer.body)) < 5_000
    assert shop.dump() == before
    assert len(shop.simulator.journal.entries()) == asked
    assert quiet(log)


@pytest.mark.parametrize("headers", HEADERS_OF_BODIES.values(), ids=HEADERS_OF_BODIES)
def test_whatever_is_said_of_it_a_body_is_json(shop: Shop, headers: dict[str, str]) -> None:
    assert arrive(shop, Sent(GOOD_ORDER, tuple(headers.items())), "checkout", "abebe").status == 201


def test_of_a_key_that_comes_twice_the_last_counts_for_price_and_stock(shop: Shop) -> None:
    body = b'{"items": [{"sku": "MUG", "quantity": 1}],'
    body += b' "items": [{"sku": "LAST", "sku": "COFFEE-250", "quantity": 1, "quantity": 3}]}'
    answer = shop.http("checkout", http_event("POST", body))
    [line] = answer.body["items"]
    assert (line["sku"], line["quantity"], answer.body["amount"]) == ("COFFEE-250", 3, "1350.00")
    assert [shop.stock(sku)[1] for sku in ("COFFEE-250", "MUG", "LAST")] == [3, 0, 0]
    other = shop.order({"MUG": 1}).body["order_id"]
    twice = f'{{"order_id": "{answer.body["order_id"]}", "order_id": "{other}"}}'
    assert shop.http("initialize", http_event("POST", twice)).body["order_id"] == other


def test_a_hostile_path_leads_nowhere(shop: Shop, log: StringIO, subtests: pytest.Subtests) -> None:
    reads = shop.count_reads()
    for name, segment in SEGMENTS.items():
        for text in (
            unquote(segment, errors="replace"),
            unquote(segment, errors="surrogateescape"),
        ):
            with subtests.test(name):
                for method, function, field, code in (
                    ("GET", "status", "order_id", "order_not_found"),
                    ("GET", "status", "tx_ref", "payment_not_found"),
                    ("POST", "checkout", "order_id", "order_not_found"),
                ):
                    answer = shop.http(function, http_event(method, path={field: text}))
                    assert (answer.status, answer.code) == (404, code)
                if 0 < len(text) <= 64 and text.isprintable():
                    assert shop.pay(text).code == "order_not_found"
    assert reads == []
    assert quiet(log)


def test_a_hostile_query_asks_for_nothing(
    shop: Shop, log: StringIO, subtests: pytest.Subtests
) -> None:
    _, tx_ref = shop.begun()
    for name, raw in QUERIES.items():
        query: dict[str, str] = {}
        for field, value in parse_qsl(raw, keep_blank_values=True, errors="surrogateescape"):
            query[field] = f"{query[field]},{value}" if field in query else value
        with subtests.test(name):
            answer = shop.http("status", http_event("GET", path={"tx_ref": tx_ref}, query=query))
            assert (answer.status, answer.body.get("code")) == (
                (400, "invalid_request") if "refresh" in query else (200, None)
            )
            noted = {"trx_ref": query.get("refresh", ""), **query}
            answer = shop.http("webhook", http_event("GET", user=None, query=noted))
            assert answer.body == {"outcome": "noted"}
    assert shop.asked("verify") == 0
    assert quiet(log)


def test_a_hostile_idempotency_key_finds_its_own_order_and_no_other(
    shop: Shop, log: StringIO, subtests: pytest.Subtests
) -> None:
    found: dict[str, str] = {}
    body = json.dumps({"items": [{"sku": "EBOOK", "quantity": 1}]})
    for name, key in KEYS.items():
        for text in {key.decode("latin-1"), key.decode("utf-8", "surrogateescape")}:
            with subtests.test(name):
                event = http_event("POST", body, headers={"idempotency-key": text})
                first, second = (shop.http("checkout", event) for _ in range(2))
                if 1 <= len(text) <= 200:
                    assert (first.status, second.status) == (201, 200)
                    assert first.body == second.body
                    assert first.body["order_id"] not in found
                    found[first.body["order_id"]] = name
                else:
                    assert (first.code, second.code) == ("invalid_request", "invalid_request")
    assert len(found) > 10
    assert quiet(log)
