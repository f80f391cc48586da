"""Chapa's v2 API: `/v2/payments/...` and `/v2/refunds/...`.

Sources: docs.chapa.global/docs/v2, and github.com/Chapa-Et/chapa-cli (version 2.0.0) for refunds.
v2 has no call that cancels a payment (docs.chapa.global/docs/v2/integrations/cancel-transaction).
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from flask import Response, request

from sandbox.chapa.api import (
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
from sandbox.chapa.records import Account, Payment, Refund
from sandbox.chapa.settings import SwitchesV2
from sandbox.chapa.simulator import Simulator
from sandbox.chapa.wire_v2 import customer, minor, moment, refund_word, status_word, units, written

SMALLEST, LARGEST = 100, 2_147_483_647
LONGEST_REFERENCE = 20
LONGEST_REASON = 400
PER_PAGE = 20
CURRENCIES = ("ETB", "USD", "UGX", "DJF")


class RefusedError(Exception):
    """A response other than success; `code` is the `error.code` of the answer."""

    def __init__(self, status: int, code: str, message: str, field: str | None = None) -> None:
        super().__init__(status, code, message)
        self.status = status
        self.code = code
        self.message = message
        self.field = field


def respond(simulator: Simulator, call: Call, act: Act, sent: ApiRequest) -> Response:
    try:
        sent.account = account_of(simulator, sent.api_key)
        repeatable = call in ("initialize", "refund")
        return reply(once(simulator, call, act, sent) if repeatable else act(simulator, sent), 200)
    except RefusedError as refused:
        switches = simulator.settings.switches_v2
        unprocessable = (
            refused.field and refused.status == 400 and switches.validation_code == "422"
        )
        return reply(error_body(refused, switches), 422 if unprocessable else refused.status)


def account_of(simulator: Simulator, api_key: str) -> Account:
    mode = mode_of(simulator, "v2", api_key)
    if mode is None:
        raise RefusedError(401, "UNAUTHORIZED", "Invalid API key or User does not exist")
    return "v2", mode


def error_body(refused: RefusedError, switches: SwitchesV2) -> Body:
    fields = {refused.field: [refused.message]} if refused.field else None
    details = fields if switches.error_details == "fields" else None
    in_object = fields and switches.error_message == "object"
    message = fields if in_object else refused.message
    return {
        "status": "error",
        "message": message,
        "error": {"code": refused.code, "details": details},
    }


def once(simulator: Simulator, call: Call, act: Act, sent: ApiRequest) -> Body:
    """Answer a POST; a repeated `Idempotency-Key` may get the first answer again."""
    key = request.headers.get("Idempotency-Key")
    style = simulator.settings.switches_v2.idempotency_key
    if key is None or style == "ignored":
        return act(simulator, sent)
    known = simulator.answers.get((sent.account, call, key))
    if known is None:
        known = simulator.answers[sent.account, call, key] = sent.raw, act(simulator, sent)
    first, answer = known
    if first != sent.raw and style == "replayed_or_409":
        raise RefusedError(409, "INVALID_STATE", "Idempotency-Key was used with another body")
    return answer


def success(message: str, data: Body) -> Body:
    return {"status": "success", "message": message, "data": data}


def about(simulator: Simulator, call: Call, ref: str, fields: Body) -> str | None:
    match call:
        case "initialize":
            sent = fields.get("merchant_reference")
            return sent if isinstance(sent, str) else None
        case "refund_verify":
            found = simulator.refund_by(ref, "v2")
            return found.tx_ref if found else None
        case "refund":
            ref = text_or_none(fields.get("payment_reference")) or ""
        case "list":
            ref = request.args.get("reference", "")
        case _:
            pass
    payment = simulator.by_reference(ref)
    return payment.tx_ref if payment else ref or None


def initialize(simulator: Simulator, sent: ApiRequest) -> Body:
    settings = simulator.settings
    fields = {name: value for name, value in sent.fields.items() if value not in (None, "")}
    amount = units(minor_units_in(fields, settings.switches_v2))
    currency = fields.get("currency")
    if currency is None:
        raise RefusedError(400, "MISSING_REQUIRED_FIELD", "Currency is required", "currency")
    if currency not in CURRENCIES:
        raise RefusedError(400, "INVALID_VALUE", "Invalid currency", "currency")
    check_reference(fields.get("merchant_reference"), settings.switches_v2)
    check_others(fields, settings.switches_v2)
    buyer, custom = fields.get("customer", {}), fields.get("customization", {})
    payment = {
        "tx_ref": fields.get("merchant_reference"),
        "amount": amount,
        "currency": currency,
        "meta": fields.get("meta"),
        "callback_url": fields.get("callback_url"),
        "return_url": fields.get("return_url"),
    }
    names = ("first_name", "last_name", "email", "phone_number")
    payment |= {name: text_or_none(buyer.get(name)) for name in names}
    payment |= {name: text_or_none(custom.get(name)) for name in ("title", "description", "logo")}
    opened = simulator.open(sent.account, payment, sent.api_key)
    if opened is None:
        status = int(settings.switches_v2.duplicate_reference)
        raise RefusedError(status, "INVALID_STATE", "Merchant reference has been used before")
    data = {
        "checkout_url": page_url(opened, settings),
        "created_at": moment(opened.created_at),
        "expires_at": moment(opened.expires_at),
    }
    if settings.switches_v2.expires_at == "absent":
        del data["expires_at"]
    if settings.switches_v2.create_answer != "url":
        data[settings.switches_v2.create_answer] = opened.reference
    return success("Payment initialized successfully", data)


def minor_units_in(fields: Body, switches: SwitchesV2) -> int:
    """The requested amount. With `amount_type` any, birr are taken for santim: a factor of 100."""
    value = fields.get("amount")
    if value is None:
        raise RefusedError(400, "MISSING_REQUIRED_FIELD", "Amount is required", "amount")
    whole_number = isinstance(value, int) and not isinstance(value, bool)
    if switches.amount_type == "any" and re.fullmatch(r"[0-9]+(\.[0-9]+)?", str(value)):
        value = int(Decimal(str(value)))
    elif not whole_number:
        raise RefusedError(400, "INVALID_VALUE", "Amount must be a whole number", "amount")
    if value < SMALLEST or (value == SMALLEST and switches.smallest_amount == "refused"):
        raise RefusedError(400, "INVALID_VALUE", "Amount must be greater than minimum", "amount")
    if value > LARGEST:
        text = "Amount must be between minimum and maximum"
        raise RefusedError(400, "INVALID_VALUE", text, "amount")
    return int(value)


def check_reference(value: object, switches: SwitchesV2) -> None:
    """A long reference looks like an outage of Chapa; integrators observed it on test accounts."""
    if value is None:
        return
    name = "merchant_reference"
    if not isinstance(value, str):
        raise RefusedError(400, "INVALID_FORMAT", "Merchant reference must be text", name)
    for wrong, treatment in (
        (len(value) > LONGEST_REFERENCE, switches.long_reference),
        (not re.fullmatch(r"[A-Za-z0-9-]+", value), switches.odd_reference),
    ):
        if wrong and treatment == "fails":
            raise RefusedError(500, "PROCESSING_FAILED", "Failed to initialize payment")
        if wrong and treatment == "refused":
            raise RefusedError(400, "INVALID_VALUE", "Invalid merchant reference", name)


PHONES = {"any": r"(\+?251|0)[79]\d{8}", "without_plus": r"251[79]\d{8}", "refused": "(?!)"}


def check_others(fields: Body, switches: SwitchesV2) -> None:
    for name in ("customer", "meta", "customization"):
        if not isinstance(fields.get(name, {}), dict):
            raise RefusedError(400, "INVALID_FORMAT", f"{name} must be an object", name)
    for name in ("callback_url", "return_url"):
        if name in fields and not url_is_good(fields[name]):
            raise RefusedError(400, "INVALID_FORMAT", f"Invalid {name}", name)
    phone = fields.get("customer", {}).get("phone_number")
    if phone and not re.fullmatch(PHONES[switches.phone], str(phone)):
        raise RefusedError(400, "INVALID_FORMAT", "Invalid phone number", "customer.phone_number")


def payment_for(simulator: Simulator, sent: ApiRequest) -> Payment:
    """The payment by the references that verify accepts; 401 for a key of the other mode."""
    by = simulator.settings.switches_v2.verify_by
    payment = simulator.by_reference(sent.ref) if by != "merchant_reference" else None
    if payment is None and by != "chapa_reference":
        payment = simulator.find(sent.ref, sent.account[1], "v2") or simulator.find(
            sent.ref, version="v2"
        )
    if payment is None or payment.version != "v2":
        raise unknown_payment(simulator.settings.switches_v2)
    if payment.account != sent.account:
        raise RefusedError(401, "UNAUTHORIZED", f"The payment was made in {payment.mode} mode")
    return payment


def unknown_payment(switches: SwitchesV2) -> RefusedError:
    match switches.verify_unknown:
        case "404":
            return RefusedError(404, "NOT_FOUND", "Payment not found")
        case "400":
            return RefusedError(400, "INVALID_VALUE", "Payment not found")
        case "500":
            return RefusedError(500, "PROCESSING_FAILED", "Failed to fetch payments")


def verify(simulator: Simulator, sent: ApiRequest) -> Body:
    switches = simulator.settings.switches_v2
    payment = payment_for(simulator, sent)
    fixed = simulator.faults.take("verify", payment.tx_ref, ["says"])
    if fixed:
        sent.entry.faults.append("says")
    hidden = simulator.is_hidden(payment)
    unpaid = payment.status == "unpaid" or hidden
    if (fixed and fixed.word == "404") or (
        not fixed and unpaid and switches.verify_unpaid == "404"
    ):
        raise RefusedError(404, "NOT_FOUND", "Payment not found")
    word = fixed.word if fixed else "pending" if unpaid else status_word(payment)
    data = details(payment, word, switches)
    if wrong := None if fixed or unpaid else simulator.faults.take("verify", payment.tx_ref, WRONG):
        sent.entry.faults.append(wrong.kind)
        match wrong.kind:
            case "wrong_amount":
                data["amount"] = written(wrong.amount, switches.verify_amounts)
            case "wrong_currency":
                data["currency"] = wrong.currency
            case "wrong_mode":
                data["mode"] = "live" if payment.mode == "test" else "test"
            case "wrong_tx_ref":
                data["merchant_reference"] = wrong.value
    return success("Payment retrieved successful", data)


def details(payment: Payment, word: str | None, switches: SwitchesV2) -> Body:
    fee = payment.charge if switches.verify_amount == "less_fee" else 0
    data: Body = {
        "chapa_reference": payment.reference,
        "merchant_reference": payment.tx_ref,
        "amount": written(payment.amount - fee, switches.verify_amounts),
        "currency": payment.currency,
        "status": word.upper() if word and switches.status_case == "upper" else word,
        "payment_method": payment.method,
        "service_fee": written(payment.charge, switches.verify_amounts),
        "customer": customer(payment),
        "created_at": moment(payment.created_at),
        "updated_at": moment(payment.updated_at),
    }
    match switches.verify_reference:
        case "misspelt":
            data["merchant_referece"] = data.pop("merchant_reference")
        case "empty_while_pending" if word == "pending":
            data["merchant_reference"] = ""
    match switches.verify_mode:
        case "present":
            data["mode"] = payment.mode
        case "wrong":
            data["mode"] = "live" if payment.mode == "test" else "test"
    return data


def payments(simulator: Simulator, sent: ApiRequest) -> Body:
    """Newest first; a payment is not listed before the customer tries to pay."""
    switches = simulator.settings.switches_v2
    reference = request.args.get("reference")

    def listed(payment: Payment) -> bool:
        if reference is not None and reference not in (payment.tx_ref, payment.reference):
            return False
        if reference is not None and switches.list_by_reference == "never":
            return False
        if payment.status == "unpaid" and switches.list_by_reference != "always":
            return False
        email = request.args.get("email")
        return matches(payment, status_word(payment), switches) and email in (None, payment.email)

    found = page_of(simulator.of(sent.account), listed, switches)
    items = [
        details(payment, status_word(payment), switches) | {"payment_type": "Hosted"}
        for payment in found.pop("rows")
    ]
    return success("Payments retrieved successfully", {"items": items, **found})


def matches(row: Payment | Refund, word: str, switches: SwitchesV2) -> bool:
    """Whether a row fits the filters that payments and refunds share."""
    args = request.args
    since, until = time_in("from"), time_in("to")
    if switches.list_filters == "ignored":
        return True
    least, most = whole(args.get("min"), 0, LARGEST), whole(args.get("max"), 0, LARGEST)
    return (
        args.get("status", word).lower() == word
        and args.get("currency", row.currency) == row.currency
        and (since is None or since <= row.created_at)
        and (until is None or row.created_at <= until)
        and (least is None or least <= minor(row.amount))
        and (most is None or minor(row.amount) <= most)
    )


def time_in(name: str) -> datetime | None:
    text = request.args.get(name)
    try:
        time = datetime.fromisoformat(text) if text else None
    except ValueError as error:
        raise RefusedError(400, "INVALID_FORMAT", f"Invalid {name}", name) from error
    return time.replace(tzinfo=time.tzinfo or UTC) if time else None


def page_of[Row](
    rows: list[Row], listed: Callable[[Row], bool], switches: SwitchesV2
) -> dict[str, Any]:
    """One page of rows, newest first, by `cursor` or by `page`.

    Chapa's page about the list asks for page numbers and answers with cursors. A cursor is the
    number of a row: new rows do not move the pages behind it.
    """
    args = request.args
    size = whole(args.get("limit"), 1, 100) or whole(args.get("per_page"), 1, 100) or PER_PAGE
    found = [(number, row) for number, row in enumerate(rows) if listed(row)][::-1]
    start = ((whole(args.get("page"), 1, 10**6) or 1) - 1) * size
    if "cursor" in args:
        before = whole(args["cursor"], 0, 10**9)
        if before is None:
            raise RefusedError(400, "INVALID_VALUE", "Invalid cursor", "cursor")
        start = sum(number >= before for number, _ in found)
    shown = found[start : start + size]
    if switches.list_pages == "page":
        pagination = {"page": start // size + 1, "per_page": size, "total": len(found)}
        return {"rows": [row for _, row in shown], "pagination": pagination}
    more = start + size < len(found)
    earlier = found[max(0, start - size)][0] + 1 if start and found[:start] else None
    return {
        "rows": [row for _, row in shown],
        "pagination": {
            "next_cursor": str(shown[-1][0]) if more else None,
            "prev_cursor": None if earlier is None else str(earlier),
            "limit": size,
            "has_more": more,
        },
    }


def refund(simulator: Simulator, sent: ApiRequest) -> Body:
    fields = {name: value for name, value in sent.fields.items() if value not in (None, "")}
    payment = refundable_payment(simulator, sent, fields)
    reason, reference = fields.get("reason"), text_or_none(fields.get("merchant_reference"))
    if len(str(reason or "")) > LONGEST_REASON:
        raise RefusedError(400, "INVALID_VALUE", "The reason is too long", "reason")
    amount = payment.refundable if "amount" not in fields else units(refund_amount(fields))
    if reference and simulator.refund_by(reference, "v2"):
        raise RefusedError(400, "INVALID_STATE", "Merchant reference has been used before")
    if amount > payment.refundable or not amount:
        raise RefusedError(400, "INVALID_VALUE", "More than what is left of the payment", "amount")
    made = simulator.refund(
        payment, amount, reference=reference, reason=text_or_none(reason), meta=fields.get("meta")
    )
    if simulator.settings.switches_v2.refund_result == "immediate":
        simulator.move_refund(made, "refunded")
    return success("Refund processed successfully", refund_details(made))


def refund_amount(fields: Body) -> int:
    return minor_units_in(fields, SwitchesV2())


def refundable_payment(simulator: Simulator, sent: ApiRequest, fields: Body) -> Payment:
    reference = fields.get("payment_reference")
    if reference is None:
        text = "Reference parameter is required"
        raise RefusedError(400, "MISSING_REQUIRED_FIELD", text, "payment_reference")
    if simulator.settings.switches_v2.refund_by == "chapa_reference":
        payment = simulator.by_reference(str(reference))
    else:
        payment = simulator.find(str(reference), sent.account[1], "v2")
    if payment is None or payment.account != sent.account:
        raise RefusedError(404, "NOT_FOUND", "Payment not found")
    if payment.status not in ("success", "refunded"):
        raise RefusedError(400, "INVALID_STATE", "Only a successful payment can be refunded")
    return payment


def refund_details(made: Refund) -> Body:
    return {
        "chapa_reference": made.ref_id,
        "payment_reference": made.payment_reference,
        "merchant_reference": made.merchant_reference,
        "amount": minor(made.amount),
        "currency": made.currency,
        "status": refund_word(made),
        "reason": made.reason,
        "created_at": moment(made.created_at),
        "updated_at": moment(made.updated_at),
    }


def refund_verify(simulator: Simulator, sent: ApiRequest) -> Body:
    found = simulator.refund_by(sent.ref, "v2")
    if found is None or found.account != sent.account:
        raise RefusedError(404, "NOT_FOUND", "Refund not found")
    simulator.check_refund(found)
    return success("Refund retrieved successfully", refund_details(found))


def refunds(simulator: Simulator, sent: ApiRequest) -> Body:
    switches = simulator.settings.switches_v2
    if switches.refund_list == "absent":
        raise RefusedError(404, "NOT_FOUND", "Not found")
    reference = request.args.get("reference")

    def listed(row: Refund) -> bool:
        names = (None, row.ref_id, row.merchant_reference, row.payment_reference)
        return reference in names and matches(row, refund_word(row), switches)

    mine = [row for row in simulator.refunds.values() if row.account == sent.account]
    found = page_of(mine, listed, switches)
    items = [refund_details(row) for row in found.pop("rows")]
    return success("Refunds retrieved successfully", {"items": items, **found})


CODES = {400: "INVALID_VALUE", 401: "UNAUTHORIZED", 404: "NOT_FOUND", 422: "INVALID_VALUE"}
"""What the docs have with each HTTP status."""


def failure(status: int) -> Body:
    refused = RefusedError(status, CODES.get(status, "PROCESSING_FAILED"), "Something went wrong")
    return error_body(refused, SwitchesV2())


API = Api(
    "v2",
    [
        ("POST", "/payments/hosted", "initialize", initialize),
        ("GET", "/payments/<path:ref>/verify", "verify", verify),
        ("GET", "/payments", "list", payments),
        ("POST", "/refunds", "refund", refund),
        ("GET", "/refunds/<path:ref>/verify", "refund_verify", refund_verify),
        ("GET", "/refunds", "refund_list", refunds),
    ],
    read_json,
    about,
    respond,
    failure,
)
