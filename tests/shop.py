"""A shop inside one process: the product's own code on moto, with the Chapa simulator beside it.

Only the clock, the randomness and the two networks are not the real ones. Time moves when a test
moves it.
"""

import json
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib import import_module
from typing import Any
from unittest.mock import patch
from warnings import catch_warnings, filterwarnings

import boto3
from botocore.exceptions import EndpointConnectionError

from operators.invariants import ClientView, Confirmed, violations
from payments.aws.queue import Queue
from payments.aws.repository import CATALOGUE_LIST, Repository
from payments.aws.secrets import SecretStore
from payments.chapa import signature
from payments.chapa.v1 import READ_RETRIES, ChapaV1
from payments.domain.aggregate import OrderAggregate
from payments.domain.ids import order_id_of
from payments.domain.records import Payment
from payments.domain.states import OrderStatus
from payments.settings import Settings
from payments.usecases.backend import Backend
from sandbox.chapa.control import Control
from sandbox.chapa.faults import DroppedError
from sandbox.chapa.in_process import BASE_URL as CHAPA_LOCAL
from sandbox.chapa.in_process import Adapter, ManualClock, session_for
from sandbox.chapa.simulator import Simulator
from sandbox.client import Response
from tests import faster_moto
from tests.contract import complaints
from tests.environment import SETTINGS
from tests.template import template

faster_moto.install()

API_KEY = "CHASECK_TEST-0123456789abcdefghij"
WEBHOOK_SECRET = "the-webhook-secret"
START = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)

CATALOGUE = {
    "COFFEE-250": ("Yirgacheffe coffee, 250 g", 45_000, "ETB", 10),
    "MUG": ("Mug", 15_050, "ETB", 2),
    "EBOOK": ("Book about coffee", 999, "USD", 1_000),
    "LAST": ("The last one", 100, "ETB", 1),
}
"""SKU: name, price in minor units, currency, units."""


def create_table(client: Any, name: str) -> None:
    """The table as template.yaml describes it, keys, index and all."""
    wanted = template()["Resources"]["Table"]["Properties"]
    client.create_table(
        TableName=name,
        **{k: wanted[k] for k in ("BillingMode", "AttributeDefinitions", "KeySchema")},
        GlobalSecondaryIndexes=wanted["GlobalSecondaryIndexes"],
    )


@dataclass
class Context:
    """What a function needs of its Lambda context."""

    function_name: str = "function"
    memory_limit_in_mb: int = 512
    invoked_function_arn: str = "arn:aws:lambda:us-east-1:123456789012:function:function"
    aws_request_id: str = "request"
    milliseconds: int = 29_000

    def get_remaining_time_in_millis(self) -> int:
        return self.milliseconds


def http_event(
    method: str,
    body: bytes | str | Mapping[str, Any] | None = None,
    *,
    user: str | None = "abebe",
    path: Mapping[str, str] | None = None,
    query: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    base64_encoded: bool = False,
) -> dict[str, Any]:
    """An HTTP API event, payload format 2.0."""
    if isinstance(body, Mapping):
        body = json.dumps(body)
    event: dict[str, Any] = {
        "version": "2.0",
        "headers": dict(headers or {}),
        "requestContext": {"http": {"method": method}},
        "isBase64Encoded": base64_encoded,
    }
    if body is not None:
        event["body"] = body.decode() if isinstance(body, bytes) else body
    if path:
        event["pathParameters"] = dict(path)
    if query:
        event["queryStringParameters"] = dict(query)
    if user:
        event["requestContext"]["authorizer"] = {"jwt": {"claims": {"sub": user}}}
    return event


def _route(function: str, event: Mapping[str, Any]) -> str:
    """What API Gateway was asked, if this came of it."""
    path = event.get("pathParameters", {})
    paths = {
        "orders": "/orders/{order_id}/cancel" if path else "/orders",
        "initialize": "/payments",
        "status": "/orders/{order_id}" if "order_id" in path else "/payments/{tx_ref}",
        "webhook": "/webhooks/chapa",
    }
    return f"{event['requestContext']['http']['method']} {paths[function]}"


class Died(BaseException):
    """A process that ends between two calls: nothing catches this."""


def die() -> None:
    raise Died


class ChapaConnection(Adapter):
    """The line to Chapa; an interruption happens once, before a call of its kind gets through."""

    def __init__(self, simulator: Simulator) -> None:
        super().__init__(simulator)
        self.interruptions: dict[str, Callable[[], object]] = {}
        self.around: Callable[[Any, Callable[[], Any]], Any] = lambda _, send: send()
        """What becomes of each request; it may send it, or not."""
        self.patience = self.tries = 0.0

    def send(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        return self.around(request, lambda: self._send(request, *args, **kwargs))

    def _send(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        self.patience = kwargs["timeout"][1]
        self.tries = 1 + READ_RETRIES if request.method == "GET" else 1
        for part, action in list(self.interruptions.items()):
            if f"/{part}" in str(request.url):
                del self.interruptions[part]
                action()
        return super().send(request, *args, **kwargs)


class FakeQueue:
    """An SQS client whose delays follow the clock of the test; moto's follow the wall's."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock
        self._waiting: list[tuple[float, str]] = []
        self.broken = False
        self.refused = 0
        """How many of the next batch's entries are not taken."""

    def send_message(self, QueueUrl: str, MessageBody: str, DelaySeconds: int) -> None:  # noqa: N803
        if self.broken:
            raise EndpointConnectionError(endpoint_url=QueueUrl)
        self._waiting.append((self._clock().timestamp() + DelaySeconds, MessageBody))

    def send_message_batch(self, QueueUrl: str, Entries: list[dict[str, str]]) -> dict[str, Any]:  # noqa: N803
        failed, taken = Entries[: self.refused], Entries[self.refused :]
        self.refused = 0
        for entry in taken:
            self.send_message(QueueUrl, entry["MessageBody"], 0)
        return {"Successful": taken, "Failed": failed}

    def receive(self) -> str | None:
        for message in sorted(self._waiting):
            if message[0] <= self._clock().timestamp():
                self._waiting.remove(message)
                return message[1]
        return None

    def __len__(self) -> int:
        return len(self._waiting)

    def remember(self) -> list[tuple[float, str]]:
        return list(self._waiting)

    def return_to(self, state: list[tuple[float, str]]) -> None:
        self._waiting = list(state)


class Shop:
    def __init__(self) -> None:
        self.clock = ManualClock(START)
        self.random = random.Random(20261122)
        self.slept: list[float] = []
        self.while_sleeping: Callable[[], None] | None = None
        self.units: dict[str, int] = {}
        self.client_views: list[ClientView] = []
        self._table()
        self.messages = FakeQueue(self.clock)
        self._secrets = boto3.client("secretsmanager")
        self._secrets.create_secret(Name="chapa", SecretString="{}")
        self.set_secret()
        self.simulator = Simulator(
            api_keys=[API_KEY],
            clock=self.clock,
            rng=random.Random(7),
            send=self._deliver,
            hold=self._wait_for_chapa,
        )
        self.control = Control(CHAPA_LOCAL, session_for(self.simulator))
        self.control.set(
            webhook_url="https://api.shop.example/webhooks/chapa", webhook_secret=WEBHOOK_SECRET
        )
        self.chapa_connection = ChapaConnection(self.simulator)
        self.backend = self._backend(Settings.from_environment(SETTINGS))

    def before_chapa(self, part: str, action: Callable[[], object]) -> None:
        """Once, before the next call to Chapa whose path holds `part`."""
        self.chapa_connection.interruptions[part] = action

    def before_aws(
        self, operation: str, action: Callable[[], object], *, skip: int = 0, when: str = "before"
    ) -> None:
        """Once, before (or `after`) the next DynamoDB call of this name, `skip` calls from now."""
        left = [skip]

        def hook(**_: Any) -> None:
            if left[0]:
                left[0] -= 1
                return
            self.dynamodb.meta.events.unregister(name, hook)
            action()

        name = f"{when}-call.dynamodb.{operation}"
        self.dynamodb.meta.events.register(name, hook)

    def configure(self, **settings: str) -> None:
        """The same shop with other settings, named as in the environment but in lower case."""
        changed = SETTINGS | {name.upper(): value for name, value in settings.items()}
        self.backend = self._backend(Settings.from_environment(changed))

    def _table(self) -> None:
        self.dynamodb = boto3.client("dynamodb")
        create_table(self.dynamodb, "payments")
        self.table = boto3.resource("dynamodb").Table("payments")
        for sku, (name, price, currency, units) in CATALOGUE.items():
            self.stock_up(sku, name, price, currency, units)

    def stock_up(self, sku: str, name: str, price: int, currency: str, units: int) -> None:
        self.units[sku] = units
        self.table.put_item(
            Item={
                "pk": f"STOCK#{sku}",
                "sk": "STOCK",
                "sku": sku,
                "name": name,
                "unit_price": price,
                "currency": currency,
                "stocked": units,
                "available": units,
                "for_sale": True,
                "list_key": CATALOGUE_LIST,
                "list_at": sku,
            }
        )

    def _backend(self, settings: Settings) -> Backend:
        secrets = SecretStore(
            self._secrets, "chapa", settings.chapa_url, clock=lambda: self.clock().timestamp()
        )
        chapa = ChapaV1(settings, secrets)
        for prefix in list(chapa.session.adapters):
            chapa.session.mount(prefix, self.chapa_connection)
        return Backend(
            settings=settings,
            rules=settings.rules,
            secrets=secrets,
            repository=Repository(self.dynamodb, "payments", sleep=self._sleep),
            chapa=chapa,
            queue=Queue(self.messages, settings.queue_url),  # type: ignore[arg-type]
            clock=lambda: self.clock().timestamp(),
            monotonic=lambda: self.clock().timestamp(),
            sleep=self._sleep,
            random_bytes=self.random.randbytes,
        )

    def _wait_for_chapa(self, seconds: float) -> None:
        """As long as there is patience, and a question's further tries are as slow."""
        if seconds <= self.chapa_connection.patience:
            self.clock.advance(seconds)
        else:
            self.clock.advance(self.chapa_connection.patience * self.chapa_connection.tries)
            raise DroppedError(reset=False)

    def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.clock.advance(seconds)
        if self.while_sleeping:
            self.while_sleeping()

    @property
    def now(self) -> int:
        return int(self.clock().timestamp())

    def set_secret(self, **values: str | None) -> None:
        """Seen by what is configured after it, or a minute later."""
        secret = {"api_key": API_KEY, "webhook_secret": WEBHOOK_SECRET} | values
        self._secrets.put_secret_value(SecretId="chapa", SecretString=json.dumps(secret))

    def count_reads(self) -> list[str]:
        """A list that grows with every call to DynamoDB from now on."""
        calls: list[str] = []

        def hook(model: Any, **_: Any) -> None:
            calls.append(model.name)

        self.dynamodb.meta.events.register("before-call.dynamodb", hook)
        return calls

    def call(self, function: str, event: Mapping[str, Any], milliseconds: int = 29_000) -> Any:
        """Invoke a function of the product, as deployed, on this shop."""
        app = import_module(f"functions.{function}.app")
        with patch.object(app, "backend", self.backend), catch_warnings():
            # Who dies has counted nothing, which Powertools remarks upon.
            filterwarnings("ignore", "No application metrics to publish")
            return app.handler(dict(event), Context(milliseconds=milliseconds))

    def http(self, function: str, event: Mapping[str, Any]) -> Response:
        """The answer, which is as openapi.yaml says, whatever it is."""
        told = self.call(function, event)
        answer = Response(told["statusCode"], json.loads(told["body"]), told["headers"])
        route = _route(function, event)
        assert not [*complaints(route, answer.status, answer.headers, answer.body)]
        return answer

    def order(
        self,
        items: Mapping[str, int] | None = None,
        *,
        user: str = "abebe",
        key: str | None = None,
        **body: Any,
    ) -> Response:
        wanted = items if items is not None else {"COFFEE-250": 2}
        body = {"items": [{"sku": s, "quantity": q} for s, q in wanted.items()]} | body
        headers = {"idempotency-key": key} if key else {}
        return self.http("orders", http_event("POST", body, user=user, headers=headers))

    def pay(self, order_id: str, *, user: str = "abebe") -> Response:
        """POST /payments: what a customer does before paying."""
        return self.http("initialize", http_event("POST", {"order_id": order_id}, user=user))

    def begun(self, items: Mapping[str, int] | None = None) -> tuple[str, str]:
        """An order with a payment that waits on Chapa's page: its id and tx_ref."""
        order_id = str(self.order(items).body["order_id"])
        return order_id, str(self.pay(order_id).body["tx_ref"])

    def paid(self, items: Mapping[str, int] | None = None) -> tuple[str, str]:
        """An order that its payment has paid: its id and tx_ref."""
        order_id, tx_ref = self.begun(items)
        self.control.pay(tx_ref, webhook=False)
        assert self.notify(tx_ref).body == {"outcome": "applied"}
        return order_id, tx_ref

    def expired(self, items: Mapping[str, int] | None = None) -> tuple[str, str]:
        """An order that expired unpaid after half an hour: its id and tx_ref."""
        order_id, tx_ref = self.begun(items)
        self.clock.advance(1800)
        self.sweep()
        assert self.aggregate(order_id).order.status is OrderStatus.EXPIRED
        return order_id, tx_ref

    def status(self, tx_ref: str, *, user: str = "abebe", refresh: bool = False) -> Response:
        query = {"refresh": "true"} if refresh else {}
        event = http_event("GET", user=user, path={"tx_ref": tx_ref}, query=query)
        asked_at = self.now
        answer = self.http("status", event)
        if status := answer.body.get("order_status"):
            was_paid = status in {"paid", "refunded"}
            self.client_views.append(
                ClientView(answer.body["order_id"], paid=was_paid, asked_at=asked_at)
            )
        return answer

    def webhook(
        self, body: bytes | Mapping[str, Any], *, sign_with: str = WEBHOOK_SECRET, **headers: str
    ) -> Response:
        raw = json.dumps(body).encode() if isinstance(body, Mapping) else body
        sent = {"x-chapa-signature": signature.sign(raw, sign_with)} if sign_with else {}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        return self.http("webhook", http_event("POST", raw, user=None, headers=sent))

    def notify(self, tx_ref: str, event: str = "charge.success") -> Response:
        return self.webhook({"event": event, "tx_ref": tx_ref, "status": "success"})

    def _deliver(self, message: Any, _timeout: float) -> int:
        """The simulator's webhooks and callbacks, into the webhook function."""
        headers = {name.lower(): value for name, value in message.headers.items()}
        if message.method == "GET":
            query = dict(
                pair.split("=", 1) for pair in message.url.partition("?")[2].split("&") if pair
            )
            event = http_event("GET", user=None, query=query)
        else:
            event = http_event("POST", message.body, user=None, headers=headers)
        return self.http("webhook", event).status

    def deliver(self) -> list[int | None]:
        """Let Chapa send what it has to send; the codes that it got."""
        return self.simulator.outbox.deliver_due()

    def sweep(self) -> int:
        """What the schedule does in a minute: queue what is due, and work the queue off."""
        self.call("expire", {})
        return self.work()

    def work(self) -> int:
        """Hand every message that is there to the worker; how many there were."""
        worked = 0
        while message := self.messages.receive():
            records = [{"messageId": "1", "body": message}]
            assert self.call("reconcile", {"Records": records}) == {"batchItemFailures": []}
            worked += 1
        return worked

    def aggregate(self, order_id: str) -> OrderAggregate:
        return self.backend.read(order_id)

    def payment(self, tx_ref: str) -> Payment:
        payment = self.aggregate(order_id_of(tx_ref) or "").payment(tx_ref)
        assert payment is not None
        return payment

    def event_names(self, order_id: str) -> list[str]:
        known = self.backend.repository.read_with_events(order_id)
        assert known is not None
        return [event.name for event in known[1]]

    def available(self, sku: str) -> int:
        """Units that can be bought."""
        item = self.table.get_item(Key={"pk": f"STOCK#{sku}", "sk": "STOCK"})["Item"]
        return int(str(item["available"]))

    def dump(self) -> list[dict[str, Any]]:
        """Every item of the table: two dumps are equal when nothing was written between them."""
        items = list(self.table.scan(ConsistentRead=True)["Items"])
        return sorted(items, key=lambda item: (str(item["pk"]), str(item["sk"])))

    def audit(self, *, settled: bool = False) -> list[str]:
        """Every promise that does not hold for what is stored, what Chapa has and what was told."""
        pages = self.dynamodb.get_paginator("scan").paginate(TableName="payments")
        confirmed = [
            Confirmed(
                payment.tx_ref,
                int(payment.amount * 100),
                sum(
                    int(refund.amount * 100)
                    for refund in self.simulator.refunds.values()
                    # One that Chapa has taken on goes out, whether or not anybody looks at it.
                    if refund.payment_reference == payment.reference and refund.status != "reversed"
                ),
            )
            for payment in self.simulator.payments.values()
            if payment.paid
        ]
        return violations(
            [item for page in pages for item in page["Items"]],
            units=self.units,
            confirmed=confirmed,
            client_views=self.client_views,
            settled=settled,
        )

    def asked(self, call: str, tx_ref: str | None = None) -> int:
        """How often Chapa was called."""
        return sum(
            entry.call == call and tx_ref in {None, entry.tx_ref}
            for entry in self.simulator.journal.entries()
        )

    def with_rules(self, **rules: Any) -> None:
        self.backend = replace(self.backend, rules=replace(self.backend.rules, **rules))
