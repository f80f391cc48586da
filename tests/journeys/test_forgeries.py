"""A hostile internet, over HTTP: the corpus of `tests/forgeries.py` against the deployed stack."""

import json
from collections.abc import Iterator
from http.client import HTTPConnection
from urllib.parse import urlsplit

import pytest

from payments.chapa.signature import sign
from sandbox.client import PATIENCE, Response, Stock
from tests.forgeries import (
    HEADERS_OF_BODIES,
    KEYS,
    PRIVATE,
    QUERIES,
    SEGMENTS,
    Sent,
    forgeries,
    hostile,
    no_requests,
)
from tests.journeys.shop import CUSTOMER, Shop, is_problem

NOTHING = Sent(b"", ())
NO_ROUTE = {"message": "Not Found"}


def send(
    shop: Shop, method: str, path: str, sent: Sent = NOTHING, user: str | None = None
) -> Response:
    """The path and every header as they are, also one that comes twice, and none besides."""
    url = urlsplit(shop.stack["api_url"])
    connection = HTTPConnection(url.netloc, timeout=PATIENCE + 30)
    token = (("authorization", f"Bearer {shop.stack['users'][user]['token']}"),) if user else ()
    length = (("content-length", str(len(sent.body))),) if method == "POST" else ()
    try:
        connection.putrequest(method, f"{url.path}{path}", skip_accept_encoding=True)
        for name, value in (*token, *sent.headers, *length):
            connection.putheader(name, value)
        connection.endheaders(sent.body)
        answer = connection.getresponse()
        headers = {name.lower(): value for name, value in answer.getheaders()}
        return Response(answer.status, json.loads(answer.read()), headers)
    finally:
        connection.close()


def post(shop: Shop, sent: Sent) -> Response:
    return send(shop, "POST", "/webhooks/chapa", sent)


def tracebacks(shop: Shop) -> int:
    return sum(1 for _ in shop.logged("Traceback"))


@pytest.fixture(autouse=True)
def _nothing_told(shop: Shop) -> Iterator[None]:
    """Whatever is sent here: no log line tells of a bug or of a customer."""
    known = tracebacks(shop)
    yield
    shop.await_worker()
    assert tracebacks(shop) == known
    private = (*PRIVATE, *CUSTOMER.values())
    assert [line for _, line in shop.logged() for word in private if word in line] == []


def test_a_forgery_is_refused_and_changes_nothing(shop: Shop, subtests: pytest.Subtests) -> None:
    order_id, tx_ref = shop.begun(shop.product())
    shop.chapa.pay(tx_ref, webhook=False)
    secret = shop.secret()
    with shop.nothing_written():
        forged = forgeries(tx_ref, secret["webhook_secret"], secret["api_key"])
        for name, sent in forged.items():
            with subtests.test(name):
                answer = post(shop, sent)
                assert (answer.status, answer.code) == (401, "bad_signature")
                assert is_problem(answer)
    assert shop.calls("verify", tx_ref) == []
    assert shop.state(order_id) == ("pending", ["pending"])


def test_a_hostile_body_makes_nothing_true(shop: Shop, subtests: pytest.Subtests) -> None:
    sku = shop.product()
    order_id, tx_ref = shop.begun(sku)
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


def test_what_is_no_request_is_refused_and_writes_nothing(
    shop: Shop, subtests: pytest.Subtests
) -> None:
    sku = shop.product()
    order_id = shop.ordered(sku)
    good = {
        "/orders": {"items": [{"sku": sku, "quantity": 1}]},
        "/payments": {"order_id": order_id},
    }
    with shop.nothing_written():
        for path, body in good.items():
            for name, data in no_requests(json.dumps(body).encode()).items():
                # As nothing, as JSON, and as what it is.
                for kind in sorted(HEADERS_OF_BODIES.keys() & {"no type", "JSON", name}):
                    with subtests.test(f"{name} as {kind} to {path}"):
                        sent = Sent(data, tuple(HEADERS_OF_BODIES[kind].items()))
                        answer = send(shop, "POST", path, sent, "abebe")
                        assert (answer.status, answer.code) == (400, "invalid_request")
                        assert is_problem(answer)
                        assert len(json.dumps(answer.body)) < 5_000
    assert shop.state(order_id) == ("pending", [])


def test_a_hostile_path_leads_nowhere(shop: Shop, subtests: pytest.Subtests) -> None:
    with shop.nothing_written():
        for name, segment in SEGMENTS.items():
            for method, path in (
                ("GET", f"/orders/{segment}"),
                ("GET", f"/payments/{segment}"),
                ("POST", f"/orders/{segment}/cancel"),
            ):
                with subtests.test(f"{method} {path[:40]}, {name}"):
                    answer = send(shop, method, path, user="abebe")
                    assert answer.status == 404
                    # With a slash in it, it is no route of ours.
                    assert answer.body == NO_ROUTE or is_problem(answer)
                    assert send(shop, method, path).status in {401, 404}


def test_a_hostile_query_asks_for_nothing(shop: Shop, subtests: pytest.Subtests) -> None:
    order_id, tx_ref = shop.begun(shop.product())
    with shop.nothing_written():
        for name, query in QUERIES.items():
            with subtests.test(name):
                answer = send(shop, "GET", f"/payments/{tx_ref}?{query}", user="abebe")
                wrong = "refresh" in query and "refresh[]" not in query
                assert answer.status == (400 if wrong else 200)
                assert is_problem(answer) == wrong
                answer = send(shop, "GET", f"/orders/{order_id}?{query}", user="abebe")
                assert (answer.status, answer["status"]) == (200, "pending")
                answer = send(shop, "GET", f"/webhooks/chapa?{query.replace('refresh', 'trx_ref')}")
                assert (answer.status, answer.body) == (202, {"outcome": "noted"})
    assert shop.calls("verify", tx_ref) == []


def test_a_hostile_idempotency_key_finds_its_own_order(
    shop: Shop, subtests: pytest.Subtests
) -> None:
    body = json.dumps({"items": [{"sku": shop.product(50), "quantity": 1}]}).encode()
    for name, key in KEYS.items():
        with subtests.test(name):
            sent = Sent(body, (("idempotency-key", key),))
            first, second = (send(shop, "POST", "/orders", sent, "abebe") for _ in range(2))
            if 1 <= len(key) <= 200:
                # Two keys that are no text may be one to the gateway: then the second is a repeat.
                assert (first.status, second.status) in {(201, 200), (200, 200)}
                assert first["order_id"] == second["order_id"]
            else:
                assert (first.code, second.code) == ("invalid_request", "invalid_request")
    twice = Sent(body, (("idempotency-key", b"one"), ("idempotency-key", b"other")))
    first, second = (send(shop, "POST", "/orders", twice, "abebe") for _ in range(2))
    assert (first.status, second.status) == (201, 200)
