"""Orders with their payments, refunds and events in a DynamoDB table; `items` has its layout.

Every write is conditional. An aggregate is saved under the version it was read with, each status
under the statuses that `states` lets it come from, `available` under what must be there. What is
saved is the difference, attribute by attribute, never a stale copy of the whole. A difference
within one record is saved under the values that were read: it costs a quarter of a transaction.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import fields, replace
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

from payments.aws import items
from payments.aws.items import (
    EVENTS_PREFIX,
    ORDER_SK,
    EventKey,
    aggregate_in,
    due_shards,
    events_item,
    events_key,
    events_of,
    item_of,
    order_key,
    order_of,
    record_key,
    serialize,
    serialized,
    stock_key,
    unpaid_key,
)
from payments.aws.table import CHANCE, Table, items_of
from payments.domain.aggregate import Event, OrderAggregate
from payments.domain.records import Order, Payment, Refund
from payments.domain.states import ORDER_MOVES, PAYMENT_MOVES, REFUND_MOVES, sources

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

QUEUED_SECONDS = 900
"""How long a queued order is not queued again; doubles each time that nothing was saved since."""

MAX_QUEUED_SECONDS = 6 * 3600

SHARDS_SIDE_BY_SIDE = 4
"""Queries of one sweep at the same time. Each opens a connection, which costs processor time."""


class DueOrder(NamedTuple):
    """An order as the due index shows it."""

    order_id: str
    due_at: int
    queued: int = 0

    def waited(self, now: int) -> int:
        """Seconds since it became due. Each time that it was queued moved its due time on."""
        return now - self.due_at + sum(map(queued_pause, range(self.queued)))


class Unpaid(NamedTuple):
    """A customer's orders that may be unpaid, as they were read and as they are to be."""

    user_id: str
    before: tuple[str, ...]
    after: tuple[str, ...]


def queued_pause(queued: int) -> int:
    """Seconds for which an order that was queued so often is not queued again."""
    return min(QUEUED_SECONDS << queued, MAX_QUEUED_SECONDS)


class Repository(Table):
    def __init__(
        self,
        client: "DynamoDBClient",
        table_name: str,
        sleep: Callable[[float], None] = time.sleep,
        republish_after: int = 3600,
    ) -> None:
        """`republish_after`: seconds after which an event that is still marked is overdue."""
        super().__init__(client, table_name, sleep)
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

    def orders(self, order_ids: Iterable[str]) -> list[Order]:
        """Those of the orders that exist, without their payments. Raises Busy."""
        keys = [order_key(order_id) for order_id in order_ids]
        return [order_of(item) for item in self._batch_get(keys)]

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
            number = key["sk"].removeprefix(EVENTS_PREFIX)
            yield EventKey(key["pk"].removeprefix("ORDER#"), int(number))

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

    def _due(self, prefix: str, now: int) -> Iterator[dict[str, Any]]:
        def first_page(shard: str) -> Iterator[Mapping[str, Any]]:
            query = self._client.get_paginator("query").paginate(
                TableName=self._table,
                IndexName="due",
                KeyConditionExpression="due_shard = :shard AND due_at <= :now",
                ExpressionAttributeValues=serialized({":shard": shard, ":now": now}),
            )
            pages = iter(query)
            return chain([next(pages)], pages)

        # In random order: when a sweep runs out of time, it is not always the same shard's turn.
        first, *others = CHANCE.sample(due_shards(prefix), items.DUE_SHARDS)
        # The first query of a process makes ready what all of them use: others would do it again.
        found = first_page(first)
        # Their first pages side by side: a query takes the time of its way and hardly any of ours.
        with ThreadPoolExecutor(SHARDS_SIDE_BY_SIDE) as pool:
            reading = [pool.submit(first_page, shard) for shard in others]
            yield from items_of(found)
            for pages in reading:
                yield from items_of(pages.result())

    def _query(
        self, order_id: str, condition: str = "", values: Mapping[str, str] | None = None
    ) -> Iterator[dict[str, Any]]:
        names = {":pk": f"ORDER#{order_id}", **(values or {})}
        pages = self._client.get_paginator("query").paginate(
            TableName=self._table,
            KeyConditionExpression=" AND ".join(filter(None, ["pk = :pk", condition])),
            ExpressionAttributeValues=serialized(names),
            ConsistentRead=True,
        )
        yield from items_of(pages)

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
                    "ExpressionAttributeValues": serialized(values),
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


def _changes(
    before: OrderAggregate | None, after: OrderAggregate
) -> Iterator[tuple[Payment | Refund | None, Payment | Refund]]:
    """Payments and refunds that are new or have changed, with what they were."""
    for payment in after.payments:
        if (old := before.payment(payment.tx_ref) if before else None) != payment:
            yield old, payment
    for refund in after.refunds:
        if (known := before.refund(refund.refund_id) if before else None) != refund:
            yield known, refund


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
