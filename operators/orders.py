"""Commands that show orders and decide about payments."""

from collections.abc import Iterator
from datetime import date
from enum import Enum
from typing import Annotated, Any

import typer

from operators import views
from operators.cli import (
    BROKEN,
    COULD_NOT_ASK,
    REFUSED,
    Reason,
    Session,
    TxRef,
    answer,
    app,
    broken,
    confirm,
    note,
)
from operators.days import Zone, day_of, given_day, given_zone
from payments.aws.items import OWED_LIST, REVIEW_LIST, UNANSWERED_LIST, customer_list
from payments.aws.lists import Listed
from payments.aws.queue import Message
from payments.domain.aggregate import Event, OrderAggregate
from payments.domain.answers import Said
from payments.domain.ids import is_order_id, order_id_of
from payments.domain.states import OrderStatus
from payments.errors import OrderNotFound
from payments.usecases.forget import Forgetting, forget_unpaid
from payments.usecases.forget import forget as forget_order
from payments.usecases.reconcile import reconcile
from payments.usecases.resolve import PaymentDecision
from payments.usecases.resolve import resolve as resolve_payment
from payments.usecases.settle import apply

Name = Annotated[
    str, typer.Argument(metavar="ORDER_ID|TX_REF|CHAPA_REFERENCE", help="What to show.")
]


def order_id_named(name: str) -> str:
    """The order of an order id, tx_ref, refund id or Chapa reference. Raises OrderNotFound."""
    if is_order_id(name):
        return name
    if (order_id := order_id_of(name)) is not None:
        return order_id
    for found in Session.stack.backend.lists.find_by_provider_reference(name):
        return found
    raise OrderNotFound(
        "No order, payment or refund has this name. Search a part of it with `list PART`."
    )


def _known(name: str) -> tuple[OrderAggregate, list[Event]]:
    order_id = order_id_named(name)
    try:
        known = Session.stack.backend.repository.read_with_events(order_id)
    except BROKEN as error:
        answer(broken(order_id, error))
        raise typer.Exit(REFUSED) from None
    if known is None:
        raise OrderNotFound("There is no such order.", order_id=order_id)
    return known


@app.command(epilog="Example: ./operate show 7q43j6magdmz")
def show(name: Name) -> None:
    """Show an order with its payments, refunds and events."""
    answer(views.order_details(*_known(name)))


@app.command(epilog="Example: ./operate events 7q43j6magdmz")
def events(name: Name) -> None:
    """Show the events of an order as a timeline: when, after how long, what."""
    aggregate, happened = _known(name)
    answer(views.timeline(aggregate.order, happened))


class Status(Enum):
    REVIEW = "review"
    OWED = "owed"
    UNANSWERED = "unanswered"
    DUE = "due"
    PENDING = "pending"
    PAID = "paid"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    REFUNDED = "refunded"


LISTS = {
    Status.REVIEW: REVIEW_LIST,
    Status.OWED: OWED_LIST,
    Status.UNANSWERED: UNANSWERED_LIST,
}
"""Statuses that the table has a list of; `due` has an index of its own."""


@app.command(
    "list",
    epilog="Examples: ./operate list --status review;"
    " ./operate list --customer 5f0c1c2e-... --status paid;"
    " ./operate list --day 2026-11-26; ./operate list j6magd",
)
def list_(
    text: Annotated[
        str | None,
        typer.Argument(
            metavar="[TEXT]",
            help="A part of an order id, tx_ref, refund id or Chapa reference. Reads the whole"
            " table.",
        ),
    ] = None,
    status: Annotated[
        Status | None,
        typer.Option(
            help="What is in manual review, owed back, unanswered or due now; or the status of"
            " the order, together with another filter."
        ),
    ] = None,
    day: Annotated[
        str | None, typer.Option(metavar="YYYY-MM-DD", help="Payments that were paid that day.")
    ] = None,
    customer: Annotated[
        str | None, typer.Option(metavar="SUB", help="The `sub` of the customer's tokens.")
    ] = None,
    zone: Zone = "UTC",
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 100,
) -> None:
    """List orders, payments and refunds; several filters narrow the list."""
    by_order = status is not None and status not in {*LISTS, Status.DUE}
    if text is None and day is None and customer is None and (status is None or by_order):
        raise typer.BadParameter(
            "Give TEXT, --day, --customer, or --status review, owed, unanswered or due."
        )
    wanted_day = given_day(day) if day is not None else None
    order_status = OrderStatus(status.value) if status is not None and by_order else None
    rows: list[dict[str, Any]] = []
    for entry in _entries(text, status, wanted_day, customer, zone):
        try:
            aggregate = Session.stack.backend.read(entry.order_id)
        except BROKEN as error:
            rows.append(broken(entry.order_id, error))
        else:
            fits = (
                customer in {None, aggregate.order.user_id}
                and order_status in {None, aggregate.order.status}
                and (wanted_day is None or _paid_on(aggregate, entry, wanted_day, zone))
            )
            if fits:
                rows.append(_row(aggregate, entry))
        if len(rows) == limit:
            note(f"Only the first {limit} are shown. Give --limit for more.")
            break
    answer(rows)


def _entries(
    text: str | None, status: Status | None, day: date | None, customer: str | None, zone: str
) -> Iterator[Listed]:
    """What the narrowest index has for the filters; the caller applies all of them."""
    backend = Session.stack.backend
    lists = backend.lists
    if text is not None:
        yield from (Listed(order_id, "ORDER", "") for order_id in lists.search(text))
    elif status is Status.DUE:
        due = backend.repository.due(backend.now)
        yield from (Listed(order.order_id, "ORDER", "") for order in due)
    elif status in LISTS:
        yield from lists.listed(LISTS[status])
    elif customer is not None:
        yield from lists.listed(customer_list(customer))
    elif day is not None:
        yield from lists.paid_between(*day_of(day, given_zone(zone)))


def _paid_on(aggregate: OrderAggregate, entry: Listed, day: date, zone: str) -> bool:
    first, end = day_of(day, given_zone(zone))
    payment = aggregate.payment(entry.name)
    payments = aggregate.payments if payment is None else (payment,)
    return any(p.paid_at is not None and first <= p.paid_at < end for p in payments)


def _row(aggregate: OrderAggregate, entry: Listed) -> dict[str, Any]:
    payment, refund = aggregate.payment(entry.name), aggregate.refund(entry.name)
    if payment is not None:
        return {"order_id": entry.order_id, **views.payment_details(payment)}
    if refund is not None:
        return {"order_id": entry.order_id, **views.refund_details(refund)}
    return views.order_summary(aggregate)


@app.command(epilog="Example: ./operate check 7q43j6magdmzk4w2a5xy")
def check(tx_ref: TxRef) -> None:
    """Ask Chapa about a payment now, also a paid one, and apply the answer."""
    backend = Session.stack.backend
    aggregate = backend.find(tx_ref)
    payment = aggregate.known_payment(tx_ref)
    said = backend.provider(payment).verify(payment, backend.time_left)
    apply(backend, aggregate, tx_ref, said)
    reconcile(backend, Message(aggregate.order.order_id))
    answer(views.payment_details(backend.find(tx_ref).payment(tx_ref) or payment))
    if said.said is Said.UNKNOWN:
        note("Chapa gave no usable answer. It is asked again.")
        raise typer.Exit(COULD_NOT_ASK)


@app.command(
    epilog='Example: ./operate resolve 7q43j6magdmzk4w2a5xy --accept --reason "rest paid in cash"'
)
def resolve(
    tx_ref: TxRef,
    reason: Reason,
    accept: Annotated[bool, typer.Option("--accept", help="It pays its order.")] = False,
    refund_: Annotated[bool, typer.Option("--refund", help="Owe back what was paid.")] = False,
    dismiss: Annotated[bool, typer.Option("--dismiss", help="No money came.")] = False,
    unanswered: Annotated[
        bool, typer.Option("--unanswered", help="Dismiss though Chapa cannot be asked.")
    ] = False,
) -> None:
    """Decide about a payment that is open or in manual review."""
    wanted = [
        decision
        for decision, given in (
            (PaymentDecision.ACCEPT, accept),
            (PaymentDecision.REFUND, refund_),
            (PaymentDecision.DISMISS, dismiss),
        )
        if given
    ]
    if len(wanted) != 1:
        raise typer.BadParameter("Give one of --accept, --refund and --dismiss.")
    backend = Session.stack.backend
    payment = backend.find(tx_ref).known_payment(tx_ref)
    paid = views.money(payment.paid_amount, payment.paid_currency) or "an unknown amount"
    confirm(
        {
            PaymentDecision.ACCEPT: f"The payment of {paid} will pay its order.",
            PaymentDecision.REFUND: f"{paid} will be paid back to the customer.",
            PaymentDecision.DISMISS: "The payment will count as not paid.",
        }[wanted[0]]
    )
    resolved = resolve_payment(
        backend,
        tx_ref,
        wanted[0],
        by=Session.stack.identity,
        reason=reason,
        unanswered=unanswered,
    )
    answer(views.payment_details(resolved))


@app.command(epilog="Example: ./operate forget 5f0c1c2e-7d1a-4c57-9a0e-2b8f6d1c9e31")
def forget(
    customer: Annotated[
        str, typer.Argument(metavar="CUSTOMER", help="The `sub` of the customer's tokens.")
    ],
) -> None:
    """Delete a customer's personal data from orders that have ended; the books stay.

    Orders that have not ended are named and kept. Delete the user in your user pool yourself.
    """
    backend = Session.stack.backend
    listed = [entry.order_id for entry in backend.lists.listed(customer_list(customer))]
    if listed:
        confirm(
            f"The personal data of {len(listed)} orders will be deleted, if they have ended. It"
            " cannot be brought back."
        )
    kept: list[dict[str, Any]] = []
    for order_id in listed:
        try:
            aggregate = backend.read(order_id)
            if forget_order(backend, aggregate) is Forgetting.NOT_ENDED:
                kept.append(views.order_summary(aggregate))
        except BROKEN as error:
            kept.append(broken(order_id, error))
    forget_unpaid(backend, customer)
    answer({"customer": customer, "forgotten": len(listed) - len(kept), "kept": kept})
    if kept:
        note("What is kept has not ended, or is broken. Run the command again when it has ended.")
        raise typer.Exit(REFUSED)
