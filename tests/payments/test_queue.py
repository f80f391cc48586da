import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from payments.queue import Queue, order_id_in

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient


class RecordedQueue:
    """An SQS queue that records the parameters of each call."""

    def __init__(self) -> None:
        self.client: SQSClient = boto3.client("sqs")
        self.url = self.client.create_queue(QueueName="reconcile")["QueueUrl"]
        self.calls: list[dict[str, Any]] = []
        self.client.meta.events.register("provide-client-params.sqs.*", self._note)
        self.queue = Queue(self.client, self.url)

    def _note(self, params: dict[str, Any], **_: object) -> None:
        self.calls.append(params)

    def received(self) -> list[str]:
        bodies = []
        while messages := self.client.receive_message(
            QueueUrl=self.url, MaxNumberOfMessages=10
        ).get("Messages"):
            bodies += [message["Body"] for message in messages]
        return bodies


@pytest.fixture
def recorded() -> Iterator[RecordedQueue]:
    with mock_aws():
        yield RecordedQueue()


def test_sent_message_can_be_read_back(recorded: RecordedQueue) -> None:
    recorded.queue.send("an-order", delay=0)

    assert [order_id_in(body) for body in recorded.received()] == ["an-order"]


@pytest.mark.parametrize(
    ("wanted", "sent"), [(0, 0), (3, 3), (900, 900), (901, 900), (86_400, 900)]
)
def test_delay_is_at_most_what_sqs_allows(recorded: RecordedQueue, wanted: int, sent: int) -> None:
    recorded.queue.send("an-order", delay=wanted)

    assert recorded.calls[0]["DelaySeconds"] == sent


def test_failed_send_is_an_error(recorded: RecordedQueue) -> None:
    recorded.client.delete_queue(QueueUrl=recorded.url)

    with pytest.raises(ClientError, match="NonExistentQueue"):
        recorded.queue.send("an-order", delay=0)


@pytest.mark.parametrize(
    ("count", "batches"), [(0, []), (1, [1]), (10, [10]), (11, [10, 1]), (25, [10, 10, 5])]
)
def test_many_messages_are_sent_in_batches_of_ten(
    recorded: RecordedQueue, count: int, batches: list[int]
) -> None:
    order_ids = [f"order-{number}" for number in range(count)]

    assert recorded.queue.send_all(iter(order_ids)) == (count, 0)
    assert [len(call["Entries"]) for call in recorded.calls] == batches
    assert sorted(map(order_id_in, recorded.received())) == sorted(order_ids)


def test_ids_within_a_batch_are_unique(recorded: RecordedQueue) -> None:
    recorded.queue.send_all(["same"] * 10)

    assert len({entry["Id"] for entry in recorded.calls[0]["Entries"]}) == 10


@pytest.mark.parametrize(
    ("count", "lost", "sent"), [(15, 3, (9, 6)), (2, 2, (0, 2))], ids=["some fail", "all fail"]
)
def test_failed_entries_are_counted(
    recorded: RecordedQueue, count: int, lost: int, sent: tuple[int, int]
) -> None:
    """SQS answers 200 when entries of a batch were not stored."""

    def fail(parsed: dict[str, Any], **_: object) -> None:
        failed, parsed["Successful"] = parsed["Successful"][:lost], parsed["Successful"][lost:]
        parsed["Failed"] = [
            {"Id": entry["Id"], "SenderFault": False, "Code": "InternalError"} for entry in failed
        ]

    recorded.client.meta.events.register("after-call.sqs.SendMessageBatch", fail)

    assert recorded.queue.send_all(f"order-{number}" for number in range(count)) == sent


MALFORMED = [
    "",
    "an-order",
    "null",
    "5",
    '"an-order"',
    "[]",
    '["order_id"]',
    "{}",
    '{"order": "an-order"}',
    '{"order_id": null}',
    '{"order_id": 5}',
    '{"order_id": ["an-order"]}',
    '{"order_id": "an-order"',
]


@pytest.mark.parametrize("message", MALFORMED)
def test_malformed_message_is_a_value_error(message: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - json words the message
        order_id_in(message)


def test_message_may_have_more_fields_than_the_order_id() -> None:
    assert order_id_in(json.dumps({"order_id": "an-order", "since": 5})) == "an-order"
