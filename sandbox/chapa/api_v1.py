"""Chapa's v1 API: `/v1/transaction/...`, `/v1/refund/...` and the lists.

Shapes of the lists: `tests/` of github.com/Chapa-Et/chapa-rust, which repeats the samples of
developer.chapa.co, and developer.chapa.co/integrations/currency-supported.
"""

import re
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qsl, urlencode

from flask import Response, request

from sandbox.chapa.api import (
    HTML,
    Act,
    Api,
    ApiRequest,
    Body,
    mode_of,
    read_json,
    reply,
    text_or_none,
    url_is_good,
    whole,
)
from sandbox.chapa.checkout import page_url
from sandbox.chapa.faults import WRONG, Call
from sandbox.chapa.records import Account, Mode, Payment, Refund
from sandbox.chapa.settings import Settings, Switches
from sandbox.chapa.simulator import NotNowError, Simulator
from sandbox.chapa.wire_v1 import moment, two_places

MAX_AMOUNT = Decimal("9999999.99")
NOT_FOUND = "Invalid transaction or Transaction not found"
PER_PAGE = 10
RESERVED_DOMAINS = re.compile(
    r"(^|\.)(example\.com|test\.com)$|\.(test|local|invalid)$", re.IGNORECASE
)


class RefusedError(Exception):
    """A response other than success."""

    def __init__(
        self, code: int, message: str | dict[str, list[str]], status: str | None = "failed"
    ) -> None:
        super().__init__(code, message)
        self.code = code
        self.body = {"message": message, "status": status, "data": None}


def respond(simulator: Simulator, call: Call, act: Act, sent: ApiRequest) -> Response:
    switches = simulator.settings.switches
    if request.method == "GET" and sent.raw and switches.get_with_body == "html":
        return Response(HTML.format("Bad Request"), 400, mimetype="text/html")
    try:
        sent.account = account_of(simulator, sent.api_key)
        if call == "initialize":
            require_content_type()
        body = act(simulator, sent)
        if call == "cancel" and switches.cancel_answer == "empty":
            return Response(status=200)
        return reply(body, int(switches.refund_code) if call == "refund" else 200)
    except RefusedError as refused:
        disguised = refused.code == 400 and switches.refusals == "200"
        return reply(refused.body, 200 if disguised else refused.code)


def account_of(simulator: Simulator, api_key: str) -> Account:
    if not api_key:
        raise RefusedError(401, "Authorization required")
    mode = mode_of(simulator, "v1", api_key)
    if mode is None:
        raise RefusedError(401, "Invalid API Key or User doesn't exist")
    return "v1", mode


def require_content_type() -> None:
    if request.mimetype not in ("application/json", "application/x-www-form-urlencoded"):
        raise RefusedError(
            400, "Incorrect header settings: the content-type must be application/json"
        )


def read_fields(raw: bytes) -> Body:
    """The fields of a JSON or form body; an unreadable body has none, as in PHP."""
    if request.mimetype == "application/json":
        return read_json(raw)
    if request.mimetype == "application/x-www-form-urlencoded":
        return unfolded(parse_qsl(raw.decode(errors="replace"), keep_blank_values=True))
    return {}


def unfolded(pairs: list[tuple[str, str]]) -> dict[str, Any]:
    """Turn `customization[title]=x` into a nested object, as PHP does in forms only."""
    fields: dict[str, Any] = {}
    for name, value in pairs:
        first, *rest = re.findall(r"[^\[\]]+", name) or [name]
        here, last = fields, first
        for part in rest:
            inner = here.setdefault(last, {})
            if not isinstance(inner, dict):
                inner = here[last] = {}
            here, last = inner, part
        here[last] = value
    return fields


def about(simulator: Simulator, call: Call, ref: str, fields: Body) -> str | None:
    match call:
        case "initialize":
            tx_ref = fields.get("tx_ref")
            return tx_ref if isinstance(tx_ref, str) else None
        case "refund" | "timeline":
            payment = simulator.by_reference(ref)
            return payment.tx_ref if payment else ref
        case "refund_verify":
            found = simulator.refund_by(ref, "v1")
            return found.tx_ref if found else None
        case _:
            return ref or None


def initialize(simulator: Simulator, sent: ApiRequest) -> Body:
    settings = simulator.settings
    fields = {name: value for name, value in sent.fields.items() if value not in (None, "")}
    if problems := field_problems(fields, settings.switches):
        raise RefusedError(400, problems)
    if fields["currency"] not in ("ETB", "USD"):
        raise RefusedError(400, f"Invalid currency, {fields['currency']} is not supported")
    custom = fields.get("customization")
    custom = custom if isinstance(custom, dict) else {}
    payment = {
        "tx_ref": str(fields["tx_ref"]),
        "amount": Decimal(str(fields["amount"])),
        "currency": fields["currency"],
        "meta": fields.get("meta"),
    }
    texts = ("first_name", "last_name", "email", "phone_number", "callback_url", "return_url")
    payment |= {name: text_or_none(fields.get(name)) for name in texts}
    payment |= {name: text_or_none(custom.get(name)) for name in ("title", "description", "logo")}
    opened = simulator.open(sent.account, payment, sent.api_key)
    if opened is None:
        raise RefusedError(400, "Transaction reference has been used before")
    url = page_url(opened, settings)
    return {"message": "Hosted Link", "status": "success", "data": {"checkout_url": url}}


def amount_of(value: object) -> Decimal | None:
    """A plain decimal from a string or a JSON number; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    plain = re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", str(value))
    return Decimal(plain[0]) if plain else None


def field_problems(fields: dict[str, Any], switches: Switches) -> dict[str, list[str]]:
    """Chapa's text for each bad field; with `validation` off, only for the required ones."""
    problems: dict[str, list[str]] = {}
    required = ["amount", "currency", "tx_ref"]
    if switches.email == "required":
        required.append("email")
    for name in required:
        if name not in fields:
            problems[name] = ["validation.required"]
    if "amount" in fields and (problem := amount_problem(fields["amount"], switches)):
        problems["amount"] = [problem]
    if switches.validation == "off":
        return problems
    if "tx_ref" in fields and not isinstance(fields["tx_ref"], str):
        problems["tx_ref"] = ["validation.string"]
    elif len(fields.get("tx_ref", "")) > 50:
        problems["tx_ref"] = ["The tx_ref must not exceed 50 characters."]
    if "email" in fields and (switches.email == "refused" or not email_is_good(fields["email"])):
        problems["email"] = ["validation.email"]
    local = r"0[79]\d{8}"
    phone = rf"{local}|\+?251[79]\d{{8}}" if switches.phone == "international" else local
    if "phone_number" in fields and (
        switches.phone == "refused" or not re.fullmatch(phone, str(fields["phone_number"]))
    ):
        problems["phone_number"] = ["validation.regex"]
    for name in ("callback_url", "return_url"):
        if name in fields and not url_is_good(fields[name]):
            problems[name] = ["validation.url"]
    if "meta" in fields and not isinstance(fields["meta"], dict):
        problems["meta"] = ["validation.array"]
    return problems | customization_problems(fields.get("customization", {}))


def amount_problem(value: object, switches: Switches) -> str | None:
    amount = amount_of(value)
    if amount is None:
        return "validation.numeric"
    if amount <= 0:
        return "amount must be greater than 0"
    exponent = amount.as_tuple().exponent
    if switches.validation == "strict" and isinstance(exponent, int) and exponent < -2:
        return "The amount must not have more than 2 decimal places."
    if amount > MAX_AMOUNT:
        return f"The amount must not be greater than {MAX_AMOUNT}."
    return None


def email_is_good(value: object) -> bool:
    if not isinstance(value, str) or not re.fullmatch(r"[^@\s]+@[^@\s.]+(\.[^@\s.]+)+", value):
        return False
    return not RESERVED_DOMAINS.search(value.rpartition("@")[2])


def customization_problems(custom: object) -> dict[str, list[str]]:
    if not isinstance(custom, dict):
        return {"customization": ["validation.array"]}
    problems: dict[str, list[str]] = {}
    for name, longest in (("title", 16), ("description", 50)):
        if len(text_or_none(custom.get(name)) or "") > longest:
            problems[f"customization.{name}"] = [
                f"The customization.{name} must not exceed {longest} characters."
            ]
    description = text_or_none(custom.get("description")) or ""
    if not re.fullmatch(r"[A-Za-z0-9_ .-]*", description):
        problems.setdefault("customization.description", []).append(
            "The customization.description can hold only letters, numbers, hyphens, underscores, "
            "spaces and dots."
        )
    if custom.get("logo") and not url_is_good(custom["logo"]):
        problems["customization.logo"] = ["validation.url"]
    return problems


def payment_for(simulator: Simulator, tx_ref: str, mode: Mode) -> Payment:
    """The payment of this key's mode; 401 for a key of the other mode."""
    if payment := simulator.find(tx_ref, mode, "v1"):
        return payment
    if other := simulator.find(tx_ref, version="v1"):
        raise RefusedError(
            401, f"This transaction was made in {other.mode} mode; use a {other.mode} secret key"
        )
    if simulator.settings.switches.verify_unknown == "invalid_reference":
        raise RefusedError(404, "Invalid transaction reference")
    raise RefusedError(404, NOT_FOUND)


def verify(simulator: Simulator, sent: ApiRequest) -> Body:
    switches = simulator.settings.switches
    payment = payment_for(simulator, sent.ref, sent.account[1])
    fixed = simulator.faults.take("verify", payment.tx_ref, ["says"])
    if fixed:
        sent.entry.faults.append("says")
        if fixed.word == "404":
            return unpaid(switches)
        return details(simulator, payment, fixed.word)
    hidden = simulator.is_hidden(payment)
    cancelled_unseen = (
        payment.cancelled and not payment.paid and switches.verify_cancelled == "unpaid"
    )
    if payment.status == "unpaid" or hidden or cancelled_unseen:
        if switches.verify_unpaid == "pending":
            return details(simulator, payment, "pending")
        return unpaid(switches)
    body = details(simulator, payment, status_word(payment, switches))
    if wrong := simulator.faults.take("verify", payment.tx_ref, WRONG):
        sent.entry.faults.append(wrong.kind)
        match wrong.kind:
            case "wrong_amount":
                body["data"]["amount"] = amount_in_verify(wrong.amount, switches)
            case "wrong_currency":
                body["data"]["currency"] = wrong.currency
            case "wrong_mode":
                body["data"]["mode"] = "live" if payment.mode == "test" else "test"
            case "wrong_tx_ref":
                body["data"]["tx_ref"] = wrong.value
    return body


def unpaid(switches: Switches) -> Body:
    """Raises RefusedError, unless the answer is a 200."""
    match switches.verify_unpaid:
        case "200_null":
            return {"message": "Payment not paid yet", "status": "null", "data": None}
        case "400":
            raise RefusedError(400, "Invalid transaction reference")
    status = "null" if switches.verify_unpaid == "404_null_string" else None
    raise RefusedError(404, "Payment not paid yet", status)


def status_word(payment: Payment, switches: Switches) -> str:
    if payment.status == "failed":
        return switches.failed_word
    if payment.status == "refunded" and switches.verify_refunded == "success":
        return "success"
    return payment.status


def details(simulator: Simulator, payment: Payment, status: str | None) -> Body:
    switches = simulator.settings.switches
    amount = payment.amount
    if switches.verify_amount == "less_charge":
        amount -= payment.charge
    fetched = switches.verify_message == "fetched"
    other_case = switches.verify_case == "other"
    return {
        "message": "Payment details fetched successfully" if fetched else "Payment details",
        "status": "success" if switches.top_level_status == "call" else status,
        "data": {
            "first_name": payment.first_name,
            "last_name": payment.last_name,
            "email": payment.email,
            "currency": payment.currency.lower() if other_case else payment.currency,
            "amount": amount_in_verify(amount, switches),
            "charge": amount_in_verify(payment.charge, switches),
            "mode": payment.mode.upper() if other_case else payment.mode,
            "method": payment.method,
            "type": "API",
            "status": status,
            "reference": payment.reference,
            "tx_ref": payment.tx_ref,
            "customization": payment.customization,
            "meta": payment.meta if switches.verify_meta == "echoed" else None,
            "created_at": moment(payment.created_at),
            "updated_at": moment(payment.updated_at),
        },
    }


def amount_in_verify(amount: Decimal, switches: Switches) -> int | float | str:
    match switches.verify_amounts:
        case "number":
            return number(amount)
        case "string":
            return two_places(amount)
        case "commas":
            return f"{amount:,.2f}"


def number(amount: Decimal) -> int | float:
    """A number as PHP writes it: 100 and 3.5."""
    return int(amount) if amount == amount.to_integral_value() else float(amount)


def cancel(simulator: Simulator, sent: ApiRequest) -> Body:
    payment = payment_for(simulator, sent.ref, sent.account[1])
    try:
        simulator.cancel(payment, by_merchant=True)
    except NotNowError as error:
        code = int(simulator.settings.switches.cancel_inactive)
        raise RefusedError(code, "Only an active transaction can be cancelled") from error
    return {"message": "Transaction cancelled", "status": "success", "data": None}


def refund(simulator: Simulator, sent: ApiRequest) -> Body:
    switches = simulator.settings.switches
    fields = {name: value for name, value in sent.fields.items() if value not in (None, "")}
    payment = refundable_payment(simulator, sent)
    reference = text_or_none(fields.get("reference"))
    amount = payment.amount
    if "amount" in fields:
        if problem := amount_problem(fields["amount"], switches):
            raise RefusedError(400, {"amount": [problem]})
        amount = Decimal(str(fields["amount"]))
    earlier = simulator.refund_by(reference, "v1") if reference else None
    if earlier:
        same = earlier.payment_reference == payment.reference and earlier.amount == amount
        if same and switches.refund_reference == "replay":
            return refund_initiated(earlier, simulator.settings)
        raise RefusedError(400, "Refund reference has been used before")
    if amount < payment.amount and switches.refund_partial == "refused":
        raise RefusedError(400, "Partial refunds are not supported")
    if amount > payment.refundable:
        raise RefusedError(400, "The refund amount is more than what is left of the payment")
    made = simulator.refund(
        payment,
        amount,
        reference=reference,
        reason=text_or_none(fields.get("reason")),
        meta=fields.get("meta"),
    )
    return refund_initiated(made, simulator.settings)


def refundable_payment(simulator: Simulator, sent: ApiRequest) -> Payment:
    path = simulator.settings.switches.refund_path
    payment = simulator.by_reference(sent.ref) if path != "tx_ref" else None
    if payment is None and path != "reference":
        payment = simulator.find(sent.ref, sent.account[1], "v1")
    if payment is None or payment.account != sent.account:
        raise RefusedError(404, NOT_FOUND)
    if payment.status not in ("success", "refunded"):
        raise RefusedError(400, "Only a successful transaction can be refunded")
    return payment


def refund_initiated(made: Refund, settings: Settings) -> Body:
    data: dict[str, Any] = {
        "id": f"refund-{made.ref_id}",
        "chapa_reference": made.payment_reference,
        "bank_reference": None,
        "amount": two_places(made.amount),
        "ref": made.ref_id,
        "ref_id": made.ref_id,
        "currency": made.currency,
        "status": made.status,
        "reason": made.reason,
        "merchant_reference": made.merchant_reference,
        "meta": made.meta,
        "created_at": moment(made.created_at),
        "updated_at": moment(made.updated_at),
    }
    match settings.switches.refund_handle:
        case "ref":
            del data["ref_id"]
        case "ref_id":
            del data["ref"]
        case "number":
            del data["ref"]
            data["ref_id"] = int(made.ref_id)
        case "both":
            pass
    return {
        "message": "Refund initiated successfully. Processing time: 1-3 business days",
        "status": "success",
        "data": data,
    }


def refund_verify(simulator: Simulator, sent: ApiRequest) -> Body:
    found = simulator.refunds.get(sent.ref)
    if found is None or found.account != sent.account:
        raise RefusedError(404, "Refund not found")
    simulator.check_refund(found)
    return {
        "message": "Refund verified successfully",
        "status": "success",
        "data": {
            "amount": number(found.amount),
            "currency": found.currency,
            "ref_id": found.ref_id,
            "payment_reference": found.payment_reference,
            "merchant_reference": found.merchant_reference,
            "status": found.status,
            "created_at": moment(found.created_at),
            "updated_at": moment(found.updated_at),
        },
    }


def transactions(simulator: Simulator, sent: ApiRequest) -> Body:
    """All payments; one that nobody tried to pay is pending."""
    per_page = whole(request.args.get("per_page"), 1, 100)
    page = whole(request.args.get("page"), 1, 10**9) or 1
    size = per_page or PER_PAGE
    payments = [*enumerate(simulator.of(sent.account), 1)]
    if simulator.settings.switches.list_order == "newest":
        payments.reverse()
    start = (page - 1) * size

    def url(number: int) -> str:
        query = {"page": number} | ({"per_page": size} if per_page else {})
        return f"{request.base_url}?{urlencode(query)}"

    return {
        "message": "Transactions retrieved successfully",
        "status": "success",
        "data": {
            "transactions": [
                row(number, payment, simulator.settings.switches)
                for number, payment in payments[start : start + size]
            ],
            "pagination": {
                "per_page": size,
                "current_page": page,
                "first_page_url": url(1),
                "next_page_url": url(page + 1) if start + size < len(payments) else None,
                "prev_page_url": url(page - 1) if page > 1 else None,
            },
        },
    }


def row(number: int, payment: Payment, switches: Switches) -> Body:
    """A payment in the list; `ref_id` is Chapa's reference."""
    unpaid = payment.status == "unpaid"
    ours = {"tx_ref": payment.tx_ref} if switches.list_tx_ref == "present" else {}
    return ours | {
        "status": "pending" if unpaid else status_word(payment, switches),
        "ref_id": payment.reference,
        "type": "API",
        "created_at": moment(payment.created_at),
        "currency": payment.currency,
        "amount": f"{payment.amount:.3f}",
        "charge": f"{payment.charge if payment.paid else 0:.3f}",
        "trans_id": None,
        "payment_method": payment.method,
        "customer": {
            "id": number,
            "email": payment.email,
            "first_name": payment.first_name,
            "last_name": payment.last_name,
            "mobile": payment.phone_number,
        },
    }


def timeline(simulator: Simulator, sent: ApiRequest) -> Body:
    payment = simulator.by_reference(sent.ref) or simulator.find(sent.ref, sent.account[1], "v1")
    if payment is None or payment.account != sent.account:
        raise RefusedError(404, "Transaction not found")
    return {
        "message": "Transaction events fetched",
        "status": "success",
        "data": [
            {
                "item": number,
                "message": f"Transaction is {'initialized' if status == 'unpaid' else status}",
                "type": "log",
                "created_at": moment(time),
                "updated_at": moment(time),
            }
            for number, (time, status) in enumerate(simulator.timeline(payment), 1)
        ],
    }


def banks(_simulator: Simulator, _sent: ApiRequest) -> Body:
    """A few of the banks that a transfer can go to."""
    return {
        "message": "Banks retrieved",
        "data": [
            bank(130, "abay_bank", "ABAYETAA", "Abay Bank", 16),
            bank(946, "cbe_bank", "CBETETAA", "Commercial Bank of Ethiopia (CBE)", 13),
            bank(855, "telebirr", "TELEBIRR", "telebirr", 10, is_mobilemoney=1),
        ],
    }


def bank(
    number: int, slug: str, swift: str, name: str, length: int, is_mobilemoney: int | None = None
) -> Body:
    return {
        "id": number,
        "slug": slug,
        "swift": swift,
        "name": name,
        "acct_length": length,
        "country_id": 1,
        "is_mobilemoney": is_mobilemoney,
        "is_active": 1,
        "is_rtgs": None if is_mobilemoney else 1,
        "active": 1,
        "is_24hrs": is_mobilemoney,
        "created_at": "2023-01-24T04:28:30.000000Z",
        "updated_at": "2024-08-03T08:10:24.000000Z",
        "currency": "ETB",
    }


def currencies(_simulator: Simulator, _sent: ApiRequest) -> Body:
    return {"status": "success", "currency_code": [1, 2], "currency_name": ["ETB", "USD"]}


API = Api(
    "v1",
    [
        ("POST", "/transaction/initialize", "initialize", initialize),
        ("POST", "/transaction/mobile-initialize", "initialize", initialize),
        ("GET", "/transaction/verify/<path:ref>", "verify", verify),
        ("PUT", "/transaction/cancel/<path:ref>", "cancel", cancel),
        ("GET", "/transaction/events/<path:ref>", "timeline", timeline),
        ("GET", "/transactions", "list", transactions),
        ("POST", "/refund/<path:ref>", "refund", refund),
        ("GET", "/refund/<path:ref>/verify", "refund_verify", refund_verify),
        ("GET", "/banks", "banks", banks),
        ("GET", "/currency_supported", "currencies", currencies),
    ],
    read_fields,
    about,
    respond,
    lambda status: {"message": "Something went wrong", "status": "failed", "data": None},  # noqa: ARG005 - v1 has no codes
)
