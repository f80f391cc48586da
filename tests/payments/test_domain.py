from collections.abc import Callable
from dataclasses import replace
from itertools import product
from typing import Any

import pytest

from payments import domain
from payments.domain import Decision, LateSuccessPolicy, Outcome, Rules, Said, Verification
from payments.states import (
    OPEN,
    OPEN_REFUNDS,
    REFUND_MOVES,
    UNPAID,
    OrderStatus,
    PaymentStatus,
    RefundStatus,
    StockStatus,
)
from payments.states import PAID as PAID_STATES
from payments.story import Event, IllegalMove, Line, Order, Payment, Refund, Story

NOW = 1_800_000_000
TX = "tx"
RULES = Rules(
    order_ttl=1800,
    lease=60,
    look_after=(90, 120, 300),
    last_look_after=(3600, 86400),
    review_after=86400,
    late_success="reserve",
)
ORDER = Order(
    order_id="order",
    user_id="abebe",
    amount=90_000,
    currency="ETB",
    lines=(Line("COFFEE", "Coffee", 2, 45_000),),
    created_at=NOW,
    expires_at=NOW + 1800,
    request_hash="hash",
)
PAID = Verification(
    Said.PAID,
    tx_ref=TX,
    amount=90_000,
    currency="ETB",
    mode="test",
    reference="AP1",
    status="success",
)

STOCK_OF = {
    OrderStatus.PENDING: StockStatus.RESERVED,
    OrderStatus.PAID: StockStatus.COMMITTED,
    OrderStatus.REFUNDED: StockStatus.COMMITTED,
    OrderStatus.EXPIRED: StockStatus.RELEASED,
    OrderStatus.CANCELLED: StockStatus.RELEASED,
}


def story(
    payment: PaymentStatus = PaymentStatus.PENDING,
    order: OrderStatus = OrderStatus.PENDING,
    lease_until: int = 0,
) -> Story:
    live = TX if payment in OPEN and order is OrderStatus.PENDING else None
    return Story(
        replace(ORDER, status=order, stock=STOCK_OF[order], live=live, version=1),
        (Payment(TX, 90_000, "ETB", NOW, status=payment, lease_until=lease_until),),
    )


def decided(
    before: Story, said: Verification = PAID, policy: LateSuccessPolicy = "reserve"
) -> Decision:
    return domain.decide(before, TX, said, NOW, "test", replace(RULES, late_success=policy))


def status_of(after: Story) -> PaymentStatus:
    return after.payments[0].status


def refund(reference: str = "op-1", amount: int = 90_000, **more: Any) -> Refund:
    return Refund(reference, TX, amount, "ETB", NOW, **more)


def names(after: Story) -> list[str]:
    return [event.name for event in after.news]


class TestDecide:
    @pytest.mark.parametrize("status", sorted(UNPAID))
    def test_a_success_pays_a_pending_order_from_every_unpaid_state(
        self, status: PaymentStatus
    ) -> None:
        after = decided(story(status)).story
        assert status_of(after) is PaymentStatus.SUCCEEDED
        assert after.order.status is OrderStatus.PAID
        assert after.order.stock is StockStatus.COMMITTED
        assert after.order.paid_by == TX
        assert after.payments[0].reference == "AP1"
        assert names(after) == ["payment.succeeded", "order.paid"]

    @pytest.mark.parametrize(
        "wrong",
        [{"amount": 89_999}, {"amount": 1}, {"currency": "USD"}, {"mode": "live"}, {"tx_ref": "x"},
         {"reference": None}, {"amount": None}],
        ids=str,
    )  # fmt: skip
    @pytest.mark.parametrize("order", [OrderStatus.PENDING, OrderStatus.EXPIRED, OrderStatus.PAID])
    def test_a_success_that_is_not_what_was_asked_for_waits_for_a_person(
        self, wrong: dict[str, Any], order: OrderStatus
    ) -> None:
        before = story(PaymentStatus.CLOSED, order)
        after = decided(before, replace(PAID, **wrong)).story
        assert status_of(after) is PaymentStatus.REVIEW
        assert after.payments[0].reason == f"not as asked: {next(iter(wrong))}"
        assert (after.order.status, after.order.stock) == (order, before.order.stock)
        assert names(after) == ["payment.review"]
        assert not after.refunds

    def test_the_same_wrong_success_again_changes_nothing(self) -> None:
        wrong = replace(PAID, amount=1)
        parked = decided(story(), wrong).story
        assert decided(parked, wrong) == Decision(parked, Outcome.DUPLICATE)

    @pytest.mark.parametrize("status", sorted(UNPAID))
    @pytest.mark.parametrize("order", [OrderStatus.PAID, OrderStatus.REFUNDED])
    def test_a_second_success_for_a_paid_order_is_owed_back(
        self, status: PaymentStatus, order: OrderStatus
    ) -> None:
        after = decided(story(status, order)).story
        assert status_of(after) is PaymentStatus.SURPLUS
        assert after.order.status is order
        assert after.refunds == (refund(f"late-{TX}", reason="Paid too late or twice"),)
        assert names(after) == ["payment.surplus", "refund.requested"]

    @pytest.mark.parametrize("order", [OrderStatus.EXPIRED, OrderStatus.CANCELLED])
    @pytest.mark.parametrize(
        ("policy", "payment", "owner"),
        [
            ("reserve", PaymentStatus.SUCCEEDED, "order"),
            ("refund", PaymentStatus.SURPLUS, "customer"),
            ("review", PaymentStatus.REVIEW, "person"),
        ],
    )
    def test_a_late_success_always_has_an_owner(
        self, order: OrderStatus, policy: LateSuccessPolicy, payment: PaymentStatus, owner: str
    ) -> None:
        after = decided(story(PaymentStatus.CLOSED, order), policy=policy).story
        assert status_of(after) is payment
        assert (after.order.status is OrderStatus.PAID) == (owner == "order")
        assert (after.order.stock is StockStatus.COMMITTED) == (owner == "order")
        assert bool(after.refunds) == (owner == "customer")

    @pytest.mark.parametrize("status", sorted(set(PaymentStatus) - UNPAID))
    @pytest.mark.parametrize("said", sorted(set(Said) - {Said.REFUNDED, Said.REVERSED}))
    def test_nothing_that_chapa_says_lowers_what_is_settled(
        self, status: PaymentStatus, said: Said
    ) -> None:
        before = story(status, OrderStatus.PAID)
        decision = decided(before, replace(PAID, said=said))
        assert decision.story is before

    @pytest.mark.parametrize("status", sorted(PaymentStatus))
    @pytest.mark.parametrize("order", sorted(OrderStatus))
    @pytest.mark.parametrize("said", [Said.UNKNOWN, Said.OPEN])
    def test_not_knowing_changes_nothing(
        self, status: PaymentStatus, order: OrderStatus, said: Said
    ) -> None:
        before = story(status, order)
        assert decided(before, Verification(said)).story is before

    @pytest.mark.parametrize("status", [PaymentStatus.INITIALIZING, PaymentStatus.PENDING])
    def test_a_failure_is_soft(self, status: PaymentStatus) -> None:
        failed = decided(story(status), Verification(Said.FAILED, status="failed")).story
        assert status_of(failed) is PaymentStatus.FAILED
        assert failed.order.status is OrderStatus.PENDING
        assert failed.order.stock is StockStatus.RESERVED
        assert decided(failed).story.order.status is OrderStatus.PAID

    @pytest.mark.parametrize(
        "status", sorted(UNPAID - {PaymentStatus.INITIALIZING, PaymentStatus.PENDING})
    )
    def test_a_failure_says_nothing_new_about_a_payment_that_is_shut_or_parked(
        self, status: PaymentStatus
    ) -> None:
        before = story(status)
        assert decided(before, Verification(Said.FAILED, status="failed")).story is before

    @pytest.mark.parametrize("said", [Said.REFUNDED, Said.REVERSED])
    @pytest.mark.parametrize("status", sorted(UNPAID - {PaymentStatus.REVIEW}))
    def test_money_that_came_and_went_unseen_waits_for_a_person(
        self, status: PaymentStatus, said: Said
    ) -> None:
        after = decided(story(status), replace(PAID, said=said)).story
        assert status_of(after) is PaymentStatus.REVIEW
        assert after.order.status is OrderStatus.PENDING

    @pytest.mark.parametrize(
        ("order", "policy", "settled"),
        [
            (OrderStatus.PENDING, "reserve", PaymentStatus.SUCCEEDED),
            (OrderStatus.PAID, "reserve", PaymentStatus.SURPLUS),
            (OrderStatus.EXPIRED, "review", PaymentStatus.REVIEW),
        ],
    )
    def test_a_success_ends_every_lease_and_keeps_what_chapa_said_of_it(
        self, order: OrderStatus, policy: LateSuccessPolicy, settled: PaymentStatus
    ) -> None:
        before = story(PaymentStatus.CLOSING, order, NOW + 60).with_payment(TX, reason="over")
        decision = decided(before, policy=policy)
        reason = "paid after the order was expired" if settled is PaymentStatus.REVIEW else None
        known = Payment(TX, 90_000, "ETB", NOW, settled, reference="AP1", paid_amount=90_000)
        assert decision.outcome is Outcome.APPLIED
        assert decision.story.payments == (replace(known, reason=reason),)
        assert decision.story.order.live is None

    def test_a_wrong_success_is_kept_as_chapa_said_it(self) -> None:
        before = story(PaymentStatus.CLOSING, lease_until=NOW + 60)
        decision = decided(before, replace(PAID, amount=1, reference="AP2"))
        known = Payment(TX, 90_000, "ETB", NOW, PaymentStatus.REVIEW, reference="AP2")
        assert decision.outcome is Outcome.APPLIED
        assert decision.story.payments == (
            replace(known, paid_amount=1, reason="not as asked: amount"),
        )

    def test_who_is_parked_for_another_reason_is_told_again(self) -> None:
        first = decided(story(), replace(PAID, amount=1)).story
        second = decided(first, replace(PAID, said=Said.REVERSED))
        assert second.outcome is Outcome.APPLIED
        assert second.story.payments == (
            replace(first.payments[0], reason="provider says reversed"),
        )

    def test_a_failure_ends_a_lease_and_a_silence(self) -> None:
        before = story(PaymentStatus.INITIALIZING, lease_until=NOW + 60)
        before = before.with_order(unknown_since=NOW - 90)
        decision = decided(before, Verification(Said.FAILED, status="failed"))
        assert decision.outcome is Outcome.APPLIED
        assert decision.story.payments[0].lease_until == 0
        assert decision.story.payments[0].reason == "provider says failed"
        assert decision.story.order.unknown_since is None

    @pytest.mark.parametrize("status", sorted(PaymentStatus))
    def test_what_changes_nothing_is_done_or_open_or_unknown(self, status: PaymentStatus) -> None:
        before = story(status)
        nothing = Outcome.OPEN if status in OPEN else Outcome.DUPLICATE
        if status in PAID_STATES:
            nothing = Outcome.UNKNOWN  # It was paid once: this is no word about its money.
        assert decided(before, Verification(Said.OPEN)).outcome is nothing
        assert decided(before, Verification(Said.UNKNOWN)).outcome is Outcome.UNKNOWN

    @pytest.mark.parametrize("wrong", [{"tx_ref": "x"}, {"currency": "USD"}, {"mode": "live"}])
    @pytest.mark.parametrize("said", sorted(Said))
    @pytest.mark.parametrize("status", sorted(PaymentStatus))
    def test_an_answer_about_another_payment_is_none_unless_it_tells_of_money(
        self, status: PaymentStatus, said: Said, wrong: dict[str, str]
    ) -> None:
        before = story(status, OrderStatus.PAID if status in PAID_STATES else OrderStatus.EXPIRED)
        answered = decided(before, replace(PAID, said=said, **wrong))  # type: ignore[arg-type]
        if status in UNPAID and said in {Said.PAID, Said.REFUNDED, Said.REVERSED}:
            assert status_of(answered.story) is PaymentStatus.REVIEW
        else:
            assert answered == Decision(before, Outcome.UNKNOWN)

    def test_nothing_is_decided_about_a_payment_that_is_not_there(self) -> None:
        with pytest.raises(KeyError, match=TX):
            decided(Story(ORDER))


class TestBeginning:
    def test_an_order_is_placed_as_it_is(self) -> None:
        assert domain.place(ORDER).order is ORDER

    def test_a_payment_is_the_live_one_before_chapa_hears_of_it(self) -> None:
        after = domain.begin(Story(ORDER), TX, NOW, RULES)
        assert after.live == Payment(TX, 90_000, "ETB", NOW, lease_until=NOW + 60)

    def test_an_answer_makes_it_payable(self) -> None:
        before = story(PaymentStatus.INITIALIZING, lease_until=NOW + 60)
        after = domain.opened(before, TX, "https://pay", NOW)
        page = Payment(TX, 90_000, "ETB", NOW, PaymentStatus.PENDING, checkout_url="https://pay")
        assert after.payments == (page,)

    @pytest.mark.parametrize("status", sorted(set(PaymentStatus) - {PaymentStatus.INITIALIZING}))
    def test_an_answer_that_comes_too_late_changes_nothing(self, status: PaymentStatus) -> None:
        before = story(status)
        assert domain.opened(before, TX, "https://pay", NOW) is before
        assert domain.never_opened(before, TX, "refused", NOW) is before
        assert domain.lost(before, TX, "timeout", NOW) is before

    def test_what_was_never_opened_makes_room_at_once(self) -> None:
        before = story(PaymentStatus.INITIALIZING, lease_until=NOW + 60)
        after = domain.never_opened(before, TX, "refused", NOW)
        shut = Payment(TX, 90_000, "ETB", NOW, PaymentStatus.CLOSED, reason="refused")
        assert after.payments == (shut,)
        assert after.order.live is None

    def test_a_lost_answer_keeps_the_payment_and_ends_its_lease(self) -> None:
        before = story(PaymentStatus.INITIALIZING, lease_until=NOW + 60)
        after = domain.lost(before, TX, "timeout", NOW)
        assert after.payments == (replace(before.payments[0], lease_until=NOW, reason="timeout"),)
        assert domain.to_close(after, NOW) == after.payments

    def test_an_order_is_payable_until_its_time_is_over(self) -> None:
        assert domain.payable(Story(ORDER), ORDER.expires_at - 1)
        assert not domain.payable(Story(ORDER), ORDER.expires_at)

    def test_an_order_under_review_is_not_payable(self) -> None:
        assert not domain.payable(story(PaymentStatus.REVIEW), NOW)


class TestClosing:
    @pytest.mark.parametrize("status", sorted(OPEN))
    def test_all_that_is_open_must_be_closed_once_the_order_is_over(
        self, status: PaymentStatus
    ) -> None:
        before = story(status)
        assert domain.to_close(before, ORDER.expires_at) == before.payments

    @pytest.mark.parametrize("order", sorted(set(OrderStatus) - {OrderStatus.PENDING}))
    def test_a_second_page_is_closed_when_the_order_has_ended(self, order: OrderStatus) -> None:
        before = story(PaymentStatus.PENDING, order)
        assert domain.to_close(before, NOW) == before.payments

    @pytest.mark.parametrize("status", [PaymentStatus.PENDING, PaymentStatus.FAILED])
    def test_a_page_that_can_still_be_paid_is_left_open(self, status: PaymentStatus) -> None:
        assert domain.to_close(story(status), NOW) == ()

    @pytest.mark.parametrize("status", [PaymentStatus.INITIALIZING, PaymentStatus.CLOSING])
    def test_what_somebody_left_behind_is_closed_when_the_lease_ends(
        self, status: PaymentStatus
    ) -> None:
        before = story(status, lease_until=NOW + 60)
        assert domain.to_close(before, NOW + 59) == ()
        assert domain.to_close(before, NOW + 60) == before.payments

    def test_nobody_closes_what_another_is_at_even_after_expiry(self) -> None:
        before = story(PaymentStatus.CLOSING, lease_until=ORDER.expires_at + 60)
        assert domain.to_close(before, ORDER.expires_at) == ()

    def test_a_payment_that_was_settled_meanwhile_is_not_closed(self) -> None:
        before = story(PaymentStatus.SUCCEEDED, OrderStatus.PAID)
        assert domain.close(before, [TX], "expired", NOW) is before

    def test_closing_the_live_payment_makes_room_for_another(self) -> None:
        before = story(PaymentStatus.CLOSING, lease_until=NOW + 60)
        after = domain.close(before, [TX], "replaced", NOW)
        shut = Payment(TX, 90_000, "ETB", NOW, PaymentStatus.CLOSED, reason="replaced")
        assert (after.payments, after.order.live) == ((shut,), None)

    def test_closing_another_leaves_the_live_one(self) -> None:
        other = Payment("other", 90_000, "ETB", NOW, PaymentStatus.CLOSING)
        before = replace(story(), payments=(*story().payments, other))
        after = domain.close(before, ["nobody", "other"], "replaced", NOW)
        assert (after.live, after.payments[1].status) == (before.payments[0], "closed")

    def test_a_lease_is_for_so_long_and_can_be_given_back(self) -> None:
        leased = domain.lease(story(), story().payments, NOW, RULES)
        taken = replace(story().payments[0], status=PaymentStatus.CLOSING, lease_until=NOW + 60)
        assert leased.payments == (taken,)
        free = domain.let_go(leased, ["nobody", TX], NOW + 1)
        assert free.payments == (replace(taken, lease_until=NOW + 1),)

    def test_what_was_settled_meanwhile_is_not_let_go(self) -> None:
        before = story(PaymentStatus.SUCCEEDED, OrderStatus.PAID)
        assert domain.let_go(before, [TX], NOW) is before

    @pytest.mark.parametrize("order", sorted(set(OrderStatus) - {OrderStatus.PENDING}))
    def test_what_has_ended_cannot_be_cancelled(self, order: OrderStatus) -> None:
        before = story(PaymentStatus.CLOSED, order)
        assert domain.cancel(before) is before

    def test_a_cancelled_order_ends_at_once_and_gives_its_stock_back(self) -> None:
        before = domain.cancel(story(PaymentStatus.CLOSED))
        assert not domain.payable(before, NOW)
        after = domain.end(before, NOW)
        assert (after.order.status, after.order.stock) == ("cancelled", "released")

    def test_an_order_expires_when_nothing_can_pay_it_any_more(self) -> None:
        after = domain.end(story(PaymentStatus.CLOSED), ORDER.expires_at)
        assert after.order.status is OrderStatus.EXPIRED
        assert after.order.stock is StockStatus.RELEASED
        assert names(after) == ["order.expired"]

    @pytest.mark.parametrize("status", sorted(OPEN | {PaymentStatus.REVIEW}))
    def test_an_order_does_not_expire_while_something_may_pay_it(
        self, status: PaymentStatus
    ) -> None:
        before = story(status)
        assert domain.end(before, ORDER.expires_at) is before

    def test_an_order_does_not_expire_before_its_time_or_twice(self) -> None:
        early, ended = story(PaymentStatus.CLOSED), story(PaymentStatus.CLOSED, OrderStatus.EXPIRED)
        assert domain.end(early, ORDER.expires_at - 1) is early
        assert domain.end(ended, ORDER.expires_at) is ended


class TestDue:
    @pytest.mark.parametrize(
        ("payment", "order"), list(product(sorted(PaymentStatus), sorted(OrderStatus)))
    )
    def test_whatever_can_still_move_by_itself_is_due(
        self, payment: PaymentStatus, order: OrderStatus
    ) -> None:
        before = story(payment, order)
        due = domain.due_at(before, NOW, RULES)
        waits = order is OrderStatus.PENDING and payment is not PaymentStatus.REVIEW
        assert (due is not None) == (waits or payment in UNPAID)

    @pytest.mark.parametrize("status", sorted(RefundStatus))
    @pytest.mark.parametrize("order", sorted(set(OrderStatus) - {OrderStatus.PENDING}))
    @pytest.mark.parametrize("tries", [0, 1])
    def test_a_refund_is_looked_at_until_it_is_final(
        self, status: RefundStatus, order: OrderStatus, tries: int
    ) -> None:
        refund = Refund("late-tx", TX, 90_000, "ETB", NOW, status=status, tries=tries)
        before = replace(story(PaymentStatus.SURPLUS, order), refunds=(refund,))
        assert (domain.due_at(before, NOW, RULES) is not None) == bool(REFUND_MOVES[status])

    def test_money_that_is_owed_is_asked_for_at_once(self) -> None:
        after = decided(story(PaymentStatus.CLOSED, OrderStatus.PAID)).story
        assert domain.due_at(after, NOW, RULES) == NOW

    def test_an_order_that_is_being_cancelled_is_due_at_once(self) -> None:
        before = domain.cancel(story(PaymentStatus.CLOSED))
        assert domain.due_at(before, NOW, RULES) == NOW

    def test_an_order_without_a_payment_is_due_when_it_expires(self) -> None:
        assert domain.due_at(Story(ORDER), NOW, RULES) == ORDER.expires_at

    def test_looks_come_further_apart_and_go_on(self) -> None:
        dues = []
        for looks in range(5):
            seen = story().with_order(looks=looks)
            dues.append((domain.due_at(seen, NOW, RULES) or 0) - NOW)
        assert dues == [90, 120, 300, 300, 300]

    def test_no_pause_reaches_past_the_end_of_the_order(self) -> None:
        assert domain.due_at(story(), ORDER.expires_at - 10, RULES) == ORDER.expires_at

    def test_a_lease_that_ends_is_looked_at(self) -> None:
        opening = story(PaymentStatus.INITIALIZING, lease_until=NOW + 60)
        assert domain.due_at(opening, NOW, RULES) == NOW + 60
        assert domain.due_at(opening, NOW + 60, RULES) == NOW + 60 + 90

    def test_a_closed_payment_is_looked_at_twice_more_and_then_left(self) -> None:
        ended = story(PaymentStatus.CLOSED, OrderStatus.EXPIRED)
        dues = [domain.due_at(ended.with_order(looks=n), NOW, RULES) for n in range(3)]
        assert dues == [NOW + 3600, NOW + 86400, None]

    def test_a_last_look_without_an_answer_does_not_count(self) -> None:
        ended = story(PaymentStatus.CLOSED, OrderStatus.EXPIRED)
        assert domain.looked(ended, NOW, unknown=True, rules=RULES).order.looks == 0
        assert domain.looked(ended, NOW, unknown=False, rules=RULES).order.looks == 1

    def test_what_was_asked_last_is_asked_until_there_is_an_answer(self) -> None:
        ended = story(PaymentStatus.CLOSED, OrderStatus.EXPIRED)
        unanswered = ended.with_order(looks=2, unknown_since=NOW - 7)
        assert domain.due_at(unanswered, NOW, RULES) == NOW + 300

    def test_a_look_at_which_nobody_was_asked_is_taken_then_and_counts_for_nothing(self) -> None:
        before = domain.scheduled(None, story().with_order(looks=1), NOW, RULES)
        skipped = domain.not_looked(before, NOW + 3)
        assert skipped == before.with_order(due_at=None, nudged_to=NOW + 3)

    def test_what_moved_is_looked_at_soon_again(self) -> None:
        before = story().with_order(looks=7)
        after = domain.scheduled(
            before, before.with_payment(TX, status=PaymentStatus.FAILED), NOW, RULES
        )
        assert (after.order.looks, after.order.due_at) == (0, NOW + 90)

    def test_a_nudge_brings_the_next_look_forward_once(self) -> None:
        before = domain.scheduled(None, story(), NOW, RULES)
        nudged = domain.nudged(before, NOW + 3)
        assert nudged.order.due_at == NOW + 3
        assert domain.nudged(nudged, NOW + 4) is nudged
        assert domain.nudged(nudged, NOW + 3) is nudged

    def test_what_is_settled_is_not_due_and_its_nudge_is_over(self) -> None:
        before = domain.nudged(domain.scheduled(None, story(), NOW, RULES), NOW + 3)
        settled = domain.scheduled(before, decided(before).story, NOW, RULES)
        assert (settled.order.due_at, settled.order.nudged_to) == (None, None)

    @pytest.mark.parametrize("status", sorted(set(PaymentStatus) - UNPAID))
    def test_a_nudge_about_what_is_settled_changes_nothing(self, status: PaymentStatus) -> None:
        before = story(status, OrderStatus.PAID)
        assert domain.nudged(before, NOW) is before

    def test_a_nudge_is_not_lost_to_whoever_writes_at_the_same_time(self) -> None:
        nudged = domain.nudged(domain.scheduled(None, story(), NOW, RULES), NOW + 3)
        looked = domain.looked(nudged, NOW, unknown=False, rules=RULES)
        kept = domain.scheduled(nudged, looked, NOW, RULES).order
        assert (kept.due_at, kept.nudged_to) == (NOW + 3, NOW + 3)

    def test_a_nudge_ends_with_the_look_that_it_asked_for(self) -> None:
        nudged = domain.nudged(domain.scheduled(None, story(), NOW, RULES), NOW + 3)
        looked = domain.looked(nudged, NOW + 3, unknown=False, rules=RULES)
        assert domain.scheduled(nudged, looked, NOW + 3, RULES).order.due_at == NOW + 3 + 120

    def test_a_provider_silent_for_too_long_is_a_matter_for_a_person(self) -> None:
        first = domain.looked(story(), NOW, unknown=True, rules=RULES)
        assert first.order.unknown_since == NOW
        almost = domain.looked(first, NOW + 86_399, unknown=True, rules=RULES)
        assert status_of(almost) is PaymentStatus.PENDING
        silent = domain.looked(almost, NOW + 86_400, unknown=True, rules=RULES)
        assert status_of(silent) is PaymentStatus.REVIEW
        assert silent.order.stock is StockStatus.RESERVED
        assert names(silent) == ["payment.review"]

    def test_the_silence_counts_from_its_beginning(self) -> None:
        first = domain.looked(story(), NOW, unknown=True, rules=RULES)
        later = domain.looked(first, NOW + 90, unknown=True, rules=RULES)
        assert later.order.unknown_since == NOW

    def test_a_silence_about_a_refund_is_a_matter_for_a_person_too(self) -> None:
        silent = replace(paid().with_order(unknown_since=NOW), refunds=(refund(tries=1),))
        after = domain.looked(silent, NOW + 86_400, unknown=True, rules=RULES)
        assert after.refunds[0].status is RefundStatus.REVIEW
        assert after.refunds[0].reason == "provider unreachable for too long"

    @pytest.mark.parametrize(
        "unanswered",
        [
            domain.doubted(story(PaymentStatus.SUCCEEDED, OrderStatus.PAID), TX),
            story(PaymentStatus.CLOSED, OrderStatus.EXPIRED),
            story(PaymentStatus.REVIEW),
        ],
        ids=["money may have gone back", "money may have come late", "a person was called before"],
    )
    def test_a_silence_about_what_is_not_open_calls_a_person_each_day(
        self, unanswered: Story
    ) -> None:
        silent = domain.looked(unanswered, NOW, unknown=True, rules=RULES)
        told = []
        for hour in range(1, 49):
            silent = domain.looked(silent, NOW + hour * 3600, unknown=True, rules=RULES)
            told.append((hour, names(silent)))
            silent = replace(silent, news=())
        assert [(hour, news) for hour, news in told if news] == [
            (24, ["order.unanswered"]),
            (48, ["order.unanswered"]),
        ]
        assert silent.payments == unanswered.payments

    def test_a_person_who_is_called_for_a_payment_is_not_called_twice(self) -> None:
        silent = story().with_order(unknown_since=NOW)
        after = domain.looked(silent, NOW + 86_400, unknown=True, rules=RULES)
        again = domain.looked(after, NOW + 90_000, unknown=True, rules=RULES)
        assert names(again) == ["payment.review"]

    @pytest.mark.parametrize("what", ["payment", "refund", "doubt"])
    def test_a_look_at_what_is_not_settled_counts_even_without_an_answer(self, what: str) -> None:
        before = {
            "payment": story(),
            "refund": replace(paid(), refunds=(refund(tries=1),)),
            "doubt": domain.doubted(paid(), TX),
        }[what]
        assert domain.looked(before, NOW, unknown=True, rules=RULES).order.looks == 1

    def test_a_look_that_changed_nothing_is_written_all_the_same(self) -> None:
        """And with it the next one: what is due now would stay due for ever."""
        ended = story(PaymentStatus.CLOSED, OrderStatus.EXPIRED).with_order(unknown_since=NOW)
        before = domain.scheduled(None, ended, NOW, RULES)
        assert domain.looked(before, NOW + 90, unknown=True, rules=RULES) != before

    def test_one_answer_ends_the_silence(self) -> None:
        silent = domain.looked(story(), NOW, unknown=True, rules=RULES)
        answered = domain.looked(silent, NOW + 50_000, unknown=False, rules=RULES)
        assert answered.order.unknown_since is None


def paid() -> Story:
    return decided(story()).story


def refunding(*refunds: Refund) -> Story:
    """A paid order of which so much is owed back."""
    return replace(paid(), refunds=refunds, news=())


class TestRefunds:
    def test_nobody_owes_more_than_is_left(self) -> None:
        part = domain.request_refund(paid(), refund("first", 60_000), NOW)
        with pytest.raises(IllegalMove, match="second"):
            domain.request_refund(part, refund("second", 30_001), NOW)
        owed = domain.request_refund(part, refund("second", 30_000), NOW)
        assert [r.amount for r in owed.refunds] == [60_000, 30_000]

    @pytest.mark.parametrize("status", sorted(set(PaymentStatus) - PAID_STATES))
    def test_of_what_is_not_ours_nothing_can_be_refunded(self, status: PaymentStatus) -> None:
        assert domain.refundable(story(status), TX) == 0
        assert domain.refundable(story(status), "another") == 0

    def test_a_refund_of_another_payment_takes_nothing_of_this_one(self) -> None:
        before = refunding(replace(refund(), tx_ref="another"))
        assert domain.refundable(before, TX) == 90_000

    @pytest.mark.parametrize("status", sorted(RefundStatus))
    def test_whatever_may_have_gone_out_is_no_longer_left(self, status: RefundStatus) -> None:
        left = domain.refundable(refunding(refund(amount=60_000, status=status)), TX)
        assert left == (90_000 if status is RefundStatus.REVERSED else 30_000)

    def test_a_try_is_counted_and_leased_before_chapa_is_asked(self) -> None:
        once = domain.try_refund(refunding(refund()), "op-1", NOW, RULES)
        assert once.refunds == (refund(tries=1, lease_until=NOW + 60),)
        again = domain.try_refund(once, "op-1", NOW + 60, RULES)
        assert again.refunds == (refund(tries=2, lease_until=NOW + 120),)

    def test_what_chapa_took_is_pending_under_its_handle(self) -> None:
        tried = refunding(refund(tries=1, lease_until=NOW + 60))
        after = domain.refund_accepted(tried, "op-1", "RF1", NOW)
        assert after.refunds == (refund(status=RefundStatus.PENDING, tries=1, handle="RF1"),)

    def test_a_lost_answer_leaves_it_to_whoever_comes_next(self) -> None:
        tried = refunding(refund(tries=1, lease_until=NOW + 60))
        after = domain.refund_unanswered(tried, "op-1", NOW)
        assert after.refunds == (refund(tries=1, lease_until=NOW),)
        assert not after.news

    def test_what_chapa_refused_waits_for_a_person(self) -> None:
        tried = refunding(refund(tries=1, lease_until=NOW + 60))
        after = domain.refund_review(tried, "op-1", "refused", NOW)
        assert after.refunds == (refund(status=RefundStatus.REVIEW, tries=1, reason="refused"),)

    @pytest.mark.parametrize("status", sorted(set(RefundStatus) - OPEN_REFUNDS))
    def test_nothing_moves_a_refund_that_is_final(self, status: RefundStatus) -> None:
        before = refunding(refund(status=status))
        assert domain.refund_accepted(before, "op-1", "RF1", NOW) is before
        assert domain.refund_unanswered(before, "op-1", NOW) is before
        assert domain.refund_review(before, "op-1", "refused", NOW) is before
        for said in (Said.REFUNDED, Said.REVERSED):
            assert domain.refund_ended(before, "op-1", said, NOW) is before

    def test_a_refund_that_chapa_has_is_not_accepted_again(self) -> None:
        before = refunding(refund(status=RefundStatus.PENDING, handle="RF1"))
        assert domain.refund_accepted(before, "op-1", "RF2", NOW) is before

    def test_nothing_happens_to_a_refund_that_is_not_there(self) -> None:
        before = paid()
        assert domain.try_refund(before, "op-1", NOW, RULES) is before
        assert domain.refund_accepted(before, "op-1", "RF1", NOW) is before
        assert domain.refund_unanswered(before, "op-1", NOW) is before
        assert domain.refund_review(before, "op-1", "refused", NOW) is before
        assert domain.refund_ended(before, "op-1", Said.REFUNDED, NOW) is before

    def test_a_refund_that_chapa_took_back_is_owed_again(self) -> None:
        pending = refunding(refund(status=RefundStatus.PENDING, lease_until=NOW))
        after = domain.refund_ended(pending, "op-1", Said.REVERSED, NOW)
        assert after.refunds == (refund(status=RefundStatus.REVERSED),)
        assert (status_of(after), after.order.status) == (PaymentStatus.SUCCEEDED, "paid")
        assert domain.refundable(after, TX) == 90_000

    @pytest.mark.parametrize("return_stock", [False, True])
    def test_when_all_went_back_payment_and_order_are_refunded(self, return_stock: bool) -> None:
        pending = refunding(
            refund("op-1", 60_000, status=RefundStatus.REFUNDED, return_stock=return_stock),
            refund("op-2", 30_000, status=RefundStatus.PENDING, lease_until=NOW),
        )
        after = domain.refund_ended(pending, "op-2", Said.REFUNDED, NOW)
        assert after.refunds[1] == refund("op-2", 30_000, status=RefundStatus.REFUNDED)
        assert (status_of(after), after.order.status) == (PaymentStatus.REFUNDED, "refunded")
        goods = StockStatus.RELEASED if return_stock else StockStatus.COMMITTED
        assert after.order.stock is goods

    def test_until_all_went_back_the_order_stays_paid(self) -> None:
        pending = refunding(
            refund("op-1", 60_000, status=RefundStatus.PENDING),
            refund("op-2", 30_000, status=RefundStatus.PENDING),
            replace(refund("op-3", 90_000, status=RefundStatus.REFUNDED), tx_ref="another"),
        )
        after = domain.refund_ended(pending, "op-1", Said.REFUNDED, NOW)
        assert (status_of(after), after.order.status) == (PaymentStatus.SUCCEEDED, "paid")

    def test_a_refunded_surplus_moves_no_order(self) -> None:
        surplus = decided(story(PaymentStatus.CLOSED, OrderStatus.PAID)).story
        after = domain.refund_ended(surplus, f"late-{TX}", Said.REFUNDED, NOW)
        assert (status_of(after), after.order.status) == (PaymentStatus.REFUNDED, "paid")

    def test_our_own_refund_says_itself_when_it_is_done(self) -> None:
        before = domain.doubted(refunding(refund(status=RefundStatus.PENDING)), TX)
        after = decided(before, replace(PAID, said=Said.REFUNDED))
        assert after == Decision(domain.trusted(before, TX), Outcome.OPEN)

    def test_a_refund_of_another_payment_hides_none_of_this_one(self) -> None:
        before = refunding(replace(refund(), tx_ref="another"))
        after = decided(before, replace(PAID, said=Said.REFUNDED))
        assert after.outcome is Outcome.APPLIED
        assert status_of(after.story) is PaymentStatus.REFUNDED

    def test_what_was_reversed_is_not_owed_any_more(self) -> None:
        mine, other = refund(), replace(refund("op-2"), tx_ref="another")
        before = domain.doubted(refunding(mine, other), TX)
        decision = decided(before, replace(PAID, said=Said.REVERSED))
        after = decision.story
        assert decision.outcome is Outcome.APPLIED
        assert [r.status for r in after.refunds] == [RefundStatus.REVIEW, RefundStatus.REQUESTED]
        assert after.refunds[0].reason == "the payment itself was reversed"
        assert (status_of(after), after.order.status) == (PaymentStatus.REVERSED, "refunded")
        assert after.payments[0].in_doubt is False


class TestDoubt:
    def test_a_paid_payment_is_asked_about_until_there_is_an_answer(self) -> None:
        doubted = domain.doubted(paid(), TX)
        assert doubted.to_ask == doubted.payments
        assert domain.due_at(doubted, NOW, RULES) == NOW + 90
        assert domain.trusted(doubted, TX) == paid()

    def test_doubting_twice_is_doubting_once(self) -> None:
        doubted = domain.doubted(paid(), TX)
        assert domain.doubted(doubted, TX) is doubted

    @pytest.mark.parametrize("status", sorted(set(PaymentStatus) - PAID_STATES))
    def test_only_money_that_we_hold_can_have_gone_back(self, status: PaymentStatus) -> None:
        before = story(status)
        assert domain.doubted(before, TX) is before
        assert domain.doubted(before, "another") is before

    def test_what_nobody_doubts_needs_no_trust(self) -> None:
        before = paid()
        assert domain.trusted(before, TX) is before
        assert domain.trusted(before, "another") is before

    def test_an_answer_that_all_is_well_ends_the_doubt(self) -> None:
        assert decided(domain.doubted(paid(), TX)) == Decision(paid(), Outcome.DUPLICATE)


MONEY = {"amount": 90_000, "currency": "ETB"}
OWED = {"tx_ref": TX, "refund": "op-1", **MONEY}
TOLD: dict[str, tuple[Callable[[], Story], list[Event]]] = {
    "placed": (lambda: domain.place(ORDER), [Event("order.placed", NOW, MONEY)]),
    "begun": (
        lambda: domain.begin(Story(ORDER), TX, NOW + 1, RULES),
        [Event("payment.initializing", NOW + 1, {"tx_ref": TX, **MONEY})],
    ),
    "opened": (
        lambda: domain.opened(story(PaymentStatus.INITIALIZING), TX, "https://pay", NOW),
        [Event("payment.pending", NOW, {"tx_ref": TX})],
    ),
    "never opened": (
        lambda: domain.never_opened(story(PaymentStatus.INITIALIZING), TX, "refused", NOW),
        [Event("payment.closed", NOW, {"tx_ref": TX, "reason": "refused"})],
    ),
    "closed": (
        lambda: domain.close(story(PaymentStatus.CLOSING), [TX], "over", NOW),
        [Event("payment.closed", NOW, {"tx_ref": TX, "reason": "over"})],
    ),
    "expired": (
        lambda: domain.end(story(PaymentStatus.CLOSED), ORDER.expires_at),
        [Event("order.expired", ORDER.expires_at, {})],
    ),
    "cancelled": (
        lambda: domain.end(domain.cancel(story(PaymentStatus.CLOSED)), NOW),
        [Event("order.cancelled", NOW, {})],
    ),
    "failed": (
        lambda: decided(story(), Verification(Said.FAILED, status="failed/cancelled")).story,
        [Event("payment.failed", NOW, {"tx_ref": TX, "reason": "provider says failed/cancelled"})],
    ),
    "paid": (
        paid,
        [
            Event("payment.succeeded", NOW, {"tx_ref": TX, "reference": "AP1", **MONEY}),
            Event("order.paid", NOW, {"tx_ref": TX, **MONEY}),
        ],
    ),
    "paid twice": (
        lambda: decided(story(PaymentStatus.CLOSED, OrderStatus.PAID)).story,
        [
            Event("payment.surplus", NOW, {"tx_ref": TX, "reference": "AP1", **MONEY}),
            Event("refund.requested", NOW, {**OWED, "refund": f"late-{TX}"}),
        ],
    ),
    "paid wrongly": (
        lambda: decided(story(), replace(PAID, amount=1, mode="live")).story,
        [Event("payment.review", NOW, {"tx_ref": TX, "reason": "not as asked: amount, mode"})],
    ),
    "paid too late": (
        lambda: decided(story(PaymentStatus.CLOSED, OrderStatus.EXPIRED), policy="review").story,
        [
            Event(
                "payment.review",
                NOW,
                {"tx_ref": TX, "reason": "paid after the order was expired"},
            )
        ],
    ),
    "come and gone": (
        lambda: decided(story(), replace(PAID, said=Said.REVERSED)).story,
        [Event("payment.review", NOW, {"tx_ref": TX, "reason": "provider says reversed"})],
    ),
    "not found out": (
        lambda: domain.looked(
            replace(story().with_order(unknown_since=NOW - 86_400), refunds=(refund(),)),
            NOW,
            unknown=True,
            rules=RULES,
        ),
        [
            Event(f"{what}.review", NOW, {**whose, "reason": "provider unreachable for too long"})
            for what, whose in {
                "payment": {"tx_ref": TX},
                "refund": {"tx_ref": TX, "refund": "op-1"},
            }.items()
        ],
    ),
    "not answered": (
        lambda: domain.looked(
            story(PaymentStatus.CLOSED, OrderStatus.EXPIRED).with_order(unknown_since=NOW - 86_400),
            NOW,
            unknown=True,
            rules=RULES,
        ),
        [Event("order.unanswered", NOW, {})],
    ),
    "refund accepted": (
        lambda: domain.refund_accepted(refunding(refund()), "op-1", "RF1", NOW),
        [Event("refund.accepted", NOW, {"tx_ref": TX, "refund": "op-1"})],
    ),
    "refund refused": (
        lambda: domain.refund_review(refunding(refund()), "op-1", "refused", NOW),
        [Event("refund.review", NOW, {"tx_ref": TX, "refund": "op-1", "reason": "refused"})],
    ),
    "refund taken back": (
        lambda: domain.refund_ended(refunding(refund()), "op-1", Said.REVERSED, NOW),
        [Event("refund.reversed", NOW, OWED)],
    ),
    "refunded by us": (
        lambda: domain.refund_ended(refunding(refund()), "op-1", Said.REFUNDED, NOW),
        [
            Event("refund.completed", NOW, OWED),
            Event("payment.refunded", NOW, {"tx_ref": TX, "by": "us"}),
            Event("order.refunded", NOW, {"tx_ref": TX, "stock_returned": False}),
        ],
    ),
    "refunded by Chapa": (
        lambda: decided(refunding(), replace(PAID, said=Said.REFUNDED)).story,
        [
            Event("payment.refunded", NOW, {"tx_ref": TX, "by": "provider"}),
            Event("order.refunded", NOW, {"tx_ref": TX, "stock_returned": False}),
        ],
    ),
    "reversed while it was refunded": (
        lambda: decided(refunding(refund()), replace(PAID, said=Said.REVERSED)).story,
        [
            Event(
                "refund.review",
                NOW,
                {"tx_ref": TX, "refund": "op-1", "reason": "the payment itself was reversed"},
            ),
            Event("payment.reversed", NOW, {"tx_ref": TX}),
            Event("order.refunded", NOW, {"tx_ref": TX, "stock_returned": False}),
        ],
    ),
    "reversed": (
        lambda: decided(refunding(), replace(PAID, said=Said.REVERSED)).story,
        [
            Event("payment.reversed", NOW, {"tx_ref": TX}),
            Event("order.refunded", NOW, {"tx_ref": TX, "stock_returned": False}),
        ],
    ),
}
"""What happened, and what other services and the operators hear of it."""


@pytest.mark.parametrize("what", TOLD)
def test_the_ledger_tells_what_happened_when_and_to_whom(what: str) -> None:
    step, told = TOLD[what]
    assert list(step().news) == told


class TestMoves:
    def test_a_transition_that_the_tables_lack_is_a_bug(self) -> None:
        with pytest.raises(IllegalMove, match="PaymentStatus: succeeded → pending"):
            story(PaymentStatus.SUCCEEDED).with_payment(TX, status=PaymentStatus.PENDING)
        with pytest.raises(IllegalMove, match="OrderStatus: pending → refunded"):
            Story(ORDER).with_order(status=OrderStatus.REFUNDED)
        with pytest.raises(IllegalMove, match="stock: released → reserved"):
            story(order=OrderStatus.EXPIRED).with_order(stock=StockStatus.RESERVED)
        final = refunding(refund(status=RefundStatus.REFUNDED))
        with pytest.raises(IllegalMove, match="RefundStatus: refunded → pending"):
            final.with_refund("op-1", status=RefundStatus.PENDING)
