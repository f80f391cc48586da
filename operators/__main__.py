"""The operators' tool: `./operate --help`.

It runs the product's own code with the operator's AWS credentials and takes its settings from the
deployed functions, so that there is no second place to set them.
"""

import json
import os
import sys
from enum import Enum
from typing import Annotated, Any

# Before the product is imported: the name that its log lines carry.
os.environ.setdefault("POWERTOOLS_SERVICE_NAME", "operators")

import boto3
import typer
from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console

from operators import views
from operators.invariants import overdue, violations
from operators.provider_check import provider_check as check_provider
from operators.stack import NoLocalStackError, Stack, use_local
from payments.aws.items import OWED_LIST, REVIEW_LIST, UNANSWERED_LIST
from payments.aws.queue import Message
from payments.domain.answers import Said
from payments.domain.ids import is_order_id, order_id_of
from payments.domain.money import parse_amount
from payments.errors import ConfigurationError, OrderNotFound, PaymentsError
from payments.telemetry import logger
from payments.usecases import refund as refunds
from payments.usecases.reconcile import reconcile
from payments.usecases.refund import RefundDecision
from payments.usecases.resolve import PaymentDecision
from payments.usecases.resolve import resolve as resolve_payment
from payments.usecases.settle import apply

REFUSED, COULD_NOT_ASK = 1, 2

BROKEN = (LookupError, TypeError, ValueError)
"""What reading an order raises whose items are not as the product writes them."""

EPILOG = (
    "Options of every command, before or after it: --stack NAME (default chapa-payments),"
    " --local for the stack that `make up` keeps, --json for one JSON document."
    " Exit codes: 0 done, 1 refused or violations found, 2 could not ask."
)

app = typer.Typer(
    help="Show and correct orders, payments, refunds and stock of a deployed stack.",
    epilog=EPILOG,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
catalogue = typer.Typer(help="The products that are sold.", no_args_is_help=True)
app.add_typer(catalogue, name="catalogue")

Reason = Annotated[str, typer.Option(help="Why; stored with the decision.")]
TxRef = Annotated[str, typer.Argument(metavar="TX_REF", help="Our reference of the payment.")]
RefundId = Annotated[str, typer.Argument(metavar="REFUND_ID", help="Our id of the refund.")]


class Status(Enum):
    REVIEW = "review"
    OWED = "owed"
    UNANSWERED = "unanswered"
    DUE = "due"


class Session:
    """What the options of every command say."""

    stack = Stack("chapa-payments")
    as_json = False


@app.callback()
def options(
    stack: Annotated[str, typer.Option(help="Name of the deployed stack.")] = "chapa-payments",
    local: Annotated[bool, typer.Option("--local", help="Use the stack of `make up`.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    if local:
        use_local()
    Session.stack = Stack(stack)
    Session.as_json = as_json


def _print(data: Any) -> None:
    if Session.as_json:
        print(json.dumps(data, indent=2, ensure_ascii=False))
    else:
        views.show(Console(highlight=False), data)


def _order_id_of(name: str) -> str:
    """The order of an order id, tx_ref, refund id or Chapa reference. Raises OrderNotFound."""
    if is_order_id(name):
        return name
    if (order_id := order_id_of(name)) is not None:
        return order_id
    for found in Session.stack.backend.repository.find_by_provider_reference(name):
        return found
    raise OrderNotFound("No order, payment or refund has this name.")


@app.command()
def show(
    name: Annotated[
        str, typer.Argument(metavar="ORDER_ID|TX_REF|CHAPA_REFERENCE", help="What to show.")
    ],
) -> None:
    """Show an order with its payments, refunds and events."""
    order_id = _order_id_of(name)
    try:
        known = Session.stack.backend.repository.read_with_events(order_id)
    except BROKEN as error:
        _print(_broken(order_id, error))
        raise typer.Exit(REFUSED) from None
    if known is None:
        raise OrderNotFound("There is no such order.")
    _print(views.order_details(*known))


def _broken(order_id: str, error: Exception) -> dict[str, Any]:
    return {"order_id": order_id, "broken": f"{type(error).__name__}: {error}"}


@app.command("list")
def list_(
    status: Annotated[Status, typer.Option(help="What to list.")],
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 100,
) -> None:
    """List what is in manual review, owed back, unanswered, or due."""
    backend = Session.stack.backend
    rows: list[dict[str, Any]] = []
    if status is Status.DUE:
        for order in backend.repository.due(backend.now):
            rows.append({"order_id": order.order_id, "due": views.moment(order.due_at)})
            if len(rows) == limit:
                break
        _print(rows)
        return
    lists = {
        Status.REVIEW: REVIEW_LIST,
        Status.OWED: OWED_LIST,
        Status.UNANSWERED: UNANSWERED_LIST,
    }
    for entry in backend.repository.listed(lists[status], limit):
        try:
            aggregate = backend.read(entry.order_id)
        except BROKEN as error:
            rows.append(_broken(entry.order_id, error))
            continue
        payment, refund = aggregate.payment(entry.name), aggregate.refund(entry.name)
        if payment is not None:
            rows.append({"order_id": entry.order_id, **views.payment_details(payment)})
        elif refund is not None:
            rows.append({"order_id": entry.order_id, **views.refund_details(refund)})
    _print(rows)


@app.command()
def check(tx_ref: TxRef) -> None:
    """Ask Chapa about a payment now, also a paid one, and apply the answer."""
    backend = Session.stack.backend
    aggregate = backend.find(tx_ref)
    payment = aggregate.payment(tx_ref)
    assert payment is not None  # noqa: S101 - it was found
    answer = backend.provider(payment).verify(payment, backend.time_left)
    apply(backend, aggregate, tx_ref, answer)
    reconcile(backend, Message(aggregate.order.order_id))
    _print(views.payment_details(backend.find(tx_ref).payment(tx_ref) or payment))
    if answer.said is Said.UNKNOWN:
        print("Chapa gave no usable answer. It is asked again.", file=sys.stderr)
        raise typer.Exit(COULD_NOT_ASK)


@app.command()
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
    payment = resolve_payment(
        Session.stack.backend,
        tx_ref,
        wanted[0],
        by=Session.stack.identity,
        reason=reason,
        unanswered=unanswered,
    )
    _print(views.payment_details(payment))


@app.command()
def refund(
    tx_ref: TxRef,
    key: Annotated[str, typer.Option(help="Idempotency key, for instance a ticket's number.")],
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
    requested = refunds.request(
        Session.stack.backend,
        tx_ref,
        _amount(amount),
        key=key,
        reason=reason,
        returns=dict(map(_units, returns or [])),
    )
    _print(views.refund_details(requested))


def _amount(text: str | None) -> int | None:
    if text is None:
        return None
    amount = parse_amount(text)
    if amount is None:
        raise typer.BadParameter(f"{text!r} is not an amount like 1500.50.")
    return amount


def _units(text: str) -> tuple[str, int]:
    sku, _, units = text.partition("=")
    if not sku or not units.isdecimal() or not int(units):
        raise typer.BadParameter(f"{text!r} is not SKU=N, such as MUG=1.")
    return sku, int(units)


def _resolve_refund(refund_id: str, decision: RefundDecision, reason: str) -> None:
    resolved = refunds.resolve(
        Session.stack.backend, refund_id, decision, by=Session.stack.identity, reason=reason
    )
    _print(views.refund_details(resolved))


@app.command("retry-refund")
def retry_refund(refund_id: RefundId, reason: Reason) -> None:
    """Send a refund again that Chapa refused, under a fresh reference."""
    _resolve_refund(refund_id, RefundDecision.RETRY, reason)


@app.command("settle-refund")
def settle_refund(refund_id: RefundId, reason: Reason) -> None:
    """Mark a refund as paid back outside of Chapa."""
    _resolve_refund(refund_id, RefundDecision.SETTLE, reason)


@app.command("dismiss-refund")
def dismiss_refund(refund_id: RefundId, reason: Reason) -> None:
    """Decide that a refund that Chapa refused is not paid out."""
    _resolve_refund(refund_id, RefundDecision.DISMISS, reason)


@catalogue.command("set")
def set_product(
    sku: str,
    for_sale: Annotated[
        bool | None, typer.Option("--for-sale/--not-for-sale", help="Whether it can be bought.")
    ] = None,
    price: Annotated[str | None, typer.Option(help="As 100.00.")] = None,
    name: Annotated[str | None, typer.Option(help="What customers see.")] = None,
    currency: Annotated[str, typer.Option(help="ETB or USD; of a new product.")] = "ETB",
    add: Annotated[int, typer.Option(help="Units that are put in, or taken out.")] = 0,
) -> None:
    """Change a product; with --name and --price also add it."""
    unit_price = _amount(price)
    if unit_price is not None and unit_price <= 0:
        raise typer.BadParameter("A price is more than 0.")
    product = Session.stack.backend.repository.set_product(
        sku,
        name=name,
        unit_price=unit_price,
        currency=currency if name is not None and price is not None else None,
        for_sale=for_sale,
        add=add,
    )
    _print(views.product_details(product))


EMPTY_ANSWERS = 3
"""After so many in a row the queue of dead letters counts as empty."""


@app.command()
def redrive() -> None:
    """Hand every dead letter to the reconcile function again."""
    sqs, outputs = boto3.client("sqs"), Session.stack.outputs
    dead, alive = outputs["DeadLetterQueueUrl"], outputs["QueueUrl"]
    redriven = empty = 0
    while empty < EMPTY_ANSWERS:
        # A long poll asks all of SQS's servers; a short one can miss messages.
        answer = sqs.receive_message(QueueUrl=dead, MaxNumberOfMessages=10, WaitTimeSeconds=2)
        messages = answer.get("Messages", [])
        empty = 0 if messages else empty + 1
        for message in messages:
            # Sent before it is deleted: an interruption sends it twice, and loses none.
            sqs.send_message(QueueUrl=alive, MessageBody=message["Body"])
            sqs.delete_message(QueueUrl=dead, ReceiptHandle=message["ReceiptHandle"])
            redriven += 1
    _print({"redriven": redriven})


@app.command()
def audit() -> None:
    """Check every invariant against the whole table. Run it again if orders change meanwhile."""
    items = Session.stack.items()
    backend = Session.stack.backend
    found = violations(items)
    _print(
        {
            "items": len(items),
            "violations": found,
            "overdue": overdue(items, backend.now, backend.rules.unanswered_after),
        }
    )
    if found:
        raise typer.Exit(REFUSED)


@app.command("provider-check")
def provider_check() -> None:
    """Try harmless calls with a test key, and show where Chapa answers other than assumed."""
    rows = check_provider(Session.stack.backend)
    _print(rows)
    if any(row["as_assumed"] != "yes" for row in rows):
        raise typer.Exit(REFUSED)


def hoisted(arguments: list[str]) -> list[str]:
    """The options of every command in front of the command."""
    front: list[str] = []
    rest: list[str] = []
    left = iter(arguments)
    for argument in left:
        if argument in {"--local", "--json"} or argument.startswith("--stack="):
            front.append(argument)
        elif argument == "--stack":
            front += [argument, *([value] if (value := next(left, None)) is not None else [])]
        else:
            rest.append(argument)
    return front + rest


def main(arguments: list[str] | None = None) -> int:
    given = hoisted(sys.argv[1:] if arguments is None else arguments)
    try:
        app(given, prog_name="./operate")
    except SystemExit as ended:  # Typer's own end: done, a usage error, or `typer.Exit`.
        return int(ended.code or 0)
    except PaymentsError as error:
        members = ", ".join(f"{name}: {value}" for name, value in error.members.items())
        print(f"{error.detail} {members}".strip(), file=sys.stderr)
        return COULD_NOT_ASK if error.retry_after is not None else REFUSED
    except NoLocalStackError as error:
        print(error, file=sys.stderr)
        return COULD_NOT_ASK
    except (ConfigurationError, ClientError, BotoCoreError) as error:
        print(f"Could not ask: {error}", file=sys.stderr)
        return COULD_NOT_ASK
    return 0


if __name__ == "__main__":
    # Standard output carries the answer and nothing else.
    logger.registered_handler.setStream(sys.stderr)  # type: ignore[attr-defined]
    sys.exit(main())
