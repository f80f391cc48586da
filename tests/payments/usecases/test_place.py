from functools import partial
from typing import Any

import pytest

from tests.shop import Shop, http_event


def test_order_takes_its_units(shop: Shop) -> None:
    response = shop.order({"COFFEE-250": 2, "MUG": 1})
    assert response.status == 201
    assert response.body["amount"] == "1050.50"
    assert response.body["expires_at"] == "2026-11-22T09:30:00Z"
    assert (shop.available("COFFEE-250"), shop.available("MUG")) == (8, 1)


def test_price_of_the_client_is_refused(shop: Shop) -> None:
    body = {"items": [{"sku": "MUG", "quantity": 1, "unit_price": "0.01"}]}
    response = shop.http("orders", http_event("POST", body))
    assert (response.status, response.code) == (400, "invalid_request")


def test_same_product_twice_is_one_line(shop: Shop) -> None:
    item = {"sku": "COFFEE-250", "quantity": 2}
    response = shop.http("orders", http_event("POST", {"items": [item, item]}))
    assert [(i["sku"], i["quantity"]) for i in response.body["items"]] == [("COFFEE-250", 4)]
    assert shop.available("COFFEE-250") == 6


@pytest.mark.parametrize(
    ("items", "status", "code"),
    [
        ({"MUG": 3}, 409, "out_of_stock"),
        ({"COFFEE-250": 10_001}, 400, "invalid_request"),
        ({"NOTHING": 1, "MUG": 1}, 422, "unknown_sku"),
        ({"MUG": 1, "EBOOK": 1}, 422, "mixed_currency"),
        ({}, 400, "invalid_request"),
        ({f"SKU-{number}": 1 for number in range(91)}, 400, "invalid_request"),
    ],
    ids=["short", "too many units", "unknown", "mixed currency", "no product", "91 products"],
)
def test_refused_order_writes_nothing(
    shop: Shop, items: dict[str, int], status: int, code: str
) -> None:
    before = shop.dump()
    response = shop.order(items)
    assert (response.status, response.code) == (status, code)
    assert shop.dump() == before


def test_order_above_the_limit_of_chapa_is_refused(shop: Shop) -> None:
    shop.stock_up("GOLD", "Gold", 100_000_000, "ETB", 10_000)
    response = shop.order({"GOLD": 10})
    assert (response.status, response.code) == (400, "invalid_request")
    assert shop.available("GOLD") == 10_000


def test_last_unit_is_sold_once(shop: Shop) -> None:
    second: list[int] = []
    shop.before_aws(
        "TransactWriteItems", lambda: second.append(shop.order({"LAST": 1}, user="sara").status)
    )
    assert shop.order({"LAST": 1}).status == 409
    assert second == [201]
    assert shop.available("LAST") == 0


class TestShortUnits:
    def test_order_for_missing_units_is_refused_before_its_transaction(self, shop: Shop) -> None:
        shop.order({"LAST": 1}, user="sara")
        calls = shop.count_reads()
        assert shop.order({"LAST": 1}).body["skus"] == ["LAST"]
        assert "TransactWriteItems" not in calls

    def test_product_that_is_not_for_sale_is_out_of_stock_though_units_come_back(
        self, shop: Shop
    ) -> None:
        order_id = shop.order({"MUG": 1}).body["order_id"]
        shop.backend.catalogue.set_product("MUG", for_sale=False)
        shop.cancel(order_id)
        assert shop.available("MUG") == 2
        response = shop.order({"MUG": 1})
        assert (response.status, response.code) == (409, "out_of_stock")

    def test_product_taken_off_sale_during_the_order_is_out_of_stock(self, shop: Shop) -> None:
        shop.before_aws(
            "TransactWriteItems",
            lambda: shop.backend.catalogue.set_product("MUG", for_sale=False),
        )
        assert shop.order({"MUG": 1}).code == "out_of_stock"

    @pytest.mark.parametrize("moment", ["before the read", "before the write"])
    def test_own_pending_order_with_the_units_is_named(self, shop: Shop, moment: str) -> None:
        shop.order({"MUG": 1})
        shop.clock.advance(1)
        own: list[str] = []

        def hold() -> None:
            own.append(str(shop.order({"LAST": 1}).body["order_id"]))

        if moment == "before the read":
            hold()
        else:
            shop.before_aws("TransactWriteItems", hold)
        response = shop.order({"LAST": 1})
        assert (response.status, response.code) == (409, "out_of_stock")
        assert response.body["pending_order_id"] == own[0]
        assert shop.cancel(own[0]).status == 200
        assert shop.order({"LAST": 1}).status == 201

    def test_ended_order_and_order_of_another_customer_are_not_named(self, shop: Shop) -> None:
        shop.cancel(shop.order({"LAST": 1}).body["order_id"])
        shop.order({"LAST": 1}, user="sara")
        response = shop.order({"LAST": 1})
        assert response.code == "out_of_stock"
        assert "pending_order_id" not in response.body


@pytest.mark.corrupts
@pytest.mark.parametrize(
    ("attribute", "value"),
    [("unit_price", "15"), ("name", ""), ("available", "2"), ("for_sale", 1), ("currency", "EUR")],
)
def test_broken_product_is_named_and_not_called_busy(
    shop: Shop, attribute: str, value: Any
) -> None:
    shop.table.update_item(
        Key={"pk": "STOCK#MUG", "sk": "STOCK"},
        UpdateExpression="SET #attribute = :value",
        ExpressionAttributeNames={"#attribute": attribute},
        ExpressionAttributeValues={":value": value},
    )
    response = shop.order({"MUG": 1})
    assert (response.status, response.code) == (500, "catalogue_error")
    assert response.body["sku"] == "MUG"


def test_price_that_changes_during_the_order_is_read_again(shop: Shop) -> None:
    shop.before_aws(
        "TransactWriteItems",
        lambda: shop.backend.catalogue.set_product("MUG", unit_price=20_000),
    )
    assert shop.order({"MUG": 1}).body["amount"] == "200.00"


class TestIdempotencyKey:
    def test_repeated_request_returns_the_first_order(self, shop: Shop) -> None:
        first = shop.order(key="k1")
        again = shop.order(key="k1")
        assert (first.status, again.status) == (201, 200)
        assert again.body == first.body
        assert shop.available("COFFEE-250") == 8

    def test_concurrent_request_returns_the_first_order(self, shop: Shop) -> None:
        answers = []
        shop.before_aws("TransactWriteItems", lambda: answers.append(shop.order(key="k1")))
        answers.append(shop.order(key="k1"))
        assert [answer.status for answer in answers] == [201, 200]
        assert answers[0].body == answers[1].body
        assert shop.available("COFFEE-250") == 8

    def test_sequence_of_items_does_not_matter(self, shop: Shop) -> None:
        shop.order({"COFFEE-250": 1, "MUG": 1}, key="k1")
        assert shop.order({"MUG": 1, "COFFEE-250": 1}, key="k1").status == 200

    def test_other_content_under_the_same_key_is_refused(self, shop: Shop) -> None:
        shop.order(key="k1")
        before = shop.dump()
        response = shop.order({"MUG": 1}, key="k1")
        assert (response.status, response.code) == (422, "idempotency_mismatch")
        assert shop.dump() == before

    def test_same_key_of_another_user_is_another_order(self, shop: Shop) -> None:
        mine, theirs = shop.order(key="k1"), shop.order(key="k1", user="sara")
        assert theirs.status == 201
        assert mine.body["order_id"] != theirs.body["order_id"]

    def test_id_that_belongs_to_another_customer_is_not_used(
        self, shop: Shop, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """An order id has 60 bits, so two keys may lead to the same one."""
        monkeypatch.setattr(
            "payments.usecases.place.repeatable_order_id",
            lambda _user, _key, collision: f"{'a' * 11}{'bc'[collision]}",
        )
        assert shop.order(key="k1", user="sara").body["order_id"] == "a" * 11 + "b"
        assert shop.order(key="k1").body["order_id"] == "a" * 11 + "c"
        assert shop.order(key="k1").status == 200

    def test_refused_order_may_be_tried_again_under_its_key(self, shop: Shop) -> None:
        assert shop.order({"MUG": 3}, key="k1").status == 409
        shop.stock_up("MUG", "Mug", 15_050, "ETB", 3)
        assert shop.order({"MUG": 3}, key="k1").status == 201

    def test_repeated_request_shows_the_paid_order(self, shop: Shop) -> None:
        order_id = shop.order(key="k1").body["order_id"]
        tx_ref = shop.pay(order_id).body["tx_ref"]
        shop.control.pay(tx_ref)
        shop.deliver()
        assert shop.order(key="k1").body["status"] == "paid"


class TestUnpaidOrders:
    def test_one_too_many_is_refused_and_names_the_others(self, shop: Shop) -> None:
        shop.configure(max_unpaid_orders="2")
        own = [shop.order({"EBOOK": 1}).body["order_id"] for _ in range(2)]
        before = shop.dump()
        refused = shop.order({"EBOOK": 1})
        assert (refused.status, refused.code) == (409, "too_many_unpaid_orders")
        assert refused["pending_order_ids"] == own
        assert shop.dump() == before
        assert shop.order({"EBOOK": 1}, user="sara").status == 201

    def test_order_at_the_same_moment_counts(self, shop: Shop) -> None:
        shop.configure(max_unpaid_orders="1")
        for number in (1, 2):
            # First the customer has no such item yet, then one without unpaid orders.
            shop.before_aws("TransactWriteItems", partial(shop.order, {"EBOOK": number}))
            refused = shop.order({"EBOOK": 1})
            assert refused.code == "too_many_unpaid_orders"
            [order_id] = refused["pending_order_ids"]
            assert shop.aggregate(order_id).held_units == {"EBOOK": number}
            assert shop.cancel(order_id).status == 200

    def test_paid_ended_and_repeated_orders_do_not_count(self, shop: Shop) -> None:
        shop.configure(max_unpaid_orders="1")
        shop.paid({"EBOOK": 1})
        shop.expired({"EBOOK": 1})
        order_id = shop.order({"EBOOK": 1}, key="cart-17").body["order_id"]
        assert shop.order({"EBOOK": 1}, key="cart-17").status == 200
        assert shop.cancel(order_id).status == 200
        calls = shop.count_reads()
        assert shop.order({"EBOOK": 1}).status == 201
        # The products, the customer's unpaid orders, and those themselves at the limit.
        assert calls == ["BatchGetItem"] * 3 + ["TransactWriteItems"]

    def test_order_that_is_being_cancelled_counts(self, shop: Shop) -> None:
        shop.configure(max_unpaid_orders="1")
        order_id, _ = shop.begun({"EBOOK": 1})
        shop.unanswered()
        assert shop.cancel(order_id).status == 202
        assert shop.order({"EBOOK": 1}).code == "too_many_unpaid_orders"

    def test_without_a_limit_nothing_is_counted(self, shop: Shop) -> None:
        shop.configure(max_unpaid_orders="0")
        assert {shop.order({"EBOOK": 1}).status for _ in range(8)} == {201}
        assert not [item for item in shop.dump() if item["pk"].startswith("CUSTOMER#")]
