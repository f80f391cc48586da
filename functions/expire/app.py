"""Every minute: put the orders that are due on the queue. Nothing is decided about them here."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from payments.telemetry import count, logger, metrics
from payments.usecases.backend import Backend
from payments.usecases.sweep import measure_backlog, sweep

backend = Backend.from_environment()


@logger.inject_lambda_context(clear_state=True)
@metrics.log_metrics(capture_cold_start_metric=True)
def handler(_event: dict[str, Any], context: LambdaContext) -> dict[str, int]:
    count("Sweeps")
    bounded = backend.within(context)
    swept = sweep(bounded)
    if swept.failed:
        logger.error("orders not queued; the next sweep finds them again", failed=swept.failed)
    if swept.events:
        logger.error(
            "events were not published in time; the stream carries them again", n=swept.events
        )
        count("EventsOverdue", swept.events)
    measure_backlog(bounded, swept)
    logger.info("sweep", sent=swept.sent, failed=swept.failed, events=swept.events)
    return {"sent": swept.sent, "failed": swept.failed, "events": swept.events}
