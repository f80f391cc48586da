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


class Line:
    """An SQS queue, with everything that was asked of it."""

    def __init__(self) -> None:
        self.client: SQSClient = boto3.client("sqs")
        self.url = self.client.create_queue(QueueName="reconcile")["QueueUrl"]
        self.asked: list[dict[str, Any]] = []
        self.client.meta.events.register("provide-client-params.sqs.*", self._note)
        self.queue = Queue(self.client, self.url)

    def _note(self, params: dict[str, Any], **_: object) -> None:
        self.asked.append(params)

    def received(self) -> list[str]:
        bodies = []
        while messages := self.client.receive_message(
            QueueUrl=self.url, MaxNumberOfMessages=10
        ).get("Messages"):
            bodies += [message["Body"] for message in messages]
        return bodies


@pytest.fixture
def line() -> Iterator[Line]:
    with mock_aws():
        yield Line()


def test_what_is_sent_can_be_read_back(line: Line) -> None:
    line.queue.send("an-order", delay=0)

    assert [order_id_in(body) for body in line.received()] == ["an-order"]


@pytest.mark.parametrize(
    ("wanted", "sent"), [(0, 0), (3, 3), (900, 900), (901, 900), (86_400, 900)]
)
def test_a_delay_is_no_longer_than_sqs_allows(line: Line, wanted: int, sent: int) -> None:
    line.queue.send("an-order", delay=wanted)

    assert line.asked[0]["DelaySeconds"] == sent


def test_a_message_that_was_not_stored_is_an_error(line: Line) -> None:
    line.client.delete_queue(QueueUrl=line.url)

    with pytest.raises(ClientError, match="NonExistentQueue"):
        line.queue.send("an-order", delay=0)


@pytest.mark.parametrize(
    ("count", "batches"), [(0, []), (1, [1]), (10, [10]), (11, [10, 1]), (25, [10, 10, 5])]
)
def test_many_go_in_batches_of_ten(line: Line, count: int, batches: list[int]) -> None:
    order_ids = [f"order-{number}" for number in range(count)]

    assert line.queue.send_all(iter(order_ids)) == (count, 0)
    assert [len(asked["Entries"]) for asked in line.asked] == batches
    assert sorted(map(order_id_in, line.received())) == sorted(order_ids)


def test_the_ids_within_a_batch_differ_even_when_the_orders_do_not(line: Line) -> None:
    line.queue.send_all(["same"] * 10)

    assert len({entry["Id"] for entry in line.asked[0]["Entries"]}) == 10


def test_entries_that_failed_are_counted(line: Line) -> None:
    """SQS answers 200 when some or all entries of a batch were not stored."""

    def some_fail(parsed: dict[str, Any], **_: object) -> None:
        lost = parsed["Successful"][:3]
        parsed["Successful"] = parsed["Successful"][3:]
        parsed["Failed"] = [
            {"Id": entry["Id"], "SenderFault": False, "Code": "InternalError"} for entry in lost
        ]

    line.client.meta.events.register("after-call.sqs.SendMessageBatch", some_fail)

    assert line.queue.send_all(f"order-{number}" for number in range(15)) == (9, 6)


def test_a_batch_of_which_nothing_was_stored_counts_as_failed(line: Line) -> None:
    def all_fail(parsed: dict[str, Any], **_: object) -> None:
        parsed["Failed"] = parsed.pop("Successful")

    line.client.meta.events.register("after-call.sqs.SendMessageBatch", all_fail)

    assert line.queue.send_all(["one", "two"]) == (0, 2)


NOT_OURS = [
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


@pytest.mark.parametrize("message", NOT_OURS)
def test_a_message_that_is_not_ours_is_a_value_error(message: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - what it says is json's business
        order_id_in(message)


def test_more_than_the_order_id_may_be_in_a_message() -> None:
    assert order_id_in(json.dumps({"order_id": "an-order", "since": 5})) == "an-order"
