"""Begin a payment of an order, or hand out the one that is live."""

from payments import domain
from payments.backend import STALE_TRIES, Backend
from payments.errors import (
    Busy,
    OrderEmpty,
    OrderNotPayable,
    PaymentInProgress,
    ProviderError,
    ProviderRejected,
    ProviderUnavailable,
)
from payments.ids import new_tx_ref
from payments.reconcile import close
from payments.repository import Stale
from payments.states import OrderStatus, PaymentStatus
from payments.story import Payment, Story

POLL_SECONDS = 0.2

MAX_ATTEMPTS = 20
"""Payments of one order: each is looked at again later, so nobody may begin them without end."""

SHUTTING_SECONDS = 5
"""What a client is asked to wait while a payment whose URL was lost is in the way."""

LONGEST_PAUSE_SECONDS = 120
"""What a client is asked to wait at most; with it all attempts together last for half an hour."""


def initialize(backend: Backend, order_id: str, user_id: str) -> tuple[Story, Payment, bool]:
    """The order's live payment, with its checkout URL, and whether this call began it.

    Raises OrderNotFound, OrderEmpty, OrderNotPayable, PaymentInProgress, Busy or a ProviderError.
    """
    tx_ref = new_tx_ref(order_id, backend.random_bytes)
    patience = backend.monotonic() + backend.settings.wait_seconds
    lost_races = 0
    while lost_races < STALE_TRIES:
        story = backend.read_owned(order_id, user_id)
        _check_payable(story, backend.now)
        live = story.live
        try:
            if live is None:
                if len(story.payments) >= MAX_ATTEMPTS:
                    raise OrderNotPayable(
                        "Too many payments of this order were begun. Place another order.",
                        order_id=order_id,
                        order_status=str(story.order.status),
                    )
                story = backend.save(story, domain.begin(story, tx_ref, backend.now, backend.rules))
                return _open(backend, story, tx_ref)
            if live.status is PaymentStatus.PENDING:
                return story, live, False
            if live.lease_until > backend.now:
                _wait_for_other(backend, live, order_id, patience)
                continue
            story, closed = close(backend, story, [live], "replaced by another attempt")
        except Stale:
            lost_races += 1
            continue
        if not closed:
            raise ProviderUnavailable(
                "an earlier attempt could not be closed",
                order_id=order_id,
                retry_after=SHUTTING_SECONDS,
            )
    raise Busy("The order is being changed by too many at once.", retry_after=1)


def _wait_for_other(backend: Backend, live: Payment, order_id: str, patience: float) -> None:
    """Another call is opening or closing it: its answer is ours too, if it comes soon."""
    if backend.monotonic() >= patience or backend.time_left <= 0:
        raise PaymentInProgress(
            "Another request is opening a payment for this order. Ask again for the same order;"
            " do not place another.",
            order_id=order_id,
            retry_after=max(1, min(SHUTTING_SECONDS, live.lease_until - backend.now)),
        )
    backend.sleep(POLL_SECONDS)


def _check_payable(story: Story, now: int) -> None:
    order = story.order
    if not order.lines:
        raise OrderEmpty("The order has nothing to pay for.", order_id=order.order_id)
    if not domain.payable(story, now):
        status = order.status
        if status is not OrderStatus.PENDING:
            why = f"is {status}"
        elif story.in_review:
            why = "is being checked by a person"
        else:
            why = "is being cancelled" if order.cancelling else "is past its time"
        raise OrderNotPayable(
            f"The order {why}.", order_id=order.order_id, order_status=str(status)
        )


def _open(backend: Backend, story: Story, tx_ref: str) -> tuple[Story, Payment, bool]:
    payment = story.payment(tx_ref)
    assert payment is not None  # noqa: S101 - it was written a moment ago
    try:
        checkout_url = backend.chapa.initialize(story.order, payment, backend.time_left)
    except ProviderError as error:
        step = domain.lost if error.may_have_acted else domain.never_opened
        reason = error.reason
        backend.change(story, lambda s: step(s, tx_ref, reason, backend.now))
        error.members["order_id"] = story.order.order_id
        if not isinstance(error, ProviderRejected):
            # What was refused once is refused again. What was not may last: each attempt counts, so
            # a client that asked every few seconds would have used up all of them in two minutes.
            pause = SHUTTING_SECONDS * 2 ** (len(story.payments) - 1)
            error.retry_after = min(pause, LONGEST_PAUSE_SECONDS)
        raise
    story = backend.change(story, lambda s: domain.opened(s, tx_ref, checkout_url, backend.now))
    payment = story.payment(tx_ref)
    if payment is None or payment.status is not PaymentStatus.PENDING:
        # It took so long that somebody settled or closed it: the URL must not be handed out.
        raise PaymentInProgress(
            "The payment was closed while it was being opened. Ask again.",
            order_id=story.order.order_id,
            retry_after=1,
        )
    return story, payment, True
