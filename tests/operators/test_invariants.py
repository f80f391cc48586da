"""Each invariant is violated once in the stored items, and the check must find it."""

from collections.abc import Callable
from typing import Any

import pytest

from operators.invariants import ClientView, Confirmed, violations
from payments import refunds
from tests.shop import Shop

type Items = dict[tuple[str, str], dict[str, Any]]

pytestmark = pytest.mark.corrupts


def items_of(shop: Shop) -> Items:
    """Items of the one order and of the product it sells, by kind; events also by name."""
    items: Items = {}
    for item in shop.dynamodb.scan(TableName="payments", ConsistentRead=True)["Items"]:
        kind = item["sk"]["S"].partition("#")[0]
        if kind == "EVENT":
            items["EVENT", item["name"]["S"]] = item
        elif kind != "STOCK" or item["pk"]["S"] == "STOCK#LAST":
            items[kind, ""] = item
    return items


def check(items: Items, **more: Any) -> list[str]:
    return violations(items.values(), **more)


@pytest.fixture
def paid(shop: Shop) -> Items:
    shop.paid({"LAST": 1})
    return items_of(shop)


def set_(kind: str, name: str, value: str | int) -> Callable[[Items], None]:
    def change(items: Items) -> None:
        items[kind, ""][name] = {"N": str(value)} if isinstance(value, int) else {"S": value}

    return change


CORRUPTIONS: dict[str, tuple[Callable[[Items], object], str]] = {
    "stock lost": (set_("STOCK", "committed", 0), "orders hold 1"),
    "stock below zero": (set_("STOCK", "available", -1), "below zero"),
    "stock made": (set_("STOCK", "available", 5), "do not add up"),
    "paid, stock reserved": (set_("ORDER", "stock", "reserved"), "paid, but its stock is reserved"),
    "paid by nothing": (set_("PAYMENT", "status", "closed"), "payments are applied"),
    "applied to an expired order": (set_("ORDER", "status", "expired"), "payments are applied"),
    "too little paid": (set_("PAYMENT", "paid_amount", 1), "not that of its order"),
    "other currency": (set_("PAYMENT", "currency", "USD"), "not that of its order"),
    "no reference": (lambda items: items["PAYMENT", ""].pop("reference"), "no reference of Chapa"),
    "event lost": (lambda items: items.pop(("EVENT", "payment.pending")), "a gap"),
    "surplus without refund": (set_("PAYMENT", "status", "surplus"), "surplus, but has no refund"),
    "price changed": (set_("ORDER", "amount", 99), "not the sum of its lines"),
    "refunded, payment is not": (set_("ORDER", "status", "refunded"), "but its payment is not"),
}


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_corrupted_item_violates_an_invariant(paid: Items, name: str) -> None:
    assert check(paid, units={"LAST": 1}) == []
    corrupt, expected = CORRUPTIONS[name]
    corrupt(paid)
    assert any(expected in violation for violation in check(paid, units={"LAST": 1}))


def test_order_missing_in_the_due_index_is_a_violation(shop: Shop) -> None:
    shop.begun({"LAST": 1})
    items = items_of(shop)
    order = items["ORDER", ""]
    del order["due_shard"]
    assert any("in the due index: False" in violation for violation in check(items))
    del order["due_at"]
    assert any("is not due" in violation for violation in check(items))


def test_confirmed_payment_without_an_owner_is_a_violation(shop: Shop) -> None:
    _, tx_ref = shop.begun({"LAST": 1})
    items = items_of(shop)
    confirmed = [Confirmed(tx_ref, 100)]
    assert check(items, confirmed=confirmed) == []
    assert check(items, confirmed=confirmed, settled=True)
    assert check(items, confirmed=[Confirmed("a-b", 100)])


def test_paid_payment_that_chapa_does_not_confirm_is_a_violation(paid: Items) -> None:
    tx_ref = paid["PAYMENT", ""]["tx_ref"]["S"]
    assert check(paid, confirmed=[Confirmed(tx_ref, 100)]) == []
    for confirmed in ([], [Confirmed(tx_ref, 99)]):
        assert any("but at Chapa it is" in v for v in check(paid, confirmed=confirmed))


def test_refund_that_chapa_did_not_make_is_a_violation(shop: Shop) -> None:
    _, tx_ref = shop.paid({"LAST": 1})
    refunds.request(shop.backend, tx_ref, 60, key="1", reason="Broken")
    shop.sweep()
    items = items_of(shop)
    assert check(items, confirmed=[Confirmed(tx_ref, 100)]) == []
    items["REFUND", ""]["status"] = {"S": "refunded"}
    assert any("Chapa gave back 0" in v for v in check(items, confirmed=[Confirmed(tx_ref, 100)]))


def test_payment_refunded_twice_is_a_violation(paid: Items) -> None:
    tx_ref = paid["PAYMENT", ""]["tx_ref"]["S"]
    assert any("gave back" in v for v in check(paid, confirmed=[Confirmed(tx_ref, 100, 101)]))


def test_client_that_saw_a_wrong_status_is_a_violation(shop: Shop, paid: Items) -> None:
    order_id = paid["ORDER", ""]["order_id"]["S"]
    right = [
        ClientView(order_id, paid=True),
        ClientView(order_id, paid=False, asked_at=shop.now),
    ]
    wrong = [
        ClientView(order_id, paid=False),
        ClientView("a" * 20, paid=True),
        ClientView(order_id, paid=False, asked_at=shop.now + 1),
    ]
    assert check(paid, client_views=right) == []
    for view in wrong:
        assert check(paid, client_views=[view])
