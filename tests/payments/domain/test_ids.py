import random
import re
from collections.abc import Callable
from itertools import combinations

import pytest

from payments.domain import ids

ORDER_ID = "abcdefghijkl"
TX_REF = f"{ORDER_ID}mnopqrst"


def is_reference(text: str) -> bool:
    """Whether both versions of Chapa take it: v1 takes 50 characters, v2 20."""
    return re.fullmatch("[a-z2-7]{20}", text) is not None


def test_new_ids_are_unique_and_name_their_order() -> None:
    random_bytes = random.Random(1).randbytes
    order_ids = {ids.new_order_id(random_bytes) for _ in range(100)}
    tx_refs = {ids.new_tx_ref(ORDER_ID, random_bytes) for _ in range(100)}
    assert len(order_ids) == len(tx_refs) == 100
    assert all(map(ids.is_order_id, order_ids))
    assert all(map(is_reference, tx_refs))
    assert {ids.order_id_of(tx_ref) for tx_ref in tx_refs} == {ORDER_ID}


@pytest.mark.parametrize(
    ("make", "bits"),
    [(ids.new_order_id, 60), (lambda random_bytes: ids.new_tx_ref(ORDER_ID, random_bytes), 40)],
)
def test_each_of_100_random_bits_counts(make: Callable[..., str], bits: int) -> None:
    def flipped(bit: int) -> Callable[[int], bytes]:
        return lambda length: (1 << (length * 8 - 1 - bit)).to_bytes(length)

    assert len({make(flipped(bit)) for bit in range(bits)} - {make(bytes)}) == bits


def test_same_key_of_a_user_names_the_same_order_and_any_other_another() -> None:
    keys = [("a", "bc"), ("ab", "c"), ("abc", ""), ("", "abc"), ('a", "b', "c"), ("a", 'b", "c')]
    keys += [("አበበ", "bc"), ("a", "BC")]
    found = [ids.repeatable_order_id(*key, collision) for key in keys for collision in (0, 1)]
    assert all(map(ids.is_order_id, found))
    assert all(one != other for one, other in combinations(found, 2))
    assert ids.repeatable_order_id("a", "bc", 0) == found[0]


def test_each_decision_to_refund_and_each_attempt_has_a_reference_of_its_own() -> None:
    first, second = ids.refund_id(TX_REF, "key 1"), ids.refund_id(TX_REF, "key 2")
    other = ids.refund_id(f"{ORDER_ID}{'a' * 8}", "key 1")
    attempts = [ids.refund_reference(refund_id, 2) for refund_id in (first, second)]
    found = [first, second, other, *attempts, ids.refund_reference(first, 3)]
    assert len({*found, TX_REF}) == 7
    assert all(is_reference(each) and ids.order_id_of(each) == ORDER_ID for each in found)
    assert ids.refund_reference(first, 1) == ids.refund_id(TX_REF, "key 1") == first
    assert ids.refund_reference(first, 3) == found[-1]


MALFORMED = ["", "-", ORDER_ID, TX_REF[:-1], f"{TX_REF}a", f"{TX_REF}\n", f" {TX_REF}"]
MALFORMED += [f"{ORDER_ID}-{'a' * 7}", TX_REF.upper(), f"{ORDER_ID[:-1]}1{'a' * 8}"]
MALFORMED += [f"{TX_REF[:-1]}{odd}" for odd in ("1", "\N{CYRILLIC SMALL LETTER A}")]
MALFORMED += [f"ORDER#{TX_REF}", "a" * 100_000]


@pytest.mark.parametrize("malformed", MALFORMED, ids=range(len(MALFORMED)))
def test_malformed_tx_ref_has_no_order(malformed: str) -> None:
    assert ids.order_id_of(malformed) is None


@pytest.mark.parametrize("text", ["", "a" * 11, "a" * 13, "a" * 12 + "\n", "A" * 12, "0" * 12])
def test_malformed_order_id_is_recognised(text: str) -> None:
    assert not ids.is_order_id(text)
