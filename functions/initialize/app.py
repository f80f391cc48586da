"""POST /payments: open a payment for an order, or return its active payment."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext
from pydantic import BaseModel, ConfigDict, Field

from payments import http
from payments.backend import Backend
from payments.initialize import initialize
from payments.telemetry import logger, metrics
from payments.views import begun_payment_view

backend = Backend.from_environment()


class PaymentRequest(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)

    order_id: str = Field(min_length=1, max_length=64)


@logger.inject_lambda_context(clear_state=True)
@metrics.log_metrics
@http.handler
def handler(event: http.Event, context: LambdaContext) -> dict[str, Any]:
    request = http.parse(PaymentRequest, http.raw_body(event))
    story, payment, new = initialize(backend.within(context), request.order_id, http.user_id(event))
    return http.respond(201 if new else 200, begun_payment_view(story, payment))
