"""Ids of orders, payments and refunds: lower-case letters and the digits 2 to 7, 5 bits each.

An order id has 12 characters. A tx_ref is the order id and 8 more characters: the order's key is
known from it alone, its 100 random bits cannot be guessed, and its 20 characters are within what
both versions of Chapa take (v1: 50, v2: 20). A refund id has the same shape.
"""

import base64
import hashlib
import json
import re
from collections.abc import Callable

type RandomBytes = Callable[[int], bytes]

_ORDER_ID = re.compile(r"[a-z2-7]{12}")
_TX_REF = re.compile(r"([a-z2-7]{12})[a-z2-7]{8}")


def new_order_id(random_bytes: RandomBytes) -> str:
    return _letters(random_bytes(8), 12)


def repeatable_order_id(user_id: str, idempotency_key: str, collision: int) -> str:
    """The same id for the same key of the same user, so that a repeat finds the first order.

    `collision` counts the ids that turned out to belong to other customers.
    """
    return _digest([user_id, idempotency_key, collision], 12)


def new_tx_ref(order_id: str, random_bytes: RandomBytes) -> str:
    return f"{order_id}{_letters(random_bytes(5), 8)}"


def refund_id(tx_ref: str, key: str) -> str:
    """The same id for the same key: the key names the decision to refund."""
    return tx_ref[:12] + _digest([tx_ref, key], 8)


def refund_reference(refund_id: str, attempt: int) -> str:
    """What names an attempt to refund at the provider; a refused reference may be used up."""
    return refund_id if attempt == 1 else refund_id[:12] + _digest([refund_id, attempt], 8)


def is_order_id(text: str) -> bool:
    return _ORDER_ID.fullmatch(text) is not None


def order_id_of(tx_ref: str) -> str | None:
    """The order that a tx_ref or refund id belongs to; None when it has not the shape of ours."""
    match = _TX_REF.fullmatch(tx_ref)
    return match[1] if match else None


def _letters(data: bytes, length: int) -> str:
    return base64.b32encode(data).decode().lower()[:length]


def _digest(parts: list[str | int], length: int) -> str:
    return _letters(hashlib.sha256(json.dumps(parts).encode()).digest(), length)
