"""POST /orders: place an order. POST /orders/{order_id}/cancel: cancel it."""

from typing import Annotated, Any

from aws_lambda_powertools.utilities.typing import LambdaContext
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from payments.domain.states import OrderStatus
from payments.errors import InvalidRequest
from payments.telemetry import logger, metrics
from payments.usecases.backend import Backend
from payments.usecases.cancel import cancel
from payments.usecases.place import MAX_QUANTITY, Placing, place
from payments.web import http
from payments.web.bodies import parse
from payments.web.views import order_view

backend = Backend.from_environment()

STRICT = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)


def _national(number: str) -> str:
    """The form that is stored: ten digits from 09 or 07. Each provider's client writes its own."""
    return "0" + number[-9:]


class Item(BaseModel):
    model_config = STRICT

    sku: str = Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")
    quantity: int = Field(ge=1, le=MAX_QUANTITY)


type Name = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$")]


class Customer(BaseModel):
    model_config = STRICT

    first_name: Name | None = None
    last_name: Name | None = None
    email: Annotated[str, Field(max_length=254, pattern=r"^[^@\s]+@[^@\s]+\.[^@\s]+$")] | None = (
        None
    )
    phone_number: (
        Annotated[str, Field(pattern=r"^(0|\+?251)[79][0-9]{8}$"), AfterValidator(_national)] | None
    ) = None


class OrderRequest(BaseModel):
    model_config = STRICT

    items: list[Item] = Field(min_length=1, max_length=500)
    customer: Customer = Customer()


@logger.inject_lambda_context(clear_state=True)
@metrics.log_metrics(capture_cold_start_metric=True)
@http.handler
def handler(event: http.Event, context: LambdaContext) -> dict[str, Any]:
    order_id = (event.get("pathParameters") or {}).get("order_id")
    if order_id is not None:
        aggregate = cancel(backend.within(context), order_id, http.user_id(event))
        pending = aggregate.order.status is OrderStatus.PENDING
        return http.respond(202 if pending else 200, order_view(aggregate))

    user_id = http.user_id(event)
    request = parse(OrderRequest, http.raw_body(event))
    key = http.header(event, "idempotency-key")
    if key is not None and not 1 <= len(key) <= 200:
        raise InvalidRequest("An Idempotency-Key has 1 to 200 characters.")
    placed = place(
        backend.within(context),
        user_id,
        [(item.sku, item.quantity) for item in request.items],
        request.customer.model_dump(exclude_none=True),
        key,
    )
    return http.respond(201 if placed.placing is Placing.NEW else 200, order_view(placed.aggregate))
