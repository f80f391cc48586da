"""Products and their stock.

A product's `available` units change in transactions with the orders that take and return them; see
`repository`.
"""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from payments.aws.items import (
    CATALOGUE_LIST,
    EMPTY_PRODUCT,
    Product,
    plain,
    product_in,
    serialized,
    stock_key,
)
from payments.aws.table import Stale, Table
from payments.errors import OutOfStock, UnknownSku


class Catalogue(Table):
    def products(self, skus: Iterable[str]) -> dict[str, Product]:
        """Those of the SKUs that the catalogue has. Raises CatalogueError or Busy."""
        keys = [stock_key(sku) for sku in skus]
        products = (product_in(item) for item in self._batch_get(keys))
        return {product.sku: product for product in products}

    def product_items(self, skus: Iterable[str]) -> Iterator[dict[str, Any]]:
        """Products as they are stored, which may be wrong. Eventually consistent. Raises Busy."""
        yield from self._batch_get([stock_key(sku) for sku in skus], consistent=False)

    def set_product(
        self,
        sku: str,
        *,
        name: str | None = None,
        unit_price: int | None = None,
        currency: str | None = None,
        for_sale: bool | None = None,
        add: int = 0,
    ) -> Product:
        """Change a product, or make it when its name, price and currency are given.

        Raises UnknownSku, OutOfStock when fewer units are available than are to be removed,
        CatalogueError when a value is wrong, or a counter is that is stored, or Busy.
        """
        given = {
            "name": name,
            "unit_price": unit_price,
            "currency": currency,
            "for_sale": for_sale,
        }
        values = {key: value for key, value in given.items() if value is not None}
        changes = {"sku": sku, "list_key": CATALOGUE_LIST, "list_at": sku} | values
        key = stock_key(sku)
        product_in(plain(key) | EMPTY_PRODUCT | values)  # Before anything is written.
        if None not in (name, unit_price, currency):
            with suppress(self._client.exceptions.ConditionalCheckFailedException):
                self._client.put_item(**self._put(key, EMPTY_PRODUCT | changes)["Put"])
        sets = ", ".join(f"#{field} = :{field}" for field in changes)
        values_given = {f":{field}": value for field, value in changes.items()}
        values_given |= {":add": add, ":taken": max(0, -add), ":number": "N"}
        update = {
            "TableName": self._table,
            "Key": key,
            "UpdateExpression": f"SET {sets} ADD stocked :add, available :add",
            "ConditionExpression": "attribute_type(stocked, :number)"
            " AND attribute_type(available, :number) AND available >= :taken",
            "ExpressionAttributeNames": {f"#{field}": field for field in changes},
            "ExpressionAttributeValues": serialized(values_given),
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }
        try:
            # Unlike a single update, a transaction whose answer was lost is not applied twice.
            self._transact([{"Update": update}])
        except OutOfStock:
            if self.products([sku]):
                raise OutOfStock("So many units are not available.", skus=[sku]) from None
            raise UnknownSku(
                "The catalogue has no such product. Give --name and --price to add it.", skus=[sku]
            ) from None
        return self.products([sku])[sku]

    def write_product(self, before: Product | None, after: Product) -> None:
        """Make a product, or change what is not stock of one that is still as it was read.

        Raises Stale when it is not.
        """
        key = stock_key(after.sku)
        shown = {"sku": after.sku, "list_key": CATALOGUE_LIST, "list_at": after.sku}
        if before is None:
            try:
                self._client.put_item(**self._put(key, asdict(after) | shown)["Put"])
            except self._client.exceptions.ConditionalCheckFailedException:
                raise Stale from None
            return
        known = {name: [value] for name, value in _not_stock(before).items()}
        update = self._update(key, {}, _not_stock(after) | shown, known)["Update"]
        del update["TableName"], update["Key"]
        if not self._update_if(key, **update):
            raise Stale


def _not_stock(product: Product) -> dict[str, Any]:
    """What changes without a change of stock."""
    return {
        "name": product.name,
        "unit_price": product.unit_price,
        "currency": product.currency,
        "for_sale": product.for_sale,
    }
