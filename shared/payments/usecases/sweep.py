"""Find what is due: orders for the queue, and events that were not published in time.

Also measure what waits: nothing else runs every minute.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from aws_lambda_powertools.metrics import MetricUnit

from payments.aws.items import OWED_LIST, REVIEW_LIST, UNANSWERED_LIST
from payments.aws.queue import Message
from payments.aws.repository import DueOrder
from payments.telemetry import count, logger, measure
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
    oldest: int
    """For how many seconds the order has been due that waited longest."""


MEASURED_LISTS = (
    (OWED_LIST, "RefundsOwed", "OldestRefundOwedSeconds"),
    (REVIEW_LIST, "InReview", "OldestReviewSeconds"),
    (UNANSWERED_LIST, "Unanswered", "OldestUnansweredSeconds"),
)
"""Lists, and the metrics of the number and the age of what stands in them."""


def sweep(backend: Backend) -> Swept:
    """As much as there is time for; the rest stays due for the next sweep."""
    sent = 0
    oldest = 0
    orders: dict[str, DueOrder] = {}

    def messages() -> Iterator[Message]:
        nonlocal oldest
        for order in backend.repository.due(backend.now):
            if backend.time_left <= 0:
                logger.warning("more orders are due than one sweep can send")
                return
            oldest = max(oldest, order.waited(backend.now))
            orders[order.order_id] = order
            yield Message(order.order_id)

    for message in backend.queue.send_all(messages()):
        order = orders.pop(message.order_id)
        if order.queued or order.due_at <= backend.now - MET_AGAIN_SECONDS:
            backend.repository.queued(order, backend.now)
        sent += 1
    return Swept(sent, len(orders), _touch_overdue_events(backend), oldest)


def measure_backlog(backend: Backend, swept: Swept) -> None:
    """Since when orders are due, and money is owed, in review or unanswered."""
    measure("OldestDueSeconds", MetricUnit.Seconds, swept.oldest)
    for list_key, number, age in MEASURED_LISTS:
        standing = backend.lists.standing(list_key)
        since = backend.now if standing.since is None else standing.since
        count(number, standing.entries)
        measure(age, MetricUnit.Seconds, backend.now - since)


def _touch_overdue_events(backend: Backend) -> int:
    touched = 0
    overdue = backend.repository.overdue_events(backend.now)
    for first in islice(overdue, MAX_TOUCHED):
        if backend.time_left <= 0:
            break
        touched += backend.repository.touch_events(first, backend.now)
    return touched
