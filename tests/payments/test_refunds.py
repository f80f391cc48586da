from dataclasses import replace

import pytest

from payments import refunds
from payments.errors import IdempotencyMismatch, PaymentNotFound, RefundTooLarge
from payments.states import OrderStatus, PaymentStatus, RefundStatus
from payments.story import Refund
from tests.shop import Died, Shop, die

PRICE = 90_000


def paid(shop: Shop) -> tuple[str, str]:
    order_id, tx_ref = shop.begun()
    shop.control.pay(tx_ref, webhook=False)
    shop.notify(tx_ref)
    return order_id, tx_ref


def ask(
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


def surplus(shop: Shop) -> tuple[str, str]:
    """A late payment of goods that were sold to others meanwhile, with its refund intent."""
    shop.configure(late_success_policy="refund")
    order_id, tx_ref = shop.begun()
    shop.clock.advance(1800)
    shop.sweep()
    shop.clock.advance(3)
    shop.control.pay(tx_ref, late=True, webhook=False)
    assert shop.notify(tx_ref).body == {"outcome": "applied"}
    return order_id, tx_ref


def run(shop: Shop, times: int = 4) -> None:
    """What the schedule does in the next while."""
    for _ in range(times):
        shop.sweep()
        shop.clock.advance(600)


def paid_back(shop: Shop, tx_ref: str) -> int:
    """What Chapa gave back, in minor units, over all of its refunds."""
    return sum(
        int(r.amount * 100)
        for r in shop.simulator.refunds.values()
        if r.status == "refunded" and r.payment_reference == shop.payment(tx_ref).reference
    )


class TestOwedBack:
    def test_a_payment_that_came_too_late_goes_back_by_itself(self, shop: Shop) -> None:
        order_id, tx_ref = surplus(shop)
        run(shop)
        story = shop.story(order_id)
        assert story.payments[0].status is PaymentStatus.REFUNDED
        assert story.order.status is OrderStatus.EXPIRED
        assert [r.status for r in story.refunds] == [RefundStatus.REFUNDED]
        assert paid_back(shop, tx_ref) == PRICE
        assert shop.ledger(order_id)[-5:] == [
            "payment.surplus",
            "refund.requested",
            "refund.accepted",
            "refund.completed",
            "payment.refunded",
        ]
        assert story.order.due_at is None

    def test_the_money_is_asked_for_at_the_next_sweep(self, shop: Shop) -> None:
        _, tx_ref = surplus(shop)
        shop.sweep()
        assert shop.asked("refund") == 1
        assert shop.asked("refund", tx_ref) == 1

    def test_the_intent_is_written_before_chapa_hears_of_it(self, shop: Shop) -> None:
        order_id, _ = surplus(shop)
        tries: list[int] = []
        shop.before_chapa("refund/", lambda: tries.append(shop.story(order_id).refunds[0].tries))
        shop.sweep()
        assert tries == [1]

    @pytest.mark.parametrize(
        ("kind", "details"),
        [
            ("timeout_before", {"seconds": 1}),
            ("timeout_after", {"seconds": 1}),
            ("reset", {}),
            ("reset_after", {}),
            ("status", {"status": 500}),
            ("status", {"status": 429}),
            ("status", {"status": 401}),
            ("malformed", {}),
            ("html", {"status": 200, "acts": True}),
        ],
    )
    @pytest.mark.parametrize("reference", ["once", "replay"])
    def test_an_unknown_outcome_is_tried_again_under_the_same_reference(
        self, shop: Shop, kind: str, details: dict[str, object], reference: str
    ) -> None:
        order_id, tx_ref = surplus(shop)
        shop.control.switch(refund_reference=reference)
        shop.control.add_fault("refund", kind, **details)  # type: ignore[arg-type]
        run(shop, 3)
        [refund] = shop.story(order_id).refunds
        assert refund.status is not RefundStatus.REQUESTED
        assert len(shop.simulator.refunds) == 1
        [made] = shop.simulator.refunds.values()
        assert made.merchant_reference == refund.reference
        if not refund.handle:  # Chapa has it, and takes its time; we only know that much.
            shop.control.refund_status(refund.reference, "refunded", webhook=False)
        run(shop, 8)
        assert shop.payment(tx_ref).status is PaymentStatus.REFUNDED
        assert paid_back(shop, tx_ref) == PRICE

    def test_a_refund_whose_answer_was_lost_is_looked_for_before_it_is_sent_again(
        self, shop: Shop
    ) -> None:
        order_id, tx_ref = surplus(shop)
        shop.control.add_fault("refund", "timeout_after", seconds=1)
        shop.sweep()
        [refund] = shop.story(order_id).refunds
        shop.control.refund_status(refund.reference, "refunded", webhook=False)
        run(shop)
        assert shop.payment(tx_ref).status is PaymentStatus.REFUNDED
        assert shop.asked("refund") == 1

    def test_a_refusal_waits_for_a_person(self, shop: Shop) -> None:
        order_id, tx_ref = surplus(shop)
        shop.control.add_fault("refund", "status", status=400, times=None)
        run(shop)
        story = shop.story(order_id)
        assert story.refunds[0].status is RefundStatus.REVIEW
        assert shop.payment(tx_ref).status is PaymentStatus.SURPLUS
        assert "refund.review" in shop.ledger(order_id)
        assert shop.asked("refund") == 1

    def test_a_refusal_may_tell_that_the_payment_was_reversed(self, shop: Shop) -> None:
        order_id, tx_ref = paid(shop)
        shop.control.reverse(tx_ref, webhook=False)
        refunds.request(shop.backend, tx_ref, 100, key="1", reason="Broken")
        run(shop)
        assert shop.story(order_id).order.status is OrderStatus.REFUNDED
        assert shop.payment(tx_ref).status is PaymentStatus.REVERSED

    def test_a_provider_silent_for_a_day_leaves_it_to_a_person(self, shop: Shop) -> None:
        order_id, _ = surplus(shop)
        shop.control.add_fault("refund", "status", status=500, times=None)
        for _ in range(40):
            shop.sweep()
            shop.clock.advance(3600)
        assert shop.story(order_id).refunds[0].status is RefundStatus.REVIEW
        assert shop.asked("refund") < 40

    def test_a_refund_whose_answer_was_lost_may_take_chapa_its_days(self, shop: Shop) -> None:
        """Chapa answers every time that it has not gone back yet: that is no silence."""
        order_id, tx_ref = surplus(shop)
        shop.control.add_fault("refund", "timeout_after", seconds=1)
        for _ in range(72):
            shop.sweep()
            shop.clock.advance(3600)
        [refund] = shop.story(order_id).refunds
        assert refund.status is RefundStatus.PENDING
        shop.control.refund_status(refund.reference, "refunded", webhook=False)
        run(shop, 8)
        assert shop.payment(tx_ref).status is PaymentStatus.REFUNDED
        assert len(shop.simulator.refunds) == 1

    def test_another_payment_that_was_refunded_is_not_ours(self, shop: Shop) -> None:
        """Asked about the payment after an answer was lost, Chapa tells of somebody else's."""
        order_id, tx_ref = surplus(shop)
        shop.control.add_fault("refund", "timeout_before", seconds=1)
        shop.sweep()
        payment = shop.simulator.find(tx_ref)
        assert payment is not None
        payment.status = "refunded"
        shop.control.add_fault("verify", "wrong_tx_ref", times=1)
        shop.clock.advance(600)
        shop.sweep()
        assert shop.asked("refund") == 1
        assert shop.payment(tx_ref).status is PaymentStatus.SURPLUS
        assert shop.story(order_id).refunds[0].status is RefundStatus.REQUESTED

    @pytest.mark.parametrize("word", ["404", "pending", "failed/cancelled"])
    def test_who_denies_the_payment_is_not_asked_to_pay_it_back_again(
        self, shop: Shop, word: str
    ) -> None:
        surplus(shop)
        shop.control.add_fault("refund", "timeout_after", seconds=1)
        shop.sweep()
        shop.control.add_fault("verify", "says", word=word)
        shop.clock.advance(600)
        shop.sweep()
        assert shop.asked("verify") >= 2
        assert shop.asked("refund") == 1

    def test_a_refund_that_chapa_takes_back_is_told(self, shop: Shop) -> None:
        order_id, tx_ref = surplus(shop)
        shop.control.switch(refund_ends="reversed")
        run(shop)
        assert shop.story(order_id).refunds[0].status is RefundStatus.REVERSED
        assert shop.payment(tx_ref).status is PaymentStatus.SURPLUS
        assert shop.ledger(order_id)[-1] == "refund.reversed"

    @pytest.mark.parametrize("handle", ["ref", "ref_id"])
    def test_chapa_s_handle_is_known_by_either_name(self, shop: Shop, handle: str) -> None:
        _, tx_ref = surplus(shop)
        shop.control.switch(refund_handle=handle)
        run(shop)
        assert shop.payment(tx_ref).status is PaymentStatus.REFUNDED

    @pytest.mark.parametrize("word", ["once", "replay"])
    @pytest.mark.parametrize("skip", [0, 1])
    @pytest.mark.parametrize("when", ["before", "after"])
    def test_a_worker_that_died_is_followed_by_another(
        self, shop: Shop, when: str, skip: int, word: str
    ) -> None:
        order_id, tx_ref = surplus(shop)
        shop.control.switch(refund_reference=word)
        shop.before_aws("TransactWriteItems", die, skip=skip, when=when)
        with pytest.raises(Died):
            shop.sweep()
        run(shop, 4)
        [refund] = shop.story(order_id).refunds
        if not refund.handle:
            shop.control.refund_status(refund.reference, "refunded", webhook=False)
        run(shop, 6)
        assert shop.payment(tx_ref).status is PaymentStatus.REFUNDED
        assert paid_back(shop, tx_ref) == PRICE


class TestByAnOperator:
    def test_a_full_refund_moves_the_order(self, shop: Shop) -> None:
        order_id, tx_ref = paid(shop)
        ask(shop, tx_ref)
        run(shop)
        story = shop.story(order_id)
        assert story.order.status is OrderStatus.REFUNDED
        assert shop.payment(tx_ref).status is PaymentStatus.REFUNDED
        assert shop.stock("COFFEE-250") == (8, 0, 2)
        assert shop.ledger(order_id)[-1] == "order.refunded"

    def test_the_stock_comes_back_when_the_operator_says_so(self, shop: Shop) -> None:
        order_id, tx_ref = paid(shop)
        ask(shop, tx_ref, return_stock=True)
        run(shop)
        assert shop.story(order_id).order.status is OrderStatus.REFUNDED
        assert shop.stock("COFFEE-250") == (10, 0, 0)

    def test_a_part_leaves_the_order_paid(self, shop: Shop) -> None:
        order_id, tx_ref = paid(shop)
        ask(shop, tx_ref, 40_000)
        run(shop)
        assert shop.story(order_id).order.status is OrderStatus.PAID
        assert paid_back(shop, tx_ref) == 40_000
        ask(shop, tx_ref, 50_000, key="ticket-2", return_stock=True)
        run(shop)
        assert shop.story(order_id).order.status is OrderStatus.REFUNDED
        assert shop.stock("COFFEE-250") == (10, 0, 0)
        assert paid_back(shop, tx_ref) == PRICE

    def test_the_same_decision_twice_is_one_refund(self, shop: Shop) -> None:
        _, tx_ref = paid(shop)
        first = ask(shop, tx_ref, 40_000)
        assert ask(shop, tx_ref, 40_000) == first
        run(shop)
        assert ask(shop, tx_ref, 40_000).status is RefundStatus.REFUNDED
        assert paid_back(shop, tx_ref) == 40_000
        with pytest.raises(IdempotencyMismatch):
            ask(shop, tx_ref, 50_000)

    def test_two_at_once_never_exceed_what_was_paid(self, shop: Shop) -> None:
        order_id, tx_ref = paid(shop)
        shop.before_aws("TransactWriteItems", lambda: ask(shop, tx_ref, 60_000, key="other"))
        with pytest.raises(RefundTooLarge):
            ask(shop, tx_ref, 60_000)
        assert [r.amount for r in shop.story(order_id).refunds] == [60_000]

    @pytest.mark.parametrize("amount", [0, -1, PRICE + 1])
    def test_an_amount_that_cannot_be_is_refused(self, shop: Shop, amount: int) -> None:
        _, tx_ref = paid(shop)
        with pytest.raises(RefundTooLarge):
            ask(shop, tx_ref, amount)

    def test_what_is_not_paid_cannot_be_refunded(self, shop: Shop) -> None:
        _, tx_ref = shop.begun()
        with pytest.raises(RefundTooLarge):
            ask(shop, tx_ref)
        with pytest.raises(PaymentNotFound):
            ask(shop, "a" * 20 + "-" + "b" * 24)

    def test_what_chapa_took_back_can_be_refunded_again(self, shop: Shop) -> None:
        order_id, tx_ref = paid(shop)
        shop.control.switch(refund_ends="reversed")
        ask(shop, tx_ref)
        run(shop)
        shop.control.switch(refund_ends="refunded")
        ask(shop, tx_ref, key="ticket-2")
        run(shop)
        assert shop.story(order_id).order.status is OrderStatus.REFUNDED


class TestProviderEvents:
    def test_a_refund_that_we_did_not_ask_for_is_recorded(self, shop: Shop) -> None:
        order_id, tx_ref = paid(shop)
        shop.simulator.find(tx_ref).status = "refunded"  # type: ignore[union-attr]
        shop.clock.advance(3)
        assert shop.notify(tx_ref, "charge.refunded").body == {"outcome": "applied"}
        assert shop.story(order_id).order.status is OrderStatus.REFUNDED
        assert shop.stock("COFFEE-250") == (8, 0, 2)

    @pytest.mark.parametrize("event", ["charge.refunded", "charge.reversed", "refund.success"])
    def test_none_of_them_is_believed(self, shop: Shop, event: str) -> None:
        order_id, tx_ref = paid(shop)
        shop.clock.advance(3)
        before = shop.story(order_id)
        assert shop.notify(tx_ref, event).body == {"outcome": "duplicate"}
        assert shop.story(order_id) == before

    def test_our_own_refund_is_not_mistaken_for_another_s(self, shop: Shop) -> None:
        order_id, tx_ref = paid(shop)
        ask(shop, tx_ref)
        shop.sweep()
        shop.control.refund_status(shop.story(order_id).refunds[0].reference, "refunded")
        shop.clock.advance(3)
        assert shop.deliver()[-1] == 200
        shop.clock.advance(3)
        shop.work()
        story = shop.story(order_id)
        assert story.refunds[0].status is RefundStatus.REFUNDED
        assert shop.ledger(order_id).count("payment.refunded") == 1

    @pytest.mark.parametrize("event", ["charge.reversed", "refund.reversed"])
    def test_a_reversal_marks_payment_and_order(self, shop: Shop, event: str) -> None:
        order_id, tx_ref = paid(shop)
        shop.clock.advance(3)
        shop.control.reverse(tx_ref, webhook=False)
        assert shop.notify(tx_ref, event).body == {"outcome": "applied"}
        assert shop.payment(tx_ref).status is PaymentStatus.REVERSED
        assert shop.story(order_id).order.status is OrderStatus.REFUNDED
        assert "payment.reversed" in shop.ledger(order_id)

    @pytest.mark.parametrize("trouble", ["asked a moment ago", "Chapa does not answer"])
    def test_one_that_cannot_be_verified_now_is_looked_into_later(
        self, shop: Shop, trouble: str
    ) -> None:
        order_id, tx_ref = paid(shop)
        shop.control.reverse(tx_ref, webhook=False)
        if trouble == "Chapa does not answer":
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
            ("wrong_currency", {}),
            ("wrong_mode", {}),
            ("says", {"word": "404"}),
            ("says", {"word": "pending"}),
            ("says", {"word": "failed/cancelled"}),
            ("status", {"status": 404}),
        ],
    )
    def test_a_doubt_stays_until_chapa_says_where_the_money_is(
        self, shop: Shop, kind: str, details: dict[str, object]
    ) -> None:
        order_id, tx_ref = paid(shop)
        shop.clock.advance(3)
        shop.control.reverse(tx_ref, webhook=False)
        shop.control.add_fault("verify", kind, times=2, **details)  # type: ignore[arg-type]
        assert shop.notify(tx_ref, "charge.reversed").body == {"outcome": "deferred"}
        shop.clock.advance(3)
        shop.work()
        assert shop.story(order_id).order.status is OrderStatus.PAID
        assert shop.payment(tx_ref).in_doubt
        run(shop)
        assert shop.payment(tx_ref).status is PaymentStatus.REVERSED
        assert shop.story(order_id).order.status is OrderStatus.REFUNDED

    def test_a_person_is_called_each_day_that_chapa_does_not_say_it(self, shop: Shop) -> None:
        order_id, tx_ref = paid(shop)
        shop.clock.advance(3)
        shop.control.reverse(tx_ref, webhook=False)
        shop.control.add_fault("verify", "status", times=None, status=503)
        assert shop.notify(tx_ref, "charge.reversed").body == {"outcome": "deferred"}
        for _ in range(60):
            shop.sweep()
            shop.clock.advance(3600)
        assert shop.ledger(order_id).count("order.unanswered") == 2
        shop.control.clear_faults()
        run(shop)
        assert shop.ledger(order_id)[-2:] == ["payment.reversed", "order.refunded"]

    def test_a_doubt_without_a_reason_ends_with_the_look_that_it_caused(self, shop: Shop) -> None:
        order_id, tx_ref = paid(shop)
        assert shop.notify(tx_ref, "charge.reversed").body == {"outcome": "deferred"}
        before = shop.ledger(order_id)
        shop.clock.advance(3)
        shop.work()
        story = shop.story(order_id)
        assert not story.payments[0].in_doubt
        assert story.order.due_at is None
        assert shop.ledger(order_id) == before

    def test_a_reversed_payment_is_not_paid_back_as_well(self, shop: Shop) -> None:
        order_id, tx_ref = surplus(shop)
        shop.clock.advance(3)
        shop.control.reverse(tx_ref, webhook=False)
        shop.notify(tx_ref, "charge.reversed")
        run(shop)
        assert shop.asked("refund") == 0
        assert shop.story(order_id).refunds[0].status is RefundStatus.REVIEW

    def test_a_refund_event_without_our_reference_is_ignored(self, shop: Shop) -> None:
        assert shop.webhook({"event": "refund.success"}).body == {"outcome": "ignored"}


def test_a_stranger_s_answer_about_a_refund_changes_nothing(shop: Shop) -> None:
    order_id, tx_ref = paid(shop)
    ask(shop, tx_ref, 40_000)
    shop.sweep()
    [made] = shop.simulator.refunds.values()
    made.merchant_reference = "another"
    run(shop, 3)
    assert shop.story(order_id).refunds[0].status is RefundStatus.PENDING
    assert replace(shop.story(order_id).order, looks=0).status is OrderStatus.PAID
