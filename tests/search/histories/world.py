"""A shop that can be put back to its first day, and whose processes meet trouble when told to.

Whatever a client hears of it is judged here, call by call.
"""

import copy
import json
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Literal
from unittest.mock import patch

import requests
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    EndpointConnectionError,
    ReadTimeoutError,
)
from moto.dynamodb.models import dynamodb_backends
from urllib3.exceptions import NewConnectionError

from functions.reconcile import app as reconcile_app
from operators.invariants import ClientView
from payments.chapa import signature
from payments.usecases.backend import Backend
from payments.aws.bus import Bus
from payments.errors import Busy
from payments.usecases.publish import Publisher
from payments.usecases.reconcile import reconcile
from payments.aws.repository import aggregate_in, plain
from payments.domain.states import OrderStatus
from payments.domain.aggregate import OrderAggregate
from sandbox.chapa.faults import Call
from sandbox.chapa.simulator import Payment as Attempt
from sandbox.client import Response
from tests.shop import WEBHOOK_SECRET, Died, FakeQueue, Shop, http_event

type AwsTrouble = Literal["conflict", "throttled", "unreachable", "answer lost"]

WRITES = {"TransactWriteItems", "UpdateItem"}
CHAPA_CALLS: tuple[Call, ...] = ("initialize", "verify", "cancel", "refund", "refund_verify")

ANSWERS: Mapping[str, set[int | str]] = {
    "place": {201, 200, "out_of_stock"},
    "place under a used key": {200, "idempotency_mismatch"},
    "cancel": {200, 202, "order_paid", "order_in_review"},
    "show": {200},
    "initialize": {201, 200, "order_not_payable", "payment_in_progress", "provider_rejected"},
    "status": {200},
    "notify": {200, "bad_signature"},
    "callback": {202},
}
"""What a good request of the right person may be answered. openapi.yaml says what stands in it."""

IN_TROUBLE: set[int | str] = {
    "busy",
    "provider_error",
    "provider_unavailable",
    "provider_timeout",
    "not_deferred",
}
"""What may be answered besides, if something went wrong during this very call."""

PASSING = (ClientError, BotoCoreError, Busy)
"""Of what a worker or a sweep may fail; the next one finds the order again."""

MOST_TRIES = 5
"""Failures of one message that make it a dead letter, as template.yaml has it."""

MOST_ROUNDS = 80
"""Sweeps, each when something is due, after which everything must be at rest."""


class Queue(FakeQueue):
    """The queue, with its messages at hand."""

    before_each: Callable[[], object] = staticmethod(lambda: None)

    def send_message(self, QueueUrl: str, MessageBody: str, DelaySeconds: int) -> None:  # noqa: N803
        self.before_each()
        super().send_message(QueueUrl, MessageBody, DelaySeconds)

    def take(self) -> list[str]:
        """All that are visible now, the oldest first."""
        taken = []
        while message := self.receive():
            taken.append(message)
        return taken

    def put_back(self, message: str, seconds: int) -> None:
        self._waiting.append((self._clock().timestamp() + seconds, message))


class Events:
    """A client of EventBridge that keeps what it is given."""

    def __init__(self) -> None:
        self.broken = False
        self.ids: set[str] = set()

    def put_events(self, Entries: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: N803
        if self.broken:
            raise EndpointConnectionError(endpoint_url="events")
        self.ids |= {json.loads(entry["Detail"])["id"] for entry in Entries}
        return {"FailedEntryCount": 0}


class World(Shop):
    def __init__(self) -> None:
        super().__init__()
        self.running = False
        self.counted: Counter[str] = Counter()
        self.messages = self.queue = Queue(self.clock)
        self.queue.before_each = self._before_queue
        self.chapa_connection.around = self._around_chapa
        calls = self.dynamodb.meta.events
        calls.register("before-call.dynamodb", self._before_dynamodb)
        calls.register("after-call.dynamodb", self._after_dynamodb)
        self._first_day = copy.deepcopy(self._stored.items)
        self._began = self.clock.now
        self.reset()

    @property
    def _stored(self) -> Any:
        """moto puts another in its place when a transaction fails."""
        return dynamodb_backends["123456789012"]["us-east-1"].tables["payments"]

    def reset(self) -> None:
        self._stored.items = copy.deepcopy(self._first_day)
        self.clock.now = self._began
        self.random.seed(7)
        self.client_views.clear()
        self.queue.return_to([])
        self.queue.broken = False
        self.control.reset()
        self.control.set(
            webhook_url="https://api.shop.example/webhooks/chapa", webhook_secret=WEBHOOK_SECRET
        )
        self.accepted = [WEBHOOK_SECRET]
        self.set_secret()
        self.configure()
        self.events = Events()
        self.mail: list[Any] = []
        """Everything that Chapa sent so far."""
        self.heard: list[str] = []
        """What the product answered since somebody last looked here, for the story."""
        self._failures: Counter[str] = Counter()
        self.aws_trouble: list[AwsTrouble] = []
        self.index_misses = 0
        self.chapa_refuses = False
        self.dies_at = 0
        self.trouble = self.ever_trouble = False

    # What goes wrong.

    def _call_begins(self) -> None:
        """A process may die before any of its calls, and so after any."""
        if not self.running:
            return
        self.dies_at -= 1
        if self.dies_at == 0:
            self._trouble("a process died")
            raise Died

    def _around_chapa(self, request: Any, send: Callable[[], Any]) -> Any:
        self._call_begins()
        if self.chapa_refuses and self.running:
            self._trouble("Chapa: connection refused")
            raise requests.ConnectionError(NewConnectionError(None, "refused"), request=request)  # type: ignore[arg-type]
        return send()

    def _before_queue(self) -> None:
        self._call_begins()
        if self.running and self.queue.broken:
            self._trouble("the queue could not be reached")

    def _before_dynamodb(self, model: Any, params: Any, **_: Any) -> Any:
        self._call_begins()
        if not self.running:
            return None
        self._misses = bool(self.index_misses) and b'"IndexName"' in params["body"]
        kind = self.aws_trouble[0] if self.aws_trouble else "answer lost"
        writes = model.name in WRITES
        if kind == "answer lost" or (kind == "conflict" and not writes):
            return None
        self._aws_trouble()
        if kind == "unreachable":
            raise EndpointConnectionError(endpoint_url="dynamodb")
        if model.name != "TransactWriteItems":
            code = "TransactionConflictException" if kind == "conflict" else "ThrottlingException"
            return _refusal(code)
        reason = "TransactionConflict" if kind == "conflict" else "ThrottlingError"
        others = len(json.loads(params["body"])["TransactItems"]) - 1
        reasons = [{"Code": reason}, *({"Code": "None"} for _ in range(others))]
        return _refusal("TransactionCanceledException", CancellationReasons=reasons)

    def _after_dynamodb(self, model: Any, parsed: dict[str, Any], **_: Any) -> None:
        if not self.running:
            return
        if self._misses and parsed.get("Items"):
            self.index_misses -= 1
            self.counted["the index missed an entry"] += 1
            parsed["Items"] = parsed["Items"][1:]
        if self.aws_trouble[:1] == ["answer lost"] and model.name in WRITES:
            self._aws_trouble()
            raise ReadTimeoutError(endpoint_url="dynamodb")

    def _aws_trouble(self) -> None:
        self._trouble(f"DynamoDB: {self.aws_trouble.pop(0)}")

    def _trouble(self, what: str) -> None:
        self.trouble = self.ever_trouble = True
        self.counted[what] += 1
        self.heard.append(what)

    def well_again(self) -> None:
        self.control.clear_faults()
        self.aws_trouble.clear()
        self.index_misses = 0
        self.chapa_refuses = False
        self.queue.broken = self.events.broken = False

    # What runs.

    def process[T](self, work: Callable[[], T]) -> T | None:
        """Run something of the product as one process; None when it died."""
        asked = len(self.simulator.journal.entries())
        self.running, self.trouble = True, False
        try:
            return work()
        except Died:
            return None
        finally:
            self.running, self.dies_at = False, 0
            for entry in self.simulator.journal.entries()[asked:]:
                if entry.faults and entry.call in CHAPA_CALLS:
                    self._trouble(f"Chapa: {entry.call} {', '.join(entry.faults)}")

    def ask(self, route: str, function: str, event: Mapping[str, Any]) -> Response | None:
        """A client asks; None when nobody answered."""
        told = self.process(lambda: self.http(function, event))
        if told is None:
            self.heard.append(f"{route}: no answer")
            return None
        answer: Response = told
        what = answer.body.get("code") or answer.body.get("outcome") or answer.body.get("status")
        self.heard.append(f"{route}: {answer.status} {what}")
        self.counted[f"{route}: {answer.status} {answer.body.get('code', '')}".strip()] += 1
        self._judge(route, answer)
        return answer

    def _judge(self, route: str, answer: Response) -> None:
        key = answer.code if answer.status >= 400 else answer.status
        may_be = ANSWERS[route] | (IN_TROUBLE if self.trouble else set())
        assert key in may_be, f"{route} answered {answer.status} {answer.body}"
        if key == "payment_in_progress":
            # Nothing runs at the same time here, so somebody must have died or been cut off.
            assert self.ever_trouble, "a payment is being opened, but by whom?"

    def saw(self, answer: Response) -> None:
        """A customer reads whether the order is paid."""
        was_paid = answer.body["order_status"] in {OrderStatus.PAID, OrderStatus.REFUNDED}
        self.client_views.append(ClientView(answer.body["order_id"], was_paid, self.now))

    def stranger_asks(self, function: str, event: Mapping[str, Any]) -> None:
        """Whoever asks for what is not theirs hears that there is no such thing."""
        answer = self.process(lambda: self.http(function, event))
        if answer is not None and not self.trouble:
            self.heard.append(f"a stranger: {answer.status}")
            assert answer.code in {"order_not_found", "payment_not_found"}

    def _deliver(self, message: Any, _timeout: float) -> int:
        """What the simulator sends, and sends again until it is answered 200."""
        self.mail.append(message)
        return self.receive(message)

    def receive(self, message: Any) -> int:
        headers = {name.lower(): value for name, value in message.headers.items()}
        if message.method == "GET":
            query = dict(
                pair.split("=", 1) for pair in message.url.partition("?")[2].split("&") if pair
            )
            answer = self.ask("callback", "webhook", http_event("GET", user=None, query=query))
        else:
            event = http_event("POST", message.body, user=None, headers=headers)
            answer = self.ask("notify", "webhook", event)
            signed = any(
                headers.get(name) == signature.sign(message.body, secret)
                for name in ("x-chapa-signature", "chapa-signature")
                for secret in self.accepted
            )
            if answer is not None:
                assert (answer.status == 401) is not signed, f"signed={signed}: {answer}"
        return answer.status if answer else 502

    def sweep_only(self) -> None:
        """What the schedule does in a minute: nothing but to queue what is due."""
        try:
            done = self.process(lambda: self.call("expire", {}))
        except PASSING:
            if not self.trouble:
                raise
            done = None
        self.heard.append(f"sweep: {done}")

    def hand_out(self, message: str) -> None:
        """One message to the worker; when it fails it is visible again later, and at last dead."""
        bugs: list[Exception] = []

        def watched(backend: Backend, order_id: str) -> None:
            try:
                reconcile(backend, order_id)
            except Exception as error:
                if not (self.trouble and isinstance(error, PASSING)):
                    bugs.append(error)
                raise

        event = {"Records": [{"messageId": "1", "body": message}]}
        with patch.object(reconcile_app, "reconcile", watched):
            answer = self.process(lambda: self.call("reconcile", event))
        if bugs:
            raise bugs[0]
        if answer == {"batchItemFailures": []}:
            self._failures[message] = 0
            self.heard.append("worker: done")
            return
        self.heard.append("worker: failed")
        self._failures[message] += 1
        if self._failures[message] % MOST_TRIES:
            self.queue.put_back(message, 180)

    def publish(self) -> None:
        """The stream hands over every event that is not known to be published."""
        marked = [item for item in self.items() if "EVENTS" in str(item.get("due_shard"))]
        records = [
            {"dynamodb": {"NewImage": item, "SequenceNumber": str(number)}}
            for number, item in enumerate(marked)
        ]
        bus = Bus(self.events, "chapa-payments")  # type: ignore[arg-type]
        publisher = Publisher(self.backend.repository, bus)
        self.process(lambda: publisher.publish(records))

    # What is so.

    def items(self) -> list[dict[str, Any]]:
        pages = self.dynamodb.get_paginator("scan").paginate(TableName="payments")
        return [item for page in pages for item in page["Items"]]

    def stories(self) -> list[Story]:
        orders: dict[str, list[dict[str, Any]]] = {}
        for item in self.items():
            if item["pk"]["S"].startswith("ORDER#"):
                orders.setdefault(item["pk"]["S"], []).append(plain(item))
        return [story for some in orders.values() if (story := aggregate_in(some))]

    def attempt(self, tx_ref: str) -> Attempt:
        """A payment as Chapa knows it."""
        known = self.simulator.find(tx_ref)
        assert known is not None
        return known

    def strange_refunds(self) -> list[str]:
        """What Chapa was asked to give back twice, or without our owing it."""
        found = []
        for story in self.stories():
            ours = {refund.reference for refund in story.refunds}
            for payment in story.payments:
                at_chapa = self.simulator.find(payment.tx_ref)
                sent = at_chapa.refunds if at_chapa else []
                names = Counter(r.merchant_reference for r in sent if r.merchant_reference)
                if any(n > 1 for n in names.values()) or names.keys() - ours:
                    found.append(f"payment {payment.tx_ref}: Chapa was asked for {names}")
        return found

    def settle_down(self) -> None:
        """All is well again, no webhook ever comes, and only the ordinary machinery runs."""
        self.well_again()
        self.control.set(refund_checks=2)
        self.simulator.outbox.clear()
        for _ in range(MOST_ROUNDS):
            due = [s.order.due_at for s in self.stories() if s.order.due_at is not None]
            if not due and not len(self.queue):
                break
            self.clock.advance(max(60, min(due, default=0) - self.now))
            self.sweep_only()
            for message in self.queue.take():
                self.hand_out(message)
                assert not self.trouble
            self.counted["sweeps until all was at rest"] += 1
        else:
            raise AssertionError("it never comes to rest")

    def restless(self) -> list[str]:
        """What the ordinary machinery should have brought to an end."""
        found = []
        for story in self.stories():
            name = f"order {story.order.order_id}"
            if story.order.status is OrderStatus.PENDING and not story.in_review:
                found.append(f"{name} is still pending")
            if story.open_payments or story.open_refunds:
                found.append(f"{name} still has something open")
        return found


def _refusal(code: str, **members: Any) -> tuple[AWSResponse, dict[str, Any]]:
    parsed = {"Error": {"Code": code, "Message": "injected"}, **members}
    return AWSResponse("https://dynamodb", 400, HTTPHeaders(), None), parsed
