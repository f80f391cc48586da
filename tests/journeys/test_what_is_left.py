"""What the journeys before it left behind: counted stock, and logs that tell nothing private.

Its name puts it last. Alone it has its own journey to look at.
"""

import json
from collections.abc import Iterator
from typing import Any

from sandbox.client import Client, until
from tests.journeys.shop import CUSTOMER, Shop


def lines(client: Client) -> Iterator[tuple[str, str]]:
    """Every log line of every function, with its log group."""
    logs = client.aws("logs")
    for group in logs.describe_log_groups()["logGroups"]:
        name = group["logGroupName"]
        for page in logs.get_paginator("filter_log_events").paginate(logGroupName=name):
            yield from ((name, event["message"]) for event in page["events"])


def test_no_log_line_holds_a_secret_or_a_customer_s_data(shop: Shop) -> None:
    order_id, _ = shop.paid(shop.product())
    refused = shop.place({shop.product(): 1}, customer={"email": "birtukan.w@example.com"})
    assert shop.initialize(refused["order_id"]).code == "provider_rejected"
    until(
        lambda: [line for _, line in lines(shop)],
        lambda seen: (
            any("order.paid" in line and order_id in line for line in seen)
            and any("initialize refused" in line for line in seen)
        ),
        "the logs have arrived",
    )
    secret = shop.secret()
    private = {
        *CUSTOMER.values(),
        "birtukan.w",
        CUSTOMER["phone_number"].removeprefix("0"),
        secret["api_key"],
        secret["webhook_secret"],
        "the next secret",
        *(user["token"].split(".")[2] for user in shop.stack["users"].values()),
    }
    told = [
        (group, word, line)
        for group, line in lines(shop)
        for word in private
        if word.lower() in line.lower()
    ]
    assert told == []


def test_no_function_failed_for_a_reason_of_its_own(shop: Shop) -> None:
    shop.paid(shop.product())
    bugs = [
        (group, line)
        for group, line in lines(shop)
        if '"bug"' in line or "configuration" in line or "Task timed out" in line
    ]
    assert bugs == []


def test_every_unit_of_stock_is_accounted_for(shop: Shop) -> None:
    shop.paid(shop.product())
    shop.await_worker()
    held: dict[tuple[str, str], int] = {}
    items = shop.dump()
    for order in (item for item in items if item["sk"] == "ORDER"):
        for line in order["lines"]:
            key = (line["sku"], order["stock"])
            held[key] = held.get(key, 0) + int(line["quantity"])
        assert (order["status"], order["stock"]) in {
            ("pending", "reserved"),
            ("paid", "committed"),
            ("expired", "released"),
        }
    for product in (item for item in items if item["sk"] == "STOCK"):
        sku = product["sku"]
        assert product["reserved"] == held.get((sku, "reserved"), 0)
        assert product["committed"] == held.get((sku, "committed"), 0)
        assert product["available"] >= 0


def test_each_paid_order_has_one_payment_that_paid_it(shop: Shop) -> None:
    shop.paid(shop.product())
    shop.await_worker()
    items = shop.dump()
    payments: dict[str, list[dict[str, Any]]] = {}
    for item in items:
        if item["sk"].startswith("PAYMENT#"):
            payments.setdefault(item["pk"], []).append(item)
    for order in (item for item in items if item["sk"] == "ORDER"):
        succeeded = [p for p in payments.get(order["pk"], []) if p["status"] == "succeeded"]
        assert len(succeeded) == (order["status"] == "paid"), json.dumps(order, default=str)
        for payment in succeeded:
            assert order["paid_by"] == payment["tx_ref"]
            assert payment["paid_amount"] == order["amount"] == payment["amount"]
