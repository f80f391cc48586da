"""What the functions logged about one order, in the order of time."""

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import boto3
import typer

from operators.cli import Session, answer, app, note
from operators.orders import Name, order_id_named

if TYPE_CHECKING:
    from mypy_boto3_logs import CloudWatchLogsClient

IDS = ("order_id", "tx_ref", "refund_id")
"""Fields that name an order: tx_refs and refund ids begin with the order's id."""

FRAME = {
    *("level", "message", "timestamp", "service", "location", "cold_start"),
    *("function_name", "function_arn", "function_memory_size", "function_request_id"),
    *("xray_trace_id", "exception", "stack_trace"),
}
"""Fields of a line that say nothing about the order; `--json` has them all."""

BEFORE_SECONDS = 60
UNKNOWN_SECONDS = 86_400


@app.command(
    epilog="Examples: ./operate logs 7q43j6magdmz; ./operate logs 7q43j6magdmz"
    " --from 2026-11-26T09:00 --to 2026-11-26T10:00"
)
def logs(
    name: Name,
    start: Annotated[
        datetime | None,
        typer.Option("--from", help="UTC; when the order was placed if missing."),
    ] = None,
    end: Annotated[datetime | None, typer.Option("--to", help="UTC; now if missing.")] = None,
) -> None:
    """Show what all functions logged about an order."""
    backend = Session.stack.backend
    order_id = order_id_named(name)
    first, last = _seconds(start), _seconds(end) or backend.now + BEFORE_SECONDS
    if first is None:
        known = backend.repository.orders([order_id])
        since = known[0].created_at if known else backend.now - UNKNOWN_SECONDS
        first = since - BEFORE_SECONDS
    if first >= last:
        raise typer.BadParameter("--from must be before --to.")
    client = boto3.client("logs")
    lines = [
        line
        for group in _groups(client, Session.stack.name)
        for line in _lines(client, group, order_id, first, last)
    ]
    lines.sort(key=lambda line: str(line["time"]))
    if not lines:
        note("Nothing was logged, or it is older than the logs are kept.")
    answer(lines if Session.as_json else [_shown(line) for line in lines])


def _seconds(given: datetime | None) -> int | None:
    return None if given is None else int(given.replace(tzinfo=UTC).timestamp())


def _groups(client: "CloudWatchLogsClient", stack: str) -> Iterator[str]:
    pages = client.get_paginator("describe_log_groups").paginate(
        logGroupNamePrefix=f"/aws/lambda/{stack}/"
    )
    for page in pages:
        for group in page["logGroups"]:
            yield group["logGroupName"]


def _lines(
    client: "CloudWatchLogsClient", group: str, order_id: str, first: int, last: int
) -> Iterator[dict[str, Any]]:
    # docs.aws.amazon.com/AmazonCloudWatch/latest/logs/FilterAndPatternSyntax.html
    pattern = " || ".join(f'($.{field} = "{order_id}*")' for field in IDS)
    pages = client.get_paginator("filter_log_events").paginate(
        logGroupName=group,
        startTime=first * 1000,
        endTime=last * 1000,
        filterPattern=f"{{ {pattern} }}",
    )
    for page in pages:
        for event in page["events"]:
            # The local AWS returns every line for such a pattern.
            if order_id in event["message"]:
                at = datetime.fromtimestamp(event["timestamp"] / 1000, UTC)
                yield {
                    "time": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
                    "function": group.rpartition("/")[2],
                    **_fields(event["message"]),
                }


def _fields(message: str) -> dict[str, Any]:
    try:
        found = json.loads(message)
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {"message": message.strip()}


def _shown(line: Mapping[str, Any]) -> dict[str, Any]:
    details = {
        name: value
        for name, value in line.items()
        if name not in FRAME and name not in {"time", "function"} and value is not None
    }
    shown = {name: line.get(name, "") for name in ("time", "function", "level", "message")}
    if "exception_name" in line and "exception" in line:
        details["exception"] = str(line["exception"]).strip().splitlines()[-1]
    return shown | {"details": details}
