"""What the worker fails at five times waits with its reason, and is healed by one command."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from payments.queue import message_for
from sandbox.client import Stock, until
from sandbox.stack import CREDENTIALS
from tests.journeys.shop import Shop

ROOT = Path(__file__).parents[2]


@pytest.fixture
def impatient(shop: Shop) -> Iterator[Shop]:
    """A shop whose queue hands a message that failed out again after a second."""
    sqs, url = shop.aws("sqs"), shop.stack["queues"]["reconcile"]
    was = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["VisibilityTimeout"])["Attributes"]
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": "1"})
    yield shop
    sqs.set_queue_attributes(QueueUrl=url, Attributes=was)


def set_status(shop: Shop, order_id: str, status: str) -> None:
    """As nobody should: past the version."""
    shop.aws("dynamodb").update_item(
        TableName=shop.stack["table_name"],
        Key={"pk": {"S": f"ORDER#{order_id}"}, "sk": {"S": "ORDER"}},
        UpdateExpression="SET #status = :status",
        ExpressionAttributeNames={"#status": "status"},
        ExpressionAttributeValues={":status": {"S": status}},
    )


def reasons(shop: Shop) -> list[dict[str, Any]]:
    """What the worker logged of messages that it failed at."""
    logs = shop.aws("logs")
    return [
        json.loads(event["message"])
        for group in logs.describe_log_groups()["logGroups"]
        if group["logGroupName"].endswith("/reconcile")
        for page in logs.get_paginator("filter_log_events").paginate(
            logGroupName=group["logGroupName"], filterPattern='"order not reconciled"'
        )
        for event in page["events"]
    ]


def operators(shop: Shop, *arguments: str) -> dict[str, Any]:
    """What an operator types, on this stack."""
    done = subprocess.run(
        [sys.executable, "-m", "operators", *arguments],
        cwd=ROOT,
        env={
            **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
            **CREDENTIALS,
            "PYTHONPATH": "shared",
            "AWS_ENDPOINT_URL": shop.stack["endpoint_url"],
            "AWS_DEFAULT_REGION": shop.stack["region"],
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "NO_PROXY": "127.0.0.1",
        },
        capture_output=True,
        text=True,
        check=True,
    )
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


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
    failures = [line for line in reasons(shop) if "unheard-of" in line["exception"]]
    assert len(failures) >= 5
    assert {line["exception_name"] for line in failures} == {"ValueError"}

    set_status(shop, order_id, "pending")
    assert operators(shop, "redrive")["redriven"] >= 1
    shop.await_order(order_id, "paid")
    assert shop.stock(sku) == Stock(8, 0, 2)
    assert shop.queued("dead_letter") == 0
