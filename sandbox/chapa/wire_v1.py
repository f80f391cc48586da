"""How v1 writes amounts, times, webhooks and callbacks.

Amounts in webhooks are units of the currency with two decimals, and times have microseconds
(developer.chapa.co/integrations/webhooks).
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from payments.chapa.signature import sign
from sandbox.chapa import events
from sandbox.chapa.events import Request, What, with_query
from sandbox.chapa.records import Mode, Payment, Refund
from sandbox.chapa.settings import Settings, Switches

FAILED_WORD = "failed/cancelled"
FAILED = (f"charge.{FAILED_WORD}", FAILED_WORD)


def two_places(amount: Decimal) -> str:
    return f"{amount:.2f}"


def moment(time: datetime) -> str:
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def names(what: What, settings: Settings) -> tuple[str, str] | None:
    """The event's name and status; None: v1 reports nothing."""
    switches = settings.switches
    match what:
        case "success":
            return "charge.success", "success"
        case "failed" | "cancelled":
            return FAILED if switches.failed_event == "sent" else None
        case "closed":
            return FAILED if switches.cancel_event == "sent" else None
        case "incomplete":
            return None
        case "refunded" | "partly_refunded":
            return refund_names(switches).get("refunded")
        case "refund_failed":
            return refund_names(switches).get("reversed")
        case "reversed":
            return "charge.reversed", "reversed"


def refund_names(switches: Switches) -> dict[str, tuple[str, str]]:
    match switches.refund_event:
        case "charge":
            return {"refunded": ("charge.refunded", "refunded")}
        case "refund":
            return {
                "refunded": ("refund.success", "refunded"),
                "reversed": ("refund.reversed", "reversed"),
            }
        case "none":
            return {}


def body(
    payment: Payment, event: str, status: str, _settings: Settings, refund: Refund | None = None
) -> dict[str, Any]:
    return {
        "event": event,
        "first_name": payment.first_name,
        "last_name": payment.last_name,
        "email": payment.email,
        "mobile": payment.phone_number,
        "currency": payment.currency,
        "amount": two_places(refund.amount if refund else payment.amount),
        "charge": two_places(payment.charge),
        "status": status,
        "mode": payment.mode,
        "reference": payment.reference,
        "created_at": moment(payment.created_at),
        "updated_at": moment(payment.updated_at),
        "type": "API",
        "tx_ref": payment.tx_ref,
        "payment_method": payment.method,
        "customization": payment.customization,
        "meta": payment.meta,
    }


def payout(event: str, status: str, _mode: Mode, now: datetime) -> dict[str, Any]:
    """An event about a payout, which has nothing to do with any payment."""
    return {
        "event": event,
        "type": "Payout",
        "account_name": "Abebe Bikila",
        "account_number": "1000123456789",
        "bank_id": 946,
        "bank_name": "Commercial Bank of Ethiopia (CBE)",
        "amount": "100.00",
        "charge": "0.00",
        "currency": "ETB",
        "status": status,
        "reference": "payout-1",
        "chapa_reference": "APpayout0001",
        "bank_reference": "FT0000000001",
        "created_at": moment(now),
        "updated_at": moment(now),
    }


def encoded(event: Mapping[str, Any], settings: Settings) -> bytes:
    return events.encode(shaped(event, settings.switches), settings.switches.webhook_body)


def shaped(event: Mapping[str, Any], switches: Switches) -> Mapping[str, Any]:
    """The same event in another shape that integrators have met."""
    shape = switches.webhook_shape
    match shape:
        case "wrapped":
            return events.wrapped(event)
        case "trx_ref" | "merchant_reference":
            return {shape if name == "tx_ref" else name: value for name, value in event.items()}
        case "payment_event":
            return {**event, "event": str(event.get("event")).replace("charge.", "payment.")}
        case "no_event":
            return {name: value for name, value in event.items() if name != "event"}
        case "flat":
            return event


def signatures(raw: bytes, key: str, settings: Settings) -> dict[str, str]:
    """`chapa-signature` of a standard webhook is the key signed with itself: a constant."""
    constant = {"chapa-signature": sign(key.encode(), key)}
    match settings.switches.webhook_signature:
        case "both":
            return {**constant, "x-chapa-signature": sign(raw, key)}
        case "constant_only":
            return constant
        case "wrong_payload":
            respaced = json.dumps(json.loads(raw)).encode()
            return {**constant, "x-chapa-signature": sign(respaced, key)}
        case "custom":
            return {"chapa-signature": sign(raw, key)}


def callback(payment: Payment, url: str, status: str, settings: Settings) -> Request | None:
    """The call of the payment's callback_url; None if it has no such URL."""
    switches = settings.switches
    if switches.callback == "none" or (status == "failed" and switches.callback_on_failure == "no"):
        return None
    name = "tx_ref" if switches.callback == "tx_ref_name" else "trx_ref"
    values = {name: payment.tx_ref, "ref_id": payment.reference, "status": status}
    if switches.callback == "json":
        return Request("GET", url, events.encode(values, "php"), events.JSON)
    return Request("GET", with_query(url, values))


def return_url(payment: Payment, url: str, settings: Settings) -> str:
    if settings.switches.return_url == "unchanged":
        return url
    status = FAILED_WORD if payment.status == "failed" else payment.status
    return with_query(
        url, {"trx_ref": payment.tx_ref, "ref_id": payment.reference, "status": status}
    )
