"""Webhooks and callbacks, and their faults."""

import json
from typing import Any, get_args

import pytest
import responses

from payments.chapa.signature import sign, verify
from sandbox.chapa.faults import Forgery
from sandbox.chapa.outbox import Message, send_over_http
from tests.sandbox.chapa.merchant import LIVE_KEY, SECRET, TEST_KEY, LocalMerchant

CALLBACK_URL = "http://shop.local/callback"
SUCCESS, FAILED = "charge.success", "charge.failed/cancelled"
BOTH = ["chapa-signature", "x-chapa-signature"]


def signed(message: Message, secret: str = SECRET) -> bool:
    headers = {name.lower(): value for name, value in message.headers.items()}
    return verify(message.body, headers, [secret])


@pytest.mark.parametrize(
    ("switches", "key", "names", "text"),
    [
        ({}, SECRET, BOTH, rb'{"url":"http:\/\/a\/b","note":"\u132b\u121b"}'),
        ({"webhook_body": "utf8"}, SECRET, BOTH, '{"url":"http://a/b","note":"ጫማ"}'.encode()),
        ({"webhook_signature": "constant_only"}, None, BOTH[:1], b"{"),
        ({"webhook_signature": "wrong_payload"}, None, BOTH, b"{"),
        ({"webhook_signature": "custom"}, SECRET, BOTH[:1], b"{"),
        ({"signing_key": "api_key"}, TEST_KEY, BOTH, b"{"),
    ],
)
def test_body_and_signature_follow_the_switches(
    merchant: LocalMerchant, switches: Any, key: str | None, names: list[str], text: bytes
) -> None:
    meta = {"url": "http://a/b", "note": "ጫማ"}
    merchant.control.switch(**switches)
    merchant.paid(meta=meta)
    merchant.deliver()
    [message] = merchant.webhooks
    assert text in message.body
    assert json.loads(message.body)["meta"] == meta
    assert [name for name in sorted(message.headers) if "signature" in name] == names
    assert [k for k in (SECRET, TEST_KEY) if signed(message, k)] == ([key] if key else [])
    if names == BOTH:
        constant = key or SECRET
        assert message.headers["chapa-signature"] == sign(constant.encode(), constant)


@pytest.mark.parametrize(
    ("shape", "event", "place", "reference"),
    [
        ("flat", SUCCESS, None, "tx_ref"),
        ("wrapped", SUCCESS, "data", "tx_ref"),
        ("trx_ref", SUCCESS, None, "trx_ref"),
        ("merchant_reference", SUCCESS, None, "merchant_reference"),
        ("payment_event", "payment.success", None, "tx_ref"),
        ("no_event", None, None, "tx_ref"),
    ],
)
def test_webhook_has_the_shape_of_the_switch_and_is_signed(
    merchant: LocalMerchant, shape: str, event: str | None, place: str | None, reference: str
) -> None:
    merchant.control.switch(webhook_shape=shape)
    merchant.paid()
    merchant.deliver()
    [message] = merchant.webhooks
    body = json.loads(message.body)
    assert body.get("event") == event
    facts = body[place] if place else body
    references = {"tx_ref", "trx_ref", "merchant_reference"} & facts.keys()
    assert (references, facts[reference]) == ({reference}, "tx-1")
    assert signed(message)


def test_webhook_is_sent_ten_times_ten_minutes_apart(merchant: LocalMerchant) -> None:
    merchant.respond = lambda: 503
    merchant.paid()
    for attempt in range(1, 11):
        assert merchant.deliver() == [503]
        assert len(merchant.webhooks) == attempt
        merchant.clock.advance(599)
        assert merchant.deliver() == []
        merchant.clock.advance(1)
    assert merchant.deliver() == []
    assert merchant.simulator.outbox.waiting == []
    assert len({message.body for message in merchant.webhooks}) == 1


def test_only_200_acknowledges_unless_switched(merchant: LocalMerchant) -> None:
    merchant.respond = lambda: 204
    merchant.paid()
    assert merchant.deliver() == [204]
    [delivery] = merchant.simulator.outbox.waiting
    merchant.control.switch(webhook_ack="2xx")
    assert merchant.simulator.outbox.deliver(delivery) == 204
    assert merchant.simulator.outbox.waiting == []


def test_unreachable_endpoint_is_tried_again_until_a_reset(merchant: LocalMerchant) -> None:
    def refuse() -> int:
        raise ConnectionRefusedError

    merchant.respond = refuse
    merchant.paid()
    assert merchant.deliver() == [None]
    assert merchant.control.journal("webhook")[0].error == "ConnectionRefusedError"
    [delivery] = merchant.simulator.outbox.waiting
    merchant.respond = lambda: merchant.simulator.reset() or 500  # type: ignore[func-returns-value]
    assert merchant.simulator.outbox.deliver(delivery) == 500
    assert merchant.simulator.outbox.waiting == []


def test_redirect_of_a_webhook_is_not_followed() -> None:
    message = Message("webhook", None, "POST", "http://shop.local/", {}, b"{}")
    with responses.RequestsMock() as net:
        net.post(message.url, status=302, headers={"Location": "http://other.local/"})
        assert send_over_http(message, timeout=1) == 302


def test_failure_events_can_be_switched_off(merchant: LocalMerchant) -> None:
    for off, on, counts in (
        ("failed_event", "cancel_event", [0, 1]),
        ("cancel_event", "failed_event", [1, 0]),
    ):
        merchant.initialize(off)
        merchant.control.switch(**{off: "none", on: "sent"})
        merchant.control.fail(off)
        after_failure = len(merchant.deliver())
        merchant.cancel(off)
        assert [after_failure, len(merchant.deliver())] == counts
    assert merchant.events == [FAILED] * 2


def test_webhook_false_sends_nothing(merchant: LocalMerchant) -> None:
    merchant.initialize(callback_url=CALLBACK_URL)
    merchant.control.pay("tx-1", webhook=False)
    merchant.control.reverse("tx-1", webhook=False)
    assert merchant.deliver() == []


def test_callback_has_the_form_of_the_switch(merchant: LocalMerchant) -> None:
    url = f"{CALLBACK_URL}?shop=1"
    for style in ("query", "json", "tx_ref_name", "none"):
        merchant.control.switch(callback=style)
        merchant.paid(f"tx-{style}", callback_url=url)
    merchant.deliver()
    query, as_json, named = merchant.callbacks
    reference = merchant.control.payment("tx-query")["reference"]
    assert (query.method, query.body) == ("GET", b"")
    assert query.url == f"{url}&trx_ref=tx-query&ref_id={reference}&status=success"
    assert (as_json.url, json.loads(as_json.body)["trx_ref"]) == (url, "tx-json")
    assert "&tx_ref=tx-tx_ref_name&" in named.url


def test_callback_is_sent_once_and_on_failure_only_if_switched(merchant: LocalMerchant) -> None:
    merchant.respond = lambda: 500
    merchant.control.set(webhook_url=None)
    merchant.initialize(callback_url=CALLBACK_URL)
    merchant.control.fail("tx-1")
    assert merchant.deliver() == []
    merchant.control.switch(callback_on_failure="yes")
    merchant.control.fail("tx-1")
    assert merchant.deliver() == [500]
    merchant.clock.advance(3600)
    assert merchant.deliver() == []


@pytest.mark.parametrize(
    ("kind", "details", "at_once", "later"),
    [
        ("lost", {}, 0, 0),
        ("doubled", {}, 2, 0),
        ("doubled", {"n": 3}, 3, 0),
        ("delayed", {"seconds": 60}, 0, 1),
    ],
)
def test_webhook_and_callback_are_lost_doubled_or_delayed(
    merchant: LocalMerchant, kind: Any, details: dict[str, int], at_once: int, later: int
) -> None:
    for call in ("webhook", "callback"):
        merchant.control.add_fault(call, kind, times=None, **details)  # type: ignore[arg-type]
    for number in (1, 2):
        merchant.messages.clear()
        merchant.paid(f"tx-{number}", callback_url=CALLBACK_URL)
        merchant.clock.advance(59)
        merchant.deliver()
        assert [len(merchant.webhooks), len(merchant.callbacks)] == [at_once, at_once]
        merchant.clock.advance(1)
        assert len(merchant.deliver()) == 2 * later
        assert len({message.body for message in merchant.webhooks}) <= 1
    entries = [merchant.control.journal(c, "tx-1") for c in ("webhook", "callback")]
    count, status = (1, None) if kind == "lost" else (at_once + later, 200)
    for some in entries:
        assert [(e.status, e.faults) for e in some] == [(status, [kind])] * count


def test_early_webhook_comes_before_verify_knows(merchant: LocalMerchant) -> None:
    faults: dict[str, dict[str, Any]] = {"tx-1": {"n": 2}, "tx-2": {"seconds": 30}}
    for tx_ref, details in faults.items():
        merchant.control.add_fault("webhook", "early", **details)
        merchant.paid(tx_ref)
        assert merchant.deliver() == [200]
        for _ in range(2):
            assert merchant.verify(tx_ref).json()["message"] == "Payment not paid yet"
        merchant.clock.advance(30)
        assert merchant.status(tx_ref) == "success"


def test_failed_event_comes_before_or_after_the_next_success(merchant: LocalMerchant) -> None:
    merchant.control.add_fault("webhook", "out_of_order")
    merchant.control.add_fault("webhook", "failed_first")
    merchant.initialize()
    merchant.control.fail("tx-1")
    merchant.control.pay("tx-1")
    merchant.paid("tx-2")
    merchant.deliver()
    assert merchant.events == [FAILED, SUCCESS, FAILED, FAILED, SUCCESS]
    assert all(signed(message) for message in merchant.webhooks)


@pytest.mark.parametrize("signature", get_args(Forgery.__value__))
def test_product_rejects_the_signature_of_a_forged_webhook(
    merchant: LocalMerchant, signature: Any
) -> None:
    merchant.control.add_fault("webhook", "forged", signature=signature)
    merchant.paid()
    merchant.control.webhook(SUCCESS, "tx-1", signature=signature)
    merchant.control.webhook(SUCCESS, "tx-1")
    merchant.deliver()
    assert [signed(message) for message in merchant.webhooks] == [False, False, True]


def test_any_event_can_be_sent_with_any_fields(merchant: LocalMerchant) -> None:
    merchant.initialize()
    body = merchant.control.webhook(
        SUCCESS, "tx-1", overrides={"amount": "1.00", "extra": [1]}, seconds=5
    )
    assert (body["status"], body["amount"], body["extra"]) == ("success", "1.00", [1])
    assert merchant.deliver() == []
    merchant.clock.advance(5)
    assert merchant.deliver() == [200]
    assert json.loads(merchant.webhooks[0].body) == body
    assert merchant.verify().status_code == 404
    payout = merchant.control.webhook("payout.failed/cancelled", overrides={"reference": "p-7"})
    merchant.deliver()
    assert json.loads(merchant.webhooks[1].body) == payout
    assert (payout["type"], payout["status"]) == ("Payout", "failed/cancelled")
    assert payout["reference"] == "p-7"
    assert signed(merchant.webhooks[1])


def test_deliveries_can_be_made_in_any_order_and_live_ones_say_live(
    merchant: LocalMerchant,
) -> None:
    merchant.paid("tx-1")
    merchant.paid("tx-2", key=LIVE_KEY)
    for delivery in reversed(merchant.simulator.outbox.waiting):
        merchant.simulator.outbox.deliver(delivery)
    assert [message.tx_ref for message in merchant.webhooks] == ["tx-2", "tx-1"]
    body = json.loads(merchant.webhooks[0].body)
    assert (body["mode"], body["payment_method"]) == ("live", "telebirr")
