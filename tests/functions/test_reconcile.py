from typing import Any

from payments.aws.queue import Message, message_body
from payments.domain.states import OrderStatus
from tests.shop import Shop


def records(*bodies: str) -> dict[str, Any]:
    return {"Records": [{"messageId": str(n), "body": body} for n, body in enumerate(bodies)]}


def test_failing_message_does_not_delay_the_others(shop: Shop) -> None:
    order_id, _ = shop.begun()
    shop.clock.advance(1800)
    message = message_body(Message(order_id))
    result = shop.call("reconcile", records("nonsense", message, "[]", "{}"))
    assert result == {"batchItemFailures": [{"itemIdentifier": n} for n in ("0", "2", "3")]}
    assert shop.aggregate(order_id).order.status is OrderStatus.EXPIRED


def test_message_for_a_deleted_order_is_no_failure(shop: Shop) -> None:
    message = message_body(Message("a" * 12))
    assert shop.call("reconcile", records(message)) == {"batchItemFailures": []}


def test_repeated_message_checks_the_payment_once(shop: Shop) -> None:
    order_id, tx_ref = shop.begun()
    shop.clock.advance(90)
    message = message_body(Message(order_id))
    shop.call("reconcile", records(message, message))
    assert shop.asked("verify", tx_ref) == 1
    # A second check would have postponed the next one further.
    assert shop.aggregate(order_id).order.due_at == shop.now + 120


def test_failed_message_succeeds_when_it_is_repeated(shop: Shop) -> None:
    order_id, _ = shop.begun()
    shop.clock.advance(1800)

    def broken() -> None:
        raise RuntimeError("the table is not there")

    shop.before_aws("Query", broken)
    message = records(message_body(Message(order_id)))
    assert shop.call("reconcile", message)["batchItemFailures"] == [{"itemIdentifier": "0"}]
    assert shop.call("reconcile", message)["batchItemFailures"] == []
    assert shop.aggregate(order_id).order.status is OrderStatus.EXPIRED
