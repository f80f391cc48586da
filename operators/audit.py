"""The audit of a whole table, as it is read, in memory that does not grow with the table."""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import boto3
import typer

from operators.cli import REFUSED, Session, answer, app, note
from operators.files import write_whole
from operators.invariants import order_violations, overdue, read, stock_violations

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

type Items = list[Mapping[str, Any]]

PROGRESS_ITEMS = 5_000
MAX_SENTENCES = 1_000
"""So many violations are kept and shown; further ones are only counted."""


@dataclass
class Findings:
    """What is known after a part of the table. Its size depends on the catalogue alone."""

    table: str
    items: int = 0
    orders: int = 0
    after: dict[str, str] | None = None
    """Key of the last item whose partition is checked."""
    held: Counter[str] = field(default_factory=Counter)
    stock: dict[str, dict[str, Any]] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)
    violation_count: int = 0
    overdue: list[str] = field(default_factory=list)
    overdue_count: int = 0

    def found(self, violations: list[str], overdue: list[str]) -> None:
        self.violation_count += len(violations)
        self.violations += violations[: MAX_SENTENCES - len(self.violations)]
        self.overdue_count += len(overdue)
        self.overdue += overdue[: MAX_SENTENCES - len(self.overdue)]

    def partition(
        self, items: Items, again: Callable[[], Items], now: int, unanswered_after: int
    ) -> None:
        """Check all items under one key. `again` reads them anew, as one consistent read."""
        stored = read(items)
        if stored.broken or order_violations(stored):
            # A scan is not consistent: the order may have changed between its items.
            items = again()
            stored = read(items)
        self.items += len(items)
        self.orders += len(stored.orders)
        for order in stored.orders.values():
            self.held.update(order.held)
        for sku, item in stored.stock.items():
            self.stock[sku] = {name: item.get(name) for name in ("available", "stocked")}
        self.found(
            [*stored.broken, *order_violations(stored)], overdue(stored, now, unanswered_after)
        )


def partitions(
    client: "DynamoDBClient", table: str, after: Mapping[str, str] | None
) -> Iterator[Items]:
    """The items under each key.

    A scan returns the items under one key one after the other. Should it ever not, each part seems
    to be a violation, and is read again as a whole.
    """
    start: Any = {}
    if after is not None:
        start = {"ExclusiveStartKey": {name: {"S": value} for name, value in after.items()}}
    pages = client.get_paginator("scan").paginate(TableName=table, **start)
    items = (item for page in pages for item in page["Items"])
    for _, group in groupby(items, key=lambda item: item["pk"]["S"]):
        yield list(group)


def _query(client: "DynamoDBClient", table: str, pk: str) -> Items:
    pages = client.get_paginator("query").paginate(
        TableName=table,
        KeyConditionExpression="pk = :pk",
        ExpressionAttributeValues={":pk": {"S": pk}},
        ConsistentRead=True,
    )
    return [item for page in pages for item in page["Items"]]


def run(
    client: "DynamoDBClient",
    findings: Findings,
    now: int,
    unanswered_after: int,
    progress: Callable[[Findings], None],
) -> None:
    """Check the rest of the table. `progress` is called every few thousand items."""
    shown = findings.items
    for items in partitions(client, findings.table, findings.after):
        again = partial(_query, client, findings.table, items[0]["pk"]["S"])
        findings.partition(items, again, now, unanswered_after)
        findings.after = {name: items[-1][name]["S"] for name in ("pk", "sk")}
        if findings.items >= shown + PROGRESS_ITEMS:
            shown = findings.items
            progress(findings)
    # Only the whole table says how many units its orders hold.
    findings.found(list(stock_violations(findings.stock, findings.held, {})), [])


@app.command(
    epilog="Examples: ./operate audit; ./operate audit --resume audit.json, again to go on after an"
    " interruption"
)
def audit(
    resume: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Keep the progress in this file, and go on from it."),
    ] = None,
) -> None:
    """Check every invariant against the whole table, and list what waits too long for a person.

    Each order is checked by itself. Units are added up over all orders, so their sums may be wrong
    while customers buy: run it again before you act on one.
    """
    backend = Session.stack.backend
    findings = _start(Session.stack.outputs["TableName"], resume)

    def progress(findings: Findings) -> None:
        note(
            f"{findings.items:,} items, {findings.orders:,} orders,"
            f" {findings.violation_count:,} violations so far"
        )
        if resume is not None:
            write_whole(resume, json.dumps(vars(findings)))

    run(boto3.client("dynamodb"), findings, backend.now, backend.rules.unanswered_after, progress)
    if resume is not None:
        resume.unlink(missing_ok=True)
    counts = {"items": findings.items, "orders": findings.orders}
    if findings.violation_count > len(findings.violations):
        counts["violations_not_shown"] = findings.violation_count - len(findings.violations)
    if findings.overdue_count > len(findings.overdue):
        counts["overdue_not_shown"] = findings.overdue_count - len(findings.overdue)
    answer(counts | {"violations": findings.violations, "overdue": findings.overdue})
    if findings.violation_count:
        raise typer.Exit(REFUSED)


def _start(table: str, resume: Path | None) -> Findings:
    if resume is None or not resume.exists():
        return Findings(table)
    try:
        kept = json.loads(resume.read_text())
        findings = Findings(**kept | {"held": Counter(kept["held"])})
    except (OSError, ValueError, TypeError, KeyError):
        raise typer.BadParameter(f"{resume} does not hold the progress of an audit.") from None
    if findings.table != table:
        raise typer.BadParameter(f"{resume} is of another table, {findings.table}.")
    note(f"Going on after {findings.items:,} items.")
    return findings
