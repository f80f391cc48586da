import pytest

from payments import domain
from payments.states import PaymentStatus
from sandbox.client import Response
from tests import builders
from tests.shop import Died, Shop, die


@pytest.fixture
def order_id(shop: Shop) -> str:
    """A pending order without a payment."""
    return str(shop.order().body["order_id"])


def of(response: Response) -> tuple[int, str]:
    return response.status, response.code


def statuses(shop: Shop, order_id: str) -> list[str]:
    return [payment.status for payment in shop.story(order_id).payments]


def test_new_payment_has_a_checkout_page(shop: Shop, order_id: str) -> None:
    answer = shop.pay(order_id)
    assert answer.status == 201
    assert answer.body["checkout_url"].startswith("http://127.0.0.1:1/checkout/payment/")
    assert (answer.body["amount"], answer.body["status"]) == ("900.00", "pending")


def test_second_request_returns_the_same_page(shop: Shop, order_id: str) -> None:
    first, second = shop.pay(order_id), shop.pay(order_id)
    assert (first.status, second.status) == (201, 200)
    assert second.body == first.body
    assert shop.asked("initialize") == 1


def test_payment_is_written_before_chapa_is_called(shop: Shop, order_id: str) -> None:
    seen: list[str] = []
    shop.before_chapa("initialize", lambda: seen.extend(statuses(shop, order_id)))
    shop.pay(order_id)
    assert seen == [PaymentStatus.INITIALIZING]


def test_webhook_before_the_answer_of_initialize_pays_the_order(shop: Shop, order_id: str) -> None:
    def pay_and_deliver() -> None:
        shop.control.pay(shop.story(order_id).payments[0].tx_ref)
        assert shop.deliver()[0] == 200

    shop.before_aws("TransactWriteItems", pay_and_deliver, skip=1)
    assert of(shop.pay(order_id)) == (409, "payment_in_progress")
    assert shop.story(order_id).order.status == "paid"


class TestConcurrentRequests:
    def test_request_that_lost_the_race_returns_the_page_of_the_winner(
        self, shop: Shop, order_id: str
    ) -> None:
        answers = []
        shop.before_aws("TransactWriteItems", lambda: answers.append(shop.pay(order_id)))
        answers.append(shop.pay(order_id))
        assert [answer.status for answer in answers] == [201, 200]
        assert answers[0].body == answers[1].body
        assert shop.asked("initialize") == 1

    def test_second_request_waits_for_the_first(self, shop: Shop, order_id: str) -> None:
        codes: list[str] = []
        shop.before_chapa("initialize", lambda: codes.append(shop.pay(order_id).code))
        assert shop.pay(order_id).status == 201
        assert codes == ["payment_in_progress"]
        assert sum(shop.slept) == pytest.approx(5, abs=0.3)
        assert shop.asked("initialize") == 1

    def test_waiting_request_returns_the_page_as_soon_as_it_is_there(
        self, shop: Shop, order_id: str
    ) -> None:
        shop.before_chapa("initialize", die)
        with pytest.raises(Died):
            shop.pay(order_id)
        story = shop.story(order_id)

        def open_payment() -> None:
            if len(shop.slept) == 3:
                tx_ref = story.payments[0].tx_ref
                shop.backend.save(story, domain.opened(story, tx_ref, "http://pay", shop.now))

        shop.while_sleeping = open_payment
        answer = shop.pay(order_id)
        assert (answer.status, answer.body["checkout_url"]) == (200, "http://pay")


class TestRefusals:
    def test_order_of_another_user_is_not_found(self, shop: Shop, order_id: str) -> None:
        assert of(shop.pay(order_id, user="sara")) == (404, "order_not_found")
        assert of(shop.pay("a" * 20, user="sara")) == (404, "order_not_found")

    @pytest.mark.parametrize("order_id", ["nonsense", "ORDER#x", "a" * 64, "../..", "💥"])
    def test_malformed_order_id_is_not_found(self, shop: Shop, order_id: str) -> None:
        assert of(shop.pay(order_id)) == (404, "order_not_found")

    @pytest.mark.corrupts
    def test_order_without_items_is_refused(self, shop: Shop, order_id: str) -> None:
        shop.table.update_item(
            Key={"pk": f"ORDER#{order_id}", "sk": "ORDER"},
            UpdateExpression="SET #lines = :none",
            ExpressionAttributeNames={"#lines": "lines"},
            ExpressionAttributeValues={":none": []},
        )
        assert of(shop.pay(order_id)) == (422, "order_empty")

    def test_paid_order_cannot_be_paid_again(self, shop: Shop) -> None:
        order_id, _ = builders.paid(shop)
        assert of(shop.pay(order_id)) == (409, "order_not_payable")

    def test_overdue_order_cannot_be_paid_before_the_sweep(self, shop: Shop, order_id: str) -> None:
        shop.clock.advance(1800)
        before = shop.dump()
        assert of(shop.pay(order_id)) == (409, "order_not_payable")
        assert shop.dump() == before

    def test_order_has_at_most_twenty_payments(self, shop: Shop, order_id: str) -> None:
        shop.control.add_fault("initialize", "status", status=400, times=None)
        codes = [shop.pay(order_id).code for _ in range(21)]
        assert codes == ["provider_rejected"] * 20 + ["order_not_payable"]
        assert len(shop.story(order_id).payments) == 20


class TestProviderErrors:
    @pytest.mark.parametrize(
        ("kind", "details", "status", "code", "left"),
        [
            ("status", {"status": 400}, 400, "provider_rejected", "closed"),
            ("status", {"status": 401}, 502, "provider_error", "closed"),
            ("status", {"status": 429}, 503, "provider_unavailable", "closed"),
            ("status", {"status": 500}, 502, "provider_error", "initializing"),
            ("timeout_after", {"seconds": 1}, 504, "provider_timeout", "initializing"),
            ("reset", {}, 503, "provider_unavailable", "initializing"),
        ],
    )
    def test_each_error_has_its_answer_and_allows_another_payment(
        self,
        shop: Shop,
        order_id: str,
        kind: str,
        details: dict[str, int],
        status: int,
        code: str,
        left: str,
    ) -> None:
        shop.control.add_fault("initialize", kind, **details)  # type: ignore[arg-type]
        answer = shop.pay(order_id)
        assert of(answer) == (status, code)
        assert answer.body["order_id"] == order_id
        # A refused request is refused again; only other data helps, and so another order.
        assert ("retry-after" in answer.headers) == (code != "provider_rejected")
        if code != "provider_rejected":
            assert "do not place another" in answer.body["detail"]
        [payment] = shop.story(order_id).payments
        assert payment.status == left
        assert shop.stock("COFFEE-250") == (8, 2, 0)
        assert shop.asked("initialize") == 1

        again = shop.pay(order_id)
        assert again.status == 201
        assert again.body["tx_ref"] != payment.tx_ref
        assert shop.payment(payment.tx_ref).status == "closed"

    def test_words_of_chapa_reach_the_client(self, shop: Shop) -> None:
        answer = shop.pay(shop.order(customer={"email": "abebe@example.com"}).body["order_id"])
        assert of(answer) == (400, "provider_rejected")
        assert answer.body["provider_message"] == {"email": ["validation.email"]}

    def test_unanswered_payment_is_closed_before_it_is_replaced(
        self, shop: Shop, order_id: str
    ) -> None:
        shop.control.add_fault("initialize", "timeout_after", seconds=1)
        shop.pay(order_id)
        shop.control.add_fault("cancel", "status", status=500)
        assert of(shop.pay(order_id)) == (503, "provider_unavailable")
        assert len(shop.story(order_id).payments) == 1
        assert shop.pay(order_id).status == 201

    def test_unanswered_payment_that_was_paid_pays_the_order(
        self, shop: Shop, order_id: str
    ) -> None:
        shop.control.add_fault("initialize", "timeout_after", seconds=1)
        shop.pay(order_id)
        shop.control.pay(shop.story(order_id).payments[0].tx_ref, webhook=False)
        assert of(shop.pay(order_id)) == (409, "order_not_payable")
        assert shop.story(order_id).order.status == "paid"

    def test_failed_payment_can_be_replaced(self, shop: Shop) -> None:
        order_id, tx_ref = shop.begun()
        shop.control.fail(tx_ref)
        shop.deliver()
        assert shop.payment(tx_ref).status == "failed"
        answer = shop.pay(order_id)
        assert answer.status == 201
        assert answer.body["tx_ref"] != tx_ref
        assert shop.payment(tx_ref).status == "closed"


@pytest.mark.parametrize("where", ["before the call", "after the call"])
def test_abandoned_payment_is_closed_and_replaced_when_its_lease_ends(
    shop: Shop, order_id: str, where: str
) -> None:
    if where == "before the call":
        shop.before_chapa("initialize", die)
    else:
        shop.before_aws("TransactWriteItems", die, skip=1)
    with pytest.raises(Died):
        shop.pay(order_id)
    assert shop.pay(order_id).code == "payment_in_progress"
    shop.clock.advance(60)
    assert shop.pay(order_id).status == 201
    assert statuses(shop, order_id) == ["closed", "pending"]


def test_sweep_closes_an_abandoned_payment(shop: Shop, order_id: str) -> None:
    shop.before_aws("TransactWriteItems", die, skip=1)
    with pytest.raises(Died):
        shop.pay(order_id)
    shop.clock.advance(60)
    shop.sweep()
    assert statuses(shop, order_id) == ["closed"]
    assert shop.story(order_id).order.status == "pending"


def test_client_that_obeys_retry_after_outlasts_half_an_hour_of_trouble(
    shop: Shop, order_id: str
) -> None:
    """An order has at most twenty payments, so the pauses grow."""
    shop.control.add_fault("initialize", "status", status=429, times=None)
    end = shop.now + 1_500
    pauses = []
    while shop.now < end:
        answer = shop.pay(order_id)
        assert answer.code == "provider_unavailable"
        pauses.append(answer.body["retry_after"])
        shop.clock.advance(pauses[-1])
    assert pauses[:7] == [5, 10, 20, 40, 80, 120, 120]
    shop.control.clear_faults()
    assert shop.pay(order_id).status == 201
