"""Webhooks and callbacks that wait for delivery, and the threads that deliver them."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import requests

from sandbox.chapa.faults import Call
from sandbox.chapa.journal import Journal
from sandbox.chapa.settings import Settings

type Clock = Callable[[], datetime]


@dataclass(frozen=True)
class Message:
    call: Call
    tx_ref: str | None
    method: str
    url: str
    headers: dict[str, str] = field(repr=False)
    body: bytes
    faults: tuple[str, ...] = ()
    version: str | None = None


type Send = Callable[[Message, float], int]
"""Sends a message with a timeout in seconds; returns the HTTP status or raises OSError."""


def send_over_http(message: Message, timeout: float) -> int:
    # A proxy from the environment cannot reach a server on this machine.
    with requests.Session() as session:
        session.trust_env = False
        response = session.request(
            message.method,
            message.url,
            data=message.body or None,
            headers=message.headers,
            timeout=timeout,
            allow_redirects=False,
        )
        return response.status_code


@dataclass(eq=False)
class Delivery:
    """One message, until it is acknowledged or its attempts are used up."""

    message: Message
    due: datetime
    after: "Delivery | None" = None
    """A delivery that is attempted before this one."""
    attempts: int = 0


class Outbox:
    """Waiting deliveries, in the order in which they were added."""

    def __init__(
        self,
        journal: Journal,
        clock: Clock,
        send: Send,
        settings: Callable[[], Settings],
        prepare: Callable[[], object],
    ) -> None:
        """`prepare` is called before messages are taken; it may put some."""
        self._journal = journal
        self._clock = clock
        self._send = send
        self._settings = settings
        self._prepare = prepare
        self._changed = threading.Condition()
        self._waiting: list[Delivery] = []
        self._clearings = 0

    @property
    def waiting(self) -> list[Delivery]:
        with self._changed:
            return list(self._waiting)

    def put(self, message: Message, *, delay: float = 0, after: Delivery | None = None) -> Delivery:
        delivery = Delivery(message, self._clock() + timedelta(seconds=delay), after)
        with self._changed:
            self._waiting.append(delivery)
            self._changed.notify()
        return delivery

    def clear(self) -> None:
        with self._changed:
            self._waiting.clear()
            self._clearings += 1

    def deliver_due(self) -> list[int | None]:
        """Attempt each due delivery once, in order; returns the HTTP statuses."""
        self._prepare()
        codes = []
        now = self._clock()
        while delivery := self._take(now):
            codes.append(self.deliver(delivery))
        return codes

    def deliver(self, delivery: Delivery) -> int | None:
        """Attempt this delivery now, due or not, so that a test can choose the order."""
        with self._changed:
            if delivery in self._waiting:
                self._waiting.remove(delivery)
            clearings = self._clearings
        settings = self._settings()
        message = delivery.message
        entry = self._journal.add(
            message.call,
            message.tx_ref,
            self._clock(),
            method=message.method,
            url=message.url,
            body=message.body,
            faults=message.faults,
            version=message.version,
        )
        try:
            entry.status = self._send(message, settings.send_timeout)
        except OSError as error:
            entry.error = type(error).__name__
        delivery.attempts += 1
        acknowledged = entry.status == 200 or (
            settings.switches.webhook_ack == "2xx" and entry.status in range(200, 300)
        )
        again = (
            message.call == "webhook"
            and not acknowledged
            and delivery.attempts < settings.webhook_attempts
        )
        with self._changed:
            if again and clearings == self._clearings:
                delivery.due = self._clock() + timedelta(seconds=settings.retry_seconds)
                self._waiting.append(delivery)
            self._changed.notify_all()
        return entry.status

    def _take(self, now: datetime) -> Delivery | None:
        with self._changed:
            ready = [
                delivery
                for delivery in self._waiting
                if delivery.due <= now and (delivery.after is None or delivery.after.attempts)
            ]
            if not ready:
                return None
            first = min(ready, key=lambda delivery: delivery.due)
            self._waiting.remove(first)
            return first

    def take_or_wait(self, seconds: float) -> Delivery | None:
        """The next due delivery; waits up to `seconds`, then None."""
        self._prepare()
        if delivery := self._take(self._clock()):
            return delivery
        with self._changed:
            self._changed.wait(seconds)
        return None

    def wake(self) -> None:
        with self._changed:
            self._changed.notify_all()


class DeliveryThreads:
    """Threads that send due deliveries.

    There are several, so that copies of a webhook arrive at the same time, as they do from Chapa.
    """

    POLL_SECONDS = 0.05

    def __init__(self, outbox: Outbox, workers: int = 4) -> None:
        self._outbox = outbox
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._work, name=f"delivery-{number}", daemon=True)
            for number in range(workers)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self, seconds: float = 0.5) -> None:
        """Send nothing more; do not wait longer than `seconds` for running attempts."""
        self._stopping.set()
        self._outbox.wake()
        until = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0, until - time.monotonic()))

    def _work(self) -> None:
        while not self._stopping.is_set():
            if delivery := self._outbox.take_or_wait(self.POLL_SECONDS):
                self._outbox.deliver(delivery)
