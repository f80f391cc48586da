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


def test_every_state_says_what_may_follow_it() -> None:
    assert set(PAYMENT_MOVES) == set(PaymentStatus)
    assert set(ORDER_MOVES) == set(OrderStatus)
    assert set(REFUND_MOVES) == set(RefundStatus)


def test_no_stock_move_makes_or_loses_a_unit() -> None:
    assert all(sum(change) == 0 for change in STOCK_MOVES.values())


def test_stock_that_came_back_can_only_be_taken_again_by_a_late_success() -> None:
    assert [move for move in STOCK_MOVES if move[0] is StockStatus.RELEASED] == [
        (StockStatus.RELEASED, StockStatus.COMMITTED)
    ]
    assert StockStatus.RESERVED not in {to for start, to in STOCK_MOVES if start is not None}


def test_a_success_may_follow_every_unpaid_state() -> None:
    assert all(PaymentStatus.SUCCEEDED in PAYMENT_MOVES[status] for status in UNPAID)


def test_a_failure_never_lowers_a_success() -> None:
    unpaid_again = UNPAID - {PaymentStatus.REVIEW}
    for status in (PaymentStatus.SUCCEEDED, PaymentStatus.SURPLUS):
        assert not PAYMENT_MOVES[status] & unpaid_again


def test_what_is_open_can_be_shut_or_is_being_shut() -> None:
    shutting = {PaymentStatus.CLOSING, PaymentStatus.CLOSED}
    assert all(PAYMENT_MOVES[status] & shutting for status in OPEN)


def test_a_payment_is_shut_only_under_a_lease_unless_it_was_never_opened() -> None:
    assert sources(PAYMENT_MOVES, PaymentStatus.CLOSED) == [
        PaymentStatus.CLOSING,
        PaymentStatus.INITIALIZING,
    ]


def test_only_an_ended_order_can_be_paid_late() -> None:
    assert sources(ORDER_MOVES, OrderStatus.PAID) == [
        OrderStatus.CANCELLED,
        OrderStatus.EXPIRED,
        OrderStatus.PENDING,
    ]
