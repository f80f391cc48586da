"""Look at an order that is due: settle what is open, shut what must not be paid, pay back.

In this order, because every other loses something: a payment is shut at Chapa before the stock goes
back, and asked about once more after it was shut, so that nobody pays for goods that others took.
"""

from collections.abc import Collection, Sequence

from payments import domain
from payments.backend import Backend
from payments.domain import Outcome
from payments.refunds import advance
from payments.repository import Stale
from payments.settle import apply, settle
from payments.states import PaymentStatus
from payments.story import Payment, Story
from payments.telemetry import logger

CLOCKS_DIFFER_SECONDS = 1


def reconcile(backend: Backend, order_id: str) -> None:
    """Leaves the order with its next look stored, whatever the provider answers."""
    story = backend.repository.read(order_id)
    if story is None:
        logger.warning("no such order", order_id=order_id)
        return
    due = story.order.due_at
    if due is None or due > backend.now + CLOCKS_DIFFER_SECONDS:
        return  # A second message about a look that was taken.
    found = story.order.version

    outcomes: set[Outcome] = set()
    for payment in story.to_ask:
        if payment.lease_until > backend.now:
            continue  # Somebody is opening or closing it right now.
        decision = settle(backend, story, payment.tx_ref, money_back=payment.in_doubt)
        story = decision.story
        outcomes.add(decision.outcome)

    if Outcome.UNKNOWN not in outcomes:
        doomed = domain.to_close(story, backend.now)
        if doomed:
            try:
                story, _ = close(backend, story, doomed, "the order can no longer be paid")
            except Stale:
                return  # Whoever wrote has also said when to look next.
        else:
            story = backend.change(story, lambda s: domain.end(s, backend.now))
    for refund in story.open_refunds:
        if refund.lease_until <= backend.now:
            story, silent = advance(backend, story, refund)
            if silent:
                outcomes.add(Outcome.UNKNOWN)
    if story.order.version == found:
        backend.change(story, lambda s: _looked(backend, s, outcomes))


def _looked(backend: Backend, story: Story, outcomes: Collection[Outcome]) -> Story:
    unknown = Outcome.UNKNOWN in outcomes
    if Outcome.NOT_ASKED in outcomes and not unknown:
        return domain.not_looked(story, backend.now + backend.settings.verify_every_seconds)
    return domain.looked(story, backend.now, unknown=unknown, rules=backend.rules)


def close(
    backend: Backend, story: Story, payments: Sequence[Payment], reason: str
) -> tuple[Story, bool]:
    """Make payments impossible at Chapa, then end the order if it is over.

    The second value is False when Chapa did not say that each is shut and unpaid; then the next
    look tries again. A payment that turns out to be paid is settled. Raises Stale, having called
    nobody, when somebody wrote the order first.
    """
    story = backend.save(story, domain.lease(story, payments, backend.now, backend.rules))
    shut: list[str] = []
    unknown: list[str] = []
    for tx_ref in (payment.tx_ref for payment in payments):
        cancelled = backend.chapa.cancel(tx_ref, backend.time_left)
        decision = apply(backend, story, tx_ref, backend.chapa.verify(tx_ref, backend.time_left))
        story = decision.story
        if cancelled and decision.outcome is not Outcome.UNKNOWN:
            shut.append(tx_ref)
        else:
            unknown.append(tx_ref)

    def finish(now_is: Story) -> Story:
        now_is = domain.close(now_is, shut, reason, backend.now)
        left = [
            tx_ref
            for tx_ref in unknown
            if (payment := now_is.payment(tx_ref)) and payment.status is PaymentStatus.CLOSING
        ]
        if left:
            now_is = domain.let_go(now_is, left, backend.now)
            return domain.looked(now_is, backend.now, unknown=True, rules=backend.rules)
        return domain.end(now_is, backend.now)

    return backend.change(story, finish), not unknown
