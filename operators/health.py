"""Commands about the stack as a whole."""

import boto3
import typer

from operators.cli import REFUSED, Session, answer, app
from operators.provider_check import provider_check as check_provider

EMPTY_ANSWERS = 3
"""After so many in a row the queue of dead letters counts as empty."""


@app.command(epilog="Example: ./operate redrive")
def redrive() -> None:
    """Hand every dead letter to the reconcile function again."""
    sqs, outputs = boto3.client("sqs"), Session.stack.outputs
    dead, alive = outputs["DeadLetterQueueUrl"], outputs["QueueUrl"]
    redriven = empty = 0
    while empty < EMPTY_ANSWERS:
        # A long poll asks all of SQS's servers; a short one can miss messages.
        received = sqs.receive_message(QueueUrl=dead, MaxNumberOfMessages=10, WaitTimeSeconds=2)
        messages = received.get("Messages", [])
        empty = 0 if messages else empty + 1
        for message in messages:
            # Sent before it is deleted: an interruption sends it twice, and loses none.
            sqs.send_message(QueueUrl=alive, MessageBody=message["Body"])
            sqs.delete_message(QueueUrl=dead, ReceiptHandle=message["ReceiptHandle"])
            redriven += 1
    answer({"redriven": redriven})


@app.command("provider-check", epilog="Example: ./operate provider-check")
def provider_check() -> None:
    """Try harmless calls with a test key, and show where Chapa answers other than assumed."""
    rows = check_provider(Session.stack.backend)
    answer(rows)
    if any(row["as_assumed"] != "yes" for row in rows):
        raise typer.Exit(REFUSED)
