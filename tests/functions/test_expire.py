from io import StringIO

from payments.queue import order_id_in
from tests.shop import Shop


def test_the_sweep_queues_what_is_due_and_decides_nothing(shop: Shop) -> None:
    order_id, _ = shop.begun()
    shop.clock.advance(1800)
    before = shop.dump()
    assert shop.call("expire", {}) == {"sent": 1, "failed": 0}
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
    assert shop.call("expire", {}) == {"sent": 0, "failed": 1}
    shop.clock.advance(60)
    shop.sweep()
    assert shop.story(order_id).order.status == "expired"


def test_it_stops_when_its_time_is_over(shop: Shop, log: StringIO) -> None:
    shop.begun()
    shop.clock.advance(1800)
    assert shop.call("expire", {}, milliseconds=2_000) == {"sent": 0, "failed": 0}
    assert "more orders are due" in log.getvalue()
