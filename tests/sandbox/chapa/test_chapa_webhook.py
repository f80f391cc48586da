"""Webhooks, callbacks, and how they go wrong."""

import json
from typing import Any

import pytest

from payments.chapa.signature import sign, verify
from sandbox.chapa.control import Control
from sandbox.chapa.in_process import ManualClock
from sandbox.chapa.outbox import Message
from sandbox.chapa.simulator import Simulator
from tests.sandbox.chapa.merchant import LIVE_KEY, SECRET, TEST_KEY, Inbox, Merchant, paid

SUCCESS, FAILED = "charge.success", "charge.failed/cancelled"
CONSTANT = sign(SECRET.encode(), SECRET)


def signed(message: Message, secret: str = SECRET) -> bool:
    headers = {name.lower(): value for name, value in message.headers.items()}
    return verify(message.body, headers, [secret])


def test_a_success_is_told_with_all_its_fields(
    merchant: Merchant, control: Control, simulator: Simulator, inbox: Inbox
) -> None:
    reference = paid(
        merchant, control, first_name="Abebe", phone_number="0911234567", meta={"order": "o-1"}
    )
    assert inbox.webhooks == []
    assert simulator.outbox.deliver_due() == [200]
    assert json.loads(inbox.webhooks[0].body) == {
        "event": SUCCESS,
        "first_name": "Abebe",
        "last_name": None,
        "email": None,
        "mobile": "0911234567",
        "currency": "ETB",
        "amount": "100.00",
        "charge": "3.50",
        "status": "success",
        "mode": "test",
        "reference": reference,
        "created_at": "2026-11-22T09:00:00.000000Z",
        "updated_at": "2026-11-22T09:00:00.000000Z",
        "type": "API",
        "tx_ref": "tx-1",
        "payment_method": "test",
        "customization": {"title": None, "description": None, "logo": None},
        "meta": {"order": "o-1"},
    }


def test_both_signatures_are_sent(
    merchant: Merchant, control: Control, simulator: Simulator, inbox: Inbox
) -> None:
    paid(merchant, control)
    simulator.outbox.deliver_due()
    [message] = inbox.webhooks
    assert message.headers["x-chapa-signature"] == sign(message.body, SECRET)
    assert message.headers["chapa-signature"] == CONSTANT


def test_the_body_is_written_as_php_would_write_it(
    merchant: Merchant, control: Control, simulator: Simulator, inbox: Inbox
) -> None:
    meta = {"url": "http://a/b", "note": "ጫማ"}
    paid(merchant, control, meta=meta)
    control.switch(webhook_body="utf8")
    paid(merchant, control, "tx-2", meta=meta)
    simulator.outbox.deliver_due()
    php, utf8 = inbox.webhooks
    assert rb'"meta":{"url":"http:\/\/a\/b","note":"\u132b\u121b"}' in php.body
    assert '"meta":{"url":"http://a/b","note":"ጫማ"}'.encode() in utf8.body
    assert json.loads(php.body)["meta"] == json.loads(utf8.body)["meta"] == meta
    assert signed(php)
    assert signed(utf8)


@pytest.mark.parametrize(
    ("signing", "genuine", "names"),
    [
        ("constant_only", False, ["chapa-signature"]),
        ("wrong_payload", False, ["chapa-signature", "x-chapa-signature"]),
        ("custom", True, ["chapa-signature"]),
    ],
)
def test_the_signature_headers_can_differ(
    merchant: Merchant,
    control: Control,
    simulator: Simulator,
    inbox: Inbox,
    signing: str,
    genuine: bool,
    names: list[str],
) -> None:
    control.switch(webhook_signature=signing)
    paid(merchant, control)
    simulator.outbox.deliver_due()
    [message] = inbox.webhooks
    assert signed(message) is genuine
    assert [name for name in sorted(message.headers) if "signature" in name] == names


def test_the_api_key_can_be_what_signs(
    merchant: Merchant, control: Control, simulator: Simulator, inbox: Inbox
) -> None:
    control.switch(signing_key="api_key")
    paid(merchant, control)
    simulator.outbox.deliver_due()
    assert signed(inbox.webhooks[0], TEST_KEY)


def test_a_webhook_is_tried_ten_times_ten_minutes_apart(
    merchant: Merchant,
    control: Control,
    simulator: Simulator,
    inbox: Inbox,
    clock: ManualClock,
) -> None:
    inbox.code = 503
    paid(merchant, control)
    for attempt in range(1, 11):
        assert simulator.outbox.deliver_due() == [503]
        assert len(inbox.webhooks) == attempt
        clock.advance(599)
        assert simulator.outbox.deliver_due() == []
        clock.advance(1)
    assert simulator.outbox.deliver_due() == []
    assert simulator.outbox.waiting == []
    assert len({message.body for message in inbox.webhooks}) == 1


@pytest.mark.parametrize(("ack", "attempts"), [("200", 2), ("2xx", 1)])
def test_only_a_200_acknowledges_unless_switched(
    merchant: Merchant,
    control: Control,
    simulator: Simulator,
    inbox: Inbox,
    clock: ManualClock,
    ack: str,
    attempts: int,
) -> None:
    control.switch(webhook_ack=ack)
    inbox.code = 204
    paid(merchant, control)
    simulator.outbox.deliver_due()
    clock.advance(600)
    simulator.outbox.deliver_due()
    assert len(inbox.webhooks) == attempts


def test_an_endpoint_that_cannot_be_reached_is_tried_again(
    merchant: Merchant, control: Control, simulator: Simulator, inbox: Inbox
) -> None:
    inbox.error = ConnectionRefusedError()
    paid(merchant, control)
    assert simulator.outbox.deliver_due() == [None]
    assert control.journal("webhook")[0].error == "ConnectionRefusedError"
    assert len(simulator.outbox.waiting) == 1


@pytest.mark.parametrize("switch", ["failed_event", "cancel_event"])
def test_events_about_failure_can_be_switched_off(
    merchant: Merchant, control: Control, simulator: Simulator, inbox: Inbox, switch: str
) -> None:
    control.switch(**{switch: "none"})
    merchant.initialize("tx-failed")
    control.fail("tx-failed")
    merchant.initialize("tx-cancelled")
    merchant.cancel("tx-cancelled")
    simulator.outbox.deliver_due()
    [told] = inbox.webhooks
    assert told.tx_ref == ("tx-cancelled" if switch == "failed_event" else "tx-failed")
    assert inbox.events == [FAILED]


def test_no_event_is_sent_when_it_is_not_wanted(
    merchant: Merchant, control: Control, simulator: Simulator, inbox: Inbox
) -> None:
    merchant.initialize(callback_url="http://shop.local/callback")
    control.pay("tx-1", webhook=False)
    control.reverse("tx-1", webhook=False)
    assert simulator.outbox.deliver_due() == []


def test_the_callback_is_a_get_with_three_parameters(
    merchant: Merchant, control: Control, simulator: Simulator, inbox: Inbox
) -> None:
    url = "http://shop.local/callback?shop=1"
    reference = paid(merchant, control, callback_url=url)
    simulator.outbox.deliver_due()
    [message] = inbox.callbacks
    assert message.method == "GET"
    assert message.url == f"{url}&trx_ref=tx-1&ref_id={reference}&status=success"
    assert message.body == b""


def test_the_callback_has_other_forms(
    merchant: Merchant, control: Control, simulator: Simulator, inbox: Inbox
) -> None:
    url = "http://shop.local/callback"
    for style in ("json", "tx_ref_name", "none"):
        control.switch(callback=style)
        paid(merchant, control, f"tx-{style}", callback_url=url)
    simulator.outbox.deliver_due()
    as_json, named = inbox.callbacks
    assert (as_json.url, json.loads(as_json.body)["trx_ref"]) == (url, "tx-json")
    assert "?tx_ref=tx-tx_ref_name&" in named.url


def test_a_callback_is_tried_once_and_on_failure_only_if_switched(
    merchant: Merchant,
    control: Control,
    simulator: Simulator,
    inbox: Inbox,
    clock: ManualClock,
) -> None:
    inbox.code = 500
    control.set(webhook_url=None)
    merchant.initialize(callback_url="http://shop.local/callback")
    control.fail("tx-1")
    assert simulator.outbox.deliver_due() == []
    control.switch(callback_on_failure="yes")
    control.fail("tx-1")
    assert simulator.outbox.deliver_due() == [500]
    clock.advance(3600)
    assert simulator.outbox.deliver_due() == []


def test_a_lost_webhook_is_only_in_the_journal(
    merchant: Merchant, control: Control, simulator: Simulator
) -> None:
    control.add_fault("webhook", "lost")
    control.add_fault("callback", "lost")
    paid(merchant, control, callback_url="http://shop.local/callback")
    assert simulator.outbox.deliver_due() == []
    [webhook] = control.journal("webhook")
    [callback] = control.journal("callback")
    assert (webhook.status, webhook.faults) == (None, ["lost"])
    assert (callback.status, callback.faults) == (None, ["lost"])


def test_a_doubled_webhook_comes_n_times(
    merchant: Merchant, control: Control, simulator: Simulator, inbox: Inbox
) -> None:
    control.add_fault("webhook", "doubled", n=3)
    control.add_fault("callback", "doubled")
    paid(merchant, control, callback_url="http://shop.local/callback")
    simulator.outbox.deliver_due()
    assert inbox.events == [SUCCESS] * 3
    assert len({message.body for message in inbox.webhooks}) == 1
    assert len(inbox.callbacks) == 2


def test_a_delayed_webhook_comes_later(
    merchant: Merchant,
    control: Control,
    simulator: Simulator,
    inbox: Inbox,
    clock: ManualClock,
) -> None:
    control.add_fault("webhook", "delayed", seconds=60)
    control.add_fault("callback", "delayed", seconds=61)
    paid(merchant, control, callback_url="http://shop.local/callback")
    clock.advance(59)
    assert simulator.outbox.deliver_due() == []
    clock.advance(1)
    assert simulator.outbox.deliver_due() == [200]
    clock.advance(1)
    simulator.outbox.deliver_due()
    assert [message.call for message in inbox.messages] == ["webhook", "callback"]


@pytest.mark.parametrize("details", [{"n": 2}, {"seconds": 30}])
def test_an_early_webhook_comes_before_verify_knows(
    merchant: Merchant,
    control: Control,
    simulator: Simulator,
    clock: ManualClock,
    details: dict[str, Any],
) -> None:
    control.add_fault("webhook", "early", **details)
    paid(merchant, control)
    assert simulator.outbox.deliver_due() == [200]
    for _ in range(2):
        assert merchant.verify().json()["message"] == "Payment not paid yet"
    clock.advance(30)
    assert merchant.verify().json()["data"]["status"] == "success"


@pytest.mark.parametrize(
    ("kind", "events"),
    [("out_of_order", [SUCCESS, FAILED]), ("failed_first", [FAILED, SUCCESS])],
)
def test_a_failed_event_can_come_on_either_side_of_a_success(
    merchant: Merchant,
    control: Control,
    simulator: Simulator,
    inbox: Inbox,
    kind: Any,
    events: list[str],
) -> None:
    control.add_fault("webhook", kind)
    paid(merchant, control)
    simulator.outbox.deliver_due()
    assert inbox.events == events
    assert all(signed(message) for message in inbox.webhooks)


def test_a_fault_of_success_waits_for_a_success(
    merchant: Merchant, control: Control, simulator: Simulator, inbox: Inbox
) -> None:
    control.add_fault("webhook", "out_of_order")
    merchant.initialize()
    control.fail("tx-1")
    control.pay("tx-1")
    simulator.outbox.deliver_due()
    assert inbox.events == [FAILED, SUCCESS, FAILED]


@pytest.mark.parametrize(
    ("delivery", "count"),
    [("lost", 0), ("doubled", 2), ("failed_first", 2), ("out_of_order", 2), ("early", 1)],
)
def test_a_switch_makes_every_delivery_go_wrong(
    merchant: Merchant,
    control: Control,
    simulator: Simulator,
    inbox: Inbox,
    delivery: str,
    count: int,
) -> None:
    control.switch(webhook_delivery=delivery)
    for tx_ref in ("tx-1", "tx-2"):
        paid(merchant, control, tx_ref)
    simulator.outbox.deliver_due()
    assert len(inbox.webhooks) == 2 * count


@pytest.mark.parametrize(
    "signature", ["random", "constant", "api_key", "uppercase", "other_body", "missing"]
)
def test_a_forged_webhook_is_not_believed_by_the_product(
    merchant: Merchant, control: Control, simulator: Simulator, inbox: Inbox, signature: Any
) -> None:
    control.add_fault("webhook", "forged", signature=signature)
    paid(merchant, control)
    control.webhook(SUCCESS, "tx-1", signature=signature)
    control.webhook(SUCCESS, "tx-1")
    simulator.outbox.deliver_due()
    assert [signed(message) for message in inbox.webhooks] == [False, False, True]


def test_any_event_can_be_sent_with_any_fields(
    merchant: Merchant,
    control: Control,
    simulator: Simulator,
    inbox: Inbox,
    clock: ManualClock,
) -> None:
    merchant.initialize()
    body = control.webhook(SUCCESS, "tx-1", overrides={"amount": "1.00", "extra": [1]}, seconds=5)
    assert (body["status"], body["amount"], body["extra"]) == ("success", "1.00", [1])
    assert simulator.outbox.deliver_due() == []
    clock.advance(5)
    assert simulator.outbox.deliver_due() == [200]
    assert json.loads(inbox.webhooks[0].body) == body
    assert merchant.verify().status_code == 404


def test_a_payout_event_needs_no_payment(
    control: Control, simulator: Simulator, inbox: Inbox
) -> None:
    control.webhook("payout.failed/cancelled", overrides={"reference": "p-7"})
    simulator.outbox.deliver_due()
    body = json.loads(inbox.webhooks[0].body)
    assert (body["type"], body["status"], body["reference"]) == (
        "Payout",
        "failed/cancelled",
        "p-7",
    )
    assert signed(inbox.webhooks[0])


def test_live_events_say_live(
    merchant: Merchant, control: Control, simulator: Simulator, inbox: Inbox
) -> None:
    paid(merchant, control, key=LIVE_KEY)
    simulator.outbox.deliver_due()
    body = json.loads(inbox.webhooks[0].body)
    assert (body["mode"], body["payment_method"]) == ("live", "telebirr")


def test_a_test_can_choose_the_order_of_deliveries(
    merchant: Merchant, control: Control, simulator: Simulator, inbox: Inbox
) -> None:
    paid(merchant, control, "tx-1")
    paid(merchant, control, "tx-2")
    for delivery in reversed(simulator.outbox.waiting):
        simulator.outbox.deliver(delivery)
    assert [message.tx_ref for message in inbox.webhooks] == ["tx-2", "tx-1"]
