"""Refund: the intent is stored first, then the provider is called."""

from collections.abc import Mapping
from enum import Enum

from payments.aws.queue import Message
from payments.aws.table import Stale
from payments.domain import checks, decisions, ids, refunds
from payments.domain.aggregate import OrderAggregate
from payments.domain.answers import Outcome, Said
from payments.domain.money import format_amount
from payments.domain.records import Refund
from payments.domain.states import COUNTED_REFUNDS, OPEN_REFUNDS, RefundStatus
from payments.errors import (
    NotResolvable,
    ProviderError,
    ProviderRejected,
    RefundKeyUsed,
    RefundTooLarge,
)
from payments.telemetry import decided, scrub
from payments.usecases.backend import Backend
from payments.usecases.settle import apply


class RefundDecision(Enum):
    """What an operator decides about a refund that the provider refused."""

    RETRY = "retry"
    SETTLE = "settle"
    """The customer was paid back by other means."""
    DISMISS = "dismiss"


def request(
    backend: Backend,
    tx_ref: str,
    amount: int | None,
    *,
    key: str,
    reason: str,
    returns: Mapping[str, int] | None = None,
) -> Refund:
    """Owe back `amount` of a payment (None: all that is left), and take goods back.

    `key` is the idempotency key: repeating it returns the same refund. Raises PaymentNotFound,
    RefundTooLarge, RefundKeyUsed or Busy.
    """
    returned = dict(returns or {})
    refund_id = ids.refund_id(tx_ref, f"key {key}")

    def step(current: OrderAggregate) -> OrderAggregate:
        if (known := current.refund(refund_id)) is not None:
            _check_same(known, amount, returned)
            return current
        payment = current.known_payment(tx_ref)
        left = refunds.refundable(current, tx_ref)
        refund = Refund(
            refund_id=refund_id,
            tx_ref=tx_ref,
            amount=left if amount is None else amount,
            currency=payment.paid_currency or payment.currency,
            created_at=backend.now,
            reason=reason,
            whole=amount is None,
            returns=returned,
        )
        _check_left(current, refund, left)
        return refunds.request_refund(current, refund, backend.now)

    aggregate = backend.find(tx_ref)
    requested = backend.change(aggregate, step)
    if requested is not aggregate:
        backend.queue.send(Message(requested.order.order_id), 0)
    return requested.known_refund(refund_id)


def _check_same(known: Refund, amount: int | None, returned: Mapping[str, int]) -> None:
    wants_the_same = known.whole if amount is None else known.amount == amount
    if not wants_the_same or dict(known.returns) != returned:
        raise RefundKeyUsed(
            "This key was used for a refund of another amount or of other goods.",
            refund_id=known.refund_id,
        )


def _check_left(aggregate: OrderAggregate, refund: Refund, left: int) -> None:
    units_left = refunds.returnable(aggregate)
    for sku, units in refund.returns.items():
        if not 0 < units <= units_left.get(sku, 0):
            raise RefundTooLarge(
                f"{units_left.get(sku, 0)} units of {sku} were sold and have not come back.",
                tx_ref=refund.tx_ref,
                sku=sku,
            )
    if refund.amount > left or (refund.amount <= 0 and not (refund.returns and not refund.whole)):
        raise RefundTooLarge(
            f"{format_amount(left)} {refund.currency} of this payment can be refunded.",
            tx_ref=refund.tx_ref,
            payment_status=aggregate.known_payment(refund.tx_ref).status.value,
        )


def resolve(
    backend: Backend,
    refund_id: str,
    decision: RefundDecision,
    *,
    by: str,
    reason: str,
) -> Refund:
    """Apply an operator's decision. A decision that was made before is returned as it is.

    Raises RefundNotFound, NotResolvable, RefundTooLarge or Busy.
    """
    apply_decision = {
        RefundDecision.RETRY: refunds.retry,
        RefundDecision.SETTLE: refunds.settle_outside,
        RefundDecision.DISMISS: refunds.dismiss,
    }[decision]

    def step(current: OrderAggregate) -> OrderAggregate:
        refund = current.known_refund(refund_id)
        if _is_done(refund, decision):
            return current
        _check_resolvable(current, refund, decision)
        return apply_decision(current, refund, by, scrub(reason), backend.now)

    aggregate = backend.find_refund(refund_id)
    decided = backend.change(aggregate, step)
    if decided is not aggregate:
        backend.queue.send(Message(decided.order.order_id), 0)
    return decided.known_refund(refund_id)


def _is_done(refund: Refund, decision: RefundDecision) -> bool:
    match decision:
        case RefundDecision.RETRY:
            return refund.status in COUNTED_REFUNDS and refund.attempt > 1
        case RefundDecision.SETTLE:
            return refund.status is RefundStatus.REFUNDED
        case RefundDecision.DISMISS:
            return refund.status is RefundStatus.DISMISSED


def _check_resolvable(aggregate: OrderAggregate, refund: Refund, decision: RefundDecision) -> None:
    settles_open = decision is RefundDecision.SETTLE and refund.status in OPEN_REFUNDS
    if refund.status is not RefundStatus.REVIEW and not settles_open:
        raise NotResolvable(
            f"The refund is {refund.status.value}: only one in manual review can be decided about.",
            refund_id=refund.refund_id,
        )
    left = refunds.refundable(aggregate, refund.tx_ref)
    counts_again = refund.status is RefundStatus.REVIEW and decision is not RefundDecision.DISMISS
    if counts_again and refund.amount > left:
        raise RefundTooLarge(
            f"Only {format_amount(left)} {refund.currency} of the payment are left:"
            " another refund took the rest. Dismiss this one.",
            refund_id=refund.refund_id,
        )


def advance(backend: Backend, aggregate: OrderAggregate, refund: Refund) -> OrderAggregate:
    """Take a refund that is due one step further, and store when it is checked next."""
    outcome = Outcome.OPEN
    if refund.status is not RefundStatus.REVIEW:
        aggregate, outcome = _step(backend, aggregate, refund)
        decided(
            "check refund" if refund.provider_refund_id else "refund",
            outcome.value,
            before=refund.status,
            after=aggregate.known_refund(refund.refund_id).status,
            order_id=aggregate.order.order_id,
            tx_ref=refund.tx_ref,
            refund_id=refund.refund_id,
        )
    return backend.change(
        aggregate,
        lambda current: checks.refund_checked(
            current, refund.refund_id, outcome, backend.now, backend.rules
        ),
    )


def _step(
    backend: Backend, aggregate: OrderAggregate, refund: Refund
) -> tuple[OrderAggregate, Outcome]:
    if refund.provider_refund_id:
        return _poll(backend, aggregate, refund)
    if not refund.sends:
        return _send(backend, aggregate, refund)
    # An answer was lost. That Chapa takes a reference once is documented only of late, so first
    # see whether all of the money went back already.
    payment = aggregate.known_payment(refund.tx_ref)
    provider = backend.provider(payment)
    answer = provider.verify(payment, backend.time_left)
    denies = answer.said in {Said.UNKNOWN, Said.PENDING, Said.NOT_PAID, Said.FAILED}
    if denies or decisions.names_another(payment, answer, provider.mode):
        # It was paid. An answer that denies it does not say where the money is.
        return aggregate, Outcome.UNANSWERED
    if answer.said is Said.REVERSED:
        decision = apply(backend, aggregate, refund.tx_ref, answer)
        return decision.aggregate, decision.outcome
    whole = refund.amount == payment.paid_amount
    if answer.said is Said.REFUNDED and whole:
        return _ended(backend, aggregate, refund, Said.REFUNDED), Outcome.APPLIED
    if refund.status is RefundStatus.PENDING:
        # Chapa has it. If it does not know our reference, only a whole refund shows its end.
        aggregate, outcome = _poll(backend, aggregate, refund)
        is_new = backend.now - refund.moved_at < backend.rules.unanswered_after
        waits = outcome is Outcome.UNANSWERED and whole and is_new
        return aggregate, Outcome.OPEN if waits else outcome
    return _send(backend, aggregate, refund)


def _send(
    backend: Backend, aggregate: OrderAggregate, refund: Refund
) -> tuple[OrderAggregate, Outcome]:
    payment = aggregate.known_payment(refund.tx_ref)
    refund_id = refund.refund_id
    try:
        aggregate = backend.save(
            aggregate,
            refunds.before_sending(aggregate, refund_id, backend.now, backend.rules),
        )
    except Stale:
        return backend.read(aggregate.order.order_id), Outcome.NOT_ASKED
    try:
        provider_refund_id = backend.provider(payment).refund(payment, refund, backend.time_left)
    except ProviderRejected as error:
        words = error.members.get("provider_message")
        said = scrub(words) if isinstance(words, str) else "no reason given"
        return _refused(backend, aggregate, refund, f"refused: {said}"), Outcome.APPLIED
    except ProviderError:
        aggregate = backend.change(
            aggregate, lambda current: refunds.release(current, refund_id, backend.now)
        )
        return aggregate, Outcome.UNANSWERED
    aggregate = backend.change(
        aggregate,
        lambda current: refunds.accepted(current, refund_id, provider_refund_id, backend.now),
    )
    return aggregate, Outcome.APPLIED


def _poll(
    backend: Backend, aggregate: OrderAggregate, refund: Refund
) -> tuple[OrderAggregate, Outcome]:
    payment = aggregate.known_payment(refund.tx_ref)
    said = backend.provider(payment).verify_refund(refund, backend.time_left)
    match said:
        case Said.REFUNDED | Said.REVERSED:
            return _ended(backend, aggregate, refund, said), Outcome.APPLIED
        case Said.FAILED:
            return (
                _refused(backend, aggregate, refund, "failed at the provider"),
                Outcome.APPLIED,
            )
        case Said.UNKNOWN:
            return aggregate, Outcome.UNANSWERED
        case _:
            return aggregate, Outcome.OPEN


def _refused(
    backend: Backend, aggregate: OrderAggregate, refund: Refund, words: str
) -> OrderAggregate:
    """Manual review. The money may have gone back in another way, so the payment is checked."""

    def step(current: OrderAggregate) -> OrderAggregate:
        current = refunds.refused(current, refund.refund_id, words, backend.now)
        return checks.check_by(current, refund.tx_ref, backend.now, paid_too=True)

    return backend.change(aggregate, step)


def _ended(
    backend: Backend, aggregate: OrderAggregate, refund: Refund, said: Said
) -> OrderAggregate:
    return backend.change(
        aggregate,
        lambda current: refunds.ended(current, refund.refund_id, said, backend.now),
    )
