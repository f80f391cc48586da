"""Cancel an order: the same steps as expiry, run now."""

from payments.aws.table import Stale
from payments.domain import decisions
from payments.domain.aggregate import OrderAggregate
from payments.domain.states import OrderStatus
from payments.errors import OrderInReview, OrderPaid
from payments.telemetry import decided
from payments.usecases.backend import Backend
from payments.usecases.reconcile import close
from payments.usecases.settle import defer


def cancel(backend: Backend, order_id: str, user_id: str) -> OrderAggregate:
    """The order: ended, or still pending and then the worker finishes.

    Raises OrderNotFound, OrderInReview, or OrderPaid: a payment that turns out to be paid wins.
    """
    aggregate = backend.change(
        backend.read_owned(order_id, user_id),
        lambda current: decisions.end(decisions.cancel(current), backend.now),
    )
    open_ones = decisions.to_close(aggregate, backend.now, backend.rules)
    if open_ones:
        try:
            aggregate = close(backend, aggregate, open_ones, "the order was cancelled")
        except Stale:
            aggregate = backend.read(order_id)
    status = aggregate.order.status
    decided("cancel", status.value, before=OrderStatus.PENDING, after=status, order_id=order_id)
    if aggregate.order.status in {OrderStatus.PAID, OrderStatus.REFUNDED}:
        raise OrderPaid("The order was paid before it could be cancelled.", order_id=order_id)
    if aggregate.in_review:
        raise OrderInReview("A payment of the order is in manual review.", order_id=order_id)
    if aggregate.order.status is OrderStatus.PENDING:
        defer(backend, aggregate, None, backend.rules.verify_every)
    return aggregate
