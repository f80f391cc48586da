"""Load a catalogue into a table, here or on AWS: `python -m sandbox.seed --table NAME`.

Stock that is there already is never touched; names and prices follow the file. The environment's
own AWS settings say which account's table it is.
"""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

import boto3

from payments.money import CURRENCIES, parse_amount

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

CATALOGUE = Path(__file__).with_name("catalogue.json")


def seed(client: "DynamoDBClient", table_name: str, catalogue: Path = CATALOGUE) -> int:
    """Returns how many products the catalogue has. Raises ValueError for one that is not right."""
    products = json.loads(catalogue.read_text())
    for product in products:
        sku, units = product["sku"], product["available"]
        price = parse_amount(product["unit_price"])
        if (
            not price
            or product["currency"] not in CURRENCIES
            or type(units) is not int
            or units < 0
        ):
            raise ValueError(f"{catalogue.name}: {sku} has no right price, currency or stock")
        # The counters belong to the orders from the moment they exist.
        client.update_item(
            TableName=table_name,
            Key={"pk": {"S": f"STOCK#{sku}"}, "sk": {"S": "STOCK"}},
            UpdateExpression=(
                "SET sku = :sku, #name = :name, unit_price = :price, currency = :currency,"
                " available = if_not_exists(available, :units),"
                " reserved = if_not_exists(reserved, :none),"
                " committed = if_not_exists(committed, :none)"
            ),
            ExpressionAttributeNames={"#name": "name"},
            ExpressionAttributeValues={
                ":sku": {"S": sku},
                ":name": {"S": product["name"]},
                ":price": {"N": str(price)},
                ":currency": {"S": product["currency"]},
                ":units": {"N": str(units)},
                ":none": {"N": "0"},
            },
        )
    return len(products)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m sandbox.seed", description=__doc__)
    parser.add_argument("--table", required=True, help="name of the table, an output of the stack")
    parser.add_argument("--catalogue", type=Path, default=CATALOGUE, help="a JSON file like ours")
    given = parser.parse_args()
    print(f"{seed(boto3.client('dynamodb'), given.table, given.catalogue)} products.")


if __name__ == "__main__":
    main()
