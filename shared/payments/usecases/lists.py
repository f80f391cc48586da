"""The lists that a front end shows: a customer's own orders, and the catalogue, page by page."""

from dataclasses import dataclass

from payments.aws.items import (
    CATALOGUE_LIST,
    Product,
    customer_list,
    position_of,
    position_of_product,
    product_in,
)
from payments.domain.ids import is_order_id
from payments.domain.records import Order
from payments.errors import CatalogueError, InvalidRequest
from payments.telemetry import logger
from payments.usecases.backend import Backend

MAX_CURSOR = 200
"""Characters. A sort key has at most 1,024 bytes."""

BAD_CURSOR = "The cursor is not one of this list. Begin without a cursor."


@dataclass(frozen=True)
class Page[T]:
    entries: list[T]
    next: str | None
    """The cursor of the next page; None after the last one."""


def orders_of(backend: Backend, user_id: str, limit: int, cursor: str | None) -> Page[Order]:
    """The customer's orders, newest first. An order of this second may be missing yet.

    Raises InvalidRequest for a cursor that is not an order of this customer, or Busy.
    """
    after = None
    if cursor is not None:
        # The id of the last order that was shown. It is only a position in the customer's own list.
        found = backend.repository.orders([cursor]) if is_order_id(cursor) else []
        if not found or found[0].user_id != user_id:
            raise InvalidRequest(BAD_CURSOR)
        after = position_of(found[0])
    listed = backend.lists.listed(customer_list(user_id), limit + 1, after=after)
    ids = [entry.order_id for entry in listed]
    found = backend.repository.orders(ids[:limit])
    orders = sorted(found, key=lambda order: ids.index(order.order_id))
    return Page(orders, ids[limit - 1] if len(ids) > limit else None)


def products(backend: Backend, limit: int, cursor: str | None) -> Page[Product]:
    """The catalogue by SKU. A product that is not stored as it should be is left out and logged.

    Raises InvalidRequest for a cursor that can be no SKU, or Busy.
    """
    after = None
    if cursor is not None:
        if not (0 < len(cursor) <= MAX_CURSOR and cursor.isprintable()):
            raise InvalidRequest(BAD_CURSOR)
        after = position_of_product(cursor)
    listed = backend.lists.listed(
        CATALOGUE_LIST,
        limit + 1,
        after=after,
        newest_first=False,
    )
    skus = [entry.order_id for entry in listed]
    found = []
    for item in backend.catalogue.product_items(skus[:limit]):
        try:
            found.append(product_in(item))
        except CatalogueError as error:
            logger.error("product left out", detail=error.detail)
    found.sort(key=lambda product: product.sku)
    return Page(found, skus[limit - 1] if len(skus) > limit else None)
