"""Who may tell us that a payment ended, and what it costs when somebody else tries."""

import pytest

from payments.chapa.signature import sign
from sandbox.client import Stock
from tests.journeys.shop import Shop, body_about


def signed(body: bytes, secret: str) -> dict[str, str | bytes]:
    return {"x-chapa-signature": sign(body, secret), "content-type": "application/json"}


@pytest.mark.parametrize(
    "forgery", ["random", "constant", "api_key", "uppercase", "other_body", "missing"]
)
def test_what_chapa_itself_would_not_sign_is_refused(shop: Shop, forgery: str) -> None:
    _, tx_ref = shop.begun(shop.product())
    shop.chapa.pay(tx_ref, webhook=False)
    shop.chapa.set(retry_seconds=600)
    with shop.nothing_written():
        shop.chapa.webhook("charge.success", tx_ref, signature=forgery)  # type: ignore[arg-type]
        assert shop.answered("webhook", tx_ref) == [401]
    assert shop.calls("verify", tx_ref) == []


def test_a_body_of_any_bytes_is_read_as_it_travelled(shop: Shop) -> None:
    sku = shop.product()
    order_id, tx_ref = shop.begun(sku)
    shop.chapa.pay(tx_ref, webhook=False)
    text = '{ "event":"charge.success","tx_ref":"%s","first_name":"ብርቱካን","logo":"https:\\/\\/x" }'
    body = (text % tx_ref).encode()
    # Without a content type the API hands the body on in base64.
    answer = shop.post_webhook(
        body, {"x-chapa-signature": sign(body, shop.stack["webhook_secret"])}
    )
    assert (answer.status, answer.body) == (200, {"outcome": "applied"})
    assert shop.state(order_id) == ("paid", ["succeeded"])
    assert shop.stock(sku) == Stock(8, 0, 2)


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "application/json; charset=utf-8",
        "application/octet-stream",
        "application/x-www-form-urlencoded",
        "text/plain",
    ],
)
def test_the_content_type_does_not_matter(shop: Shop, content_type: str) -> None:
    body = body_about("not-ours-ብ")
    headers = {**signed(body, shop.stack["webhook_secret"]), "content-type": content_type}
    assert shop.post_webhook(body, headers).body == {"outcome": "ignored"}


def test_a_payload_signature_counts_under_chapa_s_other_name(shop: Shop) -> None:
    body = body_about("not-ours")
    headers = {"chapa-signature": sign(body, shop.stack["webhook_secret"])}
    assert shop.post_webhook(body, headers).body == {"outcome": "ignored"}


def test_a_webhook_is_not_believed(shop: Shop) -> None:
    sku = shop.product()
    order_id, tx_ref = shop.begun(sku)
    assert shop.notify(body_about(tx_ref)).body == {"outcome": "deferred"}
    shop.await_worker()
    assert shop.state(order_id) == ("pending", ["pending"])
    assert shop.stock(sku) == Stock(8, 2, 0)
    assert len(shop.calls("verify", tx_ref)) in {1, 2}


@pytest.mark.parametrize("fault", ["wrong_amount", "wrong_currency", "wrong_mode", "wrong_tx_ref"])
def test_money_that_is_not_what_was_asked_for_waits_for_a_person(shop: Shop, fault: str) -> None:
    sku = shop.product()
    order_id, tx_ref = shop.begun(sku)
    shop.chapa.add_fault("verify", fault, tx_ref=tx_ref, times=None)  # type: ignore[arg-type]
    shop.chapa.pay(tx_ref, webhook=False)
    assert shop.notify(body_about(tx_ref)).body == {"outcome": "applied"}
    assert shop.state(order_id) == ("pending", ["review"])
    assert shop.stock(sku) == Stock(8, 2, 0)
    assert shop.ledger(order_id)[-1] == "payment.review"


@pytest.mark.parametrize(
    ("fault", "details"),
    [("early", {"n": 1}), ("failed_first", {}), ("out_of_order", {"seconds": 1})],
)
def test_events_in_any_order_end_in_a_paid_order(
    shop: Shop, fault: str, details: dict[str, int]
) -> None:
    sku = shop.product()
    order_id, tx_ref = shop.begun(sku)
    shop.chapa.add_fault("webhook", fault, tx_ref=tx_ref, **details)  # type: ignore[arg-type]
    shop.chapa.pay(tx_ref)
    shop.await_order(order_id, "paid")
    copies = 1 if fault == "early" else 2
    assert shop.answered("webhook", tx_ref, copies) == [200] * copies
    assert shop.state(order_id) == ("paid", ["succeeded"])
    assert shop.stock(sku) == Stock(8, 0, 2)
    assert shop.ledger(order_id).count("order.paid") == 1


def test_not_knowing_is_not_failing(shop: Shop) -> None:
    sku = shop.product()
    order_id, tx_ref = shop.begun(sku)
    # Longer than a question is asked again by itself.
    shop.chapa.add_fault("verify", "status", tx_ref=tx_ref, times=None, status=500)
    shop.chapa.pay(tx_ref, webhook=False)
    assert shop.notify(body_about(tx_ref)).body == {"outcome": "deferred"}
    assert shop.state(order_id) == ("pending", ["pending"])
    assert shop.stock(sku) == Stock(8, 2, 0)
    shop.chapa.clear_faults()
    shop.await_order(order_id, "paid")


def test_a_secret_is_rotated_without_losing_a_webhook(shop: Shop) -> None:
    old = shop.secret()
    body = body_about("not-ours")

    def accepted() -> list[bool]:
        keys = (old["webhook_secret"], "the next secret")
        answers = [shop.notify(body, secret=key) for key in keys]
        assert {answer.status for answer in answers} <= {200, 401}
        return [answer.status == 200 for answer in answers]

    assert accepted() == [True, False]
    both = {"webhook_secret": "the next secret", "webhook_secret_previous": old["webhook_secret"]}
    try:
        shop.set_secret(old | both)
        # Processes that start now read the secret now; others within a minute.
        with shop.reconfigured("webhook", MemorySize=513):
            assert accepted() == [True, True]
            shop.set_secret(old | {"webhook_secret": "the next secret"})
        assert accepted() == [False, True]
    finally:
        shop.set_secret(old)
        with shop.reconfigured("webhook", MemorySize=513):
            pass
    assert accepted() == [True, False]
