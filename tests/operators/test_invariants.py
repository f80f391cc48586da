"""Each invariant is violated once in the stored items, and the check must find it."""

from collections.abc import Callable
from typing import Any

import pytest

from operators.invariants import ClientView, Confirmed, overdue, read, violations
from payments.usecases import refund as refunds
from payments.usecases.refund import RefundDecision
from payments.usecases.resolve import PaymentDecision, resolve
from tests.shop import Shop

type Items = dict[tuple[str, str], dict[str, Any]]

pytestmark = pytest.mark.corrupts


def items_of(shop: Shop) -> Items:
    """Items of the one order and of the product it sells, by kind; events also by name."""
    items: Items = {}
    for item in shop.dynamodb.scan(TableName="payments", ConsistentRead=True)["Items"]:
        kind = item["sk"]["S"].partition("#")[0]
        if kind == "EVENTS":
            items["EVENTS", item["events"]["L"][-1]["M"]["name"]["S"]] = item
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


def take(kind: str, name: str) -> Callable[[Items], None]:
    return lambda items: items[kind, ""].pop(name)


CORRUPTIONS: dict[str, tuple[Callable[[Items], object], str]] = {
    "units lost": (set_("STOCK", "stocked", 2), "are not the 2 units put in"),
    "units made": (set_("STOCK", "available", 5), "are not the 1 units put in"),
    "units below zero": (set_("STOCK", "available", -1), "-1 units are available"),
    "units put in unseen": (
        lambda items: [set_("STOCK", n, v)(items) for n, v in (("stocked", 2), ("available", 1))],
        "1 units were put in, but 2 are counted",
    ),
    "counter that is no number": (set_("STOCK", "available", "1"), "`available` is missing"),
    "product deleted": (lambda items: items.pop(("STOCK", "")), "catalogue has no such item"),
    "paid by nothing": (set_("PAYMENT", "status", "closed"), "payments are applied"),
    "applied to an expired order": (set_("ORDER", "status", "expired"), "payments are applied"),
    "too little paid": (set_("PAYMENT", "paid_amount", 1), "not that of its order"),
    "other currency": (set_("PAYMENT", "paid_currency", "USD"), "not that of its order"),
    "no reference": (take("PAYMENT", "provider_reference"), "no reference of Chapa"),
    "no time of payment": (take("PAYMENT", "paid_at"), "no time of it"),
    "active payment paid": (
        lambda items: set_("ORDER", "active_tx_ref", items["PAYMENT", ""]["tx_ref"]["S"])(items),
        "its active payment cannot be paid",
    ),
    "events lost": (lambda items: items.pop(("EVENTS", "order.paid")), "a gap"),
    "event lost": (
        lambda items: items["EVENTS", "order.paid"]["events"]["L"].pop(),
        "a gap",
    ),
    "unapplied without refund": (
        set_("PAYMENT", "status", "unapplied"),
        "unapplied, but has no refund",
    ),
    "price changed": (set_("ORDER", "amount", 99), "not the sum of its lines"),
    "refunded, payment is not": (set_("ORDER", "status", "refunded"), "but its payment is not"),
    "unit back without a refund": (
        lambda items: items["ORDER", ""]["lines"]["L"][0]["M"].update(returned={"N": "1"}),
        "0 of LAST came back",
    ),
    "unknown status": (set_("PAYMENT", "status", "lost"), "cannot be read"),
    "unknown event": (
        lambda items: items["EVENTS", "order.paid"]["events"]["L"][1]["M"].update(
            name={"S": "order.lost"}
        ),
        "cannot be read",
    ),
    "order lost": (lambda items: items.pop(("ORDER", "")), "it has no order"),
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
    assert check(items, confirmed=[Confirmed("a" * 20, 100)])


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


def test_refund_under_our_reference_that_we_do_not_have_is_a_violation(paid: Items) -> None:
    tx_ref = paid["PAYMENT", ""]["tx_ref"]["S"]
    [found] = check(paid, confirmed=[Confirmed(tx_ref, 100, 60)])
    assert "Chapa gave back 60, but our refunds add up to 0" in found
    assert check(paid, confirmed=[Confirmed(tx_ref, 100, 60, elsewhere=60)]) == []


def test_client_that_saw_a_wrong_status_is_a_violation(shop: Shop, paid: Items) -> None:
    order_id = paid["ORDER", ""]["order_id"]["S"]
    right = [
        ClientView(order_id, paid=True),
        ClientView(order_id, paid=False, asked_at=shop.now),
    ]
    wrong = [
        ClientView(order_id, paid=False),
        ClientView("a" * 12, paid=True),
        ClientView(order_id, paid=False, asked_at=shop.now + 1),
    ]
    assert check(paid, client_views=right) == []
    for view in wrong:
        assert check(paid, client_views=[view])


def test_broken_order_does_not_hide_what_is_wrong_with_another(shop: Shop, paid: Items) -> None:
    shop.begun({"EBOOK": 1})
    order = set_("ORDER", "amount", 99)
    order(paid)
    broken = {"pk": {"S": "ORDER#broken"}, "sk": {"S": "ORDER"}}
    found = check({**paid, ("BROKEN", ""): broken}, units={"LAST": 1})
    assert any("ORDER#broken cannot be read" in violation for violation in found)
    assert any("not the sum of its lines" in violation for violation in found)


WRONG: list[dict[str, Any]] = [
    *({"NULL": True}, {"S": "nonsense"}, {"N": "-1.5"}, {"N": "1e120"}),
    *({"L": [{"N": "1"}]}, {"M": {"sku": {"N": "1"}}}),
]


def test_check_ends_whatever_one_attribute_holds(shop: Shop) -> None:
    _, tx_ref = shop.paid({"LAST": 1})
    refunds.request(shop.backend, tx_ref, 40, key="1", reason="Broken", returns={"LAST": 1})
    items = items_of(shop)
    for key, item in items.items():
        for attribute in item.keys() - {"pk", "sk"}:
            rest = {name: value for name, value in item.items() if name != attribute}
            for value in WRONG:
                damaged = {**items, key: rest | {attribute: value}}
                check(damaged)
                overdue(read(damaged.values()), shop.now, 86_400)
            check({**items, key: rest})


def test_accepted_payment_need_not_be_as_requested(shop: Shop) -> None:
    _, tx_ref = shop.begun({"LAST": 1})
    resolve(shop.backend, tx_ref, PaymentDecision.ACCEPT, by="almaz", reason="Paid in cash")
    items = items_of(shop)
    assert check(items, confirmed=[], units={"LAST": 1}) == []
    del items["PAYMENT", ""]["accepted_by"]
    assert len(check(items, confirmed=[])) == 2


def test_refund_paid_outside_need_not_be_at_chapa(shop: Shop) -> None:
    _, tx_ref = shop.paid({"LAST": 1})
    refund = refunds.request(shop.backend, tx_ref, None, key="1", reason="Broken")
    refunds.resolve(
        shop.backend, refund.refund_id, RefundDecision.SETTLE, by="almaz", reason="In cash"
    )
    assert check(items_of(shop), confirmed=[Confirmed(tx_ref, 100)]) == []


@pytest.mark.parametrize("what", ["in manual review", "unanswered"])
def test_what_waits_for_longer_than_a_day_is_overdue(shop: Shop, what: str) -> None:
    _, tx_ref = shop.begun()
    if what == "unanswered":
        shop.unanswered()
    else:
        shop.control.pay(tx_ref, amount="1.00", webhook=False)
        shop.notify(tx_ref)
    shop.clock.advance(90)
    shop.sweep()
    since = shop.now if what == "unanswered" else shop.now - 90
    items = shop.dynamodb.scan(TableName="payments", ConsistentRead=True)["Items"]
    assert overdue(read(items), since + 86_400, 86_400) == []
    [found] = overdue(read(items), since + 86_401, 86_400)
    assert found.startswith(f"payment {tx_ref} is {what} since 2026-11-22T09:0")
