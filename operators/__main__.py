"""Show an order, check or refund a payment, redrive the dead letters, audit the table.

    python -m operators show ORDER_ID
    python -m operators ask TX_REF
    python -m operators refund TX_REF --key TICKET [--amount 100.00] [--reason …] [--return-stock]
    python -m operators redrive
    python -m operators audit

It runs the product's own code with the operator's AWS credentials. Its settings are those of the
deployed functions.
"""

import argparse
import json
import os
import sys
from collections.abc import Mapping
from typing import Any

# The logger reads its service name when the product is imported.
os.environ.setdefault("POWERTOOLS_SERVICE_NAME", "operators")

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from operators.invariants import violations
from payments import refunds
from payments.backend import Backend
from payments.errors import ConfigurationError, OrderNotFound, PaymentsError
from payments.money import parse_amount
from payments.settle import defer, find
from payments.telemetry import logger
from payments.views import details_view, iso_time, order_with_payments_view, refund_view


def outputs(stack: str) -> dict[str, str]:
    """Outputs of a deployed stack, by name."""
    [found] = boto3.client("cloudformation").describe_stacks(StackName=stack)["Stacks"]
    return {each["OutputKey"]: each["OutputValue"] for each in found.get("Outputs", [])}


def backend_of(stack: Mapping[str, str]) -> Backend:
    """A backend with the settings of the reconcile function."""
    configuration = boto3.client("lambda").get_function_configuration(
        FunctionName=stack["ReconcileFunctionName"]
    )
    return Backend.from_environment(configuration["Environment"]["Variables"])


def show(backend: Backend, order_id: str) -> dict[str, Any]:
    known = backend.repository.read_with_ledger(order_id)
    if known is None:
        raise OrderNotFound("There is no such order.", order_id=order_id)
    story, ledger = known
    order = story.order
    return {
        **order_with_payments_view(story),
        "stock": order.stock,
        "next_look": iso_time(order.due_at) if order.due_at else None,
        "refunds": [refund_view(refund) for refund in story.refunds],
        "ledger": [
            {"name": event.name, "at": iso_time(event.at), **details_view(event)}
            for event in ledger
        ],
    }


def refund(backend: Backend, arguments: argparse.Namespace) -> dict[str, Any]:
    """Write the refund intent. The reconcile function pays it out within a minute."""
    requested = refunds.request(
        backend,
        arguments.tx_ref,
        arguments.amount,
        key=arguments.key,
        reason=arguments.reason,
        return_stock=arguments.return_stock,
    )
    return refund_view(requested)


def ask(backend: Backend, tx_ref: str) -> dict[str, Any]:
    """Schedule a check of a payment now, also of a paid or closed one.

    Finds what no webhook reported: a reversal, or a success after the final check.
    """
    defer(backend, find(backend, tx_ref), 0, doubt=tx_ref)
    story = find(backend, tx_ref)
    [payment] = (p for p in story.payments if p.tx_ref == tx_ref)
    due = story.order.due_at
    return {
        "tx_ref": tx_ref,
        "order_id": story.order.order_id,
        "status": payment.status,
        "next_look": iso_time(due) if due else None,
    }


def redrive(stack: Mapping[str, str]) -> dict[str, Any]:
    """Send every dead letter to the reconcile function again.

    Each message is sent before it is deleted, so an interruption repeats one and loses none.
    """
    sqs = boto3.client("sqs")
    dead_letters, queue = stack["DeadLetterQueueUrl"], stack["QueueUrl"]
    redriven = 0
    while received := sqs.receive_message(QueueUrl=dead_letters, MaxNumberOfMessages=10).get(
        "Messages"
    ):
        for message in received:
            sqs.send_message(QueueUrl=queue, MessageBody=message["Body"])
            sqs.delete_message(QueueUrl=dead_letters, ReceiptHandle=message["ReceiptHandle"])
            redriven += 1
    return {"redriven": redriven}


def audit(table_name: str) -> dict[str, Any]:
    """Check every invariant. A change during the scan can look like a violation: run it again."""
    pages = boto3.client("dynamodb").get_paginator("scan").paginate(TableName=table_name)
    items = [item for page in pages for item in page["Items"]]
    return {
        "items": len(items),
        "violations": violations(items),
    }


def _amount(text: str) -> int:
    amount = parse_amount(text)
    if amount is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not an amount such as 1500.50")
    return amount


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="operators", description=__doc__.splitlines()[0])
    top.add_argument("--stack", default="chapa-payments", help="name of the deployed stack")
    commands = top.add_subparsers(dest="command", required=True)

    command = commands.add_parser(
        "show", help="show an order with its payments, refunds and event log"
    )
    command.add_argument("order_id")

    command = commands.add_parser("ask", help="check a payment at Chapa again")
    command.add_argument("tx_ref")

    command = commands.add_parser("refund", help="refund a payment or a part of it")
    command.add_argument("tx_ref")
    command.add_argument(
        "--key", required=True, help="idempotency key: repeating it returns the same refund"
    )
    command.add_argument(
        "--amount", type=_amount, help="such as 1500.50; by default all that is not refunded"
    )
    command.add_argument("--reason", default="Refund", help="the reason sent to Chapa")
    command.add_argument("--return-stock", action="store_true", help="return the goods to stock")

    commands.add_parser("redrive", help="send every dead letter to the reconcile function again")
    commands.add_parser("audit", help="check the invariants against the whole table")
    return top


def main(argv: list[str] | None = None) -> int:
    arguments = parser().parse_args(argv)
    try:
        stack = outputs(arguments.stack)
        match arguments.command:
            case "show":
                result = show(backend_of(stack), arguments.order_id)
            case "ask":
                result = ask(backend_of(stack), arguments.tx_ref)
            case "refund":
                result = refund(backend_of(stack), arguments)
            case "audit":
                result = audit(stack["TableName"])
            case _:
                result = redrive(stack)
    except PaymentsError as error:
        print(f"{error.detail} {error.members or ''}".strip(), file=sys.stderr)
        return 1
    except (ConfigurationError, ClientError, BotoCoreError) as error:
        print(error, file=sys.stderr)
        return 2
    print(json.dumps(result, indent=2, ensure_ascii=False))
    return 1 if result.get("violations") else 0


if __name__ == "__main__":
    # Standard output carries only the result.
    logger.registered_handler.setStream(sys.stderr)  # type: ignore[attr-defined]
    sys.exit(main())
