"""POST /payments: open a payment of an order, or hand out the page of the active one."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext
from pydantic import BaseModel, ConfigDict, Field

from payments.telemetry import logger, metrics
from payments.usecases.backend import Backend
from payments.usecases.initialize import Page, initialize
from payments.web import http
from payments.web.views import begun_payment_view

backend = Backend.from_environment()


class PaymentRequest(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)

    order_id: str = Field(min_length=1, max_length=64)


@logger.inject_lambda_context(clear_state=True)
@metrics.log_metrics(capture_cold_start_metric=True)
@http.handler
def handler(event: http.Event, context: LambdaContext) -> dict[str, Any]:
    user_id = http.user_id(event)
    request = http.parse(PaymentRequest, http.raw_body(event))
    checkout = initialize(backend.within(context), request.order_id, user_id)
    return http.respond(
        201 if checkout.page is Page.NEW else 200,
        begun_payment_view(checkout.aggregate, checkout.payment),
    )
