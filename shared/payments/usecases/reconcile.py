"""Work on an order that is due: settle what is open, close what must not be paid, pay back.

In this order: a payment is closed at the provider before stock becomes available again, and
verified once more after it was closed, so that nobody pays for goods that others took.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

from payments.aws.queue import Message
from payments.aws.table import Stale
from payments.domain import checks, decisions
from payments.domain.aggregate import OrderAggregate
from payments.domain.answers import Outcome
from payments.domain.records import Payment
from payments.telemetry import logger
from payments.usecases.backend import Backend
from payments.usecases.refund import advance
from payments.usecases.settle import apply, settle

CLOCKS_DIFFER_SECONDS = 1


def reconcile(backend: Backend, message: Message) -> None:
    """Leave the order with its next check stored, whatever the provider answers."""
    aggregate = backend.repository.read(message.order_id)
    if aggregate is None:
        logger.warning("no such order", order_id=message.order_id)
        return
    if message.tx_ref is not None:
        aggregate = _early_check(backend, aggregate, message.tx_ref)
    due = checks.due_at(aggregate, backend.now)
    if due is None or due > backend.now + CLOCKS_DIFFER_SECONDS:
        # A second message about work that is done. If the order is still due, a process died
        # before it wrote that.
        if aggregate.order.due_at is not None and aggregate.order.due_at <= backend.now:
            backend.change(aggregate, lambda a: a.put(replace(a.order, due_at=due)))
        return

    outcomes: dict[str, Outcome] = {}
    for payment in checks.payments_to_check(aggregate, backend.now):
        if not backend.has_time:
            break  # Our lack of time is not an unanswered check.
        decision = settle(backend, aggregate, payment.tx_ref, paid_too=True, scheduled=True)
        aggregate, outcomes[payment.tx_ref] = decision.aggregate, decision.outcome

    unanswered = Outcome.UNANSWERED in outcomes.values()
    open_ones = () if unanswered else decisions.to_close(aggregate, backend.now, backend.rules)
    if open_ones:
        try:
            aggregate = close(backend, aggregate, open_ones, "the order can no longer be paid")
        except Stale:
            return  # The process that wrote has stored the next check.

    def record_outcomes(current: OrderAggregate) -> OrderAggregate:
        for tx_ref, outcome in outcomes.items():
            if tx_ref not in closed:
                current = checks.payment_checked(
                    current, tx_ref, outcome, backend.now, backend.rules
                )
        current = current.put(replace(current.order, queued=0))
        return current if unanswered else decisions.end(current, backend.now)

    closed = {payment.tx_ref for payment in open_ones}
    aggregate = backend.change(aggregate, record_outcomes)
    for refund in checks.refunds_to_check(aggregate, backend.now):
        if not backend.has_time:
            break
        aggregate = advance(backend, aggregate, refund)


def _early_check(backend: Backend, aggregate: OrderAggregate, tx_ref: str) -> OrderAggregate:
    return backend.change(
        aggregate, lambda a: checks.check_by(a, tx_ref, backend.now, paid_too=True)
    )


def close(
    backend: Backend, aggregate: OrderAggregate, payments: Sequence[Payment], reason: str
) -> OrderAggregate:
    """Close payments at the provider, then end the order if its time is over.

    A payment that turns out to be paid is settled. One that could not be closed stays `closing`
    for the next check; if only because its page lives on, another payment may take its place.
    Raises Stale, before any call, when another process wrote the order first.
    """
    over = not decisions.payable(aggregate, backend.now)
    aggregate = backend.save(
        aggregate, decisions.lease(aggregate, payments, backend.now, backend.rules)
    )
    outcomes: dict[str, Outcome] = {}
    remain: dict[str, Callable[[OrderAggregate, str, int], OrderAggregate]] = {}
    for tx_ref in (payment.tx_ref for payment in payments):
        payment = aggregate.known_payment(tx_ref)
        if not backend.has_time:
            outcomes[tx_ref] = Outcome.NOT_ASKED
            remain[tx_ref] = decisions.release
            continue
        provider = backend.provider(payment)
        cancelled = not payment.can_cancel or provider.cancel(payment, backend.time_left)
        answer = provider.verify(payment, backend.time_left)
        decision = apply(backend, aggregate, tx_ref, answer)
        aggregate = decision.aggregate
        outcomes[tx_ref] = decision.outcome if cancelled else Outcome.UNANSWERED
        if outcomes[tx_ref] is Outcome.UNANSWERED:
            remain[tx_ref] = decisions.release
        elif not decisions.closable(payment, backend.now, backend.rules):
            remain[tx_ref] = decisions.replaceable
        elif over and decisions.still_in_grace(payment, answer.said, backend.now, backend.rules):
            remain[tx_ref] = decisions.release

    def finish(current: OrderAggregate) -> OrderAggregate:
        for tx_ref, outcome in outcomes.items():
            if (step := remain.get(tx_ref)) is None:
                current = decisions.close(current, tx_ref, reason, backend.now)
                continue
            current = checks.payment_checked(
                step(current, tx_ref, backend.now), tx_ref, outcome, backend.now, backend.rules
            )
        return decisions.end(current, backend.now)

    return backend.change(aggregate, finish)
