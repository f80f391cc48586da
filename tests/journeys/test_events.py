"""The events that other services receive over the bus."""

import json
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest

from sandbox.client import until
from sandbox.listener import Listener
from tests.journeys.shop import CUSTOMER, DeployedShop

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "events.schema.json").read_text())


@pytest.fixture(scope="module")
def listener(deployed: DeployedShop) -> Listener:
    return Listener(deployed.stack)


def received(listener: Listener, order_id: str, events: int) -> list[dict[str, Any]]:
    """The first so many events of an order, each once, by number."""
    details = until(
        lambda: {detail["id"]: detail for detail in listener.about(order_id)},
        lambda seen: len(seen) >= events,
        f"{events} events of {order_id} have arrived",
    )
    return list(details.values())


def test_events_of_a_paid_order_arrive_in_the_documented_envelope(
    shop: DeployedShop, listener: Listener
) -> None:
    order_id, tx_ref = shop.paid(shop.product())
    details = received(listener, order_id, 3)
    assert [detail["name"] for detail in details] == shop.event_names(order_id)
    assert [detail["number"] for detail in details] == [1, 2, 3]
    for detail in details:
        jsonschema.validate(detail, SCHEMA)
    assert details[0]["data"] == {"amount": "901.00", "currency": "ETB"}
    assert details[2]["data"]["tx_ref"] == tx_ref
    for event in listener.received:
        assert event["source"] == "chapa-payments"
        assert event["detail-type"] == event["detail"]["name"]
    orders = {item["pk"] for item in shop.dump() if item["sk"] == "ORDER"}
    assert {f"ORDER#{event['detail']['order_id']}" for event in listener.received} <= orders
    everything = json.dumps(listener.received)
    assert not [word for word in CUSTOMER.values() if word in everything]


def test_event_that_the_stream_gave_up_on_is_published_after_a_sweep(
    shop: DeployedShop, listener: Listener
) -> None:
    # The bus refuses each event until the function gives up on it.
    elsewhere = "arn:aws:events:eu-central-1:999999999999:event-bus/nobody"
    with shop.with_environment("publish", BUS_NAME=elsewhere):
        order_id = shop.ordered(shop.product())
        until(lambda: shop.logs.lines("events not published"), bool, "the bus has refused it")
    assert listener.about(order_id) == []
    until(lambda: shop.sweep()["events"], bool, "the sweep finds the event overdue")
    [detail] = received(listener, order_id, 1)
    assert (detail["id"], detail["name"]) == (f"{order_id}#1", "order.placed")
