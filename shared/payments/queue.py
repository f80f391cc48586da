"""The queue of orders to reconcile. A message is an order id; it may come twice or late."""

import json
from collections.abc import Iterable
from itertools import batched
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient


class Queue:
    def __init__(self, client: "SQSClient", url: str) -> None:
        self._client = client
        self._url = url

    def send(self, order_id: str, delay: int) -> None:
        """Raises botocore's errors when the message is not stored. `delay` is in seconds."""
        self._client.send_message(
            QueueUrl=self._url, MessageBody=message_for(order_id), DelaySeconds=min(delay, 900)
        )

    def send_all(self, order_ids: Iterable[str]) -> tuple[int, int]:
        """Returns how many were sent and how many failed; those stay due."""
        sent = failed = 0
        for some in batched(order_ids, 10, strict=False):
            answer = self._client.send_message_batch(
                QueueUrl=self._url,
                Entries=[
                    {"Id": str(number), "MessageBody": message_for(order_id)}
                    for number, order_id in enumerate(some)
                ],
            )
            sent += len(answer.get("Successful", []))
            failed += len(answer.get("Failed", []))
        return sent, failed


def message_for(order_id: str) -> str:
    return json.dumps({"order_id": order_id})


def order_id_in(message: str) -> str:
    """Raises ValueError for a message that is not ours."""
    try:
        order_id = json.loads(message)["order_id"]
    except (KeyError, TypeError):
        order_id = None
    if not isinstance(order_id, str):
        raise ValueError("not a message with an order_id")  # noqa: TRY004
    return order_id
