"""Orders that nobody pays, and customers who pay all the same: during, after, and much after."""

from collections.abc import Callable

import pytest
import requests

from sandbox.client import Stock, until
from tests.journeys.shop import Shop, body_about


def test_an_abandoned_order_expires_and_its_page_is_closed(shop: Shop) -> None:
    sku = shop.product()
    order_id = shop.ordered(sku)
    begun = shop.initialize(order_id)
    open_page = shop.visit(begun["checkout_url"])
    shop.make_due(order_id, expires=True)
    assert shop.initialize(order_id).code == "order_not_payable"
    shop.sweep()

    order = shop.await_order(order_id, "expired")
    assert [payment["status"] for payment in order["payments"]] == ["closed"]
    assert shop.stock(sku) == Stock(10, 0, 0)
    assert shop.ledger(order_id)[-2:] == ["payment.closed", "order.expired"]
    calls = [entry.call for entry in shop.chapa.journal(tx_ref=begun["tx_ref"])]
    shut = calls.index("cancel")
    assert "verify" in calls[:shut]
    assert "verify" in calls[shut:]

    page = shop.visit(begun["checkout_url"])
    assert "can no longer be paid" in page.text
    assert page.buttons == {}
    # A page that was open all the time, in a browser that knows nothing of this.
    pressed = requests.post(open_page.target, data=open_page.buttons["pay"], timeout=10)
    assert pressed.status_code == 409
    assert "can no longer be paid" in pressed.text
    assert shop.state(order_id) == ("expired", ["closed"])
    refused = shop.initialize(order_id)
    assert (refused.status, refused.code) == (409, "order_not_payable")


def test_an_order_that_nobody_began_to_pay_expires_without_a_call_to_chapa(shop: Shop) -> None:
    sku = shop.product()
    order_id = shop.ordered(sku)
    shop.make_due(order_id, expires=True)
    shop.sweep()
    shop.await_order(order_id, "expired")
    assert shop.stock(sku) == Stock(10, 0, 0)
    assert shop.ledger(order_id) == ["order.placed", "order.expired"]


def test_stock_comes_back_once_however_often_the_schedule_runs(shop: Shop) -> None:
    sku = shop.product()
    order_id, _ = shop.begun(sku)
    shop.make_due(order_id, expires=True)
    for _ in range(5):
        shop.sweep()
    shop.await_order(order_id, "expired")
    shop.await_worker()
    shop.sweep()
    shop.await_worker()
    assert shop.stock(sku) == Stock(10, 0, 0)
    assert shop.ledger(order_id).count("order.expired") == 1


@pytest.mark.parametrize("told", [False, True], ids=["webhook lost", "webhook sent"])
@pytest.mark.parametrize("call", ["verify", "cancel"])
def test_who_pays_while_the_order_expires_has_bought(shop: Shop, call: str, told: bool) -> None:
    sku = shop.product()
    order_id, tx_ref = shop.begun(sku)
    # The answer is already true when it is slow to come; then the customer pays.
    shop.chapa.add_fault(call, "slow", tx_ref=tx_ref, seconds=15)  # type: ignore[arg-type]
    shop.make_due(order_id, expires=True)
    shop.sweep()
    until(
        lambda: shop.calls(call, tx_ref),  # type: ignore[arg-type]
        bool,
        "the worker is in the middle of it",
    )
    shop.chapa.pay(tx_ref, late=True, webhook=told)
    shop.chapa.clear_faults()
    shop.await_order(order_id, "paid")
    shop.await_worker()
    assert shop.state(order_id) == ("paid", ["succeeded"])
    assert shop.stock(sku) == Stock(8, 0, 2)
    ledger = shop.ledger(order_id)
    assert ledger.count("order.paid") == 1
    assert "order.expired" not in ledger


@pytest.mark.parametrize("call", ["verify", "cancel"])
def test_nothing_expires_while_chapa_cannot_be_asked(shop: Shop, call: str) -> None:
    sku = shop.product()
    order_id, tx_ref = shop.begun(sku)
    shop.chapa.add_fault(call, "status", tx_ref=tx_ref, times=None, status=503)  # type: ignore[arg-type]
    shop.make_due(order_id, expires=True)
    shop.sweep()
    until(
        lambda: shop.calls(call, tx_ref),  # type: ignore[arg-type]
        bool,
        "Chapa was asked",
    )
    shop.await_worker()
    order, [payment] = shop.state(order_id)
    assert (order, payment) in {("pending", "pending"), ("pending", "closing")}
    assert shop.stock(sku) == Stock(8, 2, 0)
    shop.chapa.clear_faults()
    shop.make_due(order_id)
    shop.sweep()
    shop.await_order(order_id, "expired")
    assert shop.stock(sku) == Stock(10, 0, 0)


type Arrival = Callable[[Shop, str], None]


def by_a_late_webhook(shop: Shop, tx_ref: str) -> None:
    shop.chapa.pay(tx_ref, late=True)


def by_a_last_look(shop: Shop, tx_ref: str) -> None:
    shop.chapa.pay(tx_ref, late=True, webhook=False)
    shop.make_due(tx_ref.partition("-")[0])
    shop.sweep()


@pytest.mark.parametrize("arrival", [by_a_late_webhook, by_a_last_look])
class TestLateSuccess:
    def test_it_takes_the_stock_again_when_all_of_it_is_there(
        self, shop: Shop, arrival: Arrival
    ) -> None:
        sku = shop.product(2)
        order_id, tx_ref = shop.expired(sku)
        assert shop.stock(sku) == Stock(2, 0, 0)
        arrival(shop, tx_ref)
        shop.await_order(order_id, "paid")
        assert shop.state(order_id) == ("paid", ["succeeded"])
        assert shop.stock(sku) == Stock(0, 0, 2)
        assert shop.ledger(order_id)[-2:] == ["payment.succeeded", "order.paid"]

    def test_it_is_owed_back_when_others_took_the_stock(self, shop: Shop, arrival: Arrival) -> None:
        sku = shop.product(2)
        order_id, tx_ref = shop.expired(sku)
        other = shop.ordered(sku, 1, user="sara")
        arrival(shop, tx_ref)
        until(
            lambda: shop.ledger(order_id),
            lambda ledger: "refund.requested" in ledger,
            "the money is owed back",
        )
        order, [payment] = shop.state(order_id)
        assert order == "expired"
        assert payment in {"surplus", "refunded"}
        assert "order.paid" not in shop.ledger(order_id)
        assert shop.stock(sku) == Stock(1, 1, 0)
        assert shop.order(other, user="sara")["status"] == "pending"


def test_a_webhook_that_comes_long_after_the_end_of_an_unpaid_order_changes_nothing(
    shop: Shop,
) -> None:
    sku = shop.product()
    order_id, tx_ref = shop.expired(sku)
    assert shop.notify(body_about(tx_ref)).status == 200
    shop.await_worker()
    assert shop.state(order_id) == ("expired", ["closed"])
    assert shop.stock(sku) == Stock(10, 0, 0)
