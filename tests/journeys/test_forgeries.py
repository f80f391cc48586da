"""A hostile internet, over HTTP: the corpus of `tests/forgeries.py` against the deployed stack."""

import json
from http.client import HTTPConnection
from urllib.parse import urlsplit

import pytest

from payments.signature import sign
from sandbox.client import PATIENCE, Answer, Stock
from tests.forgeries import PRIVATE, Sent, forgeries, hostile
from tests.journeys.shop import Shop, is_problem


def post(shop: Shop, sent: Sent) -> Answer:
    """Every header as it is, also one that comes twice, and none besides."""
    url = urlsplit(f"{shop.stack['api_url']}/webhooks/chapa")
    connection = HTTPConnection(url.netloc, timeout=PATIENCE + 30)
    try:
        connection.putrequest("POST", url.path, skip_accept_encoding=True)
        for name, value in (*sent.headers, ("content-length", str(len(sent.body)))):
            connection.putheader(name, value)
        connection.endheaders(sent.body)
        answer = connection.getresponse()
        headers = {name.lower(): value for name, value in answer.getheaders()}
        return Answer(answer.status, json.loads(answer.read()), headers)
    finally:
        connection.close()


def tracebacks(shop: Shop) -> int:
    return sum(1 for _ in shop.logged("Traceback"))


def test_a_forgery_is_refused_and_changes_nothing(shop: Shop, subtests: pytest.Subtests) -> None:
    order_id, tx_ref = shop.begun(shop.product())
    shop.chapa.pay(tx_ref, webhook=False)
    secret = shop.secret()
    known = tracebacks(shop)
    with shop.nothing_written():
        forged = forgeries(tx_ref, secret["webhook_secret"], secret["api_key"])
        for name, sent in forged.items():
            with subtests.test(name):
                answer = post(shop, sent)
                assert (answer.status, answer.code) == (401, "bad_signature")
                assert is_problem(answer)
    assert shop.calls("verify", tx_ref) == []
    assert shop.state(order_id) == ("pending", ["pending"])
    assert tracebacks(shop) == known


def test_a_hostile_body_makes_nothing_true(shop: Shop, subtests: pytest.Subtests) -> None:
    sku = shop.product()
    order_id, tx_ref = shop.begun(sku)
    known = tracebacks(shop)
    for name, (body, told) in hostile(tx_ref).items():
        with subtests.test(name):
            # Without a content type the API hands the bytes on in base64, as they are.
            signature = sign(body, shop.stack["webhook_secret"])
            answer = post(shop, Sent(body, (("x-chapa-signature", signature),)))
            assert answer.body.get("outcome", answer.code) == told
            assert answer.status == (200 if "outcome" in answer.body else 400)
            assert "outcome" in answer.body or is_problem(answer)
    shop.await_worker()
    assert shop.state(order_id) == ("pending", ["pending"])
    assert shop.stock(sku) == Stock(8, 2, 0)
    assert tracebacks(shop) == known
    told_of = [line for _, line in shop.logged() for word in PRIVATE if word in line]
    assert told_of == []
