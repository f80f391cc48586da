"""The baseline of the benchmarks does what it is compared for."""

import hashlib
import hmac
import json
from decimal import Decimal
from types import ModuleType
from typing import Any

import boto3
import pytest

from sandbox.chapa.in_process import Adapter
from tests.shop import WEBHOOK_SECRET, Context, Shop, http_event

KEYS = {
    "baseline-orders": "order_id",
    "baseline-payments": "tx_ref",
    "baseline-idempotency": "id",
}


# The table of the product knows nothing of these payments.
pytestmark = pytest.mark.corrupts


class Baseline:
    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        client = boto3.client("dynamodb")
        for table, key in KEYS.items():
            client.create_table(
                TableName=table,
                BillingMode="PAY_PER_REQUEST",
                AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"}],
                KeySchema=[{"AttributeName": key, "KeyType": "HASH"}],
            )
        # Imported here, as its clients must meet moto.
        from bench.baseline import initialize, webhook  # noqa: PLC0415
        from bench.baseline import shop as shared  # noqa: PLC0415

        shared.chapa.mount(shared.CHAPA_URL, Adapter(shop.simulator))
        self.initialize: ModuleType = initialize
        self.webhook: ModuleType = webhook
        self.orders: Any = shared.orders
        order: dict[str, Any] = {"order_id": "an-order", "currency": "ETB"}
        self.orders.put_item(Item=order | {"amount": Decimal(900), "status": "pending"})

    def pay(self) -> Any:
        return self._called(self.initialize, "/payments", b'{"order_id": "an-order"}', {})

    def notify(self, tx_ref: str, secret: str = WEBHOOK_SECRET) -> Any:
        body = json.dumps({"event": "charge.success", "tx_ref": tx_ref}).encode()
        signature = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
        headers = {"x-chapa-signature": signature}
        return self._called(self.webhook, "/webhooks/chapa", body, headers)

    def _called(self, module: ModuleType, path: str, body: bytes, headers: dict[str, str]) -> Any:
        event = http_event("POST", body, headers=headers | {"content-type": "application/json"})
        event |= {"rawPath": path}
        event["requestContext"] |= {"requestId": "1", "stage": "$default"}
        event["requestContext"]["http"] |= {"path": path}
        answer = module.handler(event, Context())
        return answer["statusCode"], json.loads(answer["body"])

    @property
    def status(self) -> str:
        return str(self.orders.get_item(Key={"order_id": "an-order"})["Item"]["status"])


@pytest.fixture
def baseline(shop: Shop) -> Baseline:
    return Baseline(shop)


def test_order_of_the_baseline_is_paid_once_and_by_no_forged_webhook(baseline: Baseline) -> None:
    status, payment = baseline.pay()
    assert (status, baseline.pay()[1]) == (200, payment)
    assert baseline.shop.asked("initialize") == 1
    baseline.shop.control.pay(payment["tx_ref"], webhook=False)
    assert baseline.notify(payment["tx_ref"], "another secret")[0] == 401
    assert baseline.status == "pending"
    for _ in range(2):
        assert baseline.notify(payment["tx_ref"]) == (200, {"outcome": "applied"})
    assert baseline.status == "paid"
    assert baseline.shop.asked("verify") == 1
