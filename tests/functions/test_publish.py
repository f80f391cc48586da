"""From the table's stream to the bus: nothing is lost, nothing loops, nothing untrue is told."""

import json
from collections.abc import Callable, Mapping
from io import StringIO
from typing import Any, cast
from unittest.mock import patch
from warnings import catch_warnings, filterwarnings

import boto3
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from functions.publish import app
from payments.bus import MOST_BYTES, SOURCE, Bus, Entry, in_calls
from payments.publish import Publisher
from payments.repository import EventKey
from tests.shop import Context, Died, Shop, die
from tests.template import template

BUS = "chapa-payments"


class Events:
    """A client of EventBridge that keeps what it is given, and refuses what it is told to."""

    def __init__(self) -> None:
        self.calls: list[list[dict[str, Any]]] = []
        self.refuse: Callable[[dict[str, Any]], bool] = lambda _: False
        self.answer: BaseException | None = None

    def put_events(self, Entries: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: N803
        self.calls.append(Entries)
        if self.answer is not None:
            raise self.answer
        results = [
            {"ErrorCode": "ThrottlingException", "ErrorMessage": "slow down"}
            if self.refuse(entry)
            else {"EventId": str(number)}
            for number, entry in enumerate(Entries)
        ]
        return {"FailedEntryCount": sum("ErrorCode" in r for r in results), "Entries": results}

    @property
    def ids(self) -> list[str]:
        return [self.detail(entry)["id"] for call in self.calls for entry in call]

    @staticmethod
    def detail(entry: Mapping[str, Any]) -> dict[str, Any]:
        return cast(dict[str, Any], json.loads(entry["Detail"]))


class Service:
    """The publish function behind its event source: moto's stream, read through the filter."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.events = Events()
        bus = Bus(self.events, BUS)  # type: ignore[arg-type]
        self.publisher = Publisher(shop.backend.repository, bus)
        self._streams = boto3.client("dynamodbstreams")
        wanted = template()["Resources"]["Table"]["Properties"]["StreamSpecification"]
        table = shop.dynamodb.update_table(
            TableName="payments",
            StreamSpecification={"StreamEnabled": True, "StreamViewType": wanted["StreamViewType"]},
        )["TableDescription"]
        self._arn = table["LatestStreamArn"]
        self._seen = 0

    def carried(self) -> list[dict[str, Any]]:
        """What the stream carries since the last look, all of it."""
        # From the beginning each time: no iterator of moto's outlives a transaction that failed.
        stream = self._streams.describe_stream(StreamArn=self._arn)["StreamDescription"]
        beginning = self._streams.get_shard_iterator(
            StreamArn=self._arn,
            ShardId=stream["Shards"][0]["ShardId"],
            ShardIteratorType="TRIM_HORIZON",
        )["ShardIterator"]
        records = cast(
            list[dict[str, Any]], self._streams.get_records(ShardIterator=beginning)["Records"]
        )
        fresh, self._seen = records[self._seen :], len(records)
        return fresh

    def passed(self) -> list[dict[str, Any]]:
        return [record for record in self.carried() if passes(record)]

    def handle(self, records: list[dict[str, Any]]) -> list[str]:
        """Sequence numbers that the function reports as failed."""
        with patch.object(app, "publisher", self.publisher), catch_warnings():
            # Who dies has counted nothing, which Powertools remarks upon.
            filterwarnings("ignore", "No application metrics to publish")
            answer = app.handler({"Records": records}, Context())
        return [failure["itemIdentifier"] for failure in answer["batchItemFailures"]]

    def work(self) -> None:
        """Until the stream carries nothing more that passes."""
        while records := self.passed():
            assert self.handle(records) == []

    def marked(self) -> list[str]:
        """Ids of the events that are not known to be published."""
        overdue = self.shop.backend.repository.overdue_events(self.shop.now + 1_000_000)
        return [f"{event.order_id}#{event.number}" for event in overdue]


def passes(record: Mapping[str, Any]) -> bool:
    """Whether the event source of the template lets a record through to the function."""
    source = template()["Resources"]["TableStreamSource"]["Properties"]
    return any(
        _matches(record, json.loads(f["Pattern"])) for f in source["FilterCriteria"]["Filters"]
    )


def _matches(value: Any, pattern: Any) -> bool:
    if isinstance(pattern, dict):
        return isinstance(value, Mapping) and all(
            _matches(value.get(key), wanted) for key, wanted in pattern.items()
        )
    return any(
        isinstance(value, str) and value.startswith(rule["prefix"])
        if isinstance(rule, dict)
        else value == rule
        for rule in pattern
    )


def record(kind: str, sk: str, shard: str | None) -> dict[str, Any]:
    image = {"pk": {"S": "ORDER#a"}, "sk": {"S": sk}} | (
        {"due_shard": {"S": shard}} if shard else {}
    )
    change = {"SequenceNumber": "1", "Keys": {}, "NewImage": image}
    if kind == "REMOVE":
        del change["NewImage"]
    return {"eventName": kind, "eventSource": "aws:dynamodb", "dynamodb": change}


@pytest.fixture
def service(shop: Shop) -> Service:
    return Service(shop)


@pytest.mark.parametrize(
    ("kind", "sk", "shard", "through"),
    [
        ("INSERT", "EVENT#000001", "EVENTS#3", True),
        ("MODIFY", "EVENT#000001", "EVENTS#3", True),  # the sweep's
        ("MODIFY", "EVENT#000001", None, False),  # our own removal of the mark
        ("INSERT", "EVENT#000001", None, False),
        ("REMOVE", "EVENT#000001", "EVENTS#3", False),
        ("INSERT", "ORDER", "DUE#3", False),
        ("MODIFY", "ORDER", "DUE#3", False),
        ("MODIFY", "PAYMENT#a-b", None, False),
    ],
)
def test_only_events_that_still_have_their_mark_pass(
    kind: str, sk: str, shard: str | None, *, through: bool
) -> None:
    assert passes(record(kind, sk, shard)) is through


def test_every_event_of_an_order_is_published_once_and_then_nothing_more(
    shop: Shop, service: Service
) -> None:
    order_id, tx_ref = shop.begun()
    shop.control.pay(tx_ref, webhook=False)
    shop.notify(tx_ref)
    service.work()
    entries = [entry for call in service.events.calls for entry in call]
    assert [entry["DetailType"] for entry in entries] == shop.ledger(order_id)
    assert service.events.ids == [f"{order_id}#{number}" for number in range(1, 6)]
    assert service.marked() == []
    assert service.passed() == []


def test_an_event_is_told_in_the_documented_envelope(shop: Shop, service: Service) -> None:
    order_id = str(shop.order({"COFFEE-250": 2}).body["order_id"])
    service.work()
    [[entry]] = service.events.calls
    assert (entry["EventBusName"], entry["Source"]) == (BUS, SOURCE)
    assert entry["DetailType"] == "order.placed"
    assert int(entry["Time"].timestamp()) == shop.now
    assert service.events.detail(entry) == {
        "version": 1,
        "id": f"{order_id}#1",
        "name": "order.placed",
        "order_id": order_id,
        "number": 1,
        "at": "2026-11-22T09:00:00Z",
        "data": {"amount": "900.00", "currency": "ETB"},
    }


def test_nobody_hears_of_what_was_not_written(shop: Shop, service: Service) -> None:
    assert shop.order({"LAST": 2}).code == "out_of_stock"

    def no_time() -> None:
        raise ClientError({"Error": {"Code": "InternalServerError"}}, "TransactWriteItems")

    shop.before_aws("TransactWriteItems", no_time)
    assert shop.order().status == 503
    shop.before_aws("TransactWriteItems", die)
    with pytest.raises(Died):
        shop.order()
    assert service.carried() == []


def test_a_transaction_that_lost_its_race_is_told_of_only_as_what_it_became(
    shop: Shop, service: Service
) -> None:
    order_id, tx_ref = shop.begun()
    shop.control.pay(tx_ref, webhook=False)

    def another_process_applies_it() -> None:
        shop.clock.advance(10)
        assert shop.notify(tx_ref).body["outcome"] == "applied"

    shop.before_aws("TransactWriteItems", another_process_applies_it)
    shop.notify(tx_ref)
    service.work()
    names = [entry["DetailType"] for call in service.events.calls for entry in call]
    assert names == shop.ledger(order_id)
    assert names.count("order.paid") == 1


class TestFailures:
    def events_of(self, shop: Shop, service: Service, orders: int) -> list[dict[str, Any]]:
        for _ in range(orders):
            shop.order({"EBOOK": 1})
        return service.passed()

    def test_what_the_bus_refused_comes_again_with_all_behind_it(
        self, shop: Shop, service: Service, log: StringIO
    ) -> None:
        records = self.events_of(shop, service, 25)
        refused = records[12]["dynamodb"]["NewImage"]["order_id"]["S"]
        service.events.refuse = lambda entry: refused in entry["Detail"]
        assert service.handle(records) == [records[12]["dynamodb"]["SequenceNumber"]]
        assert [len(call) for call in service.events.calls] == [10, 10]
        # Nine of the second ten are on the bus, and known to be.
        assert len(service.marked()) == 6
        assert "ThrottlingException" in log.getvalue()
        service.events.refuse = lambda _: False
        assert service.handle(records[12:]) == []
        assert service.marked() == []
        assert set(service.events.ids) == {
            f"{r['dynamodb']['NewImage']['order_id']['S']}#1" for r in records
        }

    def test_the_first_of_many_refusals_is_the_one_reported(
        self, shop: Shop, service: Service
    ) -> None:
        records = self.events_of(shop, service, 5)
        service.events.refuse = lambda _: True
        assert service.handle(records) == [records[0]["dynamodb"]["SequenceNumber"]]
        assert len(service.marked()) == 5

    @pytest.mark.parametrize(
        "error",
        [
            ClientError({"Error": {"Code": "InternalException"}}, "PutEvents"),
            EndpointConnectionError(endpoint_url="https://events.us-east-1.amazonaws.com"),
        ],
        ids=["it errs", "it is not there"],
    )
    def test_a_bus_that_does_not_answer_is_asked_once_in_a_batch(
        self, shop: Shop, service: Service, error: Exception
    ) -> None:
        records = self.events_of(shop, service, 12)
        service.events.answer = error
        assert service.handle(records) == [records[0]["dynamodb"]["SequenceNumber"]]
        assert len(service.events.calls) == 1
        assert len(service.marked()) == 12

    def test_who_dies_between_put_and_unmark_publishes_again_under_the_same_id(
        self, shop: Shop, service: Service
    ) -> None:
        [record] = self.events_of(shop, service, 1)
        shop.before_aws("UpdateItem", die)
        with pytest.raises(Died):
            service.handle([record])
        assert len(service.marked()) == 1
        assert service.handle([record]) == []
        assert service.events.ids[0] == service.events.ids[1]
        assert service.marked() == []

    def test_a_mark_that_stays_costs_a_duplicate_later_and_no_retry_now(
        self, shop: Shop, service: Service, log: StringIO
    ) -> None:
        [record] = self.events_of(shop, service, 1)

        def throttled() -> None:
            raise ClientError({"Error": {"Code": "ThrottlingException"}}, "UpdateItem")

        shop.before_aws("UpdateItem", throttled)
        assert service.handle([record]) == []
        assert "published but still marked" in log.getvalue()
        shop.clock.advance(3600)
        shop.call("expire", {})
        service.work()
        assert len(service.events.ids) == 2
        assert service.marked() == []

    def test_an_event_that_cannot_be_read_holds_up_no_other_and_stays_marked(
        self, shop: Shop, service: Service, log: StringIO
    ) -> None:
        records = self.events_of(shop, service, 3)
        del records[1]["dynamodb"]["NewImage"]["name"]
        assert service.handle(records) == []
        assert len(service.events.ids) == 2
        assert len(service.marked()) == 1
        assert "event not readable" in log.getvalue()

    def test_what_the_stream_lost_is_healed_by_the_sweep(
        self, shop: Shop, service: Service
    ) -> None:
        order_id, _ = shop.begun()
        assert len(service.passed()) == 3  # and nobody works on them
        service.work()
        assert service.events.ids == []
        shop.clock.advance(3600)
        assert shop.call("expire", {})["events"] == 3
        service.work()
        assert service.events.ids == [f"{order_id}#{number}" for number in (1, 2, 3)]
        assert service.marked() == []
        shop.clock.advance(3600)
        assert shop.call("expire", {})["events"] == 0

    def test_a_touch_of_the_sweep_between_put_and_unmark_ends_published(
        self, shop: Shop, service: Service
    ) -> None:
        [record] = self.events_of(shop, service, 1)
        key = record["dynamodb"]["NewImage"]
        event = EventKey(key["order_id"]["S"], 1)
        shop.before_aws(
            "UpdateItem",
            lambda: shop.backend.repository.touch_event(event, shop.now + 3600) or None,
        )
        assert service.handle([record]) == []
        service.work()
        assert len(service.events.ids) == 2
        assert service.marked() == []


class TestCalls:
    def test_a_call_takes_ten_entries(self) -> None:
        entries = [(number, Entry("order.paid", 0, "{}")) for number in range(23)]
        groups = list(in_calls(entries))
        assert [len(group) for group in groups] == [10, 10, 3]
        assert [key for group in groups for key, _ in group] == list(range(23))

    def test_a_call_takes_so_many_bytes(self) -> None:
        half = Entry("order.paid", 0, "አ" * (MOST_BYTES // 6))
        assert [len(group) for group in in_calls([(n, half) for n in range(3)])] == [1, 1, 1]
        less = Entry("order.paid", 0, "አ" * (MOST_BYTES // 6 - 20))
        assert [len(group) for group in in_calls([(n, less) for n in range(3)])] == [2, 1]

    def test_nothing_is_no_call(self) -> None:
        assert list(in_calls([])) == []
