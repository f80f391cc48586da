import pytest

from tests.shop import Died, Shop, die


def test_a_payment_that_chapa_confirms_pays_its_order(shop: Shop) -> None:
    order_id, tx_ref = shop.begun()
    shop.control.pay(tx_ref, webhook=False)
    assert shop.notify(tx_ref).body == {"outcome": "applied"}
    story = shop.story(order_id)
    assert (story.order.status, story.order.stock) == ("paid", "committed")
    assert story.order.paid_by == tx_ref
    assert story.order.due_at is None
    assert shop.stock("COFFEE-250") == (8, 0, 2)


def test_a_webhook_is_not_believed(shop: Shop) -> None:
    order_id, tx_ref = shop.begun()
    assert shop.notify(tx_ref).body == {"outcome": "deferred"}
    assert shop.story(order_id).order.status == "pending"
    assert shop.asked("verify") == 1


def test_a_second_webhook_changes_nothing(shop: Shop) -> None:
    _, tx_ref = shop.begun()
    shop.control.pay(tx_ref)
    shop.deliver()
    before, asked = shop.dump(), shop.asked("verify")
    assert shop.notify(tx_ref).body == {"outcome": "duplicate"}
    assert shop.dump() == before
    assert shop.asked("verify") == asked


@pytest.mark.parametrize("moment", ["before the write", "before the question"])
def test_two_webhooks_at_the_same_moment_apply_once(shop: Shop, moment: str) -> None:
    order_id, tx_ref = shop.begun()
    shop.control.pay(tx_ref, webhook=False)
    inner: list[object] = []

    def second() -> None:
        shop.clock.advance(3)
        inner.append(shop.notify(tx_ref).body["outcome"])

    if moment == "before the write":
        shop.before_aws("TransactWriteItems", second)
    else:
        shop.before_chapa("verify", second)
    outer = shop.notify(tx_ref).body["outcome"]
    assert sorted([outer, str(inner[0])]) == ["applied", "duplicate"]
    assert shop.ledger(order_id).count("order.paid") == 1
    assert shop.stock("COFFEE-250") == (8, 0, 2)


def test_many_copies_cost_one_question_in_three_seconds(shop: Shop) -> None:
    _, tx_ref = shop.begun()
    outcomes = {shop.notify(tx_ref).body["outcome"] for _ in range(30)}
    assert outcomes == {"deferred"}
    assert shop.asked("verify") == 1
    shop.clock.advance(3)
    shop.notify(tx_ref)
    assert shop.asked("verify") == 2


def test_a_webhook_that_came_too_soon_after_another_is_looked_into_a_moment_later(
    shop: Shop,
) -> None:
    order_id, tx_ref = shop.begun()
    shop.status(tx_ref, refresh=True)
    shop.control.pay(tx_ref, webhook=False)
    assert shop.notify(tx_ref).body == {"outcome": "deferred"}
    shop.clock.advance(3)
    assert shop.work() == 1
    assert shop.story(order_id).order.status == "paid"


def test_a_webhook_from_before_chapa_knows_is_looked_into_again(shop: Shop) -> None:
    order_id, tx_ref = shop.begun()
    shop.control.add_fault("webhook", "early", n=1)
    shop.control.pay(tx_ref)
    shop.deliver()
    assert shop.story(order_id).order.status == "pending"
    shop.clock.advance(3)
    shop.work()
    assert shop.story(order_id).order.status == "paid"


@pytest.mark.parametrize(
    ("kind", "details"),
    [
        ("status", {"status": 500}),
        ("status", {"status": 429}),
        ("status", {"status": 401}),
        ("status", {"status": 400}),
        ("html", {"status": 200}),
        ("malformed", {}),
        ("timeout_before", {"seconds": 1}),
        ("reset", {}),
        ("says", {"word": "nonsense"}),
        ("says", {"word": "404"}),
        ("says", {"word": "pending"}),
    ],
)
def test_not_knowing_is_not_failing(shop: Shop, kind: str, details: dict[str, object]) -> None:
    order_id, tx_ref = shop.begun()
    shop.control.pay(tx_ref, webhook=False)
    shop.control.add_fault("verify", kind, times=1, **details)  # type: ignore[arg-type]
    assert shop.notify(tx_ref).body == {"outcome": "deferred"}
    story = shop.story(order_id)
    assert (story.order.status, story.order.stock) == ("pending", "reserved")
    assert story.payments[0].status == "pending"
    shop.clock.advance(3)
    shop.work()
    assert shop.story(order_id).order.status == "paid"


@pytest.mark.parametrize("kind", ["wrong_amount", "wrong_currency", "wrong_mode", "wrong_tx_ref"])
def test_a_payment_of_something_else_waits_for_a_person(shop: Shop, kind: str) -> None:
    order_id, tx_ref = shop.begun()
    shop.control.pay(tx_ref, webhook=False)
    shop.control.add_fault("verify", kind, times=None)  # type: ignore[arg-type]
    assert shop.notify(tx_ref).body == {"outcome": "applied"}
    story = shop.story(order_id)
    assert story.payments[0].status == "review"
    assert (story.order.status, story.order.stock) == ("pending", "reserved")
    shop.clock.advance(100_000)
    shop.sweep()
    assert shop.story(order_id).order.status == "pending"


def test_money_of_something_else_that_came_and_went_waits_for_a_person(shop: Shop) -> None:
    order_id, tx_ref = shop.begun()
    shop.control.pay(tx_ref, currency="USD", webhook=False)
    shop.control.reverse(tx_ref, webhook=False)
    assert shop.notify(tx_ref).body == {"outcome": "applied"}
    assert shop.payment(tx_ref).status == "review"
    for _ in range(5):
        shop.clock.advance(86_400)
        shop.sweep()
    assert shop.story(order_id).order.due_at is None


def test_a_failed_attempt_may_still_succeed_on_the_same_page(shop: Shop) -> None:
    order_id, tx_ref = shop.begun()
    shop.control.fail(tx_ref)
    shop.deliver()
    assert shop.payment(tx_ref).status == "failed"
    assert shop.stock("COFFEE-250") == (8, 2, 0)
    shop.clock.advance(10)
    shop.control.pay(tx_ref)
    shop.deliver()
    assert shop.story(order_id).order.status == "paid"


def test_a_stale_failure_after_the_success_changes_nothing(shop: Shop) -> None:
    order_id, tx_ref = shop.begun()
    shop.control.add_fault("webhook", "out_of_order", seconds=60)
    shop.control.pay(tx_ref)
    shop.deliver()
    before = shop.dump()
    shop.clock.advance(60)
    assert shop.deliver() == [200]
    assert shop.dump() == before
    assert shop.story(order_id).order.status == "paid"


class TestLateSuccess:
    def expired(self, shop: Shop, items: dict[str, int]) -> tuple[str, str]:
        order_id, tx_ref = shop.begun(items)
        shop.clock.advance(1800)
        shop.sweep()
        assert shop.story(order_id).order.status == "expired"
        shop.clock.advance(3)
        shop.control.pay(tx_ref, late=True)
        return order_id, tx_ref

    def test_it_takes_the_stock_again_when_all_of_it_is_there(self, shop: Shop) -> None:
        order_id, tx_ref = self.expired(shop, {"LAST": 1})
        shop.deliver()
        assert shop.story(order_id).order.status == "paid"
        assert shop.payment(tx_ref).status == "succeeded"
        assert shop.stock("LAST") == (0, 0, 1)

    def test_it_is_owed_back_when_others_took_the_stock(self, shop: Shop) -> None:
        order_id, tx_ref = self.expired(shop, {"LAST": 1})
        shop.order({"LAST": 1}, user="sara")
        shop.deliver()
        story = shop.story(order_id)
        assert story.order.status == "expired"
        assert shop.payment(tx_ref).status == "surplus"
        assert [(r.reference, r.amount) for r in story.refunds] == [(f"late-{tx_ref}", 100)]
        assert shop.stock("LAST") == (0, 1, 0)

    @pytest.mark.corrupts  # The units of a product that is deleted are nowhere.
    def test_it_is_owed_back_when_the_goods_left_the_catalogue(self, shop: Shop) -> None:
        order_id, tx_ref = self.expired(shop, {"LAST": 1})
        shop.table.delete_item(Key={"pk": "STOCK#LAST", "sk": "STOCK"})
        assert 500 not in shop.deliver()
        assert shop.story(order_id).order.status == "expired"
        assert shop.payment(tx_ref).status == "surplus"
        assert [r.reference for r in shop.story(order_id).refunds] == [f"late-{tx_ref}"]

    def test_it_is_owed_back_by_policy(self, shop: Shop) -> None:
        shop.configure(late_success_policy="refund")
        order_id, tx_ref = self.expired(shop, {"LAST": 1})
        shop.deliver()
        assert shop.payment(tx_ref).status == "surplus"
        assert len(shop.story(order_id).refunds) == 1
        assert shop.stock("LAST") == (1, 0, 0)

    def test_it_waits_for_a_person_by_policy(self, shop: Shop) -> None:
        shop.configure(late_success_policy="review")
        order_id, tx_ref = self.expired(shop, {"LAST": 1})
        shop.deliver()
        assert shop.payment(tx_ref).status == "review"
        assert shop.story(order_id).refunds == ()

    def test_it_is_looked_into_a_moment_later_when_chapa_does_not_know_of_it_yet(
        self, shop: Shop
    ) -> None:
        # Nothing else tells of it.
        shop.control.switch(callback="none", cancel_event="none")
        order_id, tx_ref = shop.begun({"LAST": 1})
        shop.clock.advance(1800)
        shop.sweep()
        shop.clock.advance(3)
        shop.control.add_fault("webhook", "early", n=1)
        shop.control.pay(tx_ref, late=True)
        assert shop.deliver() == [200]
        assert shop.story(order_id).order.status == "expired"
        shop.clock.advance(3)
        shop.work()
        assert shop.story(order_id).order.status == "paid"

    def test_a_look_that_a_webhook_asked_for_is_none_of_the_last_ones(self, shop: Shop) -> None:
        order_id, tx_ref = shop.begun({"LAST": 1})
        shop.clock.advance(1800)
        shop.sweep()
        shop.clock.advance(3)
        assert shop.notify(tx_ref).body == {"outcome": "deferred"}
        shop.clock.advance(3)
        shop.work()
        assert shop.story(order_id).order.due_at == shop.now + 3600

    def test_it_is_found_when_its_webhook_was_lost(self, shop: Shop) -> None:
        order_id, tx_ref = shop.begun({"LAST": 1})
        shop.clock.advance(1800)
        shop.sweep()
        shop.control.pay(tx_ref, late=True, webhook=False)
        shop.clock.advance(3600)
        shop.sweep()
        assert shop.story(order_id).order.status == "paid"


def test_a_second_payment_of_a_paid_order_is_owed_back(shop: Shop) -> None:
    order_id, first = shop.begun()
    shop.control.fail(first, webhook=False)
    shop.notify(first, "charge.failed/cancelled")
    second = shop.pay(order_id).body["tx_ref"]
    shop.clock.advance(3)
    shop.control.pay(first, late=True)
    shop.control.pay(second)
    shop.deliver()
    story = shop.story(order_id)
    assert sorted(p.status for p in story.payments) == ["succeeded", "surplus"]
    assert [r.amount for r in story.refunds] == [90_000]
    assert shop.stock("COFFEE-250") == (8, 0, 2)


class TestCrashes:
    @pytest.mark.parametrize("when", ["before", "after"])
    @pytest.mark.parametrize("operation", ["UpdateItem", "TransactWriteItems"])
    def test_whoever_comes_next_finishes_what_a_dead_process_began(
        self, shop: Shop, operation: str, when: str
    ) -> None:
        order_id, tx_ref = shop.begun()
        shop.control.pay(tx_ref, webhook=False)
        shop.before_aws(operation, die, when=when)
        with pytest.raises(Died):
            shop.notify(tx_ref)
        shop.clock.advance(90)
        shop.sweep()
        assert shop.story(order_id).order.status == "paid"
        assert shop.ledger(order_id).count("order.paid") == 1
        assert shop.stock("COFFEE-250") == (8, 0, 2)
