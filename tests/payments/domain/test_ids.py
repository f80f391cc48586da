import random
import re
from collections.abc import Callable
from itertools import combinations

import pytest

from payments.domain.ids import (
    is_order_id,
    new_order_id,
    new_tx_ref,
    order_id_of,
    refund_id,
    refund_reference,
    repeatable_order_id,
)

LONGEST = 20
"""What v2 of Chapa takes as a reference; v1 takes 50."""

ORDER_ID = "abcdefghijkl"
TX_REF = f"{ORDER_ID}mnopqrst"


@pytest.fixture
def random_bytes() -> Callable[[int], bytes]:
    return random.Random(1).randbytes


def is_reference(text: str) -> bool:
    return re.fullmatch("[a-z2-7]+", text) is not None and len(text) == LONGEST


def test_tx_ref_is_unique_fits_chapa_and_names_its_order(
    random_bytes: Callable[[int], bytes],
) -> None:
    order_id = new_order_id(random_bytes)
    tx_refs = {new_tx_ref(order_id, random_bytes) for _ in range(100)}

    assert len(tx_refs) == 100
    assert all(map(is_reference, tx_refs))
    assert {order_id_of(tx_ref) for tx_ref in tx_refs} == {order_id}


def test_every_random_bit_of_a_tx_ref_counts() -> None:
    """Flipping any one of them gives another reference: there are 100."""
    for make, bits in [
        (new_order_id, 60),
        (lambda random_bytes: new_tx_ref(ORDER_ID, random_bytes), 40),
    ]:
        asked: list[int] = []

        def flipped(bit: int, asked: list[int] = asked) -> Callable[[int], bytes]:
            def bytes_of(length: int) -> bytes:
                asked.append(length)
                return (1 << (length * 8 - 1 - bit)).to_bytes(length)

            return bytes_of

        assert len({make(flipped(bit)) for bit in range(bits)} - {make(bytes)}) == bits
        assert min(asked) * 8 >= bits


def test_new_order_id_is_unique_and_well_formed(random_bytes: Callable[[int], bytes]) -> None:
    ids = {new_order_id(random_bytes) for _ in range(100)}

    assert len(ids) == 100
    assert all(map(is_order_id, ids))


def test_repeated_key_of_a_user_names_the_same_order() -> None:
    first = repeatable_order_id("abebe", "key-1", 0)

    assert repeatable_order_id("abebe", "key-1", 0) == first
    assert is_order_id(first)


def test_other_user_key_or_collision_names_another_order() -> None:
    keys = [
        ("a", "bc", 0),
        ("a", "bc", 1),
        ("ab", "c", 0),
        ("abc", "", 0),
        ("", "abc", 0),
        ('a", "b', "c", 0),
        ("a", 'b", "c', 0),
        ("አበበ", "bc", 0),
        ("a", "BC", 0),
    ]

    for one, other in combinations(keys, 2):
        assert repeatable_order_id(*one) != repeatable_order_id(*other)


def test_refund_id_follows_from_payment_and_key_and_names_the_order() -> None:
    first = refund_id(TX_REF, "key 1")
    others = {refund_id(TX_REF, "key 2"), refund_id(f"{ORDER_ID}{'a' * 8}", "key 1")}

    assert refund_id(TX_REF, "key 1") == first
    assert is_reference(first)
    assert order_id_of(first) == ORDER_ID
    assert len(others - {first, TX_REF}) == 2


def test_each_attempt_to_refund_has_a_reference_of_its_own() -> None:
    first = refund_id(TX_REF, "key 1")
    references = [refund_reference(first, attempt) for attempt in (1, 2, 3)]

    assert references[0] == first
    assert len({*references, refund_reference(refund_id(TX_REF, "key 2"), 2)}) == 4
    assert references == [refund_reference(first, attempt) for attempt in (1, 2, 3)]
    assert all(is_reference(each) and order_id_of(each) == ORDER_ID for each in references)


MALFORMED = [
    "",
    "-",
    ORDER_ID,
    TX_REF[:-1],
    f"{TX_REF}a",
    f"{TX_REF}\n",
    f" {TX_REF}",
    f"{ORDER_ID}-{'a' * 7}",
    TX_REF.upper(),
    f"{ORDER_ID[:-1]}1{'a' * 8}",
    f"{TX_REF[:-1]}1",
    f"{TX_REF[:-1]}\N{CYRILLIC SMALL LETTER A}",
    f"ORDER#{TX_REF}",
    "a" * 100_000,
]


@pytest.mark.parametrize("malformed", MALFORMED, ids=range(len(MALFORMED)))
def test_malformed_tx_ref_has_no_order(malformed: str) -> None:
    assert order_id_of(malformed) is None


@pytest.mark.parametrize("text", ["", "a" * 11, "a" * 13, "a" * 12 + "\n", "A" * 12, "0" * 12])
def test_malformed_order_id_is_recognised(text: str) -> None:
    assert not is_order_id(text)
