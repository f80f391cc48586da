from dataclasses import replace
from typing import Any

import pytest

from payments.domain import refunds
from payments.domain.aggregate import IllegalMoveError, OrderAggregate
from payments.domain.answers import Said
from payments.domain.records import Line
from payments.domain.states import OPEN_REFUNDS, PAID, OrderStatus, PaymentStatus, RefundStatus
from tests import builders
from tests.builders import NOW, OTHER, PRICE, RF, RULES, SKU, TX, aggregate, paid_order, refund

PENDING, REVIEW, DONE = RefundStatus.PENDING, RefundStatus.REVIEW, RefundStatus.REFUNDED
BY = ("sara", "low balance is over", NOW)
STILL_PAID = (PaymentStatus.SUCCEEDED, OrderStatus.PAID)
REFUNDED = (PaymentStatus.REFUNDED, OrderStatus.REFUNDED)


def statuses(after: OrderAggregate) -> tuple[PaymentStatus, OrderStatus]:
    return after.payments[0].status, after.order.status


def test_refunds_never_exceed_what_was_paid() -> None:
    part = refunds.request_refund(paid_order(), refund("first", 60_000), NOW)
    with pytest.raises(IllegalMoveError, match=r"^refund second is more than what is left$"):
        refunds.request_refund(part, refund("second", 30_001), NOW)
    owed = refunds.request_refund(part, refund("second", 30_000), NOW)
    assert owed.refunds == (refund("first", 60_000), refund("second", 30_000))


@pytest.mark.parametrize("status", builders.ordered(set(PaymentStatus) - PAID))
def test_payment_without_money_is_not_refundable(status: PaymentStatus) -> None:
    before = aggregate(status, paid_amount=PRICE)
    assert (refunds.refundable(before, TX), refunds.refundable(before, OTHER)) == (0, 0)
    assert refunds.refundable(paid_order(paid_amount=None), TX) == 0


@pytest.mark.parametrize("status", RefundStatus)
def test_refundable_is_reduced_by_what_is_or_may_be_paid_out(status: RefundStatus) -> None:
    before = paid_order(refund(amount=60_000, status=status), refund("other", tx_ref=OTHER))
    counts = status in OPEN_REFUNDS | {DONE}
    assert refunds.refundable(before, TX) == (30_000 if counts else PRICE)


@pytest.mark.parametrize("step", [refunds.retry, refunds.settle_outside])
def test_refused_refund_counts_again_only_if_there_is_room(step: Any) -> None:
    refused = refund(amount=60_000, status=REVIEW)
    after = step(paid_order(refused, refund("another key", 30_000)), refused, *BY)
    assert refunds.refundable(after, TX) == 0
    with pytest.raises(IllegalMoveError, match=rf"^refund {RF} is more than what is left$"):
        step(paid_order(refused, refund("another key", 30_001)), refused, *BY)


def test_retry_begins_a_fresh_attempt() -> None:
    sent = refund(status=REVIEW, attempt=2, sends=2, provider_refund_id="RF1", refusal="no")
    assert refunds.retry(paid_order(sent), sent, *BY).refunds == (refund(attempt=3),)


@pytest.mark.parametrize("status", [RefundStatus.REQUESTED, PENDING, REVIEW])
def test_refund_that_was_paid_outside_completes_the_payment(status: RefundStatus) -> None:
    after = refunds.settle_outside(paid_order(refund(status=status)), refund(status=status), *BY)
    assert (after.refunds, statuses(after)) == ((refund(status=DONE),), REFUNDED)


def test_dismissed_refund_leaves_the_payment_paid() -> None:
    refused = refund(status=REVIEW, refusal="low balance")
    after = refunds.dismiss(paid_order(refused), refused, *BY)
    assert after.refunds == (replace(refused, status=RefundStatus.DISMISSED),)
    assert (statuses(after), refunds.refundable(after, TX)) == (STILL_PAID, PRICE)


@pytest.mark.parametrize("currency", [None, "USD"])
def test_owed_back_is_all_that_is_left_under_an_id_of_its_own(currency: str | None) -> None:
    before = paid_order(refund(amount=60_000, status=DONE), paid_currency=currency)
    owed = refunds.owe_back(before, before.payments[0], "too late", NOW)
    expected: dict[str, Any] = {"currency": currency or "ETB", "reason": "too late", "whole": True}
    assert owed.refunds[1] == refund(owed.refunds[1].refund_id, 30_000, moved_at=0, **expected)
    assert refunds.owe_back(owed, owed.payments[0], "again", NOW) is owed
    refused = refunds.refused(owed, owed.refunds[1].refund_id, "no", NOW)
    again = refunds.owe_back(refused, refused.payments[0], "again", NOW)
    assert [r.amount for r in again.refunds] == [60_000, 30_000, 30_000]


def test_goods_come_back_line_by_line_and_never_more_than_were_sold() -> None:
    lines = (Line(SKU, "Coffee", 3, 1, returned=1), Line("MUG", "Mug", 1, 1))
    before = paid_order().put(replace(paid_order().order, lines=lines))
    assert refunds.returnable(before) == {SKU: 2, "MUG": 1}
    after = refunds.request_refund(before, refund(amount=1, returns={SKU: 1}), NOW)
    assert (after.held_units, refunds.returnable(after)) == ({SKU: 1, "MUG": 1},) * 2
    for more in ({SKU: 2}, {"MUG": 2}, {"OTHER": 1}):
        with pytest.raises(IllegalMoveError, match=r"^refund second is more than what is left$"):
            refunds.request_refund(after, refund("second", 1, returns=more), NOW)
    all_back = refunds.request_refund(after, refund("x", 0, returns={SKU: 1, "MUG": 1}), NOW)
    assert refunds.returnable(all_back) == {SKU: 0, "MUG": 0}


def test_goods_without_money_come_back_at_once() -> None:
    after = refunds.request_refund(paid_order(), refund(amount=0, returns={SKU: 2}), NOW)
    assert after.refunds == (refund(amount=0, returns={SKU: 2}, status=DONE),)
    assert (statuses(after), after.held_units) == (STILL_PAID, {SKU: 0})


@pytest.mark.parametrize("status", OrderStatus)
def test_only_sold_goods_can_be_returned(status: OrderStatus) -> None:
    sold = status in {OrderStatus.PAID, OrderStatus.REFUNDED}
    returnable = refunds.returnable(aggregate(order_status=status))
    assert returnable == ({SKU: 2} if sold else {})


def test_each_send_is_counted_and_leased() -> None:
    once = refunds.before_sending(paid_order(refund()), RF, NOW, RULES)
    leased = refund(sends=1, lease_until=NOW + 60, check_at=NOW + 60)
    assert once.refunds == (leased,)
    again = refunds.before_sending(once, RF, NOW, RULES)
    assert again.refunds == (replace(leased, sends=2),)


def test_answer_ends_the_lease() -> None:
    before = paid_order(refund(sends=1, lease_until=NOW + 60))
    sent = refund(sends=1)
    accepted = refunds.accepted(before, RF, "RF1", NOW)
    assert accepted.refunds == (replace(sent, status=PENDING, provider_refund_id="RF1"),)
    refused = refunds.refused(before, RF, "no", NOW)
    assert refused.refunds == (replace(sent, status=REVIEW, refusal="no"),)
    assert refunds.release(before, RF, NOW).refunds == (replace(sent, lease_until=NOW),)
    assert refunds.ended(before, RF, Said.REFUNDED, NOW).refunds == (replace(sent, status=DONE),)
    reversed_ = refunds.ended(before, RF, Said.REVERSED, NOW)
    assert reversed_.refunds == (replace(sent, status=RefundStatus.REVERSED),)
    assert (statuses(reversed_), refunds.refundable(reversed_, TX)) == (STILL_PAID, PRICE)


@pytest.mark.parametrize("status", [None, *builders.ordered(set(RefundStatus) - OPEN_REFUNDS)])
def test_final_or_unknown_refund_does_not_change(status: RefundStatus | None) -> None:
    before = paid_order(refund(status=status)) if status else paid_order()
    assert refunds.accepted(before, RF, "RF1", NOW) is before
    assert refunds.release(before, RF, NOW) is before
    assert refunds.refused(before, RF, "refused", NOW) is before
    assert refunds.ended(before, RF, Said.REFUNDED, NOW) is before
    assert refunds.ended(before, RF, Said.REVERSED, NOW) is before
    assert refunds.before_sending(before, RF, NOW, RULES) is before


def test_accepted_refund_is_neither_sent_nor_accepted_again() -> None:
    before = paid_order(refund(status=PENDING, provider_refund_id="RF1"))
    assert refunds.accepted(before, RF, "RF2", NOW) is before
    assert refunds.before_sending(before, RF, NOW, RULES) is before
    assert refunds.release(before, RF, NOW).refunds[0].lease_until == NOW


@pytest.mark.parametrize(("first", "end"), [(60_000, REFUNDED), (59_999, STILL_PAID)])
def test_order_is_refunded_when_the_refunds_add_up(first: int, end: object) -> None:
    done, of_other = refund("op-1", first, status=DONE), refund("x", status=DONE, tx_ref=OTHER)
    pending = refund("op-2", 30_000, status=PENDING)
    before = paid_order(done, pending, refund("op-3", 1), of_other, lease_until=NOW)
    after = refunds.ended(before, "op-2", Said.REFUNDED, NOW)
    assert statuses(after) == end
    assert after.payments[0].lease_until == (0 if end == REFUNDED else NOW)
    assert refunds.given_back(after, TX) == first + 30_000


@pytest.mark.parametrize("order_status", OrderStatus)
def test_refund_of_unapplied_payment_leaves_the_order(order_status: OrderStatus) -> None:
    before = aggregate(PaymentStatus.UNAPPLIED, order_status, (refund(),))
    after = refunds.ended(before, RF, Said.REFUNDED, NOW)
    assert statuses(after) == (PaymentStatus.REFUNDED, order_status)


@pytest.mark.parametrize("status", [PaymentStatus.REVERSED, PaymentStatus.REVIEW])
def test_refund_that_ends_after_its_payment_changes_only_itself(status: PaymentStatus) -> None:
    before = aggregate(status, OrderStatus.PAID, (refund(),), paid_amount=PRICE)
    after = refunds.ended(before, RF, Said.REFUNDED, NOW)
    assert (after.payments, after.order) == (before.payments, before.order)
    assert after.refunds[0].status is DONE
