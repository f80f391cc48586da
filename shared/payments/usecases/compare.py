"""Compare the books with Chapa's own list of payments and refunds, page by page.

Both directions need no more memory than a page. A step may be repeated after a process died.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from payments.aws.items import PaymentKey, day_list, unnamed_list
from payments.aws.queue import Message
from payments.aws.table import Stale
from payments.domain import comparison as books
from payments.domain.aggregate import OrderAggregate
from payments.domain.answers import Said, Transaction
from payments.domain.comparison import MONEY_MOVED, Comparison, Difference
from payments.domain.ids import order_id_of
from payments.domain.records import Payment
from payments.domain.states import PAID
from payments.errors import Busy, ProviderError, ProviderFailed
from payments.telemetry import count, logger, scrub
from payments.usecases.backend import Backend

DAY = 86_400

AROUND_SECONDS = 6 * 3600
"""How much more than the range is read of Chapa's list: clocks and time zones may differ, and an
attempt begins later than its payment was opened."""

MAX_RECORDED = 100
"""Events of one comparison. More differences have one cause, and are only counted."""

OVERDUE_SECONDS = 6 * 3600
"""After the end of the range: by then the comparison of the night should be done."""


@dataclass(frozen=True)
class Step:
    """One page, and what it showed."""

    comparison: Comparison
    differences: tuple[Difference, ...] = ()
    foreign: tuple[Transaction, ...] = ()
    """Rows of the account's other business."""
    possible: tuple[PaymentKey, ...] = ()
    """Unpaid payments of ours that a foreign row may be about."""


def begin(backend: Backend, provider: str, since: int, until: int) -> Comparison:
    return Comparison(provider, since, until, started_at=backend.now)


def step(backend: Backend, comparison: Comparison) -> Step:
    """Compare one page. Raises a ProviderError when the list cannot be read, or Busy."""
    one = _their_page(backend, comparison) if comparison.listing else _our_page(backend, comparison)
    found = len(one.differences)
    after = replace(one.comparison, differences=comparison.differences + found)
    return replace(one, comparison=after)


def _their_page(backend: Backend, comparison: Comparison) -> Step:
    page = backend.providers[comparison.provider].transactions(
        comparison.since - AROUND_SECONDS,
        comparison.until + AROUND_SECONDS,
        comparison.position,
        backend.time_left,
    )
    first = next((f"{row.reference} {row.provider_reference}" for row in page.transactions), None)
    if first is not None and first == comparison.first:
        raise ProviderFailed("the list does not move on")
    payments = [(row, _key_of(backend, row)) for row in page.transactions if not row.is_refund]
    known = backend.comparisons.payments(key for _, key in payments if key)
    differences: list[Difference] = []
    foreign: list[Transaction] = []
    for row, key in payments:
        payment = known.get(key) if key else None
        if key is None or payment is None or payment.provider != comparison.provider:
            foreign.append(row)
            continue
        differences += _payment(backend, comparison, key, payment, row)
    for row in page.transactions:
        if row.is_refund and row.said is Said.REFUNDED and comparison.covers(row.created_at):
            aggregate, payment = _refunded(backend, comparison, row)
            if aggregate is None or payment is None:
                foreign.append(row)
            elif found := books.difference_of_refund(aggregate, payment, row):
                differences.append(found)
    foreign = [
        row for row in foreign if row.said in MONEY_MOVED and comparison.covers(row.created_at)
    ]
    rows = [
        row
        for row in page.transactions
        if row.said in MONEY_MOVED and comparison.covers(row.created_at)
    ]
    after = replace(
        comparison,
        position=page.following,
        listing=page.following is not None,
        first=first,
        rows=comparison.rows + len(rows),
        foreign=comparison.foreign + len(foreign),
        unreadable=comparison.unreadable + page.unreadable,
    )
    possible = [key for row in foreign for key in _possible(backend, comparison, row)]
    return Step(after, tuple(differences), tuple(foreign), tuple(dict.fromkeys(possible)))


def _key_of(backend: Backend, row: Transaction) -> PaymentKey | None:
    """The payment of ours that a row may name, by our reference or by Chapa's."""
    if row.reference and (order_id := order_id_of(row.reference)):
        return PaymentKey(order_id, row.reference)
    theirs = row.provider_reference
    return next(backend.lists.named(theirs), None) if theirs else None


def _payment(
    backend: Backend,
    comparison: Comparison,
    key: PaymentKey,
    payment: Payment,
    row: Transaction,
) -> Iterator[Difference]:
    if row.said in MONEY_MOVED or payment.status in PAID:
        backend.comparisons.mark_listed(key, comparison.started_at)
    if not comparison.covers(row.created_at):
        return
    if books.difference_of_payment(key.order_id, payment, (), row) is None:
        return
    # Most rows need no more than the payment; its refunds may explain the others.
    aggregate = backend.read(key.order_id)
    payment = aggregate.known_payment(key.tx_ref)
    refunds = aggregate.refunds_of(key.tx_ref)
    if found := books.difference_of_payment(key.order_id, payment, refunds, row):
        yield found


def _refunded(
    backend: Backend, comparison: Comparison, row: Transaction
) -> tuple[OrderAggregate | None, Payment | None]:
    """The payment of ours that a refund in the list is of."""
    order_id = order_id_of(row.reference) if row.reference else None
    aggregate = backend.repository.read(order_id) if order_id else None
    refund = books.refund_named(aggregate, row.reference) if aggregate else None
    tx_ref = refund.tx_ref if refund else None
    if tx_ref is None:
        found = row.provider_reference and next(backend.lists.named(row.provider_reference), None)
        if not found:
            return None, None
        aggregate, tx_ref = backend.repository.read(found.order_id), found.tx_ref
    payment = aggregate.payment(tx_ref) if aggregate else None
    fits = payment is not None and payment.provider == comparison.provider
    return (aggregate, payment) if fits else (None, None)


def _possible(backend: Backend, comparison: Comparison, row: Transaction) -> Iterator[PaymentKey]:
    """Unpaid payments of ours that a row without our reference may be about."""
    if row.reference is not None or row.created_at is None or row.is_refund:
        return
    earliest = row.created_at - backend.rules.link - books.CLOCKS_DIFFER
    latest = row.created_at + books.CLOCKS_DIFFER
    for day in range(earliest // DAY, latest // DAY + 1):
        start: str | None = None
        while True:
            keys, start = backend.lists.list_page(
                unnamed_list(day * DAY), start, between=(earliest, latest + 1)
            )
            known = backend.comparisons.payments(keys)
            for key, payment in known.items():
                if payment.provider == comparison.provider and books.may_be(
                    payment, row, backend.rules.link
                ):
                    yield key
            if start is None:
                break


def _our_page(backend: Backend, comparison: Comparison) -> Step:
    """A page of the payments that we hold as paid, by the day on which they were."""
    since = comparison.since - comparison.since % DAY
    day, _, start = (comparison.position or f"{since} ").partition(" ")
    keys, following = backend.lists.list_page(day_list(int(day)), start or None)
    known = backend.comparisons.payments(keys)
    paid = [
        (key, payment)
        for key, payment in known.items()
        if books.must_be_listed(payment, comparison)
    ]
    found = [books.missing(key.order_id, payment, comparison) for key, payment in paid]
    differences = tuple(difference for difference in found if difference)
    # One that is found to be paid more than a day later was verified by itself shortly before.
    next_day = int(day) + DAY
    done = following is None and next_day >= comparison.until + DAY
    after = replace(
        comparison,
        position=None if done else f"{day} {following}" if following else f"{next_day} ",
        paid=comparison.paid + len(paid),
        done=done,
    )
    return Step(after, differences)


def compare_nightly(backend: Backend, days: int, until: int | None = None) -> None:
    """Continue the comparison of the days before `until` with each account that we have a key of.

    Without `until` they end with yesterday, UTC. What a check of ours can resolve is queued, each
    difference becomes an event, and progress is stored after each page: whatever ends the process,
    the next one continues. Raises ConfigurationError or Unavailable without a usable secret.
    """
    until = until or backend.now - backend.now % DAY
    for provider in sorted(backend.secrets.current().api_keys):
        try:
            done = _continue(backend, _begun(backend, provider, until - days * DAY, until))
        except (ProviderError, Busy) as error:
            logger.warning("comparison stopped", provider=provider, reason=error.detail)
            count("ComparisonStopped")
            done = False
        except Stale:
            done = False  # Another process does the same.
        if not done and backend.now >= until + OVERDUE_SECONDS:
            count("ComparisonOverdue")


def _begun(backend: Backend, provider: str, since: int, until: int) -> Comparison:
    """The stored comparison of this range, or a new one. Raises Stale."""
    comparison = backend.comparisons.comparison(provider)
    if comparison is None or (comparison.since, comparison.until) != (since, until):
        begun = begin(backend, provider, since, until)
        return backend.comparisons.save_comparison(comparison, begun)
    # New rows move the pages behind them: one may be the same again after a pause.
    return replace(comparison, first=None)


def _continue(backend: Backend, comparison: Comparison) -> bool:
    """Whether it is done. Raises a ProviderError, Busy or Stale."""
    while not comparison.done:
        if not backend.has_time:
            return False
        one = step(backend, comparison)
        for number, difference in enumerate(one.differences, comparison.differences):
            report(backend, comparison, difference, recorded=number < MAX_RECORDED)
        check(backend, one.possible)
        comparison = backend.comparisons.save_comparison(comparison, one.comparison)
        if comparison.done:
            logger.info(
                "books compared",
                provider=comparison.provider,
                rows=comparison.rows,
                paid=comparison.paid,
                foreign=comparison.foreign,
                unreadable=comparison.unreadable,
                differences=comparison.differences,
            )
            count("BooksCompared")
    return True


def check(backend: Backend, payments: Iterable[PaymentKey]) -> None:
    """Have the worker ask Chapa about payments now, also about paid ones."""
    for key in payments:
        backend.queue.send(Message(key.order_id, key.tx_ref), 0)


def report(
    backend: Backend, comparison: Comparison, difference: Difference, *, recorded: bool = True
) -> None:
    """Log a difference, record its event, and have it checked if that can resolve it."""
    logger.warning(
        "the provider's list differs",
        order_id=difference.order_id,
        tx_ref=difference.tx_ref,
        what=difference.what,
        ours=difference.ours,
        theirs=scrub(difference.theirs, 80),
    )
    if recorded:
        backend.change(
            backend.read(difference.order_id),
            lambda current: books.record(current, difference, comparison, backend.now),
        )
    if difference.resolvable:
        check(backend, [PaymentKey(difference.order_id, difference.tx_ref)])
