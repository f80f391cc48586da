from typing import Any

import pytest

from payments.aws.items import (
    Product,
)
from payments.domain.records import Line
from payments.errors import CatalogueError, OutOfStock, UnknownSku
from tests.payments.aws.orders import (
    PRODUCT,
    Store,
    failing,
    overwrite,
    placed,
    refused,
)

pytestmark = pytest.mark.corrupts  # Its orders have no payment at Chapa.

BROKEN: dict[str, list[Any]] = {
    "name": [None, "", 5],
    "unit_price": [None, 0, -1, "15050", True],
    "currency": [None, "EUR", 5],
    "stocked": [None, "2"],
    "available": [None, "2", True],
    "for_sale": [None, "yes"],
}
BROKEN_FIELDS = [(name, value) for name, values in BROKEN.items() for value in values]
CHECKED_BY_TRANSACTION = {"unit_price", "currency", "available", "for_sale"}


def test_only_known_products_are_found(store: Store) -> None:
    assert store.products(["MUG", "NOTHING"]) == {"MUG": PRODUCT}
    assert store.products([]) == {}


@pytest.mark.parametrize(("field", "value"), BROKEN_FIELDS)
def test_wrong_field_of_a_product_is_named(store: Store, field: str, value: object) -> None:
    overwrite(store, "STOCK#MUG", "STOCK", field, value)
    for act in (
        lambda: store.products(["MUG"]),
        lambda: placed(store, lines=(Line("MUG", "Mug", 1, 15_050),)),
    ):
        with refused(store, CatalogueError) as raised:
            act()
        assert raised.match(f"MUG: `{field}`")
        assert raised.value.members["sku"] == "MUG"
        if field not in CHECKED_BY_TRANSACTION:
            break


def test_product_is_made_changed_and_restocked(store: Store) -> None:
    tea = store.set_product("TEA", name="Tea", unit_price=900, currency="ETB", add=5)
    assert tea == Product("TEA", "Tea", 900, "ETB", stocked=5, available=5, for_sale=True)
    placed(store, lines=(Line("TEA", "Tea", 2, 900),))
    tea = store.set_product("TEA", unit_price=950, for_sale=False, add=1)
    assert tea == Product("TEA", "Tea", 950, "ETB", stocked=6, available=4, for_sale=False)
    # Made again it keeps its units.
    tea = store.set_product("TEA", name="Green tea", unit_price=1, currency="USD")
    assert tea == Product("TEA", "Green tea", 1, "USD", stocked=6, available=4, for_sale=False)
    assert store.products(["TEA"]) == {"TEA": tea}


def test_no_more_units_are_removed_than_are_available(store: Store) -> None:
    placed(store)
    with refused(store, OutOfStock) as raised:
        store.set_product("COFFEE-250", add=-9)
    assert raised.value.members["skus"] == ["COFFEE-250"]
    emptied = store.set_product("COFFEE-250", add=-8)
    assert (emptied.stocked, emptied.available) == (2, 0)


@pytest.mark.parametrize(
    "values", [{}, {"name": "Tea", "unit_price": 1}, {"for_sale": True, "add": 5}]
)
def test_unknown_product_is_not_made_by_half(store: Store, values: dict[str, Any]) -> None:
    with refused(store, UnknownSku) as raised:
        store.set_product("TEA", **values)
    assert raised.value.members["skus"] == ["TEA"]


@pytest.mark.parametrize("values", [{"name": ""}, {"unit_price": 0}, {"currency": "EUR"}], ids=str)
def test_wrong_value_is_refused_before_it_is_stored(store: Store, values: dict[str, Any]) -> None:
    with refused(store, CatalogueError) as raised:
        store.set_product("MUG", **values)
    assert raised.match(f"MUG: `{next(iter(values))}`")
    with refused(store, CatalogueError):
        given: dict[str, Any] = {"name": "Tea", "unit_price": 1, "currency": "ETB"}
        store.set_product("TEA", **given | values)


@pytest.mark.parametrize("counter", ["stocked", "available"])
@pytest.mark.parametrize("value", [None, "2"])
def test_units_cannot_be_added_to_a_wrong_counter(
    store: Store, counter: str, value: object
) -> None:
    overwrite(store, "STOCK#MUG", "STOCK", counter, value)
    with refused(store, CatalogueError) as raised:
        store.set_product("MUG", add=1)
    assert raised.match(f"MUG: `{counter}`")


def test_product_is_changed_once_while_its_units_are_sold(store: Store) -> None:
    with failing(store, ["TransactionConflict"]) as calls:
        restocked = store.set_product("MUG", add=1)
    assert (len(calls), restocked.available) == (2, 3)


def test_wrong_price_is_corrected(store: Store) -> None:
    overwrite(store, "STOCK#MUG", "STOCK", "unit_price", "free")
    assert store.set_product("MUG", unit_price=15_050) == PRODUCT
