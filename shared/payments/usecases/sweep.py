"""Find what is due: orders for the queue, and events that were not published in time."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from payments.aws.queue import Message
from payments.aws.repository import DueOrder
from payments.telemetry import logger
from payments.usecases.backend import Backend

MAX_TOUCHED = 1000
"""Events of one sweep: a few seconds of writing, and no more than the bus can take at a time."""


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
        backend.repository.queued(orders.pop(message.order_id), backend.now)
        sent += 1
    return Swept(sent, len(orders), _touch_overdue_events(backend))


def _touch_overdue_events(backend: Backend) -> int:
    touched = 0
    overdue = backend.repository.overdue_events(backend.now)
    for event in islice(overdue, MAX_TOUCHED):
        if backend.time_left <= 0:
            break
        touched += backend.repository.touch_event(event, backend.now)
    return touched
