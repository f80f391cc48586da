import base64
import json

import pytest

from payments.chapa import signature
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
def test_every_webhook_is_refused_without_a_configured_secret(
    shop: Shop, secret: dict[str, str | None]
) -> None:
    shop.set_secret(**secret)
    shop.configure()
    for guess in ("", WEBHOOK_SECRET, "None"):
        assert shop.webhook(OTHER, sign_with=guess).code == "bad_signature"


@pytest.mark.parametrize(
    "event",
    [
        "payout.success",
        "payout.failed/cancelled",
        "payment.success",
        "",
        "CHARGE.SUCCESS",
        "x" * 99,
    ],
)
def test_event_about_something_else_is_counted_and_ignored(
    shop: Shop, event: str, capsys: pytest.CaptureFixture[str]
) -> None:
    _, tx_ref = shop.begun()
    before = shop.dump()
    response = shop.webhook({"event": event, "tx_ref": tx_ref})
    assert (response.status, response.body) == (200, {"outcome": "ignored"})
    assert shop.dump() == before
    assert '"WebhookIgnored":[1.0]' in capsys.readouterr().out


@pytest.mark.parametrize("tx_ref", ["shop-2-order-17", "", "a" * 20 + "-" + "b" * 24])
def test_unknown_payment_is_ignored(shop: Shop, tx_ref: str) -> None:
    assert shop.notify(tx_ref).body == {"outcome": "ignored"}
    assert shop.asked("verify") == 0


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
    assert shop.story(order_id).order.status == "paid"


def callback(shop: Shop, **query: str) -> tuple[int, dict[str, object]]:
    response = shop.http("webhook", http_event("GET", user=None, query=query))
    return response.status, response.body


@pytest.mark.parametrize("broken", [False, True])
def test_callback_has_the_same_response_for_every_reference(shop: Shop, *, broken: bool) -> None:
    _, tx_ref = shop.begun()
    shop.messages.broken = broken
    for ref in (tx_ref, tx_ref[:-1], "a" * 20 + "-" + "b" * 24, "💥", ""):
        assert callback(shop, trx_ref=ref, status="success") == (202, {"outcome": "noted"})


def test_callback_only_schedules_an_early_check(shop: Shop) -> None:
    order_id, tx_ref = shop.begun()
    shop.control.pay(tx_ref, webhook=False)
    callback(shop, trx_ref=tx_ref, ref_id="AP1", status="failed")
    assert shop.asked("verify") == 0
    shop.clock.advance(3)
    assert shop.work() == 1
    assert shop.story(order_id).order.status == "paid"


def test_many_callbacks_schedule_one_check(shop: Shop) -> None:
    _, tx_ref = shop.begun()
    for _ in range(30):
        callback(shop, trx_ref=tx_ref)
    assert len(shop.messages) == 1
