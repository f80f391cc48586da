"""A catalogue in a file, checked as a whole before anything of it is written.

A CSV file has a header, a JSON file a list of objects, with the same names:

    sku, name, unit_price, currency    what the product is; all are needed
    units                              units that are put in of a new product; 0 if missing
    for_sale                           yes or no; without it a product that exists stays as it is
"""

import csv
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationError,
)

from payments.aws.catalogue import Catalogue
from payments.aws.items import Product
from payments.domain.money import MAX_AMOUNT, parse_amount

MAX_UNITS = 1_000_000_000


class CatalogueFileError(Exception):
    """The file cannot be used; `sentences` says why, one for each thing that is wrong."""

    def __init__(self, sentences: Sequence[str]) -> None:
        super().__init__(*sentences)
        self.sentences = list(sentences)


def _price(value: object) -> int:
    amount = parse_amount(value)
    if amount is None or not 0 < amount <= MAX_AMOUNT:
        raise ValueError("is not a price like 150.50")
    return amount


def _yes_or_no(value: object) -> object:
    return {"yes": True, "true": True, "no": False, "false": False, "": None}.get(
        str(value).strip().lower(), value
    )


def _count(value: object) -> object:
    # Text, from a CSV file.
    if isinstance(value, str):
        return int(value) if value.strip().isdecimal() else (0 if not value.strip() else value)
    return value


class Row(BaseModel):
    """A product as the file has it."""

    model_config = ConfigDict(extra="forbid", strict=True)

    sku: str = Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")
    name: str = Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")
    unit_price: Annotated[int, PlainValidator(_price)]
    currency: Literal["ETB", "USD"]
    units: Annotated[int, BeforeValidator(_count), Field(ge=0, le=MAX_UNITS)] = 0
    for_sale: Annotated[bool | None, BeforeValidator(_yes_or_no)] = None


@dataclass(frozen=True)
class Change:
    """What a file does to one product; `before` is None for a new one."""

    before: Product | None
    after: Product


def read_file(path: Path) -> list[Row]:
    """Raises CatalogueFileError."""
    try:
        text = path.read_text("utf-8-sig")
    except UnicodeDecodeError:
        raise CatalogueFileError([f"{path} is not UTF-8 text."]) from None
    except OSError as error:
        raise CatalogueFileError([f"{path} cannot be read: {error.strerror}."]) from None
    raw = list(_csv(text) if path.suffix.lower() == ".csv" else _json(text, path))
    rows: list[Row] = []
    wrong: list[str] = []
    for number, (where, values) in enumerate(raw, 1):
        try:
            rows.append(Row.model_validate(values))
        except ValidationError as error:
            sku = values.get("sku") if isinstance(values, Mapping) else None
            name = f"{where or f'product {number}'}{f' ({sku})' if sku else ''}"
            wrong += [f"{name}: {_reason(each)}" for each in error.errors()]
    if not raw:
        wrong.append(f"{path} has no products.")
    counted = Counter(row.sku for row in rows)
    wrong += [f"{sku} is there {times} times." for sku, times in counted.items() if times > 1]
    if wrong:
        raise CatalogueFileError(wrong)
    return rows


def _csv(text: str) -> Iterator[tuple[str, Any]]:
    reader = csv.DictReader(StringIO(text, newline=""), skipinitialspace=True)
    try:
        for values in reader:
            # Cells beyond the header have the name None.
            named = {str(name or "?"): value for name, value in values.items() if value is not None}
            yield f"line {reader.line_num}", named
    except csv.Error as error:
        raise CatalogueFileError([f"line {reader.line_num}: {error}."]) from None


def _json(text: str, path: Path) -> Iterator[tuple[str, Any]]:
    try:
        found = json.loads(text, parse_float=Decimal)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, list):
        raise CatalogueFileError(
            [f"{path} is neither a CSV file (its name ends in .csv) nor a JSON list of products."]
        )
    yield from (("", values) for values in found)


def wrong_in(values: Mapping[str, Any]) -> list[str]:
    """What is wrong with some values of a product."""
    try:
        Row.model_validate(values)
    except ValidationError as error:
        return [_reason(each) for each in error.errors() if each["type"] != "missing"]
    return []


def _reason(error: Any) -> str:
    field = ".".join(map(str, error["loc"])) or "it"
    message = str(error["msg"]).removeprefix("Value error, ")
    return f"{field} {message}" if message.startswith("is ") else f"{field}: {message}"


def changes(catalogue: Catalogue, rows: Sequence[Row]) -> list[Change]:
    """What the rows would change; products that would not are left out."""
    known = catalogue.products(row.sku for row in rows)
    found = [Change(known.get(row.sku), _after(known.get(row.sku), row)) for row in rows]
    return [change for change in found if change.before != change.after]


def _after(before: Product | None, row: Row) -> Product:
    if before is None:
        return Product(
            sku=row.sku,
            name=row.name,
            unit_price=row.unit_price,
            currency=row.currency,
            stocked=row.units,
            available=row.units,
            for_sale=row.for_sale is not False,
        )
    return replace(
        before,
        name=row.name,
        unit_price=row.unit_price,
        currency=row.currency,
        for_sale=before.for_sale if row.for_sale is None else row.for_sale,
    )
