"""Remove a customer's personal data from an order that has ended; the books keep the rest."""

from dataclasses import replace
from enum import Enum

from payments.domain.aggregate import OrderAggregate
from payments.domain.states import OrderStatus, RefundStatus
from payments.usecases.backend import Backend


class Forgetting(Enum):
    DONE = "done"
    NOT_ENDED = "not ended"
    """Money or goods may still move, and the customer may have to be asked."""


def ended(aggregate: OrderAggregate) -> bool:
    """Whether nothing is open, due, or waiting for a person."""
    return (
        aggregate.order.status is not OrderStatus.PENDING
        and aggregate.order.due_at is None
        and not aggregate.in_review
        and not aggregate.open_payments
        and not aggregate.open_refunds
        and all(refund.status is not RefundStatus.REVIEW for refund in aggregate.refunds)
    )


def forget(backend: Backend, aggregate: OrderAggregate) -> Forgetting:
    """Remove who the customer is. Amounts, references and events stay. Raises Busy."""
    after = backend.change(aggregate, _without_customer)
    return Forgetting.DONE if not after.order.user_id else Forgetting.NOT_ENDED


def _without_customer(aggregate: OrderAggregate) -> OrderAggregate:
    if not ended(aggregate):
        return aggregate
    # The hash covers the customer's fields, and a telephone number can be guessed from it.
    return aggregate.put(replace(aggregate.order, user_id="", customer={}, request_hash=""))


def forget_unpaid(backend: Backend, user_id: str) -> None:
    """Delete the customer's item of unpaid orders, if all orders in it are forgotten."""
    unpaid = backend.repository.unpaid(user_id)
    if unpaid and all(order.user_id != user_id for order in backend.repository.orders(unpaid)):
        backend.repository.delete_unpaid(user_id, unpaid)
