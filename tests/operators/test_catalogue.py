import json
from pathlib import Path
from typing import Any

import pytest

from operators.catalogue_file import CatalogueFileError, Row, changes, read_file
from payments.aws.table import Stale
from sandbox.seed import CATALOGUE
from tests.operators.tool import Run
from tests.shop import Shop

HEADER = "sku,name,unit_price,currency,units,for_sale\n"
PRICE: Any = "500"  # As it stands in a file.
POT = Row(sku="POT", name="Coffee pot", unit_price=PRICE, currency="ETB", units=5)


def written(directory: Path, text: str, suffix: str = ".csv") -> Path:
    path = directory / f"catalogue{suffix}"
    path.write_text(text)
    return path


def test_file_is_loaded_again_without_change_and_never_touches_stock(
    shop: Shop, run: Run, tmp_path: Path
) -> None:
    path = written(tmp_path, f"{HEADER}POT,Coffee pot,500.00,ETB,5,\nMUG,Mug,160.00,ETB,99,no\n")
    loaded = run("catalogue", "load", path, "--json")
    shop.units["POT"] = 5
    assert (loaded.code, loaded.data["written"], loaded.data["same"]) == (0, True, 0)
    assert loaded.data["changed"] == [
        {
            "sku": "POT",
            "change": "new: name Coffee pot, price 500.00 ETB, stocked 5, for_sale True",
        },
        {"sku": "MUG", "change": "price 150.50 ETB -> 160.00 ETB, for_sale True -> False"},
    ]
    shop.order({"POT": 2})
    before = shop.dump()
    again = run("catalogue", "load", path, "--json")
    assert (again.data["written"], again.data["changed"], again.data["same"]) == (False, [], 2)
    assert shop.dump() == before
    listed = {row["sku"]: row for row in run("catalogue", "list", "--json").data}
    assert (listed["POT"]["available"], listed["POT"]["stocked"]) == (3, 5)
    assert (listed["MUG"]["stocked"], listed["MUG"]["for_sale"]) == (2, False)
    assert {"LAST", "COFFEE-250"} < listed.keys()


def test_nothing_is_written_without_a_yes_or_in_a_dry_run(
    shop: Shop, run: Run, tmp_path: Path
) -> None:
    path = written(tmp_path, f"{HEADER}MUG,Mug,160.00,ETB,99,no\n")
    before = shop.dump()
    asked = run("catalogue", "load", path, yes=False)
    assert (asked.code, "1 of 1 products will be written." in asked.err) == (1, True)
    dry = run("catalogue", "load", path, "--dry-run", "--json")
    assert (dry.code, len(dry.data["changed"]), dry.data["written"]) == (0, 1, False)
    assert shop.dump() == before


WRONG = [
    ("POT,,500.00,ETB,5,", "line 2 (POT): name: String should have at least 1 character"),
    ("POT,Pot,500.005,ETB,5,", "line 2 (POT): unit_price is not a price like 150.50"),
    ("POT,Pot,0,ETB,5,", "line 2 (POT): unit_price is not a price like 150.50"),
    ("POT,Pot,1,EUR,5,", "line 2 (POT): currency:"),
    ("POT,Pot,1,ETB,-5,", "line 2 (POT): units:"),
    ("POT,Pot,1,ETB,5,maybe", "line 2 (POT): for_sale:"),
    ("A#B,Pot,1,ETB,5,", "line 2 (A#B): sku:"),
    ("POT,Pot,1,ETB,5,yes,more", "line 2 (POT): ?:"),
    ("POT,Pot,1,ETB,5,\nPOT,Pot,2,ETB,5,", "POT is there 2 times."),
    ("", "has no products."),
]


def test_wrong_file_is_refused_as_a_whole(
    shop: Shop, run: Run, tmp_path: Path, subtests: pytest.Subtests
) -> None:
    before = shop.dump()
    for line, reason in WRONG:
        with subtests.test(line):
            path = written(tmp_path, f"{HEADER}MUG,Mug,1.00,ETB,1,\n{line}" if line else HEADER)
            refused = run("catalogue", "load", path)
            assert (refused.code, refused.out) == (1, "")
            assert reason.replace("line 2", "line 3") in refused.err
            assert "Nothing was written." in refused.err
    assert run("catalogue", "load", tmp_path / "none.csv").code == 1
    assert shop.dump() == before


@pytest.mark.parametrize("text", ["", "{}", "[1]", "[" * 100_000, '[{"sku": "A"}]', "sku,name"])
def test_file_that_is_no_list_of_products_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(CatalogueFileError):
        read_file(written(tmp_path, text, ".json"))


def test_binary_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "shop.csv"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CatalogueFileError, match="not UTF-8"):
        read_file(path)


def test_both_formats_say_the_same(tmp_path: Path) -> None:
    values: dict[str, Any] = {"sku": "POT", "name": "Coffee pot", "unit_price": "500.00"}
    values |= {"currency": "ETB", "units": 5}
    as_json = read_file(written(tmp_path, json.dumps([values]), ".json"))
    # As a spreadsheet saves it.
    as_csv = read_file(written(tmp_path, f"\ufeff{HEADER}POT,Coffee pot,500.00,ETB,5,\r\n"))
    assert as_csv == as_json == [POT]
    assert len(read_file(CATALOGUE)) == 7


def test_product_that_was_changed_meanwhile_is_not_overwritten(
    shop: Shop, run: Run, tmp_path: Path
) -> None:
    catalogue = shop.backend.catalogue
    mug = POT.model_copy(update={"sku": "MUG"})
    [planned], [new] = changes(catalogue, [mug]), changes(catalogue, [POT])
    catalogue.set_product("MUG", unit_price=1)
    catalogue.write_product(new.before, new.after)
    shop.units["POT"] = 5
    for change in (planned, new):
        with pytest.raises(Stale):
            catalogue.write_product(change.before, change.after)
    path = written(tmp_path, f"{HEADER}MUG,Mug,160.00,ETB,99,no\n")
    shop.before_aws("UpdateItem", lambda: catalogue.set_product("MUG", unit_price=2))
    refused = run("catalogue", "load", path)
    assert (refused.code, "MUG was changed by somebody else" in refused.err) == (1, True)
    assert catalogue.products(["MUG"])["MUG"].unit_price == 2
