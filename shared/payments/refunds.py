"""Pay back what is owed: the intent first, then Chapa, with the same reference on every try."""

import hashlib

from payments import domain
from payments.backend import STALE_TRIES, Backend
from payments.domain import Said
from payments.errors import (
    Busy,
    IdempotencyMismatch,
    PaymentNotFound,
    ProviderError,
    ProviderRejected,
    RefundTooLarge,
)
from payments.money import format_amount
from payments.repository import Stale
from payments.settle import apply, find
from payments.states import RefundStatus
from payments.story import Refund, Story


def request(
    backend: Backend,
    tx_ref: str,
    amount: int | None,
    *,
    key: str,
    reason: str,
    return_stock: bool = False,
) -> Refund:
    """Owe back `amount` of a payment (None: all that is left); the worker pays it out.

    `key` names the decision, for instance a ticket: the same key again is the same refund. Raises
    PaymentNotFound, RefundTooLarge, IdempotencyMismatch or Busy.
    """
    story = find(backend, tx_ref)
    name = hashlib.sha256(f"{tx_ref} {key}".encode()).hexdigest()[:32]
    for _ in range(STALE_TRIES):
        payment = story.payment(tx_ref)
        if payment is None:
            raise PaymentNotFound("There is no such payment.", tx_ref=tx_ref)
        left = domain.refundable(story, tx_ref)
        refund = Refund(
            reference=f"op-{name}",
            tx_ref=tx_ref,
            amount=left if amount is None else amount,
            currency=payment.currency,
            created_at=backend.now,
            reason=reason,
            return_stock=return_stock,
        )
        known = story.refund(refund.reference)
        if known is not None:
            if amount not in {None, known.amount}:
                raise IdempotencyMismatch(
                    "This key was used for a refund of another amount.", refund=known.reference
                )
            return known
        if not 0 < refund.amount <= left:
            raise RefundTooLarge(
                f"{format_amount(left)} {payment.currency} of this payment can be refunded.",
                tx_ref=tx_ref,
                payment_status=str(payment.status),
            )
        try:
            backend.save(story, domain.request_refund(story, refund, backend.now))
        except Stale:
            story = find(backend, tx_ref)
        else:
            backend.queue.send(story.order.order_id, 0)
            return refund
    raise Busy("The order is being changed by too many at once.", retry_after=1)


def advance(backend: Backend, story: Story, refund: Refund) -> tuple[Story, bool]:
    """Take an open refund one step further; the second value is whether that could not be told."""
    if refund.handle:
        return _poll(backend, story, refund)
    if refund.tries:
        # An answer was lost. That Chapa takes a reference once is documented only of late, so first
        # see whether all of the money went back already.
        said = backend.chapa.verify(refund.tx_ref, backend.time_left)
        payment = story.payment(refund.tx_ref)
        if (
            payment is None
            or said.said in {Said.UNKNOWN, Said.OPEN, Said.FAILED}
            or domain.of_another(payment, said, backend.chapa.mode)
        ):
            # It was paid once: what denies it says no more about its money than silence does.
            return story, True
        if said.said is Said.REVERSED:
            return apply(backend, story, refund.tx_ref, said).story, False
        whole = refund.amount == payment.paid_amount
        if said.said is Said.REFUNDED and whole:
            return _ended(backend, story, refund, Said.REFUNDED), False
        if refund.status is RefundStatus.PENDING:
            # Chapa has it, and takes days. Of a part nothing can be learned without a handle.
            return story, not whole
    return _ask_for(backend, story, refund)


def _ask_for(backend: Backend, story: Story, refund: Refund) -> tuple[Story, bool]:
    payment = story.payment(refund.tx_ref)
    assert payment is not None  # noqa: S101 - a refund is born with its payment
    reference = refund.reference
    try:
        story = backend.save(story, domain.try_refund(story, reference, backend.now, backend.rules))
    except Stale:
        return backend.read(story.order.order_id), False
    try:
        handle = backend.chapa.refund(payment, refund, backend.time_left)
    except ProviderRejected:
        return _refused(backend, story, refund, "refused by the provider"), False
    except ProviderError:

        def unanswered(now_is: Story) -> Story:
            now_is = domain.refund_unanswered(now_is, reference, backend.now)
            return domain.looked(now_is, backend.now, unknown=True, rules=backend.rules)

        return backend.change(story, unanswered), True
    return backend.change(
        story, lambda s: domain.refund_accepted(s, reference, handle, backend.now)
    ), False


def _poll(backend: Backend, story: Story, refund: Refund) -> tuple[Story, bool]:
    said = backend.chapa.verify_refund(refund, backend.time_left)
    match said:
        case Said.REFUNDED | Said.REVERSED:
            return _ended(backend, story, refund, said), False
        case Said.FAILED:
            return _refused(backend, story, refund, "failed at the provider"), False
        case _:
            return story, said is Said.UNKNOWN


def _refused(backend: Backend, story: Story, refund: Refund, why: str) -> Story:
    """For a person, and perhaps because the money went back in another way: Chapa is asked."""

    def step(now_is: Story) -> Story:
        now_is = domain.refund_review(now_is, refund.reference, why, backend.now)
        return domain.doubted(now_is, refund.tx_ref)

    return backend.change(story, step)


def _ended(backend: Backend, story: Story, refund: Refund, said: Said) -> Story:
    return backend.change(
        story, lambda s: domain.refund_ended(s, refund.reference, said, backend.now)
    )
