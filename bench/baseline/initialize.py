"""POST /payments: open a checkout at Chapa."""

from typing import Annotated, Any
from uuid import uuid4

from aws_lambda_powertools.event_handler import APIGatewayHttpResolver
from aws_lambda_powertools.event_handler.exceptions import BadRequestError, NotFoundError
from aws_lambda_powertools.event_handler.openapi.params import Body
from aws_lambda_powertools.logging import correlation_paths
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.idempotency import idempotent_function
from aws_lambda_powertools.utilities.typing import LambdaContext
from pydantic import BaseModel, Field

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
    tracer,
)

app = APIGatewayHttpResolver(enable_validation=True)


class PaymentRequest(BaseModel):
    order_id: str = Field(min_length=1, max_length=64)


class Payment(BaseModel):
    tx_ref: str
    checkout_url: str


@idempotent_function(  # type: ignore[untyped-decorator]
    data_keyword_argument="order_id", persistence_store=once, config=once_config
)
def open_payment(*, order_id: str) -> dict[str, Any]:
    order = orders.get_item(Key={"order_id": order_id}).get("Item")
    if order is None:
        raise NotFoundError("There is no such order.")
    if order["status"] != "pending":
        raise BadRequestError("The order cannot be paid.")
    tx_ref = uuid4().hex
    answer = chapa.post(
        f"{CHAPA_URL}/transaction/initialize",
        json={"amount": str(order["amount"]), "currency": order["currency"], "tx_ref": tx_ref},
        headers=headers(),
        timeout=SECONDS,
    )
    answer.raise_for_status()
    payment = {"tx_ref": tx_ref, "checkout_url": answer.json()["data"]["checkout_url"]}
    payments.put_item(
        Item={**payment, "order_id": order_id, "status": "pending"},
        ConditionExpression="attribute_not_exists(tx_ref)",
    )
    return payment


@app.post("/payments")
@tracer.capture_method
def post_payment(request: Annotated[PaymentRequest, Body()]) -> Payment:
    payment = open_payment(order_id=request.order_id)
    metrics.add_metric(name="PaymentOpened", unit=MetricUnit.Count, value=1)
    logger.info("payment opened", extra={"tx_ref": payment["tx_ref"]})
    return Payment(**payment)


@logger.inject_lambda_context(correlation_id_path=correlation_paths.API_GATEWAY_HTTP)
@tracer.capture_lambda_handler
@metrics.log_metrics(capture_cold_start_metric=True)
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    once_config.register_lambda_context(context)
    return app.resolve(event, context)
