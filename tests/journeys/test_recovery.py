"""Nothing is ever stuck, and every birr that Chapa confirms has an owner."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import parse_qs, urlsplit

from sandbox.client import Stock, until
from tests.journeys.shop import Shop, at_once, body_about, order_of


@contextmanager
def policy(shop: Shop, name: str) -> Iterator[None]:
    """What becomes of a late success, for whoever meets it first."""
    # A worker whose process is replaced drops its message, which then is hidden for minutes.
    shop.await_worker()
    with (
        shop.told("webhook", LATE_SUCCESS_POLICY=name),
        shop.told("reconcile", LATE_SUCCESS_POLICY=name),
    ):
        yield
        shop.await_worker()


class TestLateSuccessByPolicy:
    def test_refund_pays_back_although_the_stock_is_there(self, shop: Shop) -> None:
        sku = shop.product()
        order_id, tx_ref = shop.expired(sku)
        with policy(shop, "refund"):
            shop.chapa.pay(tx_ref, late=True)
            shop.await_payment(tx_ref, "refunded")
        assert shop.order(order_id)["status"] == "expired"
        assert shop.refunds(tx_ref) == [("901.00", "refunded")]
        assert shop.stock(sku) == Stock(10, 0, 0)
        assert "order.paid" not in shop.ledger(order_id)

    def test_review_leaves_it_to_a_person_with_an_alarm(self, shop: Shop) -> None:
        sku = shop.product()
        order_id, tx_ref = shop.expired(sku)
        before = shop.counted("PaymentReview")
        with policy(shop, "review"):
            shop.chapa.pay(tx_ref, late=True)
            until(lambda: shop.ledger(order_id)[-1], lambda e: e == "payment.review", "told")
            shop.await_worker()
            assert shop.state(order_id) == ("expired", ["review"])
            until(lambda: shop.counted("PaymentReview"), lambda n: n == before + 1, "counted")
        assert shop.stock(sku) == Stock(10, 0, 0)
        assert shop.refunds(tx_ref) == []

    def test_reserve_revives_a_cancelled_order_too(self, shop: Shop) -> None:
        sku = shop.product()
        order_id, tx_ref = shop.begun(sku)
        assert shop.cancel(order_id)["status"] == "cancelled"
        shop.chapa.pay(tx_ref, late=True)
        shop.await_order(order_id, "paid")
        assert shop.stock(sku) == Stock(8, 0, 2)


def two_pages(shop: Shop, sku: str) -> tuple[str, str, str]:
    """An order whose customer failed to pay on one page and then asked for another."""
    order_id, first = shop.begun(sku)
    shop.chapa.fail(first)
    until(lambda: shop.payment(first)["status"], lambda s: s == "failed", "it failed")
    second = shop.initialize(order_id)
    assert second.status == 201
    assert shop.payment(first)["status"] == "closed"
    return order_id, first, str(second["tx_ref"])


def test_a_replaced_payment_that_succeeds_pays_the_order_and_the_other_page_is_shut(
    shop: Shop,
) -> None:
    sku = shop.product()
    order_id, first, second = two_pages(shop, sku)
    shop.chapa.pay(first, late=True)
    shop.await_order(order_id, "paid")
    shop.await_payment(second, "closed")
    assert shop.chapa.payment(second)["cancelled"]
    assert shop.payment(first)["status"] == "succeeded"
    assert shop.stock(sku) == Stock(8, 0, 2)


def test_of_two_payments_of_one_order_one_is_paid_back(shop: Shop) -> None:
    sku = shop.product()
    order_id, *both = two_pages(shop, sku)
    for tx_ref in both:
        shop.chapa.pay(tx_ref, late=True, webhook=False)
    at_once(2, lambda n: shop.notify(body_about(both[n])))
    shop.await_order(order_id, "paid")
    shop.await_worker()
    statuses = {tx_ref: shop.payment(tx_ref)["status"] for tx_ref in both}
    assert sorted(statuses.values()) == ["succeeded", "surplus"]
    [kept] = [tx_ref for tx_ref, status in statuses.items() if status == "succeeded"]
    [owed] = [tx_ref for tx_ref, status in statuses.items() if status == "surplus"]
    shop.await_payment(owed, "refunded")
    assert shop.refunds(owed) == [("901.00", "refunded")]
    assert shop.refunds(kept) == []
    assert shop.order(order_id)["status"] == "paid"
    assert shop.stock(sku) == Stock(8, 0, 2)
    assert shop.ledger(order_id).count("order.paid") == 1


class TestInitializingAfterACrash:
    """The payment is written, Chapa may have opened it, and whoever asked is dead."""

    def crashed(self, shop: Shop, sku: str) -> tuple[str, str]:
        order_id = shop.ordered(sku)
        shop.chapa.add_fault("initialize", "timeout_after", seconds=0.2)
        assert shop.initialize(order_id).status == 503
        [payment] = shop.order(order_id)["payments"]
        assert payment["status"] == "initializing"
        shop.lease(payment["tx_ref"], int(time.time()) + 60)
        return order_id, payment["tx_ref"]

    def test_it_is_left_alone_while_its_lease_lasts(self, shop: Shop) -> None:
        order_id, tx_ref = self.crashed(shop, shop.product())
        shop.look(order_id)
        assert shop.state(order_id) == ("pending", ["initializing"])
        assert shop.calls("cancel", tx_ref) == []

    def test_it_is_shut_after_its_lease_and_the_order_can_be_paid(self, shop: Shop) -> None:
        order_id, tx_ref = self.crashed(shop, shop.product())
        shop.lease(tx_ref, int(time.time()))
        shop.await_payment(tx_ref, "closed")
        assert shop.chapa.payment(tx_ref)["cancelled"]
        assert shop.state(order_id) == ("pending", ["closed"])
        assert shop.initialize(order_id).status == 201

    def test_it_ends_with_its_order_and_the_stock_comes_back(self, shop: Shop) -> None:
        sku = shop.product()
        order_id, tx_ref = self.crashed(shop, sku)
        shop.lease(tx_ref, int(time.time()))
        shop.make_due(order_id, expires=True)
        shop.sweep()
        shop.await_order(order_id, "expired")
        assert shop.state(order_id) == ("expired", ["closed"])
        assert shop.stock(sku) == Stock(10, 0, 0)

    def test_a_customer_who_found_the_page_all_the_same_has_paid(self, shop: Shop) -> None:
        sku = shop.product()
        order_id, tx_ref = self.crashed(shop, sku)
        shop.chapa.pay(tx_ref)
        shop.await_order(order_id, "paid")
        assert shop.stock(sku) == Stock(8, 0, 2)


def test_a_payment_whose_closer_died_is_closed_by_the_next(shop: Shop) -> None:
    sku = shop.product()
    order_id, tx_ref = shop.begun(sku)
    shop.chapa.add_fault("cancel", "status", tx_ref=tx_ref, status=503)
    shop.make_due(order_id, expires=True)
    shop.sweep()
    shop.await_worker()
    assert shop.state(order_id) == ("pending", ["closing"])
    shop.lease(tx_ref, int(time.time()) + 60)
    shop.look(order_id)
    assert shop.state(order_id) == ("pending", ["closing"])
    assert shop.stock(sku) == Stock(8, 2, 0)
    shop.lease(tx_ref, int(time.time()))
    shop.await_payment(tx_ref, "closed")
    assert shop.order(order_id)["status"] == "expired"
    assert shop.stock(sku) == Stock(10, 0, 0)


def test_a_chapa_silent_for_a_day_is_a_matter_for_a_person_and_the_stock_is_kept(
    shop: Shop,
) -> None:
    sku = shop.product()
    order_id, tx_ref = shop.begun(sku)
    before = shop.counted("PaymentReview")
    shop.chapa.add_fault("verify", "status", tx_ref=tx_ref, times=None, status=500)
    shop.look(order_id)
    assert shop.state(order_id) == ("pending", ["pending"])
    shop.rewrite(order_id, unknown_since=int(time.time()) - 86_400)
    shop.look(order_id)
    assert shop.state(order_id) == ("pending", ["review"])
    assert shop.stock(sku) == Stock(8, 2, 0)
    assert shop.ledger(order_id)[-1] == "payment.review"
    until(lambda: shop.counted("PaymentReview"), lambda n: n == before + 1, "it is counted")
    assert shop.initialize(order_id).code == "order_not_payable"

    shop.chapa.clear_faults()
    shop.chapa.pay(tx_ref)
    shop.await_order(order_id, "paid")
    assert shop.stock(sku) == Stock(8, 0, 2)


def test_a_customer_who_returns_sees_the_truth_although_nobody_reports_it(shop: Shop) -> None:
    shop.chapa.add_fault("webhook", "lost", times=None)
    order_id = shop.ordered(shop.product())
    begun = shop.initialize(order_id)
    returned_to = shop.press(shop.visit(begun["checkout_url"]), "pay")
    [tx_ref] = parse_qs(urlsplit(returned_to).query)["tx_ref"]
    assert shop.payment(tx_ref)["status"] == "pending"
    seen = until(
        lambda: shop.payment(tx_ref, refresh=True),
        lambda answer: bool(answer["status"] == "succeeded"),
        "the customer sees it paid",
    )
    assert seen["order_status"] == "paid"
    assert [event["name"] for event in seen["events"]] == [
        "order.placed",
        "payment.initializing",
        "payment.pending",
        "payment.succeeded",
        "order.paid",
    ]
    times = [event["at"] for event in seen["events"]]
    assert times == sorted(times)
    assert [entry.faults for entry in shop.calls("webhook", tx_ref)] == [["lost"]]
    assert shop.calls("callback", tx_ref) == []
    assert order_of(tx_ref) == order_id
