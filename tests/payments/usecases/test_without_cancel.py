"""A provider that cannot cancel, as Chapa's v2: a page can be paid until it ends.

The simulator's v1 with a client that never cancels. A page lives for an hour, an order for half.
"""

from dataclasses import replace
from typing import override

import pytest

from payments.chapa.v1 import ChapaV1
from payments.domain.records import Payment
from payments.domain.states import OrderStatus, PaymentStatus
from tests.shop import Shop

PAGE_OVER = 3600 + 120
"""Seconds after which the page of a payment is certainly over."""


class WithoutCancel(ChapaV1):
    can_cancel = False

    @override
    def cancel(self, payment: Payment, time_left: float) -> bool:
        raise AssertionError("the provider cannot cancel")


def without_cancel(shop: Shop) -> Shop:
    client = WithoutCancel(shop.backend.settings, shop.backend.secrets)
    for prefix in list(client.session.adapters):
        client.session.mount(prefix, shop.chapa_connection)
    shop.backend = replace(shop.backend, providers={client.name: client})
    return shop


@pytest.fixture(autouse=True)
def _without_cancel(shop: Shop) -> None:
    without_cancel(shop)


def order_of(shop: Shop, order_id: str) -> OrderStatus:
    return shop.aggregate(order_id).order.status


class TestExpiry:
    def test_stock_is_held_until_the_page_is_over(self, shop: Shop) -> None:
        order_id, tx_ref = shop.begun()
        shop.wait(order_id, PAGE_OVER - 1)
        assert order_of(shop, order_id) is OrderStatus.PENDING
        assert shop.payment(tx_ref).status is PaymentStatus.PENDING
        assert shop.available("COFFEE-250") == 8
        shop.wait(order_id, 120)
        assert order_of(shop, order_id) is OrderStatus.EXPIRED
        assert shop.payment(tx_ref).status is PaymentStatus.CLOSED
        assert shop.available("COFFEE-250") == 10

    def test_it_is_asked_seldom_in_the_meantime(self, shop: Shop) -> None:
        order_id, _ = shop.begun()
        shop.wait(order_id, PAGE_OVER + 120)
        assert shop.asked("verify") <= 10

    def test_success_after_the_end_of_the_order_pays_it(self, shop: Shop) -> None:
        order_id, tx_ref = shop.begun()
        shop.wait(order_id, 2000)
        shop.control.pay(tx_ref)
        shop.deliver()
        assert order_of(shop, order_id) is OrderStatus.PAID
        assert shop.available("COFFEE-250") == 8

    def test_success_that_nobody_reports_is_found_at_the_end_of_the_page(self, shop: Shop) -> None:
        order_id, tx_ref = shop.begun()
        shop.wait(order_id, 3500)
        shop.control.pay(tx_ref, webhook=False)
        shop.wait(order_id, 400)
        assert order_of(shop, order_id) is OrderStatus.PAID

    def test_failed_payment_is_held_too(self, shop: Shop) -> None:
        """Whether the customer may try again on the same page is not documented."""
        order_id, tx_ref = shop.begun()
        shop.control.fail(tx_ref)
        shop.deliver()
        shop.wait(order_id, PAGE_OVER - 10)
        assert shop.payment(tx_ref).status is PaymentStatus.FAILED
        assert shop.available("COFFEE-250") == 8
        shop.wait(order_id, 130)
        assert order_of(shop, order_id) is OrderStatus.EXPIRED

    def test_no_answer_at_the_end_of_the_page_keeps_the_stock(self, shop: Shop) -> None:
        order_id, _ = shop.begun()
        shop.unanswered()
        shop.wait(order_id, 2 * 3600)
        assert order_of(shop, order_id) is OrderStatus.PENDING
        assert shop.available("COFFEE-250") == 8
        shop.control.clear_faults()
        shop.wait(order_id, 3 * 3600)
        assert order_of(shop, order_id) is OrderStatus.EXPIRED

    def test_pending_at_the_end_of_the_page_gets_the_grace_period(self, shop: Shop) -> None:
        shop.control.switch(verify_unpaid="pending")
        order_id, tx_ref = shop.begun()
        shop.wait(order_id, PAGE_OVER + 60)
        assert shop.payment(tx_ref).status is PaymentStatus.CLOSING
        shop.wait(order_id, 400)
        assert order_of(shop, order_id) is OrderStatus.EXPIRED


class TestShopThatDoesNotHoldStock:
    @pytest.fixture(autouse=True)
    def _rules(self, shop: Shop) -> None:
        shop.with_rules(hold_until_page_expires=False)

    def test_order_ends_at_its_own_time(self, shop: Shop) -> None:
        order_id, tx_ref = shop.begun()
        shop.wait(order_id, 1860)
        assert order_of(shop, order_id) is OrderStatus.EXPIRED
        assert shop.payment(tx_ref).status is PaymentStatus.CLOSED
        assert shop.available("COFFEE-250") == 10

    @pytest.mark.parametrize("policy", ["reserve", "refund", "review"])
    def test_late_success_is_what_the_policy_says(self, shop: Shop, policy: str) -> None:
        shop.with_rules(late_success=policy)
        order_id, tx_ref = shop.begun()
        shop.wait(order_id, 1900)
        shop.control.pay(tx_ref)
        shop.deliver()
        expected = {"reserve": "succeeded", "refund": "unapplied", "review": "review"}
        assert shop.payment(tx_ref).status.value == expected[policy]


class TestCancelOfTheCustomer:
    def test_order_stays_pending_until_the_page_is_over(self, shop: Shop) -> None:
        order_id, _ = shop.begun()
        response = shop.cancel(order_id)
        assert (response.status, response.body["status"]) == (202, "pending")
        assert shop.pay(order_id).code == "order_not_payable"
        shop.wait(order_id, PAGE_OVER - 10)
        assert order_of(shop, order_id) is OrderStatus.PENDING
        shop.wait(order_id, 130)
        assert order_of(shop, order_id) is OrderStatus.CANCELLED
        assert shop.available("COFFEE-250") == 10

    def test_order_is_cancelled_at_once_if_the_shop_does_not_hold_stock(self, shop: Shop) -> None:
        shop.with_rules(hold_until_page_expires=False)
        order_id, _ = shop.begun()
        response = shop.cancel(order_id)
        assert (response.status, response.body["status"]) == (200, "cancelled")

    def test_payment_after_the_cancel_pays_the_order(self, shop: Shop) -> None:
        order_id, tx_ref = shop.begun()
        shop.cancel(order_id)
        shop.control.pay(tx_ref)
        shop.deliver()
        assert order_of(shop, order_id) is OrderStatus.PAID


class TestSecondPayment:
    def replaced(self, shop: Shop) -> tuple[str, str, str]:
        """An order whose failed payment was replaced: its id and both tx_refs."""
        order_id, first = shop.begun()
        shop.control.fail(first)
        shop.deliver()
        response = shop.pay(order_id)
        assert response.status == 201
        return order_id, first, response.body["tx_ref"]

    def test_failed_payment_is_replaced_though_its_page_lives_on(self, shop: Shop) -> None:
        order_id, first, second = self.replaced(shop)
        assert shop.payment(first).status is PaymentStatus.CLOSING
        assert shop.aggregate(order_id).order.active_tx_ref == second
        assert shop.pay(order_id).body["tx_ref"] == second

    def test_page_near_its_end_is_replaced(self, shop: Shop) -> None:
        shop.with_rules(order_ttl=7200)
        order_id, first = shop.begun()
        shop.clock.advance(3600 - 60)
        assert shop.pay(order_id).status == 201
        assert shop.payment(first).status is PaymentStatus.CLOSING

    def test_lost_page_is_replaced(self, shop: Shop) -> None:
        order_id = str(shop.order().body["order_id"])
        shop.control.add_fault("initialize", "timeout_after", seconds=60)
        assert shop.pay(order_id).code == "provider_timeout"
        assert shop.pay(order_id).status == 201

    def test_payment_without_an_answer_is_not_replaced(self, shop: Shop) -> None:
        order_id, first = shop.begun()
        shop.control.fail(first)
        shop.deliver()
        shop.unanswered()
        assert shop.pay(order_id).code == "provider_unavailable"
        assert len(shop.aggregate(order_id).payments) == 1

    def test_payment_that_is_paid_meanwhile_is_not_replaced(self, shop: Shop) -> None:
        order_id, first = shop.begun()
        shop.control.fail(first)
        shop.deliver()
        shop.control.pay(first, webhook=False)
        assert shop.pay(order_id).code == "order_not_payable"
        assert order_of(shop, order_id) is OrderStatus.PAID

    @pytest.mark.parametrize("earlier", [0, 1])
    def test_both_paid_pay_the_order_once_and_the_other_is_owed_back(
        self, shop: Shop, earlier: int
    ) -> None:
        order_id, *payments = self.replaced(shop)
        for tx_ref in (payments[earlier], payments[1 - earlier]):
            shop.control.pay(tx_ref, late=True)
            shop.clock.advance(3)
            shop.deliver()
        assert shop.aggregate(order_id).order.paid_by == payments[earlier]
        assert shop.payment(payments[1 - earlier]).status is PaymentStatus.UNAPPLIED
        assert shop.available("COFFEE-250") == 8

    def test_order_ends_when_both_pages_are_over(self, shop: Shop) -> None:
        order_id, first, second = self.replaced(shop)
        shop.wait(order_id, PAGE_OVER + 200)
        assert order_of(shop, order_id) is OrderStatus.EXPIRED
        assert shop.payment(first).status is shop.payment(second).status is PaymentStatus.CLOSED
        assert shop.available("COFFEE-250") == 10

    def test_replaced_payment_is_closed_when_its_page_is_over(self, shop: Shop) -> None:
        shop.with_rules(order_ttl=4 * 3600)
        order_id, first = shop.begun()
        shop.control.fail(first)
        shop.deliver()
        shop.clock.advance(1800)
        second = shop.pay(order_id).body["tx_ref"]
        shop.wait(order_id, PAGE_OVER - 1800 + 120)
        assert shop.payment(first).status is PaymentStatus.CLOSED
        assert shop.payment(second).status is PaymentStatus.PENDING
