"""What the tool shows: plain data for `--json`, tables for people."""

from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from payments.aws.items import Product
from payments.domain.aggregate import Event, OrderAggregate
from payments.domain.money import format_amount
from payments.domain.records import Payment, Refund
from payments.web.views import details_view, iso_time, order_view, refund_view


def payment_details(payment: Payment) -> dict[str, Any]:
    return _without_none(
        {
            "tx_ref": payment.tx_ref,
            "status": payment.status.value,
            "amount": money(payment.amount, payment.currency),
            "paid": money(payment.paid_amount, payment.paid_currency),
            "provider": payment.provider,
            "provider_reference": payment.provider_reference,
            "reason": payment.reason,
            "accepted_by": payment.accepted_by,
            "since": iso_time(payment.moved_at),
            "next_check": moment(payment.check_at),
            "unanswered_since": moment(payment.unanswered_since),
        }
    )


def refund_details(refund: Refund) -> dict[str, Any]:
    return refund_view(refund) | _without_none(
        {
            "amount": money(refund.amount, refund.currency),
            "provider_refund_id": refund.provider_refund_id,
            "reason": refund.reason,
            "refusal": refund.refusal,
            "attempt": refund.attempt,
            "since": iso_time(refund.moved_at),
            "next_check": moment(refund.check_at),
            "unanswered_since": moment(refund.unanswered_since),
        }
    )


def order_details(aggregate: OrderAggregate, events: Iterable[Event]) -> dict[str, Any]:
    order = aggregate.order
    return order_view(aggregate) | {
        "paid_by": order.paid_by,
        "due": moment(order.due_at),
        "payments": [payment_details(payment) for payment in aggregate.payments],
        "refunds": [refund_details(refund) for refund in aggregate.refunds],
        "events": [
            {"at": iso_time(event.at), "name": event.name, **details_view(event)}
            for event in events
        ],
    }


def product_details(product: Product) -> dict[str, Any]:
    return {
        "sku": product.sku,
        "name": product.name,
        "price": money(product.unit_price, product.currency),
        "available": product.available,
        "stocked": product.stocked,
        "for_sale": product.for_sale,
    }


def money(amount: int | None, currency: str | None) -> str | None:
    return None if amount is None else f"{format_amount(amount)} {currency}"


def moment(seconds: int | None) -> str | None:
    return None if seconds is None else iso_time(seconds)


def _without_none(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def show(console: Console, data: Any) -> None:
    """Tables for lists of records, lines for the rest."""
    if isinstance(data, list):
        console.print(_table(data) if data else "Nothing.")
        return
    for name, value in data.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            console.print(f"\n[bold]{name}[/]")
            console.print(_table(value))
        elif isinstance(value, list):
            console.print(f"[bold]{name}[/]: {'none' if not value else ''}")
            for line in value:
                console.print(f"  {line}", markup=False)
        else:
            console.print(f"[bold]{name}[/]: ", end="")
            console.print(str(value), markup=False)


def _table(rows: list[dict[str, Any]]) -> Table:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    table = Table(box=None, pad_edge=False)
    for name in columns:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(str(row.get(name, "")) for name in columns))
    return table
