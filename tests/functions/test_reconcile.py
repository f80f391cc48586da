from typing import Any

from payments.queue import message_for
from tests.shop import Shop


def records(*bodies: str) -> dict[str, Any]:
    return {"Records": [{"messageId": str(n), "body": body} for n, body in enumerate(bodies)]}


def test_failing_message_does_not_delay_the_others(shop: Shop) -> None:
    order_id, _ = shop.begun()
    shop.clock.advance(1800)
    result = shop.call("reconcile", records("nonsense", message_for(order_id), "[]", "{}"))
    assert result == {"batchItemFailures": [{"itemIdentifier": n} for n in ("0", "2", "3")]}
    assert shop.story(order_id).order.status == "expired"


def test_message_for_a_deleted_order_is_no_failure(shop: Shop) -> None:
    assert shop.call("reconcile", records(message_for("a" * 20))) == {"batchItemFailures": []}


def test_repeated_message_checks_the_payment_once(shop: Shop) -> None:
    order_id, tx_ref = shop.begun()
    shop.clock.advance(90)
    shop.call("reconcile", records(message_for(order_id), message_for(order_id)))
    assert shop.asked("verify", tx_ref) == 1
    # A second check would have postponed the next one further.
    order = shop.story(order_id).order
    assert (order.looks, order.due_at) == (1, shop.now + 120)


def test_failed_message_succeeds_when_it_is_repeated(shop: Shop) -> None:
    order_id, _ = shop.begun()
    shop.clock.advance(1800)

    def broken() -> None:
        raise RuntimeError("the table is not there")

    shop.before_aws("Query", broken)
    message = records(message_for(order_id))
    assert shop.call("reconcile", message)["batchItemFailures"] == [{"itemIdentifier": "0"}]
    assert shop.call("reconcile", message)["batchItemFailures"] == []
    assert shop.story(order_id).order.status == "expired"
