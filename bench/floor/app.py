"""The least that any function like ours does: one client, one library for HTTP, one query."""

from typing import Any

import boto3
import requests

dynamodb = boto3.client("dynamodb")
session = requests.Session()


def handler(_event: dict[str, Any], _context: object) -> dict[str, Any]:
    found = dynamodb.query(
        TableName="payments",
        KeyConditionExpression="pk = :pk",
        ExpressionAttributeValues={":pk": {"S": "ORDER#abcdefghijkl"}},
    )
    return {"statusCode": 200, "body": str(found["Count"])}
