from tests.shop import Shop, http_event


def test_a_customer_sees_the_order_with_its_payments(shop: Shop) -> None:
    order_id, tx_ref = shop.begun()
    answer = shop.http("status", http_event("GET", path={"order_id": order_id}))
    assert answer.status == 200
    assert answer.body["status"] == "pending"
    assert [(p["tx_ref"], p["status"]) for p in answer.body["payments"]] == [(tx_ref, "pending")]


def test_a_customer_sees_the_payment_with_its_ledger_in_order(shop: Shop) -> None:
    order_id, tx_ref = shop.begun()
    shop.control.pay(tx_ref)
    shop.deliver()
    answer = shop.status(tx_ref)
    assert answer.body["status"] == "succeeded"
    assert answer.body["order_id"] == order_id
    assert answer.body["order_status"] == "paid"
    assert answer.body["amount"] == "900.00"
    assert answer.body["reference"].startswith("AP")
    assert [event["name"] for event in answer.body["events"]] == [
        "order.placed",
        "payment.initializing",
        "payment.pending",
        "payment.succeeded",
        "order.paid",
    ]
    assert "checkout_url" not in answer.body


def test_a_payment_that_waits_shows_where_to_pay(shop: Shop) -> None:
    _, tx_ref = shop.begun()
    assert shop.status(tx_ref).body["checkout_url"].startswith("http")


def test_a_refresh_finds_out_without_a_webhook(shop: Shop) -> None:
    _, tx_ref = shop.begun()
    shop.control.pay(tx_ref, webhook=False)
    assert shop.status(tx_ref).body["status"] == "pending"
    assert shop.status(tx_ref, refresh=True).body["order_status"] == "paid"


def test_refreshing_all_the_time_does_not_burden_chapa(shop: Shop) -> None:
    _, tx_ref = shop.begun()
    for _ in range(10):
        assert shop.status(tx_ref, refresh=True).status == 200
    assert shop.asked("verify") == 1


def test_a_refresh_while_chapa_is_silent_shows_what_is_known(shop: Shop) -> None:
    _, tx_ref = shop.begun()
    shop.control.add_fault("verify", "status", status=500)
    answer = shop.status(tx_ref, refresh=True)
    assert (answer.status, answer.body["status"]) == (200, "pending")


def test_strangers_see_nothing(shop: Shop) -> None:
    order_id, tx_ref = shop.begun()
    order = shop.http("status", http_event("GET", user="sara", path={"order_id": order_id}))
    assert (order.status, order.code) == (404, "order_not_found")
    payment = shop.status(tx_ref, user="sara")
    assert (payment.status, payment.code) == (404, "payment_not_found")
    assert shop.status(tx_ref, user="sara", refresh=True).status == 404
    assert shop.asked("verify") == 0


def test_what_is_not_there_is_not_found(shop: Shop) -> None:
    for order_id in ("a" * 20, "x", "ORDER", "%00"):
        answer = shop.http("status", http_event("GET", path={"order_id": order_id}))
        assert answer.code == "order_not_found"
    for tx_ref in ("a" * 20 + "-" + "b" * 24, "x", "-"):
        assert shop.status(tx_ref).code == "payment_not_found"


def test_refresh_is_true_or_false(shop: Shop) -> None:
    _, tx_ref = shop.begun()
    event = http_event("GET", path={"tx_ref": tx_ref}, query={"refresh": "1"})
    assert shop.http("status", event).code == "invalid_request"
