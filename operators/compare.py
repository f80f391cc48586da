"""The books beside Chapa's own list of payments and refunds."""

from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any

import typer

from operators import views
from operators.cli import COULD_NOT_ASK, REFUSED, Session, answer, app, note
from operators.days import Zone, day_of, given_day, given_zone
from payments.domain.answers import Transaction
from payments.domain.comparison import Comparison, Difference, money_of
from payments.errors import ProviderError
from payments.usecases import compare as books
from payments.usecases.backend import Backend

PROGRESS_ROWS = 1_000


@app.command(
    epilog="Examples: ./operate compare --from 2026-11-01 --to 2026-11-26;"
    " ./operate compare --from 2026-11-26 --to 2026-11-26 --zone Africa/Addis_Ababa --check"
)
def compare(
    from_: Annotated[str, typer.Option("--from", metavar="YYYY-MM-DD", help="The first day.")],
    to: Annotated[str, typer.Option(metavar="YYYY-MM-DD", help="The last day.")],
    zone: Zone = "UTC",
    check: Annotated[
        bool, typer.Option("--check", help="Have Chapa asked about what differs, as each night.")
    ] = False,
    foreign: Annotated[
        bool, typer.Option("--foreign", help="Show the account's other business, too.")
    ] = False,
) -> None:
    """Compare the payments that were opened on these days with Chapa's own list, both ways."""
    where = given_zone(zone)
    first, last = given_day(from_), given_day(to)
    if last < first:
        raise typer.BadParameter("--to is a day before --from.")
    if first > datetime.now(where).date():
        raise typer.BadParameter("--from lies in the future.")
    since, until = day_of(first, where)[0], day_of(last, where)[1]
    backend = Session.stack.backend
    accounts: list[dict[str, Any]] = []
    differences: list[dict[str, Any]] = []
    possible: dict[str, dict[str, str]] = {}
    others: list[dict[str, Any]] = []
    reason = None
    for provider in sorted(backend.secrets.current().api_keys):
        comparison = books.begin(backend, provider, since, min(until, backend.now))
        try:
            for one in _steps(backend, comparison):
                comparison = one.comparison
                for difference in one.differences:
                    if check:
                        books.report(backend, comparison, difference)
                    _found(provider, difference, differences)
                possible |= {
                    key.tx_ref: {"provider": provider, **key._asdict()} for key in one.possible
                }
                others += [_other(provider, row) for row in one.foreign if foreign]
                if check:
                    books.check(backend, one.possible)
        except ProviderError as error:
            reason = error.reason
            note(f"The list of {provider} cannot be read: {reason}. Try again later.")
        accounts.append(_account(comparison))
    answer(
        {"from": from_, "to": to, "zone": zone, "accounts": accounts}
        | ({"differences": differences} if Session.as_json else {})
        | ({"possible": [*possible.values()]} if possible or Session.as_json else {})
        | ({"foreign": others} if foreign else {})
    )
    if reason is not None:
        raise typer.Exit(COULD_NOT_ASK)
    if any(account["differences"] or account["unreadable"] for account in accounts):
        raise typer.Exit(REFUSED)


def _steps(backend: Backend, comparison: Comparison) -> Iterator[books.Step]:
    """Every page. Raises a ProviderError."""
    while not comparison.done:
        one = books.step(backend, comparison)
        before, comparison = comparison, one.comparison
        if comparison.rows // PROGRESS_ROWS > before.rows // PROGRESS_ROWS:
            note(f"{comparison.provider}: {comparison.rows} rows of Chapa's list")
        yield one


def _found(provider: str, difference: Difference, rows: list[dict[str, Any]]) -> None:
    """Print a difference as soon as it is found, or keep it for the one JSON document."""
    row = {"provider": provider, **asdict(difference)}
    if Session.as_json:
        rows.append(row)
        return
    print(
        f"{row['tx_ref']}  {row['what']}: ours {row['ours']}; Chapa's {row['theirs']}", flush=True
    )


def _account(comparison: Comparison) -> dict[str, Any]:
    return {
        "provider": comparison.provider,
        "rows": comparison.rows,
        "paid": comparison.paid,
        "differences": comparison.differences,
        "foreign": comparison.foreign,
        "unreadable": comparison.unreadable,
        "complete": comparison.done,
    }


def _other(provider: str, row: Transaction) -> dict[str, Any]:
    return {
        "provider": provider,
        "kind": "refund" if row.is_refund else "payment",
        "reference": row.reference,
        "chapa_reference": row.provider_reference,
        "status": row.status,
        "amount": money_of(row.amount, row.currency),
        "created_at": views.moment(row.created_at),
    }
