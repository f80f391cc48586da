"""What all commands share: the application, the options of every command, and how they answer."""

import json
import os
import sys
from typing import Annotated, Any

# Before the product is imported: the name in its log lines, for which it counts nothing.
os.environ.setdefault("POWERTOOLS_SERVICE_NAME", "operators")

import typer

from operators import views
from operators.stack import Stack, use_local
from payments.domain.money import parse_amount
from payments.telemetry import scrub

REFUSED, COULD_NOT_ASK = 1, 2

BROKEN = (LookupError, TypeError, ValueError)
"""What reading an order raises whose items are not as the product writes them."""

EPILOG = (
    "Options of every command, before or after it: --stack NAME (default chapa-payments),"
    " --local for the stack that `make up` keeps, --json for one JSON document, --yes to answer yes"
    " to every question. Exit codes: 0 done, 1 refused or something is wrong, 2 could not ask."
)

app = typer.Typer(
    help="Show and correct orders, payments, refunds and stock of a deployed stack.",
    epilog=EPILOG,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def not_blank(text: str) -> str:
    """Not what a variable of a script held that was not set."""
    if not text.strip():
        raise typer.BadParameter("It is empty.")
    return text


Reason = Annotated[str, typer.Option(help="Why; stored with the decision.", callback=not_blank)]
TxRef = Annotated[str, typer.Argument(metavar="TX_REF", help="Our reference of the payment.")]


class Session:
    """What the options of every command say."""

    stack = Stack("chapa-payments")
    as_json = False
    yes = False


class NotConfirmedError(Exception):
    """Nobody has said yes."""


@app.callback()
def options(
    stack: Annotated[str, typer.Option(help="Name of the deployed stack.")] = "chapa-payments",
    local: Annotated[bool, typer.Option("--local", help="Use the stack of `make up`.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Answer yes to every question.")] = False,
) -> None:
    if local:
        use_local()
    Session.stack = Stack(stack)
    Session.as_json = as_json
    Session.yes = yes


FLAGS = frozenset({"--local", "--json", "--yes"})


def hoisted(arguments: list[str]) -> list[str]:
    """The options of every command in front of the command."""
    front: list[str] = []
    rest: list[str] = []
    left = iter(arguments)
    for argument in left:
        if argument in FLAGS or argument.startswith("--stack="):
            front.append(argument)
        elif argument == "--stack":
            front += [argument, *([value] if (value := next(left, None)) is not None else [])]
        else:
            rest.append(argument)
    return front + rest


def answer(data: Any) -> None:
    """Print what was asked for: a JSON document, or tables."""
    if Session.as_json:
        print(json.dumps(data, indent=2, ensure_ascii=False))
    else:
        views.show(views.console(), data)


def note(text: str) -> None:
    """A line for people; standard output carries the answer and nothing else."""
    print(text, file=sys.stderr)


def confirm(what: str) -> None:
    """Ask before money moves or data is deleted. Raises NotConfirmedError without a yes."""
    if Session.yes:
        return
    if not sys.stdin.isatty():
        raise NotConfirmedError(f"{what} Nothing was done. Repeat the command with --yes.")
    print(f"{what} Continue? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
        raise NotConfirmedError("Nothing was done.")


def broken(order_id: str, error: Exception) -> dict[str, Any]:
    return {"order_id": order_id, "broken": said_by(error)}


def said_by(error: Exception) -> str:
    return f"{type(error).__name__}: {scrub(str(error))}"


def given_amount(text: str | None) -> int | None:
    if text is None:
        return None
    amount = parse_amount(text)
    if amount is None:
        raise typer.BadParameter(f"{text!r} is not an amount like 1500.50.")
    return amount
