import base64
import json

import pytest

from payments.chapa import signature
from tests.shop import WEBHOOK_SECRET, Shop, http_event

CONSTANT = signature.sign(WEBHOOK_SECRET.encode(), WEBHOOK_SECRET)


def body_about(tx_ref: str) -> bytes:
    return json.dumps({"event": "charge.success", "tx_ref": tx_ref, "status": "success"}).encode()


def test_the_signature_is_of_the_bytes_that_travelled(shop: Shop) -> None:
    _, tx_ref = shop.begun()
    shop.control.pay(tx_ref, webhook=False)
    body = '{ "event":"charge.success","tx_ref":"%s","first_name":"አበበ","logo":"https:\\/\\/x" }'
    raw = (body % tx_ref).encode()
    headers = {"X-Chapa-Signature": signature.sign(raw, WEBHOOK_SECRET)}
    encoded = http_event(
        "POST", base64.b64encode(raw), user=None, headers=headers, base64_encoded=True
    )
    assert shop.http("webhook", encoded).body == {"outcome": "applied"}


def test_a_payload_signature_counts_under_either_name(shop: Shop) -> None:
    body = body_about("not-ours")
    headers = {"chapa-signature": signature.sign(body, WEBHOOK_SECRET)}
    answer = shop.http("webhook", http_event("POST", body, user=None, headers=headers))
    assert answer.body == {"outcome": "ignored"}


def test_while_a_secret_is_rotated_both_are_accepted(shop: Shop) -> None:
    shop.set_secret(webhook_secret="new", webhook_secret_previous=WEBHOOK_SECRET)
    shop.configure()
    for key in ("new", WEBHOOK_SECRET):
        assert shop.webhook(body_about("not-ours"), sign_with=key).status == 200


@pytest.mark.parametrize("secret", [{"webhook_secret": ""}, {"webhook_secret": None}])
def test_without_a_secret_everything_is_refused(shop: Shop, secret: dict[str, str | None]) -> None:
    shop.set_secret(**secret)
    shop.configure()
    for key in ("", WEBHOOK_SECRET, "None"):
        assert shop.webhook(body_about("x"), sign_with=key).code == "bad_signature"


def test_without_any_configuration_everything_is_refused(shop: Shop) -> None:
    shop.set_secret(api_key="")
    shop.configure()
    assert shop.webhook(body_about("x")).code == "bad_signature"


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
def test_events_about_other_things_are_counted_and_ignored(
    shop: Shop, event: str, capsys: pytest.CaptureFixture[str]
) -> None:
    _, tx_ref = shop.begun()
    before = shop.dump()
    answer = shop.webhook({"event": event, "tx_ref": tx_ref})
    assert (answer.status, answer.body) == (200, {"outcome": "ignored"})
    assert shop.dump() == before
    assert '"WebhookIgnored":[1.0]' in capsys.readouterr().out


@pytest.mark.parametrize("tx_ref", ["shop-2-order-17", "", "a" * 20 + "-" + "b" * 24])
def test_a_payment_that_we_did_not_begin_is_ignored(shop: Shop, tx_ref: str) -> None:
    assert shop.notify(tx_ref).body == {"outcome": "ignored"}
    assert shop.asked("verify") == 0


def test_what_cannot_be_queued_is_sent_again_by_chapa(shop: Shop) -> None:
    _, tx_ref = shop.begun()
    shop.messages.broken = True
    answer = shop.notify(tx_ref)
    assert (answer.status, answer.code) == (503, "not_deferred")


def test_an_order_that_chapa_did_not_hear_about_stays_due_all_the_same(shop: Shop) -> None:
    order_id, tx_ref = shop.begun()
    shop.messages.broken = True
    shop.notify(tx_ref)
    shop.messages.broken = False
    shop.control.pay(tx_ref, webhook=False)
    shop.clock.advance(3)
    shop.sweep()
    assert shop.story(order_id).order.status == "paid"


class TestCallback:
    def nudge(self, shop: Shop, **query: str) -> tuple[int, dict[str, object]]:
        answer = shop.http("webhook", http_event("GET", user=None, query=query))
        return answer.status, answer.body

    def test_it_answers_the_same_whatever_the_reference(self, shop: Shop) -> None:
        _, tx_ref = shop.begun()
        refs = [tx_ref, tx_ref[:-1], "a" * 20 + "-" + "b" * 24, "💥", ""]
        answers = [self.nudge(shop, trx_ref=ref, status="success") for ref in refs]
        assert answers == [(202, {"outcome": "noted"})] * len(refs)

    def test_it_leads_to_a_look_and_to_nothing_else(self, shop: Shop) -> None:
        order_id, tx_ref = shop.begun()
        shop.control.pay(tx_ref, webhook=False)
        self.nudge(shop, trx_ref=tx_ref, ref_id="AP1", status="failed")
        assert shop.asked("verify") == 0
        shop.clock.advance(3)
        assert shop.work() == 1
        assert shop.story(order_id).order.status == "paid"

    def test_a_flood_of_them_costs_one_look(self, shop: Shop) -> None:
        _, tx_ref = shop.begun()
        for _ in range(30):
            self.nudge(shop, trx_ref=tx_ref)
        assert len(shop.messages) == 1

    def test_it_answers_the_same_when_nothing_can_be_stored(self, shop: Shop) -> None:
        _, tx_ref = shop.begun()
        shop.messages.broken = True
        assert self.nudge(shop, trx_ref=tx_ref)[0] == 202
