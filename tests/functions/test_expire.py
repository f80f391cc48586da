from io import StringIO

import pytest

from functions.expire import app
from payments.queue import order_id_in
from tests.shop import Shop


def test_sweep_queues_due_orders_and_changes_nothing(shop: Shop) -> None:
    order_id, _ = shop.begun()
    shop.clock.advance(1800)
    before = shop.dump()
    assert shop.call("expire", {}) == {"sent": 1, "failed": 0, "events": 0}
    assert shop.dump() == before
    assert order_id_in(shop.messages.receive() or "") == order_id


def test_sweep_sends_more_than_one_batch(shop: Shop) -> None:
    for sku in ["EBOOK"] * 10 + ["COFFEE-250"] * 5:
        shop.order({sku: 1})
    shop.clock.advance(1800)
    assert shop.sweep() == 15
    assert shop.stock("EBOOK") == (1000, 0, 0)


def test_order_that_could_not_be_queued_is_due_in_the_next_minute(shop: Shop) -> None:
    order_id, _ = shop.begun()
    shop.clock.advance(1800)
    shop.messages.refused = 1
    assert shop.call("expire", {}) == {"sent": 0, "failed": 1, "events": 0}
    shop.clock.advance(60)
    shop.sweep()
    assert shop.story(order_id).order.status == "expired"


def test_sweep_without_time_sends_nothing(shop: Shop, log: StringIO) -> None:
    shop.begun()
    shop.clock.advance(1800)
    assert shop.call("expire", {}, milliseconds=2_000) == {"sent": 0, "failed": 0, "events": 0}
    assert "more orders are due" in log.getvalue()


def touched(shop: Shop, milliseconds: int = 29_000) -> int:
    """The number of unpublished events that a sweep touches."""
    return int(shop.call("expire", {}, milliseconds)["events"])


def test_sweep_changes_only_the_due_time_of_an_unpublished_event(shop: Shop, log: StringIO) -> None:
    order_id = str(shop.order({"EBOOK": 1}).body["order_id"])
    events = shop.backend.repository.read_with_ledger(order_id)
    shop.clock.advance(3600)
    assert touched(shop) == 1
    [event] = (item for item in shop.dump() if str(item.get("due_shard")).startswith("EVENTS#"))
    assert (event["pk"], event["due_at"]) == (f"ORDER#{order_id}", shop.now + 3600)
    assert shop.backend.repository.read_with_ledger(order_id) == events
    assert "not published in time" in log.getvalue()


def test_unpublished_event_is_touched_once_an_hour(shop: Shop) -> None:
    shop.order({"EBOOK": 1})
    shop.clock.advance(3600)
    assert [touched(shop), touched(shop)] == [1, 0]
    shop.clock.advance(3599)
    assert touched(shop) == 0
    shop.clock.advance(1)
    assert touched(shop) == 1


def test_sweep_touches_a_limited_number_of_events(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "TOUCHED_AT_ONCE", 2)
    for _ in range(3):
        shop.order({"EBOOK": 1})
    shop.clock.advance(3600)
    assert [touched(shop) for _ in range(3)] == [2, 1, 0]


def test_sweep_without_time_leaves_events_to_the_next_one(shop: Shop) -> None:
    shop.order({"EBOOK": 1})
    shop.clock.advance(3600)
    assert touched(shop, milliseconds=2_000) == 0
    assert touched(shop) == 1
