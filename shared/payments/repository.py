"""Orders, payments, refunds, ledger and stock in one DynamoDB table.

    pk             sk                     what
    ORDER#<id>     ORDER                  the order; its `version` guards everything under the key
    ORDER#<id>     PAYMENT#<tx_ref>       one attempt to pay it
    ORDER#<id>     REFUND#<reference>     money owed back
    ORDER#<id>     EVENT#<number>         one line of its ledger; only its mark ever changes
    STOCK#<sku>    STOCK                  a product: name, price, and three counters of its units

Index `due`: `due_shard`, `due_at`; only orders that somebody should look at again have them, and
events that are not published yet, under shards of their own.

Every write is conditional. A story is saved under the version it was read with, each status under
the states that `states` lets it come from, each stock counter under what must be there. What is
saved is the difference, attribute by attribute, never a stale copy of the whole.
"""

import random
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

from boto3.dynamodb.types import TypeDeserializer, TypeSerializer
from botocore.exceptions import ClientError

from payments.errors import Busy, OutOfStock
from payments.states import (
    ORDER_MOVES,
    PAYMENT_MOVES,
    REFUND_MOVES,
    STOCK_MOVES,
    OrderStatus,
    PaymentStatus,
    RefundStatus,
    StockStatus,
    sources,
)
from payments.story import Event, Line, Order, Payment, Refund, Story

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

DUE_SHARDS = 8
"""Partitions of the due index: one takes 1,000 writes a second, so all take 8,000."""

CONFLICT_TRIES = 8
"""Tries of one transaction against others that hold the same items at the same moment."""

PASSING = {None, "None", "TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"}
"""Reasons of a cancelled transaction that say nothing against trying it again."""

NOT_UPDATED = {"ConditionalCheckFailedException", "TransactionConflictException"}
"""Refusals of a single update that need no retry: somebody else is at what it is about."""

_ORDER = "ORDER"
_STOCK = "STOCK#"

_serialize = TypeSerializer().serialize
_deserialize = TypeDeserializer().deserialize


class Stale(Exception):
    """Somebody wrote first: read again, decide again."""


@dataclass(frozen=True)
class Product:
    sku: str
    name: str
    unit_price: int
    currency: str


class EventKey(NamedTuple):
    """Names one line of a ledger: numbers count from 1 within each order, without a gap."""

    order_id: str
    number: int


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

    def read(self, order_id: str) -> Story | None:
        """The order with its payments and refunds, as one strongly consistent read shows them."""
        # Events sort before all else under the key, so that this read passes them by.
        return story_in(self._query(order_id, "sk >= :sk", {":sk": _ORDER}))

    def read_with_ledger(self, order_id: str) -> tuple[Story, list[Event]] | None:
        items = list(self._query(order_id))
        story = story_in(items)
        if story is None:
            return None
        return story, [_event(item) for item in items if item["sk"].startswith("EVENT#")]

    def products(self, skus: Iterable[str]) -> dict[str, Product]:
        """Those of the SKUs (at most 100) that the catalogue has."""
        wanted: Any = {self._table: {"Keys": [_stock_key(sku) for sku in skus]}}
        found: dict[str, Product] = {}
        while wanted:
            wanted[self._table]["ConsistentRead"] = True
            answer = self._client.batch_get_item(RequestItems=wanted)
            for raw in answer["Responses"].get(self._table, []):
                item = plain(raw)
                product = Product(*(item[f.name] for f in fields(Product)))
                found[product.sku] = product
            wanted = answer.get("UnprocessedKeys")
        return found

    def save(self, before: Story | None, after: Story) -> Story:
        """Write what changed since `before`, in one transaction; returns what is stored now.

        Raises Stale when the order was written since, or exists when it should be new;
        OutOfStock when units that the change takes are not there; Busy when others kept the items
        locked.
        """
        if after == before:
            return after
        order = replace(
            after.order,
            version=after.order.version + 1,
            events=after.order.events + len(after.news),
        )
        saved = replace(after, order=order, news=())
        writes = [
            self._order_write(before.order if before else None, order),
            *self._payment_writes(before, after),
            *self._refund_writes(before, after),
            *self._event_writes(after),
            *self._stock_writes(before, order),
        ]
        self._transact(writes)
        return saved

    def claim_look(self, order_id: str, tx_ref: str, now: int, every: int) -> bool:
        """Whether this caller may ask the provider about the payment: one may in `every` seconds.

        Outside the version, since it decides nothing: it only spares the provider.
        """
        return self._update_if(
            _key(order_id, f"PAYMENT#{tx_ref}"),
            UpdateExpression="SET looked_at = :now",
            ConditionExpression="attribute_exists(pk) AND "
            "(attribute_not_exists(looked_at) OR looked_at <= :then)",
            ExpressionAttributeValues={
                ":now": _serialize(now),
                ":then": _serialize(now - every),
            },
        )

    def due(self, now: int) -> Iterator[str]:
        """Ids of orders that are due, soonest first within a shard. Eventually consistent."""
        for key in self._due("DUE", now):
            yield key["pk"].removeprefix("ORDER#")

    def overdue_events(self, now: int) -> Iterator[EventKey]:
        """Events that should have been published by now. Eventually consistent."""
        for key in self._due("EVENTS", now):
            order_id, number = key["pk"].removeprefix("ORDER#"), key["sk"].removeprefix("EVENT#")
            yield EventKey(order_id, int(number))

    def touch_event(self, event: EventKey, now: int) -> bool:
        """Send an overdue event down the table's stream again; False when that was done already."""
        return self._update_if(
            _event_key(event),
            UpdateExpression="SET due_at = :later",
            ConditionExpression="attribute_exists(due_shard) AND due_at <= :now",
            ExpressionAttributeValues={
                ":now": _serialize(now),
                ":later": _serialize(now + self._republish_after),
            },
        )

    def unmark_event(self, event: EventKey) -> bool:
        """The event is published; False when that was known already."""
        return self._update_if(
            _event_key(event),
            UpdateExpression="REMOVE due_shard, due_at",
            ConditionExpression="attribute_exists(due_shard)",
        )

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
        for shard in range(DUE_SHARDS):
            pages = self._client.get_paginator("query").paginate(
                TableName=self._table,
                IndexName="due",
                KeyConditionExpression="due_shard = :shard AND due_at <= :now",
                ExpressionAttributeValues={
                    ":shard": _serialize(f"{prefix}#{shard}"),
                    ":now": _serialize(now),
                },
            )
            for page in pages:
                yield from map(plain, page["Items"])

    def _query(
        self, order_id: str, condition: str = "", values: Mapping[str, str] | None = None
    ) -> Iterator[dict[str, Any]]:
        names = {":pk": f"ORDER#{order_id}", **(values or {})}
        pages = self._client.get_paginator("query").paginate(
            TableName=self._table,
            KeyConditionExpression=" AND ".join(filter(None, ["pk = :pk", condition])),
            ExpressionAttributeValues={name: _serialize(value) for name, value in names.items()},
            ConsistentRead=True,
        )
        for page in pages:
            for raw in page["Items"]:
                yield plain(raw)

    def _order_write(self, before: Order | None, after: Order) -> dict[str, Any]:
        key = _key(after.order_id, _ORDER)
        if before is None:
            return self._put(key, _order_item(after))
        conditions: dict[str, list[Any]] = {"version": [before.version]}
        if after.status is not before.status:
            conditions["status"] = sources(ORDER_MOVES, after.status)
        return self._update(key, _order_item(before), _order_item(after), conditions)

    def _payment_writes(self, before: Story | None, after: Story) -> Iterator[dict[str, Any]]:
        for payment in after.payments:
            key = _key(after.order.order_id, f"PAYMENT#{payment.tx_ref}")
            old = before.payment(payment.tx_ref) if before else None
            if old is None:
                yield self._put(key, _item(payment))
            elif payment != old:
                moved = payment.status is not old.status
                froms = sources(PAYMENT_MOVES, payment.status) if moved else [old.status]
                yield self._update(key, _item(old), _item(payment), {"status": froms})

    def _refund_writes(self, before: Story | None, after: Story) -> Iterator[dict[str, Any]]:
        for refund in after.refunds:
            key = _key(after.order.order_id, f"REFUND#{refund.reference}")
            old = before.refund(refund.reference) if before else None
            if old is None:
                yield self._put(key, _item(refund))
            elif refund != old:
                moved = refund.status is not old.status
                froms = sources(REFUND_MOVES, refund.status) if moved else [old.status]
                yield self._update(key, _item(old), _item(refund), {"status": froms})

    def _event_writes(self, after: Story) -> Iterator[dict[str, Any]]:
        order = after.order
        for number, event in enumerate(after.news, start=order.events + 1):
            yield self._put(
                _event_key(EventKey(order.order_id, number)),
                {
                    **asdict(event),
                    "order_id": order.order_id,
                    "number": number,
                    "due_shard": _due_shard("EVENTS", order.order_id),
                    "due_at": event.at + self._republish_after,
                },
            )

    def _stock_writes(self, before: Story | None, after: Order) -> Iterator[dict[str, Any]]:
        was = before.order.stock if before else None
        if after.stock is was:
            return
        change = STOCK_MOVES[was, after.stock]._asdict()
        for line in after.lines:
            units = {name: sign * line.quantity for name, sign in change.items() if sign}
            conditions = [f"{name} >= :{name}_taken" for name, n in units.items() if n < 0]
            values = {f":{name}": n for name, n in units.items()}
            values |= {f":{name}_taken": -n for name, n in units.items() if n < 0}
            if was is None:
                # The price that the customer is told is the price at which the units are taken.
                conditions.append("unit_price = :price AND currency = :currency")
                values |= {":price": line.unit_price, ":currency": after.currency}
            yield {
                "Update": {
                    "TableName": self._table,
                    "Key": _stock_key(line.sku),
                    "UpdateExpression": "ADD " + ", ".join(f"{name} :{name}" for name in units),
                    "ConditionExpression": " AND ".join(conditions),
                    "ExpressionAttributeValues": {k: _serialize(v) for k, v in values.items()},
                    "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
                }
            }

    def _put(self, key: dict[str, Any], item: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "Put": {
                "TableName": self._table,
                "Item": key | {name: _serialize(value) for name, value in item.items()},
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
        """Set what differs and remove what is gone, if each named attribute has a listed value."""
        names: dict[str, str] = {}
        values: dict[str, Any] = {}

        def name_of(attribute: str) -> str:
            names[f"#{attribute}"] = attribute
            return f"#{attribute}"

        def value_of(value: Any) -> str:
            placeholder = f":v{len(values)}"
            values[placeholder] = _serialize(value)
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
                    f"{name_of(name)} IN ({', '.join(map(value_of, allowed))})"
                    for name, allowed in conditions.items()
                ),
                "ExpressionAttributeNames": names,
                "ExpressionAttributeValues": values,
            }
        }

    def _transact(self, writes: list[dict[str, Any]]) -> None:
        for attempt in range(CONFLICT_TRIES):
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
            self._sleep(random.uniform(0, 0.02 * 2**attempt))  # noqa: S311
        raise Busy("The order is being changed by too many at once.", retry_after=1)


def _raise_failed_condition(writes: list[dict[str, Any]], reasons: list[dict[str, Any]]) -> None:
    """Raise why the transaction can never succeed; return when it may if tried again."""
    short: list[str] = []
    for write, reason in zip(writes, reasons, strict=True):
        code = reason.get("Code")
        if code == "ConditionalCheckFailed":
            change = write.get("Update")
            if change is None or not change["Key"]["pk"]["S"].startswith(_STOCK):
                raise Stale
            sku = change["Key"]["pk"]["S"].removeprefix(_STOCK)
            stock = plain(reason.get("Item", {}))  # Empty: the catalogue does not have it any more.
            taken = change["ExpressionAttributeValues"].get(":available_taken")
            if taken is None:
                raise RuntimeError(f"{sku} has not the units that the order holds of it: {stock}")
            if stock and stock["available"] >= _deserialize(taken):
                raise Stale  # The units are there, so it was the price.
            short.append(sku)
        elif code not in PASSING:
            raise RuntimeError(f"transaction refused: {code}: {reason.get('Message')}")
    if short:
        raise OutOfStock("Some products are sold out.", skus=sorted(short))


def _key(order_id: str, sk: str) -> dict[str, Any]:
    return {"pk": {"S": f"ORDER#{order_id}"}, "sk": {"S": sk}}


def _event_key(event: EventKey) -> dict[str, Any]:
    return _key(event.order_id, f"EVENT#{event.number:06d}")


def _stock_key(sku: str) -> dict[str, Any]:
    return {"pk": {"S": f"{_STOCK}{sku}"}, "sk": {"S": "STOCK"}}


def _item(record: Payment | Refund | Order) -> dict[str, Any]:
    """What is stored of a record: an attribute that has no value has no place either."""
    return {name: value for name, value in asdict(record).items() if value is not None}


def _order_item(order: Order) -> dict[str, Any]:
    item = _item(order)
    if order.due_at is not None:
        item["due_shard"] = _due_shard("DUE", order.order_id)
    return item


def _due_shard(prefix: str, order_id: str) -> str:
    return f"{prefix}#{zlib.crc32(order_id.encode()) % DUE_SHARDS}"


def plain(raw: Mapping[str, Any]) -> dict[str, Any]:
    """An item out of DynamoDB's JSON."""
    return {name: _whole(_deserialize(value)) for name, value in raw.items()}


def _whole(value: Any) -> Any:
    """Numbers here are whole; DynamoDB hands out decimals."""
    match value:
        case Decimal():
            return int(value)
        case dict():
            return {key: _whole(inner) for key, inner in value.items()}
        case list():
            return [_whole(inner) for inner in value]
        case _:
            return value


def event_in(image: Mapping[str, Any]) -> tuple[EventKey, Event]:
    """A ledger event as the table's stream carries it. Raises when it is none."""
    item = plain(image)
    return EventKey(item["order_id"], item["number"]), _event(item)


def _event(item: Mapping[str, Any]) -> Event:
    return Event(item["name"], item["at"], item["details"])


def _record[R: (Order, Payment, Refund)](kind: type[R], item: Mapping[str, Any], **more: Any) -> R:
    known = {f.name for f in fields(kind)}
    return kind(**{k: v for k, v in item.items() if k in known} | more)


def story_in(items: Iterable[Mapping[str, Any]]) -> Story | None:
    """The story that the items under one order's key tell; None without the order itself."""
    order: Order | None = None
    payments: list[Payment] = []
    refunds: list[Refund] = []
    for item in items:
        match item["sk"].split("#")[0]:
            case "ORDER":
                order = _record(
                    Order,
                    item,
                    status=OrderStatus(item["status"]),
                    stock=StockStatus(item["stock"]),
                    lines=tuple(Line(**line) for line in item["lines"]),
                )
            case "PAYMENT":
                payments.append(_record(Payment, item, status=PaymentStatus(item["status"])))
            case "REFUND":
                refunds.append(_record(Refund, item, status=RefundStatus(item["status"])))
    if order is None:
        return None
    payments.sort(key=lambda payment: (payment.created_at, payment.tx_ref))
    return Story(order, tuple(payments), tuple(refunds))
