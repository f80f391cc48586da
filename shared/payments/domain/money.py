"""Amounts: integers of the minor unit (santim, cents) inside, decimal strings outside."""

import re
from decimal import Decimal, InvalidOperation

CURRENCIES = frozenset({"ETB", "USD"})
"""What Chapa takes; both have two decimal digits (developer.chapa.co, initialize)."""

MAX_AMOUNT = 999_999_999
"""9,999,999.99, the upper limit that Chapa's checkout page names (developer.chapa.co/errors)."""

_GROUPED = re.compile(r"\d{1,3}(,\d{3})+(\.\d+)?", re.ASCII)
_PLAIN = re.compile(r"\d{1,12}(\.\d{1,12})?", re.ASCII)


def format_amount(minor: int) -> str:
    """`150050` → `"1500.50"`."""
    return f"{minor // 100}.{minor % 100:02d}"


def parse_amount(value: object) -> int | None:
    """`"1500.50"` → `150050`; None when it is not a plain amount of whole minor units.

    Numbers, and commas between thousands, are read, too: v1 of Chapa's API and people write them.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
        return None
    text = str(value).strip()
    if _GROUPED.fullmatch(text):
        text = text.replace(",", "")
    if not _PLAIN.fullmatch(text):
        return None
    try:
        minor = Decimal(text) * 100
    except InvalidOperation:  # pragma: no cover - the pattern admits only what Decimal reads
        return None
    return int(minor) if minor == minor.to_integral_value() else None
