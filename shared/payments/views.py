"""Orders and payments as clients see them."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from payments.money import format_amount
from payments.states import PaymentStatus
from payments.story import Event, Payment, Refund, Story


def order_view(story: Story) -> dict[str, Any]:
    order = story.order
    return {
        "order_id": order.order_id,
        "status": order.status,
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
        **({"cancelling": True} if order.cancelling and order.status == "pending" else {}),
    }


def order_with_payments_view(story: Story) -> dict[str, Any]:
    return order_view(story) | {"payments": [_payment(story, p) for p in story.payments]}


def begun_payment_view(story: Story, payment: Payment) -> dict[str, Any]:
    return _payment(story, payment) | {
        "order_id": story.order.order_id,
        "expires_at": iso_time(story.order.expires_at),
    }


def payment_view(story: Story, payment: Payment, ledger: Iterable[Event]) -> dict[str, Any]:
    return _payment(story, payment) | {
        "order_id": story.order.order_id,
        "order_status": story.order.status,
        "events": [
            {"name": event.name, "at": iso_time(event.at), **details_view(event)}
            for event in ledger
            if event.details.get("tx_ref") in {None, payment.tx_ref}
        ],
    }


def refund_view(refund: Refund) -> dict[str, Any]:
    return {
        "refund": refund.reference,
        "tx_ref": refund.tx_ref,
        "status": refund.status,
        "amount": format_amount(refund.amount),
        "currency": refund.currency,
    }


def details_view(event: Event) -> dict[str, Any]:
    details = dict(event.details)
    if "amount" in details:
        details["amount"] = format_amount(details["amount"])
    return details


def _payment(story: Story, payment: Payment) -> dict[str, Any]:
    view: dict[str, Any] = {
        "tx_ref": payment.tx_ref,
        "status": payment.status,
        "amount": format_amount(payment.amount),
        "currency": payment.currency,
        "created_at": iso_time(payment.created_at),
    }
    if payment.status is PaymentStatus.PENDING and story.order.live == payment.tx_ref:
        view["checkout_url"] = payment.checkout_url
    if payment.reference:
        view["reference"] = payment.reference
    return view


def iso_time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
