"""Orders that end unpaid, and payments that succeed after that."""

import requests

from sandbox.client import until
from tests.journeys.shop import DeployedShop


def test_abandoned_order_expires_and_its_page_is_closed(shop: DeployedShop) -> None:
    sku = shop.product()
    order_id = shop.ordered(sku)
    begun = shop.initialize(order_id)
    open_page = shop.visit(begun["checkout_url"])
    shop.make_due(order_id, expires=True)
    assert shop.initialize(order_id).code == "order_not_payable"
    shop.sweep()

    order = shop.await_order(order_id, "expired")
    assert [payment["status"] for payment in order["payments"]] == ["closed"]
    assert shop.available(sku) == 10
    assert shop.event_names(order_id)[-2:] == ["payment.closed", "order.expired"]
    calls = [entry.call for entry in shop.chapa.journal(tx_ref=begun["tx_ref"])]
    cancelled = calls.index("cancel")
    assert "verify" in calls[:cancelled]
    assert "verify" in calls[cancelled:]

    page = shop.visit(begun["checkout_url"])
    assert "can no longer be paid" in page.text
    assert page.buttons == {}
    # A page that the customer opened before.
    pressed = requests.post(open_page.target, data=open_page.buttons["pay"], timeout=10)
    assert pressed.status_code == 409
    assert "can no longer be paid" in pressed.text
    assert shop.state(order_id) == ("expired", ["closed"])
    refused = shop.initialize(order_id)
    assert (refused.status, refused.code) == (409, "order_not_payable")
    assert refused["order_status"] == "expired"


def test_late_success_takes_the_stock_again(shop: DeployedShop) -> None:
    sku = shop.product(2)
    order_id, tx_ref = shop.expired(sku)
    assert shop.available(sku) == 2
    shop.chapa.pay(tx_ref, late=True)
    shop.await_order(order_id, "paid")
    assert shop.state(order_id) == ("paid", ["succeeded"])
    assert shop.available(sku) == 0
    assert shop.event_names(order_id)[-2:] == ["payment.succeeded", "order.paid"]


def test_late_success_of_sold_stock_is_refunded(shop: DeployedShop) -> None:
    sku = shop.product(2)
    order_id, tx_ref = shop.expired(sku)
    shop.ordered(sku, 1, user="sara")
    shop.chapa.pay(tx_ref, late=True)
    until(
        lambda: shop.event_names(order_id),
        lambda events: "refund.requested" in events,
        "a refund is requested",
    )
    shop.await_payment(tx_ref, "refunded")
    assert shop.refunds(tx_ref) == [("901.00", "refunded")]
    assert shop.chapa.payment(tx_ref)["status"] == "refunded"
    assert len(shop.calls("refund", tx_ref)) == 1
    assert shop.order(order_id)["status"] == "expired"
    assert shop.available(sku) == 1
    assert shop.event_names(order_id)[-5:] == [
        "payment.unapplied",
        "refund.requested",
        "refund.accepted",
        "refund.completed",
        "payment.refunded",
    ]
    assert "order.paid" not in shop.event_names(order_id)
    events = [event["name"] for event in shop.payment(tx_ref)["events"]]
    assert events == shop.event_names(order_id)


def test_late_success_under_policy_review_waits_until_an_operator_refunds_it(
    shop: DeployedShop,
) -> None:
    sku = shop.product()
    order_id, tx_ref = shop.expired(sku)
    before = shop.counted("PaymentReview")
    # The message of a worker whose process is replaced comes back only after ten seconds.
    shop.await_worker()
    with (
        shop.with_environment("webhook", LATE_SUCCESS_POLICY="review"),
        shop.with_environment("reconcile", LATE_SUCCESS_POLICY="review"),
    ):
        shop.chapa.pay(tx_ref, late=True)
        until(lambda: shop.state(order_id), lambda s: s == ("expired", ["review"]), "in review")
        shop.await_worker()
    assert shop.event_names(order_id)[-1] == "payment.review"
    until(lambda: shop.counted("PaymentReview"), lambda n: n == before + 1, "it is counted")
    assert shop.available(sku) == 10
    assert shop.refunds(tx_ref) == []

    code, resolved, _ = shop.operate("resolve", tx_ref, "--refund", "--reason", "sold out")
    assert (code, resolved["status"]) == (0, "unapplied")
    shop.await_payment(tx_ref, "refunded")
    assert shop.refunds(tx_ref) == [("901.00", "refunded")]


def test_cancel_that_chapa_fails_to_answer_is_finished_by_the_worker(shop: DeployedShop) -> None:
    sku = shop.product()
    order_id = shop.ordered(sku)
    begun = shop.initialize(order_id)
    shop.chapa.add_fault("cancel", "status", tx_ref=begun["tx_ref"], status=503)
    response = shop.cancel(order_id)
    assert (response.status, response["status"], response["cancelling"]) == (202, "pending", True)
    shop.await_order(order_id, "cancelled")
    assert shop.state(order_id) == ("cancelled", ["closed"])
    assert shop.available(sku) == 10
    assert shop.event_names(order_id)[-2:] == ["payment.closed", "order.cancelled"]
    assert "can no longer be paid" in shop.visit(begun["checkout_url"]).text
    assert shop.initialize(order_id).code == "order_not_payable"
    again = shop.cancel(order_id)
    assert (again.status, again["status"]) == (200, "cancelled")
