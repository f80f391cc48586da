from dataclasses import replace
from itertools import pairwise

import pytest

from payments.domain import checks, decisions, refunds
from payments.domain.aggregate import Event, OrderAggregate
from payments.domain.answers import Outcome, Said
from payments.domain.events import (
    PaymentReview,
    PaymentUnanswered,
    RefundReview,
    RefundUnanswered,
)
from payments.domain.rules import pause_at
from payments.domain.states import (
    OPEN,
    OPEN_REFUNDS,
    PAID,
    REFUND_MOVES,
    UNPAID,
    OrderStatus,
    PaymentStatus,
    RefundStatus,
)
from tests.builders import (
    DAY,
    HOUR,
    NOW,
    OTHER,
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
    scheduled,
)

EXPIRY = order().expires_at
P, R = PaymentStatus, RefundStatus
ENDED = ordered(set(OrderStatus) - {OrderStatus.PENDING})
ANSWERED = [Outcome.OPEN, Outcome.APPLIED, Outcome.DUPLICATE]


def check_of(after: OrderAggregate) -> int | None:
    """When the first payment, or else the first refund, is checked next."""
    return after.payments[0].check_at or (after.refunds and after.refunds[0].check_at) or None


def checked(before: OrderAggregate, outcome: Outcome, now: int) -> OrderAggregate:
    after = checks.payment_checked(before, TX, outcome, now, RULES)
    return checks.refund_checked(after, RF, outcome, now, RULES)


def checks_for(
    before: OrderAggregate, outcome: Outcome, days: int
) -> tuple[OrderAggregate, list[Event], list[int]]:
    """Check with one outcome whenever a check is due, for some days."""
    times = [NOW]
    while (at := check_of(before)) and at <= NOW + days * DAY:
        before = checked(before, outcome, at)
        times.append(at)
    return before, list(before.new_events), [b - a for a, b in pairwise(times)]


class TestUnanswered:
    @pytest.mark.parametrize(
        ("before", "first"),
        [
            *((aggregate(status), 90) for status in ordered(OPEN)),
            (aggregate(P.CLOSED, OrderStatus.EXPIRED), HOUR),
            (checks.check_by(paid_order(), TX, NOW + 90, paid_too=True), 90),
            (paid_order(refund(sends=1)), 90),
            (paid_order(refund(status=R.PENDING)), 90),
        ],
    )
    def test_unanswered_checks_go_on_and_are_reported_daily(
        self, before: OrderAggregate, first: int
    ) -> None:
        before = before if before.payments[0].check_at else scheduled(before)
        after, events, pauses = checks_for(before, Outcome.UNANSWERED, 4)
        record, since = (after.refunds or after.payments)[0], NOW + first
        assert record.status is (before.refunds or before.payments)[0].status
        assert record.unanswered_since == since
        assert pauses[0] == first
        assert max(pauses) == HOUR
        kinds = [
            RefundUnanswered(at=e.at, refund_id=RF, tx_ref=TX, since=since)
            if after.refunds
            else PaymentUnanswered(at=e.at, tx_ref=TX, since=since)
            for e in events
        ]
        assert events == kinds
        reported = [event.at - since for event in events]
        assert [at // DAY for at in reported] == [1, 2, 3]
        assert all(at % DAY < HOUR for at in reported)
        assert record.reminded_at == events[-1].at

    @pytest.mark.parametrize("outcome", ANSWERED)
    @pytest.mark.parametrize("before", [aggregate(), paid_order(refund(status=R.PENDING))])
    def test_one_answer_ends_the_unanswered_time(
        self, before: OrderAggregate, outcome: Outcome
    ) -> None:
        silent, _, _ = checks_for(scheduled(before), Outcome.UNANSWERED, 2)
        after = checked(silent, outcome, NOW + 3 * DAY)
        record = (after.refunds or after.payments)[0]
        assert record.unanswered_since is None
        assert record.check_at == NOW + 3 * DAY + HOUR

    @pytest.mark.parametrize(
        ("said", "status"),
        [(Said.PAID, P.SUCCEEDED), (Said.FAILED, P.FAILED), (Said.REVERSED, P.REVIEW)],
    )
    def test_late_answer_is_taken_whatever_it_says(self, said: Said, status: PaymentStatus) -> None:
        silent, _, _ = checks_for(scheduled(aggregate()), Outcome.UNANSWERED, 3)
        answer = replace(SUCCESS, said=said)
        after = scheduled(decide(silent, answer, now=NOW + 3 * DAY).aggregate, silent)
        record = after.payments[0]
        assert record.status is status
        assert (record.unanswered_since, record.reminded_at) == (None, None)

    def test_one_unanswered_check_of_a_payment_does_not_count_against_a_later_refund(self) -> None:
        before = checked(scheduled(aggregate()), Outcome.UNANSWERED, NOW + 90)
        paid = scheduled(decide(before).aggregate, before)
        later = NOW + 30 * DAY
        owed = scheduled(refunds.request_refund(paid, refund(), later), paid, later)
        sent = refunds.before_sending(owed, RF, later, RULES)
        timed_out = checked(refunds.release(sent, RF, later + 5), Outcome.UNANSWERED, later + 5)
        assert timed_out.new_events == ()
        assert timed_out.refunds[0].status is R.REQUESTED
        retry_at = later + 5 + 90
        assert checks.refunds_to_check(timed_out, retry_at) == timed_out.refunds
        accepted = refunds.accepted(timed_out, RF, "RF1", retry_at)
        done = refunds.ended(accepted, RF, Said.REFUNDED, retry_at + DAY)
        assert done.payments[0].status is P.REFUNDED

    @pytest.mark.parametrize(("lease_until", "at"), [(0, NOW + 3), (NOW + 60, NOW + 60)])
    def test_check_that_was_not_made_is_not_unanswered(self, lease_until: int, at: int) -> None:
        before = aggregate(lease_until=lease_until, check_at=NOW)
        after = checked(before, Outcome.NOT_ASKED, NOW)
        assert after.payments == (replace(before.payments[0], check_at=at),)

    def test_refund_that_was_not_asked_about_or_is_being_sent_keeps_its_check(self) -> None:
        before = paid_order(refund(check_at=NOW))
        assert checked(before, Outcome.NOT_ASKED, NOW) is before
        leased = paid_order(refund(check_at=NOW, lease_until=NOW + 1))
        assert checked(leased, Outcome.UNANSWERED, NOW) is leased
        assert checked(leased, Outcome.UNANSWERED, NOW + 1) is not leased

    def test_record_without_a_check_stays_as_it_is(self) -> None:
        before = paid_order(refund())
        assert checked(before, Outcome.UNANSWERED, NOW) is before
        assert checks.payment_checked(before, OTHER, Outcome.OPEN, NOW, RULES) is before
        assert checks.refund_checked(before, OTHER, Outcome.OPEN, NOW, RULES) is before


class TestReview:
    @pytest.mark.parametrize("outcome", [Outcome.UNANSWERED, *ANSWERED])
    @pytest.mark.parametrize("reason", ["not as requested: amount", None])
    def test_operators_are_reminded_daily(self, outcome: Outcome, reason: str | None) -> None:
        for before, at, event in [
            (
                aggregate(P.REVIEW, reason=reason),
                24 * HOUR,
                PaymentReview(0, TX, reason or "", True),
            ),
            (
                paid_order(refund(status=R.REVIEW, refusal=reason)),
                DAY,
                RefundReview(0, RF, TX, reason or "", True),
            ),
        ]:
            after, events, pauses = checks_for(scheduled(before), outcome, 3)
            assert events == [replace(event, at=NOW + day * at) for day in (1, 2, 3)]
            assert len(set(pauses)) == 1
            record = (after.refunds or after.payments)[0]
            assert record.reminded_at == NOW + 3 * DAY

    def test_payment_in_review_is_checked_hourly_and_a_refused_refund_is_not(self) -> None:
        assert checks_for(scheduled(aggregate(P.REVIEW)), Outcome.OPEN, 1)[2] == [HOUR] * 24
        refused = scheduled(paid_order(refund(status=R.REVIEW)))
        assert checks_for(refused, Outcome.OPEN, 1)[2] == [DAY]
        rare = replace(RULES, check_after=(2 * DAY,))
        assert checks.next_payment_check(payment(P.REVIEW), NOW, rare) == NOW + DAY

    def test_answered_check_of_an_open_payment_reminds_of_nothing(self) -> None:
        assert checks_for(scheduled(aggregate()), Outcome.OPEN, 3)[1] == []
        assert checks_for(scheduled(paid_order(refund(sends=1))), Outcome.OPEN, 3)[1] == []


class TestNextCheck:
    def test_pause_follows_from_the_age(self) -> None:
        pauses = [pause_at(age, (90, 120, 300)) for age in (0, 89, 90, 209, 210, 509, 510, DAY)]
        assert pauses == [90, 90, 120, 120, 300, 300, 300, 300]

    @pytest.mark.parametrize("status", PaymentStatus)
    def test_payment_is_checked_while_something_new_may_come(self, status: PaymentStatus) -> None:
        at = checks.next_payment_check(payment(status), NOW, RULES)
        assert at == (NOW + 90 if status in OPEN else NOW + HOUR if status in UNPAID else None)
        assert checks.next_payment_check(payment(status, lease_until=NOW + 1), NOW, RULES) == (
            NOW + 1
        )

    def test_checks_come_further_apart_and_go_on(self) -> None:
        pauses = checks_for(scheduled(aggregate()), Outcome.OPEN, 1)[2]
        assert pauses[:4] == [90, 120, 300, HOUR]
        assert set(pauses[4:]) == {HOUR}

    def test_closed_payment_has_two_final_checks(self) -> None:
        before = scheduled(aggregate(P.CLOSED, OrderStatus.EXPIRED))
        after, _, pauses = checks_for(before, Outcome.DUPLICATE, 9)
        assert (pauses, check_of(after)) == ([HOUR, DAY], None)

    def test_unanswered_final_check_is_made_again(self) -> None:
        before = scheduled(aggregate(P.CLOSED, OrderStatus.EXPIRED))
        silent, _, pauses = checks_for(before, Outcome.UNANSWERED, 2)
        assert set(pauses) == {HOUR}
        assert check_of(checked(silent, Outcome.DUPLICATE, NOW + 2 * DAY)) is None

    def test_payment_that_closes_is_checked_at_the_end_of_its_grace_at_the_latest(self) -> None:
        def at(age: int) -> int | None:
            return checks.next_payment_check(payment(P.CLOSING), NOW + age, RULES)

        assert [at(age) for age in (0, 200, 210, 299, 300)] == [
            NOW + 90, NOW + 300, NOW + 300, NOW + 300, NOW + 600,
        ]  # fmt: skip
        pending = payment(P.PENDING)
        assert checks.next_payment_check(pending, NOW + 210, RULES) == NOW + 510

    @pytest.mark.parametrize("status", RefundStatus)
    def test_refund_is_checked_until_it_is_final(self, status: RefundStatus) -> None:
        at = checks.next_refund_check(refund(status=status), NOW, RULES)
        expected = {R.REQUESTED: NOW, R.PENDING: NOW + 90, R.REVIEW: NOW + DAY}
        assert at == expected.get(status)
        assert (at is not None) == bool(REFUND_MOVES[status])
        sent = refund(sends=1, status=status)
        again = checks.next_refund_check(sent, NOW + 90, RULES)
        assert again == (NOW + 210 if status in OPEN_REFUNDS else at and at + 90)


class TestEarlyCheck:
    @pytest.mark.parametrize("status", PaymentStatus)
    @pytest.mark.parametrize("paid_too", [False, True])
    def test_check_is_moved_forward_once(self, status: PaymentStatus, paid_too: bool) -> None:
        before = scheduled(aggregate(status))
        early = checks.check_by(before, TX, NOW + 3, paid_too=paid_too)
        if status in UNPAID or (status in PAID and paid_too):
            assert early.payments == (replace(before.payments[0], check_at=NOW + 3),)
            for at in (NOW + 3, NOW + 4):
                assert checks.check_by(early, TX, at, paid_too=True) is early
        else:
            assert early is before
        assert checks.check_by(before, OTHER, NOW, paid_too=True) is before

    def test_process_that_has_a_lease_is_left_alone(self) -> None:
        owed = refund(lease_until=NOW + 70, check_at=NOW + 500)
        before = aggregate(lease_until=NOW + 60, check_at=NOW + 500, refunds=(owed,))
        after = checks.check_by(before, TX, NOW)
        assert (after.payments[0].check_at, after.refunds[0].check_at) == (NOW + 60, NOW + 70)
        assert checks.check_by(after, TX, NOW) is after

    def test_open_refunds_of_the_payment_are_checked_with_it(self) -> None:
        mine, unscheduled = refund(check_at=NOW + 90), refund("x", status=R.PENDING)
        others = refund("y", tx_ref=OTHER), refund("z", status=R.REVIEW, check_at=NOW + DAY)
        after = checks.check_by(paid_order(mine, unscheduled, *others), TX, NOW + 3)
        assert [r.check_at for r in after.refunds] == [NOW + 3, NOW + 3, None, NOW + DAY]
        assert checks.check_by(after, TX, NOW + 3) is after

    def test_early_check_of_a_concurrent_process_is_kept_when_the_status_changes(self) -> None:
        before = checks.check_by(scheduled(aggregate()), TX, NOW + 3)
        failed = decide(before, replace(SUCCESS, said=Said.FAILED)).aggregate
        assert check_of(scheduled(failed, before)) == NOW + 3
        assert check_of(scheduled(decide(before).aggregate, before)) is None
        leased = decisions.lease(before, before.payments, NOW, RULES)
        assert check_of(scheduled(leased, before)) == NOW + 60


class TestDue:
    @pytest.mark.parametrize("status", PaymentStatus)
    @pytest.mark.parametrize("order_status", OrderStatus)
    def test_order_that_can_still_change_is_due(
        self, status: PaymentStatus, order_status: OrderStatus
    ) -> None:
        due = scheduled(aggregate(status, order_status)).order.due_at
        waits = order_status is OrderStatus.PENDING and status is not P.REVIEW
        assert (due is not None) == (waits or status in UNPAID)

    def test_due_time_is_the_least_of_all(self) -> None:
        def due(before: OrderAggregate, now: int = NOW) -> int | None:
            return checks.due_at(before, now)

        assert due(OrderAggregate(order())) == EXPIRY
        assert due(OrderAggregate(order()), EXPIRY + 5) == EXPIRY + 5
        assert due(aggregate(check_at=NOW + 5)) == NOW + 5
        assert due(aggregate(check_at=EXPIRY + 5)) == EXPIRY
        later, soon = refund(check_at=NOW + 9), refund("x", check_at=NOW + 7)
        assert due(aggregate(check_at=NOW + 8, refunds=(later, soon))) == NOW + 7
        assert due(paid_order(refund())) is None

    def test_order_that_only_waits_for_its_payments_is_due_with_them(self) -> None:
        late = EXPIRY + 70
        assert checks.due_at(aggregate(check_at=late), EXPIRY) == late
        assert checks.due_at(aggregate(P.REVIEW, check_at=late), NOW) == late
        assert checks.due_at(decisions.cancel(aggregate(check_at=late)), NOW) == late
        assert checks.due_at(decisions.cancel(aggregate(P.CLOSED, check_at=late)), NOW) == NOW

    def test_open_payments_are_checked_before_closed_ones_and_the_active_one_first(self) -> None:
        before = aggregate(P.CLOSED, check_at=NOW)
        for tx_ref, status in [("b", P.SUCCEEDED), ("c", P.CLOSING), ("d", P.PENDING)]:
            before = before.put(payment(status, tx_ref=tx_ref, check_at=NOW))
        before = before.put(replace(before.order, active_tx_ref="d"))
        assert [p.tx_ref for p in checks.payments_to_check(before, NOW)] == ["d", "c", TX, "b"]
        assert checks.payments_to_check(before, NOW - 1) == ()

    def test_nothing_is_checked_before_a_lease_ends(self) -> None:
        owed = refund(lease_until=NOW + 1, check_at=NOW)
        before = decisions.cancel(aggregate(lease_until=NOW + 1, check_at=NOW, refunds=(owed,)))
        assert checks.payments_to_check(before, NOW) == checks.refunds_to_check(before, NOW) == ()
        assert checks.payments_to_check(before, NOW + 1) == before.payments
        assert checks.refunds_to_check(before, NOW + 1) == before.refunds
        later = paid_order(refund(check_at=NOW + 1), refund("x"))
        assert checks.refunds_to_check(later, NOW) == ()

    def test_all_payments_that_may_be_paid_are_checked_before_the_order_ends(self) -> None:
        far = EXPIRY + DAY
        before = aggregate(check_at=far).put(payment(P.CLOSED, tx_ref=OTHER, check_at=far))
        assert checks.payments_to_check(before, EXPIRY) == before.payments
        assert checks.payments_to_check(before, EXPIRY - 1) == ()
        assert checks.payments_to_check(decisions.cancel(before), NOW) == before.payments
        assert checks.payments_to_check(aggregate(P.CLOSED), EXPIRY) == ()
        for status in ENDED:
            assert checks.payments_to_check(aggregate(P.CLOSED, status, check_at=far), EXPIRY) == ()
        in_review = before.put(payment(P.REVIEW, tx_ref="x", check_at=far))
        assert checks.payments_to_check(in_review, EXPIRY) == ()


class TestSchedule:
    @pytest.mark.parametrize("stored", [False, True])
    def test_what_changed_its_status_gets_new_times(self, stored: bool) -> None:
        times = {"moved_at": NOW - DAY, "unanswered_since": NOW - DAY, "reminded_at": NOW - HOUR}
        owed = refund(**times)
        after = aggregate(refunds=(owed,), **times)
        before = None
        if stored:
            before = aggregate(P.INITIALIZING, refunds=(replace(owed, status=R.REVIEW),))
        new = checks.schedule(before, after, NOW, RULES)
        fresh = {"moved_at": NOW, "unanswered_since": None, "reminded_at": None}
        assert new.payments == (replace(after.payments[0], **fresh, check_at=NOW + 90),)
        assert new.refunds == (replace(owed, **fresh, check_at=NOW),)
        assert new.order.due_at == NOW

    def test_what_kept_its_status_keeps_its_times(self) -> None:
        before = aggregate(refunds=(refund(check_at=NOW + 7),), check_at=NOW + 9)
        before = before.put(replace(before.order, queued=3))
        after = checks.schedule(before, before, NOW + 5, RULES)
        assert (after.payments, after.refunds) == (before.payments, before.refunds)
        assert (after.order.due_at, after.order.queued) == (NOW + 7, 0)

    def test_second_payment_and_refund_are_scheduled_after_one_that_did_not_move(self) -> None:
        before = aggregate(refunds=(refund(status=R.REFUNDED),), check_at=NOW + 9)
        after = before.put(payment(tx_ref=OTHER)).put(refund("x"))
        new = checks.schedule(before, after, NOW, RULES)
        assert [p.check_at for p in new.payments] == [NOW + 9, NOW + 90]
        assert [r.check_at for r in new.refunds] == [None, NOW]

    def test_owed_money_is_sent_at_once(self) -> None:
        owed = decide(aggregate(P.CLOSED, OrderStatus.PAID)).aggregate
        assert scheduled(owed).order.due_at == NOW
