import random
import re
from collections.abc import Callable
from itertools import combinations

import pytest

from payments.ids import (
    is_order_id,
    new_order_id,
    new_tx_ref,
    order_id_of,
    repeatable_order_id,
)

LONGEST = 50
"""What Chapa takes as a tx_ref, as two integrators found out."""

ORDER_ID = "abcdefghijklmnopqrst"


@pytest.fixture
def random_bytes() -> Callable[[int], bytes]:
    return random.Random(1).randbytes


def test_tx_ref_is_unique_fits_chapa_and_names_its_order(
    random_bytes: Callable[[int], bytes],
) -> None:
    order_id = new_order_id(random_bytes)
    tx_refs = {new_tx_ref(order_id, random_bytes) for _ in range(100)}

    assert len(tx_refs) == 100
    for tx_ref in tx_refs:
        assert re.fullmatch(rf"[A-Za-z0-9_-]{{1,{LONGEST}}}", tx_ref)
        assert order_id_of(tx_ref) == order_id


def test_tx_ref_has_at_least_96_random_bits() -> None:
    asked: list[int] = []

    def zeros(length: int) -> bytes:
        asked.append(length)
        return bytes(length)

    new_tx_ref(ORDER_ID, zeros)

    assert sum(asked) * 8 >= 96


def test_every_random_bit_of_a_tx_ref_counts() -> None:
    """None of them is cut off: flipping any one gives another reference."""
    zero = new_tx_ref(ORDER_ID, bytes)
    bits = len(zero.removeprefix(f"{ORDER_ID}-")) * 5
    flipped = {
        new_tx_ref(ORDER_ID, lambda n, bit=bit: (1 << bit).to_bytes(n))  # type: ignore[misc]
        for bit in range(bits)
    }

    assert bits >= 96
    assert len(flipped - {zero}) == bits


def test_new_order_id_is_unique_and_well_formed(random_bytes: Callable[[int], bytes]) -> None:
    ids = {new_order_id(random_bytes) for _ in range(100)}

    assert len(ids) == 100
    assert all(map(is_order_id, ids))


def test_repeated_key_of_a_user_names_the_same_order() -> None:
    first = repeatable_order_id("abebe", "key-1")

    assert repeatable_order_id("abebe", "key-1") == first
    assert is_order_id(first)


def test_other_user_or_key_names_another_order() -> None:
    pairs = [
        ("a", "bc"),
        ("ab", "c"),
        ("abc", ""),
        ("", "abc"),
        ('a", "b', "c"),
        ("a", 'b", "c'),
        ("አበበ", "bc"),
        ("a", "BC"),
    ]

    for one, other in combinations(pairs, 2):
        assert repeatable_order_id(*one) != repeatable_order_id(*other)


MALFORMED = [
    "",
    "-",
    ORDER_ID,
    f"{ORDER_ID}-",
    f"{ORDER_ID}-{'a' * 23}",
    f"{ORDER_ID}-{'a' * 25}",
    f"{ORDER_ID}-{'a' * 24}\n",
    f" {ORDER_ID}-{'a' * 24}",
    f"{ORDER_ID}_{'a' * 24}",
    f"{ORDER_ID.upper()}-{'A' * 24}",
    f"{ORDER_ID[:-1]}1-{'a' * 24}",
    f"{ORDER_ID[:-1]}\N{CYRILLIC SMALL LETTER A}-{'a' * 24}",
    f"ORDER#{ORDER_ID}-{'a' * 24}",
    "a" * 100_000,
]


@pytest.mark.parametrize("malformed", MALFORMED, ids=range(len(MALFORMED)))
def test_malformed_tx_ref_has_no_order(malformed: str) -> None:
    assert order_id_of(malformed) is None


@pytest.mark.parametrize("text", ["", "a" * 19, "a" * 21, "a" * 20 + "\n", "A" * 20, "0" * 20])
def test_malformed_order_id_is_recognised(text: str) -> None:
    assert not is_order_id(text)
