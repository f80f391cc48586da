"""Webhooks and callbacks of payments through v2."""

import json
from typing import Any, get_args

import pytest

from payments.chapa.signature import sign
from sandbox.chapa.faults import Forgery
from tests.sandbox.chapa.merchant import SECRET, V2_KEY, V2_SECRET, LocalMerchant

CALLBACK_URL = "http://shop.local/callback"


def test_webhook_of_a_success_is_flat_and_has_all_fields(merchant: LocalMerchant) -> None:
    customer = {"first_name": "Abebe", "email": "abebe@gmail.com"}
    meta = {"url": "http://a/b", "note": "ጫማ"}
    reference = merchant.v2.paid(amount=40_000, customer=customer, meta=meta)
    merchant.deliver()
    [message] = merchant.webhooks
    assert json.loads(message.body) == {
        "webhook_type": "payment",
        "event": "payment.success",
        "status": "success",
        "mode": "test",
        "currency": "ETB",
        "amount": "40000",
        "merchant_reference": "ref-1",
        "chapa_reference": reference,
        "created_at": "2026-11-22T09:00:00Z",
        "updated_at": "2026-11-22T09:00:00Z",
        "meta": meta,
        "payment_type": "Hosted",
        "payment_method": "test",
        "service_fee": "1400",
        "customer": {**customer, "last_name": None, "phone_number": None},
    }
    assert b'"http://a/b"' in message.body
    assert "ጫማ".encode() in message.body


@pytest.mark.parametrize(
    ("switches", "key", "form"),
    [
        ({}, V2_SECRET, "{0}"),
        ({"webhook_signature": "prefixed"}, V2_SECRET, "sha256={0}"),
        ({"webhook_signature": "both_names"}, V2_SECRET, "{0}"),
        ({"webhook_signature": "constant"}, V2_SECRET, "{1}"),
        ({"signing_key": "api_key"}, V2_KEY, "{0}"),
    ],
)
def test_signature_follows_the_switches(
    merchant: LocalMerchant, switches: Any, key: str, form: str
) -> None:
    merchant.control.switch_v2(**switches)
    merchant.v2.paid()
    merchant.deliver()
    [message] = merchant.webhooks
    value = form.format(sign(message.body, key), sign(key.encode(), key))
    names = ["x-chapa-signature"]
    names += ["chapa-signature"] if "both_names" in switches.values() else []
    signatures = {name: v for name, v in message.headers.items() if "signature" in name}
    assert signatures == dict.fromkeys(names, value)


def test_v2_without_its_own_secret_signs_with_that_of_v1(merchant: LocalMerchant) -> None:
    merchant.control.set(webhook_secret_v2=None)
    merchant.v2.paid()
    merchant.deliver()
    [message] = merchant.webhooks
    assert message.headers["x-chapa-signature"] == sign(message.body, SECRET)


@pytest.mark.parametrize(
    ("switches", "text"),
    [
        ({"webhook_amounts": "number"}, '"amount":10000,'),
        ({"webhook_amounts": "decimal"}, '"amount":"100.00",'),
        ({"webhook_shape": "wrapped"}, '{"event":"payment.success","data":{"webhook_type"'),
        ({"webhook_body": "php"}, r'"meta":{"note":"\u132b\u121b\/"}'),
    ],
)
def test_body_follows_the_switches(merchant: LocalMerchant, switches: Any, text: str) -> None:
    merchant.control.switch_v2(**switches)
    merchant.v2.paid(meta={"note": "ጫማ/"})
    merchant.deliver()
    assert text in merchant.webhooks[0].body.decode()


def test_event_says_why_or_by_whom_a_payment_ended(merchant: LocalMerchant) -> None:
    merchant.v2.open()
    merchant.control.fail("ref-1")
    merchant.control.cancel("ref-1")
    merchant.deliver()
    failed, cancelled = merchant.bodies
    assert (failed["event"], failed["status"]) == ("payment.failed", "failed")
    assert failed["reason"]
    assert (cancelled["event"], cancelled["cancelled_by"]) == ("payment.cancelled", "USER")


def test_reversal_is_not_reported(merchant: LocalMerchant) -> None:
    merchant.v2.paid()
    merchant.control.reverse("ref-1")
    merchant.deliver()
    assert merchant.events == ["payment.success"]


def test_webhook_is_repeated_until_its_attempts_are_used_up(merchant: LocalMerchant) -> None:
    merchant.respond = lambda: 500
    merchant.control.set(retry_seconds=5, webhook_attempts=2)
    merchant.v2.paid()
    for expected in ([500], [500], []):
        assert merchant.deliver() == expected
        merchant.clock.advance(5)


@pytest.mark.parametrize(
    ("kind", "details", "counts"),
    [("lost", {}, [0, 0]), ("doubled", {}, [2, 0]), ("delayed", {"seconds": 60}, [0, 1])],
)
def test_webhook_is_lost_doubled_or_delayed(
    merchant: LocalMerchant, kind: Any, details: Any, counts: list[int]
) -> None:
    merchant.control.add_fault("webhook", kind, **details)
    merchant.v2.paid()
    received = [len(merchant.deliver())]
    merchant.clock.advance(60)
    assert [*received, len(merchant.deliver())] == counts


def test_early_webhook_comes_before_verify_knows(merchant: LocalMerchant) -> None:
    merchant.control.add_fault("webhook", "early", n=1)
    merchant.v2.paid()
    assert merchant.deliver() == [200]
    assert [merchant.v2.data()["status"] for _ in range(2)] == ["pending", "success"]


def test_failed_event_comes_before_or_after_the_success(merchant: LocalMerchant) -> None:
    for kind, reference in (("failed_first", "ref-1"), ("out_of_order", "ref-2")):
        merchant.control.add_fault("webhook", kind)  # type: ignore[arg-type]
        merchant.v2.paid(reference)
    merchant.deliver()
    failed, success = "payment.failed", "payment.success"
    assert merchant.events == [failed, success, success, failed]


@pytest.mark.parametrize("forgery", get_args(Forgery.__value__))
def test_forged_webhook_has_no_valid_signature(merchant: LocalMerchant, forgery: Any) -> None:
    merchant.v2.open()
    merchant.control.webhook("payment.success", "ref-1", signature=forgery)
    merchant.deliver()
    [message] = merchant.webhooks
    assert sign(message.body, V2_SECRET) not in message.headers.values()


@pytest.mark.parametrize(("style", "method"), [("get", "GET"), ("post", "POST"), ("none", None)])
def test_callback_follows_the_switch(
    merchant: LocalMerchant, style: str, method: str | None
) -> None:
    merchant.control.switch_v2(callback=style)
    reference = merchant.v2.paid(callback_url=CALLBACK_URL)
    merchant.deliver()
    assert [message.method for message in merchant.callbacks] == ([method] if method else [])
    for message in merchant.callbacks:
        query = f"?trx_ref=ref-1&ref_id={reference}&status=success"
        assert message.url == CALLBACK_URL + (query if method == "GET" else "")
        assert bool(message.body) is (method == "POST")


def test_any_event_of_v2_can_be_sent(merchant: LocalMerchant) -> None:
    merchant.v2.open()
    body = merchant.control.webhook("payment.blocked", "ref-1", overrides={"reason": "risk"})
    assert (body["webhook_type"], body["status"], body["reason"]) == ("payment", "blocked", "risk")
    payout = merchant.control.webhook("payout.failed", version="v2")
    assert (payout["webhook_type"], payout["status"]) == ("payout", "failed")
    merchant.deliver()
    assert merchant.bodies == [body, payout]
    for message in merchant.webhooks:
        assert message.headers["x-chapa-signature"] == sign(message.body, V2_SECRET)
