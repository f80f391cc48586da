"""What the tool shows: plain data for `--json`, tables for people."""

import os
import sys
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from rich.console import Console
from rich.table import Table
from rich.text import Text

from payments.aws.items import Product
from payments.domain.aggregate import Event, OrderAggregate
from payments.domain.money import format_amount
from payments.domain.records import Order, Payment, Refund
from payments.web.views import details_view, iso_time, order_view, refund_view

PIPE_WIDTH = 1_000

WORDS = {"reason", "refusal", "details", "name", "broken", "what_to_do", "answer", "assumed"}
"""Columns that may be broken into lines; ids and amounts stay whole."""

MIN_WORDS = 30


def payment_details(payment: Payment) -> dict[str, Any]:
    return _without_none(
        {
            "tx_ref": payment.tx_ref,
            "status": payment.status.value,
            "amount": money(payment.amount, payment.currency),
            "paid": money(payment.paid_amount, payment.paid_currency),
            "fee": money(payment.fee, payment.paid_currency),
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
    view = order_view(aggregate)
    lines = [
        line | {"unit_price": f"{line['unit_price']} {order.currency}"} for line in view["items"]
    ]
    return view | {
        "amount": money(order.amount, order.currency),
        "items": lines,
        "customer": order.user_id,
        "paid_by": order.paid_by,
        "due": moment(order.due_at),
        "payments": [payment_details(payment) for payment in aggregate.payments],
        "refunds": [refund_details(refund) for refund in aggregate.refunds],
        "events": [
            {"at": iso_time(event.at), "name": event.name, **details_view(event)}
            for event in events
        ],
    }


def order_summary(aggregate: OrderAggregate) -> dict[str, Any]:
    order = aggregate.order
    return _without_none(
        {
            "order_id": order.order_id,
            "status": order.status.value,
            "amount": money(order.amount, order.currency),
            "items": ", ".join(f"{line.quantity} {line.sku}" for line in order.lines),
            "customer": order.user_id,
            "created_at": iso_time(order.created_at),
            "due": moment(order.due_at),
        }
    )


def timeline(order: Order, events: Iterable[Event]) -> list[dict[str, Any]]:
    """When each event was, how long after the order was placed, and what it carries."""
    return [
        {
            "at": iso_time(event.at),
            "after": _duration(event.at - order.created_at),
            "event": event.name,
            "details": details_view(event),
        }
        for event in events
    ]


def _duration(seconds: int) -> str:
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = ((days, "d"), (hours, "h"), (minutes, "min"), (seconds, "s"))
    # The two largest units say enough.
    return " ".join([f"{n} {unit}" for n, unit in parts if n][:2]) or "0 s"


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


def local_time(seconds: int, zone: ZoneInfo) -> str:
    """With the difference from UTC, as 2026-11-26T12:00:00+03:00."""
    return datetime.fromtimestamp(seconds, zone).isoformat()


def _without_none(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def console() -> Console:
    """As wide as the terminal; a pipe or a file gets lines of any length."""
    is_terminal = sys.stdout.isatty() or "COLUMNS" in os.environ
    return Console(highlight=False, width=None if is_terminal else PIPE_WIDTH)


def show(console: Console, data: Any) -> None:
    """Tables for lists of records, lines for the rest."""
    if isinstance(data, list):
        _show_records(console, data)
        return
    for name, value in data.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            console.print(f"\n[bold]{name}[/]")
            _show_records(console, value)
        elif isinstance(value, list):
            console.print(f"[bold]{name}[/]: {'none' if not value else ''}")
            for line in value:
                console.print(f"  {line}", markup=False)
        else:
            _show_value(console, name, value)


def _show_records(console: Console, rows: list[dict[str, Any]]) -> None:
    """A table; where it does not fit, the records one below the other, so that ids stay whole."""
    table = _table(rows)
    unlimited = console.options.update(width=PIPE_WIDTH)
    if not rows:
        console.print("Nothing.")
    elif console.measure(table, options=unlimited).minimum <= console.width:
        console.print(table)
    else:
        for number, row in enumerate(rows):
            if number:
                console.print()
            for name, value in row.items():
                _show_value(console, name, value)


def _show_value(console: Console, name: str, value: Any) -> None:
    console.print(Text.assemble((name, "bold"), ": ", _cell(value)), soft_wrap=True)


def _table(rows: list[dict[str, Any]]) -> Table:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    table = Table(box=None, pad_edge=False)
    for name in columns:
        cells = [Text(name), *(_cell(row.get(name)) for row in rows)]
        widest = max(cell.cell_len for cell in cells)
        table.add_column(name, overflow="fold", min_width=MIN_WORDS if name in WORDS else widest)
    for row in rows:
        table.add_row(*(_cell(row.get(name)) for name in columns))
    return table


def _cell(value: Any) -> Text:
    """As it is: words from outside are no markup."""
    return Text(_written(value))


def _written(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case Mapping():
            return "  ".join(f"{name}={_written(inner)}" for name, inner in value.items())
        case list():
            return "; ".join(map(_written, value))
    return str(value)
