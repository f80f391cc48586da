"""Load a catalogue into a table, here or on AWS: `python -m sandbox.seed --table NAME`.

Names and prices follow the file; stock and `for_sale` of a product that exists are not changed. The
account is that of the environment's AWS settings.
"""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

import boto3

from payments.aws.repository import Repository
from payments.domain.money import CURRENCIES, parse_amount

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

CATALOGUE = Path(__file__).with_name("catalogue.json")


def seed(client: "DynamoDBClient", table_name: str, catalogue: Path = CATALOGUE) -> int:
    """Returns the number of products. Raises ValueError for a wrong price, currency or stock."""
    repository = Repository(client, table_name)
    products = json.loads(catalogue.read_text())
    known = repository.products(product["sku"] for product in products)
    for product in products:
        sku, units = product["sku"], product["available"]
        price = parse_amount(product["unit_price"])
        if (
            not price
            or product["currency"] not in CURRENCIES
            or type(units) is not int
            or units < 0
        ):
            raise ValueError(f"{catalogue.name}: {sku} has a wrong price, currency or stock")
        repository.set_product(
            sku,
            name=product["name"],
            unit_price=price,
            currency=product["currency"],
            add=0 if sku in known else units,
        )
    return len(products)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m sandbox.seed", description=__doc__)
    parser.add_argument("--table", required=True, help="name of the table, an output of the stack")
    parser.add_argument("--catalogue", type=Path, default=CATALOGUE, help="a JSON file")
    given = parser.parse_args()
    print(f"{seed(boto3.client('dynamodb'), given.table, given.catalogue)} products.")


if __name__ == "__main__":
    main()
