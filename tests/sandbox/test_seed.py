import json
from pathlib import Path

import boto3
import pytest
from moto import mock_aws

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
            UpdateExpression="ADD available :less, committed :more",
            ExpressionAttributeValues={":less": {"N": "-3"}, ":more": {"N": "3"}},
        )
        seed(client, "shop", catalogue(tmp_path, unit_price="160", available=99))
        item = client.get_item(TableName="shop", Key=key)["Item"]
    numbers = {
        name: item[name]["N"] for name in ("unit_price", "available", "reserved", "committed")
    }
    assert numbers == {"unit_price": "16000", "available": "7", "reserved": "0", "committed": "3"}


@pytest.mark.parametrize(
    "changes", [{"unit_price": "1.005"}, {"currency": "EUR"}, {"available": -1}]
)
def test_wrong_product_is_refused(changes: dict[str, object], tmp_path: Path) -> None:
    with mock_aws(), pytest.raises(ValueError, match="mug"):
        seed(boto3.client("dynamodb"), "shop", catalogue(tmp_path, **changes))
