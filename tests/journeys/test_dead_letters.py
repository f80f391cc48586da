"""What the worker fails at five times waits with its reason, and is healed by one command."""

import json

from payments.queue import message_for
from sandbox.client import Stock, until
from tests.journeys.shop import Shop


def set_status(shop: Shop, order_id: str, status: str) -> None:
    """As nobody should: past the version."""
    shop.aws("dynamodb").update_item(
        TableName=shop.stack["table_name"],
        Key={"pk": {"S": f"ORDER#{order_id}"}, "sk": {"S": "ORDER"}},
        UpdateExpression="SET #status = :status",
        ExpressionAttributeNames={"#status": "status"},
        ExpressionAttributeValues={":status": {"S": status}},
    )


def test_a_message_that_failed_five_times_heals_its_order_once_the_cause_is_gone(
    impatient: Shop,
) -> None:
    shop = impatient
    sku = shop.product()
    order_id, tx_ref = shop.begun(sku)
    shop.chapa.pay(tx_ref, webhook=False)
    shop.make_due(order_id)
    set_status(shop, order_id, "unheard-of")
    shop.aws("sqs").send_message(
        QueueUrl=shop.stack["queues"]["reconcile"], MessageBody=message_for(order_id)
    )
    until(lambda: shop.queued("dead_letter"), bool, "the message is a dead letter")
    told = [json.loads(line) for _, line in shop.logged("order not reconciled", "reconcile")]
    failures = [line for line in told if "unheard-of" in line["exception"]]
    assert len(failures) >= 5
    assert {line["exception_name"] for line in failures} == {"ValueError"}

    set_status(shop, order_id, "pending")
    code, answer, _ = shop.operate("redrive")
    assert (code, answer["redriven"] >= 1) == (0, True)
    shop.await_order(order_id, "paid")
    assert shop.stock(sku) == Stock(8, 0, 2)
    assert shop.queued("dead_letter") == 0
