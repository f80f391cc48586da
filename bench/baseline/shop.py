"""What both functions share."""

import os

import boto3
import requests
from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.utilities import parameters
from aws_lambda_powertools.utilities.idempotency import DynamoDBPersistenceLayer, IdempotencyConfig

logger = Logger(service="baseline")
tracer = Tracer(service="baseline")
metrics = Metrics(namespace="Baseline", service="baseline")

dynamodb = boto3.resource("dynamodb")
orders = dynamodb.Table("baseline-orders")
payments = dynamodb.Table("baseline-payments")
once = DynamoDBPersistenceLayer(table_name="baseline-idempotency")
once_config = IdempotencyConfig(expires_after_seconds=3600)

chapa = requests.Session()
CHAPA_URL = os.environ.get("CHAPA_URL", "https://api.chapa.co/v1")
SECONDS = 10


def secret() -> dict[str, str]:
    found: dict[str, str] = parameters.get_secret("chapa", transform="json", max_age=60)
    return found


def headers() -> dict[str, str]:
    return {"Authorization": f"Bearer {secret()['api_key']}"}
