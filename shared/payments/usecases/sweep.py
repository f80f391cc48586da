"""Find what is due: orders for the queue, and events that were not published in time."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from payments.aws.queue import Message
from payments.aws.repository import DueOrder
from payments.telemetry import logger
from payments.usecases.backend import Backend

MET_AGAIN_SECONDS = 90
"""An order that is due for longer was queued by an earlier sweep, and is not done. Only then its
due time is moved on: that costs three write units, and the usual order does without it."""

MAX_TOUCHED = 1000
"""Writes whose events one sweep sends again: a few seconds of writing, and no more than the bus can
take at a time."""


@dataclass(frozen=True)
class Swept:
    sent: int
    failed: int
    """Orders that could not be queued. They stay due."""
    events: int


def sweep(backend: Backend) -> Swept:
    """As much as there is time for; the rest stays due for the next sweep."""
    sent = 0
    orders: dict[str, DueOrder] = {}

    def messages() -> Iterator[Message]:
        for order in backend.repository.due(backend.now):
            if backend.time_left <= 0:
                logger.warning("more orders are due than one sweep can send")
                return
            orders[order.order_id] = order
            yield Message(order.order_id)

    for message in backend.queue.send_all(messages()):
        order = orders.pop(message.order_id)
        if order.queued or order.due_at <= backend.now - MET_AGAIN_SECONDS:
            backend.repository.queued(order, backend.now)
        sent += 1
    return Swept(sent, len(orders), _touch_overdue_events(backend))


def _touch_overdue_events(backend: Backend) -> int:
    touched = 0
    overdue = backend.repository.overdue_events(backend.now)
    for first in islice(overdue, MAX_TOUCHED):
        if backend.time_left <= 0:
            break
        touched += backend.repository.touch_events(first, backend.now)
    return touched
