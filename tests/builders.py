"""Objects that many tests start from: records of one order, and orders of a shop."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from enum import Enum
from typing import TYPE_CHECKING, Any

from payments.domain import checks, decisions
from payments.domain.aggregate import OrderAggregate
from payments.domain.answers import Said, Verification
from payments.domain.decisions import Decision
from payments.domain.records import Line, Order, Payment, Refund
from payments.domain.rules import LateSuccessPolicy, Rules
from payments.domain.states import OPEN, PAID, OrderStatus, PaymentStatus

if TYPE_CHECKING:
    from tests.shop import Shop

NOW = 1_800_000_000
HOUR = 3600
DAY = 86_400
ORDER_ID = "a" * 12
TX = ORDER_ID + "b" * 8
OTHER = ORDER_ID + "c" * 8
"""The tx_ref of another payment of the same order."""
RF = ORDER_ID + "r" * 8
"""The id of a refund."""
SKU = "COFFEE-250"
PRICE = 90_000
RULES = Rules(
    order_ttl=1800,
    lease=60,
    link=HOUR,
    check_after=(90, 120, 300, HOUR),
    final_check_after=(HOUR, DAY),
    unanswered_after=DAY,
    pending_grace=300,
    verify_every=3,
    hold_until_page_expires=True,
    late_success="reserve",
)
SUCCESS = Verification(
    Said.PAID,
    tx_ref=TX,
    amount=PRICE,
    currency="ETB",
    mode="test",
    provider_reference="AP1",
    status="success",
)
MONEY: Mapping[str, Any] = {
    "paid_amount": PRICE,
    "paid_currency": "ETB",
    "paid_at": NOW,
    "provider_reference": "AP1",
}
"""What a payment stores of SUCCESS."""


def ordered[S: Enum](statuses: Iterable[S]) -> list[S]:
    """In an order that does not change from process to process, as test ids must be."""
    return sorted(statuses, key=lambda status: str(status.value))


def order(order_id: str = ORDER_ID, **changes: Any) -> Order:
    order = Order(
        order_id=order_id,
        user_id="abebe",
        amount=PRICE,
        currency="ETB",
        lines=(Line(SKU, "Yirgacheffe coffee, 250 g", 2, 45_000),),
        created_at=NOW,
        expires_at=NOW + RULES.order_ttl,
        request_hash="hash",
    )
    return replace(order, **changes)


def payment(status: PaymentStatus = PaymentStatus.PENDING, **changes: Any) -> Payment:
    return replace(Payment(TX, "chapa-v1", PRICE, "ETB", NOW, status, moved_at=NOW), **changes)


def refund(refund_id: str = RF, amount: int = PRICE, **changes: Any) -> Refund:
    return replace(Refund(refund_id, TX, amount, "ETB", NOW, moved_at=NOW), **changes)


def aggregate(
    status: PaymentStatus = PaymentStatus.PENDING,
    order_status: OrderStatus = OrderStatus.PENDING,
    refunds: tuple[Refund, ...] = (),
    **changes: Any,
) -> OrderAggregate:
    """A stored order with one payment, as it would be in these states."""
    active = TX if status in OPEN and order_status is OrderStatus.PENDING else None
    paid_by = None
    if order_status in {OrderStatus.PAID, OrderStatus.REFUNDED}:
        paid_by = TX if status is PaymentStatus.SUCCEEDED else OTHER
    facts = dict(MONEY) if status in PAID else {}
    return OrderAggregate(
        order(status=order_status, active_tx_ref=active, paid_by=paid_by, version=1),
        (payment(status, **{**facts, **changes}),),
        refunds,
    )


def paid_order(*refunds: Refund, **changes: Any) -> OrderAggregate:
    """A paid order with these refunds."""
    return aggregate(PaymentStatus.SUCCEEDED, OrderStatus.PAID, refunds, **changes)


def decide(
    before: OrderAggregate,
    answer: Verification = SUCCESS,
    policy: LateSuccessPolicy = "reserve",
    now: int = NOW,
) -> Decision:
    return decisions.decide(before, TX, answer, now, "test", policy)


def scheduled(
    after: OrderAggregate, before: OrderAggregate | None = None, now: int = NOW
) -> OrderAggregate:
    """The aggregate with the times of its next checks, as a save stores it."""
    return replace(checks.schedule(before, after, now, RULES), new_events=())


def paid(shop: "Shop") -> tuple[str, str]:
    """A paid order: its id and tx_ref."""
    order_id, tx_ref = shop.begun()
    shop.control.pay(tx_ref, webhook=False)
    shop.notify(tx_ref)
    return order_id, tx_ref


def expired(shop: "Shop", items: Mapping[str, int] | None = None) -> tuple[str, str]:
    """An order that expired with its payment closed: its id and tx_ref."""
    order_id, tx_ref = shop.begun(items)
    shop.clock.advance(1800)
    shop.sweep()
    assert shop.aggregate(order_id).order.status is OrderStatus.EXPIRED
    return order_id, tx_ref


def wait(shop: "Shop", order_id: str, seconds: int) -> int:
    """Let time pass, with a sweep whenever the order is due; returns how many sweeps there were."""
    end = shop.now + seconds
    sweeps = 0
    while (due := shop.aggregate(order_id).order.due_at) is not None and due <= end > shop.now:
        shop.clock.advance(max(due - shop.now, 60))
        sweeps += shop.sweep()
    shop.clock.advance(max(end - shop.now, 0))
    return sweeps
