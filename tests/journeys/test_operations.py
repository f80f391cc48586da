"""What runs without a customer: the schedule, refunds, reversals, dead letters and their tool."""

import json

import pytest

from payments.aws.queue import Message, message_body
from sandbox.client import Client, until
from tests.journeys.shop import DeployedShop, at_once, body_about

NOT_OURS = '{"poison": true}'
"""A message that is no order id."""

WHY = ("--reason", "ticket 7")


def test_schedule_runs_the_sweep_every_minute(shop: DeployedShop) -> None:
    schedule = shop.schedule
    assert schedule["State"] == "ENABLED"
    assert schedule["ScheduleExpression"] == "rate(1 minute)"
    name = shop.stack["functions"]["expire"]
    assert schedule["Target"]["Arn"].endswith(f":function:{name}:live")


def test_comparison_finds_a_reversal_without_a_webhook(shop: DeployedShop) -> None:
    order_id, tx_ref = shop.paid(shop.product())
    shop.chapa.reverse(tx_ref, webhook=False)
    shop.compare()
    shop.await_order(order_id, "refunded")
    assert shop.event_names(order_id)[-3:] == [
        *("payment.differs", "payment.reversed", "order.refunded")
    ]


def listed(shop: DeployedShop, status: str) -> set[str]:
    """References of the payments, refunds and orders that the tool lists."""
    code, rows, _ = shop.operate("list", "--status", status)
    assert code == 0
    return {str(row.get("refund_id") or row.get("tx_ref") or row["order_id"]) for row in rows}


def test_operator_accepts_a_payment_in_review_and_its_order_is_paid(shop: DeployedShop) -> None:
    sku = shop.product()
    order_id, tx_ref = shop.begun(sku)
    shop.chapa.pay(tx_ref, amount="900.00", webhook=False)
    code, checked, _ = shop.operate("check", tx_ref)
    assert (code, checked["status"], checked["paid"]) == (0, "review", "900.00 ETB")
    assert tx_ref in listed(shop, "review")
    assert shop.initialize(order_id).code == "order_not_payable"
    code, _, refusal = shop.operate("resolve", tx_ref, "--dismiss", *WHY)
    assert (code, "Chapa says that the money is there." in refusal) == (1, True)

    code, accepted, _ = shop.operate("resolve", tx_ref, "--accept", *WHY)
    assert (code, accepted["status"]) == (0, "succeeded")
    assert shop.state(order_id) == ("paid", ["succeeded"])
    assert shop.available(sku) == 8
    assert tx_ref not in listed(shop, "review")
    code, shown, _ = shop.operate("show", tx_ref)
    [resolved] = [event for event in shown["events"] if event["name"] == "payment.resolved"]
    assert (code, resolved["decision"], resolved["reason"]) == (0, "accept", "ticket 7")
    assert resolved["decided_by"] == accepted["accepted_by"]
    assert resolved["decided_by"].startswith("arn:aws:")
    assert [event["name"] for event in shown["events"]] == shop.event_names(order_id)


def test_payment_that_chapa_does_not_answer_about_is_counted_and_settled_later(
    shop: DeployedShop,
) -> None:
    sku = shop.product()
    order_id, tx_ref = shop.begun(sku)
    shop.chapa.pay(tx_ref, webhook=False)
    fault = unanswered(shop, tx_ref)
    before = shop.counted("PaymentUnanswered")

    def names_after_check() -> list[str]:
        shop.check(order_id, expires=True)
        return shop.event_names(order_id)

    with shop.with_environment("reconcile", UNANSWERED_AFTER_SECONDS="1"):
        names = until(names_after_check, lambda n: "payment.unanswered" in n, "it is recorded")
    times = before + names.count("payment.unanswered")
    until(lambda: shop.counted("PaymentUnanswered"), lambda n: n == times, "it is counted")
    assert tx_ref in listed(shop, "unanswered")
    code, checked, error = shop.operate("check", tx_ref)
    assert (code, checked["status"]) == (2, "pending")
    assert "Chapa gave no usable answer." in error
    assert shop.state(order_id) == ("pending", ["pending"])
    assert shop.available(sku) == 8

    shop.chapa.remove_fault(fault)
    shop.check(order_id)
    assert shop.state(order_id) == ("paid", ["succeeded"])


def unanswered(shop: DeployedShop, tx_ref: str) -> int:
    """Let Chapa answer no question about a payment. Returns the fault's id."""
    return shop.chapa.add_fault("verify", "status", tx_ref=tx_ref, status=503, times=None)


def test_dismissed_payment_of_a_chapa_that_is_gone_lets_go_of_the_stock(
    shop: DeployedShop,
) -> None:
    sku = shop.product()
    order_id, tx_ref = shop.begun(sku)
    unanswered(shop, tx_ref)
    shop.make_due(order_id, expires=True)
    code, _, refusal = shop.operate("resolve", tx_ref, "--dismiss", *WHY)
    assert (code, "--unanswered" in refusal) == (2, True)
    code, dismissed, _ = shop.operate("resolve", tx_ref, "--dismiss", "--unanswered", *WHY)
    assert (code, dismissed["status"]) == (0, "closed")
    assert shop.state(order_id) == ("expired", ["closed"])
    assert shop.available(sku) == 10


def test_two_refunds_at_once_never_exceed_what_was_paid(shop: DeployedShop) -> None:
    sku = shop.product()
    order_id, tx_ref = shop.paid(sku)
    results = at_once(
        2,
        lambda n: Client.operate(
            shop, "refund", tx_ref, "--key", f"ticket-{n}", "--amount", "600.00"
        ),
    )
    assert sorted(code for code, _, _ in results) == [0, 1]
    [refusal] = [error for code, _, error in results if code]
    assert refusal.startswith("301.00 ETB of this payment can be refunded.")

    def refunds() -> list[tuple[str, str]]:
        shop.check(order_id)
        return shop.refunds(tx_ref)

    until(refunds, lambda made: made == [("600.00", "refunded")], "the first refund is done")
    assert shop.state(order_id) == ("paid", ["succeeded"])
    assert shop.available(sku) == 8

    the_rest = ("refund", tx_ref, "--key", "the rest", "--return", f"{sku}=2")
    code, rest, _ = shop.operate(*the_rest)
    assert (code, rest["status"], rest["amount"]) == (0, "requested", "301.00 ETB")
    shop.await_payment(tx_ref, "refunded")
    assert shop.refunds(tx_ref) == [("600.00", "refunded"), ("301.00", "refunded")]
    assert shop.order(order_id)["status"] == "refunded"
    assert shop.available(sku) == 10

    code, again, _ = shop.operate(*the_rest)
    assert (code, again["refund_id"], again["status"]) == (0, rest["refund_id"], "refunded")
    shop.await_worker()
    assert shop.refunds(tx_ref) == [("600.00", "refunded"), ("301.00", "refunded")]

    code, shown, _ = shop.operate("show", order_id)
    assert (code, shown["status"], shown["due"]) == (0, "refunded", None)
    assert again in shown["refunds"]
    assert shown["events"][-1]["name"] == "order.refunded"


@pytest.mark.parametrize(
    ("command", "status", "order_status"),
    [
        ("retry-refund", "requested", "refunded"),
        ("settle-refund", "refunded", "refunded"),
        ("dismiss-refund", "dismissed", "paid"),
    ],
)
def test_operator_decides_about_a_refund_that_chapa_refused(
    shop: DeployedShop, command: str, status: str, order_status: str
) -> None:
    before = shop.counted("RefundReview")
    order_id, tx_ref = shop.paid(shop.product())
    shop.chapa.add_fault("refund", "status", tx_ref=tx_ref, status=400)
    code, refund, _ = shop.operate("refund", tx_ref, "--key=ticket")
    assert code == 0
    until(lambda: shop.event_names(order_id)[-1], lambda n: n == "refund.review", "in review")
    until(lambda: shop.counted("RefundReview"), lambda n: n == before + 1, "it is counted")
    code, decided, _ = shop.operate(command, refund["refund_id"], *WHY)
    assert (code, decided["status"]) == (0, status)
    retried = command == "retry-refund"
    if retried:
        shop.await_payment(tx_ref, "refunded")
    assert shop.refunds(tx_ref) == [("901.00", "refunded")] * retried
    assert shop.order(order_id)["status"] == order_status
    code, _, refusal = shop.operate("retry-refund", refund["refund_id"], *WHY)
    assert (code, "only one in manual review" in refusal) == ((0, False) if retried else (1, True))


def test_operator_stops_and_resumes_the_sale_of_a_product(shop: DeployedShop) -> None:
    sku = shop.product(1)
    code, product, _ = shop.operate("catalogue", "set", sku, "--not-for-sale")
    assert (code, product["for_sale"]) == (0, False)
    assert shop.place({sku: 1}).code == "out_of_stock"
    change = ("--for-sale", "--add=2", "--price=1.00")
    code, product, _ = shop.operate("catalogue", "set", sku, *change)
    shop.units[sku] += 2
    assert (code, product["available"], product["stocked"]) == (0, 3, 3)
    assert shop.place({sku: 3})["amount"] == "3.00"
    assert shop.operate("catalogue", "set", sku, "--add=-1")[0] == 1


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
    assert shop.available(sku) == 8
    assert shop.event_names(order_id)[-2:] == ["payment.reversed", "order.refunded"]
    assert shop.notify(body).body == {"outcome": "duplicate"}
    until(lambda: shop.counted("PaymentReversed"), lambda n: n == before + 1, "it is counted")


def test_operator_finds_a_payment_in_logs_books_and_chapas_list(shop: DeployedShop) -> None:
    order_id, tx_ref = shop.paid(shop.product())
    day = shop.order(order_id)["created_at"][:10]
    lines = until(
        lambda: shop.operate("logs", tx_ref)[1],
        lambda found: "order.paid" in {line["message"] for line in found},
        "the log of the payment has arrived",
    )
    assert {line["function"] for line in lines} == {"orders", "initialize", "webhook"}
    code, books, _ = shop.operate("payments", "--day", day)
    assert (code, tx_ref in {row["tx_ref"] for row in books["rows"]}) == (0, True)
    _, compared, _ = shop.operate("compare", "--from", day, "--to", day)
    assert all(account["complete"] for account in compared["accounts"])
    assert tx_ref not in {found["tx_ref"] for found in compared["differences"]}


def test_operator_may_ask_all_that_doctor_asks(shop: DeployedShop) -> None:
    _, rows, error = shop.operate("doctor")
    assert {row["check"] for row in rows} >= {"secret", "schedule", "alarms", "table", "account"}
    unknown = [row["found"] for row in rows if row["result"] == "not checked"]
    # A call that is not allowed is named, such as `DescribeAlarms: AccessDenied`.
    assert ([found for found in unknown if not found.startswith("the local AWS")], error) == (
        [],
        "",
    )


def test_operator_rotates_the_webhook_secret(shop: DeployedShop) -> None:
    before = shop.secret()
    try:
        code, shown, _ = shop.operate("rotate-webhook-secret")
        new = {"webhook_secret": shown["webhook_secret"]}
        kept = {"webhook_secret_previous": before["webhook_secret"]}
        assert (code, shop.secret()) == (0, before | new | kept)
    finally:
        shop.set_secret(before)


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
    for body in (NOT_OURS, message_body(Message(order_id)), message_body(Message(healthy[0]))):
        sqs.send_message(QueueUrl=queues["reconcile"], MessageBody=body)
    # The messages beside it are not held up.
    shop.await_order(healthy[0], "paid")
    until(lambda: shop.queued("dead_letter"), lambda n: n == 2, "both are dead letters")
    lines = [json.loads(line) for _, line in shop.logs.lines("order not reconciled")]
    failures = [line for line in lines if "unheard-of" in line["exception"]]
    assert len(failures) >= 5
    assert {line["exception_name"] for line in failures} == {"ValueError"}

    code, audit, _ = shop.operate("audit")
    assert (code, any(order_id in broken for broken in audit["violations"])) == (1, True)

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
    assert shop.available(sku) == 6
    assert shop.queued("dead_letter") == 0
