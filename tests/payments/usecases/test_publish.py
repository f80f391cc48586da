"""From the table's stream to the event bus: each event once, also when something fails."""

import json
from collections.abc import Callable, Mapping
from functools import partial
from io import StringIO
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from payments.aws.bus import MOST_BYTES, SOURCE, Bus, Entry, in_calls
from payments.aws.items import EventKey
from payments.usecases.publish import Publisher
from tests.shop import Died, Shop, die, invoke
from tests.template import template

BUS = "chapa-payments"

type Record = dict[str, Any]


class FakeBus:
    """An EventBridge client that keeps its entries, and refuses some."""

    def __init__(self) -> None:
        self.calls: list[list[dict[str, Any]]] = []
        self.refuse: Callable[[dict[str, Any]], bool] = lambda _: False
        self.error: Exception | None = None

    def put_events(self, Entries: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: N803
        self.calls.append(Entries)
        if self.error is not None:
            raise self.error
        results = [
            {"ErrorCode": "ThrottlingException"} if self.refuse(entry) else {"EventId": "1"}
            for entry in Entries
        ]
        return {"FailedEntryCount": sum("ErrorCode" in r for r in results), "Entries": results}

    @property
    def entries(self) -> list[dict[str, Any]]:
        return [entry for call in self.calls for entry in call]

    @property
    def ids(self) -> list[str]:
        return [json.loads(entry["Detail"])["id"] for entry in self.entries]


class Service:
    """The publish function behind its event source: moto's stream, read through the filter."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.bus = FakeBus()
        bus = Bus(self.bus, BUS)  # type: ignore[arg-type]
        self._publisher = Publisher(shop.backend.repository, bus)
        self._streams = boto3.client("dynamodbstreams")
        wanted = template()["Resources"]["Table"]["Properties"]["StreamSpecification"]
        table = shop.dynamodb.update_table(
            TableName="payments",
            StreamSpecification={"StreamEnabled": True, "StreamViewType": wanted["StreamViewType"]},
        )["TableDescription"]
        self._arn = table["LatestStreamArn"]
        self._seen = 0

    def carried(self) -> list[Record]:
        """Every record of the stream since the last call."""
        # From the beginning each time: an iterator of moto does not survive a failed transaction.
        stream = self._streams.describe_stream(StreamArn=self._arn)["StreamDescription"]
        start = self._streams.get_shard_iterator(
            StreamArn=self._arn,
            ShardId=stream["Shards"][0]["ShardId"],
            ShardIteratorType="TRIM_HORIZON",
        )["ShardIterator"]
        records: Any = self._streams.get_records(ShardIterator=start)["Records"]
        fresh, self._seen = records[self._seen :], len(records)
        return list(fresh)

    def passed(self) -> list[Record]:
        return [record for record in self.carried() if passes(record)]

    def placed(self, orders: int) -> list[Record]:
        """The records of so many new orders, one event each."""
        for number in range(orders):
            self.shop.order({"EBOOK": 1}, user=f"customer {number}")
        return self.passed()

    def handle(self, records: list[Record]) -> list[str]:
        """Returns the sequence numbers that the function reports as failed."""
        result = invoke("publish", {"Records": records}, publisher=self._publisher)
        return [failure["itemIdentifier"] for failure in result["batchItemFailures"]]

    def work(self) -> None:
        """Handle records until no more pass the filter."""
        while records := self.passed():
            assert self.handle(records) == []

    def marked(self) -> list[str]:
        """Ids of the first events of the writes still marked as unpublished."""
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


def sequence_number(record: Record) -> str:
    return str(record["dynamodb"]["SequenceNumber"])


def order_id_of(record: Record) -> str:
    return str(record["dynamodb"]["NewImage"]["order_id"]["S"])


@pytest.fixture
def service(shop: Shop) -> Service:
    return Service(shop)


@pytest.mark.parametrize(
    ("kind", "sk", "shard", "through"),
    [
        ("INSERT", "EVENTS#000001", "EVENTS#3", True),
        ("MODIFY", "EVENTS#000001", "EVENTS#3", True),  # touched by the sweep
        ("MODIFY", "EVENTS#000001", None, False),  # the mark was removed
        ("INSERT", "EVENTS#000001", None, False),
        ("REMOVE", "EVENTS#000001", "EVENTS#3", False),
        ("INSERT", "ORDER", "DUE#3", False),
        ("MODIFY", "ORDER", "DUE#3", False),
        ("MODIFY", "PAYMENT#ab", None, False),
    ],
)
def test_filter_passes_only_marked_events(
    kind: str, sk: str, shard: str | None, *, through: bool
) -> None:
    image = {"pk": {"S": "ORDER#a"}, "sk": {"S": sk}}
    if shard:
        image["due_shard"] = {"S": shard}
    change = {} if kind == "REMOVE" else {"NewImage": image}
    assert passes({"eventName": kind, "dynamodb": change}) is through


def test_each_event_of_an_order_is_published_once(shop: Shop, service: Service) -> None:
    order_id, _ = shop.paid()
    service.work()
    assert [entry["DetailType"] for entry in service.bus.entries] == shop.event_names(order_id)
    assert service.bus.ids == [f"{order_id}#{number}" for number in (1, 2, 3)]
    assert service.marked() == []
    assert service.passed() == []


def test_event_has_the_documented_envelope(shop: Shop, service: Service) -> None:
    order_id = str(shop.order({"COFFEE-250": 2}).body["order_id"])
    service.work()
    [entry] = service.bus.entries
    assert (entry["EventBusName"], entry["Source"]) == (BUS, SOURCE)
    assert entry["DetailType"] == "order.placed"
    assert int(entry["Time"].timestamp()) == shop.now
    assert json.loads(entry["Detail"]) == {
        "version": 1,
        "id": f"{order_id}#1",
        "name": "order.placed",
        "order_id": order_id,
        "number": 1,
        "at": "2026-11-22T09:00:00Z",
        "data": {"amount": "900.00", "currency": "ETB"},
    }


def aws_error(code: str, operation: str) -> Callable[[], None]:
    def fail() -> None:
        raise ClientError({"Error": {"Code": code}}, operation)

    return fail


def test_failed_order_publishes_nothing(shop: Shop, service: Service) -> None:
    assert shop.order({"LAST": 2}).code == "out_of_stock"
    shop.before_aws("TransactWriteItems", aws_error("InternalServerError", "TransactWriteItems"))
    assert shop.order().status == 503
    shop.before_aws("TransactWriteItems", die)
    with pytest.raises(Died):
        shop.order()
    assert service.carried() == []


def test_transaction_that_lost_a_race_publishes_only_its_retry(
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
    names = [entry["DetailType"] for entry in service.bus.entries]
    assert names == shop.event_names(order_id)
    assert names.count("order.paid") == 1


def test_refused_entry_is_retried_with_all_records_after_it(
    service: Service, log: StringIO
) -> None:
    records = service.placed(25)
    service.bus.refuse = lambda entry: order_id_of(records[12]) in entry["Detail"]
    assert service.handle(records) == [sequence_number(records[12])]
    assert [len(call) for call in service.bus.calls] == [10, 10]
    # Nine of the second ten were accepted and are no longer marked.
    assert len(service.marked()) == 6
    assert "ThrottlingException" in log.getvalue()
    service.bus.refuse = lambda _: False
    assert service.handle(records[12:]) == []
    assert service.marked() == []
    assert set(service.bus.ids) == {f"{order_id_of(record)}#1" for record in records}


def _is_called(name: str, entry: Mapping[str, Any]) -> bool:
    return bool(entry["DetailType"] == name)


def test_events_of_a_write_stay_marked_until_all_are_published(
    shop: Shop, service: Service
) -> None:
    order_id, _ = shop.paid()
    placed, paid = service.passed()
    for name in ("payment.succeeded", "order.paid"):
        service.bus.refuse = partial(_is_called, name)
        assert service.handle([placed, paid]) == [sequence_number(paid)]
        assert service.marked() == [f"{order_id}#2"]
    service.bus.refuse = lambda _: False
    assert service.handle([paid]) == []
    assert service.marked() == []


def test_events_of_a_write_may_be_published_in_two_calls(shop: Shop, service: Service) -> None:
    records = service.placed(9)
    shop.paid()
    records += service.passed()
    service.bus.refuse = lambda entry: entry["DetailType"] == "order.paid"
    assert service.handle(records[9:] + records[:9]) == [sequence_number(records[-1])]
    service.bus.refuse = lambda _: False
    assert service.handle(records) == []
    assert [len(call) for call in service.bus.calls] == [10, 10, 2]
    assert service.marked() == []


def test_first_of_several_refusals_is_reported(service: Service) -> None:
    records = service.placed(5)
    service.bus.refuse = lambda _: True
    assert service.handle(records) == [sequence_number(records[0])]
    assert len(service.marked()) == 5


@pytest.mark.parametrize(
    "error",
    [
        ClientError({"Error": {"Code": "InternalException"}}, "PutEvents"),
        EndpointConnectionError(endpoint_url="https://events.us-east-1.amazonaws.com"),
    ],
    ids=["error", "no connection"],
)
def test_unanswered_bus_is_called_once_for_a_batch(service: Service, error: Exception) -> None:
    records = service.placed(12)
    service.bus.error = error
    assert service.handle(records) == [sequence_number(records[0])]
    assert len(service.bus.calls) == 1
    assert len(service.marked()) == 12


def test_death_between_put_and_unmark_repeats_the_same_id(shop: Shop, service: Service) -> None:
    [record] = service.placed(1)
    shop.before_aws("UpdateItem", die)
    with pytest.raises(Died):
        service.handle([record])
    assert len(service.marked()) == 1
    assert service.handle([record]) == []
    assert service.bus.ids[0] == service.bus.ids[1]
    assert service.marked() == []


def test_failed_unmark_causes_a_later_duplicate_and_no_retry_now(
    shop: Shop, service: Service, log: StringIO
) -> None:
    [record] = service.placed(1)
    shop.before_aws("UpdateItem", aws_error("ThrottlingException", "UpdateItem"))
    assert service.handle([record]) == []
    assert "published but still marked" in log.getvalue()
    shop.clock.advance(3600)
    shop.call("expire", {})
    service.work()
    assert len(service.bus.ids) == 2
    assert service.marked() == []


def test_unreadable_event_stays_marked_and_delays_no_other(service: Service, log: StringIO) -> None:
    records = service.placed(3)
    del records[1]["dynamodb"]["NewImage"]["events"]
    assert service.handle(records) == []
    assert len(service.bus.ids) == 2
    assert len(service.marked()) == 1
    assert "events not readable" in log.getvalue()


def test_sweep_republishes_events_that_the_stream_lost(shop: Shop, service: Service) -> None:
    order_id, _ = shop.paid()
    assert len(service.passed()) == 2  # lost: nothing handles them
    service.work()
    assert service.bus.ids == []
    shop.clock.advance(3600)
    assert shop.call("expire", {})["events"] == 2
    service.work()
    assert service.bus.ids == [f"{order_id}#{number}" for number in (1, 2, 3)]
    assert service.marked() == []
    shop.clock.advance(3600)
    assert shop.call("expire", {})["events"] == 0


def test_sweep_between_put_and_unmark_leaves_the_event_published(
    shop: Shop, service: Service
) -> None:
    [record] = service.placed(1)
    event = EventKey(order_id_of(record), 1)
    shop.before_aws(
        "UpdateItem", lambda: shop.backend.repository.touch_events(event, shop.now + 3600)
    )
    assert service.handle([record]) == []
    service.work()
    assert len(service.bus.ids) == 2
    assert service.marked() == []


def test_call_of_the_bus_takes_ten_entries() -> None:
    entries = [(number, Entry("order.paid", 0, "{}")) for number in range(23)]
    groups = list(in_calls(entries))
    assert [len(group) for group in groups] == [10, 10, 3]
    assert [key for group in groups for key, _ in group] == list(range(23))
    assert list(in_calls([])) == []


def test_call_of_the_bus_takes_a_limited_number_of_bytes() -> None:
    half = Entry("order.paid", 0, "አ" * (MOST_BYTES // 6))
    assert [len(group) for group in in_calls([(n, half) for n in range(3)])] == [1, 1, 1]
    less = Entry("order.paid", 0, "አ" * (MOST_BYTES // 6 - 20))
    assert [len(group) for group in in_calls([(n, less) for n in range(3)])] == [2, 1]
