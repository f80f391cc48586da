"""Names of orders and payments.

An order id is 20 characters of 5 bits. A tx_ref is `<order id>-<24 characters>`: from it alone the
order's key is known, its 120 random bits cannot be guessed, and its 45 characters are within the
50 of `[A-Za-z0-9_-]` that Chapa takes (the limit is what two integrators met).
"""

import base64
import hashlib
import json
import re
from collections.abc import Callable

type RandomBytes = Callable[[int], bytes]

_ORDER_ID = re.compile(r"[a-z2-7]{20}")
_TX_REF = re.compile(r"([a-z2-7]{20})-[a-z2-7]{24}")


def _letters(data: bytes, length: int) -> str:
    return base64.b32encode(data).decode().lower()[:length]


def new_order_id(random_bytes: RandomBytes) -> str:
    return _letters(random_bytes(13), 20)


def repeatable_order_id(user_id: str, idempotency_key: str) -> str:
    """The same id for the same key of the same user, so that a repeat meets the first order."""
    name = json.dumps([user_id, idempotency_key]).encode()
    return _letters(hashlib.sha256(name).digest(), 20)


def new_tx_ref(order_id: str, random_bytes: RandomBytes) -> str:
    return f"{order_id}-{_letters(random_bytes(15), 24)}"


def is_order_id(text: str) -> bool:
    return _ORDER_ID.fullmatch(text) is not None


def order_id_of(tx_ref: str) -> str | None:
    """The order that a tx_ref belongs to; None when it is not one of ours by its shape."""
    match = _TX_REF.fullmatch(tx_ref)
    return match[1] if match else None
