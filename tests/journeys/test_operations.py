"""What runs without a customer: the schedule, refunds, reversals, dead letters and their tool."""

import json

from payments.queue import message_for

from sandbox.client import Stock, until
from tests.journeys.shop import DeployedShop, at_once, body_about

NOT_OURS = '{"poison": true}'
"""A message that is no order id."""


def test_schedule_runs_the_sweep_every_minute(shop: DeployedShop) -> None:
    schedule = shop.schedule
    assert schedule["State"] == "ENABLED"
    assert schedule["ScheduleExpression"] == "rate(1 minute)"
    assert schedule["Target"]["Arn"].endswith(f":function:{shop.stack['functions']['expire']}")


def test_two_refunds_at_once_never_exceed_what_was_paid(shop: DeployedShop) -> None:
    sku = shop.product()
    order_id, tx_ref = shop.paid(sku)
    results = at_once(
        2, lambda n: shop.operate("refund", tx_ref, "--key", f"ticket-{n}", "--amount", "600.00")
    )
    assert sorted(code for code, _, _ in results) == [0, 1]
    [refusal] = [error for code, _, error in results if code]
    assert refusal.startswith("301.00 ETB of this payment can be refunded.")

    def refunds() -> list[tuple[str, str]]:
        shop.check(order_id)
        return shop.refunds(tx_ref)

    until(refunds, lambda made: made == [("600.00", "refunded")], "the first refund is done")
    assert shop.state(order_id) == ("paid", ["succeeded"])
    assert shop.stock(sku) == Stock(8, 0, 2)

    code, rest, _ = shop.operate("refund", tx_ref, "--key", "the rest", "--return-stock")
    assert (code, rest["status"], rest["amount"]) == (0, "requested", "301.00")
    shop.await_payment(tx_ref, "refunded")
    assert shop.refunds(tx_ref) == [("600.00", "refunded"), ("301.00", "refunded")]
    assert shop.order(order_id)["status"] == "refunded"
    assert shop.stock(sku) == Stock(10, 0, 0)

    code, again, _ = shop.operate("refund", tx_ref, "--key", "the rest", "--return-stock")
    assert (code, again) == (0, rest | {"status": "refunded"})
    shop.await_worker()
    assert shop.refunds(tx_ref) == [("600.00", "refunded"), ("301.00", "refunded")]

    code, shown, _ = shop.operate("show", order_id)
    assert (code, shown["status"], shown["stock"]) == (0, "refunded", "released")
    assert again in shown["refunds"]
    assert [event["name"] for event in shown["ledger"]] == shop.ledger(order_id)
    assert shown["ledger"][-1]["name"] == "order.refunded"
    assert shown["next_look"] is None


def test_reversal_marks_payment_and_order_and_is_counted(shop: DeployedShop) -> None:
    sku = shop.product()
    order_id, tx_ref = shop.paid(sku)
    before = shop.counted("PaymentReversed")
    shop.chapa.reverse(tx_ref, webhook=False)
    body = body_about(tx_ref, "charge.reversed")
    until(
        lambda: shop.notify(body).body,
        lambda outcome: outcome == {"outcome": "applied"},
        "Chapa is asked again",
    )
    assert shop.state(order_id) == ("refunded", ["reversed"])
    assert shop.stock(sku) == Stock(8, 0, 2)
    assert shop.ledger(order_id)[-2:] == ["payment.reversed", "order.refunded"]
    assert shop.notify(body).body == {"outcome": "duplicate"}
    until(lambda: shop.counted("PaymentReversed"), lambda n: n == before + 1, "it is counted")


def set_status(shop: DeployedShop, order_id: str, status: str) -> None:
    """Write a status past the version, as the product never does."""
    shop.aws("dynamodb").update_item(
        TableName=shop.stack["table_name"],
        Key={"pk": {"S": f"ORDER#{order_id}"}, "sk": {"S": "ORDER"}},
        UpdateExpression="SET #status = :status",
        ExpressionAttributeNames={"#status": "status"},
        ExpressionAttributeValues={":status": {"S": status}},
    )


def test_failing_messages_go_to_dlq_and_redrive_settles_their_order(shop: DeployedShop) -> None:
    sku = shop.product()
    broken, healthy = shop.begun(sku), shop.begun(sku)
    for order_id, tx_ref in (broken, healthy):
        shop.chapa.pay(tx_ref, webhook=False)
        shop.make_due(order_id)
    order_id, _ = broken
    set_status(shop, order_id, "unheard-of")
    sqs, queues = shop.aws("sqs"), shop.stack["queues"]
    shop.retry_messages_after(1)
    for body in (NOT_OURS, message_for(order_id), message_for(healthy[0])):
        sqs.send_message(QueueUrl=queues["reconcile"], MessageBody=body)
    # The messages beside it are not held up.
    shop.await_order(healthy[0], "paid")
    until(lambda: shop.queued("dead_letter"), lambda n: n == 2, "both are dead letters")
    lines = [json.loads(line) for _, line in shop.logs.lines("order not reconciled")]
    failures = [line for line in lines if "unheard-of" in line["exception"]]
    assert len(failures) >= 5
    assert {line["exception_name"] for line in failures} == {"ValueError"}

    [message] = [
        message
        for message in sqs.receive_message(
            QueueUrl=queues["dead_letter"], MaxNumberOfMessages=10, VisibilityTimeout=0
        )["Messages"]
        if message["Body"] == NOT_OURS
    ]
    sqs.delete_message(QueueUrl=queues["dead_letter"], ReceiptHandle=message["ReceiptHandle"])
    set_status(shop, order_id, "pending")
    code, result, _ = shop.operate("redrive")
    assert (code, result["redriven"] >= 1) == (0, True)
    shop.await_order(order_id, "paid")
    assert shop.stock(sku) == Stock(6, 0, 4)
    assert shop.queued("dead_letter") == 0
