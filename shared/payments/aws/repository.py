"""Orders, payments, refunds, event log and catalogue in one DynamoDB table; `items` has its layout.

Every write is conditional. An aggregate is saved under the version it was read with, each status
under the statuses that `states` lets it come from, `available` under what must be there. What is
saved is the difference, attribute by attribute, never a stale copy of the whole. A difference
within one record is saved under the values that were read: it costs a quarter of a transaction.
"""

import json
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, fields, replace
from itertools import batched, chain
from typing import TYPE_CHECKING, Any, NamedTuple

from botocore.exceptions import ClientError

from payments.aws import items
from payments.aws.items import (
    CATALOGUE_LIST,
    EMPTY_PRODUCT,
    EVENTS_PREFIX,
    ORDER_SK,
    REVIEW_LIST,
    STOCK_PREFIX,
    UNANSWERED_LIST,
    EventKey,
    Product,
    aggregate_in,
    comparison_key,
    comparison_of,
    day_list,
    deserialize,
    due_shards,
    events_item,
    events_key,
    events_of,
    given_back_list,
    item_of,
    order_key,
    order_of,
    payment_of,
    plain,
    product_in,
    record_key,
    serialize,
    stock_key,
    unpaid_key,
)
from payments.domain.aggregate import Event, OrderAggregate
from payments.domain.comparison import Comparison
from payments.domain.records import Order, Payment, Refund
from payments.domain.states import (
    ORDER_MOVES,
    PAYMENT_MOVES,
    REFUND_MOVES,
    sources,
)
from payments.errors import Busy, CatalogueError, OutOfStock, UnknownSku
from payments.telemetry import logger

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

CONFLICT_TRIES = 8
"""Tries of one transaction against others that hold the same items at the same moment."""

UNPROCESSED_TRIES = 6
"""Tries of a batch read whose keys come back unprocessed under throttling."""

FIRST_PAUSE_SECONDS = 0.02
"""Of a backoff with full jitter that doubles with each try."""

PASSING = {None, "None", "TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"}
"""Reasons of a cancelled transaction that a repetition may overcome."""

NOT_UPDATED = {"ConditionalCheckFailedException", "TransactionConflictException"}
"""Refusals of a single update that need no retry: another process writes what it is about."""

QUEUED_SECONDS = 900
"""How long a queued order is not queued again; doubles each time that nothing was saved since."""

MAX_QUEUED_SECONDS = 6 * 3600


MAX_COUNTED = 1000
"""Entries of a list that are counted; with more, the number is this one."""


SHARDS_SIDE_BY_SIDE = 4
"""Queries of one sweep at the same time. Each opens a connection, which costs processor time."""

_CHANCE = random.SystemRandom()
"""From the operating system: with SnapStart, all copies of a snapshot share the state of `random`
(docs.aws.amazon.com/lambda/latest/dg/snapstart-uniqueness.html)."""


class Stale(Exception):
    """Another process wrote first: read again, decide again."""


class DueOrder(NamedTuple):
    """An order as the due index shows it."""

    order_id: str
    due_at: int
    queued: int = 0

    def waited(self, now: int) -> int:
        """Seconds since it became due. Each time that it was queued moved its due time on."""
        return now - self.due_at + sum(map(queued_pause, range(self.queued)))


class Listed(NamedTuple):
    """One entry of a list: the order, and the payment or refund if it is about one."""

    order_id: str
    kind: str
    name: str


class Unpaid(NamedTuple):
    """A customer's orders that may be unpaid, as they were read and as they are to be."""

    user_id: str
    before: tuple[str, ...]
    after: tuple[str, ...]


class PaymentKey(NamedTuple):
    order_id: str
    tx_ref: str


class Standing(NamedTuple):
    """What stands in a list: how many entries, and since when the oldest of them."""

    entries: int
    since: int | None


def queued_pause(queued: int) -> int:
    """Seconds for which an order that was queued so often is not queued again."""
    return min(QUEUED_SECONDS << queued, MAX_QUEUED_SECONDS)


class Repository:
    def __init__(
        self,
        client: "DynamoDBClient",
        table_name: str,
        sleep: Callable[[float], None] = time.sleep,
        republish_after: int = 3600,
    ) -> None:
        """`republish_after`: seconds after which an event that is still marked is overdue."""
        self._client = client
        self._table = table_name
        self._sleep = sleep
        self._republish_after = republish_after

    def read(self, order_id: str) -> OrderAggregate | None:
        """The order with its payments and refunds, as one strongly consistent read shows them."""
        # Events sort before all else under the key, so that this read skips them.
        return aggregate_in(self._query(order_id, "sk >= :sk", {":sk": ORDER_SK}))

    def read_with_events(self, order_id: str) -> tuple[OrderAggregate, list[Event]] | None:
        items = list(self._query(order_id))
        aggregate = aggregate_in(items)
        if aggregate is None:
            return None
        stored = [item for item in items if item["sk"].startswith(EVENTS_PREFIX)]
        return aggregate, [event for item in stored for event in events_of(item)]

    def products(self, skus: Iterable[str]) -> dict[str, Product]:
        """Those of the SKUs that the catalogue has. Raises CatalogueError or Busy."""
        keys = [stock_key(sku) for sku in skus]
        products = (product_in(item) for item in self._batch_get(keys))
        return {product.sku: product for product in products}

    def product_items(self, skus: Iterable[str]) -> Iterator[dict[str, Any]]:
        """Products as they are stored, which may be wrong. Eventually consistent. Raises Busy."""
        yield from self._batch_get([stock_key(sku) for sku in skus], consistent=False)

    def orders(self, order_ids: Iterable[str]) -> list[Order]:
        """Those of the orders that exist, without their payments. Raises Busy."""
        keys = [order_key(order_id) for order_id in order_ids]
        return [order_of(item) for item in self._batch_get(keys)]

    def _batch_get(
        self, keys: Sequence[dict[str, Any]], *, consistent: bool = True
    ) -> Iterator[dict[str, Any]]:
        for some in batched(keys, 100, strict=False):
            wanted: Any = {self._table: {"Keys": list(some), "ConsistentRead": consistent}}
            for _ in self._tries(UNPROCESSED_TRIES, "The table is overloaded. Try again."):
                answer = self._client.batch_get_item(RequestItems=wanted)
                yield from map(plain, answer["Responses"].get(self._table, []))
                wanted = answer.get("UnprocessedKeys")
                if not wanted:
                    break

    def unpaid(self, user_id: str) -> tuple[str, ...]:
        """Ids of the customer's orders that may be unpaid: all that are, and some that were."""
        for item in self._batch_get([unpaid_key(user_id)]):
            return tuple(item["orders"].split())
        return ()

    def delete_unpaid(self, user_id: str, order_ids: Sequence[str]) -> None:
        """Delete what `unpaid` returned, unless the customer has placed an order since."""
        with suppress(self._client.exceptions.ConditionalCheckFailedException):
            self._client.delete_item(
                TableName=self._table,
                Key=unpaid_key(user_id),
                ConditionExpression="orders = :orders",
                ExpressionAttributeValues={":orders": serialize(" ".join(order_ids))},
            )

    def save(
        self, before: OrderAggregate | None, after: OrderAggregate, unpaid: Unpaid | None = None
    ) -> OrderAggregate:
        """Write what changed since `before`, together or not at all; returns what is stored now.

        Raises Stale when the order, or the customer's unpaid orders if they are given, were
        written since, or the order exists when it should be new;
        OutOfStock when units that the change takes are not there; CatalogueError when a product's
        item is not as it should be; Busy when other processes kept the items locked.
        """
        if after == before:
            return after
        changes = list(_changes(before, after))
        if before and _may_be_saved_apart(before, after, changes):
            for old, new in changes:
                self._save_one(after.order.order_id, old, new)
            if before.order == after.order:
                return after
            changes = []
        order = replace(
            after.order,
            version=after.order.version + 1,
            event_count=after.order.event_count + len(after.new_events),
        )
        saved = replace(after, order=order, new_events=())
        writes = [
            self._order_write(before.order if before else None, order),
            *(self._record_write(order.order_id, old, new) for old, new in changes),
            *self._events_write(after),
            *self._stock_writes(before, saved),
            *self._unpaid_writes(unpaid),
        ]
        self._write(writes)
        return saved

    def claim_check(self, order_id: str, tx_ref: str, now: int, every: int) -> bool:
        """Whether this caller may ask the provider about the payment: one may in `every` seconds.

        Outside the version, since it decides nothing: it only spares the provider.
        """
        return self._update_if(
            order_key(order_id, f"PAYMENT#{tx_ref}"),
            UpdateExpression="SET checked_at = :now",
            ConditionExpression="attribute_exists(pk) AND "
            "(attribute_not_exists(checked_at) OR checked_at <= :then)",
            ExpressionAttributeValues={
                ":now": serialize(now),
                ":then": serialize(now - every),
            },
        )

    def due(self, now: int) -> Iterator[DueOrder]:
        """Orders that are due, soonest first within a shard. Eventually consistent."""
        for key in self._due("DUE", now):
            yield DueOrder(key["pk"].removeprefix("ORDER#"), key["due_at"], key.get("queued", 0))

    def queued(self, due: DueOrder, now: int) -> bool:
        """Note that a due order was queued, so that it is not queued again every minute.

        False when the order was saved since. Outside the version, since it decides nothing.
        """
        return self._update_if(
            order_key(due.order_id),
            UpdateExpression="SET due_at = :later, queued = :more",
            ConditionExpression="due_at = :due AND queued = :queued",
            ExpressionAttributeValues={
                ":later": serialize(now + queued_pause(due.queued)),
                ":more": serialize(due.queued + 1),
                ":due": serialize(due.due_at),
                ":queued": serialize(due.queued),
            },
        )

    def overdue_events(self, now: int) -> Iterator[EventKey]:
        """The first event of each write whose events should have been published by now.

        Eventually consistent.
        """
        for key in self._due("EVENTS", now):
            order_id, number = key["pk"].partition("#")[2], key["sk"].removeprefix(EVENTS_PREFIX)
            yield EventKey(order_id, int(number))

    def touch_events(self, first: EventKey, now: int) -> bool:
        """Send overdue events down the table's stream again; False when that was done already."""
        return self._update_if(
            events_key(first),
            UpdateExpression="SET due_at = :later",
            ConditionExpression="attribute_exists(due_shard) AND due_at <= :now",
            ExpressionAttributeValues={
                ":now": serialize(now),
                ":later": serialize(now + self._republish_after),
            },
        )

    def unmark_events(self, first: EventKey) -> bool:
        """All events of the write are published; False when that was known already."""
        return self._update_if(
            events_key(first),
            UpdateExpression="REMOVE due_shard, due_at",
            ConditionExpression="attribute_exists(due_shard)",
        )

    def listed(
        self,
        list_key: str,
        limit: int | None = None,
        *,
        after: Mapping[str, Any] | None = None,
        between: tuple[int, int] | None = None,
        newest_first: bool = True,
    ) -> Iterator[Listed]:
        """The entries of a list that follow the position `after`. Eventually consistent.

        `between`: only those of these times, the second one excluded.
        """
        condition, values = "list_key = :list", {":list": list_key}
        if between is not None:
            condition += " AND list_at BETWEEN :first AND :last"
            values |= {":first": f"{between[0]:012d}", ":last": f"{between[1] - 1:012d}"}
        more = {"ExclusiveStartKey": after} if after else {}
        pages = self._client.get_paginator("query").paginate(
            TableName=self._table,
            IndexName="lists",
            KeyConditionExpression=condition,
            ExpressionAttributeValues=_serialized(values),
            ScanIndexForward=not newest_first,
            PaginationConfig={"MaxItems": limit, "PageSize": limit} if limit else {},
            **more,  # type: ignore[arg-type]
        )
        for page in pages:
            for item in map(plain, page["Items"]):
                kind, _, name = item["sk"].partition("#")
                yield Listed(item["pk"].partition("#")[2], kind, name)

    def standing(self, list_key: str) -> Standing:
        """How much stands in a list of payments and refunds. Eventually consistent."""
        answer = self._client.query(
            TableName=self._table,
            IndexName="lists",
            KeyConditionExpression="list_key = :list",
            ExpressionAttributeValues={":list": serialize(list_key)},
            Limit=MAX_COUNTED,
        )
        items = answer["Items"]
        return Standing(len(items), int(items[0]["list_at"]["S"]) if items else None)

    def list_page(
        self,
        list_key: str,
        start: str | None = None,
        *,
        since: int = 0,
        until: int = 999_999_999_999,
        limit: int = 100,
    ) -> tuple[list[PaymentKey], str | None]:
        """The payments of a page of a list, newest first, and where the next page begins.

        `since` and `until` bound the times by which the list is sorted. Eventually consistent.
        """
        condition = "list_key = :list AND list_at BETWEEN :since AND :until"
        values = {
            ":list": serialize(list_key),
            ":since": serialize(f"{since:012d}"),
            ":until": serialize(f"{until:012d}"),
        }
        answer = self._client.query(
            TableName=self._table,
            IndexName="lists",
            KeyConditionExpression=condition,
            ExpressionAttributeValues=values,
            ScanIndexForward=False,
            Limit=limit,
            **({"ExclusiveStartKey": json.loads(start)} if start else {}),
        )
        last = answer.get("LastEvaluatedKey")
        keys = [key for item in answer["Items"] if (key := _payment_key(item))]
        return keys, json.dumps(last) if last else None

    def payments(self, keys: Iterable[PaymentKey]) -> dict[PaymentKey, Payment]:
        """Those of the payments that exist and can be read. Raises Busy."""
        wanted = [order_key(key.order_id, f"PAYMENT#{key.tx_ref}") for key in dict.fromkeys(keys)]
        found: dict[PaymentKey, Payment] = {}
        for item in self._batch_get(wanted):
            key = PaymentKey(item["pk"].partition("#")[2], item["sk"].partition("#")[2])
            try:
                found[key] = payment_of(item)
            except (LookupError, TypeError, ValueError) as error:
                # The audit names it; the others must not wait for it.
                kind = type(error).__name__
                logger.error("payment cannot be read", **key._asdict(), kind=kind)
        return found

    def named(self, provider_reference: str) -> Iterator[PaymentKey]:
        """Payments that have this reference of Chapa. Eventually consistent."""
        answer = self._client.query(
            TableName=self._table,
            IndexName="references",
            KeyConditionExpression="provider_reference = :ref",
            ExpressionAttributeValues={":ref": serialize(provider_reference)},
        )
        yield from filter(None, map(_payment_key, answer["Items"]))

    def mark_listed(self, key: PaymentKey, at: int) -> bool:
        """Note that the comparison which began then has found the payment in the provider's list.

        Outside the version, since it decides nothing. False when that was noted. Raises Busy.
        """
        for _ in self._tries(CONFLICT_TRIES, "The payment is being changed by too many at once."):
            try:
                self._client.update_item(
                    TableName=self._table,
                    Key=order_key(key.order_id, f"PAYMENT#{key.tx_ref}"),
                    UpdateExpression="SET listed_at = :at",
                    ConditionExpression="attribute_exists(pk) AND "
                    "(attribute_not_exists(listed_at) OR listed_at < :at)",
                    ExpressionAttributeValues={":at": serialize(at)},
                )
            except self._client.exceptions.ConditionalCheckFailedException:
                return False
            except self._client.exceptions.TransactionConflictException:
                continue
            break
        return True

    def comparison(self, provider: str) -> Comparison | None:
        """How far the comparison with a provider's list is; None before the first one."""
        answer = self._client.get_item(
            TableName=self._table, Key=comparison_key(provider), ConsistentRead=True
        )
        return comparison_of(plain(answer["Item"])) if "Item" in answer else None

    def save_comparison(self, before: Comparison | None, after: Comparison) -> Comparison:
        """Raises Stale when another process saved one since `before` was read."""
        saved = replace(after, version=(before.version if before else 0) + 1)
        values = {name: value for name, value in asdict(saved).items() if value is not None}
        put: Any = {"Item": comparison_key(after.provider) | _serialized(values)}
        if before is None:
            put["ConditionExpression"] = "attribute_not_exists(pk)"
        else:
            put["ConditionExpression"] = "version = :before"
            put["ExpressionAttributeValues"] = {":before": serialize(before.version)}
        try:
            self._client.put_item(TableName=self._table, **put)
        except ClientError as error:
            if error.response["Error"]["Code"] in NOT_UPDATED:
                raise Stale from None
            raise
        return saved

    def paid_between(self, first: int, end: int) -> Iterator[Listed]:
        """Payments that were paid from `first` until before `end`, those in manual review too.

        A payment stands in one list, so that one in review or unanswered is not in its day's;
        theirs hold refunds besides. Eventually consistent.
        """
        for list_key in (*_days(day_list, first, end), REVIEW_LIST, UNANSWERED_LIST):
            for entry in self.listed(list_key, between=(first, end)):
                if entry.kind == "PAYMENT":
                    yield entry

    def given_back_between(self, first: int, end: int) -> Iterator[EventKey]:
        """Events by which money went back. Eventually consistent."""
        for list_key in _days(given_back_list, first, end):
            for entry in self.listed(list_key, between=(first, end)):
                yield EventKey(entry.order_id, int(entry.name))

    def search(self, text: str) -> Iterator[str]:
        """Ids of orders with this text in an id or reference. Reads the whole table."""
        seen = ""
        pages = self._client.get_paginator("scan").paginate(
            TableName=self._table,
            FilterExpression="begins_with(pk, :order) AND NOT begins_with(sk, :event) AND ("
            "contains(pk, :text) OR contains(tx_ref, :text) OR contains(refund_id, :text)"
            " OR contains(provider_reference, :text) OR contains(provider_refund_id, :text))",
            ExpressionAttributeValues={
                ":order": serialize("ORDER#"),
                ":event": serialize(EVENTS_PREFIX),
                ":text": serialize(text),
            },
            ProjectionExpression="pk",
        )
        for page in pages:
            for item in page["Items"]:
                order_id = item["pk"]["S"].removeprefix("ORDER#")
                if order_id != seen:
                    yield order_id
                seen = order_id

    def find_by_provider_reference(self, reference: str) -> Iterator[str]:
        """Ids of orders with a payment or refund of this Chapa reference.

        Refunds stand in no index: for them it reads the whole table.
        """
        for key in self.named(reference):
            yield key.order_id
        pages = self._client.get_paginator("scan").paginate(
            TableName=self._table,
            FilterExpression="provider_refund_id = :ref",
            ExpressionAttributeValues={":ref": serialize(reference)},
            ProjectionExpression="pk",
        )
        for page in pages:
            for item in page["Items"]:
                yield item["pk"]["S"].removeprefix("ORDER#")

    def set_product(
        self,
        sku: str,
        *,
        name: str | None = None,
        unit_price: int | None = None,
        currency: str | None = None,
        for_sale: bool | None = None,
        add: int = 0,
    ) -> Product:
        """Change a product, or make it when its name, price and currency are given.

        Raises UnknownSku, OutOfStock when fewer units are available than are to be removed,
        CatalogueError when a value is wrong, or a counter is that is stored, or Busy.
        """
        given = {
            "name": name,
            "unit_price": unit_price,
            "currency": currency,
            "for_sale": for_sale,
        }
        values = {key: value for key, value in given.items() if value is not None}
        changes = {"sku": sku, "list_key": CATALOGUE_LIST, "list_at": sku} | values
        key = stock_key(sku)
        product_in(plain(key) | EMPTY_PRODUCT | values)  # Before anything is written.
        if None not in (name, unit_price, currency):
            with suppress(self._client.exceptions.ConditionalCheckFailedException):
                self._client.put_item(**self._put(key, EMPTY_PRODUCT | changes)["Put"])
        sets = ", ".join(f"#{field} = :{field}" for field in changes)
        values_given = {f":{field}": value for field, value in changes.items()}
        values_given |= {":add": add, ":taken": max(0, -add), ":number": "N"}
        update = {
            "TableName": self._table,
            "Key": key,
            "UpdateExpression": f"SET {sets} ADD stocked :add, available :add",
            "ConditionExpression": "attribute_type(stocked, :number)"
            " AND attribute_type(available, :number) AND available >= :taken",
            "ExpressionAttributeNames": {f"#{field}": field for field in changes},
            "ExpressionAttributeValues": {k: serialize(v) for k, v in values_given.items()},
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }
        try:
            # Unlike a single update, a transaction whose answer was lost is not applied twice.
            self._transact([{"Update": update}])
        except OutOfStock:
            if self.products([sku]):
                raise OutOfStock("So many units are not available.", skus=[sku]) from None
            raise UnknownSku(
                "The catalogue has no such product. Give --name and --price to add it.", skus=[sku]
            ) from None
        return self.products([sku])[sku]

    def write_product(self, before: Product | None, after: Product) -> None:
        """Make a product, or change what is not stock of one that is still as it was read.

        Raises Stale when it is not.
        """
        key = stock_key(after.sku)
        shown = {"sku": after.sku, "list_key": CATALOGUE_LIST, "list_at": after.sku}
        if before is None:
            try:
                self._client.put_item(**self._put(key, asdict(after) | shown)["Put"])
            except self._client.exceptions.ConditionalCheckFailedException:
                raise Stale from None
            return
        known = {name: [value] for name, value in _not_stock(before).items()}
        update = self._update(key, {}, _not_stock(after) | shown, known)["Update"]
        del update["TableName"], update["Key"]
        if not self._update_if(key, **update):
            raise Stale

    def _update_if(self, key: dict[str, Any], **update: Any) -> bool:
        """Whether the update's condition held, and no transaction was at the item."""
        try:
            self._client.update_item(TableName=self._table, Key=key, **update)
        except ClientError as error:
            if error.response["Error"]["Code"] in NOT_UPDATED:
                return False
            raise
        return True

    def _due(self, prefix: str, now: int) -> Iterator[dict[str, Any]]:
        def first_page(shard: str) -> Iterator[Mapping[str, Any]]:
            query = self._client.get_paginator("query").paginate(
                TableName=self._table,
                IndexName="due",
                KeyConditionExpression="due_shard = :shard AND due_at <= :now",
                ExpressionAttributeValues=_serialized({":shard": shard, ":now": now}),
            )
            pages = iter(query)
            return chain([next(pages)], pages)

        # In random order: when a sweep runs out of time, it is not always the same shard's turn.
        first, *others = _CHANCE.sample(due_shards(prefix), items.DUE_SHARDS)
        # The first query of a process makes ready what all of them use: others would do it again.
        found = first_page(first)
        # Their first pages side by side: a query takes the time of its way and hardly any of ours.
        with ThreadPoolExecutor(SHARDS_SIDE_BY_SIDE) as pool:
            reading = [pool.submit(first_page, shard) for shard in others]
            yield from _items_of(found)
            for pages in reading:
                yield from _items_of(pages.result())

    def _query(
        self, order_id: str, condition: str = "", values: Mapping[str, str] | None = None
    ) -> Iterator[dict[str, Any]]:
        names = {":pk": f"ORDER#{order_id}", **(values or {})}
        pages = self._client.get_paginator("query").paginate(
            TableName=self._table,
            KeyConditionExpression=" AND ".join(filter(None, ["pk = :pk", condition])),
            ExpressionAttributeValues={name: serialize(value) for name, value in names.items()},
            ConsistentRead=True,
        )
        yield from _items_of(pages)

    def _order_write(self, before: Order | None, after: Order) -> dict[str, Any]:
        key = record_key(after.order_id, after)
        if before is None:
            return self._put(key, item_of(after))
        conditions: dict[str, list[Any]] = {"version": [before.version]}
        if after.status is not before.status:
            conditions["status"] = _may_come_from(before, after)
        # A sweep may have changed these since the read, without a new version: always write them.
        old = item_of(before) | {"due_at": None, "queued": None}
        return self._update(key, old, item_of(after), conditions)

    def _record_write(
        self, order_id: str, old: Payment | Refund | None, new: Payment | Refund
    ) -> dict[str, Any]:
        key = record_key(order_id, new)
        if old is None:
            return self._put(key, item_of(new))
        conditions = {"status": _may_come_from(old, new)}
        return self._update(key, item_of(old), item_of(new), conditions)

    def _save_one(self, order_id: str, old: Payment | Refund | None, new: Payment | Refund) -> None:
        """Save a record whose change touches nothing else of its order, if it is as it was read.

        The order's version stays: what others decide from the same read stays true, or their own
        write names a status that this one changes.
        """
        stored, wanted = item_of(old) if old else {}, item_of(new)
        as_read = {name: [stored.get(name)] for name in (field.name for field in fields(new))}
        self._write_one(self._update(record_key(order_id, new), stored, wanted, as_read))

    def _write(self, writes: list[dict[str, Any]]) -> None:
        if len(writes) == 1:
            self._write_one(writes[0])
        else:
            self._transact(writes)

    def _write_one(self, write: dict[str, Any]) -> None:
        """Half the price of a transaction. One whose answer was lost is Stale when repeated."""
        [(kind, request)] = write.items()
        send = self._client.update_item if kind == "Update" else self._client.put_item
        for _ in self._tries(CONFLICT_TRIES, "Too many write the same item at once. Try again."):
            try:
                send(**request)
            except ClientError as error:
                code = error.response["Error"]["Code"]
                if code == "ConditionalCheckFailedException":
                    raise Stale from None
                if code != "TransactionConflictException":
                    raise
            else:
                return

    def _events_write(self, after: OrderAggregate) -> Iterator[dict[str, Any]]:
        if events := after.new_events:
            first = EventKey(after.order.order_id, after.order.event_count + 1)
            due_at = events[-1].at + self._republish_after
            yield self._put(events_key(first), events_item(first, events, due_at))

    def _stock_writes(
        self, before: OrderAggregate | None, after: OrderAggregate
    ) -> Iterator[dict[str, Any]]:
        """What the order takes of `available` or gives back; settling a payment does neither."""
        held = before.held_units if before else {}
        for line in after.order.lines:
            taken = after.held_units[line.sku] - held.get(line.sku, 0)
            if not taken:
                continue
            conditions = ["attribute_type(available, :number)"]
            values: dict[str, Any] = {":units": -taken, ":number": "N"}
            if taken > 0:
                conditions.append("for_sale = :true AND available >= :taken")
                values |= {":true": True, ":taken": taken}
            if before is None:
                # The price that the customer sees is the price at which the units are taken.
                conditions.append("unit_price = :price AND currency = :currency")
                values |= {":price": line.unit_price, ":currency": after.order.currency}
            yield {
                "Update": {
                    "TableName": self._table,
                    "Key": stock_key(line.sku),
                    "UpdateExpression": "ADD available :units",
                    "ConditionExpression": " AND ".join(conditions),
                    "ExpressionAttributeValues": {k: serialize(v) for k, v in values.items()},
                    "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
                }
            }

    def _unpaid_writes(self, unpaid: Unpaid | None) -> Iterator[dict[str, Any]]:
        if unpaid is None:
            return
        key, after = unpaid_key(unpaid.user_id), {"orders": " ".join(unpaid.after)}
        if not unpaid.before:
            yield self._put(key, after)
        else:
            before = " ".join(unpaid.before)
            yield self._update(key, {"orders": before}, after, {"orders": [before]})

    def _put(self, key: dict[str, Any], item: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "Put": {
                "TableName": self._table,
                "Item": key | {name: serialize(value) for name, value in item.items()},
                "ConditionExpression": "attribute_not_exists(pk)",
            }
        }

    def _update(
        self,
        key: dict[str, Any],
        old: Mapping[str, Any],
        new: Mapping[str, Any],
        conditions: Mapping[str, Sequence[Any]],
    ) -> dict[str, Any]:
        """Set what differs and remove what is gone, if each named attribute has a listed value.

        The value None stands for an attribute that is not stored.
        """
        names: dict[str, str] = {}
        values: dict[str, Any] = {}

        def name_of(attribute: str) -> str:
            names[f"#{attribute}"] = attribute
            return f"#{attribute}"

        def value_of(value: Any) -> str:
            placeholder = f":v{len(values)}"
            values[placeholder] = serialize(value)
            return placeholder

        changed = [name for name, value in new.items() if old.get(name) != value]
        gone = [name for name in old if name not in new]
        parts = []
        if changed:
            parts.append(
                "SET " + ", ".join(f"{name_of(name)} = {value_of(new[name])}" for name in changed)
            )
        if gone:
            parts.append("REMOVE " + ", ".join(map(name_of, gone)))
        return {
            "Update": {
                "TableName": self._table,
                "Key": key,
                "UpdateExpression": " ".join(parts),
                "ConditionExpression": " AND ".join(
                    f"attribute_not_exists({name_of(name)})"
                    if allowed == [None]
                    else f"{name_of(name)} IN ({', '.join(map(value_of, allowed))})"
                    for name, allowed in conditions.items()
                ),
                "ExpressionAttributeNames": names,
                "ExpressionAttributeValues": values,
            }
        }

    def _transact(self, writes: list[dict[str, Any]]) -> None:
        for _ in self._tries(CONFLICT_TRIES, "Too many write the same items at once. Try again."):
            try:
                self._client.transact_write_items(TransactItems=writes)  # type: ignore[arg-type]
            except self._client.exceptions.TransactionCanceledException as error:
                reasons: Any = error.response["CancellationReasons"]
                _raise_failed_condition(writes, reasons)
            except self._client.exceptions.TransactionInProgressException:
                pass
            else:
                return
            # Held by another transaction or throttled: nothing was decided, so try the same again.

    def _tries(self, most: int, why_not: str) -> Iterator[None]:
        """One turn for each try, with a growing pause in between; raises Busy after the last."""
        for number in range(most):
            if number:
                self._sleep(_CHANCE.uniform(0, FIRST_PAUSE_SECONDS * 2 ** (number - 1)))
            yield
        raise Busy(why_not, retry_after=1)


def _items_of(pages: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    for page in pages:
        yield from map(plain, page["Items"])


def _serialized(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: serialize(value) for name, value in values.items()}


def _payment_key(item: Mapping[str, Any]) -> PaymentKey | None:
    """The payment that an index names; None for an order or a refund."""
    kind, _, name = item["sk"]["S"].partition("#")
    order_id = item["pk"]["S"].partition("#")[2]
    return PaymentKey(order_id, name) if kind == "PAYMENT" else None


DAY_SECONDS = 86_400


def _days(list_of: Callable[[int], str], first: int, end: int) -> list[str]:
    """The lists of the UTC days that a time touches."""
    start = first - first % DAY_SECONDS
    return [list_of(at) for at in range(start, end, DAY_SECONDS)]


def _not_stock(product: Product) -> dict[str, Any]:
    """What changes without a change of stock."""
    return {
        "name": product.name,
        "unit_price": product.unit_price,
        "currency": product.currency,
        "for_sale": product.for_sale,
    }


def _changes(
    before: OrderAggregate | None, after: OrderAggregate
) -> Iterator[tuple[Payment | Refund | None, Payment | Refund]]:
    """Payments and refunds that are new or have changed, with what they were."""
    pairs: list[tuple[Payment | Refund | None, Payment | Refund]] = []
    pairs += [(before.payment(p.tx_ref) if before else None, p) for p in after.payments]
    pairs += [(before.refund(r.refund_id) if before else None, r) for r in after.refunds]
    return ((old, new) for old, new in pairs if old != new)


def _may_be_saved_apart(
    before: OrderAggregate,
    after: OrderAggregate,
    changes: Sequence[tuple[Payment | Refund | None, Payment | Refund]],
) -> bool:
    """Whether the changed records may be saved each by itself, and the order after them.

    One changed record may, and checks that move to a later time: a process that dies in between
    leaves an order that is due too early.
    """
    if after.new_events or not all(old for old, _ in changes):
        return False
    if before.order == after.order:
        return len(changes) == 1
    untimed = replace(before.order, due_at=after.order.due_at, queued=after.order.queued)
    return (
        untimed == after.order
        and _is_later(before.order.due_at, after.order.due_at)
        and all(old and _only_its_check_is_later(old, new) for old, new in changes)
    )


def _only_its_check_is_later(old: Payment | Refund, new: Payment | Refund) -> bool:
    return item_of(old) | {"check_at": 0} == item_of(new) | {"check_at": 0} and _is_later(
        old.check_at, new.check_at
    )


def _is_later(old: int | None, new: int | None) -> bool:
    """Whether a time is later than, or the same as, an old one; None is never."""
    return old is not None and (new is None or new >= old)


def _may_come_from(old: Order | Payment | Refund, new: Order | Payment | Refund) -> list[str]:
    """The stored statuses over which `new` may be written."""
    if new.status is old.status:
        return [old.status.value]
    match new:
        case Order():
            return sources(ORDER_MOVES, new.status)
        case Payment():
            return sources(PAYMENT_MOVES, new.status)
        case Refund():
            return sources(REFUND_MOVES, new.status)


def _raise_failed_condition(writes: list[dict[str, Any]], reasons: list[dict[str, Any]]) -> None:
    """Raise why the transaction can never succeed; return when a repetition may."""
    short: list[str] = []
    for write, reason in zip(writes, reasons, strict=True):
        code = reason.get("Code")
        if code == "ConditionalCheckFailed":
            change = write.get("Update")
            if change is None or not change["Key"]["pk"]["S"].startswith(STOCK_PREFIX):
                raise Stale
            short.append(_short_of(change, reason.get("Item")))
        elif code not in PASSING:
            raise RuntimeError(f"transaction refused: {code}: {reason.get('Message')}")
    if short:
        raise OutOfStock("Some products are sold out.", skus=sorted(short))


def _short_of(change: Mapping[str, Any], item: Mapping[str, Any] | None) -> str:
    """The SKU whose units cannot be taken. Raises Stale when only the price changed."""
    sku = str(change["Key"]["pk"]["S"]).removeprefix(STOCK_PREFIX)
    taken = change["ExpressionAttributeValues"].get(":taken")
    product = product_in(plain(item)) if item else None
    if taken is None:
        raise CatalogueError(f"Product {sku} is gone, but orders hold units of it.", sku=sku)
    if product and product.for_sale and product.available >= deserialize(taken):
        raise Stale
    return sku  # Sold out, or it left the catalogue.
