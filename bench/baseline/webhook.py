"""POST /webhooks/chapa: check the signature, ask Chapa, mark the order as paid."""

import hashlib
import hmac
from decimal import Decimal
from typing import Any

from aws_lambda_powertools.event_handler import APIGatewayHttpResolver
from aws_lambda_powertools.event_handler.exceptions import NotFoundError, UnauthorizedError
from aws_lambda_powertools.logging import correlation_paths
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.idempotency import idempotent_function
from aws_lambda_powertools.utilities.typing import LambdaContext
from pydantic import BaseModel

from bench.baseline.shop import (
    CHAPA_URL,
    SECONDS,
    chapa,
    headers,
    logger,
    metrics,
    once,
    once_config,
    orders,
    payments,
    secret,
    tracer,
)

app = APIGatewayHttpResolver(enable_validation=True)


class Notification(BaseModel):
    tx_ref: str
    event: str = ""


class Outcome(BaseModel):
    outcome: str


@idempotent_function(  # type: ignore[untyped-decorator]
    data_keyword_argument="tx_ref", persistence_store=once, config=once_config
)
def settle(*, tx_ref: str) -> dict[str, str]:
    payment = payments.get_item(Key={"tx_ref": tx_ref}).get("Item")
    if payment is None:
        raise NotFoundError("There is no such payment.")
    answer = chapa.get(
        f"{CHAPA_URL}/transaction/verify/{tx_ref}", headers=headers(), timeout=SECONDS
    )
    answer.raise_for_status()
    facts = answer.json()["data"]
    order: Any = orders.get_item(Key={"order_id": payment["order_id"]})["Item"]
    wanted = (order["amount"], order["currency"])
    if facts["status"] != "success" or (Decimal(str(facts["amount"])), facts["currency"]) != wanted:
        raise NotFoundError("The payment is not paid.")
    orders.update_item(
        Key={"order_id": order["order_id"]},
        UpdateExpression="SET #status = :paid, paid_by = :tx_ref",
        ConditionExpression="#status = :pending",
        ExpressionAttributeNames={"#status": "status"},
        ExpressionAttributeValues={":paid": "paid", ":pending": "pending", ":tx_ref": tx_ref},
    )
    return {"outcome": "applied"}


@app.post("/webhooks/chapa")
@tracer.capture_method
def post_webhook() -> Outcome:
    body = app.current_event.decoded_body or ""
    given = app.current_event.headers.get("x-chapa-signature", "")
    wanted = hmac.new(secret()["webhook_secret"].encode(), body.encode(), hashlib.sha256)
    if not hmac.compare_digest(wanted.hexdigest(), given):
        metrics.add_metric(name="BadSignature", unit=MetricUnit.Count, value=1)
        raise UnauthorizedError("wrong signature")
    note = Notification.model_validate_json(body)
    outcome = settle(tx_ref=note.tx_ref)
    metrics.add_metric(name="Webhook", unit=MetricUnit.Count, value=1)
    logger.info("webhook", extra={"tx_ref": note.tx_ref, **outcome})
    return Outcome(**outcome)


@logger.inject_lambda_context(correlation_id_path=correlation_paths.API_GATEWAY_HTTP)
@tracer.capture_lambda_handler
@metrics.log_metrics(capture_cold_start_metric=True)
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    once_config.register_lambda_context(context)
    return app.resolve(event, context)
