"""A shop in one process: the functions of the product on moto and the Chapa simulator.

Clock, randomness and both networks are replaced. Time moves only when a test moves it.
"""

import json
import os
import random
from collections import Counter
from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from importlib import import_module
from itertools import count
from typing import Any
from unittest.mock import patch
from urllib.parse import parse_qsl, urlsplit
from warnings import catch_warnings, filterwarnings

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError, EndpointConnectionError

from operators.invariants import ClientView, Confirmed, violations
from payments.aws.catalogue import Catalogue
from payments.aws.comparisons import Comparisons
from payments.aws.items import CATALOGUE_LIST
from payments.aws.lists import Lists
from payments.aws.queue import Queue
from payments.aws.repository import Repository
from payments.aws.secrets import SecretStore
from payments.chapa import signature
from payments.chapa.calls import READ_RETRIES
from payments.chapa.keys import V1, V2
from payments.domain.aggregate import Event, OrderAggregate
from payments.domain.ids import order_id_of
from payments.domain.records import Payment
from payments.domain.states import OrderStatus
from payments.settings import Settings
from payments.usecases.backend import Backend, providers
from sandbox.chapa.control import Control
from sandbox.chapa.faults import Call, DroppedError
from sandbox.chapa.in_process import BASE_URL as CHAPA_LOCAL
from sandbox.chapa.in_process import Adapter, ManualClock, session_for
from sandbox.chapa.simulator import Simulator
from sandbox.chapa.wire_v2 import minor
from sandbox.client import Response
from tests import faster_moto
from tests.contract import complaints
from tests.environment import SETTINGS
from tests.template import template

faster_moto.install()

API_KEYS = {
    V1.provider: "CHASECK_TEST-0123456789abcdefghij",
    V2.provider: "CHAPA_TEST_PRIV_0123456789abcdefghij",
}
CURRENT = V2.provider if os.environ.get("PROVIDER") == "v2" else V1.provider
"""The version of Chapa's API that opens payments in the searches and forgeries. Any other test
chooses one itself; without a choice it is v1."""
PROVIDERS = sorted(API_KEYS, key=lambda name: name != CURRENT)
API_KEY = API_KEYS[V1.provider]
WEBHOOK_SECRET = "the-webhook-secret"
START = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)

CATALOGUE = {
    "COFFEE-250": ("Yirgacheffe coffee, 250 g", 45_000, "ETB", 10),
    "MUG": ("Mug", 15_050, "ETB", 2),
    "EBOOK": ("Book about coffee", 999, "USD", 1_000),
    "LAST": ("The last one", 100, "ETB", 1),
}
"""By SKU: name, price in minor units, currency, units."""

UNCHECKED = Config(parameter_validation=False)
"""Only the clients of the journeys check the types of parameters, which takes a twentieth."""


@cache
def _made(service: str) -> Any:
    return boto3.client(service, config=UNCHECKED)  # type: ignore[call-overload]


def _client(service: str) -> Any:
    """A client with event hooks of its own. To copy one takes far less time than to make one."""
    made = _made(service)
    client = object.__new__(type(made))
    vars(client).update(vars(made), meta=copy(made.meta))
    client.meta.events = copy(client.meta.events)
    return client


@cache
def _table() -> Any:
    table = boto3.resource("dynamodb", config=UNCHECKED).Table("payments")
    faster_moto.call_directly(table.meta.client)
    return table


def create_table(client: Any, name: str) -> None:
    """The table with the keys and the index of template.yaml."""
    wanted = template()["Resources"]["Table"]["Properties"]
    client.create_table(
        TableName=name,
        **{k: wanted[k] for k in ("BillingMode", "AttributeDefinitions", "KeySchema")},
        GlobalSecondaryIndexes=wanted["GlobalSecondaryIndexes"],
    )


@dataclass
class Context:
    """The part of a Lambda context that the functions use."""

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
    route: str | None = None,
) -> dict[str, Any]:
    """An HTTP API event, payload format 2.0. `route` is needed where no path parameter tells it."""
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
    if route:
        event["routeKey"] = route
    if user:
        event["requestContext"]["authorizer"] = {"jwt": {"claims": {"sub": user}}}
    return event


def _route(function: str, event: Mapping[str, Any]) -> str:
    """The route in openapi.yaml that leads to this event."""
    if "routeKey" in event:
        return str(event["routeKey"])
    path = event.get("pathParameters", {})
    paths = {
        "orders": "/orders/{order_id}/cancel" if path else "/orders",
        "initialize": "/payments",
        "status": "/orders/{order_id}" if "order_id" in path else "/payments/{tx_ref}",
        "webhook": "/webhooks/chapa",
    }
    return f"{event['requestContext']['http']['method']} {paths[function]}"


def invoke(
    function: str, event: Mapping[str, Any], milliseconds: int = 29_000, **replaced: Any
) -> Any:
    """Invoke a function of the product with some globals of its module replaced."""
    app = import_module(f"functions.{function}.app")
    if "requestContext" in event:
        event = {"routeKey": _route(function, event), **event}
    with patch.multiple(app, **replaced), catch_warnings():
        # Powertools warns when a function dies before it counts anything.
        filterwarnings("ignore", "No application metrics to publish")
        return app.handler(dict(event), Context(milliseconds=milliseconds))


class Died(BaseException):
    """A process that ends between two calls. No code of the product catches it."""


def die() -> None:
    raise Died


class ChapaConnection(Adapter):
    """The network between the product and the simulator."""

    def __init__(self, simulator: Simulator) -> None:
        super().__init__(simulator)
        self.interruptions: dict[str, Callable[[], object]] = {}
        """By part of a path: done once, before the next request to it."""
        self.around: Callable[[Any, Callable[[], Any]], Any] = lambda _, send: send()
        """Gets each request, and may send it or not."""
        self.patience = self.tries = 0.0

    def send(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        return self.around(request, lambda: self._send(request, *args, **kwargs))

    def _send(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        self.patience = kwargs["timeout"][1]
        self.tries = 1 + READ_RETRIES if request.method == "GET" else 1
        for part in [part for part in self.interruptions if f"/{part}" in str(request.url)]:
            self.interruptions.pop(part)()
        return super().send(request, *args, **kwargs)

    def wait(self, clock: ManualClock, seconds: float) -> None:
        """Let a slow response arrive, or time out on each try."""
        if seconds <= self.patience:
            clock.advance(seconds)
        else:
            clock.advance(self.patience * self.tries)
            raise DroppedError(reset=False)


class FakeQueue:
    """An SQS client whose delays follow the clock of the test; moto's follow the real time."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock
        self._waiting: list[tuple[float, str]] = []
        self.broken = False
        self.refused = 0
        """Number of entries of the next batch that fail."""

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
    """Both versions of Chapa have a key; `provider` opens payments."""

    def __init__(self, provider: str = V1.provider) -> None:
        self.provider = provider
        self.clock = ManualClock(START)
        self.random = random.Random(20261122)
        self.slept: list[float] = []
        self.while_sleeping: Callable[[], None] | None = None
        self.units: dict[str, int] = {}
        self.client_views: list[ClientView] = []
        self._table()
        self.messages = FakeQueue(self.clock)
        self._secrets = _client("secretsmanager")
        self._secrets.create_secret(Name="chapa", SecretString="{}")
        self.set_secret()
        self.simulator = Simulator(
            api_keys=API_KEYS.values(),
            clock=self.clock,
            rng=random.Random(7),
            send=self._deliver,
            hold=lambda seconds: self.chapa_connection.wait(self.clock, seconds),
        )
        self.control = Control(CHAPA_LOCAL, session_for(self.simulator))
        self.control.set(
            webhook_url="https://api.shop.example/webhooks/chapa", webhook_secret=WEBHOOK_SECRET
        )
        self.chapa_connection = ChapaConnection(self.simulator)
        self.backend = self._backend(Settings.from_environment(SETTINGS))

    def before_chapa(self, part: str, action: Callable[[], object]) -> None:
        """Run `action` once, before the next request to Chapa whose path contains `part`."""
        self.chapa_connection.interruptions[part] = action

    def before_aws(
        self, operation: str, action: Callable[[], object], *, skip: int = 0, when: str = "before"
    ) -> None:
        """Run `action` once, before or after a DynamoDB call; `skip` calls pass without it."""
        calls = count()

        def hook(**_: Any) -> None:
            if next(calls) == skip:
                self.dynamodb.meta.events.unregister(name, hook)
                action()

        name = f"{when}-call.dynamodb.{operation}"
        self.dynamodb.meta.events.register(name, hook)

    def configure(self, **settings: str) -> None:
        """Change settings, named as in the environment but in lower case."""
        changed = SETTINGS | {name.upper(): value for name, value in settings.items()}
        self.backend = self._backend(Settings.from_environment(changed))

    def _table(self) -> None:
        self.dynamodb, self.table = _client("dynamodb"), _table()
        faster_moto.call_directly(self.dynamodb)
        create_table(self.dynamodb, "payments")
        for sku, (name, price, currency, units) in CATALOGUE.items():
            self.stock_up(sku, name, price, currency, units)

    def stock_up(self, sku: str, name: str, price: int, currency: str, units: int) -> None:
        self.units[sku] = units
        item: dict[str, Any] = {"pk": f"STOCK#{sku}", "sk": "STOCK", "sku": sku, "name": name}
        item |= {"unit_price": price, "currency": currency}
        item |= {"stocked": units, "available": units, "for_sale": True}
        item |= {"list_key": CATALOGUE_LIST, "list_at": sku}
        self.table.put_item(Item=item)

    def _backend(self, settings: Settings) -> Backend:
        secrets = SecretStore(
            self._secrets,
            "chapa",
            settings.chapa_url,
            settings.chapa_url_other,
            clock=lambda: self.clock().timestamp(),
        )
        clients = providers(settings, secrets)
        for client in clients.values():
            for prefix in list(client.session.adapters):
                client.session.mount(prefix, self.chapa_connection)
        table = (self.dynamodb, "payments", self._sleep)
        return Backend(
            settings=settings,
            rules=settings.rules,
            secrets=secrets,
            repository=Repository(*table, republish_after=settings.republish_after_seconds),
            catalogue=Catalogue(*table),
            lists=Lists(*table),
            comparisons=Comparisons(*table),
            providers=clients,
            queue=Queue(self.messages, settings.queue_url),  # type: ignore[arg-type]
            clock=lambda: self.clock().timestamp(),
            monotonic=lambda: self.clock().timestamp(),
            sleep=self._sleep,
            random_bytes=self.random.randbytes,
        )

    def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.clock.advance(seconds)
        if self.while_sleeping:
            self.while_sleeping()

    @property
    def now(self) -> int:
        return int(self.clock().timestamp())

    def set_secret(self, **values: str | None) -> None:
        """Takes effect a minute later, or after `configure`."""
        [other] = [key for name, key in API_KEYS.items() if name != self.provider]
        secret: dict[str, str | None] = {"api_key": API_KEYS[self.provider], "api_key_other": other}
        secret |= {"webhook_secret": WEBHOOK_SECRET} | values
        self._secrets.put_secret_value(SecretId="chapa", SecretString=json.dumps(secret))

    def throttle_secret(self) -> None:
        """A cold start, at which Secrets Manager refuses the next call."""
        events, name = self._secrets.meta.events, "before-call.secrets-manager.GetSecretValue"

        def refuse(**_: Any) -> None:
            events.unregister(name, refuse)
            raise ClientError({"Error": {"Code": "ThrottlingException"}}, "GetSecretValue")

        events.register(name, refuse)
        self.configure()

    def count_reads(self) -> list[str]:
        """A list to which every later call to DynamoDB adds its name."""
        calls: list[str] = []
        self.dynamodb.meta.events.register(
            "before-call.dynamodb", lambda model, **_: calls.append(model.name)
        )
        return calls

    def call(self, function: str, event: Mapping[str, Any], milliseconds: int = 29_000) -> Any:
        """Invoke a function of the product on this shop."""
        return invoke(function, event, milliseconds, backend=self.backend)

    def http(self, function: str, event: Mapping[str, Any]) -> Response:
        """Invoke a function and compare its response with openapi.yaml."""
        result = self.call(function, event)
        response = Response(result["statusCode"], json.loads(result["body"]), result["headers"])
        route = _route(function, event)
        assert not [*complaints(route, response.status, response.headers, response.body)]
        return response

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
        """Open the payment of an order."""
        return self.http("initialize", http_event("POST", {"order_id": order_id}, user=user))

    def cancel(self, order_id: str, *, user: str = "abebe") -> Response:
        return self.http("orders", http_event("POST", user=user, path={"order_id": order_id}))

    def orders(self, *, user: str = "abebe", **query: str) -> Response:
        """A page of a customer's orders."""
        return self.http("status", http_event("GET", user=user, query=query, route="GET /orders"))

    def products(self, **query: str) -> Response:
        """A page of the catalogue."""
        return self.http("status", http_event("GET", user=None, query=query, route="GET /products"))

    def begun(self, items: Mapping[str, int] | None = None) -> tuple[str, str]:
        """An order with a pending payment: its id and tx_ref."""
        order_id = str(self.order(items).body["order_id"])
        return order_id, str(self.pay(order_id).body["tx_ref"])

    def paid(self, items: Mapping[str, int] | None = None) -> tuple[str, str]:
        """An order that its payment has paid: its id and tx_ref."""
        order_id, tx_ref = self.begun(items)
        self.control.pay(tx_ref, webhook=False)
        assert self.notify(tx_ref).body == {"outcome": "applied"}
        return order_id, tx_ref

    def expired(self, items: Mapping[str, int] | None = None) -> tuple[str, str]:
        """An order that expired unpaid: its id and tx_ref."""
        order_id, tx_ref = self.begun(items)
        self.clock.advance(1800)
        self.sweep()
        if self.provider == V2.provider:
            # Its page cannot be closed: the order waits for the end of it.
            self.clock.advance(1920)
            self.sweep()
        assert self.aggregate(order_id).order.status is OrderStatus.EXPIRED
        return order_id, tx_ref

    def status(self, tx_ref: str, *, user: str = "abebe", refresh: bool = False) -> Response:
        query = {"refresh": "true"} if refresh else {}
        event = http_event("GET", user=user, path={"tx_ref": tx_ref}, query=query)
        asked_at = self.now
        response = self.http("status", event)
        if status := response.body.get("order_status"):
            paid = status in {"paid", "refunded"}
            self.client_views.append(ClientView(response["order_id"], paid, asked_at))
        return response

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
        """Carries webhooks and callbacks of the simulator to the webhook function."""
        if message.method == "GET":
            query = dict(parse_qsl(urlsplit(message.url).query))
            event = http_event("GET", user=None, query=query)
        else:
            headers = {name.lower(): value for name, value in message.headers.items()}
            event = http_event("POST", message.body, user=None, headers=headers)
        return self.http("webhook", event).status

    def deliver(self) -> list[int | None]:
        """Deliver what Chapa has to send now. Returns the HTTP statuses."""
        return self.simulator.outbox.deliver_due()

    def sweep(self) -> int:
        """One minute of the schedule: put what is due on the queue, and empty the queue."""
        self.call("expire", {})
        return self.work()

    def sweeps(self, times: int = 4) -> None:
        """A sweep every ten minutes."""
        for _ in range(times):
            self.sweep()
            self.clock.advance(600)

    def wait(self, order_id: str, seconds: int) -> int:
        """Let time pass, with a sweep whenever the order is due; returns how many there were."""
        end, sweeps = self.now + seconds, 0
        while (due := self.aggregate(order_id).order.due_at) is not None and due <= end > self.now:
            self.clock.advance(max(due - self.now, 60))
            sweeps += self.sweep()
        self.clock.advance(max(end - self.now, 0))
        return sweeps

    def work(self) -> int:
        """Reconcile every visible message. Returns their number."""
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

    def events(self, order_id: str) -> list[Event]:
        known = self.backend.repository.read_with_events(order_id)
        assert known is not None
        return known[1]

    def event_names(self, order_id: str) -> list[str]:
        return [event.name for event in self.events(order_id)]

    def available(self, sku: str) -> int:
        """Units that can be bought."""
        item = self.table.get_item(Key={"pk": f"STOCK#{sku}", "sk": "STOCK"})["Item"]
        return int(str(item["available"]))

    def dump(self) -> list[dict[str, Any]]:
        """Every item of the table, in a fixed order."""
        items = list(self.table.scan(ConsistentRead=True)["Items"])
        return sorted(items, key=lambda item: (str(item["pk"]), str(item["sk"])))

    def audit(self, *, settled: bool = False) -> list[str]:
        """Violations of the invariants."""
        pages = self.dynamodb.get_paginator("scan").paginate(TableName="payments")
        # Chapa pays a refund that it accepted, whether or not we check it.
        given_back: Counter[str] = Counter()
        elsewhere: Counter[str] = Counter()
        for refund in self.simulator.refunds.values():
            if refund.status != "reversed":
                given_back[refund.payment_reference] += minor(refund.amount)
                if refund.merchant_reference is None:
                    elsewhere[refund.payment_reference] += minor(refund.amount)
        confirmed = [
            Confirmed(
                payment.tx_ref,
                minor(payment.amount),
                given_back[payment.reference],
                elsewhere[payment.reference],
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

    def unanswered(self, call: Call = "verify") -> None:
        """From now on Chapa answers this call with 500."""
        self.control.add_fault(call, "status", status=500, times=None)

    def asked(self, call: str, tx_ref: str | None = None) -> int:
        """Number of calls to Chapa."""
        return sum(
            entry.call == call and tx_ref in {None, entry.tx_ref}
            for entry in self.simulator.journal.entries()
        )

    def with_rules(self, **rules: Any) -> None:
        self.backend = replace(self.backend, rules=replace(self.backend.rules, **rules))
