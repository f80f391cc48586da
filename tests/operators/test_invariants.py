"""A checker that has never failed proves nothing: each promise is broken here, and is missed."""

from collections.abc import Callable
from typing import Any

import pytest

from operators.invariants import ClientView, Confirmed, violations
from payments import refunds
from tests.shop import Shop

type Items = dict[tuple[str, str], dict[str, Any]]

pytestmark = pytest.mark.corrupts


def items_of(shop: Shop) -> Items:
    """The items of the one order and of what it sells, by kind; events by name."""
    items: Items = {}
    for item in shop.dynamodb.scan(TableName="payments", ConsistentRead=True)["Items"]:
        kind = item["sk"]["S"].partition("#")[0]
        if kind == "EVENT":
            items["EVENT", item["name"]["S"]] = item
        elif kind != "STOCK" or item["pk"]["S"] == "STOCK#LAST":
            items[kind, ""] = item
    return items


def judged(items: Items, **more: Any) -> list[str]:
    return violations(items.values(), **more)


def paid(shop: Shop) -> Items:
    _, tx_ref = shop.begun({"LAST": 1})
    shop.control.pay(tx_ref, webhook=False)
    shop.notify(tx_ref)
    return items_of(shop)


def set_(kind: str, name: str, value: str | int) -> Callable[[Items], None]:
    def change(items: Items) -> None:
        items[kind, ""][name] = {"N": str(value)} if isinstance(value, int) else {"S": value}

    return change


def drop(event: str) -> Callable[[Items], object]:
    return lambda items: items.pop(("EVENT", event))


def without(kind: str, name: str) -> Callable[[Items], object]:
    return lambda items: items[kind, ""].pop(name)


BROKEN: dict[str, tuple[Callable[[Items], object], str]] = {
    "stock lost": (set_("STOCK", "committed", 0), "orders hold 1"),
    "stock below zero": (set_("STOCK", "available", -1), "below zero"),
    "stock made": (set_("STOCK", "available", 5), "do not add up"),
    "paid, stock reserved": (set_("ORDER", "stock", "reserved"), "paid with stock reserved"),
    "paid by nobody": (set_("PAYMENT", "status", "closed"), "payments are applied"),
    "applied to an expired order": (set_("ORDER", "status", "expired"), "payments are applied"),
    "too little paid": (set_("PAYMENT", "paid_amount", 1), "not what the order costs"),
    "other currency": (set_("PAYMENT", "currency", "USD"), "not what the order costs"),
    "no reference": (without("PAYMENT", "reference"), "without Chapa's reference"),
    "event lost": (drop("payment.pending"), "a gap"),
    "surplus owed by nobody": (set_("PAYMENT", "status", "surplus"), "nobody owes it back"),
    "price changed": (set_("ORDER", "amount", 99), "not that of its lines"),
    "refunded, payment is not": (set_("ORDER", "status", "refunded"), "its payment is not"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_promise_is_seen(shop: Shop, what: str) -> None:
    items = paid(shop)
    assert judged(items, units={"LAST": 1}) == []
    change, said = BROKEN[what]
    change(items)
    assert any(said in violation for violation in judged(items, units={"LAST": 1}))


def test_an_order_that_nobody_will_look_at_is_seen(shop: Shop) -> None:
    shop.begun({"LAST": 1})
    items = items_of(shop)
    order = items["ORDER", ""]
    del order["due_shard"]
    assert any("in the index: False" in violation for violation in judged(items))
    del order["due_at"]
    assert any("it is not due" in violation for violation in judged(items))


def test_money_that_nobody_owns_is_seen(shop: Shop) -> None:
    _, tx_ref = shop.begun({"LAST": 1})
    items = items_of(shop)
    confirmed = [Confirmed(tx_ref, 100)]
    assert judged(items, confirmed=confirmed) == []
    assert judged(items, confirmed=confirmed, settled=True)
    assert judged(items, confirmed=[Confirmed("a-b", 100)])


def test_money_that_chapa_never_had_is_seen(shop: Shop) -> None:
    items = paid(shop)
    tx_ref = items["PAYMENT", ""]["tx_ref"]["S"]
    assert judged(items, confirmed=[Confirmed(tx_ref, 100)]) == []
    for confirmed in ([], [Confirmed(tx_ref, 99)]):
        assert any("but at Chapa it is" in v for v in judged(items, confirmed=confirmed))


def test_a_refund_that_chapa_never_made_is_seen(shop: Shop) -> None:
    items = paid(shop)
    tx_ref = items["PAYMENT", ""]["tx_ref"]["S"]
    refunds.request(shop.backend, tx_ref, 60, key="1", reason="Broken")
    shop.sweep()
    items = items_of(shop)
    assert judged(items, confirmed=[Confirmed(tx_ref, 100)]) == []
    items["REFUND", ""]["status"] = {"S": "refunded"}
    assert any("Chapa gave back 0" in v for v in judged(items, confirmed=[Confirmed(tx_ref, 100)]))


def test_money_given_back_twice_is_seen(shop: Shop) -> None:
    items = paid(shop)
    tx_ref = items["PAYMENT", ""]["tx_ref"]["S"]
    assert any("gave back" in v for v in judged(items, confirmed=[Confirmed(tx_ref, 100, 101)]))


def test_a_client_who_was_told_the_wrong_thing_is_seen(shop: Shop) -> None:
    items = paid(shop)
    order_id = items["ORDER", ""]["order_id"]["S"]
    assert judged(items, client_views=[ClientView(order_id, paid=True)]) == []
    assert judged(items, client_views=[ClientView(order_id, paid=False)])
    assert judged(items, client_views=[ClientView("a" * 20, paid=True)])


def test_who_asked_before_it_was_paid_may_have_been_told_so(shop: Shop) -> None:
    items = paid(shop)
    order_id = items["ORDER", ""]["order_id"]["S"]
    assert judged(items, client_views=[ClientView(order_id, paid=False, asked_at=shop.now)]) == []
    assert judged(items, client_views=[ClientView(order_id, paid=False, asked_at=shop.now + 1)])
