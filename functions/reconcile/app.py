"""From the queue: reconcile each due order. A message that fails five times is a dead letter."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from payments.backend import Backend
from payments.queue import order_id_in
from payments.reconcile import reconcile
from payments.telemetry import count, logger, metrics

backend = Backend.from_environment()


@logger.inject_lambda_context(clear_state=True)
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    bounded = backend.within(context)
    failures = []
    for record in event["Records"]:
        try:
            reconcile(bounded, order_id_in(record["body"]))
        except Exception:
            logger.exception("order not reconciled", message_id=record["messageId"])
            count("ReconcileFailed")
            failures.append({"itemIdentifier": record["messageId"]})
        else:
            count("Reconciled")
    return {"batchItemFailures": failures}
