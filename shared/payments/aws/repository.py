"""Orders, payments, refunds, event log and catalogue in one DynamoDB table.

    pk             sk                     what
    ORDER#<id>     ORDER                  the order; its `version` guards everything under the key
    ORDER#<id>     PAYMENT#<tx_ref>       one attempt to pay it
    ORDER#<id>     REFUND#<refund_id>     money owed back, or goods taken back
    ORDER#<id>     EVENT#<number>         one event; only its mark ever changes
    STOCK#<sku>    STOCK                  a product: name, price, `for_sale`, `stocked`, `available`

Index `due`: `due_shard`, `due_at`. Only orders with something to do and events that are not
published yet have them, in shards of their own.

Index `lists`: `list_key`, `list_at`: what people want to see. See `_list_of`.

Every write is conditional. An aggregate is saved under the version it was read with, each status
under the statuses that `states` lets it come from, `available` under what must be there. What is
saved is the difference, attribute by attribute, never a stale copy of the whole.
"""

import random
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from itertools import batched
from typing import TYPE_CHECKING, Any, NamedTuple

from boto3.dynamodb.types import TypeDeserializer, TypeSerializer
from botocore.exceptions import ClientError

from payments.domain.aggregate import Event, OrderAggregate
from payments.domain.events import details, event_from
from payments.domain.money import CURRENCIES
from payments.domain.records import Line, Order, Payment, Refund
from payments.domain.states import (
    OPEN_REFUNDS,
    ORDER_MOVES,
    PAYMENT_MOVES,
    REFUND_MOVES,
    OrderStatus,
    PaymentStatus,
    RefundStatus,
    sources,
)
from payments.errors import Busy, CatalogueError, OutOfStock, UnknownSku

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

DUE_SHARDS = 8
"""Partitions of the due index: one takes 1,000 writes a second, so all take 8,000."""

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

_ORDER = "ORDER"
_STOCK = "STOCK#"

_serialize = TypeSerializer().serialize
_deserialize = TypeDeserializer().deserialize


class Stale(Exception):
    """Another process wrote first: read again, decide again."""


@dataclass(frozen=True)
class Product:
    sku: str
    name: str
    unit_price: int
    currency: str
    stocked: int
    """Units that were put in; changes only when an operator adds or removes units."""
    available: int
    for_sale: bool


class EventKey(NamedTuple):
    """Names one event: numbers count from 1 within each order, without a gap."""

    order_id: str
    number: int


class DueOrder(NamedTuple):
    """An order as the due index shows it."""

    order_id: str
    due_at: int
    queued: int = 0


class Listed(NamedTuple):
    """One entry of a list: the order, and the payment or refund if it is about one."""

    order_id: str
    kind: str
    name: str


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
        return aggregate_in(self._query(order_id, "sk >= :sk", {":sk": _ORDER}))

    def read_with_events(self, order_id: str) -> tuple[OrderAggregate, list[Event]] | None:
        items = list(self._query(order_id))
        aggregate = aggregate_in(items)
        if aggregate is None:
            return None
        return aggregate, [_event(item) for item in items if item["sk"].startswith("EVENT#")]

    def products(self, skus: Iterable[str]) -> dict[str, Product]:
        """Those of the SKUs that the catalogue has. Raises CatalogueError or Busy."""
        keys = [_stock_key(sku) for sku in skus]
        products = (product_in(item) for item in self._batch_get(keys))
        return {product.sku: product for product in products}

    def orders(self, order_ids: Iterable[str]) -> list[Order]:
        """Those of the orders that exist, without their payments. Raises Busy."""
        keys = [_key(order_id, _ORDER) for order_id in order_ids]
        return [_order(item) for item in self._batch_get(keys)]

    def _batch_get(self, keys: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        for some in batched(keys, 100, strict=False):
            wanted: Any = {self._table: {"Keys": list(some), "ConsistentRead": True}}
            for attempt in range(UNPROCESSED_TRIES):
                answer = self._client.batch_get_item(RequestItems=wanted)
                yield from map(plain, answer["Responses"].get(self._table, []))
                wanted = answer.get("UnprocessedKeys")
                if not wanted:
                    break
                self._back_off(attempt)
            else:
                raise Busy("The table is overloaded. Try again.", retry_after=1)

    def save(self, before: OrderAggregate | None, after: OrderAggregate) -> OrderAggregate:
        """Write what changed since `before`, in one transaction; returns what is stored now.

        Raises Stale when the order was written since, or exists when it should be new;
        OutOfStock when units that the change takes are not there; CatalogueError when a product's
        item is not as it should be; Busy when other processes kept the items locked.
        """
        if after == before:
            return after
        order = replace(
            after.order,
            version=after.order.version + 1,
            event_count=after.order.event_count + len(after.new_events),
        )
        saved = replace(after, order=order, new_events=())
        writes = [
            self._order_write(before.order if before else None, order),
            *self._payment_writes(before, after),
            *self._refund_writes(before, after),
            *self._event_writes(after),
            *self._stock_writes(before, saved),
        ]
        self._transact(writes)
        return saved

    def claim_check(self, order_id: str, tx_ref: str, now: int, every: int) -> bool:
        """Whether this caller may ask the provider about the payment: one may in `every` seconds.

        Outside the version, since it decides nothing: it only spares the provider.
        """
        return self._update_if(
            _key(order_id, f"PAYMENT#{tx_ref}"),
            UpdateExpression="SET checked_at = :now",
            ConditionExpression="attribute_exists(pk) AND "
            "(attribute_not_exists(checked_at) OR checked_at <= :then)",
            ExpressionAttributeValues={
                ":now": _serialize(now),
                ":then": _serialize(now - every),
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
        pause = min(QUEUED_SECONDS * 2**due.queued, MAX_QUEUED_SECONDS)
        return self._update_if(
            _key(due.order_id, _ORDER),
            UpdateExpression="SET due_at = :later, queued = :more",
            ConditionExpression="due_at = :due AND queued = :queued",
            ExpressionAttributeValues={
                ":later": _serialize(now + pause),
                ":more": _serialize(due.queued + 1),
                ":due": _serialize(due.due_at),
                ":queued": _serialize(due.queued),
            },
        )

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

    def listed(self, list_key: str, limit: int | None = None) -> Iterator[Listed]:
        """The entries of a list, newest first. Eventually consistent."""
        pages = self._client.get_paginator("query").paginate(
            TableName=self._table,
            IndexName="lists",
            KeyConditionExpression="list_key = :list",
            ExpressionAttributeValues={":list": _serialize(list_key)},
            ScanIndexForward=False,
            PaginationConfig={"MaxItems": limit} if limit else {},
        )
        for page in pages:
            for item in map(plain, page["Items"]):
                kind, _, name = item["sk"].partition("#")
                yield Listed(item["pk"].partition("#")[2], kind, name)

    def find_by_provider_reference(self, reference: str) -> Iterator[str]:
        """Ids of orders with a payment or refund of this Chapa reference. Reads the whole table."""
        pages = self._client.get_paginator("scan").paginate(
            TableName=self._table,
            FilterExpression="provider_reference = :ref OR provider_refund_id = :ref",
            ExpressionAttributeValues={":ref": _serialize(reference)},
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

        Raises UnknownSku, or OutOfStock when fewer units are available than are to be removed.
        """
        given = {
            "name": name,
            "unit_price": unit_price,
            "currency": currency,
            "for_sale": for_sale,
        }
        values = {key: value for key, value in given.items() if value is not None}
        key = _stock_key(sku)
        if None not in (name, unit_price, currency):
            whole = {"stocked": 0, "available": 0, "for_sale": True} | values
            item = whole | {"sku": sku, "list_key": CATALOGUE_LIST, "list_at": sku}
            with suppress(self._client.exceptions.ConditionalCheckFailedException):
                self._client.put_item(**self._put(key, item)["Put"])
        changes = {"sku": sku, "list_key": CATALOGUE_LIST, "list_at": sku} | values
        try:
            answer = self._client.update_item(
                TableName=self._table,
                Key=key,
                UpdateExpression="SET "
                + ", ".join(f"#{field} = :{field}" for field in changes)
                + " ADD stocked :add, available :add",
                ConditionExpression="attribute_exists(pk) AND available >= :removed",
                ExpressionAttributeNames={f"#{field}": field for field in changes},
                ExpressionAttributeValues={
                    ":add": _serialize(add),
                    ":removed": _serialize(max(0, -add)),
                    **{f":{field}": _serialize(value) for field, value in changes.items()},
                },
                ReturnValues="ALL_NEW",
            )
        except self._client.exceptions.ConditionalCheckFailedException:
            if sku in self.products([sku]):
                raise OutOfStock("So many units are not available.", skus=[sku]) from None
            raise UnknownSku(
                "The catalogue has no such product. Give --name and --price to add it.", skus=[sku]
            ) from None
        return product_in(plain(answer["Attributes"]))

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
        # In random order: when a sweep runs out of time, it is not always the same shard's turn.
        for shard in random.sample(range(DUE_SHARDS), DUE_SHARDS):
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

    def _payment_writes(
        self, before: OrderAggregate | None, after: OrderAggregate
    ) -> Iterator[dict[str, Any]]:
        for payment in after.payments:
            key = _key(after.order.order_id, f"PAYMENT#{payment.tx_ref}")
            old = before.payment(payment.tx_ref) if before else None
            if old is None:
                yield self._put(key, _payment_item(payment))
            elif payment != old:
                moved = payment.status is not old.status
                froms = sources(PAYMENT_MOVES, payment.status) if moved else [old.status.value]
                yield self._update(
                    key, _payment_item(old), _payment_item(payment), {"status": froms}
                )

    def _refund_writes(
        self, before: OrderAggregate | None, after: OrderAggregate
    ) -> Iterator[dict[str, Any]]:
        for refund in after.refunds:
            key = _key(after.order.order_id, f"REFUND#{refund.refund_id}")
            old = before.refund(refund.refund_id) if before else None
            if old is None:
                yield self._put(key, _refund_item(refund))
            elif refund != old:
                moved = refund.status is not old.status
                froms = sources(REFUND_MOVES, refund.status) if moved else [old.status.value]
                yield self._update(key, _refund_item(old), _refund_item(refund), {"status": froms})

    def _event_writes(self, after: OrderAggregate) -> Iterator[dict[str, Any]]:
        order = after.order
        for number, event in enumerate(after.new_events, start=order.event_count + 1):
            yield self._put(
                _event_key(EventKey(order.order_id, number)),
                {
                    "name": event.name,
                    "at": event.at,
                    "details": details(event),
                    "order_id": order.order_id,
                    "number": number,
                    "due_shard": _due_shard("EVENTS", order.order_id),
                    "due_at": event.at + self._republish_after,
                },
            )

    def _stock_writes(
        self, before: OrderAggregate | None, after: OrderAggregate
    ) -> Iterator[dict[str, Any]]:
        """What the order takes of `available` or gives back; settling a payment does neither."""
        held = before.held_units if before else {}
        for line in after.order.lines:
            taken = after.held_units[line.sku] - held.get(line.sku, 0)
            if not taken:
                continue
            conditions = ["attribute_exists(pk)"]
            values: dict[str, Any] = {":units": -taken}
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
                    "Key": _stock_key(line.sku),
                    "UpdateExpression": "ADD available :units",
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
            self._back_off(attempt)
        raise Busy("The order is being changed by too many at once.", retry_after=1)

    def _back_off(self, attempt: int) -> None:
        self._sleep(random.uniform(0, FIRST_PAUSE_SECONDS * 2**attempt))  # noqa: S311


def _raise_failed_condition(writes: list[dict[str, Any]], reasons: list[dict[str, Any]]) -> None:
    """Raise why the transaction can never succeed; return when a repetition may."""
    short: list[str] = []
    for write, reason in zip(writes, reasons, strict=True):
        code = reason.get("Code")
        if code == "ConditionalCheckFailed":
            change = write.get("Update")
            if change is None or not change["Key"]["pk"]["S"].startswith(_STOCK):
                raise Stale
            short.append(_short_of(change, reason.get("Item")))
        elif code == "ValidationError" and _is_stock(write):
            sku = write["Update"]["Key"]["pk"]["S"].removeprefix(_STOCK)
            raise CatalogueError(f"Product {sku}: `available` is not a number.", sku=sku)
        elif code not in PASSING:
            raise RuntimeError(f"transaction refused: {code}: {reason.get('Message')}")
    if short:
        raise OutOfStock("Some products are sold out.", skus=sorted(short))


def _is_stock(write: Mapping[str, Any]) -> bool:
    return "Update" in write and bool(write["Update"]["Key"]["pk"]["S"].startswith(_STOCK))


def _short_of(change: Mapping[str, Any], item: Mapping[str, Any] | None) -> str:
    """The SKU whose units cannot be taken. Raises Stale when only the price changed."""
    sku = str(change["Key"]["pk"]["S"]).removeprefix(_STOCK)
    taken = change["ExpressionAttributeValues"].get(":taken")
    if taken is None:
        raise CatalogueError(f"Product {sku} is gone, but orders hold units of it.", sku=sku)
    if not item:
        return sku  # It left the catalogue.
    product = product_in(plain(item))
    if product.for_sale and product.available >= _deserialize(taken):
        raise Stale
    return sku


def _key(order_id: str, sk: str) -> dict[str, Any]:
    return {"pk": {"S": f"ORDER#{order_id}"}, "sk": {"S": sk}}


def _event_key(event: EventKey) -> dict[str, Any]:
    return _key(event.order_id, f"EVENT#{event.number:06d}")


def _stock_key(sku: str) -> dict[str, Any]:
    return {"pk": {"S": f"{_STOCK}{sku}"}, "sk": {"S": "STOCK"}}


def customer_list(user_id: str) -> str:
    return f"CUSTOMER#{user_id}"


def day_list(at: int) -> str:
    """The payments of a day, UTC."""
    return f"PAID#{datetime.fromtimestamp(at, UTC):%Y-%m-%d}"


REVIEW_LIST = "REVIEW"
OWED_LIST = "OWED"
UNANSWERED_LIST = "UNANSWERED"
CATALOGUE_LIST = "CATALOGUE"


def _list_of(record: Order | Payment | Refund) -> str | None:
    """The one list that a record stands in. What needs a person comes first."""
    match record:
        case Order():
            return customer_list(record.user_id)
        case Payment(status=PaymentStatus.REVIEW) | Refund(status=RefundStatus.REVIEW):
            return REVIEW_LIST
        case Payment() | Refund() if record.unanswered_since is not None:
            return UNANSWERED_LIST
        case Refund():
            return OWED_LIST if record.status in OPEN_REFUNDS else None
        case Payment():
            return day_list(record.paid_at) if record.paid_at is not None else None


def _item(record: Order | Payment | Refund, list_at: int) -> dict[str, Any]:
    """What is stored of a record. None values are not stored."""
    item = {
        name: value.value if isinstance(value, Enum) else value
        for name, value in asdict(record).items()
        if value is not None
    }
    if (list_key := _list_of(record)) is not None:
        item |= {"list_key": list_key, "list_at": f"{list_at:012d}"}
    return item


def _order_item(order: Order) -> dict[str, Any]:
    item = _item(order, order.created_at)
    if order.due_at is not None:
        item["due_shard"] = _due_shard("DUE", order.order_id)
    return item


def _payment_item(payment: Payment) -> dict[str, Any]:
    return _item(payment, payment.paid_at or payment.created_at)


def _refund_item(refund: Refund) -> dict[str, Any]:
    return _item(refund, refund.created_at)


def _due_shard(prefix: str, order_id: str) -> str:
    return f"{prefix}#{zlib.crc32(order_id.encode()) % DUE_SHARDS}"


def plain(raw: Mapping[str, Any]) -> dict[str, Any]:
    """An item out of DynamoDB's JSON."""
    return {name: _whole(_deserialize(value)) for name, value in raw.items()}


def _whole(value: Any) -> Any:
    """Our numbers are whole; DynamoDB returns decimals."""
    match value:
        case Decimal() if value == value.to_integral_value():
            return int(value)
        case dict():
            return {key: _whole(inner) for key, inner in value.items()}
        case list():
            return [_whole(inner) for inner in value]
        case _:
            return value


def product_in(item: Mapping[str, Any]) -> Product:
    """The product that an item holds. Raises CatalogueError that names what is wrong with it."""
    sku = str(item["pk"]).removeprefix(_STOCK)
    values: dict[str, Any] = {"sku": sku}
    for name, kind in _PRODUCT_TYPES.items():
        values[name] = item.get(name)
        if type(values[name]) is not kind:
            raise CatalogueError(f"Product {sku}: `{name}` is missing or wrong.", sku=sku)
    product = Product(**values)
    if not product.name or product.unit_price <= 0 or product.currency not in CURRENCIES:
        raise CatalogueError(f"Product {sku}: its name, price or currency is wrong.", sku=sku)
    return product


_PRODUCT_TYPES: Mapping[str, type] = {
    "name": str,
    "unit_price": int,
    "currency": str,
    "stocked": int,
    "available": int,
    "for_sale": bool,
}


def event_in(image: Mapping[str, Any]) -> tuple[EventKey, Event]:
    """An event as the table's stream carries it. Raises when it is none."""
    item = plain(image)
    return EventKey(item["order_id"], item["number"]), _event(item)


def _event(item: Mapping[str, Any]) -> Event:
    return event_from(item["name"], item["at"], item["details"])


def _record[R: (Order, Payment, Refund)](kind: type[R], item: Mapping[str, Any], **more: Any) -> R:
    known = {f.name for f in fields(kind)}
    return kind(**{k: v for k, v in item.items() if k in known} | more)


def _order(item: Mapping[str, Any]) -> Order:
    return _record(
        Order,
        item,
        status=OrderStatus(item["status"]),
        lines=tuple(Line(**line) for line in item["lines"]),
    )


def aggregate_in(items: Iterable[Mapping[str, Any]]) -> OrderAggregate | None:
    """The aggregate that the items under one order's key make; None without the order itself."""
    order: Order | None = None
    payments: list[Payment] = []
    refunds: list[Refund] = []
    for item in items:
        match item["sk"].split("#")[0]:
            case "ORDER":
                order = _order(item)
            case "PAYMENT":
                payments.append(_record(Payment, item, status=PaymentStatus(item["status"])))
            case "REFUND":
                refunds.append(_record(Refund, item, status=RefundStatus(item["status"])))
    if order is None:
        return None
    payments.sort(key=lambda payment: (payment.created_at, payment.tx_ref))
    refunds.sort(key=lambda refund: (refund.created_at, refund.refund_id))
    return OrderAggregate(order, tuple(payments), tuple(refunds))
