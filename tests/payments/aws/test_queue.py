import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from payments.aws.queue import Message, Queue, message_body, read_message

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

ORDER = Message("an-order")


class RecordedQueue:
    """An SQS queue that records the parameters of each call."""

    def __init__(self) -> None:
        self.client: SQSClient = boto3.client("sqs")
        self.url = self.client.create_queue(QueueName="reconcile")["QueueUrl"]
        self.calls: list[dict[str, Any]] = []
        events = self.client.meta.events
        events.register(
            "provide-client-params.sqs.*", lambda params, **_: self.calls.append(params)
        )
        self.queue = Queue(self.client, self.url)

    def received(self) -> list[Message]:
        found = []
        while messages := self.client.receive_message(
            QueueUrl=self.url, MaxNumberOfMessages=10
        ).get("Messages"):
            found += [read_message(message["Body"]) for message in messages]
        return found


@pytest.fixture
def recorded() -> Iterator[RecordedQueue]:
    with mock_aws():
        yield RecordedQueue()


@pytest.mark.parametrize("message", [ORDER, Message("an-order", "a-payment")])
def test_sent_message_can_be_read_back(recorded: RecordedQueue, message: Message) -> None:
    recorded.queue.send(message, delay=0)
    assert [*recorded.queue.send_all([message])] == [message]
    assert recorded.received() == [message, message]


def test_message_without_a_payment_has_only_the_order() -> None:
    assert json.loads(message_body(ORDER)) == {"order_id": "an-order"}


@pytest.mark.parametrize(("wanted", "sent"), [(0, 0), (900, 900), (901, 900), (86_400, 900)])
def test_delay_is_at_most_what_sqs_allows(recorded: RecordedQueue, wanted: int, sent: int) -> None:
    recorded.queue.send(ORDER, delay=wanted)
    assert recorded.calls[0]["DelaySeconds"] == sent


def test_failed_send_is_an_error(recorded: RecordedQueue) -> None:
    recorded.client.delete_queue(QueueUrl=recorded.url)
    with pytest.raises(ClientError, match="NonExistentQueue"):
        recorded.queue.send(ORDER, delay=0)


@pytest.mark.parametrize(("count", "batches"), [(0, []), (10, [10]), (25, [10, 10, 5])])
def test_many_messages_are_sent_in_batches_of_ten(
    recorded: RecordedQueue, count: int, batches: list[int]
) -> None:
    messages = [Message(f"order-{number}") for number in range(count)]
    assert [*recorded.queue.send_all(iter(messages))] == messages
    assert [len({entry["Id"] for entry in call["Entries"]}) for call in recorded.calls] == batches
    assert sorted(recorded.received()) == sorted(messages)


def test_failed_entries_of_each_batch_are_left_out(recorded: RecordedQueue) -> None:
    """SQS answers 200 when entries of a batch were not stored."""

    def fail(parsed: dict[str, Any], **_: object) -> None:
        failed, parsed["Successful"] = parsed["Successful"][:3], parsed["Successful"][3:]
        parsed["Failed"] = [
            {"Id": entry["Id"], "SenderFault": False, "Code": "InternalError"} for entry in failed
        ]

    recorded.client.meta.events.register("after-call.sqs.SendMessageBatch", fail)
    sent = recorded.queue.send_all(Message(f"order-{number}") for number in range(12))
    assert [message.order_id for message in sent] == [f"order-{number}" for number in range(3, 10)]


BROKEN = ["", "an-order", "null", "5", '"an-order"', "[]", '["order_id"]', "{}"]
BROKEN += ['{"order": "an-order"}', '{"order_id": null}', '{"order_id": 5}']
BROKEN += [
    '{"order_id": ["an-order"]}',
    '{"order_id": "an-order"',
    '{"order_id": "a", "tx_ref": 5}',
]


@pytest.mark.parametrize("message", BROKEN)
def test_broken_message_is_a_value_error(message: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - json words the message
        read_message(message)


def test_message_may_have_further_fields() -> None:
    assert read_message('{"order_id": "an-order", "since": 5}') == ORDER
