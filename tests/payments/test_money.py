from decimal import Decimal

import pytest

from payments.money import CURRENCIES, MAX_AMOUNT, format_amount, parse_amount


@pytest.mark.parametrize(
    ("minor", "text"),
    [
        (0, "0.00"),
        (1, "0.01"),
        (10, "0.10"),
        (100, "1.00"),
        (150_050, "1500.50"),
        (MAX_AMOUNT, "9999999.99"),
    ],
)
def test_an_amount_travels_as_a_decimal_string_with_two_digits(minor: int, text: str) -> None:
    assert format_amount(minor) == text


@pytest.mark.parametrize("minor", [0, 1, 99, 100, 101, 999, 100_000, 123_456_789, MAX_AMOUNT])
def test_what_is_formatted_is_read_back_the_same(minor: int) -> None:
    assert parse_amount(format_amount(minor)) == minor


@pytest.mark.parametrize(
    ("value", "minor"),
    [
        (100, 10_000),
        (0, 0),
        (Decimal("3.5"), 350),
        (Decimal("100.00"), 10_000),
        (Decimal("0.01"), 1),
        ("100", 10_000),
        ("100.00", 10_000),
        ("1500.5", 150_050),
        ("1500.50000", 150_050),
        ("007", 700),
        (" 100.00\t", 10_000),
    ],
)
def test_a_number_and_a_string_mean_the_same_amount(value: object, minor: int) -> None:
    assert parse_amount(value) == minor


@pytest.mark.parametrize(
    ("text", "minor"),
    [("10,000.00", 1_000_000), ("1,000", 100_000), ("9,999,999.99", MAX_AMOUNT)],
)
def test_commas_may_group_thousands(text: str, minor: int) -> None:
    assert parse_amount(text) == minor


@pytest.mark.parametrize(
    "text", ["1,00", "10,00.00", "1,0000", ",100", "100,", "1,000,00", "1.0,0"]
)
def test_a_comma_anywhere_else_is_no_amount(text: str) -> None:
    """`1,00` may be one birr or a hundred: whoever guesses is wrong by a factor of 100."""
    assert parse_amount(text) is None


@pytest.mark.parametrize("value", ["1.005", "0.001", Decimal("99.999"), "1,000.001"])
def test_a_fraction_of_a_minor_unit_is_no_amount(value: object) -> None:
    assert parse_amount(value) is None


@pytest.mark.parametrize("value", [-1, "-1", "-0.01", Decimal(-5), "+1"])
def test_an_amount_has_no_sign(value: object) -> None:
    assert parse_amount(value) is None


@pytest.mark.parametrize(
    "value", ["NaN", "Infinity", Decimal("NaN"), Decimal("sNaN"), Decimal("Infinity")]
)
def test_what_is_not_a_number_is_no_amount(value: object) -> None:
    assert parse_amount(value) is None


@pytest.mark.parametrize("value", [True, False])
def test_a_truth_value_is_no_amount(value: object) -> None:
    assert parse_amount(value) is None


def test_a_binary_float_is_no_amount() -> None:
    """It has lost digits by the time it is seen: JSON numbers are read as Decimal."""
    assert parse_amount(100.1) is None


@pytest.mark.parametrize(
    "value", [None, "", " ", "birr", "100 ETB", "1e2", "0x10", ".5", "5.", "1_000"]
)
def test_other_text_is_no_amount(value: object) -> None:
    assert parse_amount(value) is None


@pytest.mark.parametrize("text", ["१००", "\uff11\uff10\uff10", "፩፪", "²"])
def test_only_ascii_digits_are_digits(text: str) -> None:
    assert parse_amount(text) is None


@pytest.mark.parametrize("value", [[], {}, [100], {"amount": 100}, b"100"])
def test_a_structure_is_no_amount(value: object) -> None:
    assert parse_amount(value) is None


@pytest.mark.parametrize(
    "value",
    [10**12, "9" * 13, "9" * 100_000, "0." + "0" * 13, "," * 100_000, Decimal("1E+999999")],
)
def test_a_gigantic_amount_is_none_at_all(value: object) -> None:
    assert parse_amount(value) is None


def test_the_largest_payment_is_far_below_what_is_still_read() -> None:
    assert parse_amount("9" * 12) == 99_999_999_999_900 > MAX_AMOUNT


def test_both_currencies_are_named_as_chapa_names_them() -> None:
    assert {"ETB", "USD"} == CURRENCIES
