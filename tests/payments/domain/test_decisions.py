from dataclasses import replace
from itertools import product
from typing import Any

import pytest

from payments.domain import decisions, refunds
from payments.domain.aggregate import IllegalMoveError, OrderAggregate
from payments.domain.answers import Outcome, Said, Verification
from payments.domain.decisions import Decision
from payments.domain.events import PaymentSucceeded, PaymentUnapplied
from payments.domain.rules import LateSuccessPolicy
from payments.domain.states import COUNTED_REFUNDS, OPEN, PAID, UNPAID, OrderStatus, RefundStatus
from payments.domain.states import PaymentStatus as P
from tests import builders
from tests.builders import MONEY, NOW, SUCCESS, TX, aggregate, decide, paid_order, payment, refund

EXPIRY = builders.order().expires_at
REFUNDED = replace(SUCCESS, said=Said.REFUNDED)
REVERSED = replace(SUCCESS, said=Said.REVERSED)
ENDED = builders.ordered(set(OrderStatus) - {OrderStatus.PENDING})
BY = ("sara", "called the customer", NOW)
LEASED: dict[str, Any] = {"lease_until": NOW + 60, "reason": "too late"}
went_back = pytest.mark.parametrize(
    ("answer", "status"), [(REFUNDED, P.REFUNDED), (REVERSED, P.REVERSED)]
)


def in_review(answer: Verification, before: OrderAggregate | None = None) -> OrderAggregate:
    after = decide(before or aggregate(), answer).aggregate
    assert after.payments[0].status is P.REVIEW
    return replace(after, new_events=())


def partly_refunded() -> OrderAggregate:
    """A paid order whose payment Chapa calls refunded though we refunded only a part of it."""
    return in_review(REFUNDED, paid_order(refund(amount=60_000, status=RefundStatus.REFUNDED)))


@pytest.mark.parametrize("status", builders.ordered(UNPAID))
def test_success_pays_pending_order_from_every_unpaid_status(status: P) -> None:
    decision = decide(aggregate(status, **LEASED))
    assert decision.outcome is Outcome.APPLIED
    assert decision.aggregate.payments == (payment(P.SUCCEEDED, **MONEY),)
    order = decision.aggregate.order
    assert (order.status, order.paid_by, order.active_tx_ref) == (OrderStatus.PAID, TX, None)


@pytest.mark.parametrize(
    "wrong",
    [{"amount": 89_999}, {"amount": 1}, {"currency": "USD"}, {"mode": "live"}, {"tx_ref": "x"},
     {"provider_reference": None}, {"amount": None}],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("status", [OrderStatus.PENDING, OrderStatus.EXPIRED, OrderStatus.PAID])
def test_success_with_wrong_facts_goes_to_review(
    wrong: dict[str, Any], status: OrderStatus
) -> None:
    before, answer = aggregate(P.CLOSED, status, **LEASED), replace(SUCCESS, **wrong)
    after = decide(before, answer).aggregate
    stored: dict[str, Any] = {
        "paid_amount": answer.amount,
        "paid_currency": answer.currency,
        "provider_reference": answer.provider_reference,
        "reason": f"not as requested: {next(iter(wrong))}",
    }
    assert after.payments == (payment(P.REVIEW, paid_at=NOW, **stored),)
    assert (after.order, after.refunds) == (before.order, ())
    assert decide(after, answer, now=NOW + builders.DAY) == Decision(after, Outcome.DUPLICATE)


@pytest.mark.parametrize(("said", "stored"), [(None, 5), (0, 0), (7, 7)])
def test_fee_is_what_the_provider_said_last(said: int | None, stored: int) -> None:
    after = decide(aggregate(fee=5), replace(SUCCESS, fee=said)).aggregate
    assert after.payments[0].fee == stored


@pytest.mark.parametrize("status", builders.ordered(UNPAID))
@pytest.mark.parametrize("order_status", [OrderStatus.PAID, OrderStatus.REFUNDED])
def test_second_success_of_paid_order_is_owed_back(status: P, order_status: OrderStatus) -> None:
    before = aggregate(status, order_status, **LEASED)
    before = before.put(replace(before.order, active_tx_ref=TX))
    decision = decide(before)
    after = decision.aggregate
    assert decision.outcome is Outcome.APPLIED
    assert after.payments == (payment(P.UNAPPLIED, **MONEY),)
    assert (after.order.status, after.order.active_tx_ref) == (order_status, None)
    assert [(r.amount, r.reason) for r in after.refunds] == [(90_000, "Paid too late or twice")]


@pytest.mark.parametrize("order_status", [OrderStatus.EXPIRED, OrderStatus.CANCELLED])
@pytest.mark.parametrize(
    ("policy", "status"),
    [("reserve", P.SUCCEEDED), ("refund", P.UNAPPLIED), ("review", P.REVIEW)],
)
def test_late_success_goes_to_order_customer_or_operator(
    order_status: OrderStatus, policy: LateSuccessPolicy, status: P
) -> None:
    after = decide(aggregate(P.CLOSED, order_status, **LEASED), policy=policy).aggregate
    reason = f"paid after the order was {order_status.value}" if policy == "review" else None
    assert after.payments == (payment(status, **MONEY, reason=reason),)
    assert (after.order.status is OrderStatus.PAID) == (policy == "reserve")
    assert after.order.paid_by == (TX if policy == "reserve" else None)
    assert bool(after.refunds) == (policy == "refund")
    assert decide(after, policy=policy) == Decision(after, Outcome.DUPLICATE)


@pytest.mark.parametrize("status", P)
@pytest.mark.parametrize("order_status", OrderStatus)
def test_answer_without_news_changes_nothing(status: P, order_status: OrderStatus) -> None:
    before = aggregate(status, order_status)
    nothing = Outcome.OPEN if status in OPEN else Outcome.DUPLICATE
    if status in PAID:
        nothing = Outcome.UNANSWERED  # "Not paid" of a paid payment cannot be true.
    expected = {Said.UNKNOWN: Outcome.UNANSWERED, Said.NOT_PAID: nothing, Said.PENDING: nothing}
    if status not in {P.INITIALIZING, P.PENDING}:
        expected[Said.FAILED] = nothing
    if status not in UNPAID:
        expected[Said.PAID] = Outcome.DUPLICATE
    for said, outcome in expected.items():
        assert decide(before, replace(SUCCESS, said=said)) == Decision(before, outcome)


@pytest.mark.parametrize("status", [P.INITIALIZING, P.PENDING])
def test_failure_is_not_final(status: P) -> None:
    before = aggregate(status, lease_until=NOW + 60)
    decision = decide(before, Verification(Said.FAILED, status="failed/cancelled"))
    failed = payment(P.FAILED, reason="provider says failed/cancelled")
    assert decision.outcome is Outcome.APPLIED
    assert (decision.aggregate.payments, decision.aggregate.order) == ((failed,), before.order)
    assert decide(decision.aggregate).aggregate.order.status is OrderStatus.PAID


@pytest.mark.parametrize("wrong", [{"tx_ref": "x"}, {"currency": "USD"}, {"mode": "live"}])
@pytest.mark.parametrize("said", Said)
@pytest.mark.parametrize("status", P)
def test_answer_about_another_payment_counts_only_if_money_moved_unseen(
    status: P, said: Said, wrong: dict[str, Any]
) -> None:
    before = aggregate(status, OrderStatus.PAID if status in PAID else OrderStatus.EXPIRED)
    decision = decide(before, replace(SUCCESS, said=said, **wrong))
    returned = said in {Said.REFUNDED, Said.REVERSED}
    if status is P.REVIEW and returned and "tx_ref" not in wrong:
        assert decision.aggregate.payments[0].status in {P.REFUNDED, P.REVERSED}
    elif status in UNPAID and (said is Said.PAID or (returned and status is not P.REVIEW)):
        assert decision.aggregate.payments[0].status is P.REVIEW
    else:
        assert decision == Decision(before, Outcome.UNANSWERED)


def test_unknown_payment_is_an_error() -> None:
    with pytest.raises(KeyError, match=TX):
        decide(OrderAggregate(builders.order()))


@pytest.mark.parametrize("said", [Said.REFUNDED, Said.REVERSED])
@pytest.mark.parametrize("status", builders.ordered(UNPAID - {P.REVIEW}))
def test_money_that_went_back_before_it_was_seen_goes_to_review(status: P, said: Said) -> None:
    before, answer = aggregate(status, **LEASED), replace(SUCCESS, said=said)
    after = decide(before, answer).aggregate
    assert after.payments == (payment(P.REVIEW, reason=f"provider says {said.value}"),)
    assert after.order == before.order
    assert decide(after, answer) == Decision(after, Outcome.DUPLICATE)


@went_back
def test_order_whose_money_went_back_is_refunded(answer: Verification, status: P) -> None:
    goods = refund("goods", 0, status=RefundStatus.REFUNDED)
    decision = decide(paid_order(goods, lease_until=NOW), answer)
    after = decision.aggregate
    assert decision.outcome is Outcome.APPLIED
    assert after.payments == (payment(status, **MONEY),)
    assert (after.order.status, after.refunds) == (OrderStatus.REFUNDED, (goods,))


@pytest.mark.parametrize("status", [RefundStatus.REQUESTED, RefundStatus.PENDING])
def test_payment_called_refunded_waits_for_our_open_refund(status: RefundStatus) -> None:
    done = refund("first", 30_000, status=RefundStatus.REFUNDED)
    before = paid_order(done, refund(amount=60_000, status=status))
    assert decide(before, REFUNDED) == Decision(before, Outcome.OPEN)


def test_payment_called_refunded_after_a_part_of_ours_stays_in_review_and_its_order_paid() -> None:
    after = partly_refunded()
    reason = "provider says refunded, and our refunds are only a part of it"
    assert after.payments == (payment(P.REVIEW, **MONEY, reason=reason),)
    assert after.order == paid_order().order
    assert decide(after, REFUNDED, now=NOW + builders.DAY) == Decision(after, Outcome.DUPLICATE)


@pytest.mark.parametrize("status", builders.ordered(set(RefundStatus) - COUNTED_REFUNDS))
def test_refund_that_was_not_paid_out_is_no_part_of_it(status: RefundStatus) -> None:
    other = refund("other", 60_000, tx_ref=builders.OTHER)
    after = decide(paid_order(refund(status=status), other), REFUNDED).aggregate
    assert after.payments[0].status is P.REFUNDED
    # Nobody has to decide any more about one that was refused.
    left = RefundStatus.DISMISSED if status is RefundStatus.REVIEW else status
    assert (after.refunds[0].status, after.refunds[1]) == (left, other)


def test_reversal_sends_open_refunds_of_the_payment_to_review() -> None:
    other = refund("op-2", tx_ref=builders.OTHER)
    after = decide(paid_order(refund(), other), REVERSED).aggregate
    refusal = "the payment itself was reversed"
    assert after.refunds == (refund(status=RefundStatus.REVIEW, refusal=refusal), other)
    assert after.payments[0].status is P.REVERSED


def test_new_payment_is_active_and_leased() -> None:
    placed = decisions.place(builders.order())
    after = decisions.begin(placed, TX, "chapa-v1", NOW, builders.RULES)
    begun = payment(P.INITIALIZING, lease_until=NOW + 60, moved_at=0)
    assert after.active_payment == begun
    other = decisions.begin(placed, TX, "chapa-v2", NOW, builders.RULES, can_cancel=False)
    assert other.active_payment == replace(begun, provider="chapa-v2", can_cancel=False)


def test_success_without_a_readable_amount_goes_to_review() -> None:
    """It may be in another unit than we think, so it is never taken."""
    decision = builders.decide(aggregate(), replace(builders.SUCCESS, amount=None))
    [reviewed] = decision.aggregate.payments
    assert (reviewed.status, reviewed.reason) == (P.REVIEW, "not as requested: amount")
    assert reviewed.paid_amount is None
    assert builders.decide(decision.aggregate, builders.SUCCESS).outcome is Outcome.APPLIED


@pytest.mark.parametrize(
    ("order_status", "check_at"), [(OrderStatus.PENDING, NOW + 60), (OrderStatus.CANCELLED, NOW)]
)
def test_page_that_opens_after_the_order_was_cancelled_is_checked_at_once(
    order_status: OrderStatus, check_at: int
) -> None:
    before = aggregate(P.INITIALIZING, order_status, check_at=NOW + 60)
    opened = decisions.opened(before, TX, "https://pay", NOW, NOW + 600)
    assert opened.payments[0].check_at == check_at


def test_answer_of_initialize_opens_closes_or_frees_the_payment() -> None:
    before = aggregate(P.INITIALIZING, lease_until=NOW + 60)
    opened = decisions.opened(before, TX, "https://pay", NOW, NOW + 600, "AP1")
    page: dict[str, Any] = {"checkout_url": "https://pay", "page_expires_at": NOW + 600}
    assert opened.active_payment == payment(P.PENDING, **page, provider_reference="AP1")
    refused = decisions.never_opened(before, TX, "refused", NOW)
    assert refused.payments == (payment(P.CLOSED, reason="refused"),)
    assert refused.order.active_tx_ref is None
    lost = decisions.maybe_opened(before, TX, "timeout", NOW)
    assert lost.active_payment == payment(
        P.INITIALIZING, lease_until=NOW, check_at=NOW, reason="timeout"
    )
    assert decisions.to_close(lost, NOW, builders.RULES) == lost.payments


@pytest.mark.parametrize("status", P)
@pytest.mark.parametrize("tx_ref", [TX, builders.OTHER])
def test_late_answer_of_initialize_or_cancel_changes_nothing(status: P, tx_ref: str) -> None:
    before = aggregate(status, OrderStatus.PAID)
    if status is not P.INITIALIZING or tx_ref is builders.OTHER:
        assert decisions.opened(before, tx_ref, "https://pay", NOW, NOW) is before
        assert decisions.never_opened(before, tx_ref, "refused", NOW) is before
        assert decisions.maybe_opened(before, tx_ref, "timeout", NOW) is before
    if status is not P.CLOSING or tx_ref is builders.OTHER:
        assert decisions.close(before, tx_ref, "expired", NOW) is before
        assert decisions.release(before, tx_ref, NOW) is before


def test_order_is_payable_until_it_expires_unless_in_review_or_cancelled() -> None:
    assert decisions.payable(aggregate(), EXPIRY - 1)
    assert not decisions.payable(aggregate(), EXPIRY)
    assert not decisions.payable(aggregate(P.REVIEW), NOW)
    assert not decisions.payable(decisions.cancel(aggregate()), NOW)
    assert not any(decisions.payable(aggregate(order_status=ended), NOW) for ended in ENDED)


@pytest.mark.parametrize("status", P)
def test_page_is_handed_out_until_two_minutes_before_its_end(status: P) -> None:
    page, pending = payment(status, page_expires_at=NOW + 600), status is P.PENDING
    assert decisions.page_is_usable(page, NOW + 479) is pending
    assert not decisions.page_is_usable(page, NOW + 480)
    assert decisions.page_is_usable(payment(status), NOW + builders.DAY) is pending


@pytest.mark.parametrize("status", builders.ordered(OPEN))
@pytest.mark.parametrize("order_status", OrderStatus)
def test_open_payment_is_closed_once_the_order_is_over(
    status: P, order_status: OrderStatus
) -> None:
    before = aggregate(status, order_status)
    assert decisions.to_close(before, EXPIRY, builders.RULES) == before.payments
    abandoned = status in {P.INITIALIZING, P.CLOSING}
    over = order_status is not OrderStatus.PENDING
    assert bool(decisions.to_close(before, NOW, builders.RULES)) is (over or abandoned)


@pytest.mark.parametrize("status", builders.ordered(OPEN))
@pytest.mark.parametrize("page", [{"page_expires_at": EXPIRY + 900}, {}])
def test_payment_that_cannot_be_cancelled_is_closed_when_its_page_is_over(
    status: P, page: dict[str, Any]
) -> None:
    before = aggregate(status, can_cancel=False, **page)
    over = (EXPIRY + 900 if page else NOW + builders.RULES.link) + decisions.PAGE_MARGIN_SECONDS
    assert decisions.to_close(before, over - 1, builders.RULES) == ()
    assert decisions.to_close(before, over, builders.RULES) == before.payments
    released = replace(builders.RULES, hold_until_page_expires=False)
    assert decisions.to_close(before, EXPIRY, released) == before.payments


def test_payment_whose_page_lives_on_makes_room_for_another() -> None:
    before = aggregate(P.CLOSING, can_cancel=False, lease_until=NOW + 60)
    after = decisions.replaceable(before, TX, NOW)
    assert after.payments == (replace(before.payments[0], lease_until=NOW),)
    assert after.order.active_tx_ref is None
    paid = builders.paid_order()
    assert decisions.replaceable(paid, TX, NOW) is paid
    assert decisions.replaceable(before, builders.OTHER, NOW) is before


@pytest.mark.parametrize(("status", "now"), list(product(builders.ordered(OPEN), [NOW, EXPIRY])))
def test_leased_payment_is_left_alone_until_its_lease_ends(status: P, now: int) -> None:
    before = decisions.cancel(aggregate(status, lease_until=now + 60))
    assert decisions.to_close(before, now + 59, builders.RULES) == ()
    assert decisions.to_close(before, now + 60, builders.RULES) == before.payments


def test_lease_has_a_length_and_can_be_released() -> None:
    leased = decisions.lease(aggregate(), aggregate().payments, NOW, builders.RULES)
    assert leased.payments == (payment(P.CLOSING, lease_until=NOW + 60, check_at=NOW + 61),)
    free = decisions.release(leased, TX, NOW + 1)
    assert free.payments == (replace(leased.payments[0], lease_until=NOW + 1),)


def test_closed_active_payment_makes_room_for_another() -> None:
    before = aggregate(P.CLOSING, lease_until=NOW + 60)
    after = decisions.close(before, TX, "replaced", NOW)
    assert after.payments == (payment(P.CLOSED, reason="replaced"),)
    assert after.order.active_tx_ref is None
    two = aggregate().put(payment(P.CLOSING, tx_ref=builders.OTHER))
    assert decisions.close(two, builders.OTHER, "replaced", NOW).active_payment == two.payments[0]


def test_only_a_payment_that_the_provider_calls_pending_has_a_grace() -> None:
    closing, end = payment(P.CLOSING), NOW + builders.RULES.pending_grace
    assert decisions.still_in_grace(closing, Said.PENDING, end - 1, builders.RULES)
    assert not decisions.still_in_grace(closing, Said.PENDING, end, builders.RULES)
    others = set(Said) - {Said.PENDING}
    assert not any(decisions.still_in_grace(closing, said, NOW, builders.RULES) for said in others)


def test_cancelled_order_ends_at_once_and_expired_order_at_its_time() -> None:
    closed = aggregate(P.CLOSED)
    cancelled = decisions.cancel(closed)
    assert decisions.cancel(cancelled) is cancelled
    assert decisions.end(cancelled, NOW).order.status is OrderStatus.CANCELLED
    assert decisions.end(closed, EXPIRY - 1) is closed
    assert decisions.end(closed, EXPIRY).order.status is OrderStatus.EXPIRED


def test_order_ends_neither_twice_nor_while_a_payment_may_succeed() -> None:
    open_ones = [aggregate(status) for status in OPEN | {P.REVIEW}]
    ended = [aggregate(P.CLOSED, status) for status in ENDED]
    for before in [*open_ones, *map(decisions.cancel, open_ones), *ended]:
        assert decisions.end(before, EXPIRY) is before
    assert all(decisions.cancel(before) is before for before in ended)


def test_right_facts_end_a_review_and_further_wrong_ones_are_recorded() -> None:
    before = in_review(replace(SUCCESS, amount=1))
    assert decide(before).aggregate.payments == (payment(P.SUCCEEDED, **MONEY),)
    worse = replace(SUCCESS, amount=1, mode="live", provider_reference=None)
    decision = decide(before, worse, now=NOW + builders.DAY)
    assert decision.outcome is Outcome.APPLIED
    reason = "not as requested: amount, mode, provider_reference"
    assert decision.aggregate.payments == (replace(before.payments[0], reason=reason),)


@went_back
@pytest.mark.parametrize("currency", ["ETB", "USD"])
def test_money_that_goes_back_ends_a_review(answer: Verification, status: P, currency: str) -> None:
    wrong = replace(SUCCESS, amount=1, currency=currency)
    decision = decide(in_review(wrong), replace(answer, currency=currency))
    assert decision.outcome is Outcome.APPLIED
    assert decision.aggregate.payments[0].status is status
    assert decision.aggregate.order == replace(aggregate().order, active_tx_ref=None)


@pytest.mark.parametrize(
    ("answer", "end"),
    [(SUCCESS, (P.SUCCEEDED, OrderStatus.PAID)), (REVERSED, (P.REVERSED, OrderStatus.REFUNDED))],
)
def test_success_or_reversal_ends_the_review_of_an_applied_payment(
    answer: Verification, end: object
) -> None:
    after = decide(partly_refunded(), answer).aggregate
    assert (after.payments[0].status, after.order.status) == end
    assert "order.paid" not in [event.name for event in after.new_events]


WRONG = replace(SUCCESS, amount=0, currency="USD")


@pytest.mark.parametrize(
    "before",
    [
        in_review(WRONG),
        in_review(WRONG, aggregate(P.CLOSED, OrderStatus.EXPIRED)),
        *(aggregate(status, **LEASED) for status in builders.ordered(OPEN)),
    ],
)
def test_accepted_payment_pays_its_order(before: OrderAggregate) -> None:
    was = before.payments[0]
    after = decisions.accept(before, was, "sara", "why", NOW + builders.DAY)
    facts: dict[str, Any] = {
        "paid_amount": 90_000,
        "paid_currency": "ETB",
        "paid_at": NOW + builders.DAY,
    }
    if was.paid_at:
        facts = {"provider_reference": "AP1"}
        facts |= {"paid_amount": 0, "paid_currency": "USD", "paid_at": NOW}
    assert after.payments == (payment(P.SUCCEEDED, **facts, accepted_by="sara"),)
    assert (after.order.status, after.order.paid_by) == (OrderStatus.PAID, TX)
    [event] = [each for each in after.new_events if isinstance(each, PaymentSucceeded)]
    assert (event.amount, event.currency) == (facts["paid_amount"], facts["paid_currency"])


@pytest.mark.parametrize("status", [OrderStatus.PAID, OrderStatus.REFUNDED])
def test_order_that_another_payment_paid_cannot_take_one_more(status: OrderStatus) -> None:
    before = aggregate(P.REVIEW, status)
    with pytest.raises(IllegalMoveError, match=f"^order {builders.ORDER_ID} cannot take {TX}"):
        decisions.accept(before, before.payments[0], *BY)


def test_accepted_payment_of_a_paid_order_stays_applied() -> None:
    before = partly_refunded()
    after = decisions.accept(before, before.payments[0], *BY)
    assert (after.payments[0].status, after.order) == (P.SUCCEEDED, before.order)


@pytest.mark.parametrize("currency", ["ETB", "USD"])
def test_given_back_is_what_was_really_paid(currency: str) -> None:
    before = in_review(replace(SUCCESS, amount=70_000, currency=currency))
    before = before.put(replace(before.payments[0], lease_until=NOW + 60))
    after = decisions.give_back(before, before.payments[0], *BY)
    owed = [(r.amount, r.currency, r.reason) for r in after.refunds]
    assert owed == [(70_000, currency, BY[1])]
    assert (after.payments[0].status, after.payments[0].lease_until) == (P.UNAPPLIED, 0)
    assert after.order == replace(before.order, active_tx_ref=None)
    [event] = [each for each in after.new_events if isinstance(each, PaymentUnapplied)]
    assert (event.provider_reference, event.amount, event.currency) == ("AP1", 70_000, currency)


def test_given_back_of_an_applied_payment_is_what_is_left() -> None:
    before = partly_refunded()
    after = decisions.give_back(before, before.payments[0], *BY)
    assert [(r.amount, r.reason) for r in after.refunds] == [(60_000, None), (30_000, BY[1])]
    assert (after.payments[0].status, after.order) == (P.SUCCEEDED, before.order)
    done = refunds.ended(after, after.refunds[1].refund_id, Said.REFUNDED, NOW)
    assert (done.payments[0].status, done.order.status) == (P.REFUNDED, OrderStatus.REFUNDED)


@pytest.mark.parametrize("status", builders.ordered(decisions.RESOLVABLE))
def test_dismissed_payment_is_closed_and_lets_its_order_end(status: P) -> None:
    before = aggregate(status, **LEASED)
    early = decisions.dismiss(before, before.payments[0], Said.NOT_PAID, *BY)
    assert early.payments == (payment(P.CLOSED, reason="dismissed by an operator"),)
    assert early.order == replace(before.order, active_tx_ref=None)
    late = decisions.dismiss(before, before.payments[0], Said.UNKNOWN, *BY[:2], EXPIRY)
    assert late.order.status is OrderStatus.EXPIRED


@went_back
def test_dismissed_payment_whose_money_went_back_is_final(answer: Verification, status: P) -> None:
    before = in_review(answer)
    after = decisions.dismiss(before, before.payments[0], answer.said, *BY[:2], EXPIRY)
    assert (after.payments[0].status, after.order.status) == (status, OrderStatus.EXPIRED)


@pytest.mark.parametrize("said", [Said.REFUNDED, Said.UNKNOWN])
def test_dismissed_payment_that_was_applied_is_refunded(said: Said) -> None:
    before = partly_refunded()
    after = decisions.dismiss(before, before.payments[0], said, *BY)
    assert (after.payments[0].status, after.order.status) == (P.REFUNDED, OrderStatus.REFUNDED)
    assert after.refunds == before.refunds


@pytest.mark.parametrize("shown", [90_000, 30_000])
def test_amount_that_refunds_were_counted_against_stays_what_was_paid(shown: int) -> None:
    """What Chapa shows as the amount of a payment that was refunded in part is not known."""
    [after] = decide(partly_refunded(), replace(SUCCESS, amount=shown)).aggregate.payments
    assert after.status is (P.SUCCEEDED if shown == 90_000 else P.REVIEW)
    assert after.paid_amount == 90_000


@pytest.mark.parametrize(("check_at", "kept"), [(NOW, None), (NOW + 3, NOW + 60)])
def test_closed_payment_keeps_an_early_check_that_is_still_to_come(
    check_at: int, kept: int | None
) -> None:
    before = aggregate(check_at=check_at)
    leased = decisions.lease(before, before.payments, NOW, builders.RULES)
    assert decisions.close(leased, TX, "over", NOW + 1).payments[0].check_at == kept
