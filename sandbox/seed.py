"""The demo shop's goods, for the local stack."""

from pathlib import Path
from typing import TYPE_CHECKING

from operators.catalogue_file import changes, read_file
from payments.aws.catalogue import Catalogue

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

CATALOGUE = Path(__file__).with_name("catalogue.json")


def seed(client: "DynamoDBClient", table_name: str) -> None:
    catalogue = Catalogue(client, table_name)
    for change in changes(catalogue, read_file(CATALOGUE)):
        catalogue.write_product(change.before, change.after)
