"""What another service hears of an order, over the bus of the deployed stack."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest

from sandbox.client import until
from sandbox.listener import Listener
from tests.journeys.shop import CUSTOMER, Shop

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "events.schema.json").read_text())


@pytest.fixture(scope="module")
def _listener(_stack: Shop) -> Listener:
    return Listener(_stack.stack)


@pytest.fixture
def listener(_listener: Listener, shop: Shop) -> Listener:
    return _listener


def heard(listener: Listener, order_id: str, events: int) -> list[dict[str, Any]]:
    """The first so many events of an order, each once, in their order."""
    details = until(
        lambda: {detail["id"]: detail for detail in listener.about(order_id)},
        lambda seen: len(seen) >= events,
        f"{events} events of {order_id} have arrived",
    )
    return list(details.values())


@contextmanager
def bus_out_of_reach(shop: Shop) -> Iterator[None]:
    """Each event is refused, for good as far as the stream is concerned."""
    elsewhere = "arn:aws:events:eu-central-1:999999999999:event-bus/nobody"

    def refusals() -> int:
        return sum(1 for _ in shop.logged("events not published", "publish"))

    before = refusals()
    with shop.told("publish", BUS_NAME=elsewhere):
        yield
        until(refusals, lambda n: n > before, "the bus has refused")


def test_a_paid_order_is_told_whole_and_in_the_documented_envelope(
    shop: Shop, listener: Listener
) -> None:
    order_id, tx_ref = shop.paid(shop.product())
    details = heard(listener, order_id, 5)
    assert [detail["name"] for detail in details] == shop.ledger(order_id)
    assert [detail["number"] for detail in details] == [1, 2, 3, 4, 5]
    for detail in details:
        jsonschema.validate(detail, SCHEMA)
    assert details[0]["data"] == {"amount": "901.00", "currency": "ETB"}
    assert details[4]["data"]["tx_ref"] == tx_ref
    for event in listener.heard:
        assert event["source"] == "chapa-payments"
        assert event["detail-type"] == event["detail"]["name"]
    told = json.dumps(listener.heard)
    assert not [word for word in CUSTOMER.values() if word in told]


def test_an_order_that_could_not_be_placed_is_not_told(shop: Shop, listener: Listener) -> None:
    sku = shop.product(1)
    assert shop.place({sku: 2}, customer=CUSTOMER).code == "out_of_stock"
    order_id = shop.ordered(sku, 1)
    heard(listener, order_id, 1)
    known = {item["pk"] for item in shop.dump() if item["sk"] == "ORDER"}
    assert {f"ORDER#{event['detail']['order_id']}" for event in listener.heard} <= known


def test_what_the_stream_gave_up_on_is_healed_by_the_sweep(shop: Shop, listener: Listener) -> None:
    with bus_out_of_reach(shop):
        order_id = shop.ordered(shop.product())
    assert listener.about(order_id) == []
    until(lambda: shop.sweep()["events"], bool, "the sweep finds it overdue")
    [detail] = heard(listener, order_id, 1)
    assert (detail["id"], detail["name"]) == (f"{order_id}#1", "order.placed")
