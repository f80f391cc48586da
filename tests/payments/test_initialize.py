import pytest

from payments import domain
from payments.states import PaymentStatus
from tests.shop import Died, Shop, die


def test_a_payment_begins_with_a_page_to_pay_on(shop: Shop) -> None:
    order_id = shop.order().body["order_id"]
    answer = shop.pay(order_id)
    assert answer.status == 201
    assert answer.body["checkout_url"].startswith("http://127.0.0.1:1/checkout/payment/")
    assert (answer.body["amount"], answer.body["status"]) == ("900.00", "pending")


def test_a_second_click_gets_the_same_page(shop: Shop) -> None:
    order_id = shop.order().body["order_id"]
    first, second = shop.pay(order_id), shop.pay(order_id)
    assert (first.status, second.status) == (201, 200)
    assert second.body == first.body
    assert shop.asked("initialize") == 1


def test_chapa_hears_of_a_payment_only_after_it_was_written(shop: Shop) -> None:
    order_id = shop.order().body["order_id"]
    seen: list[PaymentStatus] = []
    shop.before_chapa(
        "initialize", lambda: seen.extend(p.status for p in shop.story(order_id).payments)
    )
    shop.pay(order_id)
    assert seen == [PaymentStatus.INITIALIZING]


def test_a_webhook_that_overtakes_the_answer_meets_a_payment_that_we_know(shop: Shop) -> None:
    order_id = shop.order().body["order_id"]

    def paid_already() -> None:
        tx_ref = shop.story(order_id).payments[0].tx_ref
        shop.control.pay(tx_ref)
        assert shop.deliver()[0] == 200

    shop.before_aws("TransactWriteItems", paid_already, skip=1)
    answer = shop.pay(order_id)
    assert (answer.status, answer.code) == (409, "payment_in_progress")
    assert shop.story(order_id).order.status == "paid"


class TestTwoAtOnce:
    def test_the_one_who_lost_the_race_gets_the_winner_s_page(self, shop: Shop) -> None:
        order_id = shop.order().body["order_id"]
        answers = []
        shop.before_aws("TransactWriteItems", lambda: answers.append(shop.pay(order_id)))
        answers.append(shop.pay(order_id))
        assert [answer.status for answer in answers] == [201, 200]
        assert answers[0].body == answers[1].body
        assert shop.asked("initialize") == 1

    def test_the_second_waits_for_the_first_one_s_answer(self, shop: Shop) -> None:
        order_id = shop.order().body["order_id"]
        codes: list[str] = []
        shop.before_chapa("initialize", lambda: codes.append(shop.pay(order_id).code))
        assert shop.pay(order_id).status == 201
        assert codes == ["payment_in_progress"]
        assert sum(shop.slept) == pytest.approx(5, abs=0.3)
        assert shop.asked("initialize") == 1

    def test_and_gets_it_when_it_comes_in_time(self, shop: Shop) -> None:
        order_id = shop.order().body["order_id"]
        shop.before_chapa("initialize", die)
        with pytest.raises(Died):
            shop.pay(order_id)
        [payment] = shop.story(order_id).payments
        story = shop.story(order_id)

        def answered() -> None:
            if len(shop.slept) == 3:
                shop.backend.save(
                    story, domain.opened(story, payment.tx_ref, "http://pay", shop.now)
                )

        shop.while_sleeping = answered
        answer = shop.pay(order_id)
        assert (answer.status, answer.body["checkout_url"]) == (200, "http://pay")


class TestRefusals:
    def test_somebody_else_s_order_is_not_there(self, shop: Shop) -> None:
        order_id = shop.order().body["order_id"]
        foreign, missing = shop.pay(order_id, user="sara"), shop.pay("a" * 20, user="sara")
        assert (foreign.status, foreign.code) == (missing.status, missing.code)
        assert (foreign.status, foreign.code) == (404, "order_not_found")

    @pytest.mark.parametrize("order_id", ["nonsense", "ORDER#x", "a" * 64, "../..", "💥"])
    def test_an_id_that_is_none_is_not_there(self, shop: Shop, order_id: str) -> None:
        answer = shop.pay(order_id)
        assert (answer.status, answer.code) == (404, "order_not_found")

    @pytest.mark.corrupts
    def test_an_order_without_items_has_nothing_to_pay_for(self, shop: Shop) -> None:
        order_id = shop.order().body["order_id"]
        shop.table.update_item(
            Key={"pk": f"ORDER#{order_id}", "sk": "ORDER"},
            UpdateExpression="SET #lines = :none",
            ExpressionAttributeNames={"#lines": "lines"},
            ExpressionAttributeValues={":none": []},
        )
        answer = shop.pay(order_id)
        assert (answer.status, answer.code) == (422, "order_empty")

    def test_a_paid_order_cannot_be_paid_again(self, shop: Shop) -> None:
        order_id, tx_ref = shop.begun()
        shop.control.pay(tx_ref)
        shop.deliver()
        answer = shop.pay(order_id)
        assert (answer.status, answer.code) == (409, "order_not_payable")

    def test_an_order_past_its_time_cannot_be_paid_even_before_it_was_expired(
        self, shop: Shop
    ) -> None:
        order_id = shop.order().body["order_id"]
        shop.clock.advance(1800)
        before = shop.dump()
        answer = shop.pay(order_id)
        assert (answer.status, answer.code) == (409, "order_not_payable")
        assert shop.dump() == before

    def test_nobody_begins_payments_without_end(self, shop: Shop) -> None:
        order_id = shop.order().body["order_id"]
        shop.control.add_fault("initialize", "status", status=400, times=None)
        codes = [shop.pay(order_id).code for _ in range(21)]
        assert codes == ["provider_rejected"] * 20 + ["order_not_payable"]
        assert len(shop.story(order_id).payments) == 20


class TestProviderErrors:
    """Each fault of the provider, what the client hears, and what stays behind."""

    @pytest.mark.parametrize(
        ("kind", "details", "status", "code", "left"),
        [
            ("status", {"status": 400}, 400, "provider_rejected", "closed"),
            ("status", {"status": 401}, 502, "provider_error", "closed"),
            ("status", {"status": 429}, 503, "provider_unavailable", "closed"),
            ("status", {"status": 500}, 502, "provider_error", "initializing"),
            ("status", {"status": 503}, 502, "provider_error", "initializing"),
            ("html", {"status": 502}, 502, "provider_error", "initializing"),
            ("html", {"status": 200}, 502, "provider_error", "initializing"),
            ("malformed", {}, 502, "provider_error", "initializing"),
            ("timeout_before", {"seconds": 1}, 504, "provider_timeout", "initializing"),
            ("timeout_after", {"seconds": 1}, 504, "provider_timeout", "initializing"),
            ("reset", {}, 503, "provider_unavailable", "initializing"),
            ("reset_after", {}, 503, "provider_unavailable", "initializing"),
        ],
    )
    def test_each_fault_has_its_answer(
        self,
        shop: Shop,
        kind: str,
        details: dict[str, int],
        status: int,
        code: str,
        left: str,
    ) -> None:
        order_id = shop.order().body["order_id"]
        shop.control.add_fault("initialize", kind, **details)  # type: ignore[arg-type]
        answer = shop.pay(order_id)
        assert (answer.status, answer.code) == (status, code)
        assert answer.body["order_id"] == order_id
        # What was refused once is refused again: better data helps, and another order has it.
        assert ("retry-after" in answer.headers) == (code != "provider_rejected")
        [payment] = shop.story(order_id).payments
        assert payment.status == left
        assert shop.stock("COFFEE-250") == (8, 2, 0)
        assert shop.asked("initialize") == 1

        again = shop.pay(order_id)
        assert again.status == 201
        assert again.body["tx_ref"] != payment.tx_ref
        assert shop.payment(payment.tx_ref).status == "closed"

    def test_the_provider_s_own_words_reach_the_client(self, shop: Shop) -> None:
        order_id = shop.order(customer={"email": "abebe@example.com"}).body["order_id"]
        answer = shop.pay(order_id)
        assert (answer.status, answer.code) == (400, "provider_rejected")
        assert answer.body["provider_message"] == {"email": ["validation.email"]}

    def test_an_unknown_outcome_does_not_invite_to_pay_twice(self, shop: Shop) -> None:
        order_id = shop.order().body["order_id"]
        shop.control.add_fault("initialize", "timeout_after", seconds=1)
        assert "do not place another" in shop.pay(order_id).body["detail"]

    def test_a_payment_that_was_lost_is_not_replaced_before_it_is_shut(self, shop: Shop) -> None:
        order_id = shop.order().body["order_id"]
        shop.control.add_fault("initialize", "timeout_after", seconds=1)
        shop.pay(order_id)
        shop.control.add_fault("cancel", "status", status=500)
        answer = shop.pay(order_id)
        assert (answer.status, answer.code) == (503, "provider_unavailable")
        assert len(shop.story(order_id).payments) == 1
        assert shop.pay(order_id).status == 201

    def test_a_lost_payment_that_was_paid_all_the_same_pays_the_order(self, shop: Shop) -> None:
        order_id = shop.order().body["order_id"]
        shop.control.add_fault("initialize", "timeout_after", seconds=1)
        shop.pay(order_id)
        [payment] = shop.story(order_id).payments
        shop.control.pay(payment.tx_ref, webhook=False)
        answer = shop.pay(order_id)
        assert (answer.status, answer.code) == (409, "order_not_payable")
        assert shop.story(order_id).order.status == "paid"

    def test_a_customer_who_failed_may_begin_again(self, shop: Shop) -> None:
        order_id, tx_ref = shop.begun()
        shop.control.fail(tx_ref)
        shop.deliver()
        assert shop.payment(tx_ref).status == "failed"
        answer = shop.pay(order_id)
        assert answer.status == 201
        assert answer.body["tx_ref"] != tx_ref
        assert shop.payment(tx_ref).status == "closed"


class TestCrashes:
    @pytest.mark.parametrize("where", ["before the call", "after the call"])
    def test_a_payment_left_behind_is_shut_and_replaced(self, shop: Shop, where: str) -> None:
        order_id = shop.order().body["order_id"]
        if where == "before the call":
            shop.before_chapa("initialize", die)
        else:
            shop.before_aws("TransactWriteItems", die, skip=1)
        with pytest.raises(Died):
            shop.pay(order_id)
        assert shop.pay(order_id).code == "payment_in_progress"
        shop.clock.advance(60)
        answer = shop.pay(order_id)
        assert answer.status == 201
        assert [p.status for p in shop.story(order_id).payments] == ["closed", "pending"]

    def test_the_sweep_shuts_it_too(self, shop: Shop) -> None:
        order_id = shop.order().body["order_id"]
        shop.before_aws("TransactWriteItems", die, skip=1)
        with pytest.raises(Died):
            shop.pay(order_id)
        shop.clock.advance(60)
        shop.sweep()
        assert [p.status for p in shop.story(order_id).payments] == ["closed"]
        assert shop.story(order_id).order.status == "pending"


def test_a_client_that_waits_as_it_is_told_outlasts_half_an_hour_of_trouble(shop: Shop) -> None:
    """Every attempt counts, and there are twenty: so each time it is told to wait for longer."""
    order_id = str(shop.order().body["order_id"])
    shop.control.add_fault("initialize", "status", status=429, times=None)
    over = shop.now + 1_500
    pauses = []
    while shop.now < over:
        answer = shop.pay(order_id)
        assert answer.code == "provider_unavailable"
        pauses.append(answer.body["retry_after"])
        shop.clock.advance(pauses[-1])
    assert pauses[:7] == [5, 10, 20, 40, 80, 120, 120]
    shop.control.clear_faults()
    assert shop.pay(order_id).status == 201
