from itertools import chain, repeat

import pytest

from payments.aws.items import stock_key
from tests.shop import Shop


def all_pages(shop: Shop, limit: int) -> list[list[str]]:
    """The ids on each page of abebe's orders."""
    page = shop.orders(limit=str(limit)).body
    pages = [page]
    while "next" in page:
        page = shop.orders(limit=str(limit), cursor=page["next"]).body
        pages.append(page)
    return [[order["order_id"] for order in page["orders"]] for page in pages]


def test_customer_sees_each_own_order_once_and_newest_first(shop: Shop) -> None:
    placed: list[str] = []
    # Two orders in each second.
    for user in chain(repeat("abebe", 2), repeat("sara", 1), repeat("abebe", 3)):
        order_id = shop.order({"EBOOK": 1}, user=user).body["order_id"]
        if user == "abebe":
            placed.append(order_id)
        shop.clock.advance(len(placed) % 2)
    pages = all_pages(shop, 2)
    assert [len(page) for page in pages] == [2, 2, 1]
    times = [shop.aggregate(order_id).order.created_at for order_id in chain(*pages)]
    assert times == sorted(times, reverse=True)
    assert sorted(chain(*pages)) == sorted(placed)
    assert [len(page) for page in all_pages(shop, 5)] == [5]
    calls = shop.count_reads()
    assert len(shop.orders().body["orders"]) == 5
    assert calls == ["Query", "BatchGetItem"]


def test_cursor_of_another_customer_or_of_nobody_is_refused(shop: Shop) -> None:
    foreign = str(shop.order().body["order_id"])
    shop.order({"EBOOK": 1}, user="sara")
    cursors = [foreign, "a" * 12, "ORDER", "a" * 201, "\ud800", "\x00", "", "' OR 1=1", "abebe"]
    for cursor in cursors:
        response = shop.orders(user="sara", cursor=cursor)
        assert (response.status, response.code) == (400, "invalid_request")
        assert foreign not in response["detail"]


def test_limit_out_of_bounds_is_refused(shop: Shop) -> None:
    for limit in ("0", "101", "-1", "1.0", "+1", " 1", "\u0661", "1,1", ""):
        assert shop.products(limit=limit).code == "invalid_request"


@pytest.mark.corrupts
def test_broken_product_is_left_out_of_the_catalogue(shop: Shop) -> None:
    shop.backend.catalogue.set_product("EBOOK", for_sale=False)
    shop.dynamodb.update_item(
        TableName="payments",
        Key=stock_key("COFFEE-250"),
        UpdateExpression="SET unit_price = :wrong",
        ExpressionAttributeValues={":wrong": {"S": "450"}},
    )
    first = shop.products(limit="2")
    assert (first["products"], first["next"]) == (
        [
            {
                "sku": "EBOOK",
                "name": "Book about coffee",
                "unit_price": "9.99",
                "currency": "USD",
                "purchasable": False,
            }
        ],
        "EBOOK",
    )
    rest = shop.products(cursor="EBOOK")
    assert [product["sku"] for product in rest["products"]] == ["LAST", "MUG"]
    assert "next" not in rest.body
    assert shop.products(cursor="no-such-product").body["products"] == []


def test_catalogue_may_be_kept_for_seconds_and_a_refusal_may_not(shop: Shop) -> None:
    assert shop.products().headers["cache-control"] == "public, max-age=10"
    assert shop.products(limit="x").headers["cache-control"] == "no-store"
    assert shop.orders().headers["cache-control"] == "no-store"
