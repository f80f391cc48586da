"""Requests at the same moment, in processes of their own, on one table."""

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from sandbox.client import Response
from tests.journeys.shop import DeployedShop, at_once, body_about

VERIFY_EVERY = 1
"""VerifyEverySeconds of this stack."""


def test_clicks_at_once_open_one_payment(shop: DeployedShop) -> None:
    sku = shop.product()
    # The processes are started first, so that none of the clicks waits for its own.
    at_once(6, lambda _: shop.initialize("a" * 12))
    order_id = shop.ordered(sku)
    responses = at_once(6, lambda _: shop.initialize(order_id))
    opened = [response for response in responses if response.status in {200, 201}]
    others = [response for response in responses if response not in opened]
    assert [response.status for response in opened].count(201) == 1
    assert len({response["checkout_url"] for response in opened}) == 1
    assert {(response.status, response.code) for response in others} <= {
        (409, "payment_in_progress")
    }
    assert all(int(response.headers["retry-after"]) > 0 for response in others)
    calls = [e for e in shop.calls("initialize") if (e.tx_ref or "").startswith(order_id)]
    assert len(calls) == 1
    assert shop.state(order_id) == ("pending", ["pending"])
    assert shop.available(sku) == 8


def test_last_unit_is_sold_once(shop: DeployedShop) -> None:
    at_once(6, lambda _: shop.place({"nothing": 1}))
    sku = shop.product(1)
    responses = at_once(6, lambda n: shop.place({sku: 1}, user=("abebe", "sara")[n % 2]))
    sold = [response for response in responses if response.status == 201]
    assert len(sold) == 1
    assert {(response.status, response.code) for response in responses if response not in sold} == {
        (409, "out_of_stock")
    }
    assert shop.available(sku) == 0


def test_customer_gets_as_many_unpaid_orders_as_are_allowed(shop: DeployedShop) -> None:
    sku = shop.product(20)
    with shop.with_environment("orders", MAX_UNPAID_ORDERS="3"):
        at_once(5, lambda _: shop.place({"nothing": 1}))
        responses = at_once(5, lambda _: shop.place({sku: 1}, user="sara"))
        placed = [response["order_id"] for response in responses if response.status == 201]
        assert {response.code for response in responses if response.status != 201} <= {
            "too_many_unpaid_orders",
            "busy",
        }
        # A client that was answered "busy" asks again.
        last = [shop.place({sku: 1}, user="sara") for _ in range(4)]
    placed += [response["order_id"] for response in last if response.status == 201]
    assert len(placed) == 3
    assert last[-1].code == "too_many_unpaid_orders"
    assert sorted(last[-1]["pending_order_ids"]) == sorted(placed)
    assert shop.available(sku) == 17


def test_copies_of_a_webhook_at_once_apply_a_payment_once(shop: DeployedShop) -> None:
    at_once(6, lambda _: shop.notify(body_about("not-ours")))
    sku = shop.product()
    order_id, tx_ref = shop.begun(sku)
    shop.chapa.pay(tx_ref, webhook=False)
    outcomes = at_once(6, lambda _: shop.notify(body_about(tx_ref))["outcome"])
    assert outcomes.count("applied") == 1
    assert set(outcomes) <= {"applied", "duplicate", "deferred"}
    shop.await_worker()
    assert shop.state(order_id) == ("paid", ["succeeded"])
    assert shop.event_names(order_id).count("order.paid") == 1
    assert shop.available(sku) == 8


def test_flood_of_webhooks_and_callbacks_verifies_at_most_twice_a_second(
    shop: DeployedShop,
) -> None:
    order_id, tx_ref = shop.begun(shop.product())

    def send(number: int) -> Response:
        return shop.call_back(tx_ref) if number % 4 == 0 else shop.notify(body_about(tx_ref))

    started = time.monotonic()
    with ThreadPoolExecutor(6) as threads:
        outcomes = Counter(response["outcome"] for response in threads.map(send, range(200)))
    seconds = time.monotonic() - started
    assert outcomes == {"noted": 50, "deferred": 150}
    shop.await_worker()
    # In each second of the clock that the flood touched, one by a webhook and one by the worker;
    # and one of the worker afterwards.
    assert 1 <= len(shop.calls("verify", tx_ref)) <= 2 * (seconds / VERIFY_EVERY + 1) + 1
    assert shop.state(order_id) == ("pending", ["pending"])


def test_many_sweeps_at_once_settle_each_payment_once(shop: DeployedShop) -> None:
    sku = shop.product(100)
    begun = [shop.begun(sku, 1) for _ in range(15)]
    for order_id, tx_ref in begun:
        shop.chapa.pay(tx_ref, webhook=False)
        shop.make_due(order_id)
    assert [swept["failed"] for swept in at_once(3, lambda _: shop.sweep())] == [0, 0, 0]
    for order_id, _ in begun:
        shop.await_order(order_id, "paid")
    shop.await_worker()
    assert shop.available(sku) == 85
    assert all(shop.event_names(order_id).count("order.paid") == 1 for order_id, _ in begun)
