from dataclasses import replace
from typing import Any

import pytest

from payments.domain import decisions, refunds
from payments.domain.aggregate import IllegalMoveError, OrderAggregate
from payments.domain.answers import Outcome, Said, Verification
from payments.domain.decisions import Decision
from payments.domain.rules import LateSuccessPolicy
from payments.domain.states import OPEN, PAID, UNPAID, OrderStatus, PaymentStatus, RefundStatus
from tests.builders import (
    DAY,
    MONEY,
    NOW,
    OTHER,
    PRICE,
    RF,
    RULES,
    SUCCESS,
    TX,
    aggregate,
    decide,
    order,
    ordered,
    paid_order,
    payment,
    refund,
)

EXPIRY = order().expires_at
FAILED = Verification(Said.FAILED, status="failed/cancelled")
REFUNDED = replace(SUCCESS, said=Said.REFUNDED)
REVERSED = replace(SUCCESS, said=Said.REVERSED)
ENDED = ordered(set(OrderStatus) - {OrderStatus.PENDING})
BY = ("sara", "called the customer", NOW)
PARTLY = "provider says refunded, and our refunds are only a part of it"


def status_of(after: OrderAggregate) -> PaymentStatus:
    return after.payments[0].status


def names(after: OrderAggregate) -> list[str]:
    return [event.name for event in after.new_events]


def expired(status: PaymentStatus = PaymentStatus.CLOSED) -> OrderAggregate:
    return aggregate(status, OrderStatus.EXPIRED)


def in_review(answer: Verification, before: OrderAggregate | None = None) -> OrderAggregate:
    after = decide(before or aggregate(), answer).aggregate
    assert status_of(after) is PaymentStatus.REVIEW
    return replace(after, new_events=())


def partly_refunded() -> OrderAggregate:
    """A paid order whose payment Chapa calls refunded though we refunded only a part of it."""
    part = refund(amount=60_000, status=RefundStatus.REFUNDED)
    return in_review(REFUNDED, paid_order(part))


class TestDecide:
    @pytest.mark.parametrize("status", ordered(UNPAID))
    def test_success_pays_pending_order_from_every_unpaid_status(
        self, status: PaymentStatus
    ) -> None:
        after = decide(aggregate(status)).aggregate
        assert after.payments[0] == payment(PaymentStatus.SUCCEEDED, **MONEY)
        assert after.order.status is OrderStatus.PAID
        assert after.order.paid_by == TX
        assert after.order.active_tx_ref is None

    @pytest.mark.parametrize(
        "wrong",
        [{"amount": 89_999}, {"amount": 1}, {"currency": "USD"}, {"mode": "live"}, {"tx_ref": "x"},
         {"provider_reference": None}, {"amount": None}],
        ids=str,
    )  # fmt: skip
    @pytest.mark.parametrize("status", [OrderStatus.PENDING, OrderStatus.EXPIRED, OrderStatus.PAID])
    def test_success_with_wrong_facts_goes_to_review(
        self, wrong: dict[str, Any], status: OrderStatus
    ) -> None:
        before = aggregate(PaymentStatus.CLOSED, status)
        answer = replace(SUCCESS, **wrong)
        after = decide(before, answer).aggregate
        assert status_of(after) is PaymentStatus.REVIEW
        assert after.payments[0].reason == f"not as requested: {next(iter(wrong))}"
        assert after.order is before.order
        assert names(after) == ["payment.review"]
        assert not after.refunds
        assert decide(after, answer) == Decision(after, Outcome.DUPLICATE)

    @pytest.mark.parametrize("status", ordered(UNPAID))
    @pytest.mark.parametrize("order_status", [OrderStatus.PAID, OrderStatus.REFUNDED])
    def test_second_success_of_paid_order_is_owed_back(
        self, status: PaymentStatus, order_status: OrderStatus
    ) -> None:
        after = decide(aggregate(status, order_status)).aggregate
        assert status_of(after) is PaymentStatus.UNAPPLIED
        assert after.order.status is order_status
        (owed,) = after.refunds
        assert owed == refund(
            owed.refund_id, reason="Paid too late or twice", whole=True, moved_at=0
        )

    @pytest.mark.parametrize("order_status", [OrderStatus.EXPIRED, OrderStatus.CANCELLED])
    @pytest.mark.parametrize(
        ("policy", "status"),
        [
            ("reserve", PaymentStatus.SUCCEEDED),
            ("refund", PaymentStatus.UNAPPLIED),
            ("review", PaymentStatus.REVIEW),
        ],
    )
    def test_late_success_goes_to_order_customer_or_operator(
        self, order_status: OrderStatus, policy: LateSuccessPolicy, status: PaymentStatus
    ) -> None:
        before = aggregate(PaymentStatus.CLOSED, order_status)
        after = decide(before, policy=policy).aggregate
        assert status_of(after) is status
        assert (after.order.status is OrderStatus.PAID) == (policy == "reserve")
        assert after.order.paid_by == (TX if policy == "reserve" else None)
        assert bool(after.refunds) == (policy == "refund")
        if policy == "review":
            reason = f"paid after the order was {order_status.value}"
            assert after.payments[0].reason == reason
            assert decide(after, policy=policy) == Decision(after, Outcome.DUPLICATE)

    @pytest.mark.parametrize("status", ordered(set(PaymentStatus) - UNPAID))
    @pytest.mark.parametrize("said", ordered(set(Said) - {Said.REFUNDED, Said.REVERSED}))
    def test_settled_payment_changes_only_when_its_money_goes_back(
        self, status: PaymentStatus, said: Said
    ) -> None:
        before = aggregate(status, OrderStatus.PAID)
        assert decide(before, replace(SUCCESS, said=said)).aggregate is before

    @pytest.mark.parametrize("status", PaymentStatus)
    @pytest.mark.parametrize("order_status", OrderStatus)
    def test_answer_without_news_changes_nothing(
        self, status: PaymentStatus, order_status: OrderStatus
    ) -> None:
        before = aggregate(status, order_status)
        nothing = Outcome.OPEN if status in OPEN else Outcome.DUPLICATE
        if status in PAID:
            nothing = Outcome.UNANSWERED  # "Not paid" of a paid payment cannot be true.
        for said, outcome in [
            (Said.UNKNOWN, Outcome.UNANSWERED),
            (Said.NOT_PAID, nothing),
            (Said.PENDING, nothing),
        ]:
            decision = decide(before, Verification(said))
            assert decision.aggregate is before
            assert decision.outcome is outcome

    @pytest.mark.parametrize("status", [PaymentStatus.INITIALIZING, PaymentStatus.PENDING])
    def test_failure_is_not_final(self, status: PaymentStatus) -> None:
        before = aggregate(status, lease_until=NOW + 60)
        decision = decide(before, FAILED)
        failed = payment(PaymentStatus.FAILED, reason="provider says failed/cancelled")
        assert decision.outcome is Outcome.APPLIED
        assert decision.aggregate.payments == (failed,)
        assert decision.aggregate.order is before.order
        assert decide(decision.aggregate).aggregate.order.status is OrderStatus.PAID

    @pytest.mark.parametrize(
        "status", ordered(UNPAID - {PaymentStatus.INITIALIZING, PaymentStatus.PENDING})
    )
    def test_failure_of_closed_or_reviewed_payment_changes_nothing(
        self, status: PaymentStatus
    ) -> None:
        before = aggregate(status)
        assert decide(before, FAILED).aggregate is before

    @pytest.mark.parametrize("said", [Said.REFUNDED, Said.REVERSED])
    @pytest.mark.parametrize("status", ordered(UNPAID - {PaymentStatus.REVIEW}))
    def test_money_that_went_back_before_it_was_seen_goes_to_review(
        self, status: PaymentStatus, said: Said
    ) -> None:
        answer = replace(SUCCESS, said=said)
        after = decide(aggregate(status, lease_until=NOW), answer).aggregate
        assert after.payments == (
            payment(PaymentStatus.REVIEW, reason=f"provider says {said.value}"),
        )
        assert after.order.status is OrderStatus.PENDING
        assert decide(after, answer) == Decision(after, Outcome.DUPLICATE)

    @pytest.mark.parametrize(
        ("order_status", "policy", "settled"),
        [
            (OrderStatus.PENDING, "reserve", PaymentStatus.SUCCEEDED),
            (OrderStatus.PAID, "reserve", PaymentStatus.UNAPPLIED),
            (OrderStatus.EXPIRED, "review", PaymentStatus.REVIEW),
        ],
    )
    def test_success_ends_the_lease_and_stores_the_facts(
        self, order_status: OrderStatus, policy: LateSuccessPolicy, settled: PaymentStatus
    ) -> None:
        before = aggregate(
            PaymentStatus.CLOSING, order_status, lease_until=NOW + 60, reason="too late"
        )
        decision = decide(before, policy=policy)
        reason = "paid after the order was expired" if settled is PaymentStatus.REVIEW else None
        assert decision.outcome is Outcome.APPLIED
        assert decision.aggregate.payments == (payment(settled, **MONEY, reason=reason),)
        assert decision.aggregate.order.active_tx_ref is None

    def test_review_stores_the_wrong_facts(self) -> None:
        before = aggregate(PaymentStatus.CLOSING, lease_until=NOW + 60)
        wrong = replace(SUCCESS, amount=1, currency="USD", provider_reference="AP2")
        decision = decide(before, wrong)
        stored = {"paid_amount": 1, "paid_currency": "USD", "provider_reference": "AP2"}
        reason = "not as requested: amount, currency"
        assert decision.outcome is Outcome.APPLIED
        assert decision.aggregate.payments == (
            payment(PaymentStatus.REVIEW, paid_at=NOW, reason=reason, **stored),
        )

    def test_first_knowledge_of_a_success_is_kept(self) -> None:
        first = in_review(replace(SUCCESS, amount=1))
        lost_reference = replace(SUCCESS, provider_reference=None)
        after = decide(first, lost_reference, now=NOW + DAY).aggregate.payments[0]
        assert (after.paid_at, after.provider_reference) == (NOW, "AP1")

    @pytest.mark.parametrize("wrong", [{"tx_ref": "x"}, {"currency": "USD"}, {"mode": "live"}])
    @pytest.mark.parametrize("said", Said)
    @pytest.mark.parametrize("status", PaymentStatus)
    def test_answer_about_another_payment_counts_only_if_money_moved_unseen(
        self, status: PaymentStatus, said: Said, wrong: dict[str, Any]
    ) -> None:
        before = aggregate(status, OrderStatus.PAID if status in PAID else OrderStatus.EXPIRED)
        decision = decide(before, replace(SUCCESS, said=said, **wrong))
        went_back = said in {Said.REFUNDED, Said.REVERSED}
        if status in UNPAID and (said is Said.PAID or went_back):
            leaves = status is PaymentStatus.REVIEW and went_back and "tx_ref" not in wrong
            assert (status_of(decision.aggregate) is PaymentStatus.REVIEW) != leaves
        else:
            assert decision == Decision(before, Outcome.UNANSWERED)

    def test_unknown_payment_is_an_error(self) -> None:
        with pytest.raises(KeyError, match=TX):
            decide(OrderAggregate(order()))


class TestMoneyThatWentBack:
    @pytest.mark.parametrize(
        ("answer", "status"),
        [(REFUNDED, PaymentStatus.REFUNDED), (REVERSED, PaymentStatus.REVERSED)],
    )
    def test_paid_order_is_refunded(self, answer: Verification, status: PaymentStatus) -> None:
        goods = refund("goods", 0, status=RefundStatus.REFUNDED)
        decision = decide(paid_order(goods, lease_until=NOW), answer)
        after = decision.aggregate
        assert decision.outcome is Outcome.APPLIED
        assert after.payments == (payment(status, **MONEY),)
        assert after.order.status is OrderStatus.REFUNDED
        assert after.refunds == (goods,)
        assert decide(after, answer) == Decision(after, Outcome.DUPLICATE)

    @pytest.mark.parametrize("status", [RefundStatus.REQUESTED, RefundStatus.PENDING])
    def test_refunded_while_our_refund_is_open_waits_for_it(self, status: RefundStatus) -> None:
        done = refund("first", 30_000, status=RefundStatus.REFUNDED)
        before = paid_order(done, refund(amount=60_000, status=status))
        assert decide(before, REFUNDED) == Decision(before, Outcome.OPEN)

    def test_refunded_after_a_part_of_ours_goes_to_review_and_the_order_stays_paid(self) -> None:
        after = partly_refunded()
        assert after.payments == (payment(PaymentStatus.REVIEW, **MONEY, reason=PARTLY),)
        assert after.order == paid_order().order
        again = decide(after, REFUNDED, now=NOW + DAY)
        assert again == Decision(after, Outcome.DUPLICATE)

    @pytest.mark.parametrize("status", [RefundStatus.REVERSED, RefundStatus.DISMISSED])
    def test_refund_that_was_not_paid_out_does_not_count_as_a_part(
        self, status: RefundStatus
    ) -> None:
        other = refund("other", 60_000, tx_ref=OTHER)
        after = decide(paid_order(refund(status=status), other), REFUNDED).aggregate
        assert status_of(after) is PaymentStatus.REFUNDED
        assert after.refunds[1] == other

    def test_refused_refund_is_dismissed_when_the_provider_refunded_all(self) -> None:
        before = paid_order(refund(status=RefundStatus.REVIEW, refusal="low balance"))
        after = decide(before, REFUNDED).aggregate
        assert after.refunds[0].status is RefundStatus.DISMISSED
        assert names(after) == ["refund.resolved", "payment.refunded", "order.refunded"]

    def test_reversal_sends_open_refunds_of_the_payment_to_review(self) -> None:
        mine, other = refund(), refund("op-2", tx_ref=OTHER)
        decision = decide(paid_order(mine, other), REVERSED)
        after = decision.aggregate
        assert decision.outcome is Outcome.APPLIED
        refusal = "the payment itself was reversed"
        assert after.refunds == (refund(status=RefundStatus.REVIEW, refusal=refusal), other)
        assert status_of(after) is PaymentStatus.REVERSED
        assert after.order.status is OrderStatus.REFUNDED


class TestInitialize:
    def test_new_payment_is_active_and_leased(self) -> None:
        after = decisions.begin(decisions.place(order()), TX, "chapa-v1", NOW, RULES)
        assert after.active_payment == payment(
            PaymentStatus.INITIALIZING, lease_until=NOW + 60, moved_at=0
        )

    def test_checkout_url_makes_payment_payable(self) -> None:
        before = aggregate(PaymentStatus.INITIALIZING, lease_until=NOW + 60)
        after = decisions.opened(before, TX, "https://pay", NOW, NOW + 600, "AP1")
        page = {"checkout_url": "https://pay", "page_expires_at": NOW + 600}
        assert after.payments == (payment(**page, provider_reference="AP1"),)

    @pytest.mark.parametrize("status", ordered(set(PaymentStatus) - {PaymentStatus.INITIALIZING}))
    def test_late_answer_of_initialize_changes_nothing(self, status: PaymentStatus) -> None:
        before = aggregate(status)
        for tx_ref in (TX, OTHER):
            assert decisions.opened(before, tx_ref, "https://pay", NOW, NOW) is before
            assert decisions.never_opened(before, tx_ref, "refused", NOW) is before
            assert decisions.maybe_opened(before, tx_ref, "timeout", NOW) is before

    def test_refused_payment_makes_room_at_once(self) -> None:
        before = aggregate(PaymentStatus.INITIALIZING, lease_until=NOW + 60)
        after = decisions.never_opened(before, TX, "refused", NOW)
        assert after.payments == (payment(PaymentStatus.CLOSED, reason="refused"),)
        assert after.order.active_tx_ref is None

    def test_lost_page_ends_the_lease_and_is_closed_at_once(self) -> None:
        before = aggregate(PaymentStatus.INITIALIZING, lease_until=NOW + 60)
        after = decisions.maybe_opened(before, TX, "timeout", NOW)
        lost = {"lease_until": NOW, "check_at": NOW, "reason": "timeout"}
        assert after.payments == (replace(before.payments[0], **lost),)
        assert decisions.to_close(after, NOW) == after.payments

    def test_order_is_payable_until_it_expires_unless_in_review_or_cancelled(self) -> None:
        assert decisions.payable(aggregate(), EXPIRY - 1)
        assert not decisions.payable(aggregate(), EXPIRY)
        assert not decisions.payable(aggregate(PaymentStatus.REVIEW), NOW)
        assert not decisions.payable(decisions.cancel(aggregate()), NOW)
        assert not any(decisions.payable(aggregate(order_status=ended), NOW) for ended in ENDED)

    @pytest.mark.parametrize("status", PaymentStatus)
    def test_page_is_handed_out_until_two_minutes_before_its_end(
        self, status: PaymentStatus
    ) -> None:
        page = payment(status, page_expires_at=NOW + 600)
        pending = status is PaymentStatus.PENDING
        assert decisions.page_is_usable(page, NOW + 479) is pending
        assert not decisions.page_is_usable(page, NOW + 480)
        assert decisions.page_is_usable(payment(status), NOW + DAY) is pending


class TestClose:
    @pytest.mark.parametrize("status", ordered(OPEN))
    @pytest.mark.parametrize("order_status", OrderStatus)
    def test_open_payment_is_closed_once_the_order_is_over(
        self, status: PaymentStatus, order_status: OrderStatus
    ) -> None:
        before = aggregate(status, order_status)
        assert decisions.to_close(before, EXPIRY) == before.payments
        abandoned = status in {PaymentStatus.INITIALIZING, PaymentStatus.CLOSING}
        over = order_status is not OrderStatus.PENDING
        assert bool(decisions.to_close(before, NOW)) is (over or abandoned)

    @pytest.mark.parametrize("status", ordered(OPEN))
    @pytest.mark.parametrize("now", [NOW, EXPIRY])
    def test_leased_payment_is_left_alone_until_its_lease_ends(
        self, status: PaymentStatus, now: int
    ) -> None:
        before = decisions.cancel(aggregate(status, lease_until=now + 60))
        assert decisions.to_close(before, now + 59) == ()
        assert decisions.to_close(before, now + 60) == before.payments

    @pytest.mark.parametrize("status", ordered(set(PaymentStatus) - {PaymentStatus.CLOSING}))
    def test_payment_that_was_settled_meanwhile_is_neither_closed_nor_released(
        self, status: PaymentStatus
    ) -> None:
        before = aggregate(status, OrderStatus.PAID)
        for tx_ref in (TX, OTHER):
            assert decisions.close(before, tx_ref, "expired", NOW) is before
            assert decisions.release(before, tx_ref, NOW) is before

    def test_closed_active_payment_makes_room_for_another(self) -> None:
        before = aggregate(PaymentStatus.CLOSING, lease_until=NOW + 60)
        after = decisions.close(before, TX, "replaced", NOW)
        assert after.payments == (payment(PaymentStatus.CLOSED, reason="replaced"),)
        assert after.order.active_tx_ref is None

    def test_closing_another_payment_leaves_the_active_one(self) -> None:
        before = aggregate().put(payment(PaymentStatus.CLOSING, tx_ref=OTHER))
        after = decisions.close(before, OTHER, "replaced", NOW)
        assert after.active_payment == before.payments[0]
        assert after.payments[1].status is PaymentStatus.CLOSED

    def test_lease_has_a_length_and_can_be_released(self) -> None:
        leased = decisions.lease(aggregate(), aggregate().payments, NOW, RULES)
        until = {"lease_until": NOW + 60, "check_at": NOW + 60}
        assert leased.payments == (payment(PaymentStatus.CLOSING, **until),)
        free = decisions.release(leased, TX, NOW + 1)
        assert free.payments == (replace(leased.payments[0], lease_until=NOW + 1),)

    def test_only_a_payment_that_the_provider_calls_pending_has_a_grace(self) -> None:
        closing, end = payment(PaymentStatus.CLOSING), NOW + RULES.pending_grace
        assert decisions.still_in_grace(closing, Said.PENDING, end - 1, RULES)
        assert not decisions.still_in_grace(closing, Said.PENDING, end, RULES)
        others = set(Said) - {Said.PENDING}
        assert not any(decisions.still_in_grace(closing, said, NOW, RULES) for said in others)

    @pytest.mark.parametrize("order_status", ENDED)
    def test_ended_order_cannot_be_cancelled(self, order_status: OrderStatus) -> None:
        before = aggregate(PaymentStatus.CLOSED, order_status)
        assert decisions.cancel(before) is before

    def test_cancelled_order_ends_at_once_and_expired_order_at_its_time(self) -> None:
        closed = aggregate(PaymentStatus.CLOSED)
        cancelled = decisions.cancel(closed)
        assert decisions.cancel(cancelled) is cancelled
        assert decisions.end(cancelled, NOW).order.status is OrderStatus.CANCELLED
        assert decisions.end(closed, EXPIRY - 1) is closed
        assert decisions.end(closed, EXPIRY).order.status is OrderStatus.EXPIRED

    @pytest.mark.parametrize("status", ordered(OPEN | {PaymentStatus.REVIEW}))
    def test_order_does_not_end_while_a_payment_may_succeed(self, status: PaymentStatus) -> None:
        for before in (aggregate(status), decisions.cancel(aggregate(status))):
            assert decisions.end(before, EXPIRY) is before

    @pytest.mark.parametrize("order_status", ENDED)
    def test_order_does_not_end_twice(self, order_status: OrderStatus) -> None:
        before = aggregate(PaymentStatus.CLOSED, order_status)
        assert decisions.end(before, EXPIRY) is before


class TestLeaveReview:
    def test_right_facts_pay_the_order(self) -> None:
        before = in_review(replace(SUCCESS, amount=1))
        after = decide(before).aggregate
        assert after.payments == (payment(PaymentStatus.SUCCEEDED, **MONEY),)
        assert after.order.status is OrderStatus.PAID

    def test_second_reason_is_recorded(self) -> None:
        before = in_review(replace(SUCCESS, amount=1))
        decision = decide(before, replace(SUCCESS, amount=1, mode="live"))
        assert decision.outcome is Outcome.APPLIED
        assert decision.aggregate.payments[0].reason == "not as requested: amount, mode"
        assert names(decision.aggregate) == ["payment.review"]

    @pytest.mark.parametrize(
        ("said", "status"),
        [(Said.REFUNDED, PaymentStatus.REFUNDED), (Said.REVERSED, PaymentStatus.REVERSED)],
    )
    @pytest.mark.parametrize("currency", ["ETB", "USD"])
    def test_money_that_goes_back_leaves_review(
        self, said: Said, status: PaymentStatus, currency: str
    ) -> None:
        wrong = replace(SUCCESS, amount=1, currency=currency)
        decision = decide(in_review(wrong), replace(wrong, said=said))
        assert decision.outcome is Outcome.APPLIED
        assert status_of(decision.aggregate) is status
        assert decision.aggregate.order.status is OrderStatus.PENDING
        assert decision.aggregate.order.active_tx_ref is None

    @pytest.mark.parametrize(
        ("answer", "status"),
        [(SUCCESS, PaymentStatus.SUCCEEDED), (REVERSED, PaymentStatus.REVERSED)],
    )
    def test_applied_payment_leaves_review_by_success_or_reversal(
        self, answer: Verification, status: PaymentStatus
    ) -> None:
        after = decide(partly_refunded(), answer).aggregate
        assert status_of(after) is status
        gone = status is PaymentStatus.REVERSED
        assert after.order.status is (OrderStatus.REFUNDED if gone else OrderStatus.PAID)
        assert "order.paid" not in names(after)

    @pytest.mark.parametrize(
        "before",
        [
            in_review(replace(SUCCESS, amount=1)),
            in_review(replace(SUCCESS, amount=1), expired()),
            *(aggregate(status) for status in ordered(OPEN)),
        ],
    )
    def test_accepted_payment_pays_its_order(self, before: OrderAggregate) -> None:
        was = before.payments[0]
        after = decisions.accept(before, replace(was, lease_until=NOW), *BY)
        paid = {"paid_amount": was.paid_amount or PRICE, "paid_currency": "ETB", "paid_at": NOW}
        assert after.payments == (
            replace(was, status=PaymentStatus.SUCCEEDED, accepted_by="sara", reason=None, **paid),
        )
        assert (after.order.status, after.order.paid_by) == (OrderStatus.PAID, TX)
        assert names(after) == ["payment.resolved", "payment.succeeded", "order.paid"]

    def test_accept_keeps_what_was_paid_when(self) -> None:
        before = in_review(replace(SUCCESS, amount=0, currency="USD"))
        after = decisions.accept(before, before.payments[0], "sara", "why", NOW + DAY).payments[0]
        assert (after.paid_amount, after.paid_currency, after.paid_at) == (0, "USD", NOW)

    @pytest.mark.parametrize("status", [OrderStatus.PAID, OrderStatus.REFUNDED])
    def test_order_that_another_payment_paid_cannot_take_one_more(
        self, status: OrderStatus
    ) -> None:
        before = aggregate(PaymentStatus.REVIEW, status)
        assert not decisions.can_take(before.order, before.payments[0])
        with pytest.raises(IllegalMoveError, match=f"order {order().order_id} cannot take {TX}"):
            decisions.accept(before, before.payments[0], *BY)

    def test_accepted_payment_of_a_paid_order_stays_applied(self) -> None:
        before = partly_refunded()
        after = decisions.accept(before, before.payments[0], *BY)
        assert status_of(after) is PaymentStatus.SUCCEEDED
        assert after.order == before.order
        assert names(after) == ["payment.resolved", "payment.succeeded"]

    @pytest.mark.parametrize("currency", ["ETB", "USD"])
    def test_given_back_is_what_was_really_paid(self, currency: str) -> None:
        before = in_review(replace(SUCCESS, amount=70_000, currency=currency))
        after = decisions.give_back(before, before.payments[0], *BY)
        (owed,) = after.refunds
        assert (owed.amount, owed.currency, owed.reason) == (70_000, currency, BY[1])
        assert status_of(after) is PaymentStatus.UNAPPLIED
        assert after.order == replace(before.order, active_tx_ref=None)
        assert names(after) == ["payment.resolved", "payment.unapplied", "refund.requested"]
        assert refunds.refundable(after, TX) == 0

    def test_given_back_of_an_applied_payment_is_what_is_left(self) -> None:
        before = partly_refunded()
        after = decisions.give_back(before, before.payments[0], *BY)
        assert [r.amount for r in after.refunds] == [60_000, 30_000]
        assert status_of(after) is PaymentStatus.SUCCEEDED
        assert after.order.status is OrderStatus.PAID
        owed = after.refunds[1].refund_id
        done = refunds.ended(after, owed, Said.REFUNDED, NOW)
        assert status_of(done) is PaymentStatus.REFUNDED
        assert done.order.status is OrderStatus.REFUNDED

    @pytest.mark.parametrize("status", ordered(decisions.RESOLVABLE))
    def test_dismissed_payment_is_closed_and_lets_its_order_end(
        self, status: PaymentStatus
    ) -> None:
        before = aggregate(status)
        early = decisions.dismiss(before, before.payments[0], Said.NOT_PAID, *BY)
        reason = "dismissed: called the customer"
        assert early.payments == (payment(PaymentStatus.CLOSED, reason=reason),)
        assert early.order == replace(before.order, active_tx_ref=None)
        late = decisions.dismiss(before, before.payments[0], Said.UNKNOWN, *BY[:2], EXPIRY)
        assert late.order.status is OrderStatus.EXPIRED
        assert names(late) == ["payment.resolved", "payment.closed", "order.expired"]

    @pytest.mark.parametrize(
        ("answer", "status"),
        [(REFUNDED, PaymentStatus.REFUNDED), (REVERSED, PaymentStatus.REVERSED)],
    )
    def test_dismissed_payment_whose_money_went_back_is_final(
        self, answer: Verification, status: PaymentStatus
    ) -> None:
        before = in_review(answer)
        after = decisions.dismiss(before, before.payments[0], answer.said, *BY[:2], EXPIRY)
        assert status_of(after) is status
        assert after.order.status is OrderStatus.EXPIRED

    @pytest.mark.parametrize("said", [Said.REFUNDED, Said.UNKNOWN])
    def test_dismissed_payment_that_was_applied_is_refunded(self, said: Said) -> None:
        before = partly_refunded()
        after = decisions.dismiss(before, before.payments[0], said, *BY)
        assert status_of(after) is PaymentStatus.REFUNDED
        assert after.order.status is OrderStatus.REFUNDED
        assert after.refunds[0].refund_id == RF
