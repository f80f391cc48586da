from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from payments.domain import checks, decisions, refunds
from payments.domain import events as recorded
from payments.domain.aggregate import Event, OrderAggregate
from payments.domain.answers import Outcome, Said
from payments.domain.records import Payment, Refund
from payments.domain.rules import pause_at
from payments.domain.states import OPEN, PAID, UNPAID, OrderStatus
from payments.domain.states import PaymentStatus as P
from payments.domain.states import RefundStatus as R
from tests import builders
from tests.builders import DAY, NOW, RULES, TX, aggregate, paid_order, payment, refund, scheduled

EXPIRY = builders.order().expires_at
ENDED = aggregate(P.CLOSED, OrderStatus.EXPIRED)
ANSWERED = [Outcome.OPEN, Outcome.APPLIED, Outcome.DUPLICATE]


def record_of(stored: OrderAggregate) -> Payment | Refund:
    """The refund, or else the payment, that a test is about."""
    return (stored.refunds or stored.payments)[0]


def checked(before: OrderAggregate, outcome: Outcome, now: int) -> OrderAggregate:
    if before.refunds:
        return checks.refund_checked(before, builders.RF, outcome, now, RULES)
    return checks.payment_checked(before, TX, outcome, now, RULES)


def checks_for(
    before: OrderAggregate, outcome: Outcome, days: int
) -> tuple[OrderAggregate, tuple[Event, ...], list[int]]:
    """Check with one outcome whenever a check is due; also returns the pauses."""
    times = [NOW]
    while (at := record_of(before).check_at) and at <= NOW + days * DAY:
        before = checked(before, outcome, at)
        times.append(at)
    return before, before.new_events, [b - a for a, b in pairwise(times)]


@pytest.mark.parametrize(
    ("before", "first"),
    [
        *((aggregate(status), 90) for status in builders.ordered(OPEN)),
        (ENDED, builders.HOUR),
        (checks.check_by(paid_order(), TX, NOW + 90, paid_too=True), 90),
        (paid_order(refund(sends=1)), 90),
        (paid_order(refund(status=R.PENDING)), 90),
    ],
)
def test_unanswered_checks_go_on_and_are_reported_daily(before: OrderAggregate, first: int) -> None:
    before = before if record_of(before).check_at else scheduled(before)
    after, events, pauses = checks_for(before, Outcome.UNANSWERED, 4)
    record, since = record_of(after), NOW + first
    assert (pauses[:2], max(pauses)) == ([first, first], builders.HOUR)
    assert (record.status, record.unanswered_since) == (record_of(before).status, since)
    assert record.reminded_at == events[-1].at
    reported = [event.at - since for event in events]
    assert [(at // DAY, at % DAY < builders.HOUR) for at in reported] == [
        (1, True),
        (2, True),
        (3, True),
    ]
    event: Event = recorded.PaymentUnanswered(0, TX, since)
    if after.refunds:
        event = recorded.RefundUnanswered(0, builders.RF, TX, since)
    assert list(events) == [replace(event, at=each.at) for each in events]


@pytest.mark.parametrize("outcome", ANSWERED)
@pytest.mark.parametrize("before", [aggregate(), paid_order(refund(status=R.PENDING))])
def test_one_answer_ends_the_unanswered_time(before: OrderAggregate, outcome: Outcome) -> None:
    silent, _, _ = checks_for(scheduled(before), Outcome.UNANSWERED, 2)
    record = record_of(checked(silent, outcome, NOW + 3 * DAY))
    assert (record.unanswered_since, record.check_at) == (None, NOW + 3 * DAY + builders.HOUR)
    assert record.reminded_at == record_of(silent).reminded_at


@pytest.mark.parametrize(
    ("said", "status"),
    [(Said.PAID, P.SUCCEEDED), (Said.FAILED, P.FAILED), (Said.REVERSED, P.REVIEW)],
)
def test_late_answer_is_taken_whatever_it_says(said: Said, status: P) -> None:
    silent, _, _ = checks_for(scheduled(aggregate()), Outcome.UNANSWERED, 3)
    answer = replace(builders.SUCCESS, said=said)
    after = scheduled(builders.decide(silent, answer, now=NOW + 3 * DAY).aggregate, silent)
    record = after.payments[0]
    assert (record.status, record.unanswered_since, record.reminded_at) == (status, None, None)


def test_unanswered_check_of_a_payment_does_not_count_against_a_later_refund() -> None:
    before = checked(scheduled(aggregate()), Outcome.UNANSWERED, NOW + 90)
    paid = scheduled(builders.decide(before).aggregate, before)
    later = NOW + 30 * DAY
    owed = scheduled(refunds.request_refund(paid, refund(), later), paid, later)
    sent = refunds.before_sending(owed, builders.RF, later, RULES)
    timed_out = checked(
        refunds.release(sent, builders.RF, later + 5), Outcome.UNANSWERED, later + 5
    )
    assert (timed_out.new_events, timed_out.refunds[0].status) == ((), R.REQUESTED)
    assert checks.refunds_to_check(timed_out, later + 5 + 90) == timed_out.refunds
    accepted = refunds.accepted(timed_out, builders.RF, "RF1", later + 95)
    done = refunds.ended(accepted, builders.RF, Said.REFUNDED, later + DAY)
    assert done.payments[0].status is P.REFUNDED


@pytest.mark.parametrize(("lease_until", "at"), [(0, NOW + 3), (NOW + 60, NOW + 60)])
def test_check_that_was_not_made_is_not_unanswered(lease_until: int, at: int) -> None:
    before = aggregate(lease_until=lease_until, check_at=NOW)
    after = checked(before, Outcome.NOT_ASKED, NOW)
    assert after.payments == (replace(before.payments[0], check_at=at),)
    owed = paid_order(refund(check_at=NOW))
    assert checked(owed, Outcome.NOT_ASKED, NOW) is owed


def test_refund_that_is_being_sent_keeps_its_check() -> None:
    leased = paid_order(refund(check_at=NOW, lease_until=NOW + 1))
    assert checked(leased, Outcome.UNANSWERED, NOW) is leased
    assert checked(leased, Outcome.UNANSWERED, NOW + 1) is not leased


@pytest.mark.parametrize("before", [paid_order(), paid_order(refund())])
def test_record_without_a_check_stays_as_it_is(before: OrderAggregate) -> None:
    assert checked(before, Outcome.UNANSWERED, NOW) is before
    assert checks.payment_checked(before, builders.OTHER, Outcome.OPEN, NOW, RULES) is before
    assert checks.refund_checked(before, builders.OTHER, Outcome.OPEN, NOW, RULES) is before


@pytest.mark.parametrize("outcome", [Outcome.UNANSWERED, *ANSWERED])
@pytest.mark.parametrize("reason", ["a reason", None])
def test_operators_are_reminded_of_a_review_daily(outcome: Outcome, reason: str | None) -> None:
    payment_review = recorded.PaymentReview(0, TX, reason or "", reminder=True)
    refund_review = recorded.RefundReview(0, builders.RF, TX, reason or "", reminder=True)
    # A payment is asked about meanwhile, for facts that came right.
    for before, event, pause in [
        (aggregate(P.REVIEW, reason=reason), payment_review, builders.HOUR),
        (paid_order(refund(status=R.REVIEW, refusal=reason)), refund_review, DAY),
    ]:
        after, events, pauses = checks_for(scheduled(before), outcome, 3)
        assert events == tuple(replace(event, at=NOW + day * DAY) for day in (1, 2, 3))
        assert record_of(after).reminded_at == NOW + 3 * DAY
        assert set(pauses) == {pause}


def test_reminder_is_daily_even_if_checks_are_rarer() -> None:
    rare = replace(RULES, check_after=(2 * DAY,))
    assert checks.next_payment_check(payment(P.REVIEW), NOW, rare) == NOW + DAY


def test_pause_follows_from_the_age_and_the_last_one_repeats() -> None:
    pauses = [pause_at(age, (90, 120, 300)) for age in (0, 89, 90, 209, 210, 509, 510, DAY)]
    assert pauses == [90, 90, 120, 120, 300, 300, 300, 300]
    cancelled = aggregate(order_status=OrderStatus.CANCELLED)
    for before in (cancelled, paid_order(refund(status=R.PENDING))):
        _, events, pauses = checks_for(scheduled(before), Outcome.OPEN, 3)
        assert (pauses[:4], set(pauses[4:]), events) == (
            [90, 120, 300, builders.HOUR],
            {builders.HOUR},
            (),
        )


def test_open_payment_is_checked_when_its_order_ends_at_the_latest() -> None:
    _, _, pauses = checks_for(scheduled(aggregate()), Outcome.OPEN, 1)
    assert pauses[:5] == [90, 120, 300, RULES.order_ttl - 510, builders.HOUR]
    unanswered = checks.payment_checked(
        aggregate(check_at=NOW), TX, Outcome.UNANSWERED, EXPIRY - 10, RULES
    )
    assert unanswered.payments[0].check_at == EXPIRY
    opened = checks.schedule(aggregate(P.INITIALIZING), aggregate(), EXPIRY - 10, RULES)
    assert opened.payments[0].check_at == EXPIRY


def test_payment_that_cannot_be_cancelled_is_checked_when_its_page_is_over() -> None:
    page_over = NOW + 900 + decisions.PAGE_MARGIN_SECONDS
    known = payment(P.PENDING, can_cancel=False, page_expires_at=NOW + 900)
    assert checks.next_payment_check(known, page_over - 100, RULES) == page_over
    assert checks.next_payment_check(known, page_over, RULES) == page_over + builders.HOUR
    lost = payment(P.CLOSING, can_cancel=False)
    page_over = NOW + RULES.link + decisions.PAGE_MARGIN_SECONDS
    assert checks.next_payment_check(lost, page_over - 1, RULES) == page_over
    assert checks.next_payment_check(lost, NOW + 1, RULES) == NOW + 91


@pytest.mark.parametrize("status", P)
def test_payment_is_checked_while_something_new_may_come(status: P) -> None:
    at = NOW + 90 if status in OPEN else NOW + builders.HOUR if status in UNPAID else None
    assert checks.next_payment_check(payment(status), NOW, RULES) == at
    leased = payment(status, lease_until=NOW + 91)
    assert checks.next_payment_check(leased, NOW, RULES) == NOW + 92


def test_opening_a_payment_does_not_move_its_first_check() -> None:
    placed = decisions.place(builders.order())
    begun = scheduled(decisions.begin(placed, TX, "chapa-v1", NOW, RULES))
    assert begun.payments[0].lease_until < NOW + 90 == begun.order.due_at
    opened = decisions.opened(begun, TX, "https://pay", NOW + 5, NOW + 3600)
    assert checks.schedule(begun, opened, NOW + 5, RULES).order == begun.order


def test_leased_payment_does_not_move_a_due_time_that_is_earlier() -> None:
    due = scheduled(aggregate())
    at = due.order.due_at or 0
    leased = decisions.lease(due, due.payments, at, RULES)
    assert checks.schedule(due, leased, at, RULES).order == due.order
    done = decisions.release(leased, TX, at + 1)
    assert checks.schedule(leased, done, at + 1, RULES).order.due_at == at + RULES.lease + 1


def test_closed_payment_has_two_final_checks_that_are_repeated_until_answered() -> None:
    after, _, pauses = checks_for(scheduled(ENDED), Outcome.DUPLICATE, 9)
    assert (pauses, after.payments[0].check_at) == ([builders.HOUR, DAY], None)
    silent, _, pauses = checks_for(scheduled(ENDED), Outcome.UNANSWERED, 2)
    assert set(pauses) == {builders.HOUR}
    assert checked(silent, Outcome.DUPLICATE, NOW + 2 * DAY).payments[0].check_at is None


def test_closing_payment_is_checked_at_the_end_of_its_grace_at_the_latest() -> None:
    def at(age: int, status: P = P.CLOSING) -> int:
        return (checks.next_payment_check(payment(status), NOW + age, RULES) or 0) - NOW

    assert [at(age) for age in (0, 200, 210, 299, 300)] == [90, 300, 300, 300, 600]
    assert at(210, P.PENDING) == 510


@pytest.mark.parametrize("status", R)
def test_refund_is_checked_until_it_is_final(status: R) -> None:
    pauses = {R.REQUESTED: (0, 120), R.PENDING: (90, 120), R.REVIEW: (DAY, DAY)}
    new, sent = pauses.get(status, (None, None))
    at = checks.next_refund_check(refund(status=status), NOW, RULES)
    assert at == (None if new is None else NOW + new)
    at = checks.next_refund_check(refund(sends=1, status=status), NOW + 90, RULES)
    assert at == (None if sent is None else NOW + 90 + sent)


@pytest.mark.parametrize("status", P)
@pytest.mark.parametrize("paid_too", [False, True])
def test_early_check_moves_the_next_one_forward_once(status: P, paid_too: bool) -> None:
    before = scheduled(aggregate(status))
    early = checks.check_by(before, TX, NOW + 3, paid_too=paid_too)
    if status in UNPAID or (status in PAID and paid_too):
        assert early.payments == (replace(before.payments[0], check_at=NOW + 3),)
        for at in (NOW + 3, NOW + 4):
            assert checks.check_by(early, TX, at, paid_too=True) is early
    else:
        assert early is before
    assert checks.check_by(before, builders.OTHER, NOW, paid_too=True) is before


def test_early_check_includes_open_refunds_and_waits_for_leases() -> None:
    owed = refund(lease_until=NOW + 70, check_at=NOW + 500)
    before = aggregate(lease_until=NOW + 60, check_at=NOW + 500, refunds=(owed,))
    leased = checks.check_by(before, TX, NOW)
    assert (leased.payments[0].check_at, leased.refunds[0].check_at) == (NOW + 60, NOW + 70)
    assert checks.check_by(leased, TX, NOW) is leased
    others = refund("y", tx_ref=builders.OTHER), refund("z", status=R.REVIEW, check_at=NOW + DAY)
    stored = paid_order(refund(check_at=NOW + 90), refund("x", status=R.PENDING), *others)
    after = checks.check_by(stored, TX, NOW + 3)
    assert [r.check_at for r in after.refunds] == [NOW + 3, NOW + 3, None, NOW + DAY]
    assert checks.check_by(after, TX, NOW + 3) is after
    assert checks.check_by(paid_order(), TX, NOW) == paid_order()


def test_early_check_is_kept_when_a_concurrent_process_changes_the_status() -> None:
    before = checks.check_by(scheduled(aggregate()), TX, NOW + 3)
    failure = replace(builders.SUCCESS, said=Said.FAILED)
    failed = scheduled(builders.decide(before, failure).aggregate, before)
    paid = scheduled(builders.decide(before).aggregate, before)
    leased = scheduled(decisions.lease(before, before.payments, NOW, RULES), before)
    found = [after.payments[0].check_at for after in (failed, paid, leased)]
    assert found == [NOW + 3, None, NOW + 60]


def test_due_time_is_the_least_of_all() -> None:
    later, soon = refund(check_at=NOW + 9), refund("x", check_at=NOW + 7)
    late, closed = EXPIRY + 70, P.CLOSED
    cancel = decisions.cancel
    for stored, now, due in [
        (OrderAggregate(builders.order()), NOW, EXPIRY),
        (OrderAggregate(builders.order()), EXPIRY + 5, EXPIRY + 5),
        (aggregate(check_at=NOW + 5), NOW, NOW + 5),
        (aggregate(check_at=late), NOW, EXPIRY),
        (aggregate(check_at=NOW + 8, refunds=(later, soon)), NOW, NOW + 7),
        (paid_order(refund()), NOW, None),
        # An order that only waits for its payments is due with them.
        (aggregate(check_at=late), EXPIRY, late),
        (aggregate(P.REVIEW, check_at=late), NOW, late),
        (cancel(aggregate(check_at=late)), NOW, late),
        (cancel(aggregate(closed, check_at=late)), NOW, NOW),
        *((aggregate(closed, ended, check_at=late), NOW, late) for ended in decisions.ENDED_UNPAID),
    ]:
        assert checks.due_at(stored, now) == due


def test_open_payments_are_checked_before_closed_ones_and_the_active_one_first() -> None:
    before = aggregate(P.CLOSED, check_at=NOW)
    for tx_ref, status in [("b", P.SUCCEEDED), ("c", P.CLOSING), ("d", P.PENDING)]:
        before = before.put(payment(status, tx_ref=tx_ref, check_at=NOW))
    before = before.put(replace(before.order, active_tx_ref="d"))
    assert [p.tx_ref for p in checks.payments_to_check(before, NOW)] == ["d", "c", TX, "b"]
    assert checks.payments_to_check(before, NOW - 1) == ()


def test_nothing_is_checked_before_a_lease_ends() -> None:
    owed = refund(lease_until=NOW + 1, check_at=NOW)
    before = decisions.cancel(aggregate(lease_until=NOW + 1, check_at=NOW, refunds=(owed,)))
    for now, payments, ours in [(NOW, (), ()), (NOW + 1, before.payments, (owed,))]:
        assert checks.payments_to_check(before, now) == payments
        assert checks.refunds_to_check(before, now) == ours
    assert not checks.refunds_to_check(paid_order(refund(check_at=NOW + 1), refund("x")), NOW)


def test_all_payments_that_may_be_paid_are_checked_before_the_order_ends() -> None:
    far = EXPIRY + DAY
    before = aggregate(check_at=far).put(payment(P.CLOSED, tx_ref=builders.OTHER, check_at=far))
    assert checks.payments_to_check(before, EXPIRY) == before.payments
    assert checks.payments_to_check(before, EXPIRY - 1) == ()
    assert checks.payments_to_check(decisions.cancel(before), NOW) == before.payments
    assert checks.payments_to_check(aggregate(P.CLOSED), EXPIRY) == ()
    assert checks.payments_to_check(before.put(payment(P.REVIEW, tx_ref="x")), EXPIRY) == ()
    for status in set(OrderStatus) - {OrderStatus.PENDING}:
        assert checks.payments_to_check(aggregate(P.CLOSED, status, check_at=far), EXPIRY) == ()


@pytest.mark.parametrize("stored", [False, True])
def test_what_changed_its_status_gets_new_times(stored: bool) -> None:
    old: dict[str, Any] = {"moved_at": 1, "unanswered_since": 1, "reminded_at": 1}
    new: dict[str, Any] = {"moved_at": NOW, "unanswered_since": None, "reminded_at": None}
    before = aggregate(P.INITIALIZING, refunds=(refund(status=R.REVIEW, **old),))
    after = aggregate(refunds=(refund(**old),), **old)
    after = checks.schedule(before if stored else None, after, NOW, RULES)
    assert after.payments == (payment(**new, check_at=NOW + 90),)
    assert (after.refunds, after.order.due_at) == ((refund(**new, check_at=NOW),), NOW)


def test_what_kept_its_status_keeps_its_times_and_is_no_longer_queued() -> None:
    before = aggregate(refunds=(refund(check_at=NOW + 7),), check_at=NOW + 9)
    before = before.put(replace(before.order, queued=3))
    after = checks.schedule(before, before, NOW + 5, RULES)
    assert (after.payments, after.refunds) == (before.payments, before.refunds)
    assert (after.order.due_at, after.order.queued) == (NOW + 7, 0)
    added = checks.schedule(before, before.put(payment(tx_ref="x")).put(refund("x")), NOW, RULES)
    assert [p.check_at for p in added.payments] == [NOW + 9, NOW + 90]
    assert [r.check_at for r in added.refunds] == [NOW + 7, NOW]
