import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import pytest
from botocore.exceptions import ClientError

from payments.aws import items, repository
from payments.aws.items import (
    CATALOGUE_LIST,
    OWED_LIST,
    REVIEW_LIST,
    UNANSWERED_LIST,
    EventKey,
    Product,
    customer_list,
    day_list,
    due_shards,
    plain,
)
from payments.aws.repository import (
    CONFLICT_TRIES,
    UNPROCESSED_TRIES,
    DueOrder,
    Listed,
    Repository,
    Stale,
)
from payments.domain import decisions, refunds
from payments.domain.aggregate import OrderAggregate
from payments.domain.answers import Said, Verification
from payments.domain.events import OrderPaid, OrderPlaced, PaymentSucceeded, RefundRequested
from payments.domain.records import Line, Order, Payment, Refund
from payments.domain.states import OrderStatus, PaymentStatus, RefundStatus
from payments.errors import Busy, CatalogueError, OutOfStock, UnknownSku
from payments.settings import Settings
from tests.environment import SETTINGS
from tests.shop import Shop

pytestmark = pytest.mark.corrupts  # Its orders have no payment at Chapa.

NOW = 1_800_000_000
DAY = "PAID#2027-01-15"
RULES = Settings.from_environment(SETTINGS).rules
ORDER_ID, OTHER_ID = "a" * 12, "b" * 12
KEY = f"ORDER#{ORDER_ID}"
TX, REFUND_ID = ORDER_ID + "paymentx", ORDER_ID + "refundxx"
PAID = Verification(Said.PAID, TX, 90_000, "ETB", "test", "AP1", "success")
COFFEE = (Line("COFFEE-250", "Yirgacheffe coffee, 250 g", 2, 45_000),)
LAST = (Line("LAST", "The last one", 1, 100),)
PRODUCT = Product("MUG", "Mug", 15_050, "ETB", stocked=2, available=2, for_sale=True)


class Table(Repository):
    """The repository of a shop, with the shop at hand."""

    def __init__(self, shop: Shop, **more: int) -> None:
        super().__init__(shop.dynamodb, "payments", sleep=shop.slept.append, **more)
        self.shop = shop


@pytest.fixture
def table(shop: Shop) -> Table:
    return Table(shop)


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


def placed(table: Table, order_id: str = ORDER_ID, **changes: Any) -> OrderAggregate:
    return table.save(None, decisions.place(new_order(order_id, **changes)))


def begun(table: Table) -> OrderAggregate:
    order = placed(table)
    return table.save(order, decisions.begin(order, TX, "chapa-v1", NOW, RULES))


def opened(aggregate: OrderAggregate) -> OrderAggregate:
    return decisions.opened(aggregate, TX, "https://pay", NOW, NOW + 3600)


def paid(aggregate: OrderAggregate) -> OrderAggregate:
    return decisions.decide(aggregate, TX, PAID, NOW, "test", "reserve").aggregate


def ended(aggregate: OrderAggregate) -> OrderAggregate:
    return decisions.end(aggregate, NOW + 1800)


def revived(aggregate: OrderAggregate) -> OrderAggregate:
    return aggregate.put(replace(aggregate.order, status=OrderStatus.PAID))


def refunding(table: Table, **changes: Any) -> OrderAggregate:
    """A paid order of which all is owed back."""
    aggregate = begun(table)
    aggregate = table.save(aggregate, paid(aggregate))
    owed = replace(Refund(REFUND_ID, TX, 90_000, "ETB", NOW, reason="Broken"), **changes)
    return table.save(aggregate, refunds.request_refund(aggregate, owed, NOW))


def changed(aggregate: OrderAggregate, **changes: Any) -> OrderAggregate:
    """With its first payment changed."""
    return aggregate.put(replace(aggregate.payments[0], **changes))


def read(table: Table, aggregate: OrderAggregate) -> OrderAggregate:
    found = table.read(aggregate.order.order_id)
    assert found is not None
    return found


@contextmanager
def unchanged(table: Table) -> Iterator[None]:
    before = table.shop.dump()
    yield
    assert table.shop.dump() == before


@contextmanager
def refused(table: Table, error: type[Exception]) -> Iterator[pytest.ExceptionInfo[Any]]:
    """The block raises this error and writes nothing."""
    with unchanged(table), pytest.raises(error) as raised:
        yield raised


def overwrite(table: Table, pk: str, sk: str, name: str, value: Any) -> None:
    """Set an attribute, or remove it (None), as no code of the product does."""
    change: Any = {"Action": "DELETE"} if value is None else {"Action": "PUT", "Value": value}
    table.shop.table.update_item(Key={"pk": pk, "sk": sk}, AttributeUpdates={name: change})


def test_saved_aggregate_is_read_back_after_each_change(table: Table) -> None:
    steps: list[Callable[[OrderAggregate], OrderAggregate]] = [
        # A change within a status, then changes of the status.
        lambda a: decisions.maybe_opened(a, TX, "no answer", NOW),
        opened,
        paid,
        lambda a: refunds.request_refund(a, Refund(REFUND_ID, TX, 500, "ETB", NOW), NOW),
        lambda a: refunds.before_sending(a, REFUND_ID, NOW, RULES),
        lambda a: refunds.accepted(a, REFUND_ID, "RF1", NOW),
        lambda a: a.put(replace(a.order, due_at=None)),
    ]
    aggregate = begun(table)
    assert (aggregate.order.version, aggregate.order.event_count) == (2, 1)
    for step in steps:
        assert read(table, aggregate) == aggregate
        aggregate = table.save(aggregate, step(aggregate))
    assert read(table, aggregate) == aggregate
    # A change of one payment or refund leaves the version.
    assert aggregate.order.version == 2 + len(steps) - 3
    assert aggregate.order.status is OrderStatus.PAID
    assert aggregate.refunds[0].status is RefundStatus.PENDING


def test_numbers_are_read_as_integers_at_every_depth() -> None:
    raw = {"a": {"N": "1"}, "b": {"M": {"c": {"L": [{"N": "2"}, {"S": "3"}]}}}}
    assert json.dumps(plain(raw)) == '{"a": 1, "b": {"c": [2, "3"]}}'


def test_payments_and_refunds_are_read_in_the_order_of_their_beginning(table: Table) -> None:
    aggregate = placed(table)
    for number, name in enumerate(("c", "a", "b")):
        payment = Payment(f"tx-{name}", "chapa-v1", 1, "ETB", NOW + number)
        owed = Refund(f"refund-{name}", payment.tx_ref, 1, "ETB", NOW + number)
        aggregate = table.save(aggregate, aggregate.put(payment).put(owed))
    found = read(table, aggregate)
    assert [p.tx_ref for p in found.payments] == ["tx-c", "tx-a", "tx-b"]
    assert [r.refund_id for r in found.refunds] == ["refund-c", "refund-a", "refund-b"]


def test_unknown_order_is_none(table: Table) -> None:
    assert table.read(OTHER_ID) is None
    assert table.read_with_events(OTHER_ID) is None


def test_order_is_read_consistently_and_without_its_events(table: Table) -> None:
    begun(table)
    consistent, counts = list[bool](), list[int]()
    table.shop.dynamodb.meta.events.register(
        "provide-client-params.dynamodb.Query",
        lambda params, **_: consistent.append(params["ConsistentRead"]),
    )
    table.shop.dynamodb.meta.events.register(
        "after-call.dynamodb.Query", lambda parsed, **_: counts.append(parsed["ScannedCount"])
    )
    table.read(ORDER_ID)
    table.read_with_events(ORDER_ID)
    assert consistent == [True, True]
    assert counts == [2, 3]


def test_other_errors_of_aws_are_not_hidden(table: Table) -> None:
    nowhere = Repository(table.shop.dynamodb, "nowhere")
    with pytest.raises(ClientError):
        nowhere.read(ORDER_ID)
    with pytest.raises(ClientError):
        nowhere.claim_check(ORDER_ID, TX, NOW, 3)


def test_orders_are_read_without_their_payments(table: Table) -> None:
    order = begun(table).order
    assert table.orders([ORDER_ID, OTHER_ID]) == [order]


def test_order_is_found_by_a_reference_of_chapa(table: Table) -> None:
    aggregate = refunding(table)
    table.save(aggregate, refunds.accepted(aggregate, REFUND_ID, "RF1", NOW))
    placed(table, OTHER_ID)
    assert list(table.find_by_provider_reference("AP1")) == [ORDER_ID]
    assert list(table.find_by_provider_reference("RF1")) == [ORDER_ID]
    assert list(table.find_by_provider_reference("AP2")) == []


def test_save_without_a_change_writes_nothing(table: Table) -> None:
    aggregate = begun(table)
    with unchanged(table):
        assert table.save(aggregate, aggregate) is aggregate


def test_order_is_placed_once(table: Table) -> None:
    placed(table)
    with refused(table, Stale):
        placed(table)


def test_payment_is_begun_once(table: Table) -> None:
    aggregate = begun(table)
    unaware = replace(aggregate, payments=())
    with refused(table, Stale):
        table.save(unaware, decisions.begin(unaware, TX, "chapa-v1", NOW, RULES))


def test_write_after_a_concurrent_write_is_stale(table: Table) -> None:
    aggregate = begun(table)
    table.save(aggregate, decisions.cancel(aggregate))
    with refused(table, Stale):
        table.save(aggregate, paid(aggregate))


def test_write_of_one_payment_is_stale_when_the_payment_was_changed(table: Table) -> None:
    aggregate = begun(table)
    table.save(aggregate, changed(aggregate, check_at=NOW + 1))
    with refused(table, Stale):
        table.save(aggregate, opened(aggregate))


def test_writes_of_one_payment_and_of_the_order_do_not_overwrite_each_other(table: Table) -> None:
    aggregate = begun(table)
    table.save(aggregate, opened(aggregate))
    table.save(aggregate, decisions.cancel(aggregate))
    merged = read(table, aggregate)
    assert (merged.order.cancelling, merged.payments[0].checkout_url) == (True, "https://pay")


def test_table_refuses_an_illegal_payment_status(table: Table) -> None:
    aggregate = begun(table)
    overwrite(table, KEY, f"PAYMENT#{TX}", "status", "succeeded")
    for step in ({"status": PaymentStatus.FAILED}, {"check_at": NOW}):
        with refused(table, Stale):
            table.save(aggregate, changed(aggregate, **step))


def test_table_refuses_to_end_an_order_twice(table: Table) -> None:
    aggregate = placed(table)
    overwrite(table, KEY, "ORDER", "status", "paid")
    with refused(table, Stale):
        table.save(aggregate, ended(aggregate))


def test_table_refuses_to_refund_twice(table: Table) -> None:
    aggregate = refunding(table)
    overwrite(table, KEY, f"REFUND#{REFUND_ID}", "status", "refunded")
    with refused(table, Stale):
        table.save(aggregate, refunds.accepted(aggregate, REFUND_ID, "RF1", NOW))
    with refused(table, Stale):
        table.save(aggregate, refunds.before_sending(aggregate, REFUND_ID, NOW, RULES))


def test_events_of_a_write_are_one_item_and_numbered_without_a_gap(table: Table) -> None:
    aggregate = begun(table)
    aggregate = table.save(aggregate, changed(aggregate, check_at=NOW))
    aggregate = table.save(aggregate, paid(opened(aggregate)))
    requested = refunds.request_refund(aggregate, Refund(REFUND_ID, TX, 500, "ETB", NOW), NOW)
    table.save(aggregate, requested)
    keys = [item["sk"] for item in table.shop.dump() if str(item["sk"]).startswith("EVENTS#")]
    assert keys == ["EVENTS#000001", "EVENTS#000002", "EVENTS#000004"]
    known = table.read_with_events(ORDER_ID)
    assert known is not None
    assert [type(event) for event in known[1]] == [
        OrderPlaced,
        PaymentSucceeded,
        OrderPaid,
        RefundRequested,
    ]
    # Published events lose their mark, and nothing else.
    table.unmark_events(EventKey(ORDER_ID, 2))
    assert table.read_with_events(ORDER_ID) == known


def test_largest_order_fits_in_one_transaction(table: Table) -> None:
    skus = [f"SKU-{number}" for number in range(90)]
    for sku in skus:
        table.shop.stock_up(sku, sku, 1, "ETB", 1)
    aggregate = placed(table, lines=tuple(Line(sku, sku, 1, 1) for sku in skus), amount=90)
    aggregate = table.save(aggregate, ended(aggregate))
    assert table.shop.available("SKU-89") == 1
    payment = Payment(TX, "chapa-v1", 90, "ETB", NOW)
    aggregate = table.save(aggregate, aggregate.put(payment))
    late = decisions.decide(aggregate, TX, replace(PAID, amount=90), NOW, "test", "reserve")
    table.save(aggregate, late.aggregate)
    assert table.shop.available("SKU-89") == 0


@pytest.fixture
def touched(table: Table) -> list[str]:
    """The products that transactions write, as these come."""
    keys: list[str] = []

    def note(params: dict[str, Any], **_: Any) -> None:
        for write in params["TransactItems"]:
            if "Update" in write and write["Update"]["Key"]["pk"]["S"].startswith("STOCK#"):
                keys.append(write["Update"]["Key"]["pk"]["S"])

    table.shop.dynamodb.meta.events.register(
        "provide-client-params.dynamodb.TransactWriteItems", note
    )
    return keys


def test_reservation_takes_units_and_settling_writes_no_product(
    table: Table, touched: list[str]
) -> None:
    aggregate = begun(table)
    assert table.shop.available("COFFEE-250") == 8
    assert touched == ["STOCK#COFFEE-250"]
    table.save(aggregate, paid(aggregate))
    assert table.shop.available("COFFEE-250") == 8
    assert touched == ["STOCK#COFFEE-250"]


def test_order_takes_only_available_units(table: Table) -> None:
    with refused(table, OutOfStock) as raised:
        placed(table, lines=(Line("MUG", "Mug", 3, 15_050), *LAST))
    assert raised.value.members["skus"] == ["MUG"]
    placed(table, lines=(Line("MUG", "Mug", 2, 15_050), *LAST))
    with refused(table, OutOfStock) as raised:
        placed(table, OTHER_ID, lines=(Line("MUG", "Mug", 1, 15_050), *LAST))
    assert raised.value.members["skus"] == ["LAST", "MUG"]


def test_sold_out_product_is_sold_again_when_units_come_back_unless_withdrawn(table: Table) -> None:
    aggregate = placed(table, lines=LAST)
    assert table.shop.available("LAST") == 0
    table.save(aggregate, ended(aggregate))
    table.set_product("LAST", for_sale=False)
    with refused(table, OutOfStock):
        placed(table, OTHER_ID, lines=LAST)
    table.set_product("LAST", for_sale=True)
    placed(table, OTHER_ID, lines=LAST)
    assert table.shop.available("LAST") == 0


@pytest.mark.parametrize(
    ("quantity", "price", "currency"),
    [(1, 15_049, "ETB"), (2, 15_049, "ETB"), (1, 15_050, "USD")],
    ids=["other price", "other price and the last units", "other currency"],
)
def test_order_with_an_outdated_price_is_stale(
    table: Table, quantity: int, price: int, currency: str
) -> None:
    with refused(table, Stale):
        placed(table, lines=(Line("MUG", "Mug", quantity, price),), currency=currency)


def test_late_success_takes_its_units_again_if_they_can_be_bought(table: Table) -> None:
    aggregate = placed(table, lines=LAST)
    expired = table.save(aggregate, ended(aggregate))
    table.set_product("LAST", for_sale=False)
    with refused(table, OutOfStock):
        table.save(expired, revived(expired))
    # At the price of then, whatever the price is now.
    table.set_product("LAST", for_sale=True, unit_price=200)
    table.save(expired, revived(expired))
    assert table.shop.available("LAST") == 0


def test_late_success_cannot_take_sold_stock(table: Table) -> None:
    aggregate = placed(table, lines=LAST)
    expired = table.save(aggregate, ended(aggregate))
    placed(table, OTHER_ID, lines=LAST)
    with refused(table, OutOfStock):
        table.save(expired, revived(expired))


def test_returned_units_are_available_again_once(table: Table, touched: list[str]) -> None:
    aggregate = refunding(table, returns={"COFFEE-250": 1})
    assert table.shop.available("COFFEE-250") == 9
    aggregate = table.save(aggregate, refunds.accepted(aggregate, REFUND_ID, "RF1", NOW))
    aggregate = table.save(aggregate, refunds.ended(aggregate, REFUND_ID, Said.REFUNDED, NOW))
    assert aggregate.order.status is OrderStatus.REFUNDED
    assert table.shop.available("COFFEE-250") == 9
    assert len(touched) == 2
    assert read(table, aggregate) == aggregate


def test_deleted_product_is_out_of_stock(table: Table) -> None:
    aggregate = placed(table)
    expired = table.save(aggregate, ended(aggregate))
    table.shop.table.delete_item(Key={"pk": "STOCK#COFFEE-250", "sk": "STOCK"})
    with refused(table, OutOfStock) as raised:
        placed(table, OTHER_ID)
    assert raised.value.members["skus"] == ["COFFEE-250"]
    with refused(table, OutOfStock):
        table.save(expired, revived(expired))


def test_deleted_product_with_reserved_units_is_an_error(table: Table) -> None:
    """It is no race, so it is not tried again."""
    aggregate = placed(table)
    table.shop.table.delete_item(Key={"pk": "STOCK#COFFEE-250", "sk": "STOCK"})
    with refused(table, CatalogueError) as raised:
        table.save(aggregate, ended(aggregate))
    assert raised.match("COFFEE-250 is gone")
    outdated = replace(aggregate, order=replace(aggregate.order, version=7))
    with refused(table, Stale):  # A lost race is reported first.
        table.save(outdated, ended(aggregate))


BROKEN: dict[str, list[Any]] = {
    "name": [None, "", 5],
    "unit_price": [None, 0, -1, "15050", True],
    "currency": [None, "EUR", 5],
    "stocked": [None, "2"],
    "available": [None, "2", True],
    "for_sale": [None, "yes"],
}
BROKEN_FIELDS = [(name, value) for name, values in BROKEN.items() for value in values]
CHECKED_BY_TRANSACTION = {"unit_price", "currency", "available", "for_sale"}


def test_only_known_products_are_found(table: Table) -> None:
    assert table.products(["MUG", "NOTHING"]) == {"MUG": PRODUCT}
    assert table.products([]) == {}


@pytest.mark.parametrize(("field", "value"), BROKEN_FIELDS)
def test_wrong_field_of_a_product_is_named(table: Table, field: str, value: object) -> None:
    overwrite(table, "STOCK#MUG", "STOCK", field, value)
    for act in (
        lambda: table.products(["MUG"]),
        lambda: placed(table, lines=(Line("MUG", "Mug", 1, 15_050),)),
    ):
        with refused(table, CatalogueError) as raised:
            act()
        assert raised.match(f"MUG: `{field}`")
        assert raised.value.members["sku"] == "MUG"
        if field not in CHECKED_BY_TRANSACTION:
            break


@pytest.mark.parametrize("value", [None, "2"])
def test_units_cannot_come_back_to_a_wrong_counter(table: Table, value: object) -> None:
    aggregate = placed(table)
    overwrite(table, "STOCK#COFFEE-250", "STOCK", "available", value)
    with refused(table, CatalogueError) as raised:
        table.save(aggregate, ended(aggregate))
    assert raised.match("COFFEE-250: `available`")


def test_units_come_back_to_a_product_with_a_wrong_price(table: Table) -> None:
    aggregate = placed(table)
    overwrite(table, "STOCK#COFFEE-250", "STOCK", "unit_price", "free")
    table.save(aggregate, ended(aggregate))
    assert table.shop.available("COFFEE-250") == 10


def test_product_is_made_changed_and_restocked(table: Table) -> None:
    tea = table.set_product("TEA", name="Tea", unit_price=900, currency="ETB", add=5)
    assert tea == Product("TEA", "Tea", 900, "ETB", stocked=5, available=5, for_sale=True)
    placed(table, lines=(Line("TEA", "Tea", 2, 900),))
    tea = table.set_product("TEA", unit_price=950, for_sale=False, add=1)
    assert tea == Product("TEA", "Tea", 950, "ETB", stocked=6, available=4, for_sale=False)
    # Made again it keeps its units.
    tea = table.set_product("TEA", name="Green tea", unit_price=1, currency="USD")
    assert tea == Product("TEA", "Green tea", 1, "USD", stocked=6, available=4, for_sale=False)
    assert table.products(["TEA"]) == {"TEA": tea}


def test_no_more_units_are_removed_than_are_available(table: Table) -> None:
    placed(table)
    with refused(table, OutOfStock) as raised:
        table.set_product("COFFEE-250", add=-9)
    assert raised.value.members["skus"] == ["COFFEE-250"]
    emptied = table.set_product("COFFEE-250", add=-8)
    assert (emptied.stocked, emptied.available) == (2, 0)


@pytest.mark.parametrize(
    "values", [{}, {"name": "Tea", "unit_price": 1}, {"for_sale": True, "add": 5}]
)
def test_unknown_product_is_not_made_by_half(table: Table, values: dict[str, Any]) -> None:
    with refused(table, UnknownSku) as raised:
        table.set_product("TEA", **values)
    assert raised.value.members["skus"] == ["TEA"]


@pytest.mark.parametrize("values", [{"name": ""}, {"unit_price": 0}, {"currency": "EUR"}], ids=str)
def test_wrong_value_is_refused_before_it_is_stored(table: Table, values: dict[str, Any]) -> None:
    with refused(table, CatalogueError) as raised:
        table.set_product("MUG", **values)
    assert raised.match(f"MUG: `{next(iter(values))}`")
    with refused(table, CatalogueError):
        given: dict[str, Any] = {"name": "Tea", "unit_price": 1, "currency": "ETB"}
        table.set_product("TEA", **given | values)


@pytest.mark.parametrize("counter", ["stocked", "available"])
@pytest.mark.parametrize("value", [None, "2"])
def test_units_cannot_be_added_to_a_wrong_counter(
    table: Table, counter: str, value: object
) -> None:
    overwrite(table, "STOCK#MUG", "STOCK", counter, value)
    with refused(table, CatalogueError) as raised:
        table.set_product("MUG", add=1)
    assert raised.match(f"MUG: `{counter}`")


def test_product_is_changed_once_while_its_units_are_sold(table: Table) -> None:
    with failing(table, ["TransactionConflict"]) as calls:
        restocked = table.set_product("MUG", add=1)
    assert (len(calls), restocked.available) == (2, 3)


def test_wrong_price_is_corrected(table: Table) -> None:
    overwrite(table, "STOCK#MUG", "STOCK", "unit_price", "free")
    assert table.set_product("MUG", unit_price=15_050) == PRODUCT


@pytest.fixture
def longest_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repository._CHANCE, "uniform", lambda low, high: high - low)


@pytest.mark.usefixtures("longest_pauses")
def test_unprocessed_keys_are_read_again(table: Table) -> None:
    asked: list[Any] = []
    real = table.shop.dynamodb.batch_get_item

    def one_at_a_time(RequestItems: Any) -> Any:  # noqa: N803
        asked.append((keys := RequestItems["payments"])["Keys"])
        assert keys["ConsistentRead"] is True
        if len(asked) == 1:
            return {"Responses": {}, "UnprocessedKeys": {"payments": keys}}
        answer = real(RequestItems={"payments": keys | {"Keys": keys["Keys"][:1]}})
        left = keys | {"Keys": keys["Keys"][1:]}
        return answer | ({"UnprocessedKeys": {"payments": left}} if left["Keys"] else {})

    with patch.object(table.shop.dynamodb, "batch_get_item", one_at_a_time):
        assert table.products(["MUG", "LAST"]).keys() == {"MUG", "LAST"}
    assert [len(keys) for keys in asked] == [2, 2, 1]
    assert table.shop.slept == [0.02, 0.04]


@pytest.mark.usefixtures("longest_pauses")
def test_keys_that_stay_unprocessed_are_busy(table: Table) -> None:
    answer: Any = {"Responses": {}, "UnprocessedKeys": {"payments": {"Keys": [{}]}}}
    with (
        patch.object(table.shop.dynamodb, "batch_get_item", return_value=answer) as batch,
        pytest.raises(Busy) as busy,
    ):
        table.products(["MUG"])
    assert busy.value.retry_after == 1
    assert batch.call_count == UNPROCESSED_TRIES
    assert table.shop.slept == [0.02, 0.04, 0.08, 0.16, 0.32]


def test_more_than_a_hundred_keys_are_read_in_calls(table: Table) -> None:
    skus = [f"SKU-{number}" for number in range(150)]
    assert table.products([*skus, "MUG"]) == {"MUG": PRODUCT}


@contextmanager
def failing(table: Table, codes: list[str]) -> Iterator[list[Any]]:
    """Transactions fail with these codes, one after the other; moto's never do."""
    real, calls = table.shop.dynamodb.transact_write_items, list[Any]()

    def transact(TransactItems: list[Any]) -> Any:  # noqa: N803
        calls.append(TransactItems)
        if not codes:
            return real(TransactItems=TransactItems)
        code = codes.pop(0)
        name = code if code.endswith("Exception") else "TransactionCanceledException"
        reasons = [{"Code": "None"} for _ in TransactItems]
        reasons[-1] = {"Code": code, "Message": "so says DynamoDB"}
        answer: Any = {"Error": {"Code": name, "Message": ""}, "CancellationReasons": reasons}
        raise getattr(table.shop.dynamodb.exceptions, name)(answer, "TransactWriteItems")

    with patch.object(table.shop.dynamodb, "transact_write_items", transact):
        yield calls


PASSING = ["TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"]


@pytest.mark.parametrize("code", [*PASSING, "TransactionInProgressException"])
def test_conflicting_transaction_is_tried_again(table: Table, code: str) -> None:
    with failing(table, [code, code]) as calls:
        aggregate = placed(table)
    assert (len(calls), len(table.shop.slept)) == (3, 2)
    assert read(table, aggregate) == aggregate


@pytest.mark.usefixtures("longest_pauses")
def test_pauses_grow_until_it_gives_up(table: Table) -> None:
    with failing(table, ["TransactionConflict"] * 100) as calls, refused(table, Busy) as e:
        placed(table)
    assert e.value.retry_after == 1
    assert len(calls) == CONFLICT_TRIES
    assert table.shop.slept == [0.02 * 2**n for n in range(CONFLICT_TRIES - 1)]


def test_invalid_transaction_is_an_error(table: Table) -> None:
    with (
        failing(table, ["ValidationError"]),
        pytest.raises(RuntimeError, match="ValidationError: so says DynamoDB"),
    ):
        placed(table)


def test_check_is_claimed_once_in_three_seconds(table: Table) -> None:
    begun(table)
    assert table.claim_check(ORDER_ID, TX, NOW, 3)
    assert not table.claim_check(ORDER_ID, TX, NOW + 2, 3)
    assert table.claim_check(ORDER_ID, TX, NOW + 3, 3)


def test_claim_during_a_transaction_is_left_to_the_concurrent_writer(table: Table) -> None:
    begun(table)
    answer: Any = {"Error": {"Code": "TransactionConflictException", "Message": "ongoing"}}
    error = ClientError(answer, "UpdateItem")
    with patch.object(table.shop.dynamodb, "update_item", side_effect=error):
        assert not table.claim_check(ORDER_ID, TX, NOW, 3)


def test_unknown_payment_cannot_be_claimed(table: Table) -> None:
    with unchanged(table):
        assert not table.claim_check(OTHER_ID, TX, NOW, 3)


def test_only_due_orders_are_found(table: Table) -> None:
    for number in range(20):
        placed(table, f"{number:012d}", due_at=NOW + number, lines=())
    expected = {DueOrder(f"{number:012d}", NOW + number) for number in range(10)}
    assert set(table.due(NOW + 9)) == expected


def test_order_without_a_check_leaves_the_index(table: Table) -> None:
    aggregate = placed(table)
    aggregate = table.save(aggregate, aggregate.put(replace(aggregate.order, due_at=None)))
    assert list(table.due(NOW + 10_000)) == []
    table.save(aggregate, aggregate.put(replace(aggregate.order, due_at=NOW)))
    assert list(table.due(NOW)) == [DueOrder(ORDER_ID, NOW)]


def test_shards_are_read_in_random_order_and_the_soonest_order_first(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(items, "DUE_SHARDS", 8)
    for number in range(64):
        placed(table, f"{number:012d}", due_at=NOW - number, lines=())
    orders = [item for item in table.shop.dump() if item["sk"] == "ORDER"]
    shards = {str(item["order_id"]): str(item["due_shard"]) for item in orders}
    for sample in (sorted, lambda names: sorted(names, reverse=True)):
        monkeypatch.setattr(repository._CHANCE, "sample", lambda names, _, s=sample: s(names))
        found = list(table.due(NOW))
        assert len(found) == 64
        assert list(dict.fromkeys(shards[order.order_id] for order in found)) == [
            *sample(due_shards("DUE")),
        ]
        for shard in due_shards("DUE"):
            times = [o.due_at for o in found if shards[o.order_id] == shard]
            assert times == sorted(times)


def test_shards_after_the_first_are_read_side_by_side(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(items, "DUE_SHARDS", 5)
    four_at_once = threading.Barrier(4, timeout=10)
    asked = []

    class Paginator:
        def paginate(self, **query: Any) -> Iterator[dict[str, Any]]:
            asked.append(query)
            if len(asked) > 1:
                four_at_once.wait()
            yield {"Items": []}

    monkeypatch.setattr(table.shop.dynamodb, "get_paginator", lambda _: Paginator())
    assert list(table.due(NOW)) == []
    assert len(asked) == 5


def test_pause_of_a_queued_order_doubles_up_to_six_hours(table: Table) -> None:
    placed(table, due_at=NOW)
    now, pauses = NOW, []
    for number in range(7):
        [due] = table.due(now)
        assert due == DueOrder(ORDER_ID, now, number)
        assert table.queued(due, now)
        assert not table.queued(due, now)
        pauses.append(next(table.due(now + 100_000)).due_at - now)
        now += pauses[-1]
    assert pauses == [900, 1800, 3600, 7200, 14_400, 21_600, 21_600]


def test_order_that_was_saved_since_is_not_marked_as_queued(table: Table) -> None:
    aggregate = placed(table, due_at=NOW)
    [due] = table.due(NOW)
    for at in (NOW + 60, None):
        aggregate = table.save(aggregate, aggregate.put(replace(aggregate.order, due_at=at)))
        with unchanged(table):
            assert not table.queued(due, NOW)
            assert not table.queued(due._replace(due_at=NOW + 60, queued=1), NOW)
            assert not table.queued(due._replace(order_id=OTHER_ID), NOW)


def test_save_resets_the_pause_even_when_the_sweep_came_after_the_read(table: Table) -> None:
    aggregate = placed(table, due_at=NOW)
    [due] = table.due(NOW)
    assert table.queued(due, NOW)
    begin = decisions.begin(aggregate, TX, "chapa-v1", NOW, RULES)
    aggregate = table.save(aggregate, begin)
    assert list(table.due(NOW)) == [due]
    assert read(table, aggregate) == aggregate


def test_event_is_overdue_after_an_hour_and_is_no_order(table: Table) -> None:
    begun(table)
    assert list(table.overdue_events(NOW + 3599)) == []
    assert list(table.overdue_events(NOW + 3600)) == [(ORDER_ID, 1)]
    assert list(table.due(NOW + 3600)) == [DueOrder(ORDER_ID, NOW + 1800)]
    hasty = Table(table.shop, republish_after=60)
    placed(hasty, OTHER_ID)
    assert list(hasty.overdue_events(NOW + 60)) == [(OTHER_ID, 1)]
    assert hasty.touch_events(EventKey(OTHER_ID, 1), NOW + 60)
    assert list(hasty.overdue_events(NOW + 119)) == []


def test_published_event_is_never_overdue(table: Table) -> None:
    aggregate = begun(table)
    table.save(aggregate, paid(opened(aggregate)))
    assert table.unmark_events(EventKey(ORDER_ID, 1))
    assert not table.unmark_events(EventKey(ORDER_ID, 1))
    assert not table.touch_events(EventKey(ORDER_ID, 1), NOW + 10_000)
    assert list(table.overdue_events(NOW + 10_000)) == [(ORDER_ID, 2)]


def test_only_one_of_two_sweeps_touches_an_event(table: Table) -> None:
    begun(table)
    event = EventKey(ORDER_ID, 1)
    assert table.touch_events(event, NOW + 3600)
    assert not table.touch_events(event, NOW + 3600)
    assert table.touch_events(event, NOW + 7200)


def test_deleted_event_is_not_created_again(table: Table) -> None:
    with unchanged(table):
        assert not table.touch_events(EventKey(OTHER_ID, 1), NOW)
        assert not table.unmark_events(EventKey(OTHER_ID, 1))


def test_orders_of_a_customer_are_listed_newest_first(table: Table) -> None:
    for number in range(3):
        placed(table, f"{number:012d}", created_at=NOW + number, lines=())
    placed(table, OTHER_ID, user_id="almaz", lines=())
    listed = list(table.listed(customer_list("abebe")))
    assert [entry.order_id for entry in listed] == ["0" * 11 + n for n in "210"]
    assert list(table.listed(customer_list("abebe"), 2)) == listed[:2]
    assert list(table.listed(customer_list("almaz"))) == [Listed(OTHER_ID, "ORDER", "")]


def test_products_are_listed(table: Table) -> None:
    table.set_product("TEA", name="Tea", unit_price=1, currency="ETB")
    listed = [entry.order_id for entry in table.listed(CATALOGUE_LIST)]
    assert listed == ["TEA", "MUG", "LAST", "EBOOK", "COFFEE-250"]


def test_record_is_in_one_list_and_leaves_it_with_its_state(table: Table) -> None:
    payment, owed = Listed(ORDER_ID, "PAYMENT", TX), Listed(ORDER_ID, "REFUND", REFUND_ID)

    def refund_is(**changes: Any) -> Callable[[OrderAggregate], OrderAggregate]:
        return lambda a: a.put(replace(a.refunds[0], **changes))

    steps: list[tuple[Callable[[OrderAggregate], OrderAggregate], dict[str, Listed]]] = [
        (opened, {}),
        (lambda a: changed(a, unanswered_since=NOW), {UNANSWERED_LIST: payment}),
        (lambda a: changed(a, status=PaymentStatus.REVIEW, paid_at=NOW), {REVIEW_LIST: payment}),
        (lambda a: changed(a, unanswered_since=None), {REVIEW_LIST: payment}),
        (paid, {DAY: payment}),
        (
            lambda a: refunds.request_refund(a, Refund(REFUND_ID, TX, 1, "ETB", NOW), NOW),
            {DAY: payment, OWED_LIST: owed},
        ),
        (refund_is(unanswered_since=NOW), {DAY: payment, UNANSWERED_LIST: owed}),
        (lambda a: refunds.refused(a, REFUND_ID, "No", NOW), {DAY: payment, REVIEW_LIST: owed}),
        (refund_is(unanswered_since=None), {DAY: payment, REVIEW_LIST: owed}),
        (lambda a: refunds.retry(a, a.refunds[0], "me", "", NOW), {DAY: payment, OWED_LIST: owed}),
        (lambda a: refunds.accepted(a, REFUND_ID, "RF1", NOW), {DAY: payment, OWED_LIST: owed}),
        (lambda a: refunds.ended(a, REFUND_ID, Said.REFUNDED, NOW), {DAY: payment}),
    ]
    aggregate = begun(table)
    for step, expected in steps:
        aggregate = table.save(aggregate, step(aggregate))
        found = {
            name: entry
            for name in (REVIEW_LIST, OWED_LIST, UNANSWERED_LIST, DAY)
            for entry in table.listed(name)
        }
        assert found == expected


def test_payments_of_a_day_are_those_that_were_paid_on_it_in_utc() -> None:
    assert day_list(NOW) == DAY
    assert day_list(NOW - NOW % 86_400 - 1) == "PAID#2027-01-14"
