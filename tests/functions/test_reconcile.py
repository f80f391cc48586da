from typing import Any

from payments.queue import message_for
from tests.shop import Shop


def records(*bodies: str) -> dict[str, Any]:
    return {"Records": [{"messageId": str(n), "body": body} for n, body in enumerate(bodies)]}


def test_one_message_that_fails_does_not_hold_up_the_others(shop: Shop) -> None:
    order_id, _ = shop.begun()
    shop.clock.advance(1800)
    answer = shop.call("reconcile", records("nonsense", message_for(order_id), "[]", "{}"))
    assert answer == {"batchItemFailures": [{"itemIdentifier": n} for n in ("0", "2", "3")]}
    assert shop.story(order_id).order.status == "expired"


def test_an_order_that_is_gone_is_no_failure(shop: Shop) -> None:
    assert shop.call("reconcile", records(message_for("a" * 20))) == {"batchItemFailures": []}


def test_a_message_that_comes_twice_looks_once(shop: Shop) -> None:
    order_id, tx_ref = shop.begun()
    shop.clock.advance(90)
    shop.call("reconcile", records(message_for(order_id), message_for(order_id)))
    assert shop.asked("verify", tx_ref) == 1
    # As if Chapa had been asked twice, the next look would be put off further.
    order = shop.story(order_id).order
    assert (order.looks, order.due_at) == (1, shop.now + 120)


def test_what_failed_is_healed_by_the_same_message_later(shop: Shop) -> None:
    order_id, _ = shop.begun()
    shop.clock.advance(1800)

    def broken() -> None:
        raise RuntimeError("the table is not there")

    shop.before_aws("Query", broken)
    message = records(message_for(order_id))
    assert shop.call("reconcile", message)["batchItemFailures"] == [{"itemIdentifier": "0"}]
    assert shop.call("reconcile", message)["batchItemFailures"] == []
    assert shop.story(order_id).order.status == "expired"
