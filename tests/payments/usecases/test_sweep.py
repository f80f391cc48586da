from io import StringIO

import pytest

from payments.aws.queue import Message, read_message
from payments.domain.states import OrderStatus
from payments.usecases import sweep
from tests.shop import Shop


def overdue(shop: Shop, seconds: int = 1800) -> str:
    order_id, _ = shop.begun()
    shop.clock.advance(seconds)
    return order_id


def test_sweep_queues_an_order_that_has_just_become_due_and_writes_nothing(shop: Shop) -> None:
    order_id = overdue(shop, 90)
    before = shop.dump()
    assert shop.call("expire", {}) == {"sent": 1, "failed": 0, "events": 0}
    assert shop.dump() == before
    assert read_message(shop.messages.receive() or "") == Message(order_id)


def test_sweep_that_meets_an_order_again_changes_only_its_due_time(shop: Shop) -> None:
    order_id = overdue(shop, 180)
    before = shop.aggregate(order_id)
    assert shop.call("expire", {}) == {"sent": 1, "failed": 0, "events": 0}
    order = shop.aggregate(order_id).order
    assert (order.due_at, order.queued) == (shop.now + 900, 1)
    assert order.version == before.order.version
    assert shop.aggregate(order_id).payments == before.payments
    assert read_message(shop.messages.receive() or "") == Message(order_id)


def test_order_that_cannot_be_reconciled_is_queued_ever_less_often(shop: Shop) -> None:
    order_id = overdue(shop)
    pauses = []
    for _ in range(8):
        assert shop.call("expire", {})["sent"] == 1
        shop.clock.advance(60)
        assert shop.call("expire", {})["sent"] == 0
        due_at = shop.aggregate(order_id).order.due_at or 0
        pauses.append((due_at - shop.now + 60) // 60)
        shop.clock.advance(due_at - shop.now)
    assert pauses == [15, 30, 60, 120, 240, 360, 360, 360]
    shop.work()
    assert shop.aggregate(order_id).order.status is OrderStatus.EXPIRED
    assert shop.aggregate(order_id).order.queued == 0


def test_order_that_ends_meanwhile_is_not_due_again(shop: Shop) -> None:
    order_id = str(shop.order().body["order_id"])
    shop.clock.advance(1890)
    shop.before_aws("UpdateItem", lambda: shop.cancel(order_id))
    assert shop.call("expire", {})["sent"] == 1
    order = shop.aggregate(order_id).order
    assert (order.status, order.due_at) == (OrderStatus.CANCELLED, None)


def test_sweep_sends_more_than_one_batch(shop: Shop) -> None:
    for number, sku in enumerate(["EBOOK"] * 10 + ["COFFEE-250"] * 5):
        shop.order({sku: 1}, user=f"customer {number}")
    shop.clock.advance(1800)
    assert shop.sweep() == 15
    assert shop.available("EBOOK") == 1000


def test_order_that_could_not_be_queued_is_due_in_the_next_minute(shop: Shop) -> None:
    order_id = overdue(shop)
    shop.messages.refused = 1
    assert shop.call("expire", {}) == {"sent": 0, "failed": 1, "events": 0}
    shop.clock.advance(60)
    shop.sweep()
    assert shop.aggregate(order_id).order.status is OrderStatus.EXPIRED


def test_sweep_without_time_sends_nothing(shop: Shop, log: StringIO) -> None:
    overdue(shop)
    assert shop.call("expire", {}, milliseconds=2_000) == {"sent": 0, "failed": 0, "events": 0}
    assert "more orders are due" in log.getvalue()


class TestUnpublishedEvents:
    def touched(self, shop: Shop, milliseconds: int = 29_000) -> int:
        return int(shop.call("expire", {}, milliseconds)["events"])

    def test_only_their_due_time_changes(self, shop: Shop, log: StringIO) -> None:
        order_id = str(shop.order({"EBOOK": 1}).body["order_id"])
        events = shop.events(order_id)
        shop.clock.advance(3600)
        assert self.touched(shop) == 1
        [event] = (item for item in shop.dump() if str(item.get("due_shard")).startswith("EVENTS#"))
        assert (event["pk"], event["due_at"]) == (f"ORDER#{order_id}", shop.now + 3600)
        assert shop.events(order_id) == events
        assert "not published in time" in log.getvalue()

    def test_each_is_touched_once_an_hour(self, shop: Shop) -> None:
        shop.order({"EBOOK": 1})
        shop.clock.advance(3600)
        assert [self.touched(shop), self.touched(shop)] == [1, 0]
        shop.clock.advance(3599)
        assert self.touched(shop) == 0
        shop.clock.advance(1)
        assert self.touched(shop) == 1

    def test_one_sweep_touches_a_limited_number(
        self, shop: Shop, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sweep, "MAX_TOUCHED", 2)
        for _ in range(3):
            shop.order({"EBOOK": 1})
        shop.clock.advance(3600)
        assert [self.touched(shop) for _ in range(3)] == [2, 1, 0]

    def test_sweep_without_time_leaves_them_to_the_next_one(self, shop: Shop) -> None:
        shop.order({"EBOOK": 1})
        shop.clock.advance(3600)
        assert self.touched(shop, milliseconds=2_000) == 0
        assert self.touched(shop) == 1
