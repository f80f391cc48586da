from typing import Any

import pytest

from tests.shop import Died, Shop, die


def test_a_payment_whose_webhook_was_lost_is_found(shop: Shop) -> None:
    order_id, tx_ref = shop.begun()
    shop.control.pay(tx_ref, webhook=False)
    shop.clock.advance(90)
    assert shop.sweep() == 1
    assert shop.story(order_id).order.status == "paid"


def test_nothing_is_looked_at_before_it_is_due(shop: Shop) -> None:
    shop.begun()
    shop.clock.advance(59)
    assert shop.sweep() == 0


def test_an_unpaid_order_gives_its_stock_back(shop: Shop) -> None:
    order_id, tx_ref = shop.begun()
    shop.clock.advance(1800)
    shop.sweep()
    assert shop.story(order_id).order.status == "expired"
    assert shop.payment(tx_ref).status == "closed"
    assert shop.stock("COFFEE-250") == (10, 0, 0)
    assert shop.control.payment(tx_ref)["cancelled"] is True


def test_an_order_that_nobody_began_to_pay_expires_without_asking_chapa(shop: Shop) -> None:
    order_id = shop.order().body["order_id"]
    shop.clock.advance(1800)
    shop.sweep()
    assert shop.story(order_id).order.status == "expired"
    assert shop.stock("COFFEE-250") == (10, 0, 0)
    assert shop.simulator.journal.entries("verify") == []


def test_stock_comes_back_once_however_often_the_sweep_runs(shop: Shop) -> None:
    shop.begun()
    shop.clock.advance(1800)
    for _ in range(3):
        shop.call("expire", {})
    assert shop.work() == 3
    assert shop.stock("COFFEE-250") == (10, 0, 0)


def test_the_page_is_shut_before_the_stock_goes_back(shop: Shop) -> None:
    order_id, tx_ref = shop.begun()
    shop.clock.advance(1800)
    seen: list[tuple[str, tuple[int, int, int]]] = []

    def look() -> None:
        seen.append((shop.story(order_id).order.status, shop.stock("COFFEE-250")))

    shop.before_chapa("cancel", look)
    shop.sweep()
    assert seen == [("pending", (8, 2, 0))]
    calls = [e.call for e in shop.simulator.journal.entries(tx_ref=tx_ref)]
    assert calls[-3:] == ["verify", "cancel", "verify"]


@pytest.mark.parametrize("moment", ["verify", "cancel"])
def test_a_customer_who_pays_while_the_order_expires_wins(shop: Shop, moment: str) -> None:
    order_id, tx_ref = shop.begun()
    shop.clock.advance(1800)
    shop.before_chapa(moment, lambda: shop.control.pay(tx_ref, webhook=False))
    shop.sweep()
    assert shop.story(order_id).order.status == "paid"
    assert shop.stock("COFFEE-250") == (8, 0, 2)


def test_one_who_pays_between_the_first_question_and_the_cancel_wins(shop: Shop) -> None:
    order_id, tx_ref = shop.begun()
    shop.clock.advance(1800)
    shop.before_chapa("cancel", lambda: shop.control.pay(tx_ref, late=True, webhook=False))
    shop.sweep()
    assert shop.story(order_id).order.status == "paid"


def test_a_webhook_during_expiry_wins(shop: Shop) -> None:
    order_id, tx_ref = shop.begun()
    shop.clock.advance(1800)

    def paid_and_told() -> None:
        shop.control.pay(tx_ref)
        shop.clock.advance(3)
        shop.deliver()

    shop.before_chapa("cancel", paid_and_told)
    shop.sweep()
    assert shop.story(order_id).order.status == "paid"
    assert shop.stock("COFFEE-250") == (8, 0, 2)
    assert shop.ledger(order_id).count("order.paid") == 1


@pytest.mark.parametrize("call", ["verify", "cancel"])
@pytest.mark.parametrize("kind", ["status", "reset", "timeout_before", "timeout_after"])
def test_an_order_is_not_expired_while_chapa_cannot_be_asked(
    shop: Shop, call: str, kind: str
) -> None:
    order_id, tx_ref = shop.begun()
    shop.clock.advance(1800)
    shop.control.add_fault(call, kind, times=None)  # type: ignore[arg-type]
    for _ in range(5):
        shop.sweep()
        shop.clock.advance(600)
    story = shop.story(order_id)
    assert (story.order.status, story.order.stock) == ("pending", "reserved")
    shop.control.clear_faults()
    shop.clock.advance(3600)
    shop.sweep()
    assert shop.story(order_id).order.status == "expired"
    assert shop.payment(tx_ref).status == "closed"
    assert shop.stock("COFFEE-250") == (10, 0, 0)


def test_looks_at_a_silent_provider_come_further_apart(shop: Shop) -> None:
    shop.begun()
    shop.control.add_fault("verify", "status", times=None, status=500)
    looks = 0
    for _ in range(240):
        shop.clock.advance(60)
        looks += shop.sweep()
    assert looks < 12


def test_a_provider_silent_for_a_day_is_a_matter_for_a_person(shop: Shop) -> None:
    order_id, tx_ref = shop.begun()
    shop.control.add_fault("verify", "status", times=None, status=500)
    for _ in range(30):
        shop.clock.advance(3600)
        shop.sweep()
    story = shop.story(order_id)
    assert shop.payment(tx_ref).status == "review"
    assert (story.order.status, story.order.stock) == ("pending", "reserved")
    shop.control.clear_faults()
    shop.control.pay(tx_ref, late=True, webhook=False)
    shop.clock.advance(3600)
    shop.sweep()
    assert shop.story(order_id).order.status == "paid"


def test_a_last_look_at_which_nobody_was_asked_is_no_look(shop: Shop) -> None:
    order_id, tx_ref = shop.begun()
    shop.clock.advance(1800)
    shop.sweep()
    assert shop.story(order_id).order.status == "expired"
    shop.control.pay(tx_ref, late=True, webhook=False)
    shop.control.add_fault("verify", "status", times=None, status=500)
    for _ in range(2):
        shop.clock.advance(86_400)
        shop.notify(tx_ref)
        shop.sweep()
    shop.control.clear_faults()
    shop.clock.advance(86_400)
    shop.sweep()
    assert shop.story(order_id).order.status == "paid"


def test_a_webhook_after_the_last_look_is_heeded_though_chapa_is_silent(shop: Shop) -> None:
    order_id, tx_ref = shop.begun()
    for seconds in (1800, 3600, 86_400):
        shop.clock.advance(seconds)
        assert shop.sweep() == 1
    assert shop.story(order_id).order.due_at is None
    shop.control.pay(tx_ref, late=True, webhook=False)
    shop.control.add_fault("verify", "status", times=None, status=500)
    assert shop.notify(tx_ref).body == {"outcome": "deferred"}
    shop.clock.advance(60)
    shop.sweep()
    shop.control.clear_faults()
    shop.clock.advance(3600)
    shop.sweep()
    assert shop.story(order_id).order.status == "paid"


def test_a_look_at_which_nobody_was_asked_is_taken_a_moment_later(shop: Shop) -> None:
    order_id, tx_ref = shop.begun()
    shop.clock.advance(1800)
    shop.sweep()
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
def test_last_looks_at_a_silent_provider_do_not_come_every_minute(shop: Shop, state: str) -> None:
    shop.begun()
    if state == "expired":
        shop.clock.advance(1800)
        shop.sweep()
    shop.control.add_fault("verify", "status", times=None, status=500)
    for seconds in (86_400, 86_400, 3600):
        shop.clock.advance(seconds)
        shop.sweep()
    looks = 0
    for _ in range(5):
        shop.clock.advance(599)
        looks += shop.sweep()
    assert looks <= 1


def test_a_new_payment_cannot_begin_while_the_order_is_being_shut(shop: Shop) -> None:
    order_id, _ = shop.begun()
    shop.clock.advance(1800)
    codes: list[str] = []
    shop.before_chapa("cancel", lambda: codes.append(shop.pay(order_id).code))
    shop.sweep()
    assert codes == ["order_not_payable"]


def test_a_second_page_of_a_paid_order_is_shut(shop: Shop) -> None:
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


class TestCrashes:
    @pytest.mark.parametrize("skip", range(2))
    @pytest.mark.parametrize("when", ["before", "after"])
    def test_a_worker_that_died_while_writing_is_followed_by_another(
        self, shop: Shop, when: str, skip: int
    ) -> None:
        order_id, _ = shop.begun()
        shop.clock.advance(1800)
        shop.before_aws("TransactWriteItems", die, skip=skip, when=when)
        with pytest.raises(Died):
            shop.sweep()
        shop.clock.advance(90)
        shop.sweep()
        assert shop.story(order_id).order.status == "expired"
        assert shop.stock("COFFEE-250") == (10, 0, 0)

    @pytest.mark.parametrize("call", ["verify", "cancel"])
    def test_a_worker_that_died_while_asking_is_followed_by_another(
        self, shop: Shop, call: str
    ) -> None:
        order_id, _ = shop.begun()
        shop.clock.advance(1800)
        shop.before_chapa(call, die)
        with pytest.raises(Died):
            shop.sweep()
        shop.clock.advance(90)
        shop.sweep()
        assert shop.story(order_id).order.status == "expired"


@pytest.mark.parametrize("kind", ["wrong_tx_ref", "wrong_currency", "wrong_mode"])
def test_an_answer_about_another_payment_ends_no_order(shop: Shop, kind: Any) -> None:
    """Chapa says failed, once the page is shut, but of something that is not ours."""
    order_id, tx_ref = shop.begun()
    shop.clock.advance(1800)
    shop.control.add_fault("verify", kind)
    shop.sweep()
    assert shop.asked("verify", tx_ref) == 2
    assert shop.story(order_id).order.status == "pending"
    shop.clock.advance(120)
    shop.sweep()
    assert shop.story(order_id).order.status == "expired"
