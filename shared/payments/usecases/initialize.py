"""Open a payment of an order, or hand out the page of the active one."""

from dataclasses import dataclass
from enum import Enum

from payments.aws.table import Stale
from payments.domain import decisions
from payments.domain.aggregate import OrderAggregate
from payments.domain.ids import new_tx_ref
from payments.domain.records import Payment
from payments.domain.states import OPEN, OrderStatus, PaymentStatus
from payments.errors import (
    ConfigurationError,
    OrderEmpty,
    OrderNotPayable,
    PaymentInProgress,
    ProviderError,
    ProviderRejected,
    ProviderUnavailable,
    Unavailable,
)
from payments.telemetry import count, decided
from payments.usecases.backend import Backend
from payments.usecases.reconcile import close

POLL_SECONDS = 0.2

MAX_ATTEMPTS = 20
"""Payments of one order: each is checked again later, so their number is bounded."""

RETRY_SECONDS = 5
"""What a client is asked to wait while a payment whose page was lost is in the way."""

MAX_RETRY_SECONDS = 120
"""What a client is asked to wait at most; with it all attempts together last for half an hour."""


class Page(Enum):
    """Where the checkout page comes from."""

    NEW = "new"
    REPEATED = "repeated"


@dataclass(frozen=True)
class Checkout:
    aggregate: OrderAggregate
    payment: Payment
    page: Page


def initialize(backend: Backend, order_id: str, user_id: str) -> Checkout:
    """The order's active payment, with its checkout URL.

    Raises OrderNotFound, OrderEmpty, OrderNotPayable, PaymentInProgress, Busy, Unavailable,
    ConfigurationError or a ProviderError.
    """
    tx_ref = new_tx_ref(order_id, backend.random_bytes)
    wait_until = backend.monotonic() + backend.settings.wait_seconds
    for _ in backend.attempts():
        aggregate = _when_free(backend, order_id, user_id, wait_until)
        active = aggregate.active_payment
        try:
            if active is None:
                return _begin(backend, aggregate, tx_ref)
            if decisions.page_is_usable(active, backend.now):
                return Checkout(aggregate, active, Page.REPEATED)
            aggregate = close(backend, aggregate, [active], "replaced by another attempt")
        except Stale:
            continue
        left = aggregate.active_payment
        if left is not None and left.tx_ref == active.tx_ref and left.status in OPEN:
            # It is neither closed nor known to be unpaid.
            raise ProviderUnavailable(
                "an earlier attempt could not be closed",
                order_id=order_id,
                retry_after=RETRY_SECONDS,
            )
    raise AssertionError("unreachable")


def _when_free(backend: Backend, order_id: str, user_id: str, wait_until: float) -> OrderAggregate:
    """The order, once no other call opens or closes its active payment: that page is ours, too."""
    while True:
        aggregate = backend.read_owned(order_id, user_id)
        _check_payable(aggregate, backend.now)
        active = aggregate.active_payment
        if active is None or active.lease_until <= backend.now:
            return aggregate
        if backend.monotonic() >= wait_until or backend.time_left <= 0:
            raise PaymentInProgress(
                "Another request is opening a payment for this order. Ask again for the same order;"
                " do not place another.",
                order_id=order_id,
                retry_after=max(1, min(RETRY_SECONDS, active.lease_until - backend.now)),
            )
        backend.sleep(POLL_SECONDS)


def _check_payable(aggregate: OrderAggregate, now: int) -> None:
    order = aggregate.order
    if not order.lines:
        raise OrderEmpty("The order has nothing to pay for.", order_id=order.order_id)
    if decisions.payable(aggregate, now):
        return
    if order.status is not OrderStatus.PENDING:
        why = f"is {order.status.value}"
    elif aggregate.in_review:
        why = "is in manual review"
    else:
        why = "is being cancelled" if order.cancelling else "is past its time"
    raise OrderNotPayable(
        f"The order {why}.", order_id=order.order_id, order_status=order.status.value
    )


def _begin(backend: Backend, aggregate: OrderAggregate, tx_ref: str) -> Checkout:
    """Write the payment ahead, then open it. Raises Stale, before any call, after a lost race."""
    order = aggregate.order
    if len(aggregate.payments) >= MAX_ATTEMPTS:
        raise OrderNotPayable(
            "Too many payments of this order were begun. Place another order.",
            order_id=order.order_id,
            order_status=order.status.value,
        )
    provider = backend.current_provider()
    aggregate = backend.save(
        aggregate,
        decisions.begin(
            aggregate,
            tx_ref,
            provider.name,
            backend.now,
            backend.rules,
            can_cancel=provider.can_cancel,
        ),
    )
    try:
        opened = provider.open(order, aggregate.known_payment(tx_ref), backend.time_left)
    except ProviderError as error:
        _release(backend, aggregate, tx_ref, error.reason, acted=error.may_have_acted)
        error.members["order_id"] = order.order_id
        if not isinstance(error, ProviderRejected):
            # What was refused once is refused again. Other errors may last: each attempt counts,
            # so a client that asked every few seconds would use up all of them in two minutes.
            pause = RETRY_SECONDS * 2 ** (len(aggregate.payments) - 1)
            error.retry_after = min(pause, MAX_RETRY_SECONDS)
        raise
    except (ConfigurationError, Unavailable) as error:
        _release(backend, aggregate, tx_ref, str(error), acted=False)
        raise
    except Exception:
        _release(backend, aggregate, tx_ref, "an error of ours", acted=True)
        raise
    page_expires_at = opened.page_expires_at or 0
    if page_expires_at <= backend.now:  # Not said, or by another clock.
        page_expires_at = backend.now + backend.rules.link
    aggregate = backend.change(
        aggregate,
        lambda current: decisions.opened(
            current,
            tx_ref,
            opened.checkout_url,
            backend.now,
            page_expires_at,
            opened.provider_reference,
        ),
    )
    payment = aggregate.known_payment(tx_ref)
    count("PaymentOpened")
    decided(
        "open",
        "opened",
        before=PaymentStatus.INITIALIZING,
        after=payment.status,
        order_id=order.order_id,
        tx_ref=tx_ref,
    )
    if payment.status is not PaymentStatus.PENDING:
        # It took so long that another process settled or closed it: its page is not handed out.
        raise PaymentInProgress(
            "The payment was closed while it was being opened. Ask again.",
            order_id=order.order_id,
            retry_after=1,
        )
    return Checkout(aggregate, payment, Page.NEW)


def _release(
    backend: Backend, aggregate: OrderAggregate, tx_ref: str, reason: str, *, acted: bool
) -> None:
    """End the lease at once: the next request may begin another payment."""
    step = decisions.maybe_opened if acted else decisions.never_opened
    released = backend.change(aggregate, lambda current: step(current, tx_ref, reason, backend.now))
    count("PaymentNotOpened")
    decided(
        "open",
        "unanswered" if acted else "not_opened",
        before=PaymentStatus.INITIALIZING,
        after=released.known_payment(tx_ref).status,
        order_id=aggregate.order.order_id,
        tx_ref=tx_ref,
        reason=reason,
    )
