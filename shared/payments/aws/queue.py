"""The queue of orders to reconcile. A message may come twice or late."""

import json
from collections.abc import Iterable, Iterator
from itertools import batched
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient


class Message(NamedTuple):
    order_id: str
    tx_ref: str | None = None
    """A payment that needs an early check, though the table does not say so."""


class Queue:
    def __init__(self, client: "SQSClient", url: str) -> None:
        self._client = client
        self._url = url

    def send(self, message: Message, delay: int) -> None:
        """`delay` is in seconds. Raises botocore's errors when the message is not stored."""
        self._client.send_message(
            QueueUrl=self._url, MessageBody=message_body(message), DelaySeconds=min(delay, 900)
        )

    def send_all(self, messages: Iterable[Message]) -> Iterator[Message]:
        """Sends all, and yields those that are stored."""
        for some in batched(messages, 10, strict=False):
            answer = self._client.send_message_batch(
                QueueUrl=self._url,
                Entries=[
                    {"Id": str(number), "MessageBody": message_body(message)}
                    for number, message in enumerate(some)
                ],
            )
            failed = {entry["Id"] for entry in answer.get("Failed", [])}
            yield from (m for number, m in enumerate(some) if str(number) not in failed)


def message_body(message: Message) -> str:
    return json.dumps({k: v for k, v in message._asdict().items() if v is not None})


def read_message(body: str) -> Message:
    """Raises ValueError for a message that is not ours."""
    try:
        content = json.loads(body)
        message = Message(content["order_id"], content.get("tx_ref"))
    except (KeyError, TypeError, AttributeError):
        raise ValueError("not a message with an order_id") from None
    if not isinstance(message.order_id, str) or not isinstance(message.tx_ref, str | None):
        raise ValueError("not a message with an order_id")  # noqa: TRY004
    return message
