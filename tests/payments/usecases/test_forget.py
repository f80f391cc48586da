import json
from collections.abc import Callable

import pytest

from payments.aws.items import customer_list
from payments.usecases import refund
from payments.usecases.forget import Forgetting, forget, forget_unpaid
from tests.shop import Shop

CUSTOMER = {"first_name": "Abebe", "email": "abebe@example.com", "phone_number": "0911223344"}


def placed(shop: Shop) -> str:
    return str(shop.order({"LAST": 1}, customer=CUSTOMER).body["order_id"])


def test_ended_order_keeps_its_books_and_nothing_of_its_customer(shop: Shop) -> None:
    order_id = placed(shop)
    tx_ref = str(shop.pay(order_id).body["tx_ref"])
    shop.control.pay(tx_ref, webhook=False)
    shop.notify(tx_ref)
    before, events = shop.aggregate(order_id), shop.events(order_id)
    for _ in range(2):
        assert forget(shop.backend, shop.aggregate(order_id)) is Forgetting.DONE
        forget_unpaid(shop.backend, "abebe")
    after = shop.aggregate(order_id)
    stored = json.dumps([item for item in shop.dump() if order_id in str(item)], default=str)
    assert not [word for word in ("abebe", "Abebe", "0911223344") if word in stored]
    assert (after.payments, after.order.lines) == (before.payments, before.order.lines)
    assert shop.events(order_id) == events
    assert list(shop.backend.lists.listed(customer_list("abebe"))) == []
    assert shop.status(tx_ref).status == 404


def in_review(shop: Shop) -> str:
    order_id, tx_ref = shop.begun()
    shop.control.pay(tx_ref, amount="1.00", webhook=False)
    shop.notify(tx_ref)
    return order_id


def refunding(shop: Shop) -> str:
    order_id, tx_ref = shop.paid()
    refund.request(shop.backend, tx_ref, None, key="T-1", reason="x")
    return order_id


@pytest.mark.parametrize(
    "make",
    [placed, in_review, refunding, lambda shop: shop.expired()[0]],
    ids=["pending", "in review", "with an open refund", "with final checks to come"],
)
def test_order_that_has_not_ended_is_not_touched(shop: Shop, make: Callable[[Shop], str]) -> None:
    order_id = make(shop)
    before = shop.dump()
    assert forget(shop.backend, shop.aggregate(order_id)) is Forgetting.NOT_ENDED
    assert shop.dump() == before


def test_list_of_unpaid_orders_goes_with_its_last_order(shop: Shop) -> None:
    paid, pending = shop.paid()[0], placed(shop)
    assert forget(shop.backend, shop.aggregate(paid)) is Forgetting.DONE
    forget_unpaid(shop.backend, "abebe")
    assert shop.backend.repository.unpaid("abebe") == (paid, pending)
    assert shop.cancel(pending).status == 200
    assert forget(shop.backend, shop.aggregate(pending)) is Forgetting.DONE
    # A new order at the same moment keeps the list.
    shop.before_aws("DeleteItem", shop.order)
    forget_unpaid(shop.backend, "abebe")
    [new] = shop.backend.lists.listed(customer_list("abebe"))
    assert shop.backend.repository.unpaid("abebe") == (paid, pending, new.order_id)
