from io import StringIO

import pytest

from functions.expire import app
from payments.queue import order_id_in
from tests.shop import Shop


def test_the_sweep_queues_what_is_due_and_decides_nothing(shop: Shop) -> None:
    order_id, _ = shop.begun()
    shop.clock.advance(1800)
    before = shop.dump()
    assert shop.call("expire", {}) == {"sent": 1, "failed": 0, "events": 0}
    assert shop.dump() == before
    assert order_id_in(shop.messages.receive() or "") == order_id


def test_more_than_one_batch_is_sent(shop: Shop) -> None:
    for _ in range(10):
        shop.order({"EBOOK": 1})
    for _ in range(5):
        shop.order({"COFFEE-250": 1})
    shop.clock.advance(1800)
    assert shop.sweep() == 15
    assert shop.stock("EBOOK") == (1000, 0, 0)


def test_what_could_not_be_sent_is_due_in_the_next_minute(shop: Shop) -> None:
    order_id, _ = shop.begun()
    shop.clock.advance(1800)
    shop.messages.refused = 1
    assert shop.call("expire", {}) == {"sent": 0, "failed": 1, "events": 0}
    shop.clock.advance(60)
    shop.sweep()
    assert shop.story(order_id).order.status == "expired"


def test_it_stops_when_its_time_is_over(shop: Shop, log: StringIO) -> None:
    shop.begun()
    shop.clock.advance(1800)
    assert shop.call("expire", {}, milliseconds=2_000) == {"sent": 0, "failed": 0, "events": 0}
    assert "more orders are due" in log.getvalue()


def marks(shop: Shop, order_id: str) -> list[int]:
    """When each event of the order is overdue, for those that are not published."""
    return [
        int(str(item["due_at"]))
        for item in shop.dump()
        if item["pk"] == f"ORDER#{order_id}" and str(item.get("due_shard")).startswith("EVENTS#")
    ]


def test_events_that_were_not_published_are_touched_and_nothing_else_of_them(
    shop: Shop, log: StringIO
) -> None:
    order_id = str(shop.order({"EBOOK": 1}).body["order_id"])
    ledger = shop.backend.repository.read_with_ledger(order_id)
    shop.clock.advance(3600)
    assert shop.call("expire", {})["events"] == 1
    assert marks(shop, order_id) == [shop.now + 3600]
    assert shop.backend.repository.read_with_ledger(order_id) == ledger
    assert "not published in time" in log.getvalue()


def test_an_event_is_touched_once_in_its_time(shop: Shop) -> None:
    shop.order({"EBOOK": 1})
    shop.clock.advance(3600)
    assert [shop.call("expire", {})["events"] for _ in range(2)] == [1, 0]
    shop.clock.advance(3599)
    assert shop.call("expire", {})["events"] == 0
    shop.clock.advance(1)
    assert shop.call("expire", {})["events"] == 1


def test_one_sweep_touches_so_many_events_and_the_next_one_the_rest(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "TOUCHED_AT_ONCE", 2)
    for _ in range(3):
        shop.order({"EBOOK": 1})
    shop.clock.advance(3600)
    assert [shop.call("expire", {})["events"] for _ in range(3)] == [2, 1, 0]


def test_a_sweep_without_time_leaves_events_to_the_next_one(shop: Shop) -> None:
    shop.order({"EBOOK": 1})
    shop.clock.advance(3600)
    assert shop.call("expire", {}, milliseconds=2_000)["events"] == 0
    assert shop.call("expire", {})["events"] == 1
