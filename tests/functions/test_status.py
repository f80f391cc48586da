from payments.usecases.resolve import PaymentDecision, resolve
from tests.shop import Shop, http_event


def test_order_shows_its_payments(shop: Shop) -> None:
    order_id, tx_ref = shop.begun()
    response = shop.http("status", http_event("GET", path={"order_id": order_id}))
    assert response.status == 200
    assert response.body["status"] == "pending"
    assert [(p["tx_ref"], p["status"]) for p in response.body["payments"]] == [(tx_ref, "pending")]


def test_paid_payment_shows_its_events_in_order(shop: Shop) -> None:
    order_id, tx_ref = shop.begun()
    assert shop.status(tx_ref).body["checkout_url"].startswith("http")
    shop.control.pay(tx_ref)
    shop.deliver()
    body = shop.status(tx_ref).body
    assert (body["status"], body["amount"]) == ("succeeded", "900.00")
    assert (body["order_id"], body["order_status"]) == (order_id, "paid")
    assert body["provider_reference"].startswith("AP")
    assert [event["name"] for event in body["events"]] == [
        "order.placed",
        "payment.succeeded",
        "order.paid",
    ]
    assert "checkout_url" not in body


def test_refresh_finds_a_payment_without_a_webhook(shop: Shop) -> None:
    _, tx_ref = shop.begun()
    shop.control.pay(tx_ref, webhook=False)
    assert shop.status(tx_ref).body["status"] == "pending"
    assert shop.status(tx_ref, refresh=True).body["order_status"] == "paid"


def test_many_refreshes_ask_chapa_once(shop: Shop) -> None:
    _, tx_ref = shop.begun()
    for _ in range(10):
        assert shop.status(tx_ref, refresh=True).status == 200
    assert shop.asked("verify") == 1


def test_unanswered_refresh_shows_the_stored_status(shop: Shop) -> None:
    _, tx_ref = shop.begun()
    shop.control.add_fault("verify", "status", status=500)
    response = shop.status(tx_ref, refresh=True)
    assert (response.status, response.body["status"]) == (200, "pending")


def test_order_and_payment_of_another_user_are_not_found(shop: Shop) -> None:
    order_id, tx_ref = shop.begun()
    order = shop.http("status", http_event("GET", user="sara", path={"order_id": order_id}))
    assert (order.status, order.code) == (404, "order_not_found")
    payment = shop.status(tx_ref, user="sara")
    assert (payment.status, payment.code) == (404, "payment_not_found")
    assert shop.status(tx_ref, user="sara", refresh=True).status == 404
    assert shop.asked("verify") == 0


def test_unknown_order_and_payment_are_not_found(shop: Shop) -> None:
    for order_id in ("a" * 12, "x", "ORDER", "%00"):
        response = shop.http("status", http_event("GET", path={"order_id": order_id}))
        assert response.code == "order_not_found"
    for tx_ref in ("a" * 20, "x", "-", "%00", "a" * 3_000):
        for refresh in (False, True):
            assert shop.status(tx_ref, refresh=refresh).code == "payment_not_found"


def test_refresh_accepts_only_true_and_false(shop: Shop) -> None:
    _, tx_ref = shop.begun()
    event = http_event("GET", path={"tx_ref": tx_ref}, query={"refresh": "1"})
    assert shop.http("status", event).code == "invalid_request"


def test_events_that_name_an_operator_are_not_shown(shop: Shop) -> None:
    order_id, tx_ref = shop.begun()
    resolve(shop.backend, tx_ref, PaymentDecision.ACCEPT, by="arn:almaz", reason="Paid in cash")
    assert "payment.resolved" in shop.event_names(order_id)
    assert "almaz" not in str(shop.status(tx_ref).body)


def test_unanswered_payment_shows_since_when(shop: Shop) -> None:
    order_id, tx_ref = shop.begun()
    shop.unanswered()
    shop.wait(order_id, 30 * 3600)
    last = shop.status(tx_ref).body["events"][-1]
    assert (last["name"], last["since"]) == ("payment.unanswered", "2026-11-22T09:01:30Z")
