from decimal import Decimal

import pytest

from payments.domain.money import CURRENCIES, MAX_AMOUNT, format_amount, parse_amount


def test_amount_is_formatted_with_two_digits_and_read_back() -> None:
    shown = {0: "0.00", 1: "0.01", 10: "0.10", 100: "1.00", 150_050: "1500.50"}
    for minor, text in (shown | {MAX_AMOUNT: "9999999.99"}).items():
        assert format_amount(minor) == text
        assert parse_amount(text) == minor


@pytest.mark.parametrize(
    ("minor", "values"),
    [
        (0, [0, "0"]),
        (1, [Decimal("0.01")]),
        (350, [Decimal("3.5")]),
        (700, ["007"]),
        (10_000, [100, Decimal("100.00"), "100", "100.00", " 100.00\t"]),
        (150_050, ["1500.5", "1500.50000"]),
        (100_000, ["1,000"]),
        (1_000_000, ["10,000.00"]),
        (MAX_AMOUNT, ["9,999,999.99"]),
        (99_999_999_999_900, ["9" * 12]),
    ],
)
def test_numbers_and_strings_are_read_as_minor_units(minor: int, values: list[object]) -> None:
    assert [parse_amount(value) for value in values] == [minor] * len(values)


NOT_AMOUNTS: dict[str, list[object]] = {
    "fraction of a minor unit": ["1.005", "0.001", Decimal("99.999"), "1,000.001"],
    # `1,00` may be one birr or a hundred.
    "misplaced comma": ["1,00", "10,00.00", "1,0000", ",100", "100,", "1,000,00", "1.0,0"],
    "sign": [-1, "-1", "-0.01", Decimal(-5), "+1"],
    "not a number": ["NaN", "Infinity", Decimal("NaN"), Decimal("sNaN"), Decimal("Infinity")],
    "truth value": [True, False],
    # A binary float has lost digits already; JSON numbers are read as Decimal.
    "binary float": [100.1],
    "other text": [None, "", " ", "birr", "100 ETB", "1e2", "0x10", ".5", "5.", "1_000"],
    "digits of other scripts": ["१००", "\uff11\uff10\uff10", "፩፪", "²"],
    "structure": [[], {}, [100], {"amount": 100}, b"100"],
    "gigantic": [10**12, "9" * 13, "9" * 100_000, "," * 100_000, Decimal("1E+999999")],
    "too many digits": ["0." + "0" * 13],
}


@pytest.mark.parametrize("values", NOT_AMOUNTS.values(), ids=NOT_AMOUNTS)
def test_everything_else_is_not_an_amount(values: list[object]) -> None:
    assert [parse_amount(value) for value in values] == [None] * len(values)


def test_currencies_are_named_as_chapa_names_them() -> None:
    assert {"ETB", "USD"} == CURRENCIES
