"""What differs between our books and the provider's list of payments and refunds.

A payment in manual review never differs: a person decides about it, and it is checked on.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from payments.domain.aggregate import OrderAggregate
from payments.domain.answers import Said, Transaction
from payments.domain.events import PaymentDiffers
from payments.domain.ids import refund_reference
from payments.domain.money import format_amount
from payments.domain.records import Payment, Refund
from payments.domain.states import (
    COUNTED_REFUNDS,
    OPEN_REFUNDS,
    PAID,
    UNPAID,
    PaymentStatus,
    RefundStatus,
)

type What = Literal["status", "amount", "currency", "refund", "missing"]

MONEY_MOVED = frozenset({Said.PAID, Said.REFUNDED, Said.REVERSED})
"""What a row of the list says when money came or went back; other rows are of no account."""

_P = PaymentStatus
_NOT_SEEN = UNPAID - {_P.REVIEW}

DIFFERS = {
    Said.PAID: _NOT_SEEN | {_P.REVERSED},
    # Whether the list shows a refund is contested, so a success there fits a refunded payment.
    Said.REFUNDED: _NOT_SEEN | PAID,
    Said.REVERSED: _NOT_SEEN | PAID | {_P.REFUNDED},
}
"""Our statuses that contradict a row. Any other row contradicts a payment that we hold as paid."""


@dataclass(frozen=True)
class Difference:
    order_id: str
    tx_ref: str
    what: What
    ours: str
    theirs: str
    resolvable: bool = False
    """Whether a check of the payment takes what the provider says into our books."""


@dataclass(frozen=True)
class Comparison:
    """How far the books are compared with one provider's list, and what was found so far.

    First every row of the list is found in the books, then every paid payment of the books in
    the list: a payment that a row names is marked (`Payment.listed_at`).
    """

    provider: str
    since: int
    until: int
    """The payments that were created from `since` on and before `until`."""
    started_at: int
    listing: bool = True
    """Whether it is still at the provider's list."""
    position: str | None = None
    """Where the next page begins."""
    first: str | None = None
    """The first reference of the last page: a list that does not move on is noticed."""
    rows: int = 0
    """Rows in the range that say that money came or went back."""
    foreign: int = 0
    """Those of them that belong to the account's other business."""
    unreadable: int = 0
    """Rows that name nothing."""
    paid: int = 0
    """Payments of the range that we hold as paid."""
    differences: int = 0
    done: bool = False
    version: int = 0

    def covers(self, created_at: int | None) -> bool:
        """Whether a payment of this time is compared; without a time it is."""
        return created_at is None or self.since <= created_at < self.until


def money_of(amount: int | None, currency: str | None) -> str:
    return f"{'?' if amount is None else format_amount(amount)} {currency or '?'}"


def difference_of_payment(
    order_id: str, payment: Payment, refunds: Sequence[Refund], row: Transaction
) -> Difference | None:
    """What differs between a payment with its refunds and the row that names it."""

    def differs(what: What, ours: str, theirs: str, *, resolvable: bool = False) -> Difference:
        return Difference(order_id, payment.tx_ref, what, ours, theirs, resolvable=resolvable)

    contradicts = payment.status in DIFFERS.get(row.said, PAID)
    if row.said is Said.REFUNDED and any(r.status in OPEN_REFUNDS for r in refunds):
        contradicts = False  # The check of our own refund says when it is done.
    if row.said not in MONEY_MOVED and payment.accepted_by:
        contradicts = False  # The operator who accepted it knows.
    if contradicts:
        resolvable = row.said in MONEY_MOVED and payment.status in UNPAID | PAID
        return differs("status", payment.status.value, row.status, resolvable=resolvable)
    if row.said is not Said.PAID or payment.accepted_by or payment.paid_amount is None:
        return None
    if row.currency != (currency := payment.paid_currency or payment.currency):
        return differs("currency", currency, row.currency or "?")
    # What is shown of a payment that was refunded in part is not known.
    part = any(r.amount and r.status in COUNTED_REFUNDS for r in refunds)
    if row.amount not in {None, payment.paid_amount} and not part:
        ours = money_of(payment.paid_amount, currency)
        return differs("amount", ours, money_of(row.amount, row.currency))
    return None


def refund_named(aggregate: OrderAggregate, reference: str | None) -> Refund | None:
    """The refund that one of its attempts' references names."""
    for refund in aggregate.refunds:
        attempts = range(1, refund.attempt + 1)
        if reference in {refund_reference(refund.refund_id, number) for number in attempts}:
            return refund
    return None


def difference_of_refund(
    aggregate: OrderAggregate, payment: Payment, row: Transaction
) -> Difference | None:
    """What differs about a refund in the list; one that did not happen is of no account."""
    refund = refund_named(aggregate, row.reference)
    ours = "none of ours"
    if refund is not None:
        ours = f"{refund.status.value}, {money_of(refund.amount, refund.currency)}"
        same = row.amount in {None, refund.amount}
        fits = refund.status is RefundStatus.REFUNDED and same
    else:
        # It was made on the provider's dashboard. Once all is back, our books know it.
        fits = payment.status not in PAID
    if row.said is not Said.REFUNDED or fits:
        return None
    return Difference(
        aggregate.order.order_id,
        payment.tx_ref,
        "refund",
        ours,
        f"{row.status}, {money_of(row.amount, row.currency)}",
        resolvable=refund is None or refund.status in OPEN_REFUNDS,
    )


def must_be_listed(payment: Payment, comparison: Comparison) -> bool:
    """Whether the provider's list must name it: we hold it as paid, and no operator vouches."""
    return (
        payment.provider == comparison.provider
        and payment.status in PAID
        and not payment.accepted_by
        and comparison.covers(payment.created_at)
    )


def missing(order_id: str, payment: Payment, comparison: Comparison) -> Difference | None:
    """A paid payment that the provider's list does not name."""
    if (payment.listed_at or 0) >= comparison.started_at:
        return None
    money = money_of(payment.paid_amount, payment.paid_currency)
    ours = f"{payment.status.value}, {money}"
    return Difference(order_id, payment.tx_ref, "missing", ours, "not in the list")


def record(
    aggregate: OrderAggregate, difference: Difference, comparison: Comparison, now: int
) -> OrderAggregate:
    """The event of a difference, once in each comparison for each payment."""
    payment = aggregate.payment(difference.tx_ref)
    if payment is None or (payment.differed_at or 0) >= comparison.started_at:
        return aggregate
    return aggregate.put(replace(payment, differed_at=now)).record(
        PaymentDiffers(now, payment.tx_ref, difference.what, difference.ours, difference.theirs)
    )


CLOCKS_DIFFER = 300
"""Seconds between our clock and the provider's, and for an attempt that began in time."""


def may_be(payment: Payment, row: Transaction, link: int) -> bool:
    """Whether a row without our reference may be about this unpaid payment.

    Whether the provider's time is that of the opening or of the attempt is not documented, so
    `link`, the life of a page, lies between them at most.
    """
    at = row.created_at or 0
    return (
        payment.status in _NOT_SEEN
        and payment.provider_reference is None
        and (payment.amount, payment.currency) == (row.amount, row.currency)
        and payment.created_at - CLOCKS_DIFFER <= at <= payment.created_at + link + CLOCKS_DIFFER
    )
