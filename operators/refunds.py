"""Commands that request refunds and decide about refused ones."""

from typing import Annotated

import typer

from operators import views
from operators.cli import Reason, Session, TxRef, answer, app, confirm, given_amount, not_blank
from payments.usecases import refund as refunds
from payments.usecases.refund import RefundDecision

RefundId = Annotated[str, typer.Argument(metavar="REFUND_ID", help="Our id of the refund.")]


@app.command(
    epilog="Example: ./operate refund 7q43j6magdmzk4w2a5xy --key TICKET-18 --amount 100.00"
    " --return MUG=1"
)
def refund(
    tx_ref: TxRef,
    key: Annotated[
        str,
        typer.Option(help="Idempotency key, for instance a ticket's number.", callback=not_blank),
    ],
    amount: Annotated[
        str | None, typer.Option(help="As 100.00; all that is left if missing.")
    ] = None,
    returns: Annotated[
        list[str] | None,
        typer.Option("--return", metavar="SKU=N", help="Units that came back."),
    ] = None,
    reason: Annotated[str, typer.Option(help="The reason that Chapa receives.")] = "Refund",
) -> None:
    """Refund a payment or a part of it. Repeating a key returns the same refund."""
    wanted = given_amount(amount)
    units = dict(map(_units, returns or []))
    backend = Session.stack.backend
    currency = backend.find(tx_ref).known_payment(tx_ref).currency
    what = views.money(wanted, currency) or "All that is left of the payment"
    confirm(f"{what} will be paid back to the customer.")
    requested = refunds.request(backend, tx_ref, wanted, key=key, reason=reason, returns=units)
    answer(views.refund_details(requested))


def _units(text: str) -> tuple[str, int]:
    sku, _, units = text.partition("=")
    if not sku or not units.isdecimal() or not int(units):
        raise typer.BadParameter(f"{text!r} is not SKU=N, such as MUG=1.")
    return sku, int(units)


def _resolve(refund_id: str, decision: RefundDecision, reason: str, what: str) -> None:
    backend = Session.stack.backend
    known = backend.find_refund(refund_id).known_refund(refund_id)
    confirm(f"{views.money(known.amount, known.currency)} {what}")
    resolved = refunds.resolve(
        backend, refund_id, decision, by=Session.stack.identity, reason=reason
    )
    answer(views.refund_details(resolved))


@app.command(
    "retry-refund",
    epilog='Example: ./operate retry-refund 7q43j6magdmzq2x7b3ma --reason "balance topped up"',
)
def retry_refund(refund_id: RefundId, reason: Reason) -> None:
    """Send a refund again that Chapa refused, under a fresh reference."""
    what = "will be sent to Chapa again, to be paid back to the customer."
    _resolve(refund_id, RefundDecision.RETRY, reason, what)


@app.command(
    "settle-refund",
    epilog='Example: ./operate settle-refund 7q43j6magdmzq2x7b3ma --reason "paid in cash"',
)
def settle_refund(refund_id: RefundId, reason: Reason) -> None:
    """Mark a refund as paid back outside of Chapa."""
    what = "will count as paid back outside of Chapa."
    _resolve(refund_id, RefundDecision.SETTLE, reason, what)


@app.command(
    "dismiss-refund",
    epilog='Example: ./operate dismiss-refund 7q43j6magdmzq2x7b3ma --reason "goods were kept"',
)
def dismiss_refund(refund_id: RefundId, reason: Reason) -> None:
    """Decide that a refund that Chapa refused is not paid out."""
    _resolve(refund_id, RefundDecision.DISMISS, reason, "will not be paid back to the customer.")
