"""Copies of one message by the thousand: Chapa is asked now and then, and told nothing twice."""

import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from sandbox.client import Response, Stock
from tests.journeys.shop import Shop, body_about

SENDERS = 8
EVERY = 1
"""VerifyEverySeconds of this stack."""


def flood(copies: int, send: Callable[[int], Response]) -> tuple[list[Response], float]:
    """The answers, and how long it took."""
    began = time.monotonic()
    with ThreadPoolExecutor(SENDERS) as threads:
        answers = list(threads.map(send, range(copies)))
    return answers, time.monotonic() - began


def test_a_thousand_copies_of_a_webhook_ask_chapa_now_and_then_and_pay_once(shop: Shop) -> None:
    sku = shop.product()
    order_id, tx_ref = shop.begun(sku)
    body = body_about(tx_ref)

    def send(number: int) -> Response:
        if number == 900:
            shop.chapa.pay(tx_ref, webhook=False)
        return shop.notify(body)

    answers, seconds = flood(1000, send)
    assert {answer.status for answer in answers} == {200}
    outcomes = Counter(answer["outcome"] for answer in answers)
    assert outcomes["deferred"] > 800
    assert outcomes["applied"] <= 1
    assert outcomes.keys() <= {"applied", "deferred", "duplicate"}
    shop.await_order(order_id, "paid")
    shop.await_worker()
    # One question in each second of the clock that the flood touched, and the last look's.
    assert 1 <= len(shop.calls("verify", tx_ref)) <= seconds / EVERY + 3
    assert shop.state(order_id) == ("paid", ["succeeded"])
    assert shop.ledger(order_id).count("order.paid") == 1
    assert shop.ledger(order_id).count("payment.succeeded") == 1
    assert shop.stock(sku) == Stock(8, 0, 2)


def test_the_unsigned_callback_makes_nobody_ask_more_often(shop: Shop) -> None:
    sku = shop.product()
    order_id, tx_ref = shop.begun(sku)
    answers, seconds = flood(200, lambda _: shop.call_back(tx_ref))
    assert {(answer.status, answer["outcome"]) for answer in answers} == {(202, "noted")}
    shop.await_worker()
    assert 1 <= len(shop.calls("verify", tx_ref)) <= seconds / EVERY + 3
    assert shop.state(order_id) == ("pending", ["pending"])
    assert shop.stock(sku) == Stock(8, 2, 0)
