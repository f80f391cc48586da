"""A shop with snapshots and injected faults, which schedule and worker can bring to rest."""

import json
import random
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, NamedTuple
from urllib.parse import urlsplit

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

from operators.invariants import ClientView, read
from payments.aws.bus import Bus
from payments.aws.items import aggregate_in, plain
from payments.aws.queue import read_message
from payments.chapa import signature
from payments.domain import checks
from payments.domain.aggregate import OrderAggregate
from payments.domain.decisions import Decision
from payments.domain.events import PaymentResolved, RefundResolved
from payments.domain.records import Payment, Refund
from payments.domain.states import OrderStatus, PaymentStatus, RefundStatus
from payments.errors import Busy, OrderPaid, PaymentsError
from payments.usecases.initialize import Checkout
from payments.usecases.publish import Publisher
from payments.usecases.reconcile import reconcile
from payments.usecases.sweep import sweep
from sandbox.chapa.faults import Call
from sandbox.chapa.records import Payment as PaymentAtChapa
from sandbox.client import Response
from tests.faster_moto import rows
from tests.search.explorer import DONE, Run, Task
from tests.shop import API_KEYS, CURRENT, WEBHOOK_SECRET, Died, Shop, die, http_event

DIES, DIES_AFTER = "dies", "dies-after"
LOST_REQUEST, LOST_ANSWER = "request-lost", "answer-lost"
"""The caller sees a timeout; only with a lost answer did the call take effect."""
REFUSED = "refused"
"""Nothing was sent, and the caller knows it."""
CONFLICT, THROTTLED, ITEM_THROTTLED = "conflict", "throttled", "item-throttled"
"""DynamoDB cancels a transaction of which one item is throttled, and names the reason."""
MISSED, OLD = "missed", "old"
"""An index returns one entry too few, or what it held when the run began."""

type Faults = Mapping[str, Sequence[str]]

FAULTS: Faults = {
    "read": (THROTTLED,),
    "index": (THROTTLED, MISSED, OLD),
    "write": (DIES, DIES_AFTER, LOST_ANSWER, CONFLICT, THROTTLED),
    "ask": (LOST_ANSWER,),
    "act": (DIES, DIES_AFTER, LOST_ANSWER, LOST_REQUEST),
    "queue": (DIES, DIES_AFTER, REFUSED),
}
"""What can be injected at each kind of call. A death at a read equals one after the last write."""

DEATHS: Faults = dict.fromkeys(FAULTS, (DIES, DIES_AFTER))

INVISIBLE = {CONFLICT, MISSED, OLD}
"""Faults that no caller may see."""

CHAPA_CALLS: tuple[Call, ...] = (
    "initialize",
    "verify",
    "list",
    "cancel",
    "refund",
    "refund_verify",
)
WRITES = {"TransactWriteItems", "UpdateItem", "PutItem"}

RESPONSES: Mapping[str, set[int | str]] = {
    "place": {201, 200, "out_of_stock"},
    "place under a used key": {200, "idempotency_mismatch"},
    "place under a key that may be used": {
        *(201, 200),
        *("out_of_stock", "idempotency_mismatch"),
    },
    "cancel": {200, 202, "order_paid", "order_in_review"},
    "show": {200},
    "initialize": {201, 200, "order_not_payable", "payment_in_progress", "provider_rejected"},
    "status": {200},
    "notify": {200, "bad_signature"},
    "callback": {202},
}
"""Status or error code that a valid request may receive. openapi.yaml describes the bodies."""

AFTER_A_FAULT: set[int | str] = {
    "busy",
    "unavailable",
    "provider_error",
    "provider_unavailable",
    "provider_timeout",
    "not_deferred",
}
"""Additional error codes when a fault was injected into the same call."""

TRANSIENT = (ClientError, BotoCoreError, Busy)
"""Errors with which worker and sweep may fail after a fault; the next sweep repeats the work."""

RECEIVE_COUNT = 5
"""Failures after which template.yaml makes a message a dead letter."""


class Rest(NamedTuple):
    sweeps: int
    endings: tuple[object, ...]
    """Status, held units and refunds of each order."""


type Snapshot = tuple[Any, ...]


class FakeBus:
    """An EventBridge client that keeps the ids of the events."""

    def __init__(self) -> None:
        self.broken = False
        self.ids: set[str] = set()

    def put_events(self, Entries: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: N803
        if self.broken:
            raise EndpointConnectionError(endpoint_url="events")
        self.ids |= {json.loads(entry["Detail"])["id"] for entry in Entries}
        return {"FailedEntryCount": 0}


class World(Shop):
    def __init__(self, provider: str = CURRENT, **settings: str) -> None:
        super().__init__(provider)
        # v2 pays no part below 1.00 back.
        self.stock_up("LAST", "The last one", 1_000, "ETB", 1)
        self.faults = FAULTS
        self.refund_takes = timedelta(hours=1)
        self.max_sweeps = 40
        self.counted: Counter[str] = Counter()
        self._run: Run | None = None
        self._in_process = False
        self._injected: dict[int, str] = {}
        self._index: list[dict[str, Any]] = []
        self._rests: dict[int, Rest] = {}
        self.dynamodb.meta.events.register("before-call.dynamodb", self._before_dynamodb)
        self.dynamodb.meta.events.register("after-call.dynamodb", self._after_dynamodb)
        self.chapa_connection.around = self._around_chapa
        self._send_message = self.messages.send_message
        self.messages.send_message = self._send_to_queue  # type: ignore[method-assign]
        self._settings = settings
        self.configure(**settings)
        self._first = self.snapshot()
        self.reset()

    # Snapshots.

    @property
    def _stored(self) -> Any:
        """Read each time, because moto replaces the table when a transaction fails."""
        return dynamodb_backends["123456789012"]["us-east-1"].tables["payments"]

    def snapshot(self) -> Snapshot:
        return (
            rows(self._stored.items),
            self.simulator.remember(),
            self.clock.now,
            self.random.getstate(),
            self.messages.remember(),
            tuple(self.client_views),
            self.provider,
            self.backend,
        )

    def return_to(self, snapshot: Snapshot) -> None:
        self._run = None
        items, chapa, self.clock.now, randomness, messages, client_views, *shop = snapshot
        if self.provider != shop[0]:
            self.provider = shop[0]
            self.set_secret()
        self.backend = shop[1]
        self._stored.items = rows(items)
        self.simulator.return_to(chapa)
        self.random.setstate(randomness)
        self.messages.return_to(messages)
        self.client_views[:] = client_views
        random.seed(7)  # The product waits for a random time after a conflict.

    def change_over(self, **secret: str) -> None:
        """From now on the other version of Chapa's API opens payments."""
        [self.provider] = API_KEYS.keys() - {self.provider}
        self.set_secret(**secret)
        self.configure(**self._settings)

    def reset(self) -> None:
        """Return to the first day, with no fault left."""
        self.return_to(self._first)
        self.accepted = [WEBHOOK_SECRET]
        self.set_secret()
        self.configure(**self._settings)
        self.bus = FakeBus()
        self.sent: list[Any] = []
        """Every webhook and callback of Chapa."""
        self.log: list[str] = []
        """What the product did since the test last read it."""
        self._failures: Counter[str] = Counter()
        self.faulty = self.ever_faulty = False
        self.recover()

    # Injected faults.

    def recover(self) -> None:
        self.control.clear_faults()
        self.refused: dict[str, float] = {}
        """By call: how many more connections Chapa refuses."""
        self.refusals = 0
        self.dynamodb_faults: list[str] = []
        self.index_misses = 0
        self.queue_refuses = self.bus.broken = False
        self.dies_at = 0
        """The call at which the next process dies; 0 for none."""

    def _next_fault(self, kind: str, name: str) -> str:
        if self._run:
            return self._run.step(*self.faults[kind])
        fault = self._planned_fault(kind, name) if self._in_process else DONE
        if fault == DONE and self.refused.get(name, 0) > 0:
            self.refused[name] -= 1
            self.refusals += 1
            fault = REFUSED
        if fault not in {DONE, MISSED}:
            self._note_fault(f"{name}: {fault}")
        return fault

    def _planned_fault(self, kind: str, name: str) -> str:
        self.dies_at -= 1
        if self.dies_at == 0:
            return DIES
        if kind == "queue" and self.queue_refuses:
            return REFUSED
        if kind in {"read", "index", "write"} and self.dynamodb_faults:
            needs_write = self.dynamodb_faults[0] in {CONFLICT, LOST_ANSWER}
            if name in WRITES or not needs_write:
                return self.dynamodb_faults.pop(0)
        return MISSED if kind == "index" and self.index_misses else DONE

    def _note_fault(self, what: str) -> None:
        self.faulty = self.ever_faulty = True
        self.counted[f"fault at {what}"] += 1
        self.log.append(what)

    def _begin(self, kind: str, name: str) -> str:
        fault = self._next_fault(kind, name)
        if fault == DIES:
            die()
        self._injected[threading.get_ident()] = fault
        return fault

    def _end(self, timeout: Exception) -> str:
        fault = self._injected.pop(threading.get_ident(), DONE)
        if fault == DIES_AFTER:
            die()
        if fault == LOST_ANSWER:
            raise timeout
        return fault

    def _before_dynamodb(self, model: Any, params: Any, **_: Any) -> Any:
        if not (self._run or self._in_process):
            return None
        body = json.loads(params["body"])
        reads = "index" if "IndexName" in body else "read"
        fault = self._begin("write" if model.name in WRITES else reads, model.name)
        match fault:
            case "refused":
                raise EndpointConnectionError(endpoint_url="dynamodb")
            case "conflict" | "item-throttled" if model.name == "TransactWriteItems":
                code = "TransactionConflict" if fault == CONFLICT else "ThrottlingError"
                others = len(body["TransactItems"]) - 1
                reasons = [{"Code": code}, *[{"Code": "None"}] * others]
                return _refusal("TransactionCanceledException", CancellationReasons=reasons)
            case "conflict":
                return _refusal("TransactionConflictException")
            case "throttled" | "item-throttled":
                return _refusal("ThrottlingException")
            case "old" if ":shard" in body["ExpressionAttributeValues"]:
                shard = body["ExpressionAttributeValues"][":shard"]
                items = [item for item in self._index if item["due_shard"] == shard]
                return _response(200, Items=items, Count=len(items), ScannedCount=len(items))
        return None

    def _after_dynamodb(self, parsed: dict[str, Any], **_: Any) -> None:
        if self._end(ReadTimeoutError(endpoint_url="dynamodb")) == MISSED and parsed.get("Items"):
            del parsed["Items"][0]
            self.index_misses -= 1
            self.counted["the index missed an entry"] += 1

    def _around_chapa(self, request: Any, send: Callable[[], Any]) -> Any:
        fault = self._begin("ask" if request.method == "GET" else "act", chapa_call(request))
        if fault == REFUSED:
            refused = NewConnectionError(None, "refused")  # type: ignore[arg-type]
            raise requests.ConnectionError(refused, request=request)
        if fault == LOST_REQUEST:
            raise requests.ConnectionError("reset", request=request)
        response = send()
        self._end(requests.ReadTimeout("no answer", request=request))
        return response

    def _send_to_queue(self, *message: Any, **named: Any) -> None:
        if self._begin("queue", "the queue") == REFUSED:
            raise EndpointConnectionError(endpoint_url="sqs")
        self._send_message(*message, **named)
        self._end(ReadTimeoutError(endpoint_url="sqs"))

    # Tasks side by side.

    def play(self, tasks: Sequence[Task], choices: Sequence[Any] = ()) -> Run:
        """Play the tasks to their end. Raises AssertionError when one ends as none may."""
        self._index = [item for item in self.items() if "due_shard" in item]
        began = self.now
        self._run = self.last_run = run = Run(tasks, choices)
        run.play()
        self._run = None
        for number, error in enumerate(run.errors):
            if not _may_raise(error, run.faults(number)):
                raise AssertionError(f"task {number} may not raise this") from error
        ends = zip(run.results, run.errors, strict=True)
        self.client_views += filter(None, (_client_view(*end, asked_at=began) for end in ends))
        return run

    # Schedule and worker.

    def sweep(self) -> int:
        sweep(self.backend)
        return self.work()

    def work(self) -> int:
        messages = 0
        while message := self.messages.receive():
            reconcile(self.backend, read_message(message))
            messages += 1
        return messages

    def next_due(self, since: int) -> int | None:
        """When something is due that may still change by itself; None at rest.

        Only an operator ends a review, and Chapa need not answer today what it did not answer
        for a day after `since`: such checks go on at rest.
        """
        times = (self._next_due_of(aggregate, since) for aggregate in self.aggregates())
        return min(filter(None, times), default=None)

    def _next_due_of(self, aggregate: OrderAggregate, since: int) -> int | None:
        records: list[Payment | Refund] = [*aggregate.payments, *aggregate.refunds]
        for record in records:
            silent = self.now - max(since, record.unanswered_since or self.now)
            in_review = record.status in {PaymentStatus.REVIEW, RefundStatus.REVIEW}
            if in_review or silent > self.backend.rules.unanswered_after:
                aggregate = aggregate.put(replace(record, check_at=None))
        due = checks.due_at(aggregate, self.now)
        # The sweep moves the time of an order that it queued.
        return due and max(due, aggregate.order.due_at or 0)

    def pass_time(self, until: int | None = None) -> int:
        """Let schedule and worker run until the shop is at rest. Returns the number of sweeps."""
        self.work()
        since = self.now
        for sweeps in range(self.max_sweeps):
            due = self.next_due(since)
            if due is None or (until is not None and due > until):
                if until is not None:
                    self._wait(until)
                return sweeps
            self._wait(due)
            self.sweep()
        raise AssertionError("the schedule always finds something to do")

    def _wait(self, until: int) -> None:
        """Chapa pays each refund out after `refund_takes`."""
        self.clock.advance(max(0, until - self.now))
        for refund in self.simulator.refunds.values():
            is_open = refund.status in {"initiated", "processing"}
            if is_open and self.clock.now - refund.created_at >= self.refund_takes:
                self.simulator.move_refund(refund, "refunded", webhook=False)

    def come_to_rest(self) -> Rest:
        """Pass time and check the invariants before and after; once for each state."""
        state = self.digest()
        if state not in self._rests:
            assert self.audit() == []
            sweeps = self.pass_time()
            assert self.audit(settled=True) == []
            assert self._repeated_decisions() == []
            self._rests[state] = Rest(sweeps, tuple(map(_ending, self.aggregates())))
        return self._rests[state]

    def _repeated_decisions(self) -> list[object]:
        """Decisions of operators that were recorded more than once."""
        decided = Counter(
            (event.tx_ref, getattr(event, "refund_id", None), event.decision)
            for order in read(self.items()).orders.values()
            for event in order.events
            if isinstance(event, PaymentResolved | RefundResolved)
        )
        return [decision for decision, times in decided.items() if times > 1]

    def digest(self) -> int:
        """Equal for equal states, however they were reached."""
        chapa = [vars(payment) for payment in self.simulator.payments.values()]
        state = (self.items(), chapa, self.clock.now, self.messages.remember(), self.client_views)
        return hash(repr(state))

    # Processes that planned faults meet, and what clients receive.

    def process[T](self, work: Callable[[], T]) -> T | None:
        """Run something of the product as one process; None when it died."""
        before = len(self.simulator.journal.entries())
        self._in_process, self.faulty = True, False
        try:
            return work()
        except Died:
            return None
        finally:
            self._in_process, self.dies_at = False, 0
            for entry in self.simulator.journal.entries()[before:]:
                if entry.faults and entry.call in CHAPA_CALLS:
                    self._note_fault(f"{entry.call}: {', '.join(entry.faults)}")

    def request(self, route: str, function: str, event: Mapping[str, Any]) -> Response | None:
        """A valid request and its response; None when the process died."""
        response = self.process(lambda: self.http(function, event))
        if response is None:
            self.log.append(f"{route}: no response")
            return None
        body = response.body
        what = body.get("code") or body.get("outcome") or body.get("status")
        self.log.append(f"{route}: {response.status} {what}")
        self.counted[f"{route}: {response.status} {body.get('code', '')}".strip()] += 1
        key = response.code if response.status >= 400 else response.status
        allowed = RESPONSES[route] | (AFTER_A_FAULT if self.faulty else set())
        assert key in allowed, f"{route}: {response.status} {body}"
        # Processes of a history run one after another: only a fault leaves a payment half open.
        assert key != "payment_in_progress" or self.ever_faulty
        return response

    def _deliver(self, message: Any, _timeout: float) -> int:
        self.sent.append(message)
        return self.receive(message)

    def receive(self, message: Any) -> int:
        """Hand a webhook or callback to the product; 502 when the process died."""
        headers = {name.lower(): value for name, value in message.headers.items()}
        if message.method == "GET":
            pairs = message.url.partition("?")[2].split("&")
            query = dict(pair.split("=", 1) for pair in pairs if pair)
            event = http_event("GET", user=None, query=query)
            response = self.request("callback", "webhook", event)
        else:
            event = http_event("POST", message.body, user=None, headers=headers)
            response = self.request("notify", "webhook", event)
            signed = any(
                headers.get(name, "").removeprefix("sha256=")
                == signature.sign(message.body, secret)
                for name in ("x-chapa-signature", "chapa-signature")
                for secret in self.accepted
            )
            if response is not None:
                assert (response.status == 401) is not signed, f"signed={signed}: {response}"
        return response.status if response else 502

    def expire(self) -> None:
        """Put what is due on the queue."""
        self._attempt("expire", lambda: self.call("expire", {}))

    def reconcile(self, message: str) -> None:
        """Handle a message. One that fails is visible again later, and dead after five times."""
        done = self._attempt("reconcile", lambda: reconcile(self.backend, read_message(message)))
        self._failures[message] = 0 if done else self._failures[message] + 1
        if self._failures[message] % RECEIVE_COUNT:
            self._send_message(QueueUrl="", MessageBody=message, DelaySeconds=180)

    def _attempt(self, what: str, work: Callable[[], object]) -> bool:
        """False when the process died, or failed after a fault."""
        try:
            done = self.process(lambda: (work(),)) is not None
        except TRANSIENT:
            if not self.faulty:
                raise
            done = False
        self.log.append(f"{what}: {'done' if done else 'failed'}")
        return done

    def visible_messages(self) -> list[str]:
        """Takes them off the queue, oldest first."""
        return list(iter(self.messages.receive, None))

    def publish(self) -> None:
        """Let the stream hand over every event that may not be published yet."""
        marked = [item for item in self.items() if "EVENTS" in str(item.get("due_shard"))]
        records = [
            {"dynamodb": {"NewImage": item, "SequenceNumber": str(number)}}
            for number, item in enumerate(marked)
        ]
        bus = Bus(self.bus, "chapa-payments")  # type: ignore[arg-type]
        publisher = Publisher(self.backend.repository, bus)
        self.process(lambda: publisher.publish(records))

    # State.

    def items(self) -> list[dict[str, Any]]:
        """The items of the table in DynamoDB's JSON."""
        stored = self._stored.items.values()
        return [item.to_json()["Attributes"] for row in stored for item in row.values()]

    def aggregates(self) -> list[OrderAggregate]:
        orders: dict[str, list[dict[str, Any]]] = {}
        for item in self.items():
            if item["pk"]["S"].startswith("ORDER#"):
                orders.setdefault(item["pk"]["S"], []).append(plain(item))
        return [each for _, some in sorted(orders.items()) if (each := aggregate_in(some))]

    def at_chapa(self, tx_ref: str) -> PaymentAtChapa:
        known = self.simulator.find(tx_ref)
        assert known is not None
        return known


def chapa_call(request: Any) -> Call:
    _, version, first, *rest = urlsplit(str(request.url)).path.split("/")
    if first.startswith("refund"):
        return "refund_verify" if rest[-1:] == ["verify"] else "refund"
    if first == "transactions":
        return "list"
    if version == "v1":
        found: Call = rest[0]  # type: ignore[assignment]
        return found
    return "initialize" if rest == ["hosted"] else "verify" if rest else "list"


def _ending(aggregate: OrderAggregate) -> object:
    refunds = sorted((refund.status.value, refund.amount) for refund in aggregate.refunds)
    return (aggregate.order.status.value, aggregate.held_units, refunds)


def _refusal(code: str, **more: Any) -> tuple[AWSResponse, dict[str, Any]]:
    return _response(400, Error={"Code": code, "Message": "injected"}, **more)


def _response(status: int, **parsed: Any) -> tuple[AWSResponse, dict[str, Any]]:
    meta = {"HTTPStatusCode": status, "HTTPHeaders": {}, "RetryAttempts": 0}
    return AWSResponse("", status, HTTPHeaders(), None), parsed | {"ResponseMetadata": meta}


def _may_raise(error: BaseException | None, faults: set[str]) -> bool:
    match error:
        case None | PaymentsError():
            return True
        case Died():
            return bool(faults & {DIES, DIES_AFTER})
        case ClientError() | BotoCoreError():
            # A handler answers 503, or the queue hands the message out again.
            return bool(faults - INVISIBLE)
    return False


def _client_view(result: object, error: BaseException | None, asked_at: int) -> ClientView | None:
    """What the client of a use case knows about its order."""
    if isinstance(error, OrderPaid):
        return ClientView(str(error.members["order_id"]), paid=True)
    if isinstance(result, Decision | Checkout):
        result = result.aggregate
    if not isinstance(result, OrderAggregate):
        return None
    was_paid = result.order.status in {OrderStatus.PAID, OrderStatus.REFUNDED}
    return ClientView(result.order.order_id, was_paid, asked_at)
