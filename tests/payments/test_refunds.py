import pytest

from payments import refunds
from payments.errors import IdempotencyMismatch, PaymentNotFound, RefundTooLarge
from payments.states import OrderStatus, PaymentStatus, RefundStatus
from payments.story import Refund
from tests import builders
from tests.builders import PRICE, paid
from tests.shop import Shop

HOUR = 3600


def request(
    shop: Shop,
    tx_ref: str,
    amount: int | None = None,
    *,
    key: str = "ticket-1",
    return_stock: bool = False,
) -> Refund:
    return refunds.request(
        shop.backend, tx_ref, amount, key=key, reason="Broken cup", return_stock=return_stock
    )


def unapplied(shop: Shop) -> tuple[str, str]:
    """An expired order whose late payment is owed back: its id and tx_ref."""
    shop.configure(late_success_policy="refund")
    order_id, tx_ref = builders.expired(shop)
    shop.clock.advance(3)
    shop.control.pay(tx_ref, late=True, webhook=False)
    assert shop.notify(tx_ref).body == {"outcome": "applied"}
    return order_id, tx_ref


def possibly_reversed(shop: Shop) -> tuple[str, str]:
    """A paid order whose payment was reversed at Chapa, which has not been asked yet."""
    order_id, tx_ref = paid(shop)
    shop.clock.advance(3)
    shop.control.reverse(tx_ref, webhook=False)
    return order_id, tx_ref


def run(shop: Shop, times: int = 4) -> None:
    """A sweep every ten minutes."""
    for _ in range(times):
        shop.sweep()
        shop.clock.advance(600)


def refunded_by_chapa(shop: Shop, tx_ref: str) -> int:
    """All that Chapa gave back of a payment, in minor units."""
    return sum(
        int(r.amount * 100)
        for r in shop.simulator.refunds.values()
        if r.status == "refunded" and r.payment_reference == shop.payment(tx_ref).reference
    )


class TestUnappliedPayment:
    def test_it_is_refunded_without_an_operator(self, shop: Shop) -> None:
        order_id, tx_ref = unapplied(shop)
        tries: list[int] = []
        shop.before_chapa("refund/", lambda: tries.append(shop.story(order_id).refunds[0].tries))
        shop.sweep()
        assert tries == [1]  # Written before Chapa was asked.
        assert shop.asked("refund") == shop.asked("refund", tx_ref) == 1
        shop.clock.advance(600)
        run(shop, 3)
        story = shop.story(order_id)
        assert story.payments[0].status is PaymentStatus.REFUNDED
        assert story.order.status is OrderStatus.EXPIRED
        assert [r.status for r in story.refunds] == [RefundStatus.REFUNDED]
        assert refunded_by_chapa(shop, tx_ref) == PRICE
        assert shop.ledger(order_id)[-5:] == [
            "payment.surplus",
            "refund.requested",
            "refund.accepted",
            "refund.completed",
            "payment.refunded",
        ]
        assert story.order.due_at is None

    @pytest.mark.parametrize("kind", ["timeout_before", "timeout_after"])
    @pytest.mark.parametrize("reference", ["once", "replay"])
    def test_unanswered_refund_is_sent_again_under_the_same_reference(
        self, shop: Shop, kind: str, reference: str
    ) -> None:
        order_id, tx_ref = unapplied(shop)
        shop.control.switch(refund_reference=reference)
        shop.control.add_fault("refund", kind, seconds=1)  # type: ignore[arg-type]
        run(shop, 3)
        [refund] = shop.story(order_id).refunds
        assert refund.status is not RefundStatus.REQUESTED
        [made] = shop.simulator.refunds.values()
        assert made.merchant_reference == refund.reference
        if not refund.handle:  # Then only verify of the payment says when it is done.
            shop.control.refund_status(refund.reference, "refunded", webhook=False)
        run(shop, 8)
        assert shop.payment(tx_ref).status is PaymentStatus.REFUNDED
        assert refunded_by_chapa(shop, tx_ref) == PRICE

    def test_refund_whose_answer_was_lost_is_looked_up_before_it_is_sent_again(
        self, shop: Shop
    ) -> None:
        order_id, tx_ref = unapplied(shop)
        shop.control.add_fault("refund", "timeout_after", seconds=1)
        shop.sweep()
        [refund] = shop.story(order_id).refunds
        shop.control.refund_status(refund.reference, "refunded", webhook=False)
        run(shop)
        assert shop.payment(tx_ref).status is PaymentStatus.REFUNDED
        assert shop.asked("refund") == 1

    def test_refused_refund_goes_to_review(self, shop: Shop) -> None:
        order_id, tx_ref = unapplied(shop)
        shop.control.add_fault("refund", "status", status=400, times=None)
        run(shop)
        assert shop.story(order_id).refunds[0].status is RefundStatus.REVIEW
        assert shop.payment(tx_ref).status is PaymentStatus.SURPLUS
        assert "refund.review" in shop.ledger(order_id)
        assert shop.asked("refund") == 1

    def test_refused_refund_may_mean_that_the_payment_was_reversed(self, shop: Shop) -> None:
        order_id, tx_ref = possibly_reversed(shop)
        request(shop, tx_ref, 100)
        run(shop)
        assert shop.story(order_id).order.status is OrderStatus.REFUNDED
        assert shop.payment(tx_ref).status is PaymentStatus.REVERSED

    def test_refund_unanswered_for_a_day_goes_to_review(self, shop: Shop) -> None:
        order_id, _ = unapplied(shop)
        shop.with_rules(look_after=(90, 6 * HOUR))
        shop.control.add_fault("refund", "status", status=500, times=None)
        builders.wait(shop, order_id, 40 * HOUR)
        assert shop.story(order_id).refunds[0].status is RefundStatus.REVIEW
        assert shop.asked("refund") < 10

    def test_refund_whose_answer_was_lost_may_take_days(self, shop: Shop) -> None:
        """Chapa answers each check that the money has not gone back yet."""
        order_id, tx_ref = unapplied(shop)
        shop.with_rules(look_after=(90, 6 * HOUR))
        shop.control.add_fault("refund", "timeout_after", seconds=1)
        builders.wait(shop, order_id, 72 * HOUR)
        [refund] = shop.story(order_id).refunds
        assert refund.status is RefundStatus.PENDING
        shop.control.refund_status(refund.reference, "refunded", webhook=False)
        builders.wait(shop, order_id, 12 * HOUR)
        assert shop.payment(tx_ref).status is PaymentStatus.REFUNDED
        assert len(shop.simulator.refunds) == 1

    def test_refund_of_another_payment_is_not_taken_for_ours(self, shop: Shop) -> None:
        """After a lost answer, verify says `refunded`, but with the tx_ref of another payment."""
        order_id, tx_ref = unapplied(shop)
        shop.control.add_fault("refund", "timeout_before", seconds=1)
        shop.sweep()
        shop.simulator.find(tx_ref).status = "refunded"  # type: ignore[union-attr]
        shop.control.add_fault("verify", "wrong_tx_ref", times=1)
        shop.clock.advance(600)
        shop.sweep()
        assert shop.asked("refund") == 1
        assert shop.payment(tx_ref).status is PaymentStatus.SURPLUS
        assert shop.story(order_id).refunds[0].status is RefundStatus.REQUESTED

    @pytest.mark.parametrize("word", ["404", "pending", "failed/cancelled"])
    def test_refund_is_not_sent_again_while_verify_denies_the_payment(
        self, shop: Shop, word: str
    ) -> None:
        unapplied(shop)
        shop.control.add_fault("refund", "timeout_after", seconds=1)
        shop.sweep()
        shop.control.add_fault("verify", "says", word=word)
        shop.clock.advance(600)
        shop.sweep()
        assert shop.asked("verify") >= 2
        assert shop.asked("refund") == 1

    def test_reversed_refund_is_recorded(self, shop: Shop) -> None:
        order_id, tx_ref = unapplied(shop)
        shop.control.switch(refund_ends="reversed")
        run(shop)
        assert shop.story(order_id).refunds[0].status is RefundStatus.REVERSED
        assert shop.payment(tx_ref).status is PaymentStatus.SURPLUS
        assert shop.ledger(order_id)[-1] == "refund.reversed"

    @pytest.mark.parametrize("handle", ["ref", "ref_id"])
    def test_refund_id_of_chapa_is_read_under_either_name(self, shop: Shop, handle: str) -> None:
        _, tx_ref = unapplied(shop)
        shop.control.switch(refund_handle=handle)
        run(shop)
        assert shop.payment(tx_ref).status is PaymentStatus.REFUNDED


class TestByAnOperator:
    @pytest.mark.parametrize(("return_stock", "stock"), [(False, (8, 0, 2)), (True, (10, 0, 0))])
    def test_full_refund_moves_the_order_and_stock_only_if_asked(
        self, shop: Shop, return_stock: bool, stock: tuple[int, int, int]
    ) -> None:
        order_id, tx_ref = paid(shop)
        request(shop, tx_ref, return_stock=return_stock)
        run(shop)
        assert shop.story(order_id).order.status is OrderStatus.REFUNDED
        assert shop.payment(tx_ref).status is PaymentStatus.REFUNDED
        assert shop.stock("COFFEE-250") == stock
        assert shop.ledger(order_id)[-1] == "order.refunded"

    def test_partial_refund_leaves_the_order_paid(self, shop: Shop) -> None:
        order_id, tx_ref = paid(shop)
        request(shop, tx_ref, 40_000)
        run(shop)
        assert shop.story(order_id).order.status is OrderStatus.PAID
        assert refunded_by_chapa(shop, tx_ref) == 40_000
        request(shop, tx_ref, 50_000, key="ticket-2", return_stock=True)
        run(shop)
        assert shop.story(order_id).order.status is OrderStatus.REFUNDED
        assert shop.stock("COFFEE-250") == (10, 0, 0)
        assert refunded_by_chapa(shop, tx_ref) == PRICE

    def test_same_key_twice_is_one_refund(self, shop: Shop) -> None:
        _, tx_ref = paid(shop)
        first = request(shop, tx_ref, 40_000)
        assert request(shop, tx_ref, 40_000) == first
        run(shop)
        assert request(shop, tx_ref, 40_000).status is RefundStatus.REFUNDED
        assert refunded_by_chapa(shop, tx_ref) == 40_000
        with pytest.raises(IdempotencyMismatch):
            request(shop, tx_ref, 50_000)

    def test_concurrent_refunds_never_exceed_what_was_paid(self, shop: Shop) -> None:
        order_id, tx_ref = paid(shop)
        shop.before_aws("TransactWriteItems", lambda: request(shop, tx_ref, 60_000, key="other"))
        with pytest.raises(RefundTooLarge):
            request(shop, tx_ref, 60_000)
        assert [r.amount for r in shop.story(order_id).refunds] == [60_000]

    def test_impossible_amounts_and_payments_are_refused(self, shop: Shop) -> None:
        _, tx_ref = paid(shop)
        for amount in (0, -1, PRICE + 1):
            with pytest.raises(RefundTooLarge):
                request(shop, tx_ref, amount)
        _, unpaid = shop.begun()
        with pytest.raises(RefundTooLarge):
            request(shop, unpaid)
        with pytest.raises(PaymentNotFound):
            request(shop, "a" * 20 + "-" + "b" * 24)

    def test_reversed_refund_can_be_requested_again(self, shop: Shop) -> None:
        order_id, tx_ref = paid(shop)
        shop.control.switch(refund_ends="reversed")
        request(shop, tx_ref)
        run(shop)
        shop.control.switch(refund_ends="refunded")
        request(shop, tx_ref, key="ticket-2")
        run(shop)
        assert shop.story(order_id).order.status is OrderStatus.REFUNDED

    def test_answer_about_another_refund_changes_nothing(self, shop: Shop) -> None:
        order_id, tx_ref = paid(shop)
        request(shop, tx_ref, 40_000)
        shop.sweep()
        [made] = shop.simulator.refunds.values()
        made.merchant_reference = "another"
        run(shop, 3)
        assert shop.story(order_id).refunds[0].status is RefundStatus.PENDING
        assert shop.story(order_id).order.status is OrderStatus.PAID


class TestProviderEvents:
    def test_refund_made_at_chapa_is_recorded(self, shop: Shop) -> None:
        order_id, tx_ref = paid(shop)
        shop.simulator.find(tx_ref).status = "refunded"  # type: ignore[union-attr]
        shop.clock.advance(3)
        assert shop.notify(tx_ref, "charge.refunded").body == {"outcome": "applied"}
        assert shop.story(order_id).order.status is OrderStatus.REFUNDED
        assert shop.stock("COFFEE-250") == (8, 0, 2)

    @pytest.mark.parametrize("event", ["charge.refunded", "charge.reversed", "refund.success"])
    def test_untrue_event_changes_nothing(self, shop: Shop, event: str) -> None:
        order_id, tx_ref = paid(shop)
        shop.clock.advance(3)
        before = shop.story(order_id)
        assert shop.notify(tx_ref, event).body == {"outcome": "duplicate"}
        assert shop.story(order_id) == before

    def test_event_of_our_own_refund_is_recorded_once(self, shop: Shop) -> None:
        order_id, tx_ref = paid(shop)
        request(shop, tx_ref)
        shop.sweep()
        shop.control.refund_status(shop.story(order_id).refunds[0].reference, "refunded")
        shop.clock.advance(3)
        assert shop.deliver()[-1] == 200
        shop.clock.advance(3)
        shop.work()
        assert shop.story(order_id).refunds[0].status is RefundStatus.REFUNDED
        assert shop.ledger(order_id).count("payment.refunded") == 1

    @pytest.mark.parametrize("event", ["charge.reversed", "refund.reversed"])
    def test_reversal_moves_payment_and_order(self, shop: Shop, event: str) -> None:
        order_id, tx_ref = possibly_reversed(shop)
        assert shop.notify(tx_ref, event).body == {"outcome": "applied"}
        assert shop.payment(tx_ref).status is PaymentStatus.REVERSED
        assert shop.story(order_id).order.status is OrderStatus.REFUNDED
        assert "payment.reversed" in shop.ledger(order_id)

    @pytest.mark.parametrize("trouble", ["verified a moment ago", "verify unanswered"])
    def test_reversal_that_cannot_be_verified_now_is_checked_later(
        self, shop: Shop, trouble: str
    ) -> None:
        order_id, tx_ref = paid(shop)
        shop.control.reverse(tx_ref, webhook=False)
        if trouble == "verify unanswered":
            shop.clock.advance(3)
            shop.control.add_fault("verify", "status", status=500, times=None)
        assert shop.notify(tx_ref, "charge.reversed").body == {"outcome": "deferred"}
        assert shop.story(order_id).order.due_at == shop.now + 3
        shop.clock.advance(3)
        shop.work()
        shop.control.clear_faults()
        run(shop)
        assert shop.story(order_id).order.status is OrderStatus.REFUNDED
        assert shop.story(order_id).order.due_at is None

    @pytest.mark.parametrize(
        ("kind", "details"),
        [
            ("wrong_tx_ref", {}),
            ("says", {"word": "404"}),
            ("says", {"word": "failed/cancelled"}),
        ],
    )
    def test_possible_reversal_stays_until_verify_says_where_the_money_is(
        self, shop: Shop, kind: str, details: dict[str, object]
    ) -> None:
        order_id, tx_ref = possibly_reversed(shop)
        shop.control.add_fault("verify", kind, times=2, **details)  # type: ignore[arg-type]
        assert shop.notify(tx_ref, "charge.reversed").body == {"outcome": "deferred"}
        shop.clock.advance(3)
        shop.work()
        assert shop.story(order_id).order.status is OrderStatus.PAID
        assert shop.payment(tx_ref).in_doubt
        run(shop)
        assert shop.payment(tx_ref).status is PaymentStatus.REVERSED
        assert shop.story(order_id).order.status is OrderStatus.REFUNDED

    def test_unanswered_possible_reversal_is_reported_daily(self, shop: Shop) -> None:
        order_id, tx_ref = possibly_reversed(shop)
        shop.with_rules(look_after=(90, 6 * HOUR))
        shop.control.add_fault("verify", "status", times=None, status=503)
        assert shop.notify(tx_ref, "charge.reversed").body == {"outcome": "deferred"}
        builders.wait(shop, order_id, 60 * HOUR)
        assert shop.ledger(order_id).count("order.unanswered") == 2
        shop.control.clear_faults()
        builders.wait(shop, order_id, 12 * HOUR)
        assert shop.ledger(order_id)[-2:] == ["payment.reversed", "order.refunded"]

    def test_possible_reversal_without_a_reason_ends_with_its_check(self, shop: Shop) -> None:
        order_id, tx_ref = paid(shop)
        assert shop.notify(tx_ref, "charge.reversed").body == {"outcome": "deferred"}
        before = shop.ledger(order_id)
        shop.clock.advance(3)
        shop.work()
        story = shop.story(order_id)
        assert not story.payments[0].in_doubt
        assert story.order.due_at is None
        assert shop.ledger(order_id) == before

    def test_reversed_payment_is_not_refunded_as_well(self, shop: Shop) -> None:
        order_id, tx_ref = unapplied(shop)
        shop.clock.advance(3)
        shop.control.reverse(tx_ref, webhook=False)
        shop.notify(tx_ref, "charge.reversed")
        run(shop)
        assert shop.asked("refund") == 0
        assert shop.story(order_id).refunds[0].status is RefundStatus.REVIEW

    def test_refund_event_without_our_reference_is_ignored(self, shop: Shop) -> None:
        assert shop.webhook({"event": "refund.success"}).body == {"outcome": "ignored"}
