import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import pytest
from botocore.exceptions import ClientError

from payments.aws import items, table
from payments.aws.items import (
    EventKey,
    due_shards,
    plain,
)
from payments.aws.repository import DueOrder, Repository, Unpaid
from payments.aws.table import Stale
from payments.domain import decisions, refunds
from payments.domain.aggregate import OrderAggregate
from payments.domain.answers import Said
from payments.domain.events import (
    OrderExpired,
    OrderPaid,
    OrderPlaced,
    PaymentSucceeded,
    RefundRequested,
)
from payments.domain.records import Line, Payment, Refund
from payments.domain.states import OrderStatus, PaymentStatus, RefundStatus
from payments.errors import CatalogueError, OutOfStock
from tests.payments.aws.orders import (
    COFFEE,
    KEY,
    LAST,
    NOW,
    ORDER_ID,
    OTHER_ID,
    PAID,
    REFUND_ID,
    RULES,
    TX,
    Store,
    begun,
    changed,
    ended,
    new_order,
    opened,
    overwrite,
    paid,
    placed,
    read,
    refunding,
    refused,
    revived,
    unchanged,
)

pytestmark = pytest.mark.corrupts  # Its orders have no payment at Chapa.


def test_saved_aggregate_is_read_back_after_each_change(store: Store) -> None:
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
    aggregate = begun(store)
    assert (aggregate.order.version, aggregate.order.event_count) == (2, 1)
    for step in steps:
        assert read(store, aggregate) == aggregate
        aggregate = store.save(aggregate, step(aggregate))
    assert read(store, aggregate) == aggregate
    # A change of one payment or refund leaves the version.
    assert aggregate.order.version == 2 + len(steps) - 3
    assert aggregate.order.status is OrderStatus.PAID
    assert aggregate.refunds[0].status is RefundStatus.PENDING


def test_numbers_are_read_as_integers_at_every_depth() -> None:
    raw = {"a": {"N": "1"}, "b": {"M": {"c": {"L": [{"N": "2"}, {"S": "3"}]}}}}
    assert json.dumps(plain(raw)) == '{"a": 1, "b": {"c": [2, "3"]}}'


def test_payments_and_refunds_are_read_in_the_order_of_their_beginning(store: Store) -> None:
    aggregate = placed(store)
    for number, name in enumerate(("c", "a", "b")):
        payment = Payment(f"tx-{name}", "chapa-v1", 1, "ETB", NOW + number)
        owed = Refund(f"refund-{name}", payment.tx_ref, 1, "ETB", NOW + number)
        aggregate = store.save(aggregate, aggregate.put(payment).put(owed))
    found = read(store, aggregate)
    assert [p.tx_ref for p in found.payments] == ["tx-c", "tx-a", "tx-b"]
    assert [r.refund_id for r in found.refunds] == ["refund-c", "refund-a", "refund-b"]


def test_unknown_order_is_none(store: Store) -> None:
    assert store.read(OTHER_ID) is None
    assert store.read_with_events(OTHER_ID) is None


def test_order_is_read_consistently_and_without_its_events(store: Store) -> None:
    begun(store)
    consistent, counts = list[bool](), list[int]()
    store.shop.dynamodb.meta.events.register(
        "provide-client-params.dynamodb.Query",
        lambda params, **_: consistent.append(params["ConsistentRead"]),
    )
    store.shop.dynamodb.meta.events.register(
        "after-call.dynamodb.Query", lambda parsed, **_: counts.append(parsed["ScannedCount"])
    )
    store.read(ORDER_ID)
    store.read_with_events(ORDER_ID)
    assert consistent == [True, True]
    assert counts == [2, 3]


def test_orders_are_read_without_their_payments(store: Store) -> None:
    order = begun(store).order
    assert store.orders([ORDER_ID, OTHER_ID]) == [order]


def test_save_without_a_change_writes_nothing(store: Store) -> None:
    aggregate = begun(store)
    with unchanged(store):
        assert store.save(aggregate, aggregate) is aggregate


def test_order_is_placed_once(store: Store) -> None:
    placed(store)
    with refused(store, Stale):
        placed(store)


def test_payment_is_begun_once(store: Store) -> None:
    aggregate = begun(store)
    unaware = replace(aggregate, payments=())
    with refused(store, Stale):
        store.save(unaware, decisions.begin(unaware, TX, "chapa-v1", NOW, RULES))


def test_write_after_a_concurrent_write_is_stale(store: Store) -> None:
    aggregate = begun(store)
    store.save(aggregate, decisions.cancel(aggregate))
    with refused(store, Stale):
        store.save(aggregate, paid(aggregate))


def test_write_of_one_payment_is_stale_when_the_payment_was_changed(store: Store) -> None:
    aggregate = begun(store)
    store.save(aggregate, changed(aggregate, check_at=NOW + 1))
    with refused(store, Stale):
        store.save(aggregate, opened(aggregate))


def test_writes_of_one_payment_and_of_the_order_do_not_overwrite_each_other(store: Store) -> None:
    aggregate = begun(store)
    store.save(aggregate, opened(aggregate))
    store.save(aggregate, decisions.cancel(aggregate))
    merged = read(store, aggregate)
    assert (merged.order.cancelling, merged.payments[0].checkout_url) == (True, "https://pay")


@pytest.fixture
def writes(store: Store) -> list[str]:
    """The names of the calls that write, as they come."""
    names: list[str] = []

    def note(model: Any, **_: Any) -> None:
        if model.name in {"PutItem", "UpdateItem", "DeleteItem", "TransactWriteItems"}:
            names.append(model.name)

    store.shop.dynamodb.meta.events.register("before-call.dynamodb", note)
    return names


def with_two_checks(store: Store) -> OrderAggregate:
    """An order whose two payments and one refund have a check at its due time."""
    aggregate = begun(store)
    for record in (
        replace(aggregate.payments[0], check_at=NOW + 60),
        Payment("other", "chapa-v1", 90_000, "ETB", NOW, check_at=NOW + 60),
        Refund(REFUND_ID, TX, 500, "ETB", NOW, check_at=NOW + 60),
    ):
        aggregate = store.save(aggregate, aggregate.put(record))
    return store.save(aggregate, aggregate.put(replace(aggregate.order, due_at=NOW + 60)))


def checked_again(
    aggregate: OrderAggregate, first: int | None, other: int | None, due_at: int | None
) -> OrderAggregate:
    one, two = aggregate.payments
    for record in (
        replace(one, check_at=first),
        replace(two, check_at=other),
        replace(aggregate.order, due_at=due_at),
    ):
        aggregate = aggregate.put(record)
    return aggregate


SOONER, SAME, LATER = NOW + 59, NOW + 60, NOW + 61


@pytest.mark.parametrize(
    ("first", "other", "due_at"),
    [
        (LATER, LATER, LATER),
        (None, LATER, LATER),
        (LATER, SAME, LATER),
        (SAME, SAME, LATER),
        (None, None, None),
    ],
)
def test_checks_that_move_to_a_later_time_are_saved_each_by_itself(
    store: Store, writes: list[str], first: int | None, other: int | None, due_at: int | None
) -> None:
    aggregate = with_two_checks(store)
    writes.clear()
    later = checked_again(aggregate, first, other, due_at)
    saved = store.save(aggregate, later)
    assert set(writes) == {"UpdateItem"}
    assert len(writes) == 1 + sum(check != SAME for check in (first, other))
    assert read(store, saved) == saved
    assert saved == replace(later, order=replace(later.order, version=aggregate.order.version + 1))


def test_order_is_due_too_early_after_a_death_between_its_checks_and_itself(store: Store) -> None:
    aggregate = with_two_checks(store)
    later = checked_again(aggregate, LATER, LATER, LATER)
    with patch.object(store, "_write", side_effect=SystemExit), pytest.raises(SystemExit):
        store.save(aggregate, later)
    assert read(store, aggregate) == replace(later, order=aggregate.order)


def with_a_new_refund(aggregate: OrderAggregate) -> OrderAggregate:
    return aggregate.put(Refund("new", TX, 500, "ETB", NOW))


@pytest.mark.parametrize(
    "change",
    [
        lambda a: checked_again(a, SOONER, LATER, LATER),
        lambda a: checked_again(a, LATER, SOONER, LATER),
        lambda a: checked_again(a, LATER, LATER, SOONER),
        lambda a: checked_again(a, LATER, LATER, SAME),
        lambda a: with_a_new_refund(checked_again(a, LATER, LATER, LATER)),
        lambda a: a.put(replace(a.payments[0], checkout_url="https://pay", check_at=LATER)).put(
            replace(a.order, due_at=LATER)
        ),
        lambda a: a.put(replace(a.payments[0], check_at=LATER)).put(
            replace(a.order, cancelling=True, due_at=LATER)
        ),
        lambda a: checked_again(a, LATER, LATER, LATER).record(OrderExpired(NOW)),
    ],
    ids=[
        "the first check is sooner",
        "the second check is sooner",
        "the order is due sooner",
        "only its payments have changed, two of them",
        "a refund is new",
        "a payment has more than a later check",
        "the order has more than a later check",
        "something happened",
    ],
)
def test_other_changes_are_saved_together_or_not_at_all(
    store: Store, writes: list[str], change: Callable[[OrderAggregate], OrderAggregate]
) -> None:
    aggregate = with_two_checks(store)
    writes.clear()
    saved = store.save(aggregate, change(aggregate))
    assert writes == ["TransactWriteItems"]
    assert read(store, saved) == saved


def test_check_of_an_order_that_has_none_is_saved_with_its_payment(
    store: Store, writes: list[str]
) -> None:
    aggregate = with_two_checks(store)
    never = store.save(aggregate, checked_again(aggregate, None, SAME, None))
    writes.clear()
    store.save(never, checked_again(never, LATER, SAME, LATER))
    assert writes == ["TransactWriteItems"]


def test_table_refuses_an_illegal_payment_status(store: Store) -> None:
    aggregate = begun(store)
    overwrite(store, KEY, f"PAYMENT#{TX}", "status", "succeeded")
    for step in ({"status": PaymentStatus.FAILED}, {"check_at": NOW}):
        with refused(store, Stale):
            store.save(aggregate, changed(aggregate, **step))


def test_change_within_a_status_is_refused_when_the_status_has_changed(store: Store) -> None:
    aggregate = begun(store)
    overwrite(store, KEY, f"PAYMENT#{TX}", "status", "review")
    with refused(store, Stale):
        store.save(aggregate, changed(decisions.cancel(aggregate), checkout_url="https://pay"))


def test_table_refuses_to_end_an_order_twice(store: Store) -> None:
    aggregate = placed(store)
    overwrite(store, KEY, "ORDER", "status", "paid")
    with refused(store, Stale):
        store.save(aggregate, ended(aggregate))


def test_table_refuses_to_refund_twice(store: Store) -> None:
    aggregate = refunding(store)
    overwrite(store, KEY, f"REFUND#{REFUND_ID}", "status", "refunded")
    with refused(store, Stale):
        store.save(aggregate, refunds.accepted(aggregate, REFUND_ID, "RF1", NOW))
    with refused(store, Stale):
        store.save(aggregate, refunds.before_sending(aggregate, REFUND_ID, NOW, RULES))


def test_events_of_a_write_are_one_item_and_numbered_without_a_gap(store: Store) -> None:
    aggregate = begun(store)
    aggregate = store.save(aggregate, changed(aggregate, check_at=NOW))
    aggregate = store.save(aggregate, paid(opened(aggregate)))
    requested = refunds.request_refund(aggregate, Refund(REFUND_ID, TX, 500, "ETB", NOW), NOW)
    store.save(aggregate, requested)
    keys = [item["sk"] for item in store.shop.dump() if str(item["sk"]).startswith("EVENTS#")]
    assert keys == ["EVENTS#000001", "EVENTS#000002", "EVENTS#000004"]
    known = store.read_with_events(ORDER_ID)
    assert known is not None
    assert [type(event) for event in known[1]] == [
        OrderPlaced,
        PaymentSucceeded,
        OrderPaid,
        RefundRequested,
    ]
    # Published events lose their mark, and nothing else.
    store.unmark_events(EventKey(ORDER_ID, 2))
    assert store.read_with_events(ORDER_ID) == known


def placed_among(store: Store, order_id: str, before: tuple[str, ...]) -> OrderAggregate:
    """An order that is placed while the customer has these unpaid orders."""
    order = decisions.place(new_order(order_id))
    return store.save(None, order, Unpaid("abebe", before, (*before, order_id)))


def test_unpaid_orders_of_a_customer_are_kept_with_each_new_one(store: Store) -> None:
    assert store.unpaid("abebe") == ()
    placed_among(store, ORDER_ID, ())
    assert store.unpaid("abebe") == (ORDER_ID,)
    placed_among(store, OTHER_ID, (ORDER_ID,))
    assert store.unpaid("abebe") == (ORDER_ID, OTHER_ID)
    assert store.unpaid("almaz") == ()


def test_order_is_placed_only_among_the_unpaid_orders_that_were_read(store: Store) -> None:
    placed_among(store, ORDER_ID, ())
    for before in ((), (OTHER_ID,)):
        with refused(store, Stale):
            placed_among(store, OTHER_ID, before)


def test_unpaid_orders_are_deleted_unless_one_was_placed_since(store: Store) -> None:
    placed_among(store, ORDER_ID, ())
    placed_among(store, OTHER_ID, (ORDER_ID,))
    with unchanged(store):
        store.delete_unpaid("abebe", [ORDER_ID])
    store.delete_unpaid("abebe", [ORDER_ID, OTHER_ID])
    assert store.unpaid("abebe") == ()
    with unchanged(store):  # It was repeated.
        store.delete_unpaid("abebe", [ORDER_ID, OTHER_ID])
    placed_among(store, "c" * 12, ())


def test_unpaid_orders_that_cannot_be_deleted_are_an_error(store: Store) -> None:
    nowhere = Repository(store.shop.dynamodb, "nowhere")
    with pytest.raises(ClientError):
        nowhere.delete_unpaid("abebe", [ORDER_ID])


def test_largest_order_fits_in_one_transaction(store: Store) -> None:
    skus = [f"SKU-{number}" for number in range(90)]
    for sku in skus:
        store.shop.stock_up(sku, sku, 1, "ETB", 1)
    aggregate = placed(store, lines=tuple(Line(sku, sku, 1, 1) for sku in skus), amount=90)
    aggregate = store.save(aggregate, ended(aggregate))
    assert store.shop.available("SKU-89") == 1
    payment = Payment(TX, "chapa-v1", 90, "ETB", NOW)
    aggregate = store.save(aggregate, aggregate.put(payment))
    late = decisions.decide(aggregate, TX, replace(PAID, amount=90), NOW, "test", "reserve")
    store.save(aggregate, late.aggregate)
    assert store.shop.available("SKU-89") == 0


@pytest.fixture
def touched(store: Store) -> list[str]:
    """The products that transactions write, as these come."""
    keys: list[str] = []

    def note(params: dict[str, Any], **_: Any) -> None:
        for write in params["TransactItems"]:
            if "Update" in write and write["Update"]["Key"]["pk"]["S"].startswith("STOCK#"):
                keys.append(write["Update"]["Key"]["pk"]["S"])

    store.shop.dynamodb.meta.events.register(
        "provide-client-params.dynamodb.TransactWriteItems", note
    )
    return keys


def test_reservation_takes_units_and_settling_writes_no_product(
    store: Store, touched: list[str]
) -> None:
    aggregate = begun(store)
    assert store.shop.available("COFFEE-250") == 8
    assert touched == ["STOCK#COFFEE-250"]
    store.save(aggregate, paid(aggregate))
    assert store.shop.available("COFFEE-250") == 8
    assert touched == ["STOCK#COFFEE-250"]


def test_order_takes_only_available_units(store: Store) -> None:
    with refused(store, OutOfStock) as raised:
        placed(store, lines=(Line("MUG", "Mug", 3, 15_050), *LAST))
    assert raised.value.detail == "Some products are sold out."
    assert raised.value.members["skus"] == ["MUG"]
    placed(store, lines=(Line("MUG", "Mug", 2, 15_050), *LAST))
    with refused(store, OutOfStock) as raised:
        placed(store, OTHER_ID, lines=(Line("MUG", "Mug", 1, 15_050), *LAST))
    assert raised.value.members["skus"] == ["LAST", "MUG"]


def test_sold_out_product_is_sold_again_when_units_come_back_unless_withdrawn(store: Store) -> None:
    aggregate = placed(store, lines=LAST)
    assert store.shop.available("LAST") == 0
    store.save(aggregate, ended(aggregate))
    store.set_product("LAST", for_sale=False)
    with refused(store, OutOfStock):
        placed(store, OTHER_ID, lines=LAST)
    store.set_product("LAST", for_sale=True)
    placed(store, OTHER_ID, lines=LAST)
    assert store.shop.available("LAST") == 0


@pytest.mark.parametrize(
    ("quantity", "price", "currency"),
    [(1, 15_049, "ETB"), (2, 15_049, "ETB"), (1, 15_050, "USD")],
    ids=["other price", "other price and the last units", "other currency"],
)
def test_order_with_an_outdated_price_is_stale(
    store: Store, quantity: int, price: int, currency: str
) -> None:
    with refused(store, Stale):
        placed(store, lines=(Line("MUG", "Mug", quantity, price),), currency=currency)


def test_late_success_takes_its_units_again_if_they_can_be_bought(store: Store) -> None:
    aggregate = placed(store, lines=LAST)
    expired = store.save(aggregate, ended(aggregate))
    store.set_product("LAST", for_sale=False)
    with refused(store, OutOfStock):
        store.save(expired, revived(expired))
    # At the price of then, whatever the price is now.
    store.set_product("LAST", for_sale=True, unit_price=200)
    store.save(expired, revived(expired))
    assert store.shop.available("LAST") == 0


def test_late_success_cannot_take_sold_stock(store: Store) -> None:
    aggregate = placed(store, lines=LAST)
    expired = store.save(aggregate, ended(aggregate))
    placed(store, OTHER_ID, lines=LAST)
    with refused(store, OutOfStock):
        store.save(expired, revived(expired))


def test_returned_units_are_available_again_once(store: Store, touched: list[str]) -> None:
    aggregate = refunding(store, returns={"COFFEE-250": 1})
    assert store.shop.available("COFFEE-250") == 9
    aggregate = store.save(aggregate, refunds.accepted(aggregate, REFUND_ID, "RF1", NOW))
    aggregate = store.save(aggregate, refunds.ended(aggregate, REFUND_ID, Said.REFUNDED, NOW))
    assert aggregate.order.status is OrderStatus.REFUNDED
    assert store.shop.available("COFFEE-250") == 9
    assert len(touched) == 2
    assert read(store, aggregate) == aggregate


def test_only_returned_lines_are_written(store: Store, touched: list[str]) -> None:
    lines = (*LAST, Line("MUG", "Mug", 2, 15_050), *COFFEE)
    aggregate = placed(store, lines=lines, amount=120_200)
    touched.clear()
    first, *others = lines
    returned = replace(aggregate.order, lines=(first, replace(others[0], returned=1), others[1]))
    store.save(aggregate, aggregate.put(returned))
    assert touched == ["STOCK#MUG"]
    assert store.shop.available("MUG") == 1


def test_deleted_product_is_out_of_stock(store: Store) -> None:
    aggregate = placed(store)
    expired = store.save(aggregate, ended(aggregate))
    store.shop.table.delete_item(Key={"pk": "STOCK#COFFEE-250", "sk": "STOCK"})
    with refused(store, OutOfStock) as raised:
        placed(store, OTHER_ID)
    assert raised.value.members["skus"] == ["COFFEE-250"]
    with refused(store, OutOfStock):
        store.save(expired, revived(expired))


def test_deleted_product_with_reserved_units_is_an_error(store: Store) -> None:
    """It is no race, so it is not tried again."""
    aggregate = placed(store)
    store.shop.table.delete_item(Key={"pk": "STOCK#COFFEE-250", "sk": "STOCK"})
    with refused(store, CatalogueError) as raised:
        store.save(aggregate, ended(aggregate))
    assert raised.match("COFFEE-250 is gone")
    assert raised.value.members == {"sku": "COFFEE-250"}
    outdated = replace(aggregate, order=replace(aggregate.order, version=7))
    with refused(store, Stale):  # A lost race is reported first.
        store.save(outdated, ended(aggregate))


@pytest.mark.parametrize("value", [None, "2"])
def test_units_cannot_come_back_to_a_wrong_counter(store: Store, value: object) -> None:
    aggregate = placed(store)
    overwrite(store, "STOCK#COFFEE-250", "STOCK", "available", value)
    with refused(store, CatalogueError) as raised:
        store.save(aggregate, ended(aggregate))
    assert raised.match("COFFEE-250: `available`")


def test_units_come_back_to_a_product_with_a_wrong_price(store: Store) -> None:
    aggregate = placed(store)
    overwrite(store, "STOCK#COFFEE-250", "STOCK", "unit_price", "free")
    store.save(aggregate, ended(aggregate))
    assert store.shop.available("COFFEE-250") == 10


def test_check_is_claimed_once_in_three_seconds(store: Store) -> None:
    begun(store)
    assert store.claim_check(ORDER_ID, TX, NOW, 3)
    assert not store.claim_check(ORDER_ID, TX, NOW + 2, 3)
    assert store.claim_check(ORDER_ID, TX, NOW + 3, 3)


def test_check_of_one_payment_leaves_the_others_unclaimed(store: Store) -> None:
    with_two_checks(store)
    assert store.claim_check(ORDER_ID, TX, NOW, 3)
    assert store.claim_check(ORDER_ID, "other", NOW, 3)


def test_claim_during_a_transaction_is_left_to_the_concurrent_writer(store: Store) -> None:
    begun(store)
    answer: Any = {"Error": {"Code": "TransactionConflictException", "Message": "ongoing"}}
    error = ClientError(answer, "UpdateItem")
    with patch.object(store.shop.dynamodb, "update_item", side_effect=error):
        assert not store.claim_check(ORDER_ID, TX, NOW, 3)


def test_unknown_payment_cannot_be_claimed(store: Store) -> None:
    with unchanged(store):
        assert not store.claim_check(OTHER_ID, TX, NOW, 3)


def test_only_due_orders_are_found(store: Store) -> None:
    for number in range(20):
        placed(store, f"{number:012d}", due_at=NOW + number, lines=())
    expected = {DueOrder(f"{number:012d}", NOW + number) for number in range(10)}
    assert set(store.due(NOW + 9)) == expected


def test_all_pages_of_a_shard_are_read(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(items, "DUE_SHARDS", 2)
    for number in range(9):
        placed(store, f"{number:012d}", due_at=NOW, lines=())

    def one_at_a_time(params: dict[str, Any], **_: Any) -> None:
        params["Limit"] = 1

    store.shop.dynamodb.meta.events.register("provide-client-params.dynamodb.Query", one_at_a_time)
    assert len(list(store.due(NOW))) == 9


def test_order_without_a_check_leaves_the_index(store: Store) -> None:
    aggregate = placed(store)
    aggregate = store.save(aggregate, aggregate.put(replace(aggregate.order, due_at=None)))
    assert list(store.due(NOW + 10_000)) == []
    store.save(aggregate, aggregate.put(replace(aggregate.order, due_at=NOW)))
    assert list(store.due(NOW)) == [DueOrder(ORDER_ID, NOW)]


def test_shards_are_read_in_random_order_and_the_soonest_order_first(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(items, "DUE_SHARDS", 8)
    for number in range(64):
        placed(store, f"{number:012d}", due_at=NOW - number, lines=())
    orders = [item for item in store.shop.dump() if item["sk"] == "ORDER"]
    shards = {str(item["order_id"]): str(item["due_shard"]) for item in orders}
    for sample in (sorted, lambda names: sorted(names, reverse=True)):
        monkeypatch.setattr(table.CHANCE, "sample", lambda names, _, s=sample: s(names))
        found = list(store.due(NOW))
        assert len(found) == 64
        assert list(dict.fromkeys(shards[order.order_id] for order in found)) == [
            *sample(due_shards("DUE")),
        ]
        for shard in due_shards("DUE"):
            times = [o.due_at for o in found if shards[o.order_id] == shard]
            assert times == sorted(times)


def test_shards_after_the_first_are_read_side_by_side(
    store: Store, monkeypatch: pytest.MonkeyPatch
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

    monkeypatch.setattr(store.shop.dynamodb, "get_paginator", lambda _: Paginator())
    assert list(store.due(NOW)) == []
    assert len(asked) == 5


def test_pause_of_a_queued_order_doubles_up_to_six_hours(store: Store) -> None:
    placed(store, due_at=NOW)
    now, pauses = NOW, []
    for number in range(7):
        [due] = store.due(now)
        assert due == DueOrder(ORDER_ID, now, number)
        assert store.queued(due, now)
        assert not store.queued(due, now)
        pauses.append(next(store.due(now + 100_000)).due_at - now)
        now += pauses[-1]
    assert pauses == [900, 1800, 3600, 7200, 14_400, 21_600, 21_600]


def test_order_that_lost_its_mark_is_due_and_delays_no_other(store: Store) -> None:
    for order_id in (ORDER_ID, OTHER_ID):
        placed(store, order_id, due_at=NOW)
    overwrite(store, KEY, "ORDER", "queued", None)
    assert set(store.due(NOW)) == {DueOrder(ORDER_ID, NOW, 0), DueOrder(OTHER_ID, NOW, 0)}


def test_order_waits_since_it_became_due_however_often_it_was_queued(store: Store) -> None:
    placed(store, due_at=NOW)
    now = NOW
    for _ in range(4):
        [due] = store.due(now)
        assert due.waited(now) == now - NOW
        assert due.waited(now + 7) == now + 7 - NOW
        store.queued(due, now)
        now = next(store.due(now + 100_000)).due_at


def test_order_that_was_saved_since_is_not_marked_as_queued(store: Store) -> None:
    aggregate = placed(store, due_at=NOW)
    [due] = store.due(NOW)
    for at in (NOW + 60, None):
        aggregate = store.save(aggregate, aggregate.put(replace(aggregate.order, due_at=at)))
        with unchanged(store):
            assert not store.queued(due, NOW)
            assert not store.queued(due._replace(due_at=NOW + 60, queued=1), NOW)
            assert not store.queued(due._replace(order_id=OTHER_ID), NOW)


def test_save_resets_the_pause_even_when_the_sweep_came_after_the_read(store: Store) -> None:
    aggregate = placed(store, due_at=NOW)
    [due] = store.due(NOW)
    assert store.queued(due, NOW)
    begin = decisions.begin(aggregate, TX, "chapa-v1", NOW, RULES)
    aggregate = store.save(aggregate, begin)
    assert list(store.due(NOW)) == [due]
    assert read(store, aggregate) == aggregate


def test_event_is_overdue_after_an_hour_and_is_no_order(store: Store) -> None:
    begun(store)
    assert list(store.overdue_events(NOW + 3599)) == []
    assert list(store.overdue_events(NOW + 3600)) == [(ORDER_ID, 1)]
    assert list(store.due(NOW + 3600)) == [DueOrder(ORDER_ID, NOW + 1800)]
    hasty = Store(store.shop, republish_after=60)
    placed(hasty, OTHER_ID)
    assert list(hasty.overdue_events(NOW + 60)) == [(OTHER_ID, 1)]
    assert hasty.touch_events(EventKey(OTHER_ID, 1), NOW + 60)
    assert list(hasty.overdue_events(NOW + 119)) == []


def test_published_event_is_never_overdue(store: Store) -> None:
    aggregate = begun(store)
    store.save(aggregate, paid(opened(aggregate)))
    assert store.unmark_events(EventKey(ORDER_ID, 1))
    assert not store.unmark_events(EventKey(ORDER_ID, 1))
    assert not store.touch_events(EventKey(ORDER_ID, 1), NOW + 10_000)
    assert list(store.overdue_events(NOW + 10_000)) == [(ORDER_ID, 2)]


def test_only_one_of_two_sweeps_touches_an_event(store: Store) -> None:
    begun(store)
    event = EventKey(ORDER_ID, 1)
    assert store.touch_events(event, NOW + 3600)
    assert not store.touch_events(event, NOW + 3600)
    assert store.touch_events(event, NOW + 7200)


def test_deleted_event_is_not_created_again(store: Store) -> None:
    with unchanged(store):
        assert not store.touch_events(EventKey(OTHER_ID, 1), NOW)
        assert not store.unmark_events(EventKey(OTHER_ID, 1))
