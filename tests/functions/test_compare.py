from io import StringIO

from payments.domain.states import PaymentStatus
from tests.shop import Shop

DAY = 86_400


def test_each_night_finds_a_reversal_without_a_webhook(shop: Shop) -> None:
    order_id, tx_ref = shop.paid()
    shop.control.reverse(tx_ref, webhook=False)
    shop.clock.advance(DAY)
    shop.call("compare", {}, milliseconds=840_000)
    shop.clock.advance(60)
    shop.work()
    assert shop.payment(tx_ref).status is PaymentStatus.REVERSED
    assert "payment.differs" in shop.event_names(order_id)


def test_run_without_time_leaves_the_work_to_the_next_run(shop: Shop) -> None:
    shop.paid()
    shop.clock.advance(DAY)
    shop.call("compare", {}, milliseconds=9_000)
    begun = shop.backend.comparisons.comparison(shop.provider)
    assert begun is not None
    assert not begun.done
    shop.call("compare", {}, milliseconds=840_000)
    ended = shop.backend.comparisons.comparison(shop.provider)
    assert ended is not None
    assert (ended.done, ended.started_at) == (True, begun.started_at)


def test_stack_without_a_key_has_nothing_to_compare(shop: Shop, log: StringIO) -> None:
    shop.set_secret(api_key="", api_key_other="")
    shop.clock.advance(DAY)
    shop.call("compare", {})
    assert "configuration" in log.getvalue()
    assert shop.backend.comparisons.comparison(shop.provider) is None
