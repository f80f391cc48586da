"""An operator decides about payments that are open or in manual review."""

import pytest

from payments.domain.events import PaymentResolved
from payments.domain.records import Payment
from payments.domain.states import OrderStatus, PaymentStatus, RefundStatus
from payments.errors import NotResolvable, PaymentNotFound
from payments.usecases import refund as refunds
from payments.usecases.resolve import PaymentDecision, resolve
from tests.shop import Shop

ACCEPT, REFUND, DISMISS = PaymentDecision
ALMAZ, SARA = (f"arn:aws:iam::1:user/{name}" for name in ("almaz", "sara"))


def decide(
    shop: Shop,
    tx_ref: str,
    decision: PaymentDecision,
    *,
    by: str = ALMAZ,
    unanswered: bool = False,
) -> Payment:
    return resolve(
        shop.backend, tx_ref, decision, by=by, reason="Call 0911223344", unanswered=unanswered
    )


def paid_wrongly(shop: Shop, tx_ref: str) -> None:
    """One birr arrives, and the payment goes to review."""
    shop.clock.advance(3)
    shop.control.pay(tx_ref, amount="1.00", late=True, webhook=False)
    assert shop.notify(tx_ref).body == {"outcome": "applied"}
    assert shop.payment(tx_ref).status is PaymentStatus.REVIEW


def in_review(shop: Shop) -> tuple[str, str]:
    order_id, tx_ref = shop.begun()
    paid_wrongly(shop, tx_ref)
    return order_id, tx_ref


def decisions_of(shop: Shop, order_id: str) -> list[PaymentResolved]:
    return [event for event in shop.events(order_id) if isinstance(event, PaymentResolved)]


@pytest.mark.parametrize("decision", [ACCEPT, REFUND, DISMISS])
def test_decision_is_one_event_with_who_and_why_however_often_it_is_made(
    shop: Shop, decision: PaymentDecision
) -> None:
    order_id, tx_ref = in_review(shop)
    if decision is DISMISS:
        shop.control.reverse(tx_ref, webhook=False)
        shop.simulator.find(tx_ref).status = "unpaid"  # type: ignore[union-attr]
    decided = decide(shop, tx_ref, decision)
    before = shop.dump()
    assert decide(shop, tx_ref, decision, by=SARA) == decided
    assert shop.dump() == before
    assert decisions_of(shop, order_id) == [
        PaymentResolved(shop.now, tx_ref, decision.value, ALMAZ, "Call [removed]")
    ]


class TestAccept:
    def test_payment_in_review_pays_its_order(self, shop: Shop) -> None:
        order_id, tx_ref = in_review(shop)
        payment = decide(shop, tx_ref, ACCEPT)
        assert (payment.status, payment.accepted_by) == (PaymentStatus.SUCCEEDED, ALMAZ)
        assert payment.paid_amount == 100
        assert shop.aggregate(order_id).order.paid_by == tx_ref
        assert shop.event_names(order_id)[-2:] == ["payment.succeeded", "order.paid"]
        assert shop.aggregate(order_id).order.due_at is None

    def test_customer_sees_the_currency_in_which_an_accepted_payment_came(self, shop: Shop) -> None:
        _, tx_ref = shop.begun()
        shop.control.pay(tx_ref, currency="XAF", webhook=False)
        shop.notify(tx_ref)
        decide(shop, tx_ref, ACCEPT)
        assert "XAF" in [event.get("currency") for event in shop.status(tx_ref).body["events"]]

    def test_open_payment_pays_its_order_though_chapa_is_gone(self, shop: Shop) -> None:
        order_id, tx_ref = shop.begun()
        shop.unanswered()
        assert decide(shop, tx_ref, ACCEPT).status is PaymentStatus.SUCCEEDED
        assert shop.aggregate(order_id).order.status is OrderStatus.PAID

    def test_order_that_another_payment_paid_cannot_take_it(self, shop: Shop) -> None:
        order_id, first = shop.begun()
        shop.control.fail(first, webhook=False)
        shop.notify(first, "charge.failed/cancelled")
        second = str(shop.pay(order_id).body["tx_ref"])
        shop.control.pay(second, webhook=False)
        shop.notify(second)
        paid_wrongly(shop, first)
        with pytest.raises(NotResolvable, match="paid by another payment"):
            decide(shop, first, ACCEPT)
        assert decide(shop, first, REFUND).status is PaymentStatus.UNAPPLIED

    @pytest.mark.parametrize("sold", [False, True])
    def test_expired_order_takes_its_stock_again_or_the_refusal_says_why(
        self, shop: Shop, *, sold: bool
    ) -> None:
        shop.configure(late_success_policy="review")
        order_id, tx_ref = shop.expired({"LAST": 1})
        shop.clock.advance(3)
        shop.control.pay(tx_ref, late=True, webhook=False)
        assert shop.notify(tx_ref).body == {"outcome": "applied"}
        if not sold:
            assert decide(shop, tx_ref, ACCEPT).status is PaymentStatus.SUCCEEDED
            assert shop.aggregate(order_id).order.status is OrderStatus.PAID
            assert shop.available("LAST") == 0
            return
        shop.order({"LAST": 1}, user="sara")
        with pytest.raises(NotResolvable, match="sold to others") as refusal:
            decide(shop, tx_ref, ACCEPT)
        assert refusal.value.members["skus"] == ["LAST"]
        decide(shop, tx_ref, REFUND)
        shop.sweeps()
        assert shop.payment(tx_ref).status is PaymentStatus.REFUNDED


class TestRefund:
    def test_what_was_really_paid_is_owed_back(self, shop: Shop) -> None:
        order_id, tx_ref = in_review(shop)
        assert decide(shop, tx_ref, REFUND).status is PaymentStatus.UNAPPLIED
        [refund] = shop.aggregate(order_id).refunds
        assert (refund.amount, refund.status) == (100, RefundStatus.REQUESTED)
        shop.sweeps()
        assert shop.payment(tx_ref).status is PaymentStatus.REFUNDED
        assert decide(shop, tx_ref, REFUND) == shop.payment(tx_ref)
        shop.clock.advance(1800)
        shop.sweep()
        assert shop.aggregate(order_id).order.status is OrderStatus.EXPIRED

    def test_payment_that_nobody_saw_paid_is_not_refunded(self, shop: Shop) -> None:
        _, tx_ref = shop.begun()
        with pytest.raises(NotResolvable, match="not known that anything was paid"):
            decide(shop, tx_ref, REFUND)

    def test_rest_of_a_payment_that_paid_its_order_is_owed_back(self, shop: Shop) -> None:
        order_id, tx_ref = shop.paid()
        refunds.request(shop.backend, tx_ref, 40_000, key="1", reason="Broken cup")
        shop.sweeps()
        at_chapa = shop.simulator.find(tx_ref)
        assert at_chapa
        at_chapa.status = "refunded"
        shop.notify(tx_ref, "charge.refunded")
        assert shop.payment(tx_ref).status is PaymentStatus.REVIEW
        for _ in range(2):
            assert decide(shop, tx_ref, REFUND).status is PaymentStatus.SUCCEEDED
        assert [r.amount for r in shop.aggregate(order_id).refunds] == [40_000, 50_000]
        assert shop.aggregate(order_id).order.status is OrderStatus.PAID


class TestDismiss:
    @pytest.mark.parametrize("state", ["review", "pending"])
    def test_payment_is_not_dismissed_while_chapa_says_that_money_is_there(
        self, shop: Shop, state: str
    ) -> None:
        order_id, tx_ref = in_review(shop) if state == "review" else shop.begun()
        if state == "pending":
            shop.control.pay(tx_ref, webhook=False)
        with pytest.raises(NotResolvable, match="the money is there"):
            decide(shop, tx_ref, DISMISS, unanswered=True)
        assert decisions_of(shop, order_id) == []
        expected = PaymentStatus.REVIEW if state == "review" else PaymentStatus.SUCCEEDED
        assert shop.payment(tx_ref).status is expected

    def test_unpaid_payment_is_closed_and_its_order_can_be_paid_anew(self, shop: Shop) -> None:
        order_id, tx_ref = shop.begun()
        assert decide(shop, tx_ref, DISMISS).status is PaymentStatus.CLOSED
        assert shop.aggregate(order_id).order.status is OrderStatus.PENDING
        assert shop.pay(order_id).status == 201

    def test_stock_is_released_when_chapa_is_gone_only_if_the_operator_says_so(
        self, shop: Shop
    ) -> None:
        order_id, tx_ref = shop.begun()
        shop.unanswered()
        shop.clock.advance(1800)
        shop.sweep()
        with pytest.raises(NotResolvable, match="no usable answer"):
            decide(shop, tx_ref, DISMISS)
        assert shop.available("COFFEE-250") == 8
        assert decide(shop, tx_ref, DISMISS, unanswered=True).status is PaymentStatus.CLOSED
        assert shop.aggregate(order_id).order.status is OrderStatus.EXPIRED
        assert shop.available("COFFEE-250") == 10

    @pytest.mark.parametrize("status", [PaymentStatus.REVERSED, PaymentStatus.REFUNDED])
    def test_money_that_came_and_went_unseen_is_recorded_as_gone(
        self, shop: Shop, status: PaymentStatus
    ) -> None:
        order_id, tx_ref = shop.begun()
        shop.control.pay(tx_ref, webhook=False)
        shop.simulator.find(tx_ref).status = status.value  # type: ignore[union-attr]
        shop.notify(tx_ref)
        assert shop.payment(tx_ref).status is PaymentStatus.REVIEW
        assert decide(shop, tx_ref, DISMISS).status is status
        shop.clock.advance(1800)
        shop.sweep()
        assert shop.aggregate(order_id).order.status is OrderStatus.EXPIRED

    @pytest.mark.parametrize("word", ["refunded", "reversed", "failed/cancelled"])
    @pytest.mark.parametrize("state", ["review", "pending"])
    def test_answer_that_names_another_payment_says_nothing(
        self, shop: Shop, state: str, word: str
    ) -> None:
        _, tx_ref = in_review(shop) if state == "review" else shop.begun()
        shop.control.pay(tx_ref, webhook=False) if state == "pending" else None
        shop.simulator.find(tx_ref).status = word  # type: ignore[union-attr]
        shop.control.add_fault("verify", "wrong_tx_ref", times=None)
        with pytest.raises(NotResolvable, match="no usable answer"):
            decide(shop, tx_ref, DISMISS)
        assert decide(shop, tx_ref, DISMISS, unanswered=True).status is PaymentStatus.CLOSED
        shop.simulator.find(tx_ref).status = "unpaid"  # type: ignore[union-attr]

    def test_customer_does_not_see_why_an_operator_dismissed_it(self, shop: Shop) -> None:
        _, tx_ref = shop.begun()
        decide(shop, tx_ref, DISMISS)
        assert "Call" not in str(shop.status(tx_ref).body)

    def test_success_that_arrives_meanwhile_wins(self, shop: Shop) -> None:
        order_id, tx_ref = shop.begun()

        def pay() -> None:
            shop.clock.advance(3)
            shop.control.pay(tx_ref, webhook=False)
            assert shop.notify(tx_ref).body == {"outcome": "applied"}

        shop.before_aws("TransactWriteItems", pay)
        with pytest.raises(NotResolvable, match="it is paid"):
            decide(shop, tx_ref, DISMISS)
        assert shop.aggregate(order_id).order.status is OrderStatus.PAID
        assert decisions_of(shop, order_id) == []


@pytest.mark.parametrize(("mine", "other"), [(ACCEPT, REFUND), (REFUND, ACCEPT)])
def test_first_of_two_operators_decides(
    shop: Shop, mine: PaymentDecision, other: PaymentDecision
) -> None:
    order_id, tx_ref = in_review(shop)
    shop.before_aws("TransactWriteItems", lambda: decide(shop, tx_ref, other, by=SARA))
    with pytest.raises(NotResolvable):
        decide(shop, tx_ref, mine)
    assert [(e.decision, e.decided_by) for e in decisions_of(shop, order_id)] == [
        (other.value, SARA)
    ]


@pytest.mark.parametrize("decision", [REFUND, DISMISS])
def test_paid_payment_cannot_be_decided_about(shop: Shop, decision: PaymentDecision) -> None:
    _, tx_ref = shop.paid()
    with pytest.raises(NotResolvable):
        decide(shop, tx_ref, decision)


def test_unknown_payment_is_not_found(shop: Shop) -> None:
    with pytest.raises(PaymentNotFound):
        decide(shop, "a" * 20, ACCEPT)
