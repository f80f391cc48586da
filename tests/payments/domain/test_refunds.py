from dataclasses import replace
from typing import Any

import pytest

from payments.domain import refunds
from payments.domain.aggregate import IllegalMoveError, OrderAggregate
from payments.domain.answers import Said
from payments.domain.records import Line
from payments.domain.states import (
    OPEN_REFUNDS,
    PAID,
    OrderStatus,
    PaymentStatus,
    RefundStatus,
)
from tests.builders import (
    NOW,
    OTHER,
    PRICE,
    RF,
    RULES,
    SKU,
    TX,
    aggregate,
    order,
    ordered,
    paid_order,
    refund,
)

PENDING, REVIEW, DONE = RefundStatus.PENDING, RefundStatus.REVIEW, RefundStatus.REFUNDED
BY = ("sara", "low balance is over", NOW)


def statuses(after: OrderAggregate) -> tuple[PaymentStatus, OrderStatus]:
    return after.payments[0].status, after.order.status


STILL_PAID = (PaymentStatus.SUCCEEDED, OrderStatus.PAID)
REFUNDED = (PaymentStatus.REFUNDED, OrderStatus.REFUNDED)


def test_refunds_never_exceed_what_was_paid() -> None:
    part = refunds.request_refund(paid_order(), refund("first", 60_000), NOW)
    with pytest.raises(IllegalMoveError, match="second is more than what is left"):
        refunds.request_refund(part, refund("second", 30_001), NOW)
    owed = refunds.request_refund(part, refund("second", 30_000), NOW)
    assert [r.amount for r in owed.refunds] == [60_000, 30_000]


@pytest.mark.parametrize("status", ordered(set(PaymentStatus) - PAID))
def test_payment_without_money_is_not_refundable(status: PaymentStatus) -> None:
    before = aggregate(status, paid_amount=PRICE)
    assert (refunds.refundable(before, TX), refunds.refundable(before, OTHER)) == (0, 0)


@pytest.mark.parametrize("status", RefundStatus)
def test_refundable_is_reduced_by_what_is_or_may_be_paid_out(status: RefundStatus) -> None:
    before = paid_order(refund(amount=60_000, status=status), refund("other", tx_ref=OTHER))
    counts = status in OPEN_REFUNDS | {DONE}
    assert refunds.refundable(before, TX) == (30_000 if counts else PRICE)
    assert refunds.refundable(paid_order(paid_amount=None), TX) == 0


@pytest.mark.parametrize("step", [refunds.retry, refunds.settle_outside])
def test_refused_refund_counts_again_only_if_there_is_room(step: Any) -> None:
    refused = refund(amount=60_000, status=REVIEW)
    assert refunds.refundable(step(paid_order(refused), refused, *BY), TX) == 30_000
    by_another_key = refund("another key", 30_000)
    assert step(paid_order(refused, by_another_key), refused, *BY).refund(RF).status is not REVIEW
    by_another_key = refund("another key", 30_001)
    with pytest.raises(IllegalMoveError, match=f"refund {RF} is more than what is left"):
        step(paid_order(refused, by_another_key), refused, *BY)


def test_retry_begins_a_fresh_attempt() -> None:
    sent = {"sends": 2, "provider_refund_id": "RF1", "refusal": "low balance"}
    refused = refund(status=REVIEW, attempt=2, **sent)
    assert refunds.retry(paid_order(refused), refused, *BY).refunds == (refund(attempt=3),)


@pytest.mark.parametrize("status", [RefundStatus.REQUESTED, PENDING, REVIEW])
def test_refund_that_was_paid_outside_completes_the_payment(status: RefundStatus) -> None:
    known = refund(status=status)
    after = refunds.settle_outside(paid_order(known), known, *BY)
    assert after.refunds == (refund(status=DONE),)
    assert statuses(after) == REFUNDED


def test_dismissed_refund_leaves_the_payment_paid() -> None:
    refused = refund(status=REVIEW, refusal="low balance")
    after = refunds.dismiss(paid_order(refused), refused, *BY)
    assert after.refunds == (replace(refused, status=RefundStatus.DISMISSED),)
    assert (statuses(after), refunds.refundable(after, TX)) == (STILL_PAID, PRICE)


def test_owed_back_is_all_that_is_left_under_an_id_of_its_own() -> None:
    before = paid_order(refund(amount=60_000, status=DONE), paid_currency="USD")
    owed = refunds.owe_back(before, before.payments[0], "too late", NOW)
    assert (owed.refunds[1].amount, owed.refunds[1].currency) == (30_000, "USD")
    assert refunds.owe_back(owed, owed.payments[0], "again", NOW) is owed
    refused = refunds.refused(owed, owed.refunds[1].refund_id, "no", NOW)
    again = refunds.owe_back(refused, refused.payments[0], "again", NOW)
    assert [r.amount for r in again.refunds] == [60_000, 30_000, 30_000]
    unknown = paid_order(paid_currency=None)
    assert refunds.owe_back(unknown, unknown.payments[0], "x", NOW).refunds[0].currency == "ETB"


class TestReturns:
    def test_goods_come_back_line_by_line_and_never_more_than_were_sold(self) -> None:
        lines = (Line(SKU, "Coffee", 3, 1, returned=1), Line("MUG", "Mug", 1, 1))
        before = replace(paid_order(), order=replace(paid_order().order, lines=lines))
        assert refunds.returnable(before) == {SKU: 2, "MUG": 1}
        after = refunds.request_refund(before, refund(amount=1, returns={SKU: 1}), NOW)
        assert [line.returned for line in after.order.lines] == [2, 0]
        assert after.held_units == {SKU: 1, "MUG": 1}
        for more in ({SKU: 2}, {"MUG": 2}, {"OTHER": 1}):
            with pytest.raises(IllegalMoveError, match="second is more"):
                refunds.request_refund(after, refund("second", 1, returns=more), NOW)
        all_back = refunds.request_refund(after, refund("x", 0, returns={SKU: 1, "MUG": 1}), NOW)
        assert refunds.returnable(all_back) == {SKU: 0, "MUG": 0}

    def test_goods_without_money_come_back_at_once(self) -> None:
        after = refunds.request_refund(paid_order(), refund(amount=0, returns={SKU: 2}), NOW)
        assert after.refunds == (refund(amount=0, returns={SKU: 2}, status=DONE),)
        assert (statuses(after), after.held_units) == (STILL_PAID, {SKU: 0})
        assert [event.name for event in after.new_events] == ["stock.returned"]

    def test_refund_without_goods_leaves_the_order_as_it_is(self) -> None:
        assert refunds.request_refund(paid_order(), refund(), NOW).order == paid_order().order

    @pytest.mark.parametrize("status", OrderStatus)
    def test_only_sold_goods_can_be_returned(self, status: OrderStatus) -> None:
        sold = status in {OrderStatus.PAID, OrderStatus.REFUNDED}
        before = OrderAggregate(order(status=status))
        assert refunds.returnable(before) == ({SKU: 2} if sold else {})


class TestSend:
    def test_each_send_is_counted_and_leased(self) -> None:
        once = refunds.before_sending(paid_order(refund()), RF, NOW, RULES)
        lease = {"lease_until": NOW + 60, "check_at": NOW + 60}
        assert once.refunds == (refund(sends=1, **lease),)
        assert refunds.before_sending(once, RF, NOW, RULES).refunds == (refund(sends=2, **lease),)

    def test_answer_ends_the_lease(self) -> None:
        before = paid_order(refund(sends=1, lease_until=NOW + 60))
        for after, changes in [
            (
                refunds.accepted(before, RF, "RF1", NOW),
                {"status": PENDING, "provider_refund_id": "RF1"},
            ),
            (refunds.release(before, RF, NOW), {"lease_until": NOW}),
            (refunds.refused(before, RF, "no", NOW), {"status": REVIEW, "refusal": "no"}),
            (refunds.ended(before, RF, Said.REFUNDED, NOW), {"status": DONE}),
            (refunds.ended(before, RF, Said.REVERSED, NOW), {"status": RefundStatus.REVERSED}),
        ]:
            assert after.refunds == (refund(**{"sends": 1, **changes}),)

    @pytest.mark.parametrize("status", [None, *ordered(set(RefundStatus) - OPEN_REFUNDS)])
    def test_final_or_unknown_refund_does_not_change(self, status: RefundStatus | None) -> None:
        before = paid_order(refund(status=status)) if status else paid_order()
        assert refunds.accepted(before, RF, "RF1", NOW) is before
        assert refunds.release(before, RF, NOW) is before
        assert refunds.refused(before, RF, "refused", NOW) is before
        assert refunds.ended(before, RF, Said.REFUNDED, NOW) is before
        assert refunds.ended(before, RF, Said.REVERSED, NOW) is before
        assert refunds.before_sending(before, RF, NOW, RULES) is before

    def test_accepted_refund_is_neither_sent_nor_accepted_again(self) -> None:
        before = paid_order(refund(status=PENDING, provider_refund_id="RF1"))
        assert refunds.accepted(before, RF, "RF2", NOW) is before
        assert refunds.before_sending(before, RF, NOW, RULES) is before
        assert refunds.release(before, RF, NOW).refunds[0].lease_until == NOW


class TestEnd:
    def test_reversed_refund_is_refundable_again(self) -> None:
        after = refunds.ended(paid_order(refund(status=PENDING)), RF, Said.REVERSED, NOW)
        assert (statuses(after), refunds.refundable(after, TX)) == (STILL_PAID, PRICE)

    @pytest.mark.parametrize(("first", "end"), [(60_000, REFUNDED), (59_999, STILL_PAID)])
    def test_order_is_refunded_when_the_refunds_add_up(self, first: int, end: Any) -> None:
        before = paid_order(
            refund("op-1", first, status=DONE),
            refund("op-2", 30_000, status=PENDING),
            refund("op-3", status=PENDING, amount=1),
            refund("op-4", status=DONE, tx_ref=OTHER),
            lease_until=NOW,
        )
        after = refunds.ended(before, "op-2", Said.REFUNDED, NOW)
        assert statuses(after) == end
        assert after.payments[0].lease_until == (0 if end == REFUNDED else NOW)
        assert refunds.given_back(after, TX) == first + 30_000

    @pytest.mark.parametrize("order_status", ordered(set(OrderStatus)))
    def test_refund_of_unapplied_payment_leaves_the_order(self, order_status: OrderStatus) -> None:
        before = aggregate(PaymentStatus.UNAPPLIED, order_status, (refund(),))
        after = refunds.ended(before, RF, Said.REFUNDED, NOW)
        assert statuses(after) == (PaymentStatus.REFUNDED, order_status)

    @pytest.mark.parametrize("status", [PaymentStatus.REVERSED, PaymentStatus.REVIEW])
    def test_refund_that_ends_after_its_payment_changes_only_itself(
        self, status: PaymentStatus
    ) -> None:
        before = aggregate(status, OrderStatus.PAID, (refund(),), paid_amount=PRICE)
        after = refunds.ended(before, RF, Said.REFUNDED, NOW)
        assert (after.payments, after.order) == (before.payments, before.order)
        assert after.refunds[0].status is DONE
