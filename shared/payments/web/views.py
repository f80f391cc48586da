"""Orders, payments and refunds as clients see them."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from payments.aws.items import Product
from payments.domain import decisions
from payments.domain.aggregate import Event, OrderAggregate
from payments.domain.events import details
from payments.domain.money import format_amount
from payments.domain.records import Order, Payment, Refund
from payments.domain.states import OrderStatus

AMOUNTS = frozenset({"amount", "unit_price"})
"""Fields of events that hold minor units."""


INTERNAL = frozenset({"payment.differs", "payment.resolved", "refund.resolved"})
"""Events that customers do not see: they name the operator, or are for operators alone."""


def order_view(aggregate: OrderAggregate) -> dict[str, Any]:
    order = aggregate.order
    return {
        "order_id": order.order_id,
        "status": order.status.value,
        "amount": format_amount(order.amount),
        "currency": order.currency,
        "items": [
            {
                "sku": line.sku,
                "name": line.name,
                "quantity": line.quantity,
                "unit_price": format_amount(line.unit_price),
            }
            for line in order.lines
        ],
        "created_at": iso_time(order.created_at),
        "expires_at": iso_time(order.expires_at),
        **(
            {"cancelling": True} if order.cancelling and order.status is OrderStatus.PENDING else {}
        ),
    }


def orders_view(orders: Iterable[Order], following: str | None) -> dict[str, Any]:
    """A page of orders; `following` is the cursor of the next one."""
    shown = [order_view(OrderAggregate(order)) for order in orders]
    return {"orders": shown} | _next(following)


def products_view(products: Iterable[Product], following: str | None) -> dict[str, Any]:
    """A page of the catalogue. How many units are left is not shown."""
    shown = [
        {
            "sku": product.sku,
            "name": product.name,
            "unit_price": format_amount(product.unit_price),
            "currency": product.currency,
            "purchasable": product.for_sale and product.available > 0,
        }
        for product in products
    ]
    return {"products": shown} | _next(following)


def _next(cursor: str | None) -> dict[str, Any]:
    return {} if cursor is None else {"next": cursor}


def order_with_payments_view(aggregate: OrderAggregate, now: int) -> dict[str, Any]:
    return order_view(aggregate) | {
        "payments": [_payment(p) | _page(aggregate, p, now) for p in aggregate.payments]
    }


def begun_payment_view(aggregate: OrderAggregate, payment: Payment) -> dict[str, Any]:
    return _payment(payment) | {
        "checkout_url": payment.checkout_url,
        "order_id": aggregate.order.order_id,
        "expires_at": iso_time(aggregate.order.expires_at),
    }


def payment_view(
    aggregate: OrderAggregate, payment: Payment, events: Iterable[Event], now: int
) -> dict[str, Any]:
    return _payment(payment) | {
        **_page(aggregate, payment, now),
        "order_id": aggregate.order.order_id,
        "order_status": aggregate.order.status.value,
        "events": [
            {"name": event.name, "at": iso_time(event.at), **details_view(event)}
            for event in events
            if event_tx_ref(event) in {None, payment.tx_ref} and event.name not in INTERNAL
        ],
    }


def refund_view(refund: Refund) -> dict[str, Any]:
    return {
        "refund_id": refund.refund_id,
        "tx_ref": refund.tx_ref,
        "status": refund.status.value,
        "amount": format_amount(refund.amount),
        "currency": refund.currency,
        **({"returns": dict(refund.returns)} if refund.returns else {}),
    }


def details_view(event: Event) -> dict[str, Any]:
    """What an event carries, with amounts as decimal strings and times as ISO 8601."""
    view: dict[str, Any] = _with_amounts(details(event))
    if "since" in view:
        view["since"] = iso_time(view["since"])
    return {name: value for name, value in view.items() if value is not None}


def event_tx_ref(event: Event) -> str | None:
    """The payment that an event is about; None when it is about the order."""
    return getattr(event, "tx_ref", None)


def _with_amounts(value: Any) -> Any:
    match value:
        case Mapping():
            return {
                name: format_amount(inner) if name in AMOUNTS else _with_amounts(inner)
                for name, inner in value.items()
            }
        case list() | tuple():
            return [_with_amounts(inner) for inner in value]
        case _:
            return value


def _payment(payment: Payment) -> dict[str, Any]:
    view: dict[str, Any] = {
        "tx_ref": payment.tx_ref,
        "status": payment.status.value,
        "amount": format_amount(payment.amount),
        "currency": payment.currency,
        "created_at": iso_time(payment.created_at),
    }
    if payment.provider_reference:
        view["provider_reference"] = payment.provider_reference
    return view


def _page(aggregate: OrderAggregate, payment: Payment, now: int) -> dict[str, Any]:
    """The checkout page, on the same conditions on which `POST /payments` hands it out again."""
    usable = (
        payment == aggregate.active_payment
        and decisions.payable(aggregate, now)
        and decisions.page_is_usable(payment, now)
    )
    return {"checkout_url": payment.checkout_url} if usable else {}


def iso_time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
