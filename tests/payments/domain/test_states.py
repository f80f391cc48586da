from payments.states import (
    OPEN,
    ORDER_MOVES,
    PAYMENT_MOVES,
    REFUND_MOVES,
    STOCK_MOVES,
    UNPAID,
    OrderStatus,
    PaymentStatus,
    RefundStatus,
    StockStatus,
    sources,
)


def test_every_state_has_its_moves() -> None:
    assert set(PAYMENT_MOVES) == set(PaymentStatus)
    assert set(ORDER_MOVES) == set(OrderStatus)
    assert set(REFUND_MOVES) == set(RefundStatus)


def test_stock_moves_conserve_units() -> None:
    assert all(sum(change) == 0 for change in STOCK_MOVES.values())


def test_released_stock_is_only_taken_by_a_late_success() -> None:
    assert [move for move in STOCK_MOVES if move[0] is StockStatus.RELEASED] == [
        (StockStatus.RELEASED, StockStatus.COMMITTED)
    ]
    assert StockStatus.RESERVED not in {to for start, to in STOCK_MOVES if start is not None}


def test_success_may_follow_every_unpaid_state() -> None:
    assert all(PaymentStatus.SUCCEEDED in PAYMENT_MOVES[status] for status in UNPAID)


def test_success_never_becomes_unpaid() -> None:
    unpaid_again = UNPAID - {PaymentStatus.REVIEW}
    for status in (PaymentStatus.SUCCEEDED, PaymentStatus.SURPLUS):
        assert not PAYMENT_MOVES[status] & unpaid_again


def test_open_payment_can_be_closed() -> None:
    closed = {PaymentStatus.CLOSING, PaymentStatus.CLOSED}
    assert all(PAYMENT_MOVES[status] & closed for status in OPEN)


def test_opened_payment_is_closed_only_under_a_lease() -> None:
    assert sources(PAYMENT_MOVES, PaymentStatus.CLOSED) == [
        PaymentStatus.CLOSING,
        PaymentStatus.INITIALIZING,
    ]


def test_pending_and_ended_orders_can_be_paid() -> None:
    assert sources(ORDER_MOVES, OrderStatus.PAID) == [
        OrderStatus.CANCELLED,
        OrderStatus.EXPIRED,
        OrderStatus.PENDING,
    ]
