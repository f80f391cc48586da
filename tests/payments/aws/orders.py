"""Orders as the tests of this folder store them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import pytest
from botocore.exceptions import ClientError

from payments.aws.catalogue import Catalogue
from payments.aws.comparisons import Comparisons
from payments.aws.items import Product
from payments.aws.lists import Lists
from payments.aws.repository import Repository
from payments.domain import decisions, refunds
from payments.domain.aggregate import OrderAggregate
from payments.domain.answers import Said, Verification
from payments.domain.records import Line, Order, Refund
from payments.domain.states import OrderStatus
from payments.settings import Settings
from tests.environment import SETTINGS
from tests.shop import Shop

NOW = 1_800_000_000
RULES = Settings.from_environment(SETTINGS).rules
ORDER_ID, OTHER_ID = "a" * 12, "b" * 12
KEY = f"ORDER#{ORDER_ID}"
TX, REFUND_ID = ORDER_ID + "paymentx", ORDER_ID + "refundxx"
PAID = Verification(Said.PAID, TX, 90_000, "ETB", "test", "AP1", "success")
COFFEE = (Line("COFFEE-250", "Yirgacheffe coffee, 250 g", 2, 45_000),)
LAST = (Line("LAST", "The last one", 1, 100),)
PRODUCT = Product("MUG", "Mug", 15_050, "ETB", stocked=2, available=2, for_sale=True)


class Store(Repository, Catalogue, Lists, Comparisons):
    """All that is stored of a shop, with the shop at hand."""

    def __init__(self, shop: Shop, **more: int) -> None:
        super().__init__(shop.dynamodb, "payments", sleep=shop.slept.append, **more)
        self.shop = shop


def new_order(order_id: str = ORDER_ID, **changes: Any) -> Order:
    order = Order(
        order_id=order_id,
        user_id="abebe",
        amount=90_000,
        currency="ETB",
        lines=COFFEE,
        created_at=NOW,
        expires_at=NOW + 1800,
        request_hash="hash",
        customer={"first_name": "አበበ"},
        due_at=NOW + 1800,
    )
    return replace(order, **changes)


def placed(store: Store, order_id: str = ORDER_ID, **changes: Any) -> OrderAggregate:
    return store.save(None, decisions.place(new_order(order_id, **changes)))


def begun(store: Store) -> OrderAggregate:
    order = placed(store)
    return store.save(order, decisions.begin(order, TX, "chapa-v1", NOW, RULES))


def opened(aggregate: OrderAggregate) -> OrderAggregate:
    return decisions.opened(aggregate, TX, "https://pay", NOW, NOW + 3600)


def paid(aggregate: OrderAggregate) -> OrderAggregate:
    return decisions.decide(aggregate, TX, PAID, NOW, "test", "reserve").aggregate


def ended(aggregate: OrderAggregate) -> OrderAggregate:
    return decisions.end(aggregate, NOW + 1800)


def revived(aggregate: OrderAggregate) -> OrderAggregate:
    return aggregate.put(replace(aggregate.order, status=OrderStatus.PAID))


def refunding(store: Store, **changes: Any) -> OrderAggregate:
    """A paid order of which all is owed back."""
    aggregate = begun(store)
    aggregate = store.save(aggregate, paid(aggregate))
    owed = replace(Refund(REFUND_ID, TX, 90_000, "ETB", NOW, reason="Broken"), **changes)
    return store.save(aggregate, refunds.request_refund(aggregate, owed, NOW))


def changed(aggregate: OrderAggregate, **changes: Any) -> OrderAggregate:
    """With its first payment changed."""
    return aggregate.put(replace(aggregate.payments[0], **changes))


def read(store: Store, aggregate: OrderAggregate) -> OrderAggregate:
    found = store.read(aggregate.order.order_id)
    assert found is not None
    return found


@contextmanager
def unchanged(store: Store) -> Iterator[None]:
    before = store.shop.dump()
    yield
    assert store.shop.dump() == before


@contextmanager
def refused(store: Store, error: type[Exception]) -> Iterator[pytest.ExceptionInfo[Any]]:
    """The block raises this error and writes nothing."""
    with unchanged(store), pytest.raises(error) as raised:
        yield raised


def overwrite(store: Store, pk: str, sk: str, name: str, value: Any) -> None:
    """Set an attribute, or remove it (None), as no code of the product does."""
    change: Any = {"Action": "DELETE"} if value is None else {"Action": "PUT", "Value": value}
    store.shop.table.update_item(Key={"pk": pk, "sk": sk}, AttributeUpdates={name: change})


@contextmanager
def failing(store: Store, codes: list[str]) -> Iterator[list[Any]]:
    """Transactions fail with these codes, one after the other; moto's never do."""
    real, calls = store.shop.dynamodb.transact_write_items, list[Any]()

    def transact(TransactItems: list[Any]) -> Any:  # noqa: N803
        calls.append(TransactItems)
        if not codes:
            return real(TransactItems=TransactItems)
        code = codes.pop(0)
        name = code if code.endswith("Exception") else "TransactionCanceledException"
        reasons = [{"Code": "None"} for _ in TransactItems]
        reasons[-1] = {"Code": code, "Message": "so says DynamoDB"}
        answer: Any = {"Error": {"Code": name, "Message": ""}, "CancellationReasons": reasons}
        raise getattr(store.shop.dynamodb.exceptions, name)(answer, "TransactWriteItems")

    with patch.object(store.shop.dynamodb, "transact_write_items", transact):
        yield calls


@contextmanager
def failing_update(store: Store, *codes: str) -> Iterator[None]:
    """Single updates fail with these codes, one after the other."""
    real, left = store.shop.dynamodb.update_item, list(codes)

    def update(**request: Any) -> Any:
        if not left:
            return real(**request)
        answer: Any = {"Error": {"Code": (code := left.pop(0)), "Message": ""}}
        raise getattr(store.shop.dynamodb.exceptions, code, ClientError)(answer, "UpdateItem")

    with patch.object(store.shop.dynamodb, "update_item", update):
        yield
