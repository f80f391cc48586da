"""From the table's stream: put ledger events on the bus. What failed comes again."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from payments.publish import Publisher
from payments.telemetry import logger, metrics

publisher = Publisher.from_environment()


@logger.inject_lambda_context(clear_state=True)
@metrics.log_metrics
def handler(event: dict[str, Any], _context: LambdaContext) -> dict[str, Any]:
    failed = publisher.publish(event["Records"])
    # Lambda repeats the batch from the lowest number on, so the first one says it all.
    return {"batchItemFailures": [{"itemIdentifier": failed}] if failed else []}
