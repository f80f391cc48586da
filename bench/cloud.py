"""AWS and Chapa on this machine, with fixed answers: what is measured is the function."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, override

from payments.aws.items import item_of, record_key, serialize, stock_key
from payments.domain.records import Line, Order, Payment
from payments.domain.states import PaymentStatus

API_KEY = "CHASECK_TEST-0123456789abcdefghij"
WEBHOOK_SECRET = "the-webhook-secret"  # noqa: S105 - made up
ORDER_ID = "abcdefghijkl"
TX_REF = f"{ORDER_ID}mnopqrst"
USER = "6f1d1c9e-7c61-4a36-9f0d-5b9c8a1f2e34"
FAR = 4_000_000_000
LINES = (Line("COFFEE-250", "Yirgacheffe coffee, 250 g", 2, 45_000),)
ORDER = Order(ORDER_ID, USER, 90_000, "ETB", LINES, 0, FAR, "hash", due_at=FAR)
PAYMENT = Payment(TX_REF, "chapa-v1", 90_000, "ETB", 0, PaymentStatus.PENDING, check_at=FAR)
SECRET = {"api_key": API_KEY, "webhook_secret": WEBHOOK_SECRET}
PRODUCT = {
    "name": "Yirgacheffe coffee, 250 g",
    "unit_price": 45_000,
    "currency": "ETB",
    "stocked": 100,
    "available": 100,
    "for_sale": True,
}
BASELINE_ROWS: Mapping[str, Mapping[str, Any]] = {
    "baseline-orders": {
        "order_id": "an-order",
        "amount": 900,
        "currency": "ETB",
        "status": "pending",
    },
    "baseline-payments": {"tx_ref": TX_REF, "order_id": "an-order", "status": "pending"},
}


def _stored(record: Order | Payment) -> dict[str, Any]:
    item = {name: serialize(value) for name, value in item_of(record).items()}
    return record_key(ORDER_ID, record) | item


def aws(target: str, body: Mapping[str, Any], *, begun: bool) -> dict[str, Any]:
    """The answer of an AWS call. `begun`: whether the order has an open payment."""
    operation = target.partition(".")[2]
    match operation:
        case "GetSecretValue":
            return {"Name": "chapa", "VersionId": "1", "SecretString": json.dumps(SECRET)}
        case "Query" if "IndexName" in body:
            return {"Items": [], "Count": 0, "ScannedCount": 0}
        case "Query":
            items = [_stored(ORDER), *([_stored(PAYMENT)] if begun else [])]
            return {"Items": items, "Count": len(items), "ScannedCount": len(items)}
        case "GetItem":
            row = BASELINE_ROWS[body["TableName"]]
            return {"Item": {name: serialize(value) for name, value in row.items()}}
        case "BatchGetItem":
            [(table, wanted)] = body["RequestItems"].items()
            keys = [key for key in wanted["Keys"] if key["pk"]["S"].startswith("STOCK#")]
            product = {name: serialize(value) for name, value in PRODUCT.items()}
            found = [stock_key(key["pk"]["S"].removeprefix("STOCK#")) | product for key in keys]
            return {"Responses": {table: found}, "UnprocessedKeys": {}}
        case "PutEvents":
            entries = [{"EventId": "1"} for _ in body["Entries"]]
            return {"FailedEntryCount": 0, "Entries": entries}
    return {}


def chapa(path: str) -> dict[str, Any]:
    if "initialize" in path:
        url = "https://checkout.chapa.co/checkout/payment/token"
        return {"message": "Hosted Link", "status": "success", "data": {"checkout_url": url}}
    facts = {"status": "success", "reference": "APezQ1KKswbb", "tx_ref": TX_REF, "mode": "test"}
    facts |= {"amount": 900, "currency": "ETB"}  # type: ignore[dict-item]
    return {"message": "Payment details", "status": "success", "data": facts}


type Respond = Callable[[str | None, str, bytes], tuple[int, Mapping[str, Any]]]
"""Of AWS's operation, if it is one, the path and the body: the status and the answer."""


def fixed(begun: bool) -> Respond:
    def respond(target: str | None, path: str, body: bytes) -> tuple[int, Mapping[str, Any]]:
        return 200, aws(target, json.loads(body), begun=begun) if target else chapa(path)

    return respond


class Cloud(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, respond: Respond) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.respond = respond
        self.requests = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Cloud

    def do_POST(self) -> None:
        self.server.requests += 1
        given = self.rfile.read(int(self.headers.get("content-length", 0)))
        status, answer = self.server.respond(self.headers.get("x-amz-target"), self.path, given)
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_PUT = do_POST  # noqa: N815 - the names are those of http.server

    @override
    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def running(begun: bool = False, respond: Respond | None = None) -> Iterator[Cloud]:
    cloud = Cloud(respond or fixed(begun))
    threading.Thread(target=cloud.serve_forever, daemon=True).start()
    try:
        yield cloud
    finally:
        cloud.shutdown()
        cloud.server_close()
