"""How v2 writes amounts, times, webhooks and callbacks.

Amounts are whole minor units, such as santim; webhooks have them as strings
(docs.chapa.global/docs/v2/integrations/webhooks).
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Literal

from payments.chapa.signature import sign
from sandbox.chapa import events
from sandbox.chapa.events import Request, What, with_query
from sandbox.chapa.records import Mode, Payment, Refund
from sandbox.chapa.settings import Settings

type AmountStyle = Literal["number", "string", "decimal"]

FAILED = ("payment.failed", "failed")
MINOR_UNITS = 100


def minor(amount: Decimal) -> int:
    """Whole minor units of an amount in units of the currency."""
    return round(amount * MINOR_UNITS)


def units(minor_units: int) -> Decimal:
    """The amount in units of the currency."""
    return Decimal(minor_units) / MINOR_UNITS


def written(amount: Decimal, style: AmountStyle) -> int | str:
    """With `decimal` in units of the currency: a client must not take it for minor units."""
    match style:
        case "number":
            return minor(amount)
        case "string":
            return str(minor(amount))
        case "decimal":
            return f"{amount:.2f}"


def moment(time: datetime) -> str:
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def status_word(payment: Payment) -> str:
    if payment.status == "unpaid":
        return "pending"
    if payment.status != "failed":
        return payment.status
    if payment.cancelled:
        return "cancelled"
    return "incomplete" if payment.timed_out else "failed"


def refund_word(refund: Refund) -> str:
    return {"refunded": "success", "reversed": "failed"}.get(refund.status, "pending")


def customer(payment: Payment) -> dict[str, str | None]:
    names = ("first_name", "last_name", "email", "phone_number")
    return {name: getattr(payment, name) for name in names}


def names(what: What, settings: Settings) -> tuple[str, str] | None:
    """The event's name and status; None: v2 reports nothing."""
    refunds = settings.switches_v2.refund_event
    match what:
        case "success":
            return "payment.success", "success"
        case "failed":
            return FAILED
        case "cancelled":
            return "payment.cancelled", "cancelled"
        case "incomplete":
            return "payment.incomplete", "incomplete"
        case "refunded" | "partly_refunded" if refunds == "refund":
            return "refund.success", "success"
        case "refund_failed" if refunds == "refund":
            return "refund.failed", "failed"
        case "refunded" if refunds == "payment":
            return "payment.fully_refunded", "fully_refunded"
        case "partly_refunded" if refunds == "payment":
            return "payment.partially_refunded", "partially_refunded"
        case _:
            return None


def body(
    payment: Payment, event: str, status: str, settings: Settings, refund: Refund | None = None
) -> dict[str, Any]:
    style = settings.switches_v2.webhook_amounts
    kind = "refund" if event.startswith("refund.") else "payment"
    about: dict[str, Any] = {
        "webhook_type": kind,
        "event": event,
        "status": status,
        "mode": payment.mode,
        "currency": payment.currency,
        "amount": written(refund.amount if refund else payment.amount, style),
        "merchant_reference": payment.tx_ref,
        "chapa_reference": payment.reference,
        "created_at": moment(payment.created_at),
        "updated_at": moment(payment.updated_at),
        "meta": payment.meta,
    }
    if kind == "refund":
        if refund:
            about["merchant_reference"] = refund.merchant_reference
            about["chapa_reference"] = refund.ref_id
            about["updated_at"] = moment(refund.updated_at)
        return about | {"payment_reference": payment.reference}
    about |= {
        "payment_type": "Hosted",
        "payment_method": payment.method,
        "service_fee": written(payment.charge, style),
        "customer": customer(payment),
    }
    if status == "incomplete":
        about["reason"] = "TIMEOUT"
    if status == "failed":
        about["reason"] = "The payment failed"
    if status == "cancelled":
        about["cancelled_by"] = "SYSTEM" if payment.timed_out else "USER"
    return about


def payout(event: str, status: str, mode: Mode, now: datetime) -> dict[str, Any]:
    """An event about a payout, which has nothing to do with any payment."""
    return {
        "webhook_type": "payout",
        "event": event,
        "status": status,
        "mode": mode,
        "currency": "ETB",
        "amount": "10000",
        "merchant_reference": "payout-1",
        "chapa_reference": "payout-at-chapa-1",
        "created_at": moment(now),
        "updated_at": moment(now),
        "meta": None,
    }


def encoded(event: Mapping[str, Any], settings: Settings) -> bytes:
    switches = settings.switches_v2
    wraps = switches.webhook_shape == "wrapped"
    return events.encode(events.wrapped(event) if wraps else event, switches.webhook_body)


def signatures(raw: bytes, key: str, settings: Settings) -> dict[str, str]:
    signature = sign(raw, key)
    match settings.switches_v2.webhook_signature:
        case "payload":
            return {"x-chapa-signature": signature}
        case "constant":
            return {"x-chapa-signature": sign(key.encode(), key)}
        case "both_names":
            return {"x-chapa-signature": signature, "chapa-signature": signature}
        case "prefixed":
            return {"x-chapa-signature": f"sha256={signature}"}


def callback(payment: Payment, url: str, status: str, settings: Settings) -> Request | None:
    """The call of the payment's callback_url; None if it has no such URL."""
    style = settings.switches_v2.callback
    if style == "none" or status != "success":
        return None
    values = {"trx_ref": payment.tx_ref, "ref_id": payment.reference, "status": status}
    if style == "post":
        return Request("POST", url, events.encode(values, "utf8"), events.JSON)
    return Request("GET", with_query(url, values))


def return_url(payment: Payment, url: str, settings: Settings) -> str:
    match settings.switches_v2.return_url:
        case "unchanged":
            return url
        case "appended":
            about = {"tx_ref": payment.tx_ref, "chapa_reference": payment.reference}
            return with_query(url, about)
        case "escaped":
            return url.replace("&", "&amp;")
