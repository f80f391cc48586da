import json
from pathlib import Path

import boto3
import pytest
from moto import mock_aws

from payments.aws.items import Product
from payments.aws.repository import Repository
from sandbox.seed import seed
from tests.shop import create_table


def catalogue(directory: Path, **changes: object) -> Path:
    mug = {"sku": "mug", "name": "Mug", "currency": "ETB", "unit_price": "150.50", "available": 10}
    path = directory / "catalogue.json"
    path.write_text(json.dumps([mug | changes]))
    return path


def test_seeding_again_changes_prices_and_never_stock(tmp_path: Path) -> None:
    with mock_aws():
        client = boto3.client("dynamodb")
        create_table(client, "shop")
        assert seed(client, "shop", catalogue(tmp_path)) == 1
        key = {"pk": {"S": "STOCK#mug"}, "sk": {"S": "STOCK"}}
        client.update_item(
            TableName="shop",
            Key=key,
            UpdateExpression="SET for_sale = :no ADD available :less",
            ExpressionAttributeValues={":less": {"N": "-3"}, ":no": {"BOOL": False}},
        )
        seed(client, "shop", catalogue(tmp_path, unit_price="160", available=99))
        products = Repository(client, "shop").products(["mug"])
    assert products == {"mug": Product("mug", "Mug", 16_000, "ETB", 10, 7, for_sale=False)}


@pytest.mark.parametrize(
    "changes", [{"unit_price": "1.005"}, {"currency": "EUR"}, {"available": -1}]
)
def test_wrong_product_is_refused(changes: dict[str, object], tmp_path: Path) -> None:
    with mock_aws():
        client = boto3.client("dynamodb")
        create_table(client, "shop")
        with pytest.raises(ValueError, match="mug"):
            seed(client, "shop", catalogue(tmp_path, **changes))
        assert Repository(client, "shop").products(["mug"]) == {}
