"""A client of the stack on this machine, for the demo and the tests.

It calls the API as a shop and its customers do, and AWS as an operator does.
"""

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from html.parser import HTMLParser
from typing import Any, Self
from urllib.parse import urljoin

import requests
from boto3.dynamodb.types import TypeDeserializer

from operators.invariants import Confirmed
from payments.aws.catalogue import Catalogue
from payments.chapa.signature import sign
from payments.domain.decisions import PAGE_MARGIN_SECONDS
from sandbox.chapa.control import Control, ControlError
from sandbox.chapa.faults import Call
from sandbox.chapa.journal import Entry
from sandbox.stack import ROOT, Description
from sandbox.stack import client as aws_client

PATIENCE = 30
"""Seconds to wait at most, on a busy machine."""

_deserialize = TypeDeserializer().deserialize


class TooLate(Exception):
    """A condition was not met in time."""


@dataclass(frozen=True)
class Response:
    """A response of the API."""

    status: int
    body: dict[str, Any]
    headers: Mapping[str, str]

    def __getitem__(self, field: str) -> Any:
        return self.body[field]

    @property
    def code(self) -> str:
        return str(self.body.get("code"))


class Page(HTMLParser):
    """A page in a customer's browser, with the buttons of its form by value."""

    def __init__(self, url: str, response: requests.Response) -> None:
        super().__init__()
        self.url = url
        self.status = response.status_code
        self.text = response.text
        self.target = url
        self.buttons: dict[str, dict[str, str]] = {}
        self.feed(response.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.target = urljoin(self.url, attributes.get("action", ""))
        elif tag == "button":
            self.buttons[attributes["value"]] = {attributes["name"]: attributes["value"]}


class Client:
    def __init__(self, stack: Description) -> None:
        self.stack = stack
        self._session = requests.Session()
        self.chapa = Control(stack["chapa_url"].rpartition("/")[0], self._session)
        self._table = self.aws("dynamodb")
        self._lambda = self.aws("lambda")
        self._sqs = self.aws("sqs")
        self.units: dict[str, int] = {}
        """Units of each product that `sell` added, wherever they are now."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    def aws(self, service: str) -> Any:
        return aws_client(service, self.stack["endpoint_url"])

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        data: bytes | None = None,
        user: str | None = None,
        token: str | None = None,
        headers: Mapping[str, str | bytes] | None = None,
    ) -> Response:
        """One request to the API, thread-safe. `body` is sent as JSON, `data` as it is."""
        sent = dict(headers or {})
        if user is not None:
            token = self.stack["users"][user]["token"]
        if token is not None:
            sent["Authorization"] = f"Bearer {token}"
        with requests.Session() as session:
            # A proxy of this machine cannot reach a server on it.
            session.trust_env = False
            response = session.request(
                method,
                f"{self.stack['api_url']}{path}",
                json=body,
                data=data,
                headers=sent,
                timeout=PATIENCE + 30,
            )
        return Response(response.status_code, dict(response.json()), response.headers)

    def place(
        self,
        items: Mapping[str, int],
        *,
        user: str = "abebe",
        key: str | None = None,
        customer: Mapping[str, str] | None = None,
    ) -> Response:
        body: dict[str, Any] = {"items": [{"sku": s, "quantity": q} for s, q in items.items()]}
        if customer is not None:
            body["customer"] = dict(customer)
        headers = {"Idempotency-Key": key} if key is not None else {}
        return self.ask("POST", "/orders", body, user=user, headers=headers)

    def initialize(self, order_id: str, *, user: str = "abebe") -> Response:
        return self.ask("POST", "/payments", {"order_id": order_id}, user=user)

    def cancel(self, order_id: str, *, user: str = "abebe") -> Response:
        return self.ask("POST", f"/orders/{order_id}/cancel", user=user)

    def order(self, order_id: str, *, user: str = "abebe") -> Response:
        return self.ask("GET", f"/orders/{order_id}", user=user)

    def payment(self, tx_ref: str, *, user: str = "abebe", refresh: bool = False) -> Response:
        query = "?refresh=true" if refresh else ""
        return self.ask("GET", f"/payments/{tx_ref}{query}", user=user)

    def visit(self, url: str) -> Page:
        return Page(url, _browse("GET", url))

    def press(self, page: Page, button: str) -> str:
        """Press a button of the page's form. Returns the URL of the redirect, or nothing."""
        return _browse("POST", page.target, page.buttons[button]).headers.get("Location", "")

    def post_webhook(
        self, body: bytes, headers: Mapping[str, str | bytes] | None = None
    ) -> Response:
        return self.ask("POST", "/webhooks/chapa", data=body, headers=headers)

    def notify(self, body: bytes, *, secret: str | None = None) -> Response:
        """Post a webhook signed as Chapa signs it."""
        signature = sign(body, secret or self.stack["webhook_secret"])
        headers = {"x-chapa-signature": signature, "content-type": "application/json"}
        return self.post_webhook(body, headers)

    def call_back(self, tx_ref: str) -> Response:
        return self.ask("GET", f"/webhooks/chapa?trx_ref={tx_ref}&ref_id=APx&status=success")

    def calls(self, call: Call | None = None, tx_ref: str | None = None) -> list[Entry]:
        """Calls that Chapa received or sent."""
        return self.chapa.journal(call, tx_ref)

    def refunds(self, tx_ref: str) -> list[tuple[str, str]]:
        """Amount and status of each refund that Chapa has for a payment."""
        return [(r["amount"], r["status"]) for r in self.chapa.payment(tx_ref)["refunds"]]

    def answered(self, call: Call, tx_ref: str, times: int = 1) -> list[int | None]:
        """Status codes of so many webhooks or callbacks, once all have been answered."""
        entries = until(
            lambda: self.calls(call, tx_ref),
            lambda seen: len(seen) == times and all(e.status or e.error for e in seen),
            f"{times} x {call} answered",
        )
        return [entry.status for entry in entries]

    def confirmed(self) -> list[Confirmed]:
        """Amounts that Chapa was paid and has refunded, by payment."""
        return [
            Confirmed(
                payment["tx_ref"],
                _minor_units(payment["amount"]),
                sum(
                    _minor_units(refund["amount"])
                    for refund in payment["refunds"]
                    if refund["status"] == "refunded"
                ),
            )
            for payment in self.chapa.payments()
            if payment["status"] in {"success", "refunded", "reversed"}
        ]

    def sell(self, sku: str, units: int, price: int) -> None:
        """Add a product to the catalogue; `price` is in minor units."""
        self.units[sku] = units
        Catalogue(self._table, self.stack["table_name"]).set_product(
            sku, name=sku, unit_price=price, currency="ETB", add=units
        )

    def sweep(self) -> dict[str, int]:
        """Run the function that the schedule runs every minute. Returns its result."""
        name = self.stack["functions"]["expire"]
        response = self._lambda.invoke(FunctionName=name, Qualifier="live")
        with response["Payload"] as payload:
            result = json.loads(payload.read())
        if "FunctionError" in response:
            raise RuntimeError(f"the sweep failed: {result}")
        return dict(result)

    def make_due(self, order_id: str, *, expires: bool = False) -> None:
        """Move every check of an order, or its end, to now, and allow Chapa to be asked."""
        now = {":now": {"N": str(int(time.time()))}}
        order = {"pk": {"S": f"ORDER#{order_id}"}}
        records = self._table.query(
            TableName=self.stack["table_name"],
            KeyConditionExpression="pk = :pk AND sk > :order",
            ExpressionAttributeValues={":pk": order["pk"], ":order": {"S": "ORDER"}},
            ConsistentRead=True,
        )
        for record in records["Items"]:
            # What has no check any more gets none.
            with suppress(self._table.exceptions.ConditionalCheckFailedException):
                self._table.update_item(
                    TableName=self.stack["table_name"],
                    Key=order | {"sk": record["sk"]},
                    UpdateExpression="SET check_at = :now REMOVE checked_at",
                    ConditionExpression="attribute_exists(check_at)",
                    ExpressionAttributeValues=now,
                )
        self._table.update_item(
            TableName=self.stack["table_name"],
            Key=order | {"sk": {"S": "ORDER"}},
            UpdateExpression=f"SET due_at = :now, queued = :none{', expires_at = :now' * expires}"
            " ADD version :one",
            ConditionExpression="attribute_exists(due_at)",
            ExpressionAttributeValues={":one": {"N": "1"}, ":none": {"N": "0"}, **now},
        )

    def end_pages(self, order_id: str) -> None:
        """End the checkout pages of an order now, at Chapa and in the table.

        The table's time is so early that no margin is left to wait for.
        """
        ended = str(int(time.time()) - PAGE_MARGIN_SECONDS)
        payments = self._table.query(
            TableName=self.stack["table_name"],
            KeyConditionExpression="pk = :pk AND begins_with(sk, :sk)",
            ExpressionAttributeValues={":pk": {"S": f"ORDER#{order_id}"}, ":sk": {"S": "PAYMENT#"}},
            ConsistentRead=True,
        )["Items"]
        for payment in payments:
            with suppress(ControlError):  # One that never arrived has no page.
                self.chapa.expire(payment["tx_ref"]["S"])
        # In one transaction, so that a process that has read the payments before cannot undo it.
        self._table.transact_write_items(
            TransactItems=[
                self._changed(order_id, "ORDER", "ADD version :new", "1"),
                *(
                    self._changed(order_id, each["sk"]["S"], "SET page_expires_at = :new", ended)
                    for each in payments
                ),
            ]
        )

    def _changed(self, order_id: str, sk: str, update: str, new: str) -> dict[str, Any]:
        return {
            "Update": {
                "TableName": self.stack["table_name"],
                "Key": {"pk": {"S": f"ORDER#{order_id}"}, "sk": {"S": sk}},
                "UpdateExpression": update,
                "ExpressionAttributeValues": {":new": {"N": new}},
            }
        }

    def check(self, order_id: str, *, expires: bool = False) -> None:
        """Check an order now, unless nothing is left to check."""
        with suppress(self._table.exceptions.ConditionalCheckFailedException):
            self.make_due(order_id, expires=expires)
        self.sweep()
        self.await_worker()

    def available(self, sku: str) -> int:
        """Units that can be bought."""
        key = {"pk": {"S": f"STOCK#{sku}"}, "sk": {"S": "STOCK"}}
        item = self._table.get_item(
            TableName=self.stack["table_name"], Key=key, ConsistentRead=True
        )["Item"]
        return int(item["available"]["N"])

    def event_names(self, order_id: str) -> list[str]:
        """Names of the order's events, oldest first."""
        pages = self._table.get_paginator("query").paginate(
            TableName=self.stack["table_name"],
            KeyConditionExpression="pk = :pk AND begins_with(sk, :sk)",
            ExpressionAttributeValues={":pk": {"S": f"ORDER#{order_id}"}, ":sk": {"S": "EVENTS#"}},
            ConsistentRead=True,
        )
        return [
            event["M"]["name"]["S"]
            for page in pages
            for item in page["Items"]
            for event in item["events"]["L"]
        ]

    def items(self) -> list[dict[str, Any]]:
        """Every item of the table, in DynamoDB's JSON."""
        pages = self._table.get_paginator("scan").paginate(
            TableName=self.stack["table_name"], ConsistentRead=True
        )
        return [item for page in pages for item in page["Items"]]

    def due(self) -> list[str]:
        """Sort keys of all items in the index `due`: orders and events, due now or later."""
        pages = self._table.get_paginator("scan").paginate(
            TableName=self.stack["table_name"], IndexName="due"
        )
        return [item["sk"]["S"] for page in pages for item in page["Items"]]

    def dump(self) -> list[dict[str, Any]]:
        """Every item of the table; two dumps are equal when nothing was written between them.

        The attributes that publishing removes are left out.
        """
        items = [{k: _deserialize(v) for k, v in raw.items()} for raw in self.items()]
        for item in items:
            if item["sk"].startswith("EVENTS#"):
                item.pop("due_shard", None)
                item.pop("due_at", None)
        return sorted(items, key=lambda item: (item["pk"], item["sk"]))

    def queued(self, queue: str) -> int:
        """Number of messages on the queue, with those in flight and delayed."""
        counts = self._sqs.get_queue_attributes(
            QueueUrl=self.stack["queues"][queue], AttributeNames=["All"]
        )["Attributes"]
        names = ("", "NotVisible", "Delayed")
        return sum(int(counts[f"ApproximateNumberOfMessages{name}"]) for name in names)

    def _variables(self, function: str) -> dict[str, str]:
        name = self.stack["functions"][function]
        configuration = self._lambda.get_function_configuration(FunctionName=name, Qualifier="live")
        return dict(configuration["Environment"]["Variables"])

    def logged(self, words: str = "", function: str = "") -> Iterator[tuple[str, str]]:
        """Log groups and log lines with these words, of one function or of all."""
        logs = self.aws("logs")
        pattern = {"filterPattern": f'"{words}"'} if words else {}
        for group in logs.describe_log_groups()["logGroups"]:
            name = group["logGroupName"]
            if not name.endswith(f"/{function}" if function else ""):
                continue
            for page in logs.get_paginator("filter_log_events").paginate(
                logGroupName=name, **pattern
            ):
                yield from ((name, event["message"]) for event in page["events"])

    def operate(self, *arguments: str) -> tuple[int, Any, str]:
        """Run the operators' tool on this stack: exit code, JSON document and error text."""
        environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        done = subprocess.run(
            [str(ROOT / "operate"), *arguments, "--json", "--yes"],
            env=environment | self.operator_environment,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, json.loads(done.stdout or "{}"), done.stderr

    @property
    def operator_environment(self) -> dict[str, str]:
        return {
            **self.stack["operator"],
            "AWS_ENDPOINT_URL": self.stack["endpoint_url"],
            "AWS_DEFAULT_REGION": self.stack["region"],
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "NO_PROXY": "127.0.0.1",
        }

    def await_order(self, order_id: str, status: str, *, user: str = "abebe") -> Response:
        return until(
            lambda: self.order(order_id, user=user),
            lambda order: bool(order["status"] == status),
            f"order {order_id} is {status}",
        )

    def await_worker(self) -> None:
        """Wait until the queue of the function `reconcile` is empty."""
        until(lambda: self.queued("reconcile"), lambda n: n == 0, "the queue is empty")


def _minor_units(amount: str) -> int:
    return int(Decimal(amount) * 100)


def _browse(method: str, url: str, fields: Mapping[str, str] | None = None) -> requests.Response:
    with requests.Session() as session:
        session.trust_env = False
        return session.request(method, url, data=fields, timeout=PATIENCE, allow_redirects=False)


def until[T](read: Callable[[], T], good: Callable[[T], bool], what: str) -> T:
    """Read until the value is good. Raises TooLate with the last value."""
    deadline = time.monotonic() + PATIENCE
    while not good(seen := read()):
        if time.monotonic() > deadline:
            raise TooLate(f"still not after {PATIENCE} s: {what}; last seen: {seen}")
        time.sleep(0.05)
    return seen
