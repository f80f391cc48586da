"""Calls to table, queue and Chapa without the product, one by one."""

import os
from collections.abc import Callable
from typing import Any

import requests
from botocore.session import Session

dynamodb: Any = Session().create_client("dynamodb")
sqs: Any = Session().create_client("sqs")
chapa = requests.Session()
CHAPA_URL = os.environ["CHAPA_URL"]
ITEMS = 4
"""Of one transaction: the product's have three to five."""


def key(number: int, part: int = 0) -> dict[str, Any]:
    return {"pk": {"S": f"BARE#{number}"}, "sk": {"S": str(part)}}


def query(number: int) -> None:
    dynamodb.query(
        TableName="payments",
        KeyConditionExpression="pk = :pk",
        ExpressionAttributeValues={":pk": {"S": f"ORDER#{number:012d}"}},
        ConsistentRead=True,
    )


def update(number: int) -> None:
    dynamodb.update_item(
        TableName="payments",
        Key=key(number),
        UpdateExpression="SET due_at = :at",
        ExpressionAttributeValues={":at": {"N": str(number)}},
    )


def transact(number: int) -> None:
    puts = [
        {"Put": {"TableName": "payments", "Item": key(number, part)}}
        for part in range(1, 1 + ITEMS)
    ]
    dynamodb.transact_write_items(TransactItems=puts)


def send(number: int) -> None:
    entries = [
        {"Id": str(each), "MessageBody": f'{{"order_id": "{number}-{each}"}}'} for each in range(10)
    ]
    sqs.send_message_batch(QueueUrl=os.environ["QUEUE_URL"], Entries=entries)


def verify(number: int) -> None:
    chapa.get(f"{CHAPA_URL}/transaction/verify/bare-{number}", timeout=10).json()


def open_payment(number: int) -> None:
    payment = {"amount": "900", "currency": "ETB", "tx_ref": f"bare-{number}"}
    chapa.post(f"{CHAPA_URL}/transaction/initialize", json=payment, timeout=10).json()


def cancel(number: int) -> None:
    chapa.put(f"{CHAPA_URL}/transaction/cancel/bare-{number}", timeout=10).json()


KNOWN: dict[str, Callable[[int], None]] = {
    "Query": query,
    "UpdateItem": update,
    "TransactWriteItems": transact,
    "SendMessageBatch": send,
    "verify": verify,
    "open": open_payment,
    "cancel": cancel,
}


def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    for name, times in event["calls"].items():
        for number in range(times if name in KNOWN else 0):
            KNOWN[name](number)
    return {"statusCode": 200}
