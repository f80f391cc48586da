from dataclasses import replace
from itertools import product
from typing import Any

import pytest

from payments import domain
from payments.domain import Decision, LateSuccessPolicy, Outcome, Rules, Said, Verification
from payments.states import (
    OPEN,
    REFUND_MOVES,
    UNPAID,
    OrderStatus,
    PaymentStatus,
    RefundStatus,
    StockStatus,
)
from payments.story import IllegalMove, Line, Order, Payment, Refund, Story

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
        assert next(iter(wrong)) in str(after.payments[0].reason)
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
        assert [(r.reference, r.amount, r.tx_ref) for r in after.refunds] == [
            (f"late-{TX}", 90_000, TX)
        ]
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


class TestBeginning:
    def test_a_payment_is_the_live_one_before_chapa_hears_of_it(self) -> None:
        after = domain.begin(Story(ORDER), TX, NOW, RULES)
        assert after.live == Payment(TX, 90_000, "ETB", NOW, lease_until=NOW + 60)

    def test_an_answer_makes_it_payable(self) -> None:
        after = domain.opened(story(PaymentStatus.INITIALIZING), TX, "https://pay", NOW)
        assert status_of(after) is PaymentStatus.PENDING
        assert after.payments[0].checkout_url == "https://pay"

    @pytest.mark.parametrize("status", sorted(set(PaymentStatus) - {PaymentStatus.INITIALIZING}))
    def test_an_answer_that_comes_too_late_changes_nothing(self, status: PaymentStatus) -> None:
        before = story(status)
        assert domain.opened(before, TX, "https://pay", NOW) is before
        assert domain.never_opened(before, TX, "refused", NOW) is before
        assert domain.lost(before, TX, "timeout", NOW) is before

    def test_what_was_never_opened_makes_room_at_once(self) -> None:
        after = domain.never_opened(story(PaymentStatus.INITIALIZING), TX, "refused", NOW)
        assert status_of(after) is PaymentStatus.CLOSED
        assert after.order.live is None

    def test_a_lost_answer_keeps_the_payment_and_ends_its_lease(self) -> None:
        before = story(PaymentStatus.INITIALIZING, lease_until=NOW + 60)
        after = domain.lost(before, TX, "timeout", NOW)
        assert status_of(after) is PaymentStatus.INITIALIZING
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
        after = domain.close(story(PaymentStatus.CLOSING), [TX], "replaced", NOW)
        assert (status_of(after), after.order.live) == (PaymentStatus.CLOSED, None)

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

    def test_a_closed_payment_is_looked_at_twice_more_and_then_left(self) -> None:
        ended = story(PaymentStatus.CLOSED, OrderStatus.EXPIRED)
        dues = [domain.due_at(ended.with_order(looks=n), NOW, RULES) for n in range(3)]
        assert dues == [NOW + 3600, NOW + 86400, None]

    def test_a_last_look_without_an_answer_does_not_count(self) -> None:
        ended = story(PaymentStatus.CLOSED, OrderStatus.EXPIRED)
        assert domain.looked(ended, NOW, unknown=True, rules=RULES).order.looks == 0
        assert domain.looked(ended, NOW, unknown=False, rules=RULES).order.looks == 1

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

    @pytest.mark.parametrize("status", sorted(set(PaymentStatus) - UNPAID))
    def test_a_nudge_about_what_is_settled_changes_nothing(self, status: PaymentStatus) -> None:
        before = story(status, OrderStatus.PAID)
        assert domain.nudged(before, NOW) is before

    def test_a_nudge_is_not_lost_to_whoever_writes_at_the_same_time(self) -> None:
        nudged = domain.nudged(domain.scheduled(None, story(), NOW, RULES), NOW + 3)
        looked = domain.looked(nudged, NOW, unknown=False, rules=RULES)
        assert domain.scheduled(nudged, looked, NOW, RULES).order.due_at == NOW + 3

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

    def test_one_answer_ends_the_silence(self) -> None:
        silent = domain.looked(story(), NOW, unknown=True, rules=RULES)
        answered = domain.looked(silent, NOW + 50_000, unknown=False, rules=RULES)
        assert answered.order.unknown_since is None


class TestMoves:
    def test_a_transition_that_the_tables_lack_is_a_bug(self) -> None:
        with pytest.raises(IllegalMove):
            story(PaymentStatus.SUCCEEDED).with_payment(TX, status=PaymentStatus.PENDING)
        with pytest.raises(IllegalMove):
            Story(ORDER).with_order(status=OrderStatus.REFUNDED)
        with pytest.raises(IllegalMove):
            story(order=OrderStatus.EXPIRED).with_order(stock=StockStatus.RESERVED)
