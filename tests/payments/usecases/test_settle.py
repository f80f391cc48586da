from dataclasses import replace

import pytest

from payments.domain.answers import Outcome
from payments.domain.events import PaymentReview
from payments.domain.states import OrderStatus, PaymentStatus
from payments.usecases.settle import settle
from tests.shop import Shop

WEBHOOK_ONLY = {"callback": "none", "cancel_event": "none"}
"""Switches of the simulator: Chapa says nothing of a payment but in its webhook."""


def test_payment_that_chapa_confirms_pays_its_order(shop: Shop) -> None:
    order_id, tx_ref = shop.begun()
    shop.control.pay(tx_ref, webhook=False)
    assert shop.notify(tx_ref).body == {"outcome": "applied"}
    aggregate = shop.aggregate(order_id)
    assert aggregate.order.status is OrderStatus.PAID
    assert aggregate.order.paid_by == tx_ref
    assert aggregate.order.due_at is None
    assert shop.available("COFFEE-250") == 8


def test_webhook_of_unpaid_payment_changes_nothing(shop: Shop) -> None:
    order_id, tx_ref = shop.begun()
    assert shop.notify(tx_ref).body == {"outcome": "deferred"}
    assert shop.aggregate(order_id).order.status is OrderStatus.PENDING
    assert shop.asked("verify") == 1


def test_second_webhook_changes_nothing(shop: Shop) -> None:
    _, tx_ref = shop.paid()
    before, asked = shop.dump(), shop.asked("verify")
    assert shop.notify(tx_ref).body == {"outcome": "duplicate"}
    assert shop.dump() == before
    assert shop.asked("verify") == asked


@pytest.mark.parametrize("moment", ["before the write", "before the verify"])
def test_two_webhooks_at_the_same_moment_apply_once(shop: Shop, moment: str) -> None:
    order_id, tx_ref = shop.begun()
    shop.control.pay(tx_ref, webhook=False)
    outcomes: list[str] = []

    def second() -> None:
        shop.clock.advance(3)
        outcomes.append(shop.notify(tx_ref).body["outcome"])

    if moment == "before the write":
        shop.before_aws("TransactWriteItems", second)
    else:
        shop.before_chapa("verify", second)
    outcomes.append(shop.notify(tx_ref).body["outcome"])
    assert sorted(outcomes) == ["applied", "duplicate"]
    assert shop.event_names(order_id).count("order.paid") == 1
    assert shop.available("COFFEE-250") == 8


def test_many_webhooks_cause_one_verify_in_three_seconds(shop: Shop) -> None:
    _, tx_ref = shop.begun()
    outcomes = {shop.notify(tx_ref).body["outcome"] for _ in range(30)}
    assert outcomes == {"deferred"}
    assert shop.asked("verify") == 1
    shop.clock.advance(3)
    shop.notify(tx_ref)
    assert shop.asked("verify") == 2


def test_webhook_soon_after_a_verify_causes_an_early_check(shop: Shop) -> None:
    order_id, tx_ref = shop.begun()
    shop.status(tx_ref, refresh=True)
    shop.control.pay(tx_ref, webhook=False)
    assert shop.notify(tx_ref).body == {"outcome": "deferred"}
    shop.clock.advance(3)
    assert shop.work() == 1
    assert shop.aggregate(order_id).order.status is OrderStatus.PAID


@pytest.mark.parametrize(
    ("kind", "details"),
    [("status", {"status": 500}), ("says", {"word": "nonsense"}), ("says", {"word": "404"})],
)
def test_unanswered_verify_fails_no_payment(
    shop: Shop, kind: str, details: dict[str, object]
) -> None:
    order_id, tx_ref = shop.begun()
    shop.control.pay(tx_ref, webhook=False)
    shop.control.add_fault("verify", kind, times=1, **details)  # type: ignore[arg-type]
    assert shop.notify(tx_ref).body == {"outcome": "deferred"}
    aggregate = shop.aggregate(order_id)
    assert aggregate.order.status is OrderStatus.PENDING
    assert aggregate.payments[0].status is PaymentStatus.PENDING
    shop.clock.advance(3)
    shop.work()
    assert shop.aggregate(order_id).order.status is OrderStatus.PAID


def test_payment_of_a_wrong_amount_goes_to_review_and_its_order_stays_pending(shop: Shop) -> None:
    order_id, tx_ref = shop.begun()
    shop.control.pay(tx_ref, webhook=False)
    shop.control.add_fault("verify", "wrong_amount", times=None)
    assert shop.notify(tx_ref).body == {"outcome": "applied"}
    aggregate = shop.aggregate(order_id)
    assert aggregate.payments[0].status is PaymentStatus.REVIEW
    assert aggregate.order.status is OrderStatus.PENDING
    shop.clock.advance(100_000)
    shop.sweep()
    assert shop.aggregate(order_id).order.status is OrderStatus.PENDING


def test_reversed_payment_in_another_currency_goes_to_review(shop: Shop) -> None:
    order_id, tx_ref = shop.begun()
    shop.control.pay(tx_ref, currency="USD", webhook=False)
    shop.control.reverse(tx_ref, webhook=False)
    assert shop.notify(tx_ref).body == {"outcome": "applied"}
    assert shop.payment(tx_ref).status is PaymentStatus.REVIEW
    for _ in range(5):
        shop.clock.advance(86_400)
        shop.sweep()
    assert shop.payment(tx_ref).status is PaymentStatus.REVIEW
    reviews = [event for event in shop.events(order_id) if isinstance(event, PaymentReview)]
    assert [event.reminder for event in reviews] == [False, *[True] * 5]


@pytest.mark.parametrize("later", ["right facts", "reversed"])
def test_payment_leaves_review_when_chapa_gives_new_facts(shop: Shop, later: str) -> None:
    order_id, tx_ref = shop.begun()
    if later == "right facts":
        shop.control.pay(tx_ref, webhook=False)
        shop.control.add_fault("verify", "wrong_amount")
    else:
        shop.control.pay(tx_ref, amount="1.00", webhook=False)
    assert shop.notify(tx_ref).body == {"outcome": "applied"}
    assert shop.payment(tx_ref).status is PaymentStatus.REVIEW
    if later == "reversed":
        shop.control.reverse(tx_ref, webhook=False)
    shop.clock.advance(3600)
    shop.sweep()
    paid = later == "right facts"
    expected = PaymentStatus.SUCCEEDED if paid else PaymentStatus.REVERSED
    assert shop.payment(tx_ref).status is expected
    assert shop.payment(tx_ref).paid_amount == (90_000 if paid else 100)
    shop.clock.advance(60)
    shop.sweep()
    status = OrderStatus.PAID if paid else OrderStatus.EXPIRED
    assert shop.aggregate(order_id).order.status is status


def test_webhook_without_time_to_ask_is_not_an_unanswered_check(shop: Shop) -> None:
    order_id, tx_ref = shop.begun()
    shop.control.pay(tx_ref, webhook=False)
    shop.backend = replace(shop.backend, deadline=shop.backend.monotonic() + 7.9)
    decision = settle(shop.backend, shop.aggregate(order_id), tx_ref)
    assert decision.outcome is Outcome.NOT_ASKED
    assert shop.asked("verify") == 0


def test_failed_attempt_may_still_succeed_on_the_same_page(shop: Shop) -> None:
    order_id, tx_ref = shop.begun()
    shop.control.fail(tx_ref)
    shop.deliver()
    assert shop.payment(tx_ref).status is PaymentStatus.FAILED
    assert shop.available("COFFEE-250") == 8
    shop.clock.advance(10)
    shop.control.pay(tx_ref)
    shop.deliver()
    assert shop.aggregate(order_id).order.status is OrderStatus.PAID


class TestLateSuccess:
    def paid_late(self, shop: Shop) -> tuple[str, str]:
        order_id, tx_ref = shop.expired({"LAST": 1})
        shop.clock.advance(3)
        shop.control.pay(tx_ref, late=True)
        return order_id, tx_ref

    @pytest.mark.parametrize(
        ("policy", "status", "available"),
        [
            ("reserve", "succeeded", 0),
            ("refund", "unapplied", 1),
            ("review", "review", 1),
        ],
    )
    def test_policy_decides(self, shop: Shop, policy: str, status: str, available: int) -> None:
        shop.configure(late_success_policy=policy)
        order_id, tx_ref = self.paid_late(shop)
        shop.deliver()
        assert shop.payment(tx_ref).status.value == status
        assert (shop.aggregate(order_id).order.status is OrderStatus.PAID) == (policy == "reserve")
        assert len(shop.aggregate(order_id).refunds) == (policy == "refund")
        assert shop.available("LAST") == available

    def test_it_is_owed_back_when_the_stock_is_sold(self, shop: Shop) -> None:
        order_id, tx_ref = self.paid_late(shop)
        shop.order({"LAST": 1}, user="sara")
        shop.deliver()
        aggregate = shop.aggregate(order_id)
        assert aggregate.order.status is OrderStatus.EXPIRED
        assert shop.payment(tx_ref).status is PaymentStatus.UNAPPLIED
        assert [r.amount for r in aggregate.refunds] == [100]
        assert shop.available("LAST") == 0

    @pytest.mark.corrupts  # The units of a product that is deleted are nowhere.
    def test_it_is_owed_back_when_the_product_was_deleted(self, shop: Shop) -> None:
        order_id, tx_ref = self.paid_late(shop)
        shop.table.delete_item(Key={"pk": "STOCK#LAST", "sk": "STOCK"})
        assert 500 not in shop.deliver()
        assert shop.aggregate(order_id).order.status is OrderStatus.EXPIRED
        assert shop.payment(tx_ref).status is PaymentStatus.UNAPPLIED
        assert [r.amount for r in shop.aggregate(order_id).refunds] == [100]

    def test_webhook_before_verify_knows_of_it_causes_an_early_check(self, shop: Shop) -> None:
        shop.control.switch(**WEBHOOK_ONLY)
        order_id, tx_ref = shop.expired()
        shop.clock.advance(3)
        shop.control.add_fault("webhook", "early", n=1)
        shop.control.pay(tx_ref, late=True)
        assert shop.deliver() == [200]
        assert shop.aggregate(order_id).order.status is OrderStatus.EXPIRED
        shop.clock.advance(3)
        shop.work()
        assert shop.aggregate(order_id).order.status is OrderStatus.PAID

    def test_early_check_is_not_one_of_the_final_checks(self, shop: Shop) -> None:
        order_id, tx_ref = shop.expired()
        shop.clock.advance(3)
        assert shop.notify(tx_ref).body == {"outcome": "deferred"}
        shop.clock.advance(3)
        shop.work()
        assert shop.aggregate(order_id).order.due_at == shop.now + 3600

    def test_it_is_found_when_its_webhook_was_lost(self, shop: Shop) -> None:
        order_id, tx_ref = shop.expired()
        shop.control.pay(tx_ref, late=True, webhook=False)
        shop.clock.advance(3600)
        shop.sweep()
        assert shop.aggregate(order_id).order.status is OrderStatus.PAID


def test_second_payment_of_a_paid_order_is_owed_back(shop: Shop) -> None:
    order_id, first = shop.begun()
    shop.control.fail(first, webhook=False)
    shop.notify(first, "charge.failed/cancelled")
    second = shop.pay(order_id).body["tx_ref"]
    shop.clock.advance(3)
    shop.control.pay(first, late=True)
    shop.control.pay(second)
    shop.deliver()
    aggregate = shop.aggregate(order_id)
    assert sorted(p.status.value for p in aggregate.payments) == ["succeeded", "unapplied"]
    assert [r.amount for r in aggregate.refunds] == [90_000]
    assert shop.available("COFFEE-250") == 8
