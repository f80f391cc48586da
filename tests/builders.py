"""Objects that many tests start from: records of one order, and orders of a shop."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from payments.domain import Rules, Said, Verification
from payments.states import OPEN, OrderStatus, PaymentStatus, StockStatus
from payments.story import Line, Order, Payment, Refund, Story
from tests.shop import Shop

NOW = 1_800_000_000
TX = "tx"
PRICE = 90_000
RULES = Rules(
    order_ttl=1800,
    lease=60,
    look_after=(90, 120, 300),
    last_look_after=(3600, 86400),
    review_after=86400,
    late_success="reserve",
)
PAID = Verification(
    Said.PAID,
    tx_ref=TX,
    amount=PRICE,
    currency="ETB",
    mode="test",
    reference="AP1",
    status="success",
)
STOCK_OF = {
    OrderStatus.PENDING: StockStatus.RESERVED,
    OrderStatus.PAID: StockStatus.COMMITTED,
    OrderStatus.REFUNDED: StockStatus.COMMITTED,
    OrderStatus.EXPIRED: StockStatus.RELEASED,
    OrderStatus.CANCELLED: StockStatus.RELEASED,
}


def order(order_id: str = "a" * 20, **changes: Any) -> Order:
    order = Order(
        order_id=order_id,
        user_id="abebe",
        amount=PRICE,
        currency="ETB",
        lines=(Line("COFFEE-250", "Yirgacheffe coffee, 250 g", 2, 45_000),),
        created_at=NOW,
        expires_at=NOW + 1800,
        request_hash="hash",
    )
    return replace(order, **changes)


def payment(status: PaymentStatus = PaymentStatus.PENDING, **changes: Any) -> Payment:
    return replace(Payment(TX, PRICE, "ETB", NOW, status), **changes)


def refund(reference: str = "op-1", amount: int = PRICE, **changes: Any) -> Refund:
    return replace(Refund(reference, TX, amount, "ETB", NOW), **changes)


def story(
    status: PaymentStatus = PaymentStatus.PENDING,
    order_status: OrderStatus = OrderStatus.PENDING,
    lease_until: int = 0,
) -> Story:
    """A stored order with one payment, as it would be in these states."""
    live = TX if status in OPEN and order_status is OrderStatus.PENDING else None
    return Story(
        order(status=order_status, stock=STOCK_OF[order_status], live=live, version=1),
        (payment(status, lease_until=lease_until),),
    )


def paid(shop: Shop) -> tuple[str, str]:
    """A paid order: its id and tx_ref."""
    order_id, tx_ref = shop.begun()
    shop.control.pay(tx_ref, webhook=False)
    shop.notify(tx_ref)
    return order_id, tx_ref


def expired(shop: Shop, items: Mapping[str, int] | None = None) -> tuple[str, str]:
    """An order that expired with its payment closed: its id and tx_ref."""
    order_id, tx_ref = shop.begun(items)
    shop.clock.advance(1800)
    shop.sweep()
    assert shop.story(order_id).order.status is OrderStatus.EXPIRED
    return order_id, tx_ref


def wait(shop: Shop, order_id: str, seconds: int) -> int:
    """Let time pass, with a sweep whenever the order is due; returns how many sweeps there were."""
    end = shop.now + seconds
    sweeps = 0
    while (due := shop.story(order_id).order.due_at) is not None and due <= end > shop.now:
        shop.clock.advance(max(due - shop.now, 60))
        sweeps += shop.sweep()
    shop.clock.advance(max(end - shop.now, 0))
    return sweeps
