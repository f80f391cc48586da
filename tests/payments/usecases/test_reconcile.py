from dataclasses import replace
from itertools import pairwise

import pytest

from payments.aws.queue import Message
from payments.domain.events import PaymentUnanswered
from payments.domain.states import OrderStatus, PaymentStatus
from payments.usecases.reconcile import reconcile
from payments.usecases.refund import request
from tests.shop import Died, Shop, die


def overdue(shop: Shop) -> tuple[str, str]:
    """An order whose time is over, before the sweep: its id and tx_ref."""
    order_id, tx_ref = shop.begun()
    shop.clock.advance(1800)
    return order_id, tx_ref


def test_payment_whose_webhook_was_lost_is_found(shop: Shop) -> None:
    order_id, tx_ref = shop.begun()
    shop.control.pay(tx_ref, webhook=False)
    shop.clock.advance(90)
    assert shop.sweep() == 1
    assert shop.aggregate(order_id).order.status is OrderStatus.PAID


def test_nothing_is_checked_before_it_is_due(shop: Shop) -> None:
    shop.begun()
    shop.clock.advance(59)
    assert shop.sweep() == 0


def test_unpaid_order_releases_its_stock(shop: Shop) -> None:
    order_id, tx_ref = overdue(shop)
    shop.sweep()
    assert shop.aggregate(order_id).order.status is OrderStatus.EXPIRED
    assert shop.payment(tx_ref).status is PaymentStatus.CLOSED
    assert shop.available("COFFEE-250") == 10
    assert shop.control.payment(tx_ref)["cancelled"] is True


def test_order_without_payment_expires_without_a_call_to_chapa(shop: Shop) -> None:
    order_id = shop.order().body["order_id"]
    shop.clock.advance(1800)
    shop.sweep()
    assert shop.aggregate(order_id).order.status is OrderStatus.EXPIRED
    assert shop.available("COFFEE-250") == 10
    assert shop.asked("verify") == 0


def test_stock_comes_back_once_however_many_messages_come(shop: Shop) -> None:
    order_id, _ = overdue(shop)
    for _ in range(3):
        shop.backend.queue.send(Message(order_id), 0)
    assert shop.work() == 3
    assert shop.available("COFFEE-250") == 10


def test_payment_is_closed_before_the_stock_is_released(shop: Shop) -> None:
    order_id, tx_ref = overdue(shop)
    seen: list[tuple[OrderStatus, int]] = []
    shop.before_chapa(
        "cancel",
        lambda: seen.append((shop.aggregate(order_id).order.status, shop.available("COFFEE-250"))),
    )
    shop.sweep()
    assert seen == [(OrderStatus.PENDING, 8)]
    calls = [e.call for e in shop.simulator.journal.entries(tx_ref=tx_ref)]
    assert calls[-3:] == ["verify", "cancel", "verify"]


def test_payment_before_the_first_verify_of_expiry_pays_the_order(shop: Shop) -> None:
    order_id, tx_ref = overdue(shop)
    shop.before_chapa("verify", lambda: shop.control.pay(tx_ref, webhook=False))
    shop.sweep()
    assert shop.aggregate(order_id).order.status is OrderStatus.PAID
    assert shop.available("COFFEE-250") == 8


@pytest.mark.parametrize("late", [False, True])
def test_payment_between_verify_and_cancel_pays_the_order(shop: Shop, late: bool) -> None:
    order_id, tx_ref = overdue(shop)
    shop.before_chapa("cancel", lambda: shop.control.pay(tx_ref, late=late, webhook=False))
    shop.sweep()
    assert shop.aggregate(order_id).order.status is OrderStatus.PAID
    assert shop.available("COFFEE-250") == 8


def test_payment_between_cancel_and_final_verify_pays_the_order(shop: Shop) -> None:
    order_id, tx_ref = overdue(shop)

    def pay_before_the_next_verify() -> None:
        shop.before_chapa("verify", lambda: shop.control.pay(tx_ref, late=True, webhook=False))

    shop.before_chapa("cancel", pay_before_the_next_verify)
    shop.sweep()
    assert shop.aggregate(order_id).order.status is OrderStatus.PAID
    assert "order.expired" not in shop.event_names(order_id)


def test_webhook_during_expiry_pays_the_order_once(shop: Shop) -> None:
    order_id, tx_ref = overdue(shop)

    def pay_and_deliver() -> None:
        shop.control.pay(tx_ref)
        shop.clock.advance(3)
        shop.deliver()

    shop.before_chapa("cancel", pay_and_deliver)
    shop.sweep()
    assert shop.aggregate(order_id).order.status is OrderStatus.PAID
    assert shop.available("COFFEE-250") == 8
    assert shop.event_names(order_id).count("order.paid") == 1


@pytest.mark.parametrize("call", ["verify", "cancel"])
def test_order_does_not_expire_while_chapa_is_unreachable(shop: Shop, call: str) -> None:
    order_id, tx_ref = overdue(shop)
    shop.control.add_fault(call, "status", times=None, status=500)  # type: ignore[arg-type]
    shop.wait(order_id, 3000)
    aggregate = shop.aggregate(order_id)
    assert aggregate.order.status is OrderStatus.PENDING
    shop.control.clear_faults()
    shop.clock.advance(3600)
    shop.sweep()
    assert shop.aggregate(order_id).order.status is OrderStatus.EXPIRED
    assert shop.payment(tx_ref).status is PaymentStatus.CLOSED
    assert shop.available("COFFEE-250") == 10


def test_unanswered_checks_come_further_apart(shop: Shop) -> None:
    order_id, _ = shop.begun()
    shop.unanswered()
    assert shop.wait(order_id, 4 * 3600) < 12


class TestUnansweredForDays:
    def days(self, shop: Shop, order_id: str) -> None:
        """Three days and a few hours without an answer."""
        shop.with_rules(check_after=(90, 6 * 3600))
        shop.unanswered()
        shop.wait(order_id, 78 * 3600)
        shop.control.clear_faults()

    def test_nothing_changes_but_an_event_and_a_metric_each_day(
        self, shop: Shop, capsys: pytest.CaptureFixture[str]
    ) -> None:
        order_id, tx_ref = shop.begun()
        before = shop.event_names(order_id)
        first_check = shop.now + 90
        self.days(shop, order_id)
        fresh = shop.events(order_id)[len(before) :]
        assert [(type(event), event.since) for event in fresh] == [  # type: ignore[attr-defined]
            (PaymentUnanswered, first_check)
        ] * 3
        assert all(later.at - event.at >= 86_400 for event, later in pairwise(fresh))
        assert shop.payment(tx_ref).status is PaymentStatus.PENDING
        assert shop.aggregate(order_id).order.status is OrderStatus.PENDING
        assert shop.available("COFFEE-250") == 8
        assert capsys.readouterr().out.count('"PaymentUnanswered":[1.0]') == 3

    def test_order_past_its_time_expires_when_chapa_answers(self, shop: Shop) -> None:
        order_id, tx_ref = shop.begun()
        self.days(shop, order_id)
        shop.wait(order_id, 6 * 3600)
        assert shop.aggregate(order_id).order.status is OrderStatus.EXPIRED
        assert shop.payment(tx_ref).status is PaymentStatus.CLOSED
        assert shop.payment(tx_ref).unanswered_since is None
        assert shop.available("COFFEE-250") == 10

    def test_success_pays_the_order_when_chapa_answers(self, shop: Shop) -> None:
        order_id, tx_ref = shop.begun()
        shop.control.pay(tx_ref, webhook=False)
        self.days(shop, order_id)
        shop.wait(order_id, 6 * 3600)
        assert shop.aggregate(order_id).order.status is OrderStatus.PAID

    def test_early_silence_does_not_count_for_a_refund_weeks_later(self, shop: Shop) -> None:
        order_id, tx_ref = shop.begun()
        shop.control.add_fault("verify", "status", status=500)
        shop.notify(tx_ref)
        shop.control.pay(tx_ref, webhook=False)
        shop.clock.advance(3)
        shop.notify(tx_ref)
        shop.clock.advance(30 * 86_400)
        request(shop.backend, tx_ref, None, key="ticket-1", reason="Broken cup")
        shop.control.add_fault("refund", "timeout_before", seconds=1)
        shop.sweeps(5)
        assert shop.payment(tx_ref).status is PaymentStatus.REFUNDED
        assert not any("unanswered" in name for name in shop.event_names(order_id))


class TestPendingAfterTheCancel:
    """Chapa says `pending` of a cancelled payment: a wallet may be asking the customer."""

    @pytest.fixture(autouse=True)
    def _says_pending(self, shop: Shop) -> None:
        shop.control.switch(verify_unpaid="pending", verify_cancelled="unpaid")

    def test_stock_is_held_for_the_grace_period_then_released(self, shop: Shop) -> None:
        order_id, tx_ref = overdue(shop)
        shop.sweep()
        closing_since = shop.now
        assert shop.payment(tx_ref).status is PaymentStatus.CLOSING
        shop.wait(order_id, 299)
        assert shop.payment(tx_ref).status is PaymentStatus.CLOSING
        assert shop.aggregate(order_id).order.status is OrderStatus.PENDING
        assert shop.available("COFFEE-250") == 8
        assert shop.aggregate(order_id).order.due_at == closing_since + 300
        shop.clock.advance(1)
        shop.sweep()
        assert shop.payment(tx_ref).status is PaymentStatus.CLOSED
        assert shop.aggregate(order_id).order.status is OrderStatus.EXPIRED
        assert shop.available("COFFEE-250") == 10

    def test_second_message_about_it_asks_chapa_nothing(self, shop: Shop) -> None:
        order_id, _ = overdue(shop)
        shop.sweep()
        shop.simulator.journal.clear()
        shop.clock.advance(5)
        reconcile(shop.backend, Message(order_id))
        assert [entry.call for entry in shop.simulator.journal.entries()] == []

    def test_success_in_the_grace_period_pays_the_order(self, shop: Shop) -> None:
        order_id, tx_ref = overdue(shop)
        shop.sweep()
        shop.control.pay(tx_ref, late=True, webhook=False)
        shop.wait(order_id, 200)
        assert shop.aggregate(order_id).order.status is OrderStatus.PAID
        assert shop.aggregate(order_id).order.paid_by == tx_ref


def closed_attempts(shop: Shop, order_id: str, count: int) -> list[str]:
    refs = []
    for _ in range(count):
        refs.append(str(shop.pay(order_id).body["tx_ref"]))
        shop.control.fail(refs[-1], webhook=False)
        shop.notify(refs[-1], "charge.failed/cancelled")
    return refs


class TestManyAttempts:
    def test_active_payment_is_asked_first_and_closed_ones_last(self, shop: Shop) -> None:
        order_id = shop.order().body["order_id"]
        closed_attempts(shop, order_id, 3)
        active = shop.pay(order_id).body["tx_ref"]
        shop.clock.advance(1800)
        shop.control.clear_journal()
        shop.sweep()
        asked = [entry.tx_ref for entry in shop.control.journal("verify")]
        assert asked[0] == active
        assert len(set(asked)) == 4

    def test_slow_verify_leaves_time_for_the_paid_one(self, shop: Shop) -> None:
        order_id = shop.order().body["order_id"]
        closed_attempts(shop, order_id, 5)
        active = shop.pay(order_id).body["tx_ref"]
        shop.control.pay(active, webhook=False)
        shop.control.add_fault("verify", "slow", seconds=6, times=None)
        shop.clock.advance(1800)
        shop.sweep()
        assert shop.aggregate(order_id).order.paid_by == active

    def test_lack_of_time_is_not_an_unanswered_check(self, shop: Shop) -> None:
        order_id = shop.order().body["order_id"]
        closed_attempts(shop, order_id, 5)
        shop.control.add_fault("verify", "slow", seconds=1.5, times=None)
        shop.clock.advance(1800)
        shop.control.clear_journal()
        reconcile_within(shop, 12, order_id)
        assert shop.asked("verify") == 3
        aggregate = shop.aggregate(order_id)
        assert [payment.unanswered_since for payment in aggregate.payments] == [None] * 5
        assert aggregate.order.status is OrderStatus.PENDING
        shop.clock.advance(60)
        shop.sweep()
        assert shop.aggregate(order_id).order.status is OrderStatus.EXPIRED


def reconcile_within(shop: Shop, seconds: float, order_id: str) -> None:
    deadline = shop.backend.monotonic() + seconds
    reconcile(replace(shop.backend, deadline=deadline), Message(order_id))


def test_message_that_is_handled_late_misses_nothing_that_is_due(shop: Shop) -> None:
    order_id, tx_ref = shop.begun()
    shop.clock.advance(90)
    shop.call("expire", {})
    message = shop.messages.receive()
    shop.clock.advance(2 * 86_400)
    assert message
    reconcile(shop.backend, Message(order_id))
    assert shop.payment(tx_ref).status is PaymentStatus.CLOSED
    assert shop.aggregate(order_id).order.status is OrderStatus.EXPIRED


def test_early_check_of_the_message_is_made_though_nothing_is_due(shop: Shop) -> None:
    order_id, tx_ref = shop.begun()
    shop.control.pay(tx_ref, webhook=False)
    reconcile(shop.backend, Message(order_id))
    assert shop.asked("verify") == 0
    reconcile(shop.backend, Message(order_id, tx_ref))
    assert shop.aggregate(order_id).order.status is OrderStatus.PAID


def test_unanswered_final_checks_do_not_count(shop: Shop) -> None:
    order_id, tx_ref = shop.expired()
    shop.control.pay(tx_ref, late=True, webhook=False)
    shop.unanswered()
    for _ in range(2):
        shop.clock.advance(86_400)
        shop.notify(tx_ref)
        shop.sweep()
    shop.control.clear_faults()
    shop.clock.advance(86_400)
    shop.sweep()
    assert shop.aggregate(order_id).order.status is OrderStatus.PAID


def test_webhook_after_the_final_check_is_checked_though_chapa_is_unreachable(shop: Shop) -> None:
    order_id, tx_ref = shop.begun()
    for seconds in (1800, 3600, 86_400):
        shop.clock.advance(seconds)
        assert shop.sweep() == 1
    assert shop.aggregate(order_id).order.due_at is None
    shop.control.pay(tx_ref, late=True, webhook=False)
    shop.unanswered()
    assert shop.notify(tx_ref).body == {"outcome": "deferred"}
    shop.clock.advance(60)
    shop.sweep()
    shop.control.clear_faults()
    shop.clock.advance(3600)
    shop.sweep()
    assert shop.aggregate(order_id).order.status is OrderStatus.PAID


def test_skipped_check_is_made_up_for_three_seconds_later(shop: Shop) -> None:
    order_id, tx_ref = shop.expired()
    shop.control.pay(tx_ref, late=True, webhook=False)
    shop.clock.advance(3600)
    shop.before_chapa("verify", die)
    with pytest.raises(Died):
        shop.notify(tx_ref)
    assert shop.notify(tx_ref).body == {"outcome": "deferred"}
    shop.sweep()
    shop.clock.advance(3)
    shop.sweep()
    assert shop.aggregate(order_id).order.status is OrderStatus.PAID


@pytest.mark.parametrize("state", ["expired", "in review"])
def test_unanswered_final_checks_do_not_come_every_minute(shop: Shop, state: str) -> None:
    if state == "expired":
        shop.expired()
    else:
        shop.begun()
    shop.unanswered()
    for seconds in (86_400, 86_400, 3600):
        shop.clock.advance(seconds)
        shop.sweep()
    checks = 0
    for _ in range(5):
        shop.clock.advance(599)
        checks += shop.sweep()
    assert checks <= 1


def test_no_payment_begins_while_the_order_is_being_closed(shop: Shop) -> None:
    order_id, _ = overdue(shop)
    codes: list[str] = []
    shop.before_chapa("cancel", lambda: codes.append(shop.pay(order_id).code))
    shop.sweep()
    assert codes == ["order_not_payable"]


def test_second_page_of_a_paid_order_is_closed(shop: Shop) -> None:
    order_id, first = shop.begun()
    shop.control.fail(first)
    shop.deliver()
    second = shop.pay(order_id).body["tx_ref"]
    shop.control.pay(first, late=True)
    shop.deliver()
    assert shop.payment(second).status is PaymentStatus.PENDING
    shop.clock.advance(90)
    shop.sweep()
    assert shop.payment(second).status is PaymentStatus.CLOSED


def test_failed_answer_about_another_payment_expires_no_order(shop: Shop) -> None:
    order_id, tx_ref = overdue(shop)
    shop.control.add_fault("verify", "wrong_tx_ref")
    shop.sweep()
    assert shop.asked("verify", tx_ref) == 2
    assert shop.aggregate(order_id).order.status is OrderStatus.PENDING
    shop.clock.advance(120)
    shop.sweep()
    assert shop.aggregate(order_id).order.status is OrderStatus.EXPIRED
