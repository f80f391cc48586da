"""GET /orders/{order_id} and GET /payments/{tx_ref}, for the customer who owns them."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from payments.errors import InvalidRequest, OrderNotFound, PaymentNotFound
from payments.telemetry import logger, metrics
from payments.usecases.backend import Backend
from payments.usecases.settle import settle
from payments.web import http
from payments.web.views import order_with_payments_view, payment_view

backend = Backend.from_environment()


@logger.inject_lambda_context(clear_state=True)
@metrics.log_metrics
@http.handler
def handler(event: http.Event, context: LambdaContext) -> dict[str, Any]:
    bounded = backend.within(context)
    path = event.get("pathParameters") or {}
    user_id = http.user_id(event)
    if "order_id" in path:
        aggregate = bounded.read_owned(path["order_id"], user_id)
        return http.respond(200, order_with_payments_view(aggregate, bounded.now))
    return _payment(bounded, path["tx_ref"], user_id, event.get("queryStringParameters") or {})


def _payment(bounded: Backend, tx_ref: str, user_id: str, query: dict[str, str]) -> dict[str, Any]:
    refresh = query.get("refresh", "false")
    if refresh not in {"true", "false"}:
        raise InvalidRequest("refresh is true or false.")
    aggregate = bounded.find(tx_ref)
    if aggregate.order.user_id != user_id:
        raise PaymentNotFound("There is no such payment.", tx_ref=tx_ref)
    if refresh == "true":
        settle(bounded, aggregate, tx_ref)
    known = bounded.repository.read_with_events(aggregate.order.order_id)
    if known is None:
        raise OrderNotFound("There is no such order.")
    aggregate, events = known
    payment = aggregate.payment(tx_ref)
    if payment is None:
        raise PaymentNotFound("There is no such payment.", tx_ref=tx_ref)
    return http.respond(200, payment_view(aggregate, payment, events, bounded.now))
