"""Items of the table: their keys, the lists they stand in, and what each of them holds.

    pk             sk                     what
    ORDER#<id>     ORDER                  the order; its `version` guards everything under the key
    ORDER#<id>     PAYMENT#<tx_ref>       one attempt to pay it
    ORDER#<id>     REFUND#<refund_id>     money owed back, or goods taken back
    ORDER#<id>     EVENTS#<number>        the events of one write, by the number of the first;
                                          only their mark ever changes
    STOCK#<sku>    STOCK                  a product: name, price, `for_sale`, `stocked`, `available`
    CUSTOMER#<id>  UNPAID                 `orders`: ids of those that may be unpaid, in one string
    COMPARISON     <provider>             how far the books are compared with the provider's list

Index `due`: `due_shard`, `due_at`. Only orders with something to do and events that are not
published yet have them, in shards of their own.

Index `lists`: `list_key`, `list_at`: what people want to see. See `_list_of`.

Index `references`: `provider_reference`: the payment that a reference of Chapa names.
"""

import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from typing import Any, NamedTuple

from payments.domain.aggregate import Event, OrderAggregate
from payments.domain.comparison import Comparison
from payments.domain.events import EVENTS, SoldLine, details, gives_back
from payments.domain.money import CURRENCIES
from payments.domain.records import Line, Order, Payment, Refund
from payments.domain.states import (
    OPEN,
    OPEN_REFUNDS,
    OrderStatus,
    PaymentStatus,
    RefundStatus,
)
from payments.errors import CatalogueError

DUE_SHARDS = 8
"""Partitions of the due index: one takes 1,000 writes a second, so all take 8,000."""

UNNAMED = (OPEN | {PaymentStatus.CLOSED}) - {PaymentStatus.INITIALIZING}
"""An initializing payment becomes one of these in a moment; until then it costs no index write."""

ORDER_SK = "ORDER"
COMPARISON_PK = "COMPARISON"
EVENTS_PREFIX = "EVENTS#"
STOCK_PREFIX = "STOCK#"


def serialize(value: Any) -> dict[str, Any]:
    """A value in DynamoDB's JSON. boto3 has this, too, and takes a tenth of a cold start."""
    match value:
        case str():
            return {"S": value}
        case bool():
            return {"BOOL": value}
        case int() | Decimal():
            return {"N": str(value)}
        case None:
            return {"NULL": True}
        case Mapping():
            return {"M": {name: serialize(each) for name, each in value.items()}}
        case list() | tuple():
            return {"L": [serialize(each) for each in value]}
    raise TypeError(f"{type(value).__name__} is not stored")


def serialized(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: serialize(value) for name, value in values.items()}


def deserialize(value: Mapping[str, Any]) -> Any:
    """A value out of DynamoDB's JSON. Our numbers are whole; another one stays a decimal."""
    [(kind, given)] = value.items()
    match kind:
        case "N":
            number = Decimal(given)
            return int(number) if number == number.to_integral_value() else number
        case "NULL":
            return None
        case "M":
            return plain(given)
        case "L":
            return [deserialize(each) for each in given]
    return given


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
    """Names one event: numbers count from 1 within each order, without a gap.

    The key of the first event of a write names the item that holds all events of the write.
    """

    order_id: str
    number: int


class PaymentKey(NamedTuple):
    order_id: str
    tx_ref: str


def order_key(order_id: str, sk: str = ORDER_SK) -> dict[str, Any]:
    return {"pk": {"S": f"ORDER#{order_id}"}, "sk": {"S": sk}}


def payment_key(item: Mapping[str, Any]) -> PaymentKey | None:
    """The payment that an index names; None for an order or a refund."""
    kind, _, name = item["sk"]["S"].partition("#")
    order_id = item["pk"]["S"].partition("#")[2]
    return PaymentKey(order_id, name) if kind == "PAYMENT" else None


def record_key(order_id: str, record: Order | Payment | Refund) -> dict[str, Any]:
    match record:
        case Order():
            return order_key(order_id)
        case Payment():
            return order_key(order_id, f"PAYMENT#{record.tx_ref}")
        case Refund():
            return order_key(order_id, f"REFUND#{record.refund_id}")


def events_key(first: EventKey) -> dict[str, Any]:
    return order_key(first.order_id, f"{EVENTS_PREFIX}{first.number:06d}")


def stock_key(sku: str) -> dict[str, Any]:
    return {"pk": {"S": f"{STOCK_PREFIX}{sku}"}, "sk": {"S": "STOCK"}}


def unpaid_key(user_id: str) -> dict[str, Any]:
    return {"pk": {"S": f"CUSTOMER#{user_id}"}, "sk": {"S": "UNPAID"}}


def customer_list(user_id: str) -> str:
    return f"CUSTOMER#{user_id}"


def day_list(at: int) -> str:
    """The payments of a day, UTC."""
    return f"PAID#{datetime.fromtimestamp(at, UTC):%Y-%m-%d}"


def unnamed_list(at: int) -> str:
    """Unpaid payments of a day, UTC, whose reference at the provider is not known.

    A provider's list that does not have our reference (v1) may have a success of one of them.
    """
    return f"UNNAMED#{datetime.fromtimestamp(at, UTC):%Y-%m-%d}"


def given_back_list(at: int) -> str:
    """The events of a day, UTC, by which money went back."""
    return f"GIVEN_BACK#{datetime.fromtimestamp(at, UTC):%Y-%m-%d}"


REVIEW_LIST = "REVIEW"
OWED_LIST = "OWED"
UNANSWERED_LIST = "UNANSWERED"
CATALOGUE_LIST = "CATALOGUE"


def _list_of(record: Order | Payment | Refund) -> str | None:
    """The one list that a record stands in. What needs a person comes first."""
    match record:
        case Order():
            # None of an order whose customer was forgotten.
            return customer_list(record.user_id) if record.user_id else None
        case Payment(status=PaymentStatus.REVIEW) | Refund(status=RefundStatus.REVIEW):
            return REVIEW_LIST
        case Payment() | Refund() if record.unanswered_since is not None:
            return UNANSWERED_LIST
        case Refund():
            return OWED_LIST if record.status in OPEN_REFUNDS else None
        case Payment() if record.paid_at is not None:
            return day_list(record.paid_at)
        case Payment(provider_reference=None) if record.status in UNNAMED:
            return unnamed_list(record.created_at)
        case Payment():
            return None


def position_of(order: Order) -> dict[str, Any]:
    """Where an order stands in its customer's list: its key in the index `lists`."""
    item = item_of(order)
    place = {name: serialize(item[name]) for name in ("list_key", "list_at")}
    return order_key(order.order_id) | place


def position_of_product(sku: str) -> dict[str, Any]:
    """Where a product stands, or would stand, in the catalogue."""
    place = {"list_key": serialize(CATALOGUE_LIST), "list_at": serialize(sku)}
    return stock_key(sku) | place


def item_of(record: Order | Payment | Refund) -> dict[str, Any]:
    """What is stored of a record, without its key. None values are not stored."""
    item = {
        name: value.value if isinstance(value, Enum) else value
        for name, value in asdict(record).items()
        if value is not None
    }
    if (list_key := _list_of(record)) is not None:
        paid_at = record.paid_at if isinstance(record, Payment) else None
        item |= {"list_key": list_key, "list_at": f"{paid_at or record.created_at:012d}"}
    if isinstance(record, Order) and record.due_at is not None:
        item["due_shard"] = _due_shard("DUE", record.order_id)
    return item


def events_item(first: EventKey, events: Sequence[Event], due_at: int) -> dict[str, Any]:
    """`due_at`: when they are overdue, as long as they are marked as not published."""
    item = {
        "events": [
            {"name": event.name, "at": event.at, "details": details(event)} for event in events
        ],
        "order_id": first.order_id,
        "number": first.number,
        "due_shard": _due_shard("EVENTS", first.order_id),
        "due_at": due_at,
    }
    given_back_at = next((event.at for event in events if gives_back(event)), None)
    if given_back_at is not None:
        item |= {"list_key": given_back_list(given_back_at), "list_at": f"{given_back_at:012d}"}
    return item


def due_shards(prefix: str) -> list[str]:
    return [f"{prefix}#{shard}" for shard in range(DUE_SHARDS)]


def _due_shard(prefix: str, order_id: str) -> str:
    return f"{prefix}#{zlib.crc32(order_id.encode()) % DUE_SHARDS}"


def plain(raw: Mapping[str, Any]) -> dict[str, Any]:
    """An item out of DynamoDB's JSON."""
    return {name: deserialize(value) for name, value in raw.items()}


def comparison_key(provider: str) -> dict[str, Any]:
    return {"pk": {"S": COMPARISON_PK}, "sk": {"S": provider}}


def comparison_of(item: Mapping[str, Any]) -> Comparison:
    return _record(Comparison, item)


def payment_of(item: Mapping[str, Any]) -> Payment:
    return _record(Payment, item, status=PaymentStatus(item["status"]))


def product_in(item: Mapping[str, Any]) -> Product:
    """The product that an item holds. Raises CatalogueError that names what is wrong with it."""
    sku = str(item["pk"]).removeprefix(STOCK_PREFIX)
    for name, (kind, fits) in _PRODUCT_FIELDS.items():
        if type(item.get(name)) is not kind or not fits(item[name]):
            raise CatalogueError(f"Product {sku}: `{name}` is missing or wrong.", sku=sku)
    return Product(sku=sku, **{name: item[name] for name in _PRODUCT_FIELDS})


_PRODUCT_FIELDS: Mapping[str, tuple[type, Callable[[Any], bool]]] = {
    "name": (str, bool),
    "unit_price": (int, lambda price: price > 0),
    "currency": (str, CURRENCIES.__contains__),
    "stocked": (int, lambda _: True),
    "available": (int, lambda _: True),
    "for_sale": (bool, lambda _: True),
}

EMPTY_PRODUCT = {
    "name": "-",
    "unit_price": 1,
    "currency": "ETB",
    "stocked": 0,
    "available": 0,
    "for_sale": True,
}


def events_in(image: Mapping[str, Any]) -> list[tuple[EventKey, Event]]:
    """The events of one write as the table's stream carries them. Raises for any other item."""
    item = plain(image)
    return [
        (EventKey(item["order_id"], number), event)
        for number, event in enumerate(events_of(item), start=item["number"])
    ]


def events_of(item: Mapping[str, Any]) -> list[Event]:
    """Raises KeyError or TypeError when one is no event of ours."""
    return [_event_of(event) for event in item["events"]]


def _event_of(stored: Mapping[str, Any]) -> Event:
    given = dict(stored["details"])
    if "lines" in given:
        given["lines"] = tuple(SoldLine(**line) for line in given["lines"])
    return EVENTS[stored["name"]](at=stored["at"], **given)


def _record[R: (Order, Payment, Refund, Comparison)](
    kind: type[R], item: Mapping[str, Any], **more: Any
) -> R:
    known = {f.name for f in fields(kind)}
    return kind(**{k: v for k, v in item.items() if k in known} | more)


def order_of(item: Mapping[str, Any]) -> Order:
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
                order = order_of(item)
            case "PAYMENT":
                payments.append(payment_of(item))
            case "REFUND":
                refunds.append(_record(Refund, item, status=RefundStatus(item["status"])))
    if order is None:
        return None
    payments.sort(key=lambda payment: (payment.created_at, payment.tx_ref))
    refunds.sort(key=lambda refund: (refund.created_at, refund.refund_id))
    return OrderAggregate(order, tuple(payments), tuple(refunds))
