<<<<<<< HEAD
"""Every minute: put the orders that are due on the queue. Nothing is decided about them here."""

=======
"""Every minute: put the ids of due orders on the queue for the reconcile function.

Events that are overdue to be published are touched, so that the table's stream carries them again.
"""

from collections.abc import Iterator
from itertools import islice
>>>>>>> main
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from payments.telemetry import count, logger, metrics
<<<<<<< HEAD
from payments.usecases.backend import Backend
from payments.usecases.sweep import sweep
=======

TOUCHED_AT_ONCE = 1000
"""Events touched in one sweep: a few seconds of writes, and within the quota of the bus."""
>>>>>>> main

backend = Backend.from_environment()


<<<<<<< HEAD
=======
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


>>>>>>> main
@logger.inject_lambda_context(clear_state=True)
@metrics.log_metrics
def handler(_event: dict[str, Any], context: LambdaContext) -> dict[str, int]:
    count("Sweeps")
<<<<<<< HEAD
    swept = sweep(backend.within(context))
    if swept.failed:
        logger.error("orders not queued; the next sweep finds them again", failed=swept.failed)
    if swept.events:
        logger.error(
            "events were not published in time; the stream carries them again", n=swept.events
        )
        count("EventsOverdue", swept.events)
    logger.info("sweep", sent=swept.sent, failed=swept.failed, events=swept.events)
    return {"sent": swept.sent, "failed": swept.failed, "events": swept.events}
=======
    sent, failed = bounded.queue.send_all(_due(bounded))
    if failed:
        logger.error("orders not queued; the next sweep queues them again", failed=failed)
    if overdue := _touch_overdue_events(bounded):
        logger.error("events not published in time; the stream carries them again", n=overdue)
        count("EventsOverdue", overdue)
    logger.info("sweep", sent=sent, failed=failed, events=overdue)
    return {"sent": sent, "failed": failed, "events": overdue}
>>>>>>> main
