from collections.abc import Callable, Iterator
from dataclasses import replace
from enum import Enum
from itertools import combinations, product
from typing import Any

import pytest

from payments.domain import checks, decisions, refunds, states
from payments.domain.aggregate import IllegalMoveError, OrderAggregate
from payments.domain.answers import Outcome, Said
from payments.domain.states import OrderStatus, PaymentStatus, RefundStatus
from tests import builders
from tests.builders import NOW, PRICE, RF, RULES, TX, aggregate, ordered, paid_order, refund

Step = Callable[[OrderAggregate], OrderAggregate]
BY = ("sara", "called the customer", NOW)
EXPIRY = builders.order().expires_at


def answer(said: Said, policy: str) -> Step:
    verification = replace(builders.SUCCESS, said=said)
    return lambda a: builders.decide(a, verification, policy).aggregate  # type: ignore[arg-type]


ANSWERS = [answer(*each) for each in product(Said, ("reserve", "refund", "review"))]
ORDER_STEPS: list[Step] = [
    *ANSWERS,
    lambda a: decisions.end(a, EXPIRY),
    lambda a: decisions.end(decisions.cancel(a), NOW),
]
PAYMENT_STEPS: list[Step] = [
    *ANSWERS,
    lambda a: decisions.opened(a, TX, "https://pay", NOW, EXPIRY),
    lambda a: decisions.never_opened(a, TX, "refused", NOW),
    lambda a: decisions.lease(a, decisions.to_close(a, EXPIRY, RULES), NOW, RULES),
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


def reached(before: OrderAggregate, steps: list[Step]) -> Iterator[OrderAggregate]:
    for step in steps:
        try:
            yield step(before)
        except IllegalMoveError:
            assert step in PAYMENT_DECISIONS  # The order cannot take the payment.


@pytest.mark.parametrize("status", PaymentStatus)
def test_table_of_payments_holds_the_moves_that_some_step_makes(status: PaymentStatus) -> None:
    part = refund(amount=PRICE // 2, status=RefundStatus.REFUNDED)
    after = {
        a.payments[0].status
        for order_status, ours in product(OrderStatus, [(), (part,)])
        for a in reached(
            aggregate(status, order_status, ours),
            PAYMENT_STEPS + (PAYMENT_DECISIONS if status in decisions.RESOLVABLE else []),
        )
    }
    assert after - {status} == states.PAYMENT_MOVES[status]


@pytest.mark.parametrize("status", OrderStatus)
def test_table_of_orders_holds_the_moves_that_some_step_makes(status: OrderStatus) -> None:
    orders = [aggregate(payment_status, status) for payment_status in PaymentStatus]
    after = {a.order.status for before in orders for a in reached(before, ORDER_STEPS)}
    assert after - {status} == states.ORDER_MOVES[status]


@pytest.mark.parametrize("status", RefundStatus)
def test_table_of_refunds_holds_the_moves_that_some_step_makes(status: RefundStatus) -> None:
    steps = REFUND_STEPS + (REFUND_DECISIONS if status is RefundStatus.REVIEW else [])
    after = {a.refunds[0].status for a in reached(paid_order(refund(status=status)), steps)}
    assert after - {status} == states.REFUND_MOVES[status]


def test_only_final_statuses_have_no_moves() -> None:
    tables: list[Any] = [states.PAYMENT_MOVES, states.ORDER_MOVES, states.REFUND_MOVES]
    final = [{status.value for status in table if not table[status]} for table in tables]
    gone = {"refunded", "reversed"}
    assert final == [gone, {"refunded"}, gone | {"dismissed"}]


@pytest.mark.parametrize("outcome", [Outcome.OPEN, Outcome.UNANSWERED])
def test_what_is_not_settled_is_checked_and_checked_again(outcome: Outcome) -> None:
    for status, order_status in product(ordered(states.UNPAID), OrderStatus):
        before = builders.scheduled(aggregate(status, order_status))
        at = before.payments[0].check_at or 0
        assert before.payments[0] in checks.payments_to_check(before, at)
        assert checks.payment_checked(before, TX, outcome, at, RULES).payments[0].check_at
    for refund_status in states.OPEN_REFUNDS | {RefundStatus.REVIEW}:
        before = builders.scheduled(paid_order(refund(status=refund_status)))
        at = before.refunds[0].check_at or 0
        assert before.refunds[0] in checks.refunds_to_check(before, at)
        assert checks.refund_checked(before, RF, outcome, at, RULES).refunds[0].check_at


def test_sources_are_the_statuses_that_a_target_may_follow() -> None:
    sources = states.sources(states.ORDER_MOVES, OrderStatus.PAID)
    assert sources == ["cancelled", "expired", "pending"]


def test_statuses_of_different_machines_are_never_equal() -> None:
    machines: list[type[Enum]] = [PaymentStatus, OrderStatus, RefundStatus]
    for one, other in combinations(machines, 2):
        assert not {*one} & {*other}
        assert all(status != status.value for status in [*one, *other])
