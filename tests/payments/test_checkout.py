import pytest

from tests.shop import Shop, http_event


def test_order_reserves_its_stock(shop: Shop) -> None:
    answer = shop.order({"COFFEE-250": 2, "MUG": 1})
    assert answer.status == 201
    assert answer.body["amount"] == "1050.50"
    assert answer.body["expires_at"] == "2026-11-22T09:30:00Z"
    assert shop.stock("COFFEE-250") == (8, 2, 0)
    assert shop.stock("MUG") == (1, 1, 0)


def test_price_of_the_client_is_refused(shop: Shop) -> None:
    body = {"items": [{"sku": "MUG", "quantity": 1, "unit_price": "0.01"}]}
    answer = shop.http("checkout", http_event("POST", body))
    assert (answer.status, answer.code) == (400, "invalid_request")


def test_same_product_twice_is_one_line(shop: Shop) -> None:
    item = {"sku": "COFFEE-250", "quantity": 2}
    answer = shop.http("checkout", http_event("POST", {"items": [item, item]}))
    assert [(i["sku"], i["quantity"]) for i in answer.body["items"]] == [("COFFEE-250", 4)]
    assert shop.stock("COFFEE-250") == (6, 4, 0)


@pytest.mark.parametrize(
    ("items", "status", "code"),
    [
        ({"MUG": 3}, 409, "out_of_stock"),
        ({"NOTHING": 1, "MUG": 1}, 422, "unknown_sku"),
        ({"MUG": 1, "EBOOK": 1}, 422, "mixed_currency"),
        ({}, 400, "invalid_request"),
        ({f"SKU-{number}": 1 for number in range(91)}, 400, "invalid_request"),
    ],
    ids=["out of stock", "unknown", "mixed currency", "no product", "more than 90 products"],
)
def test_refused_order_writes_nothing(
    shop: Shop, items: dict[str, int], status: int, code: str
) -> None:
    before = shop.dump()
    answer = shop.order(items)
    assert (answer.status, answer.code) == (status, code)
    assert shop.dump() == before


def test_order_above_the_limit_of_chapa_is_refused(shop: Shop) -> None:
    shop.stock_up("GOLD", "Gold", 100_000_000, "ETB", 10_000)
    answer = shop.order({"GOLD": 10})
    assert (answer.status, answer.code) == (400, "invalid_request")
    assert shop.stock("GOLD") == (10_000, 0, 0)


def test_last_unit_is_sold_once(shop: Shop) -> None:
    second: list[int] = []
    shop.before_aws(
        "TransactWriteItems", lambda: second.append(shop.order({"LAST": 1}, user="sara").status)
    )
    assert shop.order({"LAST": 1}).status == 409
    assert second == [201]
    assert shop.stock("LAST") == (0, 1, 0)


class TestIdempotencyKey:
    def test_repeated_request_returns_the_first_order(self, shop: Shop) -> None:
        first = shop.order(key="k1")
        again = shop.order(key="k1")
        assert (first.status, again.status) == (201, 200)
        assert again.body == first.body
        assert shop.stock("COFFEE-250") == (8, 2, 0)

    def test_concurrent_request_returns_the_first_order(self, shop: Shop) -> None:
        answers = []
        shop.before_aws("TransactWriteItems", lambda: answers.append(shop.order(key="k1")))
        answers.append(shop.order(key="k1"))
        assert [answer.status for answer in answers] == [201, 200]
        assert answers[0].body == answers[1].body
        assert shop.stock("COFFEE-250") == (8, 2, 0)

    def test_sequence_of_items_does_not_matter(self, shop: Shop) -> None:
        shop.order({"COFFEE-250": 1, "MUG": 1}, key="k1")
        assert shop.order({"MUG": 1, "COFFEE-250": 1}, key="k1").status == 200

    def test_other_content_under_the_same_key_is_refused(self, shop: Shop) -> None:
        shop.order(key="k1")
        before = shop.dump()
        answer = shop.order({"MUG": 1}, key="k1")
        assert (answer.status, answer.code) == (422, "idempotency_mismatch")
        assert shop.dump() == before

    def test_same_key_of_another_user_is_another_order(self, shop: Shop) -> None:
        mine, theirs = shop.order(key="k1"), shop.order(key="k1", user="sara")
        assert theirs.status == 201
        assert mine.body["order_id"] != theirs.body["order_id"]

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
