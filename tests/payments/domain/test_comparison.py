from dataclasses import replace
from typing import Any

import pytest

from payments.domain import comparison
from payments.domain.answers import Said, Transaction
from payments.domain.comparison import Comparison, Difference
from payments.domain.events import PaymentDiffers
from payments.domain.ids import refund_reference
from payments.domain.states import PaymentStatus, RefundStatus
from tests.builders import (
    DAY,
    HOUR,
    MONEY,
    NOW,
    ORDER_ID,
    PRICE,
    RF,
    TX,
    paid_order,
    payment,
    refund,
)

ROW = Transaction(Said.PAID, TX, "AP1", PRICE, "ETB", NOW, "success")
REFUND_ROW = replace(ROW, said=Said.REFUNDED, reference=RF, is_refund=True)
COMPARISON = Comparison("chapa-v1", NOW - HOUR, NOW + HOUR, started_at=NOW + DAY)
NOT_SEEN = ["initializing", "pending", "failed", "closing", "closed"]
OURS = ["succeeded", "unapplied"]

CONTRADICTED = [
    (Said.PAID, NOT_SEEN, True),
    (Said.PAID, ["reversed"], False),
    (Said.REFUNDED, NOT_SEEN + OURS, True),
    (Said.REVERSED, NOT_SEEN + OURS, True),
    (Said.REVERSED, ["refunded"], False),
    # The list denies that it was paid, or says a word that nobody knows.
    *((said, OURS, False) for said in (Said.FAILED, Said.PENDING, Said.NOT_PAID, Said.UNKNOWN)),
]


@pytest.mark.parametrize("said", Said)
@pytest.mark.parametrize("status", PaymentStatus)
def test_status_differs_where_books_and_list_contradict_each_other(
    said: Said, status: PaymentStatus
) -> None:
    ours = payment(status, **MONEY)
    row = replace(ROW, said=said, status="theirs")
    found = comparison.difference_of_payment(ORDER_ID, ours, (), row)
    expected = [r for s, statuses, r in CONTRADICTED if s is said and status.value in statuses]
    assert ([found.resolvable] if found else []) == expected
    if found:
        assert (found.what, found.ours, found.theirs) == ("status", status.value, "theirs")


@pytest.mark.parametrize(
    ("changes", "row", "expected"),
    [
        ({}, {}, None),
        ({}, {"amount": PRICE + 1}, ("amount", "900.00 ETB", "900.01 ETB")),
        ({}, {"amount": None}, None),
        ({}, {"currency": "USD"}, ("currency", "ETB", "USD")),
        ({}, {"currency": None}, ("currency", "ETB", "?")),
        ({"paid_currency": "USD"}, {"currency": "USD"}, None),
        # The operator who accepted it has seen what was paid.
        ({"accepted_by": "almaz"}, {"amount": PRICE + 1}, None),
        ({"accepted_by": "almaz"}, {"said": Said.FAILED}, None),
    ],
)
def test_money_differs_unless_an_operator_accepted_it(
    changes: dict[str, Any], row: dict[str, Any], expected: Any
) -> None:
    ours = payment(PaymentStatus.SUCCEEDED, **{**MONEY, **changes})
    found = comparison.difference_of_payment(ORDER_ID, ours, (), replace(ROW, **row))
    assert (found and (found.what, found.ours, found.theirs)) == expected


def test_amount_of_a_partly_refunded_payment_is_not_compared() -> None:
    ours = payment(PaymentStatus.SUCCEEDED, **MONEY)
    row = replace(ROW, amount=PRICE - 1)
    done = (refund(amount=1, status=RefundStatus.REFUNDED),)
    assert comparison.difference_of_payment(ORDER_ID, ours, done, row) is None


def test_refund_under_way_explains_a_refunded_payment() -> None:
    ours = payment(PaymentStatus.SUCCEEDED, **MONEY)
    row = replace(ROW, said=Said.REFUNDED)
    under_way = (refund(status=RefundStatus.PENDING),)
    assert comparison.difference_of_payment(ORDER_ID, ours, under_way, row) is None


@pytest.mark.parametrize(
    ("ours", "row", "expected"),
    [
        (refund(status=RefundStatus.REFUNDED), {}, None),
        (refund(status=RefundStatus.REFUNDED), {"amount": 1}, ("refunded, 900.00 ETB", False)),
        (refund(status=RefundStatus.PENDING), {}, ("pending, 900.00 ETB", True)),
        (refund(status=RefundStatus.REVIEW), {}, ("review, 900.00 ETB", False)),
        (refund(status=RefundStatus.REVIEW), {"said": Said.FAILED}, None),
        (refund("other"), {}, ("none of ours", True)),
        (
            refund(status=RefundStatus.REFUNDED, attempt=2),
            {"reference": refund_reference(RF, 2)},
            None,
        ),
    ],
)
def test_refund_in_the_list_is_one_of_ours_with_its_amount(
    ours: Any, row: dict[str, Any], expected: Any
) -> None:
    order = paid_order(ours)
    found = comparison.difference_of_refund(order, order.payments[0], replace(REFUND_ROW, **row))
    assert (found and (found.ours, found.resolvable)) == expected


def test_refund_of_the_dashboard_is_known_once_all_is_back() -> None:
    order = paid_order()
    row = replace(REFUND_ROW, reference="from-the-dashboard")
    assert comparison.difference_of_refund(order, order.payments[0], row) is not None
    back = replace(order.payments[0], status=PaymentStatus.REFUNDED)
    assert comparison.difference_of_refund(order, back, row) is None


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, True),
        ({"status": PaymentStatus.REVIEW}, False),
        ({"provider": "chapa-v2"}, False),
        ({"accepted_by": "almaz"}, False),
        ({"created_at": NOW + HOUR}, False),
        ({"created_at": NOW - HOUR}, True),
    ],
)
def test_paid_payment_of_the_range_must_be_listed(changes: dict[str, Any], expected: bool) -> None:
    ours = payment(**{"status": PaymentStatus.SUCCEEDED, **MONEY, **changes})
    assert comparison.must_be_listed(ours, COMPARISON) is expected


@pytest.mark.parametrize(("listed_at", "is_missing"), [(None, 1), (NOW, 1), (NOW + DAY, 0)])
def test_payment_is_missing_if_this_comparison_did_not_see_it(
    listed_at: int | None, is_missing: int
) -> None:
    ours = payment(PaymentStatus.SUCCEEDED, **MONEY, listed_at=listed_at)
    found = comparison.missing(ORDER_ID, ours, COMPARISON)
    expected = Difference(ORDER_ID, TX, "missing", "succeeded, 900.00 ETB", "not in the list")
    assert found == (expected if is_missing else None)


def test_difference_is_recorded_once_in_each_comparison() -> None:
    order = paid_order()
    found = Difference(ORDER_ID, TX, "amount", "1.00 ETB", "2.00 ETB")
    first = comparison.record(order, found, COMPARISON, NOW + DAY + 1)
    assert first.new_events == (
        PaymentDiffers(NOW + DAY + 1, TX, "amount", "1.00 ETB", "2.00 ETB"),
    )
    assert comparison.record(first, found, COMPARISON, NOW + DAY + 2) is first
    next_night = replace(COMPARISON, started_at=NOW + 2 * DAY)
    assert len(comparison.record(first, found, next_night, NOW + 2 * DAY).new_events) == 2


@pytest.mark.parametrize(
    ("changes", "after", "expected"),
    [
        ({}, 0, True),
        ({"status": PaymentStatus.CLOSED}, HOUR + 300, True),
        ({}, HOUR + 301, False),
        ({}, -301, False),
        ({"provider_reference": "AP2"}, 0, False),
        ({"amount": PRICE + 1}, 0, False),
        ({"currency": "USD"}, 0, False),
        ({"status": PaymentStatus.REVIEW}, 0, False),
    ],
)
def test_nameless_row_may_be_about_an_unpaid_payment_of_its_amount_and_time(
    changes: dict[str, Any], after: int, expected: bool
) -> None:
    row = replace(ROW, reference=None, created_at=NOW + after)
    assert comparison.may_be(payment(**changes), row, HOUR) is expected
