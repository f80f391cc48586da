from collections.abc import Callable, Iterator
from dataclasses import replace
from enum import Enum
from itertools import combinations, product

import pytest

from payments.domain import checks, decisions, refunds
from payments.domain.aggregate import IllegalMoveError, OrderAggregate
from payments.domain.answers import Outcome, Said
from payments.domain.states import (
    COUNTED_REFUNDS,
    HOLDS_STOCK,
    OPEN,
    OPEN_REFUNDS,
    ORDER_MOVES,
    PAID,
    PAYMENT_MOVES,
    REFUND_MOVES,
    UNPAID,
    OrderStatus,
    PaymentStatus,
    RefundStatus,
    sources,
)
from tests.builders import (
    HOUR,
    NOW,
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
    refund,
    scheduled,
)

Step = Callable[[OrderAggregate], OrderAggregate]
BY = ("sara", "called the customer", NOW)
ANSWERS: list[Step] = [
    lambda a, said=said, policy=policy: decide(a, replace(SUCCESS, said=said), policy).aggregate  # type: ignore[misc]
    for said, policy in product(Said, ("reserve", "refund", "review"))
]
BY_TIME: list[Step] = [
    lambda a: decisions.end(a, order().expires_at),
    lambda a: decisions.end(decisions.cancel(a), NOW),
]
PAYMENT_STEPS: list[Step] = [
    *ANSWERS,
    lambda a: decisions.opened(a, TX, "https://pay", NOW, NOW + HOUR),
    lambda a: decisions.never_opened(a, TX, "refused", NOW),
    lambda a: decisions.lease(a, decisions.to_close(a, order().expires_at), NOW, RULES),
    lambda a: decisions.close(a, TX, "too late", NOW),
]
PAYMENT_DECISIONS: list[Step] = [
    lambda a: decisions.accept(a, a.payments[0], *BY),
    lambda a: decisions.give_back(a, a.payments[0], *BY),
    lambda a: decisions.dismiss(a, a.payments[0], Said.NOT_PAID, *BY),
]
REFUND_STEPS: list[Step] = [
    lambda a: refunds.accepted(a, RF, "RF1", NOW),
    lambda a: refunds.refused(a, RF, "low balance", NOW),
    lambda a: refunds.ended(a, RF, Said.REFUNDED, NOW),
    lambda a: refunds.ended(a, RF, Said.REVERSED, NOW),
]
REFUND_DECISIONS: list[Step] = [
    lambda a: refunds.retry(a, a.refunds[0], *BY),
    lambda a: refunds.settle_outside(a, a.refunds[0], *BY),
    lambda a: refunds.dismiss(a, a.refunds[0], *BY),
]


def payments_in(status: PaymentStatus) -> Iterator[OrderAggregate]:
    """A payment in this status, with whatever its order and its refunds may be."""
    part = refund(amount=PRICE // 2, status=RefundStatus.REFUNDED)
    for order_status in OrderStatus:
        yield aggregate(status, order_status)
        if status in PAID:
            yield aggregate(status, order_status, (part,))


def reached(before: OrderAggregate, steps: list[Step]) -> Iterator[OrderAggregate]:
    for step in steps:
        try:
            yield step(before)
        except IllegalMoveError:
            assert step in PAYMENT_DECISIONS  # The order cannot take the payment.


@pytest.mark.parametrize("status", PaymentStatus)
def test_tables_allow_what_payments_do_and_nothing_else(status: PaymentStatus) -> None:
    steps = PAYMENT_STEPS
    if status in decisions.RESOLVABLE:
        steps = steps + PAYMENT_DECISIONS
    after = {a.payments[0].status for b in payments_in(status) for a in reached(b, steps)}
    assert after - {status} == PAYMENT_MOVES[status]


@pytest.mark.parametrize("status", OrderStatus)
def test_tables_allow_what_orders_do_and_nothing_else(status: OrderStatus) -> None:
    orders = [aggregate(payment_status, status) for payment_status in PaymentStatus]
    after = {a.order.status for before in orders for a in reached(before, ANSWERS + BY_TIME)}
    assert after - {status} == ORDER_MOVES[status]


@pytest.mark.parametrize("status", RefundStatus)
def test_tables_allow_what_refunds_do_and_nothing_else(status: RefundStatus) -> None:
    before = paid_order(refund(status=status))
    steps = REFUND_STEPS + (REFUND_DECISIONS if status is RefundStatus.REVIEW else [])
    assert {a.refunds[0].status for a in reached(before, steps)} - {status} == REFUND_MOVES[status]


FINAL = {
    *(PaymentStatus.REFUNDED, PaymentStatus.REVERSED),
    OrderStatus.REFUNDED,
    *(RefundStatus.REFUNDED, RefundStatus.REVERSED, RefundStatus.DISMISSED),
}


@pytest.mark.parametrize("moves", [PAYMENT_MOVES, ORDER_MOVES, REFUND_MOVES])
def test_every_status_that_is_not_final_has_an_exit[S: Enum](moves: dict[S, frozenset[S]]) -> None:
    kind = type(next(iter(moves)))
    assert moves.keys() == set(kind)
    assert {status for status, targets in moves.items() if not targets} == FINAL & set(kind)


@pytest.mark.parametrize("status", ordered(UNPAID))
@pytest.mark.parametrize("order_status", OrderStatus)
@pytest.mark.parametrize("outcome", [Outcome.OPEN, Outcome.UNANSWERED])
def test_payment_that_is_not_settled_is_checked_again(
    status: PaymentStatus, order_status: OrderStatus, outcome: Outcome
) -> None:
    before = scheduled(aggregate(status, order_status))
    at = before.payments[0].check_at
    assert at is not None
    assert before.payments[0] in checks.payments_to_check(before, at)
    assert checks.payment_checked(before, TX, outcome, at, RULES).payments[0].check_at


@pytest.mark.parametrize("status", ordered(OPEN_REFUNDS | {RefundStatus.REVIEW}))
@pytest.mark.parametrize("outcome", [Outcome.OPEN, Outcome.UNANSWERED])
def test_refund_that_is_not_final_is_checked_again(status: RefundStatus, outcome: Outcome) -> None:
    before = scheduled(paid_order(refund(status=status)))
    at = before.refunds[0].check_at
    assert at is not None
    assert checks.refunds_to_check(before, at) == before.refunds
    assert checks.refund_checked(before, RF, outcome, at, RULES).refunds[0].check_at


def test_success_may_follow_every_unpaid_status() -> None:
    assert all(PaymentStatus.SUCCEEDED in PAYMENT_MOVES[status] for status in UNPAID)


def test_success_never_becomes_unpaid() -> None:
    unpaid_again = UNPAID - {PaymentStatus.REVIEW}
    for status in (PaymentStatus.SUCCEEDED, PaymentStatus.UNAPPLIED):
        assert not PAYMENT_MOVES[status] & unpaid_again


def test_open_payment_can_be_closed() -> None:
    closed = {PaymentStatus.CLOSING, PaymentStatus.CLOSED}
    assert all(PAYMENT_MOVES[status] & closed for status in OPEN)


@pytest.mark.parametrize("status", ordered(set(PaymentStatus) - {PaymentStatus.CLOSING}))
def test_opened_payment_is_closed_only_under_a_lease(status: PaymentStatus) -> None:
    before = aggregate(status)
    assert decisions.close(before, TX, "too late", NOW) is before


def test_pending_and_ended_orders_can_be_paid() -> None:
    assert sources(ORDER_MOVES, OrderStatus.PAID) == ["cancelled", "expired", "pending"]


def test_released_stock_is_taken_again_only_by_a_late_success() -> None:
    for status in set(OrderStatus) - HOLDS_STOCK:
        assert ORDER_MOVES[status] == {OrderStatus.PAID}


def test_statuses_of_different_machines_are_never_equal() -> None:
    for one, other in combinations([PaymentStatus, OrderStatus, RefundStatus], 2):
        assert not {*one} & {*other}
    every = [*PaymentStatus, *OrderStatus, *RefundStatus]
    assert all(status != status.value for status in every)
    assert RefundStatus.REVIEW not in UNPAID
    assert PaymentStatus.REFUNDED not in COUNTED_REFUNDS
