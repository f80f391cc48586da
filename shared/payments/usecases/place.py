"""Place an order: prices from the catalogue, stock reserved by the write that makes the order."""

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

from payments.aws.items import Product, customer_list
from payments.aws.repository import Unpaid
from payments.aws.table import Stale
from payments.domain import decisions
from payments.domain.aggregate import OrderAggregate
from payments.domain.ids import new_order_id, repeatable_order_id
from payments.domain.money import MAX_AMOUNT, format_amount
from payments.domain.records import Line, Order
from payments.domain.states import OrderStatus
from payments.errors import (
    Busy,
    IdempotencyMismatch,
    InvalidRequest,
    MixedCurrency,
    OutOfStock,
    TooManyUnpaidOrders,
    UnknownSku,
)
from payments.usecases.backend import Backend

MAX_LINES = 90
"""A transaction holds 100 items: the order, its lines' stock, a payment, a refund and events."""

MAX_QUANTITY = 10_000

RECENT_ORDERS = 20
"""Of the customer, among which the order that holds missing units is searched."""


class Placing(Enum):
    NEW = "new"
    REPEATED = "repeated"
    """The same request placed it before."""


@dataclass(frozen=True)
class Placed:
    aggregate: OrderAggregate
    placing: Placing


def place(
    backend: Backend,
    user_id: str,
    items: Iterable[tuple[str, int]],
    customer: Mapping[str, str],
    idempotency_key: str | None,
) -> Placed:
    """Place an order of SKUs with quantities; repeated SKUs add up.

    With a key, the same request returns the order that it placed before. Raises InvalidRequest,
    UnknownSku, MixedCurrency, OutOfStock, TooManyUnpaidOrders, IdempotencyMismatch, CatalogueError
    or Busy.
    """
    quantities: Counter[str] = Counter()
    for sku, quantity in items:
        quantities[sku] += quantity
    if len(quantities) > MAX_LINES:
        raise InvalidRequest(f"An order has at most {MAX_LINES} different products.")
    if max(quantities.values()) > MAX_QUANTITY:
        raise InvalidRequest(f"An order has at most {MAX_QUANTITY} units of a product.")
    request = json.dumps([sorted(quantities.items()), sorted(customer.items())])
    request_hash = hashlib.sha256(request.encode()).hexdigest()

    collisions = 0
    for _ in backend.attempts():
        if idempotency_key is None:
            order_id = new_order_id(backend.random_bytes)
        else:
            order_id = repeatable_order_id(user_id, idempotency_key, collisions)
            known = backend.repository.read(order_id)
            if known is not None and known.order.user_id != user_id:
                collisions += 1
                continue
            if known is not None:
                return _repeated(known, request_hash)
        products = _products(backend, quantities)
        order = _order(backend, order_id, user_id, products, quantities, customer, request_hash)
        try:
            _check_available(products, quantities)
            unpaid = _with_unpaid(backend, order)
            return Placed(backend.save(None, decisions.place(order), unpaid), Placing.NEW)
        except Stale:
            # The same key or another order of the customer at the same moment, or a price that has
            # just changed.
            continue
        except OutOfStock as error:
            own = _own_order_with(backend, user_id, error.members["skus"])
            if own is not None:
                error.members["pending_order_id"] = own
            raise
    raise Busy("The products are being changed by too many at once.", retry_after=1)


def _repeated(known: OrderAggregate, request_hash: str) -> Placed:
    if known.order.request_hash != request_hash:
        raise IdempotencyMismatch(
            "This Idempotency-Key was used for an order with other content.",
            order_id=known.order.order_id,
        )
    return Placed(known, Placing.REPEATED)


def _products(backend: Backend, quantities: Mapping[str, int]) -> Mapping[str, Product]:
    products = backend.catalogue.products(quantities)
    unknown = sorted(set(quantities) - set(products))
    if unknown:
        raise UnknownSku("The catalogue does not have all of these products.", skus=unknown)
    currencies = sorted({product.currency for product in products.values()})
    if len(currencies) > 1:
        raise MixedCurrency(
            "One payment has one currency; place an order for each.", currencies=currencies
        )
    return products


def _check_available(products: Mapping[str, Product], quantities: Mapping[str, int]) -> None:
    """Refuse early: a transaction that is sure to fail would only delay those that are not."""
    short = sorted(
        sku
        for sku, units in quantities.items()
        if not products[sku].for_sale or products[sku].available < units
    )
    if short:
        raise OutOfStock("Some products are sold out.", skus=short)


def _with_unpaid(backend: Backend, order: Order) -> Unpaid | None:
    """The customer's unpaid orders and this one; None when there is no limit.

    Raises TooManyUnpaidOrders. Orders that are not pending any more are taken off only when the
    limit is reached, so that paying and ending an order cost no further write.
    """
    most = backend.settings.max_unpaid_orders
    if not most:
        return None
    before = pending = backend.repository.unpaid(order.user_id)
    if len(before) >= most:
        found = backend.repository.orders(before)
        still = {each.order_id for each in found if each.status is OrderStatus.PENDING}
        pending = tuple(order_id for order_id in before if order_id in still)
    if len(pending) >= most:
        raise TooManyUnpaidOrders(
            f"You have {len(pending)} unpaid orders. Pay or cancel one first.",
            pending_order_ids=list(pending),
        )
    return Unpaid(order.user_id, before, (*pending, order.order_id))


def _own_order_with(backend: Backend, user_id: str, skus: Collection[str]) -> str | None:
    """The customer's own pending order that holds some of the missing units, the newest first."""
    listed = backend.lists.listed(customer_list(user_id), RECENT_ORDERS)
    found = backend.repository.orders([entry.order_id for entry in listed])
    holding = [
        order
        for order in found
        if order.status is OrderStatus.PENDING and any(line.sku in skus for line in order.lines)
    ]
    newest = max(holding, key=lambda order: order.created_at, default=None)
    return newest.order_id if newest else None


def _order(
    backend: Backend,
    order_id: str,
    user_id: str,
    products: Mapping[str, Product],
    quantities: Mapping[str, int],
    customer: Mapping[str, str],
    request_hash: str,
) -> Order:
    lines = tuple(
        Line(sku, products[sku].name, quantity, products[sku].unit_price)
        for sku, quantity in quantities.items()
    )
    currency = next(iter(products.values())).currency
    amount = sum(line.unit_price * line.quantity for line in lines)
    if not 0 < amount <= MAX_AMOUNT:
        raise InvalidRequest(
            f"The order comes to {format_amount(amount)} {currency};"
            f" it must be more than 0 and at most {format_amount(MAX_AMOUNT)}."
        )
    now = backend.now
    return Order(
        order_id=order_id,
        user_id=user_id,
        amount=amount,
        currency=currency,
        lines=lines,
        created_at=now,
        expires_at=now + backend.rules.order_ttl,
        request_hash=request_hash,
        customer=dict(customer),
    )
