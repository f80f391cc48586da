"""Ask Chapa about one payment and apply the answer: the only way for a payment to become paid."""

from payments import domain
from payments.backend import STALE_TRIES, Backend
from payments.domain import Decision, Outcome, Verification
from payments.errors import Busy, OutOfStock, PaymentNotFound
from payments.ids import order_id_of
from payments.repository import Stale
from payments.states import PAID, UNPAID
from payments.story import Story


def find(backend: Backend, tx_ref: str) -> Story:
    """The story of a payment. Raises PaymentNotFound."""
    order_id = order_id_of(tx_ref)
    story = backend.repository.read(order_id) if order_id else None
    if story is None or story.payment(tx_ref) is None:
        raise PaymentNotFound("There is no such payment.", tx_ref=tx_ref)
    return story


def settle(backend: Backend, story: Story, tx_ref: str, *, money_back: bool = False) -> Decision:
    """Settle a payment of the story, unless that is done or was tried a moment ago.

    With `money_back`, one that is paid is asked about too: was it refunded or reversed? The
    decision's story is the one that is stored.
    """
    payment = story.payment(tx_ref)
    worth_asking = UNPAID | PAID if money_back else UNPAID
    if payment is None or payment.status not in worth_asking:
        return Decision(story, Outcome.DUPLICATE)
    every = backend.settings.verify_every_seconds
    if not backend.repository.claim_look(story.order.order_id, tx_ref, backend.now, every):
        return Decision(story, Outcome.NOT_ASKED)
    return apply(backend, story, tx_ref, backend.chapa.verify(tx_ref, backend.time_left))


def apply(backend: Backend, story: Story, tx_ref: str, said: Verification) -> Decision:
    """Apply what Chapa said, to the story as it is by the time it is written."""
    policy = backend.rules.late_success
    for _ in range(STALE_TRIES):
        decision = backend.decide(story, tx_ref, said, policy)
        try:
            return Decision(backend.save(story, decision.story), decision.outcome)
        except Stale:
            story = backend.read(story.order.order_id)
        except OutOfStock:
            # A late success whose goods were sold to others meanwhile: the money goes back.
            policy = "refund"
    raise Busy("The order is being changed by too many at once.", retry_after=1)


def defer(backend: Backend, story: Story, after: int, doubt: str | None = None) -> None:
    """Have the order looked at again in `after` seconds, durably, unless it is due by then anyway.

    `doubt` is the tx_ref of a paid payment whose money is said to have gone back.

    Raises botocore's errors when that could not be stored, Busy when others kept writing.
    """
    at = backend.now + after
    for _ in range(STALE_TRIES):
        nudged = domain.nudged(domain.doubted(story, doubt) if doubt else story, at)
        if nudged is story:
            return
        try:
            backend.store(story, nudged)
        except Stale:
            story = backend.read(story.order.order_id)
        else:
            backend.queue.send(story.order.order_id, after)
            return
    raise Busy("The order is being changed by too many at once.", retry_after=1)
