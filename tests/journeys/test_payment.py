"""From an order to a paid order, and every way in which it is asked for more than once."""

import time

from sandbox.chapa.journal import Entry
from sandbox.client import Response, Stock, until
from tests.journeys.shop import CUSTOMER, PRICE, Shop, at_once, body_about


def test_a_customer_pays_on_the_hosted_page(shop: Shop) -> None:
    shop.chapa.switch(callback="query")
    sku = shop.product(10)
    placed = shop.place({sku: 2}, customer=CUSTOMER)
    assert placed.status == 201
    assert (placed["status"], placed["amount"], placed["currency"]) == ("pending", "901.00", "ETB")
    assert shop.stock(sku) == Stock(8, 2, 0)
    order_id = placed["order_id"]

    begun = shop.initialize(order_id)
    assert begun.status == 201
    assert (begun["status"], begun["amount"]) == ("pending", "901.00")
    tx_ref = begun["tx_ref"]
    page = shop.visit(begun["checkout_url"])
    assert page.status == 200
    assert "901.00" in page.text

    assert shop.press(page, "pay") == f"https://shop.example/thanks?tx_ref={tx_ref}"
    order = shop.await_order(order_id, "paid")
    [payment] = order["payments"]
    assert (payment["status"], payment["tx_ref"]) == ("succeeded", tx_ref)
    assert payment["reference"] == shop.chapa.payment(tx_ref)["reference"]
    assert shop.stock(sku) == Stock(8, 0, 2)
    assert shop.answered("webhook", tx_ref) + shop.answered("callback", tx_ref) == [200, 202]
    shop.await_worker()
    assert shop.ledger(order_id) == [
        "order.placed",
        "payment.initializing",
        "payment.pending",
        "payment.succeeded",
        "order.paid",
    ]


def test_a_customer_whose_payment_failed_tries_again_on_the_same_page(shop: Shop) -> None:
    sku = shop.product()
    order_id = shop.ordered(sku)
    begun = shop.initialize(order_id)
    page = shop.visit(begun["checkout_url"])
    shop.press(page, "fail")
    until(
        lambda: shop.payment(begun["tx_ref"])["status"],
        lambda status: status == "failed",
        "the payment failed",
    )
    assert shop.state(order_id) == ("pending", ["failed"])
    assert shop.stock(sku) == Stock(8, 2, 0)
    shop.press(shop.visit(begun["checkout_url"]), "pay")
    shop.await_order(order_id, "paid")
    assert shop.stock(sku) == Stock(8, 0, 2)
    assert shop.ledger(order_id)[-3:] == ["payment.failed", "payment.succeeded", "order.paid"]


def test_a_look_by_the_customer_settles_without_any_webhook(shop: Shop) -> None:
    sku = shop.product()
    order_id, tx_ref = shop.begun(sku)
    assert shop.payment(tx_ref, refresh=True)["status"] == "pending"
    shop.chapa.pay(tx_ref, webhook=False)
    paid = until(
        lambda: shop.payment(tx_ref, refresh=True),
        lambda answer: bool(answer["status"] == "succeeded"),
        "a look finds the payment",
    )
    assert paid["order_status"] == "paid"
    assert [event["name"] for event in paid["events"]][-2:] == ["payment.succeeded", "order.paid"]
    assert shop.calls("webhook", tx_ref) == []
    assert shop.state(order_id) == ("paid", ["succeeded"])
    assert shop.stock(sku) == Stock(8, 0, 2)


def test_a_second_click_gets_the_same_page(shop: Shop) -> None:
    order_id = shop.ordered(shop.product())
    first, second = shop.initialize(order_id), shop.initialize(order_id)
    assert (first.status, second.status) == (201, 200)
    assert second.body == first.body
    assert len(shop.calls("initialize", first["tx_ref"])) == 1


def asked_to_open(shop: Shop, order_id: str) -> list[Entry]:
    return [e for e in shop.calls("initialize") if (e.tx_ref or "").startswith(order_id)]


def test_ten_clicks_at_the_same_moment_open_one_payment(shop: Shop) -> None:
    sku = shop.product()
    # A rehearsal, so that ten processes are awake and none waits for another to start.
    at_once(10, lambda _: shop.initialize("a" * 20))
    order_id = shop.ordered(sku)
    answers = at_once(10, lambda _: shop.initialize(order_id))
    opened = [answer for answer in answers if answer.status in {200, 201}]
    others = [answer for answer in answers if answer not in opened]
    assert [answer.status for answer in opened].count(201) == 1
    assert len({answer["checkout_url"] for answer in opened}) == 1
    assert {(answer.status, answer.code) for answer in others} <= {(409, "payment_in_progress")}
    assert len(asked_to_open(shop, order_id)) == 1
    assert shop.state(order_id) == ("pending", ["pending"])
    assert shop.stock(sku) == Stock(8, 2, 0)


def test_a_click_while_the_first_one_takes_long_is_told_to_wait(shop: Shop) -> None:
    order_id = shop.ordered(shop.product())
    shop.chapa.add_fault("initialize", "slow", seconds=15)

    def click(number: int) -> Response:
        if number == 0:
            return shop.initialize(order_id)
        until(lambda: asked_to_open(shop, order_id), bool, "Chapa is opening the page")
        answer = shop.initialize(order_id)
        shop.chapa.clear_faults()
        return answer

    first, second = at_once(2, click)
    assert first.status == 201
    assert (second.status, second.code) == (409, "payment_in_progress")
    assert int(second.headers["retry-after"]) > 0
    assert shop.initialize(order_id)["checkout_url"] == first["checkout_url"]
    assert len(shop.calls("initialize", first["tx_ref"])) == 1


def test_the_last_unit_is_sold_once(shop: Shop) -> None:
    at_once(6, lambda _: shop.place({"nothing": 1}))
    sku = shop.product(1)
    answers = at_once(6, lambda n: shop.place({sku: 1}, user=("abebe", "sara")[n % 2]))
    sold = [answer for answer in answers if answer.status == 201]
    refused = {(answer.status, answer.code) for answer in answers if answer.status != 201}
    assert len(sold) == 1
    assert refused == {(409, "out_of_stock")}
    assert shop.stock(sku) == Stock(0, 1, 0)


def test_one_key_makes_one_order_however_often_and_whenever_it_comes(shop: Shop) -> None:
    sku = shop.product(10)
    answers = at_once(6, lambda _: shop.place({sku: 2}, key="basket-17"))
    assert sorted(answer.status for answer in answers) == [200] * 5 + [201]
    assert len({answer["order_id"] for answer in answers}) == 1
    assert shop.stock(sku) == Stock(8, 2, 0)
    other = shop.place({sku: 3}, key="basket-17")
    assert (other.status, other.code) == (422, "idempotency_mismatch")
    # The same words from somebody else are another basket.
    assert shop.place({sku: 2}, user="sara", key="basket-17").status == 201
    assert shop.stock(sku) == Stock(6, 4, 0)


def test_the_price_is_the_catalogue_s_and_repeated_products_add_up(shop: Shop) -> None:
    sku = shop.product(10)
    body = {"items": [{"sku": sku, "quantity": 1}, {"sku": sku, "quantity": 2}]}
    answer = shop.ask("POST", "/orders", body, user="abebe")
    assert answer.status == 201
    assert [(item["quantity"], item["unit_price"]) for item in answer["items"]] == [(3, "450.50")]
    assert answer["amount"] == f"{3 * PRICE / 100:.2f}"
    assert shop.stock(sku) == Stock(7, 3, 0)


def test_a_duplicate_of_a_webhook_changes_nothing(shop: Shop) -> None:
    sku = shop.product()
    order_id, tx_ref = shop.begun(sku)
    shop.chapa.add_fault("webhook", "doubled", n=3, tx_ref=tx_ref)
    shop.chapa.pay(tx_ref)
    shop.await_order(order_id, "paid")
    assert shop.answered("webhook", tx_ref, 3) == [200] * 3
    body = shop.calls("webhook", tx_ref)[0].body.encode()
    asked = len(shop.calls("verify", tx_ref))
    with shop.nothing_written():
        assert shop.notify(body).body == {"outcome": "duplicate"}
    assert len(shop.calls("verify", tx_ref)) == asked
    assert shop.ledger(order_id).count("order.paid") == 1
    assert shop.stock(sku) == Stock(8, 0, 2)


def test_many_copies_of_a_webhook_at_the_same_moment_apply_once(shop: Shop) -> None:
    at_once(8, lambda _: shop.notify(body_about("not-ours")))
    sku = shop.product()
    order_id, tx_ref = shop.begun(sku)
    shop.chapa.pay(tx_ref, webhook=False)
    began = time.monotonic()
    answers = at_once(8, lambda _: shop.notify(body_about(tx_ref)))
    seconds = time.monotonic() - began
    assert {answer.status for answer in answers} == {200}
    outcomes = [answer["outcome"] for answer in answers]
    assert outcomes.count("applied") == 1
    assert set(outcomes) <= {"applied", "duplicate", "deferred"}
    # At most one question in each second by the clock.
    assert 1 <= len(shop.calls("verify", tx_ref)) <= 2 + seconds
    shop.await_worker()
    assert shop.state(order_id) == ("paid", ["succeeded"])
    assert shop.ledger(order_id).count("order.paid") == 1
    assert shop.stock(sku) == Stock(8, 0, 2)
