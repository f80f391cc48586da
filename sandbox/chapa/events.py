"""What the webhooks and callbacks of both versions share."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlencode, urlsplit, urlunsplit

from payments.chapa.signature import sign
from sandbox.chapa.faults import Forgery

type What = Literal[
    "success",
    "failed",
    "cancelled",
    "closed",
    "incomplete",
    "partly_refunded",
    "refunded",
    "refund_failed",
    "reversed",
]
"""What happened to a payment. `cancelled`: by the customer; `closed`: by the merchant's call."""

JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True)
class Request:
    """One HTTP request that Chapa makes."""

    method: str
    url: str
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


def with_query(url: str, values: dict[str, str]) -> str:
    parts = urlsplit(url)
    query = "&".join(text for text in (parts.query, urlencode(values)) if text)
    return urlunsplit(parts._replace(query=query))


def encode(body: Mapping[str, Any], style: Literal["php", "utf8"]) -> bytes:
    """JSON without spaces; PHP's encoder escapes every slash and every non-ASCII character."""
    if style == "utf8":
        return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
    return json.dumps(body, separators=(",", ":")).replace("/", "\\/").encode()


def wrapped(body: Mapping[str, Any]) -> dict[str, Any]:
    """The same event with everything but its name in `data`."""
    rest = {name: value for name, value in body.items() if name != "event"}
    return {"event": body.get("event"), "data": rest}


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
