from collections.abc import Mapping
from typing import Any

import pytest

from payments.domain.events import RefundResolved, RefundReview
from payments.domain.records import Refund
from payments.domain.states import OrderStatus, PaymentStatus, RefundStatus
from payments.errors import (
    NotResolvable,
    PaymentNotFound,
    PaymentsError,
    RefundKeyUsed,
    RefundNotFound,
    RefundTooLarge,
)
from payments.usecases import refund as refunds
from payments.usecases.refund import RefundDecision
from tests.shop import Shop

HOUR = 3600
PRICE = 90_000


def request(
    shop: Shop,
    tx_ref: str,
    amount: int | None = None,
    *,
    key: str = "ticket-1",
    returns: Mapping[str, int] | None = None,
) -> Refund:
    return refunds.request(
        shop.backend, tx_ref, amount, key=key, reason="Broken cup", returns=returns
    )


def resolve(
    shop: Shop, refund: Refund, decision: RefundDecision, by: str = "arn:aws:iam::1:user/almaz"
) -> Refund:
    return refunds.resolve(
        shop.backend, refund.refund_id, decision, by=by, reason="Call 0911223344"
    )


def unapplied(shop: Shop) -> tuple[str, str]:
    """An expired order whose late payment is owed back: its id and tx_ref."""
    shop.configure(late_success_policy="refund")
    order_id, tx_ref = shop.expired()
    shop.clock.advance(3)
    shop.control.pay(tx_ref, late=True, webhook=False)
    assert shop.notify(tx_ref).body == {"outcome": "applied"}
    return order_id, tx_ref


def reversed_unseen(shop: Shop) -> tuple[str, str]:
    """A paid order whose payment was reversed at Chapa, which has not been asked yet."""
    order_id, tx_ref = shop.paid()
    shop.clock.advance(3)
    shop.control.reverse(tx_ref, webhook=False)
    return order_id, tx_ref


def refused(shop: Shop, amount: int | None = 60_000) -> tuple[str, str, Refund]:
    """A paid order with a refund that Chapa refused."""
    order_id, tx_ref = shop.paid()
    shop.control.add_fault("refund", "status", status=400)
    refund = request(shop, tx_ref, amount)
    shop.sweeps(2)
    assert only(shop, order_id).status is RefundStatus.REVIEW
    return order_id, tx_ref, refund


def only(shop: Shop, order_id: str) -> Refund:
    [refund] = shop.aggregate(order_id).refunds
    return refund


def refunded_by_chapa(shop: Shop, tx_ref: str) -> int:
    """All that Chapa gave back of a payment, in minor units."""
    reference = shop.payment(tx_ref).provider_reference
    return sum(
        int(refund.amount * 100)
        for refund in shop.simulator.refunds.values()
        if refund.status == "refunded" and refund.payment_reference == reference
    )


class TestUnappliedPayment:
    def test_it_is_refunded_without_an_operator(self, shop: Shop) -> None:
        order_id, tx_ref = unapplied(shop)
        sends: list[int] = []
        shop.before_chapa("refund/", lambda: sends.append(only(shop, order_id).sends))
        shop.sweep()
        assert sends == [1]  # Written before Chapa was asked.
        assert shop.asked("refund") == shop.asked("refund", tx_ref) == 1
        shop.clock.advance(600)
        shop.sweeps(3)
        aggregate = shop.aggregate(order_id)
        assert aggregate.payments[0].status is PaymentStatus.REFUNDED
        assert aggregate.order.status is OrderStatus.EXPIRED
        assert only(shop, order_id).status is RefundStatus.REFUNDED
        assert refunded_by_chapa(shop, tx_ref) == PRICE
        assert shop.event_names(order_id)[-5:] == [
            *("payment.unapplied", "refund.requested", "refund.accepted"),
            *("refund.completed", "payment.refunded"),
        ]
        assert aggregate.order.due_at is None

    @pytest.mark.parametrize("kind", ["timeout_before", "timeout_after"])
    @pytest.mark.parametrize("reference", ["once", "replay"])
    def test_unanswered_refund_is_sent_again_under_the_same_reference(
        self, shop: Shop, kind: Any, reference: str
    ) -> None:
        order_id, tx_ref = unapplied(shop)
        shop.control.switch(refund_reference=reference)
        shop.control.add_fault("refund", kind, seconds=1)
        shop.sweeps(3)
        refund = only(shop, order_id)
        assert refund.status is not RefundStatus.REQUESTED
        [made] = shop.simulator.refunds.values()
        assert made.merchant_reference == refund.refund_id
        if not refund.provider_refund_id:  # Then only verify of the payment says when it is done.
            shop.control.refund_status(refund.refund_id, "refunded", webhook=False)
        shop.sweeps(8)
        assert shop.payment(tx_ref).status is PaymentStatus.REFUNDED
        assert refunded_by_chapa(shop, tx_ref) == PRICE

    def test_refund_whose_answer_was_lost_is_verified_before_it_is_sent_again(
        self, shop: Shop
    ) -> None:
        order_id, tx_ref = unapplied(shop)
        shop.control.add_fault("refund", "timeout_after", seconds=1)
        shop.sweep()
        shop.control.refund_status(only(shop, order_id).refund_id, "refunded", webhook=False)
        shop.sweeps()
        assert shop.payment(tx_ref).status is PaymentStatus.REFUNDED
        assert shop.asked("refund") == 1

    def test_refund_whose_answer_was_lost_may_take_days(self, shop: Shop) -> None:
        """Chapa answers each check that the money has not gone back yet."""
        order_id, tx_ref = unapplied(shop)
        shop.with_rules(check_after=(90, 6 * HOUR))
        shop.control.add_fault("refund", "timeout_after", seconds=1)
        shop.wait(order_id, 72 * HOUR)
        refund = only(shop, order_id)
        assert refund.status is RefundStatus.PENDING
        shop.control.refund_status(refund.refund_id, "refunded", webhook=False)
        shop.wait(order_id, 12 * HOUR)
        assert shop.payment(tx_ref).status is PaymentStatus.REFUNDED
        assert len(shop.simulator.refunds) == 1

    @pytest.mark.parametrize(("amount", "reports"), [(None, 2), (40_000, 3)])
    def test_refund_whose_id_was_lost_is_reported_daily_while_chapa_shows_no_end(
        self, shop: Shop, amount: int | None, reports: int
    ) -> None:
        order_id, tx_ref = shop.paid()
        request(shop, tx_ref, amount)
        shop.with_rules(check_after=(90, 6 * HOUR))
        shop.control.add_fault("refund", "timeout_after", seconds=1)
        shop.wait(order_id, 84 * HOUR)
        assert only(shop, order_id).status is RefundStatus.PENDING
        assert shop.event_names(order_id).count("refund.unanswered") == reports

    def test_refund_unanswered_for_days_stays_requested_with_an_event_each_day(
        self, shop: Shop
    ) -> None:
        order_id, tx_ref = unapplied(shop)
        shop.with_rules(check_after=(90, 6 * HOUR))
        shop.unanswered("refund")
        shop.wait(order_id, 78 * HOUR)
        assert only(shop, order_id).status is RefundStatus.REQUESTED
        assert shop.event_names(order_id).count("refund.unanswered") == 3
        shop.control.clear_faults()
        shop.wait(order_id, 48 * HOUR)
        assert shop.payment(tx_ref).status is PaymentStatus.REFUNDED
        assert only(shop, order_id).unanswered_since is None

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
        assert shop.payment(tx_ref).status is PaymentStatus.UNAPPLIED
        assert only(shop, order_id).status is RefundStatus.REQUESTED

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
        shop.sweeps()
        assert only(shop, order_id).status is RefundStatus.REVERSED
        assert shop.payment(tx_ref).status is PaymentStatus.UNAPPLIED
        assert shop.event_names(order_id)[-1] == "refund.reversed"

    @pytest.mark.parametrize("name", ["ref", "ref_id"])
    def test_refund_id_of_chapa_is_read_under_either_name(self, shop: Shop, name: str) -> None:
        _, tx_ref = unapplied(shop)
        shop.control.switch(refund_handle=name)
        shop.sweeps()
        assert shop.payment(tx_ref).status is PaymentStatus.REFUNDED


class TestRequest:
    @pytest.mark.parametrize("returned", [{}, {"COFFEE-250": 1}, {"COFFEE-250": 2}])
    def test_full_refund_moves_the_order_and_only_the_named_units(
        self, shop: Shop, returned: dict[str, int]
    ) -> None:
        order_id, tx_ref = shop.paid()
        request(shop, tx_ref, returns=returned)
        shop.sweeps()
        assert shop.aggregate(order_id).order.status is OrderStatus.REFUNDED
        assert shop.payment(tx_ref).status is PaymentStatus.REFUNDED
        assert shop.available("COFFEE-250") == 8 + sum(returned.values())
        assert shop.event_names(order_id)[-1] == "order.refunded"

    def test_units_come_back_without_money_and_at_most_once(self, shop: Shop) -> None:
        order_id, tx_ref = shop.paid({"COFFEE-250": 2, "MUG": 1})
        returned = request(shop, tx_ref, 0, returns={"MUG": 1})
        assert returned.status is RefundStatus.REFUNDED
        assert shop.aggregate(order_id).order.status is OrderStatus.PAID
        assert (shop.available("MUG"), shop.available("COFFEE-250")) == (2, 8)
        assert shop.event_names(order_id)[-1] == "stock.returned"
        for units in ({"MUG": 1}, {"COFFEE-250": 3}, {"LAST": 1}, {"COFFEE-250": 0}):
            with pytest.raises(RefundTooLarge):
                request(shop, tx_ref, 0, key="again", returns=units)
        assert request(shop, tx_ref, 0, returns={"MUG": 1}).refund_id == returned.refund_id
        shop.sweeps()
        assert shop.asked("refund") == 0

    def test_partial_refunds_leave_the_order_paid_until_they_add_up(self, shop: Shop) -> None:
        order_id, tx_ref = shop.paid()
        request(shop, tx_ref, 40_000)
        shop.sweeps()
        assert shop.aggregate(order_id).order.status is OrderStatus.PAID
        assert refunded_by_chapa(shop, tx_ref) == 40_000
        request(shop, tx_ref, 50_000, key="ticket-2")
        shop.sweeps()
        assert shop.aggregate(order_id).order.status is OrderStatus.REFUNDED
        assert refunded_by_chapa(shop, tx_ref) == PRICE

    def test_payment_refunded_at_chapa_beyond_our_part_goes_to_review(self, shop: Shop) -> None:
        order_id, tx_ref = shop.paid()
        request(shop, tx_ref, 40_000)
        shop.sweeps()
        shop.simulator.find(tx_ref).status = "refunded"  # type: ignore[union-attr]
        assert shop.notify(tx_ref, "charge.refunded").body == {"outcome": "applied"}
        assert shop.payment(tx_ref).status is PaymentStatus.REVIEW
        assert shop.aggregate(order_id).order.status is OrderStatus.PAID

    def test_same_key_is_one_refund_and_refuses_other_wishes(self, shop: Shop) -> None:
        _, tx_ref = shop.paid()
        first = request(shop, tx_ref, 40_000)
        assert request(shop, tx_ref, 40_000) == first
        shop.sweeps()
        assert request(shop, tx_ref, 40_000).status is RefundStatus.REFUNDED
        assert refunded_by_chapa(shop, tx_ref) == 40_000
        wishes: list[tuple[int | None, Mapping[str, int]]] = [
            *((50_000, {}), (None, {}), (40_000, {"COFFEE-250": 1}))
        ]
        for amount, returned in wishes:
            with pytest.raises(RefundKeyUsed):
                request(shop, tx_ref, amount, returns=returned)

    def test_repeated_request_of_the_rest_returns_the_first(self, shop: Shop) -> None:
        _, tx_ref = shop.paid()
        first = request(shop, tx_ref)
        shop.sweeps()
        assert request(shop, tx_ref).refund_id == first.refund_id

    def test_concurrent_refunds_never_exceed_what_was_paid(self, shop: Shop) -> None:
        order_id, tx_ref = shop.paid()
        shop.before_aws("TransactWriteItems", lambda: request(shop, tx_ref, 60_000, key="other"))
        with pytest.raises(RefundTooLarge):
            request(shop, tx_ref, 60_000)
        assert only(shop, order_id).amount == 60_000

    def test_impossible_amounts_and_payments_are_refused(self, shop: Shop) -> None:
        _, tx_ref = shop.paid()
        for amount in (0, -1, PRICE + 1):
            with pytest.raises(RefundTooLarge):
                request(shop, tx_ref, amount)
        _, unpaid = shop.begun()
        with pytest.raises(RefundTooLarge):
            request(shop, unpaid)
        for missing in ("a" * 20, f"{tx_ref[:-1]}!"):
            with pytest.raises(PaymentNotFound):
                request(shop, missing)

    def test_reversed_refund_can_be_requested_again(self, shop: Shop) -> None:
        order_id, tx_ref = shop.paid()
        shop.control.switch(refund_ends="reversed")
        request(shop, tx_ref)
        shop.sweeps()
        shop.control.switch(refund_ends="refunded")
        request(shop, tx_ref, key="ticket-2")
        shop.sweeps()
        assert shop.aggregate(order_id).order.status is OrderStatus.REFUNDED

    def test_answer_about_another_refund_changes_nothing(self, shop: Shop) -> None:
        order_id, tx_ref = shop.paid()
        request(shop, tx_ref, 40_000)
        shop.sweep()
        [made] = shop.simulator.refunds.values()
        made.merchant_reference = "another"
        shop.sweeps(3)
        assert only(shop, order_id).status is RefundStatus.PENDING
        assert shop.aggregate(order_id).order.status is OrderStatus.PAID


class TestRefusedRefund:
    def test_it_stays_in_review_with_a_reminder_each_day(self, shop: Shop) -> None:
        order_id, tx_ref, refund = refused(shop)
        assert "Something went wrong" in (only(shop, order_id).refusal or "")
        shop.wait(order_id, 50 * HOUR)
        reviews = [e for e in shop.events(order_id) if isinstance(e, RefundReview)]
        assert [(e.refund_id, e.reminder) for e in reviews] == [
            (refund.refund_id, reminder) for reminder in (False, True, True)
        ]
        assert shop.asked("refund") == 1
        assert shop.payment(tx_ref).status is PaymentStatus.SUCCEEDED

    def test_it_may_mean_that_the_payment_was_reversed(self, shop: Shop) -> None:
        order_id, tx_ref = reversed_unseen(shop)
        request(shop, tx_ref, 100)
        shop.sweeps()
        assert shop.aggregate(order_id).order.status is OrderStatus.REFUNDED
        assert shop.payment(tx_ref).status is PaymentStatus.REVERSED

    def test_its_money_may_be_taken_by_another_key(self, shop: Shop) -> None:
        order_id, tx_ref, refund = refused(shop)
        request(shop, tx_ref, PRICE, key="ticket-2")
        shop.sweeps()
        assert refunded_by_chapa(shop, tx_ref) == PRICE
        for decision in (RefundDecision.RETRY, RefundDecision.SETTLE):
            with pytest.raises(RefundTooLarge):
                resolve(shop, refund, decision)
        assert resolve(shop, refund, RefundDecision.DISMISS).status is RefundStatus.DISMISSED
        assert shop.aggregate(order_id).order.due_at is None

    def test_retry_sends_it_under_a_fresh_reference(self, shop: Shop) -> None:
        order_id, tx_ref, refund = refused(shop, None)
        assert resolve(shop, refund, RefundDecision.RETRY).attempt == 2
        assert resolve(shop, refund, RefundDecision.RETRY).attempt == 2
        assert shop.work() == 1
        shop.sweeps(5)
        [made] = shop.simulator.refunds.values()
        assert made.merchant_reference not in {None, refund.refund_id}
        assert shop.payment(tx_ref).status is PaymentStatus.REFUNDED
        assert resolve(shop, refund, RefundDecision.RETRY).status is RefundStatus.REFUNDED
        assert shop.event_names(order_id).count("refund.resolved") == 1

    @pytest.mark.corrupts  # Chapa gave nothing back.
    def test_settled_outside_counts_as_paid_back(self, shop: Shop) -> None:
        order_id, tx_ref, refund = refused(shop, None)
        for _ in range(2):
            assert resolve(shop, refund, RefundDecision.SETTLE).status is RefundStatus.REFUNDED
        assert shop.payment(tx_ref).status is PaymentStatus.REFUNDED
        assert shop.aggregate(order_id).order.status is OrderStatus.REFUNDED
        with pytest.raises(RefundTooLarge):
            request(shop, tx_ref, 1, key="ticket-2")
        assert shop.event_names(order_id).count("refund.resolved") == 1
        assert shop.audit() == []

    def test_pending_refund_can_be_settled_outside_and_nothing_else(self, shop: Shop) -> None:
        _, tx_ref = shop.paid()
        refund = request(shop, tx_ref, 100)
        for decision in (RefundDecision.RETRY, RefundDecision.DISMISS):
            with pytest.raises(NotResolvable):
                resolve(shop, refund, decision)
        assert resolve(shop, refund, RefundDecision.SETTLE).status is RefundStatus.REFUNDED
        shop.sweeps()
        assert shop.asked("refund") == 0

    def test_decision_is_an_event_with_who_and_why(self, shop: Shop) -> None:
        order_id, tx_ref, refund = refused(shop)
        for _ in range(2):
            resolve(shop, refund, RefundDecision.DISMISS)
        events = [e for e in shop.events(order_id) if isinstance(e, RefundResolved)]
        assert events == [
            RefundResolved(
                shop.now, refund.refund_id, tx_ref, "dismiss", "arn:aws:iam::1:user/almaz",
                "Call [removed]",
            )
        ]  # fmt: skip
        assert only(shop, order_id).status is RefundStatus.DISMISSED

    @pytest.mark.parametrize("other", RefundDecision)
    @pytest.mark.parametrize("mine", RefundDecision)
    def test_first_of_two_operators_decides(
        self, shop: Shop, mine: RefundDecision, other: RefundDecision
    ) -> None:
        order_id, _, refund = refused(shop)
        shop.before_aws(
            "TransactWriteItems", lambda: resolve(shop, refund, other, "arn:aws:iam::1:user/sara")
        )
        try:
            resolve(shop, refund, mine)
        except PaymentsError:
            # What was sent again can still be paid back by other means.
            assert mine is not other
        events = [e for e in shop.events(order_id) if isinstance(e, RefundResolved)]
        later = (other, mine) == (RefundDecision.RETRY, RefundDecision.SETTLE)
        assert [e.decision for e in events] == [other.value, *(["settle"] if later else [])]
        assert events[0].decided_by.endswith("sara")

    def test_decision_about_an_unknown_refund_is_refused(self, shop: Shop) -> None:
        with pytest.raises(RefundNotFound):
            refunds.resolve(
                shop.backend, "a" * 20, RefundDecision.RETRY, by="almaz", reason="Typing"
            )


class TestProviderEvents:
    def test_refund_made_at_chapa_is_recorded(self, shop: Shop) -> None:
        order_id, tx_ref = shop.paid()
        shop.simulator.find(tx_ref).status = "refunded"  # type: ignore[union-attr]
        shop.clock.advance(3)
        assert shop.notify(tx_ref, "charge.refunded").body == {"outcome": "applied"}
        assert shop.aggregate(order_id).order.status is OrderStatus.REFUNDED
        assert shop.available("COFFEE-250") == 8

    @pytest.mark.parametrize("event", ["charge.refunded", "charge.reversed", "refund.success"])
    def test_untrue_event_changes_nothing(self, shop: Shop, event: str) -> None:
        order_id, tx_ref = shop.paid()
        shop.clock.advance(3)
        before = shop.aggregate(order_id)
        assert shop.notify(tx_ref, event).body == {"outcome": "duplicate"}
        assert shop.aggregate(order_id) == before

    def test_event_of_our_own_refund_is_recorded_once(self, shop: Shop) -> None:
        order_id, tx_ref = shop.paid()
        request(shop, tx_ref)
        shop.sweep()
        shop.control.refund_status(only(shop, order_id).refund_id, "refunded")
        shop.clock.advance(3)
        assert shop.deliver()[-1] == 200
        shop.clock.advance(3)
        shop.work()
        assert only(shop, order_id).status is RefundStatus.REFUNDED
        assert shop.event_names(order_id).count("payment.refunded") == 1

    @pytest.mark.parametrize("event", ["charge.reversed", "refund.reversed"])
    def test_reversal_moves_payment_and_order(self, shop: Shop, event: str) -> None:
        order_id, tx_ref = reversed_unseen(shop)
        assert shop.notify(tx_ref, event).body == {"outcome": "applied"}
        assert shop.payment(tx_ref).status is PaymentStatus.REVERSED
        assert shop.aggregate(order_id).order.status is OrderStatus.REFUNDED
        assert "payment.reversed" in shop.event_names(order_id)

    @pytest.mark.parametrize("trouble", ["verified a moment ago", "verify unanswered"])
    def test_reversal_that_cannot_be_verified_now_is_checked_later(
        self, shop: Shop, trouble: str
    ) -> None:
        order_id, tx_ref = shop.paid()
        shop.control.reverse(tx_ref, webhook=False)
        if trouble == "verify unanswered":
            shop.clock.advance(3)
            shop.unanswered()
        assert shop.notify(tx_ref, "charge.reversed").body == {"outcome": "deferred"}
        assert shop.aggregate(order_id).order.due_at == shop.now + 3
        shop.clock.advance(3)
        shop.work()
        shop.control.clear_faults()
        shop.sweeps()
        assert shop.aggregate(order_id).order.status is OrderStatus.REFUNDED
        assert shop.aggregate(order_id).order.due_at is None

    @pytest.mark.parametrize(
        ("kind", "details"),
        [
            ("wrong_tx_ref", {}),
            ("says", {"word": "404"}),
            ("says", {"word": "failed/cancelled"}),
        ],
    )
    def test_possible_reversal_stays_until_verify_says_where_the_money_is(
        self, shop: Shop, kind: Any, details: dict[str, Any]
    ) -> None:
        order_id, tx_ref = reversed_unseen(shop)
        shop.control.add_fault("verify", kind, times=2, **details)
        assert shop.notify(tx_ref, "charge.reversed").body == {"outcome": "deferred"}
        shop.clock.advance(3)
        shop.work()
        assert shop.aggregate(order_id).order.status is OrderStatus.PAID
        assert shop.payment(tx_ref).check_at is not None
        shop.sweeps()
        assert shop.payment(tx_ref).status is PaymentStatus.REVERSED
        assert shop.aggregate(order_id).order.status is OrderStatus.REFUNDED

    def test_unanswered_possible_reversal_is_reported_daily(self, shop: Shop) -> None:
        order_id, tx_ref = reversed_unseen(shop)
        shop.with_rules(check_after=(90, 6 * HOUR))
        shop.unanswered()
        assert shop.notify(tx_ref, "charge.reversed").body == {"outcome": "deferred"}
        shop.wait(order_id, 60 * HOUR)
        assert shop.event_names(order_id).count("payment.unanswered") == 2
        shop.control.clear_faults()
        shop.wait(order_id, 12 * HOUR)
        assert shop.event_names(order_id)[-2:] == ["payment.reversed", "order.refunded"]

    def test_possible_reversal_without_a_reason_ends_with_its_check(self, shop: Shop) -> None:
        order_id, tx_ref = shop.paid()
        assert shop.notify(tx_ref, "charge.reversed").body == {"outcome": "deferred"}
        before = shop.event_names(order_id)
        shop.clock.advance(3)
        shop.work()
        assert shop.payment(tx_ref).check_at is None
        assert shop.aggregate(order_id).order.due_at is None
        assert shop.event_names(order_id) == before

    def test_reversed_payment_is_not_refunded_as_well(self, shop: Shop) -> None:
        order_id, tx_ref = unapplied(shop)
        shop.clock.advance(3)
        shop.control.reverse(tx_ref, webhook=False)
        shop.notify(tx_ref, "charge.reversed")
        shop.sweeps()
        assert shop.asked("refund") == 0
        assert only(shop, order_id).status is RefundStatus.REVIEW

    def test_refund_event_without_our_reference_is_ignored(self, shop: Shop) -> None:
        assert shop.webhook({"event": "refund.success"}).body == {"outcome": "ignored"}
