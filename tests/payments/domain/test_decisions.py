from collections.abc import Callable
from dataclasses import replace
from itertools import product
from typing import Any

import pytest

from payments import domain
from payments.domain import Decision, LateSuccessPolicy, Outcome, Said, Verification
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
from payments.story import Event, IllegalMove, Refund, Story
from tests.builders import NOW, PAID, PRICE, RULES, TX, order, payment, refund, story

ORDER = order()
FAILED = Verification(Said.FAILED, status="failed/cancelled")
ENDED = sorted(set(OrderStatus) - {OrderStatus.PENDING})
NOT_PAID = sorted(set(PaymentStatus) - PAID_STATES)


def decided(
    before: Story, said: Verification = PAID, policy: LateSuccessPolicy = "reserve"
) -> Decision:
    return domain.decide(before, TX, said, NOW, "test", replace(RULES, late_success=policy))


def status_of(after: Story) -> PaymentStatus:
    return after.payments[0].status


def names(after: Story) -> list[str]:
    return [event.name for event in after.news]


def expired(status: PaymentStatus = PaymentStatus.CLOSED) -> Story:
    return story(status, OrderStatus.EXPIRED)


def unapplied() -> Story:
    """A paid order whose second payment is owed back."""
    return decided(story(PaymentStatus.CLOSED, OrderStatus.PAID)).story


def paid() -> Story:
    return decided(story()).story


def refunding(*refunds: Refund) -> Story:
    """A paid order with these refunds."""
    return replace(paid(), refunds=refunds, news=())


def unanswered(before: Story, at: int = NOW) -> Story:
    return domain.looked(before, at, unknown=True, rules=RULES)


class TestDecide:
    @pytest.mark.parametrize("status", sorted(UNPAID))
    def test_success_pays_pending_order_from_every_unpaid_state(
        self, status: PaymentStatus
    ) -> None:
        after = decided(story(status)).story
        assert after.payments[0] == payment(
            PaymentStatus.SUCCEEDED, reference="AP1", paid_amount=PRICE
        )
        assert after.order.status is OrderStatus.PAID
        assert after.order.stock is StockStatus.COMMITTED
        assert after.order.paid_by == TX

    @pytest.mark.parametrize(
        "wrong",
        [{"amount": 89_999}, {"amount": 1}, {"currency": "USD"}, {"mode": "live"}, {"tx_ref": "x"},
         {"reference": None}, {"amount": None}],
        ids=str,
    )  # fmt: skip
    @pytest.mark.parametrize("status", [OrderStatus.PENDING, OrderStatus.EXPIRED, OrderStatus.PAID])
    def test_success_with_wrong_facts_goes_to_review(
        self, wrong: dict[str, Any], status: OrderStatus
    ) -> None:
        before = story(PaymentStatus.CLOSED, status)
        answer = replace(PAID, **wrong)
        after = decided(before, answer).story
        assert status_of(after) is PaymentStatus.REVIEW
        assert after.payments[0].reason == f"not as asked: {next(iter(wrong))}"
        assert (after.order.status, after.order.stock) == (status, before.order.stock)
        assert names(after) == ["payment.review"]
        assert not after.refunds
        assert decided(after, answer) == Decision(after, Outcome.DUPLICATE)

    @pytest.mark.parametrize("status", sorted(UNPAID))
    @pytest.mark.parametrize("order_status", [OrderStatus.PAID, OrderStatus.REFUNDED])
    def test_second_success_of_paid_order_is_owed_back(
        self, status: PaymentStatus, order_status: OrderStatus
    ) -> None:
        after = decided(story(status, order_status)).story
        assert status_of(after) is PaymentStatus.SURPLUS
        assert after.order.status is order_status
        assert after.refunds == (refund(f"late-{TX}", reason="Paid too late or twice"),)

    @pytest.mark.parametrize("order_status", [OrderStatus.EXPIRED, OrderStatus.CANCELLED])
    @pytest.mark.parametrize(
        ("policy", "status", "owner"),
        [
            ("reserve", PaymentStatus.SUCCEEDED, "order"),
            ("refund", PaymentStatus.SURPLUS, "customer"),
            ("review", PaymentStatus.REVIEW, "operator"),
        ],
    )
    def test_late_success_always_has_an_owner(
        self,
        order_status: OrderStatus,
        policy: LateSuccessPolicy,
        status: PaymentStatus,
        owner: str,
    ) -> None:
        after = decided(story(PaymentStatus.CLOSED, order_status), policy=policy).story
        assert status_of(after) is status
        assert (after.order.status is OrderStatus.PAID) == (owner == "order")
        assert (after.order.stock is StockStatus.COMMITTED) == (owner == "order")
        assert bool(after.refunds) == (owner == "customer")

    @pytest.mark.parametrize("status", sorted(set(PaymentStatus) - UNPAID))
    @pytest.mark.parametrize("said", sorted(set(Said) - {Said.REFUNDED, Said.REVERSED}))
    def test_settled_payment_changes_only_when_its_money_goes_back(
        self, status: PaymentStatus, said: Said
    ) -> None:
        before = story(status, OrderStatus.PAID)
        assert decided(before, replace(PAID, said=said)).story is before

    @pytest.mark.parametrize("status", sorted(PaymentStatus))
    @pytest.mark.parametrize("order_status", sorted(OrderStatus))
    def test_answer_without_news_changes_nothing(
        self, status: PaymentStatus, order_status: OrderStatus
    ) -> None:
        before = story(status, order_status)
        nothing = Outcome.OPEN if status in OPEN else Outcome.DUPLICATE
        if status in PAID_STATES:
            nothing = Outcome.UNKNOWN  # "Not paid" of a paid payment cannot be true.
        unknown = decided(before, Verification(Said.UNKNOWN))
        still_open = decided(before, Verification(Said.OPEN))
        assert (unknown.story, unknown.outcome) == (before, Outcome.UNKNOWN)
        assert (still_open.story, still_open.outcome) == (before, nothing)

    @pytest.mark.parametrize("status", [PaymentStatus.INITIALIZING, PaymentStatus.PENDING])
    def test_failure_is_not_final(self, status: PaymentStatus) -> None:
        before = story(status, lease_until=NOW + 60).with_order(unknown_since=NOW - 90)
        decision = decided(before, FAILED)
        failed = payment(PaymentStatus.FAILED, reason="provider says failed/cancelled")
        assert decision.outcome is Outcome.APPLIED
        assert decision.story.payments == (failed,)
        assert decision.story.order == replace(before.order, unknown_since=None)
        assert decided(decision.story).story.order.status is OrderStatus.PAID

    @pytest.mark.parametrize(
        "status", sorted(UNPAID - {PaymentStatus.INITIALIZING, PaymentStatus.PENDING})
    )
    def test_failure_of_closed_or_reviewed_payment_changes_nothing(
        self, status: PaymentStatus
    ) -> None:
        before = story(status)
        assert decided(before, FAILED).story is before

    @pytest.mark.parametrize("said", [Said.REFUNDED, Said.REVERSED])
    @pytest.mark.parametrize("status", sorted(UNPAID - {PaymentStatus.REVIEW}))
    def test_money_that_went_back_before_it_was_seen_goes_to_review(
        self, status: PaymentStatus, said: Said
    ) -> None:
        after = decided(story(status), replace(PAID, said=said)).story
        assert status_of(after) is PaymentStatus.REVIEW
        assert after.order.status is OrderStatus.PENDING

    @pytest.mark.parametrize(
        ("order_status", "policy", "settled"),
        [
            (OrderStatus.PENDING, "reserve", PaymentStatus.SUCCEEDED),
            (OrderStatus.PAID, "reserve", PaymentStatus.SURPLUS),
            (OrderStatus.EXPIRED, "review", PaymentStatus.REVIEW),
        ],
    )
    def test_success_ends_the_lease_and_stores_the_facts(
        self, order_status: OrderStatus, policy: LateSuccessPolicy, settled: PaymentStatus
    ) -> None:
        before = story(PaymentStatus.CLOSING, order_status, NOW + 60)
        decision = decided(before.with_payment(TX, reason="over"), policy=policy)
        reason = "paid after the order was expired" if settled is PaymentStatus.REVIEW else None
        assert decision.outcome is Outcome.APPLIED
        assert decision.story.payments == (
            payment(settled, reference="AP1", paid_amount=PRICE, reason=reason),
        )
        assert decision.story.order.live is None

    def test_review_stores_the_wrong_facts(self) -> None:
        before = story(PaymentStatus.CLOSING, lease_until=NOW + 60)
        decision = decided(before, replace(PAID, amount=1, reference="AP2"))
        assert decision.outcome is Outcome.APPLIED
        assert decision.story.payments == (
            payment(
                PaymentStatus.REVIEW, reference="AP2", paid_amount=1, reason="not as asked: amount"
            ),
        )

    def test_review_for_a_second_reason_is_recorded(self) -> None:
        first = decided(story(), replace(PAID, amount=1)).story
        second = decided(first, replace(PAID, said=Said.REVERSED))
        assert second.outcome is Outcome.APPLIED
        assert second.story.payments == (
            replace(first.payments[0], reason="provider says reversed"),
        )

    @pytest.mark.parametrize("wrong", [{"tx_ref": "x"}, {"currency": "USD"}, {"mode": "live"}])
    @pytest.mark.parametrize("said", sorted(Said))
    @pytest.mark.parametrize("status", sorted(PaymentStatus))
    def test_answer_about_another_payment_counts_only_if_money_moved(
        self, status: PaymentStatus, said: Said, wrong: dict[str, str]
    ) -> None:
        before = story(status, OrderStatus.PAID if status in PAID_STATES else OrderStatus.EXPIRED)
        decision = decided(before, replace(PAID, said=said, **wrong))  # type: ignore[arg-type]
        if status in UNPAID and said in {Said.PAID, Said.REFUNDED, Said.REVERSED}:
            assert status_of(decision.story) is PaymentStatus.REVIEW
        else:
            assert decision == Decision(before, Outcome.UNKNOWN)

    def test_unknown_payment_is_an_error(self) -> None:
        with pytest.raises(KeyError, match=TX):
            decided(Story(ORDER))


class TestInitialize:
    def test_placed_order_is_kept_as_it_is(self) -> None:
        assert domain.place(ORDER).order is ORDER

    def test_new_payment_is_active_and_leased(self) -> None:
        after = domain.begin(Story(ORDER), TX, NOW, RULES)
        assert after.live == payment(PaymentStatus.INITIALIZING, lease_until=NOW + 60)

    def test_checkout_url_makes_payment_payable(self) -> None:
        before = story(PaymentStatus.INITIALIZING, lease_until=NOW + 60)
        after = domain.opened(before, TX, "https://pay", NOW)
        assert after.payments == (payment(checkout_url="https://pay"),)

    @pytest.mark.parametrize("status", sorted(set(PaymentStatus) - {PaymentStatus.INITIALIZING}))
    def test_late_answer_of_initialize_changes_nothing(self, status: PaymentStatus) -> None:
        before = story(status)
        assert domain.opened(before, TX, "https://pay", NOW) is before
        assert domain.never_opened(before, TX, "refused", NOW) is before
        assert domain.lost(before, TX, "timeout", NOW) is before

    def test_refused_payment_makes_room_at_once(self) -> None:
        before = story(PaymentStatus.INITIALIZING, lease_until=NOW + 60)
        after = domain.never_opened(before, TX, "refused", NOW)
        assert after.payments == (payment(PaymentStatus.CLOSED, reason="refused"),)
        assert after.order.live is None

    def test_lost_answer_keeps_payment_and_ends_its_lease(self) -> None:
        before = story(PaymentStatus.INITIALIZING, lease_until=NOW + 60)
        after = domain.lost(before, TX, "timeout", NOW)
        assert after.payments == (replace(before.payments[0], lease_until=NOW, reason="timeout"),)
        assert domain.to_close(after, NOW) == after.payments

    def test_order_is_payable_until_it_expires_unless_under_review(self) -> None:
        assert domain.payable(Story(ORDER), ORDER.expires_at - 1)
        assert not domain.payable(Story(ORDER), ORDER.expires_at)
        assert not domain.payable(story(PaymentStatus.REVIEW), NOW)


class TestClose:
    @pytest.mark.parametrize("status", sorted(OPEN))
    def test_open_payment_is_closed_once_the_order_is_over(self, status: PaymentStatus) -> None:
        before = story(status)
        assert domain.to_close(before, ORDER.expires_at) == before.payments

    @pytest.mark.parametrize("order_status", ENDED)
    def test_open_payment_of_ended_order_is_closed(self, order_status: OrderStatus) -> None:
        before = story(PaymentStatus.PENDING, order_status)
        assert domain.to_close(before, NOW) == before.payments

    @pytest.mark.parametrize("status", [PaymentStatus.PENDING, PaymentStatus.FAILED])
    def test_payable_page_stays_open(self, status: PaymentStatus) -> None:
        assert domain.to_close(story(status), NOW) == ()

    @pytest.mark.parametrize("status", [PaymentStatus.INITIALIZING, PaymentStatus.CLOSING])
    def test_abandoned_payment_is_closed_when_its_lease_ends(self, status: PaymentStatus) -> None:
        before = story(status, lease_until=NOW + 60)
        assert domain.to_close(before, NOW + 59) == ()
        assert domain.to_close(before, NOW + 60) == before.payments

    def test_leased_payment_is_not_closed_even_after_expiry(self) -> None:
        before = story(PaymentStatus.CLOSING, lease_until=ORDER.expires_at + 60)
        assert domain.to_close(before, ORDER.expires_at) == ()

    def test_payment_that_was_settled_meanwhile_is_neither_closed_nor_let_go(self) -> None:
        before = story(PaymentStatus.SUCCEEDED, OrderStatus.PAID)
        assert domain.close(before, [TX], "expired", NOW) is before
        assert domain.let_go(before, [TX], NOW) is before

    def test_closed_active_payment_makes_room_for_another(self) -> None:
        before = story(PaymentStatus.CLOSING, lease_until=NOW + 60)
        after = domain.close(before, [TX], "replaced", NOW)
        assert after.payments == (payment(PaymentStatus.CLOSED, reason="replaced"),)
        assert after.order.live is None

    def test_closing_another_payment_leaves_the_active_one(self) -> None:
        other = payment(PaymentStatus.CLOSING, tx_ref="other")
        before = replace(story(), payments=(*story().payments, other))
        after = domain.close(before, ["unknown", "other"], "replaced", NOW)
        assert after.live == before.payments[0]
        assert after.payments[1].status is PaymentStatus.CLOSED

    def test_lease_has_a_length_and_can_be_given_back(self) -> None:
        leased = domain.lease(story(), story().payments, NOW, RULES)
        assert leased.payments == (payment(PaymentStatus.CLOSING, lease_until=NOW + 60),)
        free = domain.let_go(leased, ["unknown", TX], NOW + 1)
        assert free.payments == (payment(PaymentStatus.CLOSING, lease_until=NOW + 1),)

    @pytest.mark.parametrize("order_status", ENDED)
    def test_ended_order_cannot_be_cancelled(self, order_status: OrderStatus) -> None:
        before = story(PaymentStatus.CLOSED, order_status)
        assert domain.cancel(before) is before

    def test_cancelled_order_ends_at_once_and_releases_its_stock(self) -> None:
        before = domain.cancel(story(PaymentStatus.CLOSED))
        assert not domain.payable(before, NOW)
        assert domain.due_at(before, NOW, RULES) == NOW
        after = domain.end(before, NOW)
        assert after.order.status is OrderStatus.CANCELLED
        assert after.order.stock is StockStatus.RELEASED

    def test_unpaid_order_expires_and_releases_its_stock(self) -> None:
        after = domain.end(story(PaymentStatus.CLOSED), ORDER.expires_at)
        assert after.order.status is OrderStatus.EXPIRED
        assert after.order.stock is StockStatus.RELEASED

    @pytest.mark.parametrize("status", sorted(OPEN | {PaymentStatus.REVIEW}))
    def test_order_does_not_expire_while_a_payment_may_succeed(self, status: PaymentStatus) -> None:
        before = story(status)
        assert domain.end(before, ORDER.expires_at) is before

    def test_order_does_not_expire_early_or_twice(self) -> None:
        early, ended = story(PaymentStatus.CLOSED), expired()
        assert domain.end(early, ORDER.expires_at - 1) is early
        assert domain.end(ended, ORDER.expires_at) is ended


class TestSchedule:
    @pytest.mark.parametrize(
        ("status", "order_status"), list(product(sorted(PaymentStatus), sorted(OrderStatus)))
    )
    def test_order_that_can_still_change_has_a_check(
        self, status: PaymentStatus, order_status: OrderStatus
    ) -> None:
        due = domain.due_at(story(status, order_status), NOW, RULES)
        waits = order_status is OrderStatus.PENDING and status is not PaymentStatus.REVIEW
        assert (due is not None) == (waits or status in UNPAID)

    @pytest.mark.parametrize("status", sorted(RefundStatus))
    @pytest.mark.parametrize("order_status", ENDED)
    @pytest.mark.parametrize("tries", [0, 1])
    def test_refund_is_checked_until_it_is_final(
        self, status: RefundStatus, order_status: OrderStatus, tries: int
    ) -> None:
        owed = refund("late-tx", status=status, tries=tries)
        before = replace(story(PaymentStatus.SURPLUS, order_status), refunds=(owed,))
        assert (domain.due_at(before, NOW, RULES) is not None) == bool(REFUND_MOVES[status])

    def test_owed_money_is_requested_at_once(self) -> None:
        assert domain.due_at(unapplied(), NOW, RULES) == NOW

    def test_order_without_payment_is_due_when_it_expires(self) -> None:
        assert domain.due_at(Story(ORDER), NOW, RULES) == ORDER.expires_at

    def test_checks_come_further_apart_and_go_on(self) -> None:
        dues = [domain.due_at(story().with_order(looks=n), NOW, RULES) for n in range(5)]
        assert dues == [NOW + pause for pause in (90, 120, 300, 300, 300)]

    def test_no_check_comes_later_than_the_end_of_the_order(self) -> None:
        assert domain.due_at(story(), ORDER.expires_at - 10, RULES) == ORDER.expires_at

    def test_check_comes_when_a_lease_ends(self) -> None:
        opening = story(PaymentStatus.INITIALIZING, lease_until=NOW + 60)
        assert domain.due_at(opening, NOW, RULES) == NOW + 60
        assert domain.due_at(opening, NOW + 60, RULES) == NOW + 60 + 90

    def test_closed_payment_has_two_final_checks(self) -> None:
        dues = [domain.due_at(expired().with_order(looks=n), NOW, RULES) for n in range(3)]
        assert dues == [NOW + 3600, NOW + 86400, None]

    def test_unanswered_final_check_does_not_count(self) -> None:
        assert unanswered(expired()).order.looks == 0
        assert domain.looked(expired(), NOW, unknown=False, rules=RULES).order.looks == 1

    def test_unanswered_final_check_is_repeated_until_there_is_an_answer(self) -> None:
        before = expired().with_order(looks=2, unknown_since=NOW - 7)
        assert domain.due_at(before, NOW, RULES) == NOW + 300

    def test_skipped_check_is_made_up_for_and_does_not_count(self) -> None:
        before = domain.scheduled(None, story().with_order(looks=1), NOW, RULES)
        skipped = domain.not_looked(before, NOW + 3)
        assert skipped == before.with_order(due_at=None, nudged_to=NOW + 3)

    def test_changed_payment_is_checked_soon_again(self) -> None:
        before = story().with_order(looks=7)
        changed = before.with_payment(TX, status=PaymentStatus.FAILED)
        after = domain.scheduled(before, changed, NOW, RULES)
        assert (after.order.looks, after.order.due_at) == (0, NOW + 90)

    def test_early_check_moves_the_next_check_forward_once(self) -> None:
        early = early_check()
        assert early.order.due_at == NOW + 3
        assert domain.nudged(early, NOW + 4) is early
        assert domain.nudged(early, NOW + 3) is early

    def test_settled_payment_has_no_check_and_no_early_check(self) -> None:
        before = early_check()
        settled = domain.scheduled(before, decided(before).story, NOW, RULES)
        assert (settled.order.due_at, settled.order.nudged_to) == (None, None)

    @pytest.mark.parametrize("status", sorted(set(PaymentStatus) - UNPAID))
    def test_early_check_of_settled_payment_changes_nothing(self, status: PaymentStatus) -> None:
        before = story(status, OrderStatus.PAID)
        assert domain.nudged(before, NOW) is before

    def test_early_check_survives_a_concurrent_write(self) -> None:
        before = early_check()
        checked = domain.looked(before, NOW, unknown=False, rules=RULES)
        kept = domain.scheduled(before, checked, NOW, RULES).order
        assert (kept.due_at, kept.nudged_to) == (NOW + 3, NOW + 3)

    def test_early_check_ends_when_it_is_made(self) -> None:
        before = early_check()
        checked = domain.looked(before, NOW + 3, unknown=False, rules=RULES)
        assert domain.scheduled(before, checked, NOW + 3, RULES).order.due_at == NOW + 3 + 120

    def test_payment_unanswered_for_a_day_goes_to_review_once(self) -> None:
        first = unanswered(story())
        assert first.order.unknown_since == NOW
        almost = unanswered(first, NOW + 86_399)
        assert status_of(almost) is PaymentStatus.PENDING
        assert almost.order.unknown_since == NOW
        reviewed = unanswered(almost, NOW + 86_400)
        assert status_of(reviewed) is PaymentStatus.REVIEW
        assert reviewed.order.stock is StockStatus.RESERVED
        assert names(unanswered(reviewed, NOW + 90_000)) == ["payment.review"]

    def test_refund_unanswered_for_a_day_goes_to_review(self) -> None:
        before = refunding(refund(tries=1)).with_order(unknown_since=NOW)
        after = unanswered(before, NOW + 86_400)
        assert after.refunds[0].status is RefundStatus.REVIEW
        assert after.refunds[0].reason == "provider unreachable for too long"

    @pytest.mark.parametrize(
        "before",
        [
            domain.doubted(story(PaymentStatus.SUCCEEDED, OrderStatus.PAID), TX),
            expired(),
            story(PaymentStatus.REVIEW),
        ],
        ids=["possible reversal", "possible late success", "in review already"],
    )
    def test_unanswered_order_without_open_payment_is_reported_daily(self, before: Story) -> None:
        after = unanswered(before)
        reported: dict[int, list[str]] = {}
        for hour in range(1, 49):
            after = unanswered(after, NOW + hour * 3600)
            if after.news:
                reported[hour] = names(after)
            after = replace(after, news=())
        assert reported == {24: ["order.unanswered"], 48: ["order.unanswered"]}
        assert after.payments == before.payments

    @pytest.mark.parametrize(
        "before",
        [story(), refunding(refund(tries=1)), domain.doubted(paid(), TX)],
        ids=["open payment", "open refund", "possible reversal"],
    )
    def test_unanswered_check_of_unsettled_order_counts(self, before: Story) -> None:
        assert unanswered(before).order.looks == 1

    def test_check_that_changed_nothing_is_written(self) -> None:
        """Else what is due now would stay due."""
        ended = expired().with_order(unknown_since=NOW)
        before = domain.scheduled(None, ended, NOW, RULES)
        assert unanswered(before, NOW + 90) != before

    def test_one_answer_resets_the_unanswered_time(self) -> None:
        answered = domain.looked(unanswered(story()), NOW + 50_000, unknown=False, rules=RULES)
        assert answered.order.unknown_since is None


def early_check() -> Story:
    """A pending payment whose next check was moved forward to three seconds from now."""
    return domain.nudged(domain.scheduled(None, story(), NOW, RULES), NOW + 3)


class TestRefunds:
    def test_refunds_never_exceed_what_was_paid(self) -> None:
        part = domain.request_refund(paid(), refund("first", 60_000), NOW)
        with pytest.raises(IllegalMove, match="second"):
            domain.request_refund(part, refund("second", 30_001), NOW)
        owed = domain.request_refund(part, refund("second", 30_000), NOW)
        assert [r.amount for r in owed.refunds] == [60_000, 30_000]

    @pytest.mark.parametrize("status", NOT_PAID)
    def test_payment_without_money_is_not_refundable(self, status: PaymentStatus) -> None:
        assert domain.refundable(story(status), TX) == 0
        assert domain.refundable(story(status), "another") == 0

    @pytest.mark.parametrize("status", sorted(RefundStatus))
    def test_refundable_is_reduced_by_every_refund_that_was_not_reversed(
        self, status: RefundStatus
    ) -> None:
        part = refund(amount=60_000, status=status)
        before = refunding(part, replace(refund("op-2"), tx_ref="another"))
        left = PRICE if status is RefundStatus.REVERSED else 30_000
        assert domain.refundable(before, TX) == left

    def test_each_try_is_counted_and_leased(self) -> None:
        once = domain.try_refund(refunding(refund()), "op-1", NOW, RULES)
        assert once.refunds == (refund(tries=1, lease_until=NOW + 60),)
        again = domain.try_refund(once, "op-1", NOW + 60, RULES)
        assert again.refunds == (refund(tries=2, lease_until=NOW + 120),)

    @pytest.mark.parametrize(
        ("change", "changed"),
        [
            (
                lambda tried: domain.refund_accepted(tried, "op-1", "RF1", NOW),
                {"status": RefundStatus.PENDING, "handle": "RF1"},
            ),
            (lambda tried: domain.refund_unanswered(tried, "op-1", NOW), {"lease_until": NOW}),
            (
                lambda tried: domain.refund_review(tried, "op-1", "refused", NOW),
                {"status": RefundStatus.REVIEW, "reason": "refused"},
            ),
        ],
        ids=["accepted", "unanswered", "refused"],
    )
    def test_answer_to_a_refund_ends_its_lease(
        self, change: Callable[[Story], Story], changed: dict[str, Any]
    ) -> None:
        after = change(refunding(refund(tries=1, lease_until=NOW + 60)))
        assert after.refunds == (refund(tries=1, **changed),)

    @pytest.mark.parametrize("status", [None, *sorted(set(RefundStatus) - OPEN_REFUNDS)])
    def test_final_or_unknown_refund_does_not_change(self, status: RefundStatus | None) -> None:
        before = refunding(refund(status=status)) if status else paid()
        assert domain.refund_accepted(before, "op-1", "RF1", NOW) is before
        assert domain.refund_unanswered(before, "op-1", NOW) is before
        assert domain.refund_review(before, "op-1", "refused", NOW) is before
        assert domain.refund_ended(before, "op-1", Said.REFUNDED, NOW) is before
        assert domain.refund_ended(before, "op-1", Said.REVERSED, NOW) is before
        assert domain.try_refund(before, "another", NOW, RULES) is before

    def test_accepted_refund_is_not_accepted_again(self) -> None:
        before = refunding(refund(status=RefundStatus.PENDING, handle="RF1"))
        assert domain.refund_accepted(before, "op-1", "RF2", NOW) is before

    def test_reversed_refund_is_refundable_again(self) -> None:
        pending = refunding(refund(status=RefundStatus.PENDING, lease_until=NOW))
        after = domain.refund_ended(pending, "op-1", Said.REVERSED, NOW)
        assert after.refunds == (refund(status=RefundStatus.REVERSED),)
        assert status_of(after) is PaymentStatus.SUCCEEDED
        assert after.order.status is OrderStatus.PAID
        assert domain.refundable(after, TX) == PRICE

    @pytest.mark.parametrize("return_stock", [False, True])
    def test_full_refund_moves_payment_and_order(self, return_stock: bool) -> None:
        pending = refunding(
            refund("op-1", 60_000, status=RefundStatus.REFUNDED, return_stock=return_stock),
            refund("op-2", 30_000, status=RefundStatus.PENDING, lease_until=NOW),
        )
        after = domain.refund_ended(pending, "op-2", Said.REFUNDED, NOW)
        assert after.refunds[1] == refund("op-2", 30_000, status=RefundStatus.REFUNDED)
        assert status_of(after) is PaymentStatus.REFUNDED
        assert after.order.status is OrderStatus.REFUNDED
        stock = StockStatus.RELEASED if return_stock else StockStatus.COMMITTED
        assert after.order.stock is stock

    def test_partly_refunded_order_stays_paid(self) -> None:
        pending = refunding(
            refund("op-1", 60_000, status=RefundStatus.PENDING),
            refund("op-2", 30_000, status=RefundStatus.PENDING),
            replace(refund("op-3", status=RefundStatus.REFUNDED), tx_ref="another"),
        )
        after = domain.refund_ended(pending, "op-1", Said.REFUNDED, NOW)
        assert status_of(after) is PaymentStatus.SUCCEEDED
        assert after.order.status is OrderStatus.PAID

    def test_refund_of_unapplied_payment_leaves_the_order_paid(self) -> None:
        after = domain.refund_ended(unapplied(), f"late-{TX}", Said.REFUNDED, NOW)
        assert status_of(after) is PaymentStatus.REFUNDED
        assert after.order.status is OrderStatus.PAID

    def test_verify_says_refunded_while_our_refund_is_open(self) -> None:
        before = domain.doubted(refunding(refund(status=RefundStatus.PENDING)), TX)
        after = decided(before, replace(PAID, said=Said.REFUNDED))
        assert after == Decision(domain.trusted(before, TX), Outcome.OPEN)

    def test_open_refund_of_another_payment_does_not_hide_a_refund(self) -> None:
        before = refunding(replace(refund(), tx_ref="another"))
        after = decided(before, replace(PAID, said=Said.REFUNDED))
        assert after.outcome is Outcome.APPLIED
        assert status_of(after.story) is PaymentStatus.REFUNDED

    def test_reversal_sends_open_refunds_of_the_payment_to_review(self) -> None:
        mine, other = refund(), replace(refund("op-2"), tx_ref="another")
        before = domain.doubted(refunding(mine, other), TX)
        decision = decided(before, replace(PAID, said=Said.REVERSED))
        after = decision.story
        assert decision.outcome is Outcome.APPLIED
        assert [r.status for r in after.refunds] == [RefundStatus.REVIEW, RefundStatus.REQUESTED]
        assert after.refunds[0].reason == "the payment itself was reversed"
        assert status_of(after) is PaymentStatus.REVERSED
        assert after.order.status is OrderStatus.REFUNDED
        assert after.payments[0].in_doubt is False


class TestPossibleReversal:
    def test_paid_payment_is_checked_until_there_is_an_answer(self) -> None:
        before = domain.doubted(paid(), TX)
        assert before.to_ask == before.payments
        assert domain.due_at(before, NOW, RULES) == NOW + 90
        assert domain.trusted(before, TX) == paid()
        assert domain.doubted(before, TX) is before
        assert decided(before) == Decision(paid(), Outcome.DUPLICATE)

    @pytest.mark.parametrize("status", NOT_PAID)
    def test_only_a_paid_payment_can_be_reversed(self, status: PaymentStatus) -> None:
        before = story(status)
        assert domain.doubted(before, TX) is before
        assert domain.doubted(before, "another") is before

    def test_payment_without_a_possible_reversal_stays_as_it_is(self) -> None:
        before = paid()
        assert domain.trusted(before, TX) is before
        assert domain.trusted(before, "another") is before


def event(name: str, at: int = NOW, **details: Any) -> Event:
    return Event(name, at, details)


def of_payment(name: str, **details: Any) -> Event:
    return event(name, tx_ref=TX, **details)


def of_refund(name: str, **details: Any) -> Event:
    return event(name, tx_ref=TX, refund="op-1", **details)


MONEY: dict[str, Any] = {"amount": PRICE, "currency": "ETB"}
UNREACHABLE = "provider unreachable for too long"
A_DAY_AGO = {"unknown_since": NOW - 86_400}
ORDER_REFUNDED = of_payment("order.refunded", stock_returned=False)
INITIALIZING = story(PaymentStatus.INITIALIZING)
EVENTS: dict[str, tuple[Callable[[], Story], list[Event]]] = {
    "order placed": (lambda: domain.place(ORDER), [event("order.placed", **MONEY)]),
    "payment initializing": (
        lambda: domain.begin(Story(ORDER), TX, NOW + 1, RULES),
        [event("payment.initializing", NOW + 1, tx_ref=TX, **MONEY)],
    ),
    "payment opened": (
        lambda: domain.opened(INITIALIZING, TX, "https://pay", NOW),
        [of_payment("payment.pending")],
    ),
    "payment refused": (
        lambda: domain.never_opened(INITIALIZING, TX, "refused", NOW),
        [of_payment("payment.closed", reason="refused")],
    ),
    "payment closed": (
        lambda: domain.close(story(PaymentStatus.CLOSING), [TX], "over", NOW),
        [of_payment("payment.closed", reason="over")],
    ),
    "order expired": (
        lambda: domain.end(story(PaymentStatus.CLOSED), ORDER.expires_at),
        [event("order.expired", ORDER.expires_at)],
    ),
    "order cancelled": (
        lambda: domain.end(domain.cancel(story(PaymentStatus.CLOSED)), NOW),
        [event("order.cancelled")],
    ),
    "payment failed": (
        lambda: decided(story(), FAILED).story,
        [of_payment("payment.failed", reason="provider says failed/cancelled")],
    ),
    "order paid": (
        paid,
        [
            of_payment("payment.succeeded", reference="AP1", **MONEY),
            of_payment("order.paid", **MONEY),
        ],
    ),
    "order paid twice": (
        unapplied,
        [
            of_payment("payment.surplus", reference="AP1", **MONEY),
            of_payment("refund.requested", refund=f"late-{TX}", **MONEY),
        ],
    ),
    "wrong amount and mode": (
        lambda: decided(story(), replace(PAID, amount=1, mode="live")).story,
        [of_payment("payment.review", reason="not as asked: amount, mode")],
    ),
    "paid too late": (
        lambda: decided(expired(), policy="review").story,
        [of_payment("payment.review", reason="paid after the order was expired")],
    ),
    "reversed before it was seen": (
        lambda: decided(story(), replace(PAID, said=Said.REVERSED)).story,
        [of_payment("payment.review", reason="provider says reversed")],
    ),
    "payment and refund unanswered": (
        lambda: unanswered(replace(story().with_order(**A_DAY_AGO), refunds=(refund(),))),
        [
            of_payment("payment.review", reason=UNREACHABLE),
            of_refund("refund.review", reason=UNREACHABLE),
        ],
    ),
    "ended order unanswered": (
        lambda: unanswered(expired().with_order(**A_DAY_AGO)),
        [event("order.unanswered")],
    ),
    "refund accepted": (
        lambda: domain.refund_accepted(refunding(refund()), "op-1", "RF1", NOW),
        [of_refund("refund.accepted")],
    ),
    "refund unanswered": (lambda: domain.refund_unanswered(refunding(refund()), "op-1", NOW), []),
    "refund refused": (
        lambda: domain.refund_review(refunding(refund()), "op-1", "refused", NOW),
        [of_refund("refund.review", reason="refused")],
    ),
    "refund reversed": (
        lambda: domain.refund_ended(refunding(refund()), "op-1", Said.REVERSED, NOW),
        [of_refund("refund.reversed", **MONEY)],
    ),
    "refunded by us": (
        lambda: domain.refund_ended(refunding(refund()), "op-1", Said.REFUNDED, NOW),
        [
            of_refund("refund.completed", **MONEY),
            of_payment("payment.refunded", by="us"),
            ORDER_REFUNDED,
        ],
    ),
    "refunded by Chapa": (
        lambda: decided(refunding(), replace(PAID, said=Said.REFUNDED)).story,
        [of_payment("payment.refunded", by="provider"), ORDER_REFUNDED],
    ),
    "reversed during a refund": (
        lambda: decided(refunding(refund()), replace(PAID, said=Said.REVERSED)).story,
        [
            of_refund("refund.review", reason="the payment itself was reversed"),
            of_payment("payment.reversed"),
            ORDER_REFUNDED,
        ],
    ),
    "reversed": (
        lambda: decided(refunding(), replace(PAID, said=Said.REVERSED)).story,
        [of_payment("payment.reversed"), ORDER_REFUNDED],
    ),
}


@pytest.mark.parametrize(("step", "events"), EVENTS.values(), ids=EVENTS)
def test_each_step_records_its_events(step: Callable[[], Story], events: list[Event]) -> None:
    assert list(step().news) == events


@pytest.mark.parametrize(
    ("move", "message"),
    [
        (
            lambda: paid().with_payment(TX, status=PaymentStatus.PENDING),
            "PaymentStatus: succeeded → pending",
        ),
        (
            lambda: Story(ORDER).with_order(status=OrderStatus.REFUNDED),
            "OrderStatus: pending → refunded",
        ),
        (lambda: expired().with_order(stock=StockStatus.RESERVED), "stock: released → reserved"),
        (
            lambda: refunding(refund(status=RefundStatus.REFUNDED)).with_refund(
                "op-1", status=RefundStatus.PENDING
            ),
            "RefundStatus: refunded → pending",
        ),
    ],
)
def test_transition_that_the_tables_lack_is_an_error(
    move: Callable[[], Story], message: str
) -> None:
    with pytest.raises(IllegalMove, match=message):
        move()
