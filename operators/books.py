"""What came in and what went back on one day, for the books.

A payment belongs to the day on which we first knew that it was paid, and what went back to the day
on which we knew that. So the money of a past day does not change; the status of a payment may.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import typer

from operators.cli import BROKEN, REFUSED, Session, answer, app, broken
from operators.days import Zone, day_of, given_day, given_zone
from operators.files import csv_text, write_whole
from operators.invariants import ACCOUNTED_FOR
from operators.views import local_time
from payments.domain.aggregate import Event, OrderAggregate
from payments.domain.events import PaymentReversed, RefundCompleted, RefundResolved, gives_back
from payments.domain.money import format_amount
from payments.domain.records import Payment
from payments.domain.refunds import given_back
from payments.usecases.backend import Backend


class Kind(Enum):
    PAYMENT = "payment"
    REFUND = "refund"
    REFUND_ELSEWHERE = "refund on Chapa's dashboard"
    REFUND_OUTSIDE = "refund outside of Chapa"
    REVERSAL = "reversal"


@dataclass(frozen=True)
class Entry:
    at: int
    kind: Kind
    order_id: str
    payment: Payment
    amount: int | None
    """None when Chapa did not say."""
    refund_id: str | None = None
    chapa_reference: str | None = None
    status: str = ""

    @property
    def currency(self) -> str:
        return self.payment.paid_currency or self.payment.currency

    @property
    def fee(self) -> int | None:
        return self.payment.fee if self.kind is Kind.PAYMENT else None

    def row(self, zone: ZoneInfo) -> dict[str, Any]:
        return {
            "time": local_time(self.at, zone),
            "kind": self.kind.value,
            "order_id": self.order_id,
            "tx_ref": self.payment.tx_ref,
            "refund_id": self.refund_id,
            "chapa_reference": self.chapa_reference,
            "provider": self.payment.provider,
            "status": self.status,
            "amount": None if self.amount is None else format_amount(self.amount),
            "currency": self.currency,
            "fee": None if self.fee is None else format_amount(self.fee),
        }


COLUMNS = (
    *("time", "kind", "order_id", "tx_ref", "refund_id", "chapa_reference", "provider", "status"),
    *("amount", "currency", "fee"),
)


@app.command(
    epilog="Examples: ./operate payments --day 2026-11-26;"
    " ./operate payments --day 2026-11-26 --zone Africa/Addis_Ababa --csv november-26.csv"
)
def payments(
    day: Annotated[str, typer.Option(metavar="YYYY-MM-DD", help="Which day.")],
    zone: Zone = "UTC",
    csv: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the rows to this file.")
    ] = None,
) -> None:
    """Show what was paid and what went back on a day, with totals and fees for each currency."""
    where = given_zone(zone)
    first, end = day_of(given_day(day), where)
    entries: list[Entry] = []
    unreadable: list[dict[str, Any]] = []
    for each in _entries(Session.stack.backend, first, end):
        if isinstance(each, Entry):
            entries.append(each)
        else:
            unreadable.append(each)
    entries.sort(key=lambda entry: (entry.at, entry.payment.tx_ref, entry.kind.value))
    rows = [entry.row(where) for entry in entries]
    shown: dict[str, Any] = {"day": day, "zone": zone, "totals": totals(entries)}
    if csv is None:
        shown["rows"] = rows
    else:
        try:
            write_whole(csv, csv_text(COLUMNS, rows))
        except OSError as error:
            raise typer.BadParameter(f"{csv} cannot be written: {error.strerror}.") from None
        shown |= {"file": str(csv), "rows_written": len(rows)}
    answer(shown | ({"broken": unreadable} if unreadable else {}))
    if unreadable:
        raise typer.Exit(REFUSED)


def _entries(backend: Backend, first: int, end: int) -> Iterator[Entry | dict[str, Any]]:
    """What came in and what went back; a record of what is broken for an order that is."""
    for listed in backend.lists.paid_between(first, end):
        try:
            yield from _received(backend.read(listed.order_id), listed.name, first, end)
        except BROKEN as error:
            yield broken(listed.order_id, error)
    returned = {key.order_id for key in backend.lists.given_back_between(first, end)}
    for order_id in sorted(returned):
        try:
            known = backend.repository.read_with_events(order_id)
            if known is not None:
                yield from _returned(*known, first, end)
        except BROKEN as error:
            yield broken(order_id, error)


def _received(aggregate: OrderAggregate, tx_ref: str, first: int, end: int) -> Iterator[Entry]:
    payment = aggregate.known_payment(tx_ref)
    at = payment.paid_at
    if at is None or not first <= at < end or payment.status not in ACCOUNTED_FOR:
        return  # It left review: no money came.
    yield Entry(
        at,
        Kind.PAYMENT,
        aggregate.order.order_id,
        payment,
        payment.paid_amount,
        chapa_reference=payment.provider_reference,
        status=payment.status.value,
    )


def _returned(
    aggregate: OrderAggregate, events: list[Event], first: int, end: int
) -> Iterator[Entry]:
    order_id = aggregate.order.order_id
    outside = {
        event.refund_id
        for event in events
        if isinstance(event, RefundResolved) and event.decision == "settle"
    }
    for event in events:
        if not gives_back(event) or not first <= event.at < end:
            continue
        payment = aggregate.known_payment(str(getattr(event, "tx_ref", "")))
        if isinstance(event, RefundCompleted):
            refund = aggregate.known_refund(event.refund_id)
            yield Entry(
                event.at,
                Kind.REFUND_OUTSIDE if event.refund_id in outside else Kind.REFUND,
                order_id,
                payment,
                event.amount,
                refund_id=event.refund_id,
                chapa_reference=refund.provider_refund_id,
                status=refund.status.value,
            )
        elif payment.paid_at is not None:
            # Otherwise it came and went before we saw it, and is not among what came in.
            rest = payment.paid_amount
            yield Entry(
                event.at,
                Kind.REVERSAL if isinstance(event, PaymentReversed) else Kind.REFUND_ELSEWHERE,
                order_id,
                payment,
                None if rest is None else rest - given_back(aggregate, payment.tx_ref),
                chapa_reference=payment.provider_reference,
                status=payment.status.value,
            )


def totals(entries: Iterable[Entry]) -> list[dict[str, Any]]:
    """For each currency. `balance` is what Chapa has received more than it has given back."""
    found = list(entries)
    return [
        _total(currency, [entry for entry in found if entry.currency == currency])
        for currency in sorted({entry.currency for entry in found})
    ]


def _total(currency: str, entries: list[Entry]) -> dict[str, Any]:
    def of(*kinds: Kind) -> list[Entry]:
        return [entry for entry in entries if entry.kind in kinds]

    def amount(*kinds: Kind) -> int:
        return sum(entry.amount or 0 for entry in of(*kinds))

    refund = (Kind.REFUND, Kind.REFUND_ELSEWHERE)
    received = amount(Kind.PAYMENT)
    balance = received - amount(*refund) - amount(Kind.REVERSAL)
    return {
        "currency": currency,
        "payments": len(of(Kind.PAYMENT)),
        "received": format_amount(received),
        "fees": format_amount(sum(entry.fee or 0 for entry in of(Kind.PAYMENT))),
        "refunds": len(of(*refund)),
        "refunded": format_amount(amount(*refund)),
        "reversals": len(of(Kind.REVERSAL)),
        "reversed": format_amount(amount(Kind.REVERSAL)),
        "balance": format_amount(balance) if balance >= 0 else f"-{format_amount(-balance)}",
        "outside": format_amount(amount(Kind.REFUND_OUTSIDE)),
        "unknown_amounts": sum(entry.amount is None for entry in entries),
        "unknown_fees": sum(entry.fee is None for entry in of(Kind.PAYMENT)),
    }
