from collections.abc import Callable
from typing import Any

import pytest

from payments.chapa.v1 import ChapaV1
from payments.domain import decisions
from payments.domain.states import OrderStatus, PaymentStatus
from sandbox.client import Response
from tests.shop import Died, Shop, die


@pytest.fixture
def order_id(shop: Shop) -> str:
    """A pending order without a payment."""
    return str(shop.order().body["order_id"])


def of(response: Response) -> tuple[int, str]:
    return response.status, response.code


def statuses(shop: Shop, order_id: str) -> list[str]:
    return [payment.status.value for payment in shop.aggregate(order_id).payments]


def test_new_payment_has_a_checkout_page(shop: Shop, order_id: str) -> None:
    response = shop.pay(order_id)
    assert response.status == 201
    assert response.body["checkout_url"].startswith("http://127.0.0.1:1/checkout/payment/")
    assert (response.body["amount"], response.body["status"]) == ("900.00", "pending")


def test_second_request_returns_the_same_page(shop: Shop, order_id: str) -> None:
    first, second = shop.pay(order_id), shop.pay(order_id)
    assert (first.status, second.status) == (201, 200)
    assert second.body == first.body
    assert shop.asked("initialize") == 1


def test_payment_is_written_before_chapa_is_called(shop: Shop, order_id: str) -> None:
    seen: list[str] = []
    shop.before_chapa("initialize", lambda: seen.extend(statuses(shop, order_id)))
    shop.pay(order_id)
    assert seen == ["initializing"]


def test_webhook_before_the_answer_of_initialize_pays_the_order(shop: Shop, order_id: str) -> None:
    def pay_and_deliver() -> None:
        shop.control.pay(shop.aggregate(order_id).payments[0].tx_ref)
        assert shop.deliver()[0] == 200

    shop.before_aws("UpdateItem", pay_and_deliver)
    assert of(shop.pay(order_id)) == (409, "payment_in_progress")
    assert shop.aggregate(order_id).order.status is OrderStatus.PAID


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
        before = shop.aggregate(order_id)

        def open_payment() -> None:
            if len(shop.slept) == 3:
                [payment] = before.payments
                shop.backend.save(
                    before,
                    decisions.opened(
                        before, payment.tx_ref, "http://pay", shop.now, shop.now + 3600
                    ),
                )

        shop.while_sleeping = open_payment
        response = shop.pay(order_id)
        assert (response.status, response.body["checkout_url"]) == (200, "http://pay")


class TestRefusals:
    def test_order_of_another_user_is_not_found(self, shop: Shop, order_id: str) -> None:
        assert of(shop.pay(order_id, user="sara")) == (404, "order_not_found")
        assert of(shop.pay("a" * 12, user="sara")) == (404, "order_not_found")

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
        order_id, _ = shop.paid()
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
        assert len(shop.aggregate(order_id).payments) == 20


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
        response = shop.pay(order_id)
        assert of(response) == (status, code)
        assert response.body["order_id"] == order_id
        # A refused request is refused again; only other data helps, and so another order.
        assert ("retry-after" in response.headers) == (code != "provider_rejected")
        if code != "provider_rejected":
            assert "do not place another" in response.body["detail"]
        [payment] = shop.aggregate(order_id).payments
        assert payment.status.value == left
        assert shop.available("COFFEE-250") == 8
        assert shop.asked("initialize") == 1

        again = shop.pay(order_id)
        assert again.status == 201
        assert again.body["tx_ref"] != payment.tx_ref
        assert shop.payment(payment.tx_ref).status is PaymentStatus.CLOSED

    def test_words_of_chapa_reach_the_client(self, shop: Shop) -> None:
        order_id = shop.order().body["order_id"]
        shop.control.add_fault("initialize", "status", status=400)
        assert shop.pay(order_id).body["provider_message"] == "Something went wrong"

    def test_unanswered_payment_is_closed_before_it_is_replaced(
        self, shop: Shop, order_id: str
    ) -> None:
        shop.control.add_fault("initialize", "timeout_after", seconds=1)
        shop.pay(order_id)
        shop.control.add_fault("cancel", "status", status=500)
        assert of(shop.pay(order_id)) == (503, "provider_unavailable")
        assert len(shop.aggregate(order_id).payments) == 1
        assert shop.pay(order_id).status == 201

    def test_unanswered_payment_that_was_paid_pays_the_order(
        self, shop: Shop, order_id: str
    ) -> None:
        shop.control.add_fault("initialize", "timeout_after", seconds=1)
        shop.pay(order_id)
        shop.control.pay(shop.aggregate(order_id).payments[0].tx_ref, webhook=False)
        assert of(shop.pay(order_id)) == (409, "order_not_payable")
        assert shop.aggregate(order_id).order.status is OrderStatus.PAID

    def test_lost_payment_that_goes_to_review_is_not_waited_for(
        self, shop: Shop, order_id: str
    ) -> None:
        shop.control.add_fault("initialize", "timeout_after", seconds=60)
        shop.pay(order_id)
        shop.control.add_fault("verify", "says", word="refunded")
        assert of(shop.pay(order_id)) == (409, "order_not_payable")
        assert statuses(shop, order_id) == ["review"]

    def test_failed_payment_can_be_replaced(self, shop: Shop) -> None:
        order_id, tx_ref = shop.begun()
        shop.control.fail(tx_ref)
        shop.deliver()
        assert shop.payment(tx_ref).status is PaymentStatus.FAILED
        response = shop.pay(order_id)
        assert response.status == 201
        assert response.body["tx_ref"] != tx_ref
        assert shop.payment(tx_ref).status is PaymentStatus.CLOSED


class TestRefusedCustomerData:
    CUSTOMER = {"email": "abebe@example.com", "first_name": "Abebe"}  # noqa: RUF012

    def test_payment_is_opened_without_a_refused_email(self, shop: Shop) -> None:
        response = shop.pay(shop.order(customer=self.CUSTOMER).body["order_id"])
        assert response.status == 201
        assert shop.asked("initialize") == 2
        opened = shop.simulator.find(response.body["tx_ref"])
        assert opened
        assert (opened.email, opened.first_name) == (None, "Abebe")

    def test_second_refusal_releases_the_order_for_another_payment(self, shop: Shop) -> None:
        order_id = shop.order(customer=self.CUSTOMER).body["order_id"]
        calls: list[str] = []

        def refuse_second(request: object, send: Callable[[], Any]) -> Any:
            calls.append("call")
            if len(calls) == 2:
                shop.control.add_fault("initialize", "status", status=400)
            return send()

        shop.chapa_connection.around = refuse_second
        assert of(shop.pay(order_id)) == (400, "provider_rejected")
        assert statuses(shop, order_id) == ["closed"]
        assert shop.pay(order_id).status == 201


class TestOurOwnTrouble:
    """Whatever goes wrong between the row and the call releases the order at once."""

    def test_next_request_opens_a_payment_after_the_secret_was_throttled(
        self, shop: Shop, order_id: str
    ) -> None:
        shop.throttle_secret()
        response = shop.pay(order_id)
        assert of(response) == (503, "unavailable")
        assert response.headers["retry-after"] == "5"
        assert statuses(shop, order_id) == []
        shop.clock.advance(5)
        assert shop.pay(order_id).status == 201

    def test_next_request_opens_a_payment_after_the_key_was_corrected(
        self, shop: Shop, order_id: str
    ) -> None:
        shop.set_secret(api_key="sk_wrong")
        shop.configure()
        assert of(shop.pay(order_id)) == (500, "internal_error")
        assert statuses(shop, order_id) == []
        shop.set_secret()
        shop.clock.advance(3)
        assert shop.pay(order_id).status == 201

    def test_bug_after_the_call_releases_the_payment_for_closing(
        self, shop: Shop, order_id: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with monkeypatch.context() as patched:
            patched.setattr(ChapaV1, "_trusted", lambda *_: 1 / 0)
            assert of(shop.pay(order_id)) == (500, "internal_error")
        assert statuses(shop, order_id) == ["initializing"]
        assert shop.pay(order_id).status == 201
        assert statuses(shop, order_id) == ["closed", "pending"]


class TestAgeOfThePage:
    def test_page_near_its_end_is_closed_and_replaced(self, shop: Shop) -> None:
        shop.configure(order_ttl_seconds="7200")
        order_id, tx_ref = shop.begun()
        shop.clock.advance(3600 - 121)
        assert shop.pay(order_id).body["tx_ref"] == tx_ref
        shop.clock.advance(1)
        response = shop.pay(order_id)
        assert response.status == 201
        assert response.body["tx_ref"] != tx_ref
        assert shop.payment(tx_ref).status is PaymentStatus.CLOSED
        assert shop.control.payment(tx_ref)["cancelled"] is True

    def test_page_paid_near_its_end_pays_the_order(self, shop: Shop) -> None:
        shop.configure(order_ttl_seconds="7200")
        order_id, tx_ref = shop.begun()
        shop.clock.advance(3600 - 60)
        shop.control.pay(tx_ref, webhook=False)
        assert of(shop.pay(order_id)) == (409, "order_not_payable")
        assert shop.aggregate(order_id).order.status is OrderStatus.PAID

    def test_replacing_a_page_does_not_wait_for_the_grace_period(self, shop: Shop) -> None:
        """The stock stays with the order, so a late success of the old page pays it too."""
        shop.control.switch(verify_unpaid="pending", verify_cancelled="unpaid")
        shop.configure(order_ttl_seconds="7200")
        order_id, tx_ref = shop.begun()
        shop.clock.advance(3600)
        assert shop.pay(order_id).status == 201
        assert statuses(shop, order_id) == ["closed", "pending"]
        shop.control.pay(tx_ref, late=True)
        shop.deliver()
        assert shop.aggregate(order_id).order.paid_by == tx_ref


@pytest.mark.parametrize("where", ["before the call", "after the call"])
def test_abandoned_payment_is_closed_and_replaced_when_its_lease_ends(
    shop: Shop, order_id: str, where: str
) -> None:
    if where == "before the call":
        shop.before_chapa("initialize", die)
    else:
        shop.before_aws("UpdateItem", die)
    with pytest.raises(Died):
        shop.pay(order_id)
    assert shop.pay(order_id).code == "payment_in_progress"
    shop.clock.advance(60)
    assert shop.pay(order_id).status == 201
    assert statuses(shop, order_id) == ["closed", "pending"]


def test_sweep_closes_an_abandoned_payment(shop: Shop, order_id: str) -> None:
    shop.before_aws("UpdateItem", die)
    with pytest.raises(Died):
        shop.pay(order_id)
    shop.clock.advance(90)
    shop.sweep()
    assert statuses(shop, order_id) == ["closed"]
    assert shop.aggregate(order_id).order.status is OrderStatus.PENDING


def test_client_that_obeys_retry_after_outlasts_half_an_hour_of_trouble(
    shop: Shop, order_id: str
) -> None:
    """An order has at most twenty payments, so the pauses grow."""
    shop.control.add_fault("initialize", "status", status=429, times=None)
    end = shop.now + 1_500
    pauses = []
    while shop.now < end:
        response = shop.pay(order_id)
        assert response.code == "provider_unavailable"
        pauses.append(response.body["retry_after"])
        shop.clock.advance(pauses[-1])
    assert pauses[:7] == [5, 10, 20, 40, 80, 120, 120]
    shop.control.clear_faults()
    assert shop.pay(order_id).status == 201
