"""What nobody reports is found: by the schedule, by the callback, and in the end by a person."""

import json

import pytest

from sandbox.client import Stock, until
from tests.journeys.shop import Shop


def test_the_schedule_runs_the_sweep_every_minute(shop: Shop) -> None:
    scheduler = shop.aws("scheduler")
    [found] = scheduler.list_schedules()["Schedules"]
    schedule = scheduler.get_schedule(Name=found["Name"], GroupName=found["GroupName"])
    assert schedule["State"] == "ENABLED"
    assert schedule["ScheduleExpression"] == "rate(1 minute)"
    assert schedule["Target"]["Arn"].endswith(f":function:{shop.stack['functions']['expire']}")


def test_a_payment_whose_webhook_was_lost_is_found_by_the_sweep(shop: Shop) -> None:
    sku = shop.product()
    order_id, tx_ref = shop.begun(sku)
    shop.chapa.add_fault("webhook", "lost", tx_ref=tx_ref)
    shop.chapa.pay(tx_ref)
    assert shop.state(order_id) == ("pending", ["pending"])
    assert shop.stock(sku) == Stock(8, 2, 0)
    shop.make_due(order_id)
    shop.sweep()
    shop.await_order(order_id, "paid")
    assert shop.state(order_id) == ("paid", ["succeeded"])
    assert shop.stock(sku) == Stock(8, 0, 2)
    assert [entry.faults for entry in shop.calls("webhook", tx_ref)] == [["lost"]]


def test_many_sweeps_at_once_do_no_more_than_one(shop: Shop) -> None:
    sku = shop.product(100)
    begun = [shop.begun(sku, 1) for _ in range(15)]
    for order_id, tx_ref in begun:
        shop.chapa.pay(tx_ref, webhook=False)
        shop.make_due(order_id)
    for _ in range(3):
        assert shop.sweep()["failed"] == 0
    for order_id, _ in begun:
        shop.await_order(order_id, "paid")
    shop.await_worker()
    assert shop.stock(sku) == Stock(85, 0, 15)
    assert all(shop.ledger(order_id).count("order.paid") == 1 for order_id, _ in begun)


def test_the_callback_finds_a_payment_whose_webhook_was_lost(shop: Shop) -> None:
    shop.chapa.switch(callback="query")
    sku = shop.product()
    order_id = shop.ordered(sku)
    begun = shop.initialize(order_id)
    shop.chapa.add_fault("webhook", "lost", tx_ref=begun["tx_ref"])
    shop.press(shop.visit(begun["checkout_url"]), "pay")
    shop.await_order(order_id, "paid")
    assert shop.answered("callback", begun["tx_ref"]) == [202]
    assert shop.stock(sku) == Stock(8, 0, 2)


@pytest.mark.parametrize("callback", ["query", "tx_ref_name", "json"])
def test_each_form_of_callback_gets_the_same_answer(shop: Shop, callback: str) -> None:
    shop.chapa.switch(callback=callback)
    order_id, tx_ref = shop.begun(shop.product())
    shop.chapa.pay(tx_ref)
    assert shop.answered("callback", tx_ref) == [202]
    shop.await_order(order_id, "paid")


def test_a_callback_says_the_same_whatever_the_reference(shop: Shop) -> None:
    order_id, tx_ref = shop.begun(shop.product())
    told = [
        shop.ask("GET", f"/webhooks/chapa{query}")
        for query in (
            f"?trx_ref={tx_ref}&ref_id=APx&status=success",
            f"?tx_ref={tx_ref}",
            f"?trx_ref={order_id}-{'a' * 24}&status=success",
            "?trx_ref=nonsense",
            "?trx_ref=%00%F0%9F%92%A5",
            f"?trx_ref={'x' * 5_000}",
            "?trx_ref=",
            "",
        )
    ]
    assert {(answer.status, json.dumps(answer.body)) for answer in told} == {
        (202, '{"outcome": "noted"}')
    }


def test_a_callback_leads_at_most_to_a_look(shop: Shop) -> None:
    sku = shop.product()
    order_id, tx_ref = shop.begun(sku)
    for _ in range(5):
        shop.call_back(tx_ref)
    until(lambda: shop.calls("verify", tx_ref), bool, "somebody looked")
    shop.await_worker()
    assert len(shop.calls("verify", tx_ref)) == 1
    assert shop.state(order_id) == ("pending", ["pending"])
    assert shop.stock(sku) == Stock(8, 2, 0)


def test_a_callback_about_a_payment_that_is_not_ours_writes_nothing(shop: Shop) -> None:
    order_id, _ = shop.paid(shop.product())
    with shop.nothing_written():
        shop.call_back(f"{order_id}-{'a' * 24}")
        shop.call_back("nonsense")
        shop.await_worker()


def test_a_message_that_nobody_can_work_off_ends_as_a_dead_letter(impatient: Shop) -> None:
    shop = impatient
    sqs, queues = shop.aws("sqs"), shop.stack["queues"]
    sqs.send_message(QueueUrl=queues["reconcile"], MessageBody='{"poison": true}')
    sku = shop.product()
    order_id, tx_ref = shop.begun(sku)
    shop.chapa.pay(tx_ref, webhook=False)
    shop.make_due(order_id)
    shop.sweep()
    # What came with it is not held up.
    shop.await_order(order_id, "paid")
    until(lambda: shop.queued("dead_letter"), lambda n: n == 1, "it is a dead letter")
    [message] = sqs.receive_message(QueueUrl=queues["dead_letter"])["Messages"]
    assert message["Body"] == '{"poison": true}'
    sqs.purge_queue(QueueUrl=queues["dead_letter"])
    shop.await_worker()
