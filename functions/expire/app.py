"""Every minute: put the orders that are due on the queue. Nothing is decided about them here.

Events that should have been published long ago go down the table's stream once more.
"""

from collections.abc import Iterator
from itertools import islice
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from payments.aws.queue import Message
from payments.aws.repository import DueOrder
from payments.telemetry import count, logger, metrics
from payments.usecases.backend import Backend

MAX_TOUCHED = 1000
"""Events of one sweep: a few seconds of writing, and no more than the bus can take at a time."""

backend = Backend.from_environment()


def _due(bounded: Backend) -> Iterator[DueOrder]:
    """As many as there is time for; the rest stays due for the next minute."""
    for order in bounded.repository.due(bounded.now):
        if bounded.time_left <= 0:
            logger.warning("more orders are due than one sweep can send")
            return
        yield order


def _queue(bounded: Backend) -> tuple[int, int]:
    """How many orders were queued, and how many could not be; those stay due."""
    sent = failed = 0
    orders: dict[str, DueOrder] = {}

    def messages() -> Iterator[Message]:
        for order in _due(bounded):
            orders[order.order_id] = order
            yield Message(order.order_id)

    for message, stored in bounded.queue.send_all(messages()):
        if stored:
            bounded.repository.queued(orders.pop(message.order_id), bounded.now)
            sent += 1
        else:
            failed += 1
    return sent, failed


def _touch_overdue_events(bounded: Backend) -> int:
    touched = 0
    overdue = bounded.repository.overdue_events(bounded.now)
    for event in islice(overdue, MAX_TOUCHED):
        if bounded.time_left <= 0:
            break
        touched += bounded.repository.touch_event(event, bounded.now)
    return touched


@logger.inject_lambda_context(clear_state=True)
@metrics.log_metrics
def handler(_event: dict[str, Any], context: LambdaContext) -> dict[str, int]:
    bounded = backend.within(context)
    count("Sweeps")
    sent, failed = _queue(bounded)
    if failed:
        logger.error("orders not queued; the next sweep finds them again", failed=failed)
    if overdue := _touch_overdue_events(bounded):
        logger.error("events were not published in time; the stream carries them again", n=overdue)
        count("EventsOverdue", overdue)
    logger.info("sweep", sent=sent, failed=failed, events=overdue)
    return {"sent": sent, "failed": failed, "events": overdue}
