"""An operator decides about a payment that is open or in manual review."""

from enum import Enum

from payments.aws.queue import Message
from payments.aws.repository import Stale
from payments.domain import decisions
from payments.domain.aggregate import OrderAggregate
from payments.domain.answers import Outcome, Said
from payments.domain.records import Payment
from payments.domain.states import PAID, PaymentStatus
from payments.errors import NotResolvable, OutOfStock, PaymentNotFound
from payments.telemetry import scrub
from payments.usecases.backend import Backend
from payments.usecases.settle import apply


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
    for _ in backend.attempts():
        payment = _payment(aggregate, tx_ref)
        if _is_done(aggregate, tx_ref, decision):
            return payment
        _check(aggregate, payment, decision)
        words = scrub(reason)
        match decision:
            case PaymentDecision.ACCEPT:
                after = decisions.accept(aggregate, payment, by, words, backend.now)
            case PaymentDecision.REFUND:
                after = decisions.give_back(aggregate, payment, by, words, backend.now)
            case PaymentDecision.DISMISS:
                after = decisions.dismiss(aggregate, payment, said, by, words, backend.now)
        try:
            saved = backend.save(aggregate, after)
        except Stale:
            aggregate = backend.find(tx_ref)
        except OutOfStock as error:
            raise NotResolvable(
                "The order has ended, and its units were sold to others. Refund the payment.",
                tx_ref=tx_ref,
                skus=error.members["skus"],
            ) from None
        else:
            # The worker sends a refund, or ends an order whose time is over.
            backend.queue.send(Message(saved.order.order_id), 0)
            return _payment(saved, tx_ref)
    raise AssertionError("unreachable")


def _payment(aggregate: OrderAggregate, tx_ref: str) -> Payment:
    payment = aggregate.payment(tx_ref)
    if payment is None:
        raise PaymentNotFound("There is no such payment.", tx_ref=tx_ref)
    return payment


def _is_done(aggregate: OrderAggregate, tx_ref: str, decision: PaymentDecision) -> bool:
    status = _payment(aggregate, tx_ref).status
    match decision:
        case PaymentDecision.ACCEPT:
            return status is PaymentStatus.SUCCEEDED
        case PaymentDecision.REFUND:
            return status is PaymentStatus.UNAPPLIED
        case PaymentDecision.DISMISS:
            return status in {
                PaymentStatus.CLOSED,
                PaymentStatus.REFUNDED,
                PaymentStatus.REVERSED,
            }


def _ask(
    backend: Backend, aggregate: OrderAggregate, tx_ref: str, *, unanswered: bool
) -> tuple[OrderAggregate, Said]:
    payment = _payment(aggregate, tx_ref)
    answer = backend.provider(payment).verify(payment, backend.time_left)
    decision = apply(backend, aggregate, tx_ref, answer)
    if answer.said is Said.PAID:
        raise NotResolvable(
            "Chapa says that the money is there. Accept the payment or refund it.", tx_ref=tx_ref
        )
    if decision.outcome is Outcome.UNANSWERED and not unanswered:
        raise NotResolvable(
            "Chapa gives no usable answer. Repeat with --unanswered if you know that no money"
            " came.",
            tx_ref=tx_ref,
        )
    return decision.aggregate, answer.said


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
