"""Cancel an order that its customer does not want: the way of expiry, only sooner."""

from payments import domain
from payments.backend import Backend
from payments.errors import OrderInReview, OrderPaid
from payments.reconcile import close
from payments.repository import Stale
from payments.settle import defer
from payments.states import OrderStatus
from payments.story import Story


def cancel(backend: Backend, order_id: str, user_id: str) -> tuple[Story, bool]:
    """The order, and whether it has ended; if not, the worker finishes the job.

    Raises OrderNotFound, OrderInReview, or OrderPaid: a payment that turns out to be paid wins.
    """
    story = backend.change(
        backend.read_owned(order_id, user_id),
        lambda s: domain.end(domain.cancel(s), backend.now),
    )
    doomed = domain.to_close(story, backend.now)
    if doomed:
        try:
            story, _ = close(backend, story, doomed, "the order was cancelled")
        except Stale:
            story = backend.read(order_id)
    if story.order.status in {OrderStatus.PAID, OrderStatus.REFUNDED}:
        raise OrderPaid("The order was paid before it could be cancelled.", order_id=order_id)
    if story.in_review:
        raise OrderInReview("A person has to look at a payment of it first.", order_id=order_id)
    if story.order.status is OrderStatus.PENDING:
        defer(backend, story, backend.settings.verify_every_seconds)
        return story, False
    return story, True
