import base64
import json
from typing import Any

import pytest

from payments.aws.repository import Repository
from payments.chapa import signature
from payments.domain.ids import refund_reference
from payments.domain.states import OrderStatus
from payments.errors import Busy
from payments.usecases.refund import RefundDecision, request, resolve
from tests.forgeries import CONSTANT
from tests.shop import WEBHOOK_SECRET, Shop, http_event

OTHER = json.dumps({"event": "charge.success", "tx_ref": "not-ours", "status": "success"}).encode()
"""A webhook about a payment of another system on the same account."""


def test_signature_covers_the_bytes_as_sent(shop: Shop) -> None:
    _, tx_ref = shop.begun()
    shop.control.pay(tx_ref, webhook=False)
    body = '{ "event":"charge.success","tx_ref":"%s","first_name":"አበበ","logo":"https:\\/\\/x" }'
    raw = (body % tx_ref).encode()
    headers = {"X-Chapa-Signature": signature.sign(raw, WEBHOOK_SECRET)}
    encoded = http_event(
        "POST", base64.b64encode(raw), user=None, headers=headers, base64_encoded=True
    )
    assert shop.http("webhook", encoded).body == {"outcome": "applied"}


def test_signature_of_the_body_is_accepted_in_either_header(shop: Shop) -> None:
    headers = {CONSTANT: signature.sign(OTHER, WEBHOOK_SECRET)}
    response = shop.http("webhook", http_event("POST", OTHER, user=None, headers=headers))
    assert response.body == {"outcome": "ignored"}


def test_new_and_previous_secret_are_both_accepted(shop: Shop) -> None:
    shop.set_secret(webhook_secret="new", webhook_secret_previous=WEBHOOK_SECRET)
    shop.configure()
    for secret in ("new", WEBHOOK_SECRET):
        assert shop.webhook(OTHER, sign_with=secret).status == 200


@pytest.mark.parametrize(
    "secret", [{"webhook_secret": ""}, {"webhook_secret": None}, {"api_key": ""}]
)
def test_webhook_is_answered_503_without_a_configured_secret(
    shop: Shop, secret: dict[str, str | None]
) -> None:
    """A genuine one is sent again, and no guess is accepted."""
    shop.set_secret(**secret)
    shop.configure()
    for guess in ("x", WEBHOOK_SECRET, "None"):
        response = shop.webhook(OTHER, sign_with=guess)
        assert (response.status, response.code) == (503, "unavailable")
        assert response.headers["retry-after"] == "60"


def test_webhook_is_answered_503_while_the_secret_cannot_be_read(shop: Shop) -> None:
    shop.throttle_secret()
    response = shop.webhook(OTHER)
    assert (response.status, response.code) == (503, "unavailable")
    assert int(response.headers["retry-after"]) > 0
    shop.clock.advance(3)
    assert shop.webhook(OTHER).status == 200


def test_post_without_a_signature_is_refused_and_not_counted_as_forged(
    shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    _, tx_ref = shop.begun()
    response = shop.webhook({"trx_ref": tx_ref, "status": "success"}, sign_with="")
    assert (response.status, response.code) == (401, "bad_signature")
    counted = capsys.readouterr().out
    assert '"WebhookUnsigned":[1.0]' in counted
    assert '"BadSignature"' not in counted
    assert shop.webhook(OTHER, sign_with="wrong").code == "bad_signature"
    assert '"BadSignature":[1.0]' in capsys.readouterr().out


@pytest.mark.parametrize(
    "body",
    [
        {"event": "payment.success", "tx_ref": "TX"},
        {"event": "CHARGE.SUCCESS ", "trx_ref": "TX"},
        {"event": "payout.success", "merchant_reference": "TX"},
        {"event": None, "data": {"tx_ref": "TX"}},
        {"event": ["charge.success"], "tx_ref": "another", "data": {"trx_ref": "TX"}},
        {"data": {"merchant_reference": "TX", "status": "success"}},
        {"type": "x" * 200, "tx_ref": "TX"},
    ],
)
def test_signed_body_that_names_our_reference_leads_to_a_check(
    shop: Shop, body: dict[str, Any]
) -> None:
    order_id, tx_ref = shop.begun()
    shop.control.pay(tx_ref, webhook=False)
    raw = json.dumps(body).replace("TX", tx_ref).encode()
    assert shop.webhook(raw).body == {"outcome": "applied"}
    assert shop.aggregate(order_id).order.status is OrderStatus.PAID


V2 = {
    "webhook_type": "payment",
    "mode": "test",
    "currency": "ETB",
    "amount": "90000",
    "chapa_reference": "TESTI89728391f",
    "meta": {"order_id": "x"},
    "created_at": "2026-11-22T09:00:00Z",
    "updated_at": "2026-11-22T09:05:00Z",
}
"""What every webhook of v2 has (docs.chapa.global, webhooks)."""


@pytest.mark.parametrize("event", ["payment.success", "payment.incomplete", "payment.blocked"])
def test_webhook_of_v2_leads_to_a_check(shop: Shop, event: str) -> None:
    order_id, tx_ref = shop.begun()
    shop.control.pay(tx_ref, webhook=False)
    response = shop.webhook(V2 | {"event": event, "merchant_reference": tx_ref})
    assert response.body == {"outcome": "applied"}
    assert shop.aggregate(order_id).order.status is OrderStatus.PAID


@pytest.mark.parametrize("attempt", [1, 2])
def test_webhook_about_a_refund_leads_to_a_check_of_it(shop: Shop, attempt: int) -> None:
    order_id, tx_ref = shop.paid()
    refund = request(shop.backend, tx_ref, None, key="ticket-1", reason="Broken cup")
    if attempt > 1:
        shop.control.add_fault("refund", "status", status=400)
        shop.work()
        resolve(shop.backend, refund.refund_id, RefundDecision.RETRY, by="almaz", reason="again")
    shop.work()
    shop.clock.advance(3)
    event = {"webhook_type": "refund", "event": "payment.fully_refunded"}
    reference = refund_reference(refund.refund_id, attempt)
    response = shop.webhook(V2 | event | {"merchant_reference": reference})
    assert response.body == {"outcome": "deferred"}
    assert shop.aggregate(order_id).refunds[0].check_at == shop.now + 3


@pytest.mark.parametrize(
    "body",
    [
        V2 | {"event": "payment.success", "merchant_reference": "LINK-2026"},
        V2 | {"event": "payout.failed", "merchant_reference": None, "webhook_type": "payout"},
        V2 | {"event": "payment.fully_refunded", "merchant_reference": "b" * 20},
        {"event": "payout.success", "tx_ref": None},
        {"event": "payout.failed/cancelled"},
        {"event": "party.began", "tx_ref": ""},
        {"event": "charge.success", "tx_ref": "shop-2-order-17"},
        {"event": "charge.success", "tx_ref": "a" * 20},
    ],
)
def test_webhook_about_no_payment_of_ours_is_counted_and_ignored(
    shop: Shop, body: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    before = shop.dump()
    response = shop.webhook(body)
    assert (response.status, response.body) == (200, {"outcome": "ignored"})
    assert shop.dump() == before
    assert shop.asked("verify") == 0
    assert '"WebhookIgnored":[1.0]' in capsys.readouterr().out


def test_webhook_that_meets_a_busy_order_is_applied_by_the_worker(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    order_id, tx_ref = shop.begun()
    shop.control.pay(tx_ref, webhook=False)

    def busy(*_: object) -> None:
        raise Busy("Too many at once.", retry_after=1)

    with monkeypatch.context() as patched:
        patched.setattr(Repository, "_transact", busy)
        response = shop.notify(tx_ref)
    assert (response.status, response.body) == (200, {"outcome": "deferred"})
    assert shop.aggregate(order_id).order.status is OrderStatus.PENDING
    shop.clock.advance(3)
    assert shop.work() == 1
    assert shop.aggregate(order_id).order.status is OrderStatus.PAID


def test_webhook_that_cannot_be_deferred_is_answered_503(shop: Shop) -> None:
    order_id, tx_ref = shop.begun()
    shop.messages.broken = True
    response = shop.notify(tx_ref)
    assert (response.status, response.code) == (503, "not_deferred")
    # The order stays due all the same.
    shop.messages.broken = False
    shop.control.pay(tx_ref, webhook=False)
    shop.clock.advance(3)
    shop.sweep()
    assert shop.aggregate(order_id).order.status is OrderStatus.PAID


def callback(shop: Shop, **query: str) -> tuple[int, dict[str, object]]:
    response = shop.http("webhook", http_event("GET", user=None, query=query))
    return response.status, response.body


@pytest.mark.parametrize("broken", [False, True])
def test_callback_has_the_same_response_for_every_reference(shop: Shop, *, broken: bool) -> None:
    _, tx_ref = shop.begun()
    shop.messages.broken = broken
    for ref in (tx_ref, tx_ref[:-1], "a" * 20, "nonsense", "\0💥", "", "x" * 5_000):
        before = shop.dump()
        assert callback(shop, trx_ref=ref, status="success") == (202, {"outcome": "noted"})
        assert ref == tx_ref or shop.dump() == before


@pytest.mark.parametrize("name", ["trx_ref", "tx_ref", "merchant_reference"])
def test_callback_only_schedules_an_early_check(shop: Shop, name: str) -> None:
    order_id, tx_ref = shop.begun()
    shop.control.pay(tx_ref, webhook=False)
    callback(shop, **{name: tx_ref}, ref_id="AP1", status="failed")
    assert shop.asked("verify") == 0
    shop.clock.advance(3)
    assert shop.work() == 1
    assert shop.aggregate(order_id).order.status is OrderStatus.PAID


def test_many_callbacks_schedule_one_check(shop: Shop) -> None:
    _, tx_ref = shop.begun()
    for _ in range(30):
        callback(shop, trx_ref=tx_ref)
    assert len(shop.messages) == 1
