"""From an order to a paid order over HTTP, in each way in which a success becomes known."""

from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from sandbox.client import until
from tests.journeys.shop import CUSTOMER, DeployedShop, is_problem


def test_customer_pays_on_the_hosted_page(shop: DeployedShop) -> None:
    shop.chapa.switch(callback="query")
    sku = shop.product(10)
    placed = shop.place({sku: 2}, customer=CUSTOMER)
    assert placed.status == 201
    assert (placed["status"], placed["amount"], placed["currency"]) == ("pending", "901.00", "ETB")
    assert shop.available(sku) == 8
    order_id = placed["order_id"]

    begun = shop.initialize(order_id)
    assert begun.status == 201
    assert (begun["status"], begun["amount"]) == ("pending", "901.00")
    tx_ref = begun["tx_ref"]
    page = shop.visit(begun["checkout_url"])
    assert page.status == 200
    assert "901.00" in page.text

    assert shop.press(page, "pay") == f"https://shop.example/thanks?tx_ref={tx_ref}"
    order = shop.await_order(order_id, "paid")
    [payment] = order["payments"]
    assert (payment["status"], payment["tx_ref"]) == ("succeeded", tx_ref)
    assert payment["provider_reference"] == shop.chapa.payment(tx_ref)["reference"]
    assert shop.available(sku) == 8
    assert shop.answered("webhook", tx_ref) + shop.answered("callback", tx_ref) == [200, 202]
    shop.await_worker()
    assert shop.event_names(order_id) == [
        "order.placed",
        "payment.succeeded",
        "order.paid",
    ]


def test_returning_customer_sees_the_payment_although_webhook_and_callback_are_lost(
    shop: DeployedShop,
) -> None:
    order_id = shop.ordered(shop.product())
    begun = shop.initialize(order_id)
    shop.chapa.add_fault("webhook", "lost", tx_ref=begun["tx_ref"])
    returned_to = shop.press(shop.visit(begun["checkout_url"]), "pay")
    [tx_ref] = parse_qs(urlsplit(returned_to).query)["tx_ref"]
    assert tx_ref == begun["tx_ref"]
    assert shop.payment(tx_ref)["status"] == "pending"
    seen = until(
        lambda: shop.payment(tx_ref, refresh=True),
        lambda payment: bool(payment["status"] == "succeeded"),
        "the payment has succeeded",
    )
    assert seen["order_status"] == "paid"
    assert [event["name"] for event in seen["events"]] == shop.event_names(order_id)
    assert [entry.faults for entry in shop.calls("webhook", tx_ref)] == [["lost"]]
    assert shop.calls("callback", tx_ref) == []


@pytest.mark.parametrize(
    ("webhook", "callback"), [({"kind": "lost"}, "query"), ({"kind": "early", "n": 1}, "none")]
)
def test_payment_whose_webhook_was_lost_or_too_early_is_settled_by_the_worker(
    shop: DeployedShop, webhook: dict[str, Any], callback: str
) -> None:
    shop.chapa.switch(callback=callback)
    sku = shop.product()
    order_id, tx_ref = shop.begun(sku)
    shop.chapa.add_fault("webhook", tx_ref=tx_ref, **webhook)
    shop.chapa.pay(tx_ref)
    answered = shop.answered("callback" if callback == "query" else "webhook", tx_ref)
    assert answered == [202 if callback == "query" else 200]
    shop.await_order(order_id, "paid")
    assert shop.state(order_id) == ("paid", ["succeeded"])
    assert shop.available(sku) == 8
    assert shop.event_names(order_id).count("order.paid") == 1


def test_initialize_that_chapa_does_not_answer_is_a_504_and_a_second_try_succeeds(
    shop: DeployedShop,
) -> None:
    sku = shop.product()
    order_id = shop.ordered(sku)
    shop.chapa.add_fault("initialize", "timeout_after", seconds=15)
    # A call to Chapa lasts no longer than what is left of the invocation.
    with shop.reconfigured("initialize", Timeout=4):
        response = shop.initialize(order_id)
    shop.chapa.clear_faults()
    assert (response.status, response.code) == (504, "provider_timeout")
    assert is_problem(response)
    assert "do not place another" in response["detail"]
    assert response["order_id"] == order_id
    assert response["retry_after"] == int(response.headers["retry-after"]) > 0
    assert shop.state(order_id)[0] == "pending"
    assert shop.available(sku) == 8

    again = shop.initialize(order_id)
    assert again.status == 201
    [lost] = [p for p in shop.order(order_id)["payments"] if p["tx_ref"] != again["tx_ref"]]
    assert lost["status"] == "closed"
    at_chapa = {payment["tx_ref"]: payment for payment in shop.chapa.payments()}
    assert at_chapa.get(lost["tx_ref"], {"cancelled": True})["cancelled"]
    shop.press(shop.visit(again["checkout_url"]), "pay")
    shop.await_order(order_id, "paid")
    assert shop.available(sku) == 8


def test_sold_out_product_names_the_pending_order_of_the_same_customer(shop: DeployedShop) -> None:
    sku = shop.product(1)
    order_id = shop.ordered(sku, 1)
    own, others = shop.place({sku: 1}), shop.place({sku: 1}, user="sara")
    assert {(response.status, response.code) for response in (own, others)} == {
        (409, "out_of_stock")
    }
    assert own["pending_order_id"] == order_id
    assert "pending_order_id" not in others.body


@pytest.mark.parametrize(
    "shape", ["wrapped", "trx_ref", "merchant_reference", "payment_event", "no_event"]
)
def test_webhook_of_another_shape_pays_the_order(shop: DeployedShop, shape: str) -> None:
    shop.chapa.switch(webhook_shape=shape)
    order_id, tx_ref = shop.begun(shop.product())
    shop.chapa.pay(tx_ref)
    assert shop.answered("webhook", tx_ref) == [200]
    assert shop.state(order_id) == ("paid", ["succeeded"])
