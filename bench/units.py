"""DynamoDB's price of each read and write, counted on the calls that the product makes.

A write unit is one kilobyte written outside of a transaction; in a transaction it is two. An index
takes a unit for each kilobyte of an entry that is put, deleted or changed, two when its key moves.
A read unit is four kilobytes read strongly consistent; eventually consistent it is half a unit. The
items of one query count together, those of a batch each by itself.
Sources: docs.aws.amazon.com/amazondynamodb/latest/developerguide, pages `read-write-operations`,
`CapacityUnitCalculations` (sizes of items) and `GSI` (writes of an index).
"""

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import ceil
from typing import Any

type Item = Mapping[str, Mapping[str, Any]]
"""In DynamoDB's JSON."""

WRITES = {"PutItem", "UpdateItem", "TransactWriteItems"}


@dataclass
class Account:
    """Calls to DynamoDB, and the units that they take."""

    calls: Counter[str] = field(default_factory=Counter)
    units: Counter[str] = field(default_factory=Counter)
    """By what they are for: `item ORDER`, `index due`, ..."""
    reads: float = 0
    """Read units."""

    @property
    def total(self) -> int:
        return sum(self.units.values())


@contextmanager
def counting(
    client: Any, items: Callable[[], Sequence[Item]], indexes: Sequence[Mapping[str, Any]]
) -> Iterator[Account]:
    """Count what `client` does. `items` reads all items of the table without using the client.

    A write that is refused costs as much as one that is not; none is refused in the accounts.
    """
    account = Account()
    before: dict[str, Item] = {}
    # A sweep reads in several threads.
    lock, asked = threading.Lock(), threading.local()

    def snapshot() -> dict[str, Item]:
        return {json.dumps([item["pk"], item["sk"]]): item for item in items()}

    def starts(model: Any, params: Any, **_: Any) -> None:
        asked.body = json.loads(params["body"])
        with lock:
            account.calls[model.name] += 1
        if model.name in WRITES:
            before.clear()
            before.update(snapshot())

    def ends(model: Any, parsed: Any, **_: Any) -> None:
        with lock:
            account.reads += read_units(model.name, asked.body, parsed)
        if model.name in WRITES:
            times = 2 if model.name == "TransactWriteItems" else 1
            after = snapshot()
            for key in after:
                old, new = before.get(key), after[key]
                if old != new:
                    account.units.update(_units(old, new, times, indexes))

    client.meta.events.register("before-call.dynamodb", starts)
    client.meta.events.register("after-call.dynamodb", ends)
    try:
        yield account
    finally:
        client.meta.events.unregister("before-call.dynamodb", starts)
        client.meta.events.unregister("after-call.dynamodb", ends)


def read_units(call: str, asked: Mapping[str, Any], answer: Mapping[str, Any]) -> float:
    """Of a query without a filter, or of a read of items by key."""
    match call:
        case "Query":
            found, consistent = [answer["Items"]], asked.get("ConsistentRead", False)
        case "GetItem":
            found, consistent = [[answer.get("Item", {})]], asked.get("ConsistentRead", False)
        case "BatchGetItem":
            [wanted] = asked["RequestItems"].values()
            [items] = answer["Responses"].values()
            missing = len(wanted["Keys"]) - len(items)
            found = [[item] for item in items] + [[]] * missing
            consistent = wanted.get("ConsistentRead", False)
        case _:
            return 0
    units = sum(max(1, ceil(sum(map(item_size, each)) / 4096)) for each in found)
    return units if consistent else units / 2


def _units(
    old: Item | None, new: Item, times: int, indexes: Sequence[Mapping[str, Any]]
) -> Counter[str]:
    kind = new["sk"]["S"].partition("#")[0]
    larger = max(item_size(old or {}), item_size(new))
    units = Counter({f"item {kind}": times * _kilobytes(larger)})
    for index in indexes:
        was, now = _entry(old or {}, index), _entry(new, index)
        units[f"index {index['IndexName']} {kind}"] += _index_units(was, now, index)
    return +units


def _entry(item: Item, index: Mapping[str, Any]) -> Item | None:
    keys = [key["AttributeName"] for key in index["KeySchema"]]
    if not all(key in item for key in keys):
        return None
    shown = {"pk", "sk", *keys, *index["Projection"].get("NonKeyAttributes", [])}
    return {name: value for name, value in item.items() if name in shown}


def _index_units(was: Item | None, now: Item | None, index: Mapping[str, Any]) -> int:
    if was == now:
        return 0
    keys = [key["AttributeName"] for key in index["KeySchema"]]
    if was and now and all(was[key] == now[key] for key in keys):
        return _kilobytes(max(item_size(was), item_size(now)))
    return sum(_kilobytes(item_size(entry)) for entry in (was, now) if entry)


def _kilobytes(size: int) -> int:
    return ceil(size / 1024)


def item_size(item: Item) -> int:
    return sum(len(name.encode()) + _size(value) for name, value in item.items())


def _size(value: Mapping[str, Any]) -> int:
    [(kind, given)] = value.items()
    match kind:
        case "S":
            return len(str(given).encode())
        case "N":
            digits = given.strip("-").replace(".", "").strip("0") or "0"
            return ceil(len(digits) / 2) + 1 + int(given.startswith("-"))
        case "BOOL" | "NULL":
            return 1
        case "L":
            return 3 + sum(1 + _size(each) for each in given)
        case "M":
            return 3 + sum(1 + len(name.encode()) + _size(each) for name, each in given.items())
    raise ValueError(f"the size of {kind} is not known here")
