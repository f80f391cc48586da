import pytest

from tests import builders
from tests.shop import Died, Shop, die


def overdue(shop: Shop) -> tuple[str, str]:
    """An order whose time is over, before the sweep: its id and tx_ref."""
    order_id, tx_ref = shop.begun()
    shop.clock.advance(1800)
    return order_id, tx_ref


def unanswered(shop: Shop) -> None:
    shop.control.add_fault("verify", "status", times=None, status=500)


def test_payment_whose_webhook_was_lost_is_found(shop: Shop) -> None:
    order_id, tx_ref = shop.begun()
    shop.control.pay(tx_ref, webhook=False)
    shop.clock.advance(90)
    assert shop.sweep() == 1
    assert shop.story(order_id).order.status == "paid"


def test_nothing_is_checked_before_it_is_due(shop: Shop) -> None:
    shop.begun()
    shop.clock.advance(59)
    assert shop.sweep() == 0


def test_unpaid_order_releases_its_stock(shop: Shop) -> None:
    order_id, tx_ref = overdue(shop)
    shop.sweep()
    assert shop.story(order_id).order.status == "expired"
    assert shop.payment(tx_ref).status == "closed"
    assert shop.stock("COFFEE-250") == (10, 0, 0)
    assert shop.control.payment(tx_ref)["cancelled"] is True


def test_order_without_payment_expires_without_a_call_to_chapa(shop: Shop) -> None:
    order_id = shop.order().body["order_id"]
    shop.clock.advance(1800)
    shop.sweep()
    assert shop.story(order_id).order.status == "expired"
    assert shop.stock("COFFEE-250") == (10, 0, 0)
    assert shop.asked("verify") == 0


def test_stock_comes_back_once_however_often_the_sweep_runs(shop: Shop) -> None:
    overdue(shop)
    for _ in range(3):
        shop.call("expire", {})
    assert shop.work() == 3
    assert shop.stock("COFFEE-250") == (10, 0, 0)


def test_payment_is_closed_before_the_stock_is_released(shop: Shop) -> None:
    order_id, tx_ref = overdue(shop)
    seen: list[tuple[str, tuple[int, int, int]]] = []
    shop.before_chapa(
        "cancel",
        lambda: seen.append((shop.story(order_id).order.status, shop.stock("COFFEE-250"))),
    )
    shop.sweep()
    assert seen == [("pending", (8, 2, 0))]
    calls = [e.call for e in shop.simulator.journal.entries(tx_ref=tx_ref)]
    assert calls[-3:] == ["verify", "cancel", "verify"]


def test_payment_before_the_first_verify_of_expiry_pays_the_order(shop: Shop) -> None:
    order_id, tx_ref = overdue(shop)
    shop.before_chapa("verify", lambda: shop.control.pay(tx_ref, webhook=False))
    shop.sweep()
    assert shop.story(order_id).order.status == "paid"
    assert shop.stock("COFFEE-250") == (8, 0, 2)


@pytest.mark.parametrize("late", [False, True])
def test_payment_between_verify_and_cancel_pays_the_order(shop: Shop, late: bool) -> None:
    order_id, tx_ref = overdue(shop)
    shop.before_chapa("cancel", lambda: shop.control.pay(tx_ref, late=late, webhook=False))
    shop.sweep()
    assert shop.story(order_id).order.status == "paid"
    assert shop.stock("COFFEE-250") == (8, 0, 2)


def test_webhook_during_expiry_pays_the_order_once(shop: Shop) -> None:
    order_id, tx_ref = overdue(shop)

    def pay_and_deliver() -> None:
        shop.control.pay(tx_ref)
        shop.clock.advance(3)
        shop.deliver()

    shop.before_chapa("cancel", pay_and_deliver)
    shop.sweep()
    assert shop.story(order_id).order.status == "paid"
    assert shop.stock("COFFEE-250") == (8, 0, 2)
    assert shop.ledger(order_id).count("order.paid") == 1


@pytest.mark.parametrize("call", ["verify", "cancel"])
def test_order_does_not_expire_while_chapa_is_unreachable(shop: Shop, call: str) -> None:
    order_id, tx_ref = overdue(shop)
    shop.control.add_fault(call, "status", times=None, status=500)  # type: ignore[arg-type]
    builders.wait(shop, order_id, 3000)
    story = shop.story(order_id)
    assert (story.order.status, story.order.stock) == ("pending", "reserved")
    shop.control.clear_faults()
    shop.clock.advance(3600)
    shop.sweep()
    assert shop.story(order_id).order.status == "expired"
    assert shop.payment(tx_ref).status == "closed"
    assert shop.stock("COFFEE-250") == (10, 0, 0)


def test_unanswered_checks_come_further_apart(shop: Shop) -> None:
    order_id, _ = shop.begun()
    unanswered(shop)
    assert builders.wait(shop, order_id, 4 * 3600) < 12


def test_payment_unanswered_for_a_day_goes_to_review_and_can_still_succeed(shop: Shop) -> None:
    order_id, tx_ref = shop.begun()
    shop.with_rules(look_after=(90, 43_200))
    unanswered(shop)
    builders.wait(shop, order_id, 30 * 3600)
    story = shop.story(order_id)
    assert shop.payment(tx_ref).status == "review"
    assert (story.order.status, story.order.stock) == ("pending", "reserved")
    shop.control.clear_faults()
    shop.control.pay(tx_ref, late=True, webhook=False)
    shop.clock.advance(43_200)
    shop.sweep()
    assert shop.story(order_id).order.status == "paid"


def test_unanswered_final_checks_do_not_count(shop: Shop) -> None:
    order_id, tx_ref = builders.expired(shop)
    shop.control.pay(tx_ref, late=True, webhook=False)
    unanswered(shop)
    for _ in range(2):
        shop.clock.advance(86_400)
        shop.notify(tx_ref)
        shop.sweep()
    shop.control.clear_faults()
    shop.clock.advance(86_400)
    shop.sweep()
    assert shop.story(order_id).order.status == "paid"


def test_webhook_after_the_final_check_is_checked_though_chapa_is_unreachable(shop: Shop) -> None:
    order_id, tx_ref = shop.begun()
    for seconds in (1800, 3600, 86_400):
        shop.clock.advance(seconds)
        assert shop.sweep() == 1
    assert shop.story(order_id).order.due_at is None
    shop.control.pay(tx_ref, late=True, webhook=False)
    unanswered(shop)
    assert shop.notify(tx_ref).body == {"outcome": "deferred"}
    shop.clock.advance(60)
    shop.sweep()
    shop.control.clear_faults()
    shop.clock.advance(3600)
    shop.sweep()
    assert shop.story(order_id).order.status == "paid"


def test_skipped_check_is_made_up_for_three_seconds_later(shop: Shop) -> None:
    order_id, tx_ref = builders.expired(shop)
    shop.control.pay(tx_ref, late=True, webhook=False)
    shop.clock.advance(3600)
    shop.before_chapa("verify", die)
    with pytest.raises(Died):
        shop.notify(tx_ref)
    assert shop.notify(tx_ref).body == {"outcome": "deferred"}
    shop.sweep()
    shop.clock.advance(3)
    shop.sweep()
    assert shop.story(order_id).order.status == "paid"


@pytest.mark.parametrize("state", ["expired", "in review"])
def test_unanswered_final_checks_do_not_come_every_minute(shop: Shop, state: str) -> None:
    if state == "expired":
        builders.expired(shop)
    else:
        shop.begun()
    unanswered(shop)
    for seconds in (86_400, 86_400, 3600):
        shop.clock.advance(seconds)
        shop.sweep()
    checks = 0
    for _ in range(5):
        shop.clock.advance(599)
        checks += shop.sweep()
    assert checks <= 1


def test_no_payment_begins_while_the_order_is_being_closed(shop: Shop) -> None:
    order_id, _ = overdue(shop)
    codes: list[str] = []
    shop.before_chapa("cancel", lambda: codes.append(shop.pay(order_id).code))
    shop.sweep()
    assert codes == ["order_not_payable"]


def test_second_page_of_a_paid_order_is_closed(shop: Shop) -> None:
    order_id, first = shop.begun()
    shop.control.fail(first)
    shop.deliver()
    second = shop.pay(order_id).body["tx_ref"]
    shop.control.pay(first, late=True)
    shop.deliver()
    assert shop.payment(second).status == "pending"
    shop.clock.advance(90)
    shop.sweep()
    assert shop.payment(second).status == "closed"


def test_failed_answer_about_another_payment_expires_no_order(shop: Shop) -> None:
    order_id, tx_ref = overdue(shop)
    shop.control.add_fault("verify", "wrong_tx_ref")
    shop.sweep()
    assert shop.asked("verify", tx_ref) == 2
    assert shop.story(order_id).order.status == "pending"
    shop.clock.advance(120)
    shop.sweep()
    assert shop.story(order_id).order.status == "expired"
