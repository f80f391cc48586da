"""Every minute: put the ids of due orders on the queue for the reconcile function.

Events that are overdue to be published are touched, so that the table's stream carries them again.
"""

from collections.abc import Iterator
from itertools import islice
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from payments.backend import Backend
from payments.telemetry import count, logger, metrics

TOUCHED_AT_ONCE = 1000
"""Events touched in one sweep: a few seconds of writes, and within the quota of the bus."""

backend = Backend.from_environment()


def _due(bounded: Backend) -> Iterator[str]:
    """Stops when the time is over; the other orders stay due for the next minute."""
    for order_id in bounded.repository.due(bounded.now):
        if bounded.time_left <= 0:
            logger.warning("more orders are due than one sweep can queue")
            return
        yield order_id


def _touch_overdue_events(bounded: Backend) -> int:
    touched = 0
    overdue = bounded.repository.overdue_events(bounded.now)
    for event in islice(overdue, TOUCHED_AT_ONCE):
        if bounded.time_left <= 0:
            break
        touched += bounded.repository.touch_event(event, bounded.now)
    return touched


@logger.inject_lambda_context(clear_state=True)
@metrics.log_metrics
def handler(_event: dict[str, Any], context: LambdaContext) -> dict[str, int]:
    bounded = backend.within(context)
    count("Sweeps")
    sent, failed = bounded.queue.send_all(_due(bounded))
    if failed:
        logger.error("orders not queued; the next sweep queues them again", failed=failed)
    if overdue := _touch_overdue_events(bounded):
        logger.error("events not published in time; the stream carries them again", n=overdue)
        count("EventsOverdue", overdue)
    logger.info("sweep", sent=sent, failed=failed, events=overdue)
    return {"sent": sent, "failed": failed, "events": overdue}
