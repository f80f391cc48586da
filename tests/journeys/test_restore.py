"""The rehearsal of docs/runbook.md: an order is lost, and comes back from a backup."""

from typing import Any

from tests.journeys.shop import DeployedShop


def test_items_copied_back_from_a_restored_table_satisfy_the_audit(shop: DeployedShop) -> None:
    sku = shop.product()
    order_id, _ = shop.paid(sku)
    shop.await_worker()
    dynamodb, table = shop.aws("dynamodb"), shop.stack["table_name"]
    backup = dynamodb.create_backup(TableName=table, BackupName="before")["BackupDetails"]
    lost = [item for item in scanned(dynamodb, table) if item["pk"]["S"] == f"ORDER#{order_id}"]
    for item in lost:
        dynamodb.delete_item(TableName=table, Key={"pk": item["pk"], "sk": item["sk"]})
    code, audit, _ = shop.operate("audit")
    assert (code, any(sku in violation for violation in audit["violations"])) == (1, True)

    restored = f"{table}-restored"
    dynamodb.restore_table_from_backup(TargetTableName=restored, BackupArn=backup["BackupArn"])
    try:
        # As on AWS, the new table has no stream: the stack keeps its own.
        assert "StreamSpecification" not in dynamodb.describe_table(TableName=restored)["Table"]
        for item in scanned(dynamodb, restored):
            if item["pk"]["S"] == f"ORDER#{order_id}":
                dynamodb.put_item(TableName=table, Item=item)
    finally:
        dynamodb.delete_table(TableName=restored)
        dynamodb.delete_backup(BackupArn=backup["BackupArn"])
    code, audit, _ = shop.operate("audit")
    assert (code, audit["violations"]) == (0, [])
    assert shop.state(order_id) == ("paid", ["succeeded"])


def scanned(dynamodb: Any, table: str) -> list[dict[str, Any]]:
    pages = dynamodb.get_paginator("scan").paginate(TableName=table, ConsistentRead=True)
    return [item for page in pages for item in page["Items"]]
