"""A shop that can be put back to how it was, and in which every call may go wrong."""

import copy
import json
import random
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NamedTuple
from unittest.mock import patch

import requests
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from botocore.exceptions import BotoCoreError, ClientError, ReadTimeoutError
from moto.dynamodb.models import dynamodb_backends

from operators.invariants import ClientView
from payments.aws import repository
from payments.usecases.backend import Backend
from payments.domain.decisions import Decision
from payments.errors import OrderPaid, PaymentsError
from payments.aws.queue import Message, read_message
from payments.usecases.reconcile import reconcile
from payments.usecases.sweep import sweep
from payments.domain.states import OrderStatus
from payments.domain.aggregate import OrderAggregate
from tests.search.interleavings.explorer import Run, Task, written
from tests.shop import WEBHOOK_SECRET, Died, Shop, die

DIES, DIES_AFTER = "dies", "dies-after"
LOST = "answer-lost"
"""The call has its effect, and nobody hears of it."""
CONFLICT, THROTTLED, REFUSED = "conflict", "throttled", "refused"
MISSED, OLD = "missed", "old"
"""What an index may say: nothing yet, or what was so when the run began."""

type Mishaps = Mapping[str, Sequence[str]]

MISHAPS: Mishaps = {
    "read": (THROTTLED,),
    "index": (THROTTLED, MISSED, OLD),
    "write": (DIES, DIES_AFTER, LOST, CONFLICT, THROTTLED),
    "ask": (LOST,),
    "tell": (DIES, DIES_AFTER, LOST, REFUSED),
    "queue": (DIES, DIES_AFTER, REFUSED),
}
"""What may befall each kind of call. Who dies elsewhere died, as it were, after the last effect."""

DEATHS: Mishaps = dict.fromkeys(MISHAPS, (DIES, DIES_AFTER))

HARMLESS = {CONFLICT, MISSED, OLD}
"""What no caller may ever hear of."""

SWEEPS = 40
"""After these all is at rest; a refund of which Chapa says nothing for a day takes thirty."""


class Rest(NamedTuple):
    sweeps: int
    """How many it took."""
    endings: list[object]
    """What became of each order, its goods and the money that it owed."""


@dataclass(frozen=True)
class Day:
    items: Any
    chapa: object
    now: Any
    randomness: Any
    messages: list[Any]
    told: list[ClientView]
    backend: Backend


class World:
    def __init__(self) -> None:
        self.mishaps = MISHAPS
        self.shop = Shop()
        self.shop.configure(wait_seconds="0", verify_every_seconds="1")
        self.run: Run | None = None
        self._after: dict[int, str] = {}
        self._index: list[dict[str, Any]] = []
        self._rests: dict[int, Rest] = {}
        events = self.shop.dynamodb.meta.events
        events.register("before-call.dynamodb", self._before_aws)
        events.register("after-call.dynamodb", self._after_aws)
        self.shop.chapa_connection.around = self._around_chapa
        self._send_message = self.shop.messages.send_message
        self.shop.messages.send_message = self._send_to_queue  # type: ignore[method-assign]
        self.shop.control.set(webhook_url="http://127.0.0.1:1", webhook_secret=WEBHOOK_SECRET)

    @property
    def _table(self) -> Any:
        """moto puts another in its place when a transaction fails."""
        return dynamodb_backends["123456789012"]["us-east-1"].tables["payments"]

    def today(self) -> Day:
        shop = self.shop
        return Day(
            copy.deepcopy(self._table.items),
            shop.simulator.remember(),
            shop.clock.now,
            shop.random.getstate(),
            shop.messages.remember(),
            list(shop.client_views),
            shop.backend,
        )

    def return_to(self, day: Day) -> None:
        shop = self.shop
        self.run = None
        self._after.clear()
        self._table.items = copy.deepcopy(day.items)
        shop.simulator.return_to(day.chapa)
        shop.clock.now = day.now
        shop.random.setstate(day.randomness)
        shop.messages.return_to(day.messages)
        shop.client_views[:] = day.told
        shop.backend = day.backend
        random.seed(7)  # How long somebody waits who met a conflict.

    @contextmanager
    def only(self, mishaps: Mishaps) -> Iterator[None]:
        """Nothing else befalls a call meanwhile."""
        was, self.mishaps = self.mishaps, mishaps
        yield
        self.mishaps = was

    def play(self, tasks: Sequence[Task], choices: Sequence[Any] = ()) -> Run:
        """From here on, until all have ended; raises when one ended as none may."""
        self._index = [item for item in self._items() if "due_shard" in item]
        began = self.shop.now
        self.run = run = Run(tasks, choices)
        run.play()
        self.run = None
        for number, error in enumerate(run.errors):
            if not _may_end_so(error, run.mishaps(number)):
                raise AssertionError(f"task {number} of {written(run.taken)}") from error
        ends = zip(run.results, run.errors, strict=True)
        self.shop.client_views += filter(None, (_told(*end, asked_at=began) for end in ends))
        return run

    def come_to_rest(self) -> "Rest":
        """Whatever else happens, only the schedule and the worker go on, until nothing is due.

        Raises AssertionError for a promise that is broken now or then, or when there is no end.
        What is known to come to rest is not played again.
        """
        state = self.digest()
        if state not in self._rests:
            assert self.shop.audit() == []
            self._rests[state] = self._sweep_until_rest()
            assert self.shop.audit(settled=True) == []
        return self._rests[state]

    def _sweep_until_rest(self) -> "Rest":
        for sweeps in range(SWEEPS):
            self.work()
            due = self.next_due()
            if due is None or self._only_waits():
                return Rest(sweeps, self._endings())
            self.shop.clock.advance(max(0, due - self.shop.now))
            self._chapa_pays_back()
            self.sweep()
        raise AssertionError("there is always something left to do")

    def next_due(self) -> int | None:
        """When the schedule will next find something to do."""
        due = [int(item["due_at"]["N"]) for item in self._items() if _is_due_order(item)]
        return min(due, default=None)

    def _only_waits(self) -> bool:
        """Whether all that is left waits for a person or for an answer that does not come."""
        ids = [item["order_id"]["S"] for item in self._items() if item["sk"]["S"] == "ORDER"]
        for it in map(self.shop.aggregate, ids):
            for record in (*it.payments, *it.refunds):
                if record.check_at is None or record.status.value == "review":
                    continue
                since = record.unanswered_since
                if since is None or self.shop.now - since < 86_400:
                    return False
            if it.order.due_at is not None and not [
                r for r in (*it.payments, *it.refunds) if r.check_at is not None
            ]:
                return False
        return True

    def _chapa_pays_back(self) -> None:
        """Within an hour, whether anybody asks or not."""
        for refund in self.shop.simulator.refunds.values():
            age = self.shop.clock.now - refund.created_at
            if refund.status in {"initiated", "processing"} and age >= timedelta(hours=1):
                self.shop.control.refund_status(refund.ref_id, "refunded", webhook=False)

    def _endings(self) -> list[object]:
        ids = sorted(item["order_id"]["S"] for item in self._items() if item["sk"]["S"] == "ORDER")
        return [
            (it.order.status, sorted((r.status.value, r.amount) for r in it.refunds))
            for it in map(self.shop.aggregate, ids)
        ]

    def sweep(self) -> None:
        sweep(self.shop.backend)

    def work(self) -> None:
        while message := self.shop.messages.receive():
            reconcile(self.shop.backend, read_message(message))

    def _items(self) -> list[dict[str, Any]]:
        rows = self._table.items.values()
        return [item.to_json()["Attributes"] for row in rows for item in row.values()]

    def digest(self) -> int:
        """The same for the same state, whatever led to it."""
        shop = self.shop
        chapa = [vars(payment) for payment in shop.simulator.payments.values()]
        state = (self._items(), chapa, shop.clock.now, shop.messages.remember(), shop.client_views)
        return hash((repr(state), shop.backend.rules, shop.backend.rules.verify_every))

    def _step(self, kind: str) -> str:
        outcome = self.run.step(*self.mishaps[kind]) if self.run else "done"
        if outcome == DIES:
            die()
        return outcome

    def _before_aws(self, model: Any, params: Any, **_: Any) -> Any:
        if self.run is None:
            return None
        asked = json.loads(params["body"])
        match model.name:
            case "TransactWriteItems" | "UpdateItem":
                outcome = self._step("write")
            case "Query" if "IndexName" in asked:
                outcome = self._step("index")
            case _:
                outcome = self._step("read")
        match outcome:
            case "conflict" if model.name == "UpdateItem":
                return _refusal("TransactionConflictException")
            case "conflict":
                others = len(asked["TransactItems"]) - 1
                reasons = [{"Code": "TransactionConflict"}, *[{"Code": "None"}] * others]
                return _refusal("TransactionCanceledException", CancellationReasons=reasons)
            case "throttled":
                return _refusal("ThrottlingException")
            case "missed":
                return _items([])
            case "old":
                shard = asked["ExpressionAttributeValues"][":shard"]
                return _items([item for item in self._index if item["due_shard"] == shard])
        self._after[threading.get_ident()] = outcome
        return None

    def _after_aws(self, **_: Any) -> None:
        self._then(ReadTimeoutError(endpoint_url="dynamodb"))

    def _then(self, lost: Exception) -> None:
        match self._after.pop(threading.get_ident(), None):
            case "dies-after":
                die()
            case "answer-lost":
                raise lost

    def _around_chapa(self, request: Any, send: Callable[[], Any]) -> Any:
        outcome = self._step("ask" if request.method == "GET" else "tell")
        if outcome == REFUSED:
            raise requests.ConnectionError("refused", request=request)
        self._after[threading.get_ident()] = outcome
        response = send()
        self._then(requests.ReadTimeout("no answer", request=request))
        return response

    def _send_to_queue(self, *message: Any, **named: Any) -> None:
        outcome = self._step("queue")
        if outcome == REFUSED:
            raise ReadTimeoutError(endpoint_url="sqs")
        self._after[threading.get_ident()] = outcome
        self._send_message(*message, **named)
        self._then(ReadTimeoutError(endpoint_url="sqs"))


def one_shard() -> Any:
    """The due index in one part: eight queries more for each sweep would only take time."""
    return patch.object(repository, "DUE_SHARDS", 1)


def _is_due_order(item: Mapping[str, Any]) -> bool:
    return "due_shard" in item and item["sk"]["S"] == "ORDER"


def _refusal(code: str, **more: Any) -> tuple[AWSResponse, dict[str, Any]]:
    return _answer(400, Error={"Code": code, "Message": "so the schedule has it"}, **more)


def _items(items: list[dict[str, Any]]) -> tuple[AWSResponse, dict[str, Any]]:
    return _answer(200, Items=items, Count=len(items), ScannedCount=len(items))


def _answer(status: int, **parsed: Any) -> tuple[AWSResponse, dict[str, Any]]:
    meta = {"HTTPStatusCode": status, "HTTPHeaders": {}, "RetryAttempts": 0}
    return AWSResponse("", status, HTTPHeaders(), None), parsed | {"ResponseMetadata": meta}


def _may_end_so(error: BaseException | None, mishaps: set[str]) -> bool:
    match error:
        case None | PaymentsError():
            return True
        case Died():
            return bool(mishaps & {DIES, DIES_AFTER})
        case ClientError() | BotoCoreError():
            # A handler turns it into 503, and the queue hands its message out again.
            return bool(mishaps - HARMLESS)
    return False


def _told(result: object, error: BaseException | None, asked_at: int) -> ClientView | None:
    """What the client of a use case knows."""
    if isinstance(error, OrderPaid):
        return ClientView(str(error.members["order_id"]), paid=True)
    if isinstance(result, Decision):
        result = result.aggregate
    if not isinstance(result, OrderAggregate):
        return None
    was_paid = result.order.status in {OrderStatus.PAID, OrderStatus.REFUNDED}
    return ClientView(result.order.order_id, was_paid, asked_at)
