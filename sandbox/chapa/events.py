"""Webhook bodies and their signatures."""

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Literal

from payments.chapa.signature import sign
from sandbox.chapa.faults import Forgery

type Signing = Literal["both", "constant_only", "wrong_payload", "custom"]
type Shape = Literal[
    "flat", "wrapped", "trx_ref", "merchant_reference", "payment_event", "no_event"
]


def shaped(body: Mapping[str, Any], shape: Shape) -> Mapping[str, Any]:
    """The same event in another shape that integrators have met."""
    match shape:
        case "wrapped":
            rest = {name: value for name, value in body.items() if name != "event"}
            return {"event": body.get("event"), "data": rest}
        case "trx_ref" | "merchant_reference":
            return {shape if name == "tx_ref" else name: value for name, value in body.items()}
        case "payment_event":
            return {**body, "event": str(body.get("event")).replace("charge.", "payment.")}
        case "no_event":
            return {name: value for name, value in body.items() if name != "event"}
        case "flat":
            return body


def encode(body: Mapping[str, Any], style: Literal["php", "utf8"]) -> bytes:
    """JSON without spaces; PHP's encoder escapes every slash and every non-ASCII character."""
    if style == "utf8":
        return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
    return json.dumps(body, separators=(",", ":")).replace("/", "\\/").encode()


def two_places(amount: Decimal) -> str:
    return f"{amount:.2f}"


def signature_headers(body: bytes, key: str, signing: Signing) -> dict[str, str]:
    """`chapa-signature` of a standard webhook is the key signed with itself: a constant."""
    constant = {"chapa-signature": sign(key.encode(), key)}
    match signing:
        case "both":
            return {**constant, "x-chapa-signature": sign(body, key)}
        case "constant_only":
            return constant
        case "wrong_payload":
            respaced = json.dumps(json.loads(body)).encode()
            return {**constant, "x-chapa-signature": sign(respaced, key)}
        case "custom":
            return {"chapa-signature": sign(body, key)}


def forged_headers(
    body: bytes, key: str, api_key: str, noise: str, kind: Forgery
) -> dict[str, str]:
    """Signature headers that a forger could send."""
    match kind:
        case "missing":
            return {}
        case "random":
            value = sign(body, noise)
        case "constant":
            value = sign(key.encode(), key)
        case "api_key":
            value = sign(body, api_key)
        case "uppercase":
            value = sign(body, key).upper()
        case "other_body":
            value = sign(body + b" ", key)
    return {"chapa-signature": value, "x-chapa-signature": value}


PAYOUT: dict[str, Any] = {
    "type": "Payout",
    "account_name": "Abebe Bikila",
    "account_number": "1000123456789",
    "bank_id": 946,
    "bank_name": "Commercial Bank of Ethiopia (CBE)",
    "amount": "100.00",
    "charge": "0.00",
    "currency": "ETB",
    "reference": "payout-1",
    "chapa_reference": "APpayout0001",
    "bank_reference": "FT0000000001",
}
