"""Show an order, ask about or refund a payment, redrive the dead letters, audit the table.

    python -m operators show ORDER_ID
    python -m operators ask TX_REF
    python -m operators refund TX_REF --key TICKET [--amount 100.00] [--reason …] [--return-stock]
    python -m operators redrive
    python -m operators audit

It runs the product's own code with the operator's AWS credentials, and takes its settings from the
deployed functions, so that there is no second place to set them.
"""

import argparse
import json
import os
import sys
from collections.abc import Mapping
from typing import Any

# Before the product is imported: who is it that logs?
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
    """The outputs of a deployed stack, by name."""
    [found] = boto3.client("cloudformation").describe_stacks(StackName=stack)["Stacks"]
    return {each["OutputKey"]: each["OutputValue"] for each in found.get("Outputs", [])}


def backend_of(stack: Mapping[str, str]) -> Backend:
    """The backend as the reconcile function has it."""
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
    """The intent is written now; the reconcile function pays it out within a minute."""
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
    """The reconcile function asks Chapa at once, also about a payment that is paid.

    For what nobody reported: money that went back, or came long after the last look.
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
    """Hand every dead letter to the reconcile function again.

    Each is sent before it is deleted: whoever is interrupted has sent one twice, and lost none.
    """
    sqs = boto3.client("sqs")
    dead, alive = stack["DeadLetterQueueUrl"], stack["QueueUrl"]
    redriven = 0
    while messages := sqs.receive_message(QueueUrl=dead, MaxNumberOfMessages=10).get("Messages"):
        for message in messages:
            sqs.send_message(QueueUrl=alive, MessageBody=message["Body"])
            sqs.delete_message(QueueUrl=dead, ReceiptHandle=message["ReceiptHandle"])
            redriven += 1
    return {"redriven": redriven}


def audit(table_name: str) -> dict[str, Any]:
    """Read the whole table and judge it. What changes meanwhile may look wrong: run it again."""
    pages = boto3.client("dynamodb").get_paginator("scan").paginate(TableName=table_name)
    items = [item for page in pages for item in page["Items"]]
    return {
        "items": len(items),
        "violations": violations(items),
    }


def _amount(text: str) -> int:
    amount = parse_amount(text)
    if amount is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no amount like 1500.50")
    return amount


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="operators", description=__doc__.splitlines()[0])
    top.add_argument("--stack", default="chapa-payments", help="name of the deployed stack")
    commands = top.add_subparsers(dest="command", required=True)

    command = commands.add_parser("show", help="an order with its payments, refunds and ledger")
    command.add_argument("order_id")

    command = commands.add_parser("ask", help="have Chapa asked again about a payment")
    command.add_argument("tx_ref")

    command = commands.add_parser("refund", help="owe a payment, or a part of it, back")
    command.add_argument("tx_ref")
    command.add_argument("--key", required=True, help="names the decision: twice is once")
    command.add_argument("--amount", type=_amount, help="as 1500.50; all that is left, if missing")
    command.add_argument("--reason", default="Refund", help="what Chapa is told")
    command.add_argument("--return-stock", action="store_true", help="the goods are back")

    commands.add_parser("redrive", help="hand every dead letter to the worker again")
    commands.add_parser("audit", help="check every promise against the whole table")
    return top


def main(argv: list[str] | None = None) -> int:
    arguments = parser().parse_args(argv)
    try:
        stack = outputs(arguments.stack)
        match arguments.command:
            case "show":
                done = show(backend_of(stack), arguments.order_id)
            case "ask":
                done = ask(backend_of(stack), arguments.tx_ref)
            case "refund":
                done = refund(backend_of(stack), arguments)
            case "audit":
                done = audit(stack["TableName"])
            case _:
                done = redrive(stack)
    except PaymentsError as error:
        print(f"{error.detail} {error.members or ''}".strip(), file=sys.stderr)
        return 1
    except (ConfigurationError, ClientError, BotoCoreError) as error:
        print(error, file=sys.stderr)
        return 2
    print(json.dumps(done, indent=2, ensure_ascii=False))
    return 1 if done.get("violations") else 0


if __name__ == "__main__":
    # What is printed is the answer and nothing else.
    logger.registered_handler.setStream(sys.stderr)  # type: ignore[attr-defined]
    sys.exit(main())
