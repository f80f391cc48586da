"""POST /payments: open a payment of an order, or hand out the page of the active one."""

import json
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from payments.errors import InvalidRequest
from payments.telemetry import logger, metrics
from payments.usecases.backend import Backend
from payments.usecases.initialize import Page, initialize
from payments.web import http
from payments.web.views import begun_payment_view

backend = Backend.from_environment()


def read_order_id(body: bytes) -> str:
    """Read without pydantic, whose import takes a fifth of a cold start (`bench/results.md`)."""
    try:
        content = json.loads(body.decode())
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise InvalidRequest("The body is not a JSON object.")
    match content:
        case {"order_id": str(order_id), **others} if 1 <= len(order_id) <= 64 and not others:
            return order_id
    raise InvalidRequest(
        "Some fields are not as they should be.",
        errors=[
            {"field": "order_id", "message": "must have 1 to 64 characters, and no other field"}
        ],
    )


@logger.inject_lambda_context(clear_state=True)
@metrics.log_metrics(capture_cold_start_metric=True)
@http.handler
def handler(event: http.Event, context: LambdaContext) -> dict[str, Any]:
    user_id = http.user_id(event)
    order_id = read_order_id(http.raw_body(event))
    checkout = initialize(backend.within(context), order_id, user_id)
    return http.respond(
        201 if checkout.page is Page.NEW else 200,
        begun_payment_view(checkout.aggregate, checkout.payment),
    )
