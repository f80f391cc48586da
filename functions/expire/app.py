"""Every minute: put the orders that are due on the queue. Deciding about them is not done here."""

from collections.abc import Iterator
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from payments.backend import Backend
from payments.telemetry import count, logger, metrics

backend = Backend.from_environment()


def _due(bounded: Backend) -> Iterator[str]:
    """As many as there is time for; the rest stays due for the next minute."""
    for order_id in bounded.repository.due(bounded.now):
        if bounded.time_left <= 0:
            logger.warning("more orders are due than one sweep can send")
            return
        yield order_id


@logger.inject_lambda_context(clear_state=True)
@metrics.log_metrics
def handler(_event: dict[str, Any], context: LambdaContext) -> dict[str, int]:
    bounded = backend.within(context)
    sent, failed = bounded.queue.send_all(_due(bounded))
    count("Sweeps")
    if failed:
        logger.error("orders not queued; the next sweep finds them again", failed=failed)
    logger.info("sweep", sent=sent, failed=failed)
    return {"sent": sent, "failed": failed}
