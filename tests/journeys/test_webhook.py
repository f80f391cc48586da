"""Webhooks as API Gateway passes them: genuine, forged and hostile; rotation of the secret."""

import json
from collections.abc import Mapping
from http.client import HTTPConnection
from urllib.parse import urlsplit

import pytest

from payments.chapa.signature import sign
from payments.web.http import MAX_BODY
from sandbox.client import PATIENCE, Response, until
from tests.forgeries import Sent, forgeries, hostile
from tests.journeys.shop import DeployedShop, body_about, is_problem


def some[T](corpus: Mapping[str, T]) -> dict[str, T]:
    """Every fifth entry, and the last one, which is the largest."""
    names = list(corpus)
    return {name: corpus[name] for name in [*names[::5], names[-1]]}


def send(shop: DeployedShop, sent: Sent) -> Response:
    """Headers exactly as given, also one that comes twice, and no others."""
    url = urlsplit(shop.stack["webhook_url"])
    connection = HTTPConnection(url.netloc, timeout=PATIENCE + 30)
    try:
        connection.putrequest("POST", url.path, skip_accept_encoding=True)
        for name, value in (*sent.headers, ("content-length", str(len(sent.body)))):
            connection.putheader(name, value)
        connection.endheaders(sent.body)
        response = connection.getresponse()
        headers = {name.lower(): value for name, value in response.getheaders()}
        return Response(response.status, json.loads(response.read()), headers)
    finally:
        connection.close()


def test_forged_webhook_is_refused_and_changes_nothing(
    shop: DeployedShop, subtests: pytest.Subtests
) -> None:
    order_id, tx_ref = shop.begun(shop.product())
    shop.chapa.pay(tx_ref, webhook=False)
    secret = shop.secret()
    corpus = forgeries(tx_ref, secret["webhook_secret"], secret["api_key"])
    with shop.nothing_written():
        for name, sent in some(corpus).items():
            with subtests.test(name):
                response = send(shop, sent)
                too_long = len(sent.body) > MAX_BODY
                expected = (400, "invalid_request") if too_long else (401, "bad_signature")
                assert (response.status, response.code) == expected
                assert is_problem(response)
    assert shop.calls("verify", tx_ref) == []
    assert shop.state(order_id) == ("pending", ["pending"])


def test_signed_hostile_webhook_settles_nothing(
    shop: DeployedShop, subtests: pytest.Subtests
) -> None:
    sku = shop.product()
    order_id, tx_ref = shop.begun(sku)
    for name, (body, expected) in some(hostile(tx_ref)).items():
        with subtests.test(name):
            signature = sign(body, shop.stack["webhook_secret"])
            sent = Sent(body, (("x-chapa-signature", signature),))
            response = send(shop, sent)
            assert response.body.get("outcome", response.code) == expected
            assert response.status == (200 if "outcome" in response.body else 400)
            assert "outcome" in response.body or is_problem(response)
    shop.await_worker()
    assert shop.state(order_id) == ("pending", ["pending"])
    assert shop.available(sku) == 8


def test_signature_is_checked_against_the_bytes_that_were_sent(shop: DeployedShop) -> None:
    order_id, tx_ref = shop.begun(shop.product())
    text = '{ "event":"charge.success","tx_ref":"%s","first_name":"ብርቱካን","logo":"https:\\/\\/x" }'
    shop.chapa.pay(tx_ref, webhook=False)
    body = (text % tx_ref).encode()
    signature = sign(body, shop.stack["webhook_secret"])
    # API Gateway encodes a body without a content type, or of another type, in base64.
    response = shop.post_webhook(body, {"x-chapa-signature": signature})
    assert (response.status, response.body) == (200, {"outcome": "applied"})
    assert shop.state(order_id) == ("paid", ["succeeded"])
    for content_type in (
        "application/json; charset=utf-8",
        "application/octet-stream",
        "application/x-www-form-urlencoded",
        "text/plain",
    ):
        for header in ("x-chapa-signature", "chapa-signature"):
            response = shop.post_webhook(body, {header: signature, "content-type": content_type})
            assert response.body == {"outcome": "duplicate"}


def test_secret_is_rotated_without_losing_a_webhook(shop: DeployedShop) -> None:
    old = shop.secret()
    body = body_about("not-ours")

    def accepted() -> list[bool]:
        keys = (old["webhook_secret"], "the next secret")
        responses = [shop.notify(body, secret=key) for key in keys]
        assert {response.status for response in responses} <= {200, 401}
        return [response.status == 200 for response in responses]

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


def test_unreadable_secret_is_answered_503_until_it_can_be_read(shop: DeployedShop) -> None:
    order_id, body = shop.ordered(shop.product()), body_about("not-ours")
    # Processes that start now read the secret now; others within a minute.
    with (
        shop.reconfigured("webhook", MemorySize=513),
        shop.with_environment("initialize", AWS_ENDPOINT_URL_SECRETS_MANAGER="http://127.0.0.1:1"),
    ):
        with shop.secret_deleted():
            for response in (shop.notify(body), shop.initialize(order_id)):
                assert (response.status, response.code) == (503, "unavailable")
                assert response["retry_after"] == int(response.headers["retry-after"]) > 0
        until(lambda: shop.notify(body).status, lambda s: s == 200, "the webhook reads it again")
    assert shop.initialize(order_id).status == 201
