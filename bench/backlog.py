"""A backlog: many orders are due at once, after an hour in which nothing ran.

The functions expire and reconcile run in processes of their own, from the layer; the table is moto
in this process, Chapa a stub that counts. An order of the backlog has an open payment and is past
its time: it is verified, cancelled and verified again, expires, and gives its units back.
The floor makes the same number of calls to the same table and stub without the product. moto and
the stub take part of the time of both.

`python -m bench.backlog [ORDERS]` prints the table.
"""

import json
import os
import sys
import time
from collections import Counter, defaultdict, deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import batched
from threading import Lock
from typing import Any

from tests.environment import PROCESS, PUBLISHER, SETTINGS

if __name__ == "__main__":
    # Before the product is imported: it reads its settings at import, as on Lambda.
    os.environ.update(PROCESS | SETTINGS | PUBLISHER | {"POWERTOOLS_LOG_LEVEL": "CRITICAL"})

from botocore import xform_name
from moto import mock_aws
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.dynamodb.models.dynamo_type import DynamoType, Item
from moto.dynamodb.responses import DynamoHandler
from werkzeug.exceptions import HTTPException

from bench import cloud, runtime
from bench.cold import FOLDER, PYTHON, ROOT, build, environment_of
from bench.counts import table_of
from bench.tables import Goal, markdown, verdict
from payments.aws.items import item_of, record_key, serialize
from payments.domain.records import Line, Order, Payment
from payments.domain.states import PaymentStatus
from tests.shop import Shop
from tests.template import template

AGO = 3600
"""Seconds for which nothing ran."""
TWICE = 10
"""Each message of this number comes twice, as SQS may deliver it."""
CALLS_OF_ONE = 3
"""Of an order to Chapa: verify, cancel, verify."""
FLAT = 0.1
SKU = "COFFEE-250"
SWEEPS = 50
WARMED = 10
"""Batches after which the worker's memory is read first."""


def _partitions(operation: str, body: Mapping[str, Any]) -> list[Any]:
    """The partition keys that a call names; none of a call that may touch all."""
    if operation == "Query" and "IndexName" not in body:
        return [body["ExpressionAttributeValues"][":pk"]]
    if operation == "TransactWriteItems":
        writes = [write for each in body["TransactItems"] for write in each.values()]
        return [write.get("Key", write.get("Item"))["pk"] for write in writes]
    return []


@contextmanager
def _only(keys: list[Any]) -> Iterator[None]:
    """Let moto see these partitions only: it reads or copies all that it sees."""
    if not keys:
        yield
        return
    everything = table_of().items
    wanted = [key for key in map(DynamoType, keys) if key in everything]
    table_of().items = defaultdict(dict, {key: everything[key] for key in wanted})
    try:
        yield
    finally:
        # Another table object, after a transaction that was refused.
        everything.update(table_of().items)
        table_of().items = everything


class Backend:
    """Answers what the functions ask: DynamoDB by moto, queue and Chapa here."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.calls: Counter[str] = Counter()
        self.messages: deque[str] = deque()
        self.sent: Counter[str] = Counter()
        """How often each order was put on the queue."""
        self.asked: Counter[str] = Counter()
        """Calls to Chapa by tx_ref."""
        self.cancelled: set[str] = set()

    def respond(self, target: str | None, path: str, body: bytes) -> tuple[int, Mapping[str, Any]]:
        with self.lock:
            return self._aws(target, json.loads(body)) if target else self._chapa(path)

    def _aws(self, target: str, body: Mapping[str, Any]) -> tuple[int, Mapping[str, Any]]:
        service, _, operation = target.partition(".")
        self.calls[operation] += 1
        if service.startswith("DynamoDB"):
            return self._dynamodb(operation, body)
        if operation == "SendMessageBatch":
            entries = body["Entries"]
            for entry in entries:
                self.messages.append(entry["MessageBody"])
                self.sent[json.loads(entry["MessageBody"])["order_id"]] += 1
            done = [{"Id": e["Id"], "MessageId": "1", "MD5OfMessageBody": "0"} for e in entries]
            return 200, {"Successful": done, "Failed": []}
        return 200, cloud.aws(target, body, begun=False)

    def _dynamodb(self, operation: str, body: Any) -> tuple[int, Mapping[str, Any]]:
        handler = DynamoHandler()
        handler.region, handler.current_account = "us-east-1", DEFAULT_ACCOUNT_ID
        handler.body = handler.params = body
        with _only(_partitions(operation, body)):
            try:
                return 200, dict(getattr(handler, xform_name(operation))().result)
            except HTTPException as error:
                return error.code or 400, json.loads(error.description or "{}")

    def _chapa(self, path: str) -> tuple[int, Mapping[str, Any]]:
        tx_ref = path.rpartition("/")[2]
        self.asked[tx_ref] += 1
        if "/cancel/" in path:
            self.calls["cancel"] += 1
            self.cancelled.add(tx_ref)
            return 200, {"message": "Transaction cancelled", "status": "success", "data": {}}
        self.calls["verify"] += 1
        status = "failed/cancelled" if tx_ref in self.cancelled else "pending"
        facts: dict[str, Any] = {
            "status": status,
            "tx_ref": tx_ref,
            "mode": "test",
            "reference": None,
        }
        facts |= {"amount": 900, "currency": "ETB"}
        return 200, {"message": "Payment details", "status": "success", "data": facts}


def add_orders(orders: int) -> None:
    """Orders whose time was over before the hour in which nothing ran."""
    now = int(time.time())
    then = now - AGO
    items: Any = table_of().items
    for number in range(orders):
        order_id = f"{number:012d}"
        tx_ref = f"{order_id}{number:08d}"
        lines = (Line(SKU, "Yirgacheffe coffee, 250 g", 1, 90_000),)
        order = Order(
            *(order_id, "abebe", 90_000, "ETB", lines, then - 1800, then, "hash"),
            active_tx_ref=tx_ref,
            due_at=then,
            version=2,
            event_count=2,
        )
        payment = Payment(
            *(tx_ref, "chapa-v1", 90_000, "ETB", then - 1800, PaymentStatus.PENDING),
            checkout_url="https://checkout.chapa.co/checkout/payment/token",
            moved_at=then - 1800,
            check_at=then,
        )
        for record in (order, payment):
            key = record_key(order_id, record)
            stored = key | {name: serialize(value) for name, value in item_of(record).items()}
            item = Item(DynamoType(key["pk"]), DynamoType(key["sk"]), stored)
            items[item.hash_key][item.range_key] = item


@contextmanager
def function(name: str, url: str) -> Iterator[runtime.Call]:
    task = ROOT / "functions" / name if name != "floor" else ROOT / "bench" / "floor"
    handler = "app.handler" if name != "floor" else "calls.handler"
    path = [FOLDER / "layer" / "python", FOLDER / "runtime"]
    with runtime.warm(PYTHON, task, handler, path, environment_of(url)) as call:
        yield call


def deliveries(backend: Backend, size: int) -> Iterator[dict[str, Any]]:
    """Batches of what is on the queue, of which some messages come twice."""

    def messages() -> Iterator[str]:
        number = 0
        while backend.messages:
            message = backend.messages.popleft()
            number += 1
            yield from [message] * (2 if number % TWICE == 0 else 1)

    for bodies in batched(messages(), size, strict=False):
        yield {"Records": [{"messageId": str(n), "body": body} for n, body in enumerate(bodies)]}


def work_off(backend: Backend, url: str, size: int) -> tuple[list[int], float]:
    """Sweep and reconcile until nothing is due; the memory after each batch, and the seconds."""
    memory: list[int] = []
    began = time.perf_counter()
    with function("expire", url) as expire, function("reconcile", url) as reconcile:
        for _ in range(SWEEPS):
            if not expire({}).answer["sent"]:
                break
            for event in deliveries(backend, size):
                called = reconcile(event)
                assert called.answer == {"batchItemFailures": []}, called
                memory.append(called.memory_kb)
    return memory, time.perf_counter() - began


def statuses() -> Counter[str]:
    rows: Any = table_of().items.values()
    items = [item.to_json()["Attributes"] for row in rows for item in row.values()]
    return Counter(item["status"]["S"] for item in items if item["sk"]["S"] == "ORDER")


def bare_calls(url: str, calls: Mapping[str, int]) -> float:
    """Seconds that the same calls take without the product."""
    with function("floor", url) as floor:
        floor({"calls": dict.fromkeys(calls, 1)})
        began = time.perf_counter()
        floor({"calls": calls})
        return time.perf_counter() - began


def main() -> None:
    orders = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    build(FOLDER)
    source = template()["Resources"]["ReconcileQueueSource"]["Properties"]
    limit = template()["Parameters"]["ReconcileConcurrency"]["Default"]
    backend = Backend()
    with mock_aws(), cloud.running(respond=backend.respond) as server:
        shop = Shop()
        before = shop.available(SKU)
        add_orders(orders)
        memory, seconds = work_off(backend, server.url, source["BatchSize"])
        asked = Counter(backend.asked.values())
        calls, sent = dict(backend.calls), list(backend.sent.values())
        given_back = shop.available(SKU) - before
        expired = statuses()["expired"]
        floor_seconds = bare_calls(server.url, calls)
    start, middle, end = (memory[at] / 1024 for at in (WARMED, len(memory) // 2, -1))
    rows: list[list[object]] = [
        ["orders that were due", f"{orders:,}"],
        ["expired, of these", f"{expired:,}"],
        ["units given back, one an order", f"{given_back:,}"],
        ["messages on the queue", f"{sum(sent):,}"],
        ["orders that were on it twice", sum(times > 1 for times in sent)],
        [f"orders with other than {CALLS_OF_ONE} calls to Chapa", orders - asked[CALLS_OF_ONE]],
        ["calls to Chapa at once, at most (`ReconcileConcurrency`)", limit],
        ["worker's memory at start, middle, end, MB", f"{start:.1f}, {middle:.1f}, {end:.1f}"],
        ["orders per second, one worker", f"{orders / seconds:.0f}"],
        ["the same calls alone, orders per second", f"{orders / floor_seconds:.0f}"],
    ]
    print(markdown(["Backlog", ""], rows))
    print(f"\nCalls: {', '.join(f'{name} {times:,}' for name, times in sorted(calls.items()))}.")
    goals = [
        Goal("orders missed", orders - expired, 0),
        Goal("orders handled twice", orders - asked[CALLS_OF_ONE] + abs(orders - given_back), 0),
        Goal("memory, end ÷ start", end / start, 1 + FLAT),
    ]
    print(f"\n{verdict(goals)}")


if __name__ == "__main__":
    main()
