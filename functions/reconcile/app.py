"""From the queue: reconcile each order that is due. After five failures SQS makes a dead letter."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from payments.aws.queue import read_message
from payments.telemetry import count, logger, metrics
from payments.usecases.backend import Backend
from payments.usecases.reconcile import reconcile

backend = Backend.from_environment()


@logger.inject_lambda_context(clear_state=True)
@metrics.log_metrics(capture_cold_start_metric=True)
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    bounded = backend.within(context)
    failures = []
    for record in event["Records"]:
        try:
            reconcile(bounded, read_message(record["body"]))
        except Exception:
            logger.exception("order not reconciled", message_id=record["messageId"])
            count("ReconcileFailed")
            failures.append({"itemIdentifier": record["messageId"]})
        else:
            count("Reconciled")
    return {"batchItemFailures": failures}
