"""From the table's stream: put events on the event bus. What failed comes again."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from payments.telemetry import logger, metrics
from payments.usecases.publish import Publisher

publisher = Publisher.from_environment()


@logger.inject_lambda_context(clear_state=True)
@metrics.log_metrics(capture_cold_start_metric=True)
def handler(event: dict[str, Any], _context: LambdaContext) -> dict[str, Any]:
    failed = publisher.publish(event["Records"])
    # Lambda repeats the batch from the lowest number on.
    return {"batchItemFailures": [{"itemIdentifier": failed}] if failed else []}
