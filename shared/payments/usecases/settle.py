"""Check one payment and apply the answer: the only way for Chapa's word to pay an order."""

from payments.aws.queue import Message
from payments.domain import checks, decisions
from payments.domain.aggregate import OrderAggregate
from payments.domain.answers import Outcome, Said, Verification
from payments.domain.decisions import Decision
from payments.domain.states import PAID, UNPAID
from payments.errors import OutOfStock
from payments.telemetry import count, decided
from payments.usecases.backend import Backend


def settle(
    backend: Backend,
    aggregate: OrderAggregate,
    tx_ref: str,
    *,
    paid_too: bool = False,
    scheduled: bool = False,
) -> Decision:
    """Settle a payment, unless that is done or was tried a moment ago.

    With `paid_too` a paid one is checked as well: was it refunded or reversed? A `scheduled` check
    claims nothing: only requests from outside come in floods. The decision's aggregate is the
    stored one.
    """
    payment = aggregate.payment(tx_ref)
    if payment is None or payment.status not in (UNPAID | PAID if paid_too else UNPAID):
        return Decision(aggregate, Outcome.DUPLICATE)
    if not backend.has_time or not (
        scheduled
        or backend.repository.claim_check(
            aggregate.order.order_id, tx_ref, backend.now, backend.rules.verify_every
        )
    ):
        return Decision(aggregate, Outcome.NOT_ASKED)
    answer = backend.provider(payment).verify(payment, backend.time_left)
    return apply(backend, aggregate, tx_ref, answer)


def apply(
    backend: Backend, aggregate: OrderAggregate, tx_ref: str, answer: Verification
) -> Decision:
    """Apply an answer to the aggregate as it is by the time it is written."""
    payment = aggregate.known_payment(tx_ref)
    denied = payment.status in PAID and answer.said in {Said.NOT_PAID, Said.PENDING, Said.FAILED}
    if denied and payment.unanswered_since is None:
        count("PossibleReversal")
    mode = backend.provider(payment).mode
    policy = backend.rules.late_success
    outcome = Outcome.UNANSWERED

    def step(current: OrderAggregate) -> OrderAggregate:
        nonlocal outcome
        decision = decisions.decide(current, tx_ref, answer, backend.now, mode, policy)
        outcome = decision.outcome
        return decision.aggregate

    try:
        aggregate = backend.change(aggregate, step)
    except OutOfStock:
        # A late success whose goods were sold to others meanwhile: the money goes back.
        policy = "refund"
        aggregate = backend.change(aggregate, step)
    decided(
        "check",
        outcome.value,
        before=payment.status,
        after=aggregate.known_payment(tx_ref).status,
        order_id=aggregate.order.order_id,
        tx_ref=tx_ref,
        said=answer.said.value,
    )
    return Decision(aggregate, outcome)


def defer(
    backend: Backend,
    aggregate: OrderAggregate,
    tx_ref: str | None,
    after: int,
    *,
    paid_too: bool = False,
) -> None:
    """Store an early check in `after` seconds, unless one is due by then anyway.

    `tx_ref` names the payment; None stands for all that are open. Raises botocore's errors when
    that could not be stored, Busy when other processes kept writing.
    """
    at = backend.now + after

    def step(current: OrderAggregate) -> OrderAggregate:
        for payment in current.open_payments if tx_ref is None else current.payments:
            if tx_ref in {None, payment.tx_ref}:
                current = checks.check_by(current, payment.tx_ref, at, paid_too=paid_too)
        return current

    if backend.change(aggregate, step) is not aggregate:
        backend.queue.send(Message(aggregate.order.order_id), after)
