"""GET /orders, GET /orders/{order_id} and GET /payments/{tx_ref}, for the customer who owns them.

GET /products, for everybody.
"""

import re
from collections.abc import Mapping
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from payments.errors import InvalidRequest, OrderNotFound, PaymentNotFound
from payments.telemetry import logger, metrics
from payments.usecases.backend import Backend
from payments.usecases.lists import orders_of, products
from payments.usecases.settle import settle
from payments.web import http
from payments.web.views import (
    order_with_payments_view,
    orders_view,
    payment_view,
    products_view,
)

backend = Backend.from_environment()

MAX_LIMIT = 100
"""Entries of one page: as many items as DynamoDB reads in one call."""

DEFAULT_LIMIT = 20

PRODUCTS_SECONDS = 10
"""How long browsers and caches may keep the catalogue."""


@logger.inject_lambda_context(clear_state=True)
@metrics.log_metrics(capture_cold_start_metric=True)
@http.handler
def handler(event: http.Event, context: LambdaContext) -> dict[str, Any]:
    bounded = backend.within(context)
    query = event.get("queryStringParameters") or {}
    if event["routeKey"] == "GET /products":
        # A cache must not give the answer to one origin to a page of another.
        fresh = {"cache_control": f"public, max-age={PRODUCTS_SECONDS}", "vary": "Origin"}
        listed = products(bounded, _limit(query), query.get("cursor"))
        return http.respond(200, products_view(listed.entries, listed.next), **fresh)
    user_id = http.user_id(event)
    if event["routeKey"] == "GET /orders":
        own = orders_of(bounded, user_id, _limit(query), query.get("cursor"))
        return http.respond(200, orders_view(own.entries, own.next))
    path = event["pathParameters"]
    if "order_id" in path:
        aggregate = bounded.read_owned(path["order_id"], user_id)
        return http.respond(200, order_with_payments_view(aggregate, bounded.now))
    return _payment(bounded, path["tx_ref"], user_id, query)


def _limit(query: Mapping[str, str]) -> int:
    limit = query.get("limit", str(DEFAULT_LIMIT))
    if not re.fullmatch("[1-9][0-9]{0,2}", limit) or int(limit) > MAX_LIMIT:
        raise InvalidRequest(f"limit is a whole number from 1 to {MAX_LIMIT}.")
    return int(limit)


def _payment(
    bounded: Backend, tx_ref: str, user_id: str, query: Mapping[str, str]
) -> dict[str, Any]:
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
