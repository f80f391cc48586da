"""Money that goes back: by itself when it came too late or twice, and because an operator says so.

What Chapa holds in the end is what counts; the worker's looks are brought forward in the table.
"""

from typing import Any
from urllib.parse import parse_qs

import pytest

from sandbox.client import Stock, until
from tests.journeys.shop import Shop, at_once, body_about, order_of

PAID_BACK = [("901.00", "refunded")]


def surplus(shop: Shop) -> tuple[str, str]:
    """A late payment of goods that others took meanwhile, owed back, Chapa not yet told."""
    sku = shop.product(2)
    order_id, tx_ref = shop.expired(sku)
    shop.ordered(sku, 1, user="sara")
    shop.chapa.pay(tx_ref, late=True, webhook=False)
    until(
        lambda: shop.notify(body_about(tx_ref))["outcome"],
        lambda outcome: outcome in {"applied", "duplicate"},
        "the late payment is settled",
    )
    return order_id, tx_ref


def refund_of(shop: Shop, tx_ref: str) -> dict[str, Any]:
    """As it is stored."""
    [refund] = [
        item
        for item in shop.dump()
        if item["sk"].startswith("REFUND#") and item["tx_ref"] == tx_ref
    ]
    return refund


class TestOwedBack:
    def test_a_late_payment_whose_goods_are_gone_is_paid_back(self, shop: Shop) -> None:
        order_id, tx_ref = surplus(shop)
        assert "order.paid" not in shop.ledger(order_id)
        shop.await_payment(tx_ref, "refunded")
        assert shop.refunds(tx_ref) == PAID_BACK
        assert shop.chapa.payment(tx_ref)["status"] == "refunded"
        assert shop.order(order_id)["status"] == "expired"
        assert shop.ledger(order_id)[-5:] == [
            "payment.surplus",
            "refund.requested",
            "refund.accepted",
            "refund.completed",
            "payment.refunded",
        ]
        assert len(shop.calls("refund", tx_ref)) == 1
        told = [event["name"] for event in shop.payment(tx_ref)["events"]]
        assert told == shop.ledger(order_id)

    @pytest.mark.parametrize("again", ["once", "replay"])
    def test_a_refund_whose_answer_was_lost_is_sent_again_under_the_same_reference(
        self, shop: Shop, again: str
    ) -> None:
        _, tx_ref = surplus(shop)
        shop.chapa.switch(refund_reference=again)
        shop.chapa.add_fault("refund", "reset_after", tx_ref=tx_ref)
        shop.look_until(
            order_of(tx_ref),
            lambda: len(shop.calls("refund", tx_ref)),
            lambda times: times == 2,
            "the refund is sent again",
        )
        sent = [parse_qs(e.body)["reference"][0] for e in shop.calls("refund", tx_ref)]
        assert sent == [refund_of(shop, tx_ref)["reference"]] * 2
        [made] = shop.chapa.payment(tx_ref)["refunds"]
        assert made["merchant_reference"] == sent[0]
        # Chapa takes its days; who never learned its handle cannot look that often.
        shop.chapa.refund_status(sent[0], "refunded", webhook=False)
        shop.await_payment(tx_ref, "refunded")
        assert shop.refunds(tx_ref) == PAID_BACK

    def test_a_chapa_that_cannot_be_reached_is_asked_later_and_further_apart(
        self, shop: Shop
    ) -> None:
        _, tx_ref = surplus(shop)
        shop.chapa.add_fault("refund", "status", tx_ref=tx_ref, times=None, status=503)
        shop.look(order_of(tx_ref))
        assert refund_of(shop, tx_ref)["status"] == "requested"
        [order] = [i for i in shop.dump() if i["sk"] == "ORDER" and order_of(tx_ref) in i["pk"]]
        assert order["due_at"] - order["unknown_since"] >= 600
        assert shop.refunds(tx_ref) == []
        shop.chapa.clear_faults()
        shop.await_payment(tx_ref, "refunded")
        assert shop.refunds(tx_ref) == PAID_BACK

    def test_a_refund_that_chapa_refuses_waits_for_a_person_with_an_alarm(self, shop: Shop) -> None:
        order_id, tx_ref = surplus(shop)
        before = shop.counted("RefundReview")
        shop.chapa.add_fault("refund", "status", tx_ref=tx_ref, times=None, status=400)
        shop.look(order_id)
        assert refund_of(shop, tx_ref)["status"] == "review"
        assert shop.payment(tx_ref)["status"] == "surplus"
        assert shop.ledger(order_id)[-1] == "refund.review"
        shop.look(order_id)
        assert len(shop.calls("refund", tx_ref)) == 1
        until(lambda: shop.counted("RefundReview"), lambda n: n == before + 1, "it is counted")

    def test_a_refund_that_chapa_takes_back_is_told(self, shop: Shop) -> None:
        order_id, tx_ref = surplus(shop)
        shop.chapa.switch(refund_ends="reversed")
        shop.look_until(
            order_id,
            lambda: shop.ledger(order_id)[-1],
            lambda last: last == "refund.reversed",
            "the refund has ended",
        )
        assert refund_of(shop, tx_ref)["status"] == "reversed"
        assert shop.payment(tx_ref)["status"] == "surplus"


class TestByAnOperator:
    def test_two_parts_at_once_never_exceed_what_was_paid(self, shop: Shop) -> None:
        sku = shop.product()
        order_id, tx_ref = shop.paid(sku)
        done = at_once(
            2,
            lambda n: shop.operate("refund", tx_ref, "--key", f"ticket-{n}", "--amount", "600.00"),
        )
        assert sorted(code for code, _, _ in done) == [0, 1]
        [refused] = [complaint for code, _, complaint in done if code]
        assert refused.startswith("301.00 ETB of this payment can be refunded.")
        shop.look_until(
            order_id,
            lambda: shop.refunds(tx_ref),
            lambda made: made == [("600.00", "refunded")],
            "the part is paid out",
        )
        assert shop.state(order_id) == ("paid", ["succeeded"])
        assert shop.stock(sku) == Stock(8, 0, 2)

        code, rest, _ = shop.operate("refund", tx_ref, "--key", "the rest", "--return-stock")
        assert (code, rest["amount"]) == (0, "301.00")
        shop.await_payment(tx_ref, "refunded")
        assert shop.refunds(tx_ref) == [("600.00", "refunded"), ("301.00", "refunded")]
        assert shop.order(order_id)["status"] == "refunded"
        assert shop.stock(sku) == Stock(10, 0, 0)

    def test_a_full_refund_moves_the_order_and_leaves_the_stock(self, shop: Shop) -> None:
        sku = shop.product()
        order_id, tx_ref = shop.paid(sku)
        code, requested, _ = shop.operate("refund", tx_ref, "--key", "ticket")
        assert (code, requested["status"], requested["amount"]) == (0, "requested", "901.00")
        shop.await_payment(tx_ref, "refunded")
        assert shop.refunds(tx_ref) == PAID_BACK
        assert shop.order(order_id)["status"] == "refunded"
        assert shop.stock(sku) == Stock(8, 0, 2)
        code, again, _ = shop.operate("refund", tx_ref, "--key", "ticket")
        assert (code, again) == (0, requested | {"status": "refunded"})
        shop.await_worker()
        assert shop.refunds(tx_ref) == PAID_BACK

        code, shown, _ = shop.operate("show", order_id)
        assert (code, shown["status"], shown["stock"]) == (0, "refunded", "committed")
        assert shown["refunds"] == [again]
        assert [event["name"] for event in shown["ledger"]] == shop.ledger(order_id)
        assert shown["ledger"][-1]["name"] == "order.refunded"
        assert shown["next_look"] is None

    def test_what_is_not_paid_is_not_refunded(self, shop: Shop) -> None:
        _, tx_ref = shop.begun(shop.product())
        code, _, complaint = shop.operate("refund", tx_ref, "--key", "ticket")
        assert code == 1
        assert complaint.startswith("0.00 ETB of this payment can be refunded.")


class TestTakenBackByChapa:
    @pytest.mark.parametrize("event", ["charge.reversed", "refund.reversed"])
    def test_a_reversal_marks_payment_and_order_and_raises_the_alarm(
        self, shop: Shop, event: str
    ) -> None:
        sku = shop.product()
        order_id, tx_ref = shop.paid(sku)
        before = shop.counted("PaymentReversed")
        shop.chapa.reverse(tx_ref, webhook=False)
        until(
            lambda: shop.notify(body_about(tx_ref, event)).body,
            lambda body: body == {"outcome": "applied"},
            "it is asked about again",
        )
        assert shop.state(order_id) == ("refunded", ["reversed"])
        assert shop.stock(sku) == Stock(8, 0, 2)
        assert shop.ledger(order_id)[-2:] == ["payment.reversed", "order.refunded"]
        assert shop.notify(body_about(tx_ref, event)).body == {"outcome": "duplicate"}
        until(lambda: shop.counted("PaymentReversed"), lambda n: n == before + 1, "it is counted")

    def test_a_reversal_of_which_nobody_told_is_found_when_an_operator_asks(
        self, shop: Shop
    ) -> None:
        order_id, tx_ref = shop.paid(shop.product())
        shop.chapa.reverse(tx_ref, webhook=False)
        code, asked, complaint = shop.operate("ask", tx_ref)
        assert (code, asked["status"], complaint) == (0, "succeeded", "")
        shop.await_payment(tx_ref, "reversed")
        assert shop.order(order_id)["status"] == "refunded"

    @pytest.mark.parametrize("event", ["charge.reversed", "refund.success"])
    def test_none_of_it_is_believed(self, shop: Shop, event: str) -> None:
        order_id, tx_ref = shop.paid(shop.product())
        until(
            lambda: shop.notify(body_about(tx_ref, event)).body,
            lambda body: body == {"outcome": "duplicate"},
            "it is asked about again",
        )
        assert shop.state(order_id) == ("paid", ["succeeded"])

    @pytest.mark.parametrize("trouble", ["asked a moment ago", "Chapa does not answer"])
    def test_a_reversal_that_cannot_be_verified_now_is_looked_into_later(
        self, shop: Shop, trouble: str
    ) -> None:
        order_id, tx_ref = shop.begun(shop.product())
        shop.chapa.pay(tx_ref)
        shop.await_order(order_id, "paid")
        if trouble == "Chapa does not answer":
            shop.chapa.add_fault("verify", "status", tx_ref=tx_ref, times=3, status=500)
        shop.chapa.reverse(tx_ref)
        shop.look_until(
            order_id,
            lambda: shop.state(order_id),
            lambda state: state == ("refunded", ["reversed"]),
            "the reversal is known",
        )

    @pytest.mark.parametrize("event", ["payout.success", "payout.failed/cancelled", "party.began"])
    def test_what_is_not_about_a_payment_is_counted_and_ignored(
        self, shop: Shop, event: str
    ) -> None:
        before = shop.counted("WebhookIgnored")
        with shop.nothing_written():
            answer = shop.notify(body_about(None, event))
            assert (answer.status, answer.body) == (200, {"outcome": "ignored"})
        until(lambda: shop.counted("WebhookIgnored"), lambda n: n > before, "it is counted")
