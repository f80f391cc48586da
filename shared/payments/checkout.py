"""Place an order: prices from the catalogue, stock reserved by the write that makes the order."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping

from payments import domain
from payments.backend import STALE_TRIES, Backend
from payments.errors import Busy, IdempotencyMismatch, InvalidRequest, MixedCurrency, UnknownSku
from payments.ids import new_order_id, repeatable_order_id
from payments.money import MAX_AMOUNT, format_amount
from payments.repository import Stale
from payments.story import Line, Order, Story

MAX_LINES = 90
"""A transaction holds 100 items: the order, its lines' stock, a payment, a refund and events."""

MAX_QUANTITY = 10_000


def place(
    backend: Backend,
    user_id: str,
    items: Iterable[tuple[str, int]],
    customer: Mapping[str, str],
    idempotency_key: str | None,
) -> tuple[Story, bool]:
    """The order and whether this call made it. `items` are SKUs with quantities; repeats add up.

    With a key, the same request finds the order that it made before. Raises InvalidRequest,
    UnknownSku, MixedCurrency, OutOfStock, IdempotencyMismatch or Busy.
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
    order_id = new_order_id(backend.random_bytes)
    if idempotency_key is not None:
        order_id = repeatable_order_id(user_id, idempotency_key)

    for _ in range(STALE_TRIES):
        known = backend.repository.read(order_id) if idempotency_key is not None else None
        if known is not None:
            if known.order.user_id != user_id or known.order.request_hash != request_hash:
                raise IdempotencyMismatch(
                    "This Idempotency-Key was used for an order with other content.",
                    order_id=order_id,
                )
            return known, False
        lines, currency = _priced(backend, quantities)
        amount = sum(line.unit_price * line.quantity for line in lines)
        if not 0 < amount <= MAX_AMOUNT:
            raise InvalidRequest(
                f"The order comes to {format_amount(amount)} {currency};"
                f" it must be more than 0 and at most {format_amount(MAX_AMOUNT)}."
            )
        now = backend.now
        order = Order(
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
        try:
            return backend.save(None, domain.place(order)), True
        except Stale:
            continue  # The same key at the same moment, or a price that has just changed.
    raise Busy("The products are being changed by too many at once.", retry_after=1)


def _priced(backend: Backend, quantities: Mapping[str, int]) -> tuple[tuple[Line, ...], str]:
    products = backend.repository.products(quantities)
    unknown = sorted(set(quantities) - set(products))
    if unknown:
        raise UnknownSku("The catalogue does not have all of these products.", skus=unknown)
    currencies = {product.currency for product in products.values()}
    if len(currencies) > 1:
        raise MixedCurrency(
            "One payment has one currency; place an order for each.",
            currencies=sorted(currencies),
        )
    lines = tuple(
        Line(sku, products[sku].name, quantity, products[sku].unit_price)
        for sku, quantity in quantities.items()
    )
    return lines, currencies.pop()
