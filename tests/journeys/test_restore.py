"""The rehearsal of docs/runbook.md: an order is lost, and comes back from a backup."""

import os
import subprocess
import sys
from textwrap import dedent
from typing import Any

from sandbox.client import until
from sandbox.stack import CREDENTIALS, ROOT
from tests.journeys.shop import DeployedShop


def test_order_copied_back_from_a_restored_table_is_whole_and_satisfies_the_audit(
    shop: DeployedShop,
) -> None:
    sku = shop.product()
    order_id, _ = shop.paid(sku)
    shop.await_worker()
    dynamodb, table = shop.aws("dynamodb"), shop.stack["table_name"]

    def items_of(order_id: str) -> list[dict[str, Any]]:
        found = [i for i in scanned(dynamodb, table) if i["pk"]["S"] == f"ORDER#{order_id}"]
        return sorted(found, key=lambda item: str(item["sk"]))

    def published(items: list[dict[str, Any]]) -> bool:
        return not any("due_shard" in item for item in items)

    lost = until(lambda: items_of(order_id), published, "its events are published")
    backup = dynamodb.create_backup(TableName=table, BackupName="before")["BackupDetails"]
    for item in lost:
        dynamodb.delete_item(TableName=table, Key={"pk": item["pk"], "sk": item["sk"]})
    code, audit, _ = shop.operate("audit")
    assert (code, any(sku in violation for violation in audit["violations"])) == (1, True)

    restored = f"{table}-restored"
    dynamodb.restore_table_from_backup(TargetTableName=restored, BackupArn=backup["BackupArn"])
    try:
        # As on AWS, the new table has no stream: the stack keeps its own.
        assert "StreamSpecification" not in dynamodb.describe_table(TableName=restored)["Table"]
        # Left over from after the backup; what belongs to the order is replaced as a whole.
        left = {"pk": {"S": f"ORDER#{order_id}"}, "sk": {"S": "PAYMENT#of-later"}}
        dynamodb.put_item(TableName=table, Item=left)
        copy_as_the_runbook_says(shop, restored, table, f"ORDER#{order_id}")
    finally:
        dynamodb.delete_table(TableName=restored)
        dynamodb.delete_backup(BackupArn=backup["BackupArn"])
    code, audit, _ = shop.operate("audit")
    assert (code, audit["violations"]) == (0, [])
    assert items_of(order_id) == lost
    assert shop.state(order_id) == ("paid", ["succeeded"])


def copy_as_the_runbook_says(shop: DeployedShop, *arguments: str) -> None:
    text = (ROOT / "docs/runbook.md").read_text()
    program = dedent(text.partition("<<'END'\n")[2].partition("       END\n")[0])
    environment = {
        **CREDENTIALS,
        "AWS_ENDPOINT_URL": shop.stack["endpoint_url"],
        "AWS_DEFAULT_REGION": shop.stack["region"],
        "AWS_CONFIG_FILE": os.devnull,
        "NO_PROXY": "127.0.0.1",
    }
    subprocess.run([sys.executable, "-c", program, *arguments], env=environment, check=True)


def scanned(dynamodb: Any, table: str) -> list[dict[str, Any]]:
    pages = dynamodb.get_paginator("scan").paginate(TableName=table, ConsistentRead=True)
    return [item for page in pages for item in page["Items"]]
