"""An operator decides about a payment that is open or in manual review."""

from enum import Enum

from payments.aws.queue import Message
from payments.domain import decisions
from payments.domain.aggregate import OrderAggregate
from payments.domain.answers import Outcome, Said
from payments.domain.records import Payment
from payments.domain.refunds import refundable
from payments.domain.states import PAID, PaymentStatus
from payments.errors import NotResolvable, OutOfStock
from payments.telemetry import scrub
from payments.usecases.backend import Backend
from payments.usecases.settle import apply

RETRY_SECONDS = 60


class PaymentDecision(Enum):
    ACCEPT = "accept"
    """The payment pays its order as it is."""
    REFUND = "refund"
    """What was really paid is owed back."""
    DISMISS = "dismiss"
    """No money came, or it went back already."""


def resolve(
    backend: Backend,
    tx_ref: str,
    decision: PaymentDecision,
    *,
    by: str,
    reason: str,
    unanswered: bool = False,
) -> Payment:
    """Apply an operator's decision, in one transaction with its event.

    A decision that was made before is returned as it is. To dismiss, the provider is asked first:
    while it says that money is there the answer is no, and when it does not answer only with
    `unanswered`. Raises PaymentNotFound, NotResolvable or Busy.
    """
    aggregate = backend.find(tx_ref)
    said = Said.UNKNOWN
    if decision is PaymentDecision.DISMISS and not _is_done(aggregate, tx_ref, decision):
        aggregate, said = _ask(backend, aggregate, tx_ref, unanswered=unanswered)

    def step(current: OrderAggregate) -> OrderAggregate:
        if _is_done(current, tx_ref, decision):
            return current
        payment, words = current.known_payment(tx_ref), scrub(reason)
        _check(current, payment, decision)
        match decision:
            case PaymentDecision.ACCEPT:
                return decisions.accept(current, payment, by, words, backend.now)
            case PaymentDecision.REFUND:
                return decisions.give_back(current, payment, by, words, backend.now)
            case PaymentDecision.DISMISS:
                return decisions.dismiss(current, payment, said, by, words, backend.now)

    try:
        decided = backend.change(aggregate, step)
    except OutOfStock as error:
        raise NotResolvable(
            "The order has ended, and its units were sold to others. Refund the payment.",
            tx_ref=tx_ref,
            skus=error.members["skus"],
        ) from None
    if decided is not aggregate:
        # The worker sends a refund, or ends an order whose time is over.
        backend.queue.send(Message(decided.order.order_id), 0)
    return decided.known_payment(tx_ref)


def _is_done(aggregate: OrderAggregate, tx_ref: str, decision: PaymentDecision) -> bool:
    status = aggregate.known_payment(tx_ref).status
    match decision:
        case PaymentDecision.ACCEPT:
            return status is PaymentStatus.SUCCEEDED
        case PaymentDecision.REFUND:
            nothing_left = status is PaymentStatus.SUCCEEDED and not refundable(aggregate, tx_ref)
            return nothing_left or status in {PaymentStatus.UNAPPLIED, PaymentStatus.REFUNDED}
        case PaymentDecision.DISMISS:
            return status in {
                PaymentStatus.CLOSED,
                PaymentStatus.REFUNDED,
                PaymentStatus.REVERSED,
            }


def _ask(
    backend: Backend, aggregate: OrderAggregate, tx_ref: str, *, unanswered: bool
) -> tuple[OrderAggregate, Said]:
    payment = aggregate.known_payment(tx_ref)
    answer = backend.provider(payment).verify(payment, backend.time_left)
    decision = apply(backend, aggregate, tx_ref, answer)
    if answer.said is Said.PAID:
        raise NotResolvable(
            "Chapa says that the money is there. Accept the payment or refund it.", tx_ref=tx_ref
        )
    if decision.outcome is not Outcome.UNANSWERED and answer.tx_ref in {None, tx_ref}:
        return decision.aggregate, answer.said
    if not unanswered:
        raise NotResolvable(
            "Chapa gives no usable answer. Repeat with --unanswered if you know that no money"
            " came.",
            tx_ref=tx_ref,
            retry_after=RETRY_SECONDS,
        )
    return decision.aggregate, Said.UNKNOWN


def _check(aggregate: OrderAggregate, payment: Payment, decision: PaymentDecision) -> None:
    if payment.status not in decisions.RESOLVABLE:
        what = "it is paid" if payment.status in PAID else "nothing is left to decide"
        raise NotResolvable(
            f"The payment is {payment.status.value}: {what}.", tx_ref=payment.tx_ref
        )
    if decision is PaymentDecision.ACCEPT and not decisions.can_take(aggregate.order, payment):
        raise NotResolvable(
            f"The order is {aggregate.order.status.value} by another payment and cannot take this"
            " one. Refund it.",
            tx_ref=payment.tx_ref,
        )
    if decision is PaymentDecision.REFUND and not payment.paid_amount:
        raise NotResolvable(
            "It is not known that anything was paid, so nothing can be refunded. Accept it first"
            " if you know better, or dismiss it.",
            tx_ref=payment.tx_ref,
        )
