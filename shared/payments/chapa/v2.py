"""Chapa's v2 API, as far as a shop needs it (docs.chapa.global/docs/v2).

What an error means follows from `error.code`, then from the HTTP code, never from the words
of a message.
There is no cancel (docs, cancel-transaction): a page can be paid until it ends.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, ClassVar, override
from urllib.parse import urlencode, urlsplit

from payments.chapa.calls import (
    QUESTIONS,
    QUESTIONS_AND_ACTS,
    ROWS,
    SUCCESS_CODES,
    Calls,
    Envelope,
    code_of,
    facts_of_error,
    in_path,
    is_past,
    log_refusal,
    moment_of,
    read_envelope,
    text_of,
    unknown_status,
    word_of,
)
from payments.chapa.keys import V2
from payments.chapa.provider import Opened
from payments.domain.answers import Page, Said, Transaction, Verification
from payments.domain.ids import refund_reference
from payments.domain.money import format_amount
from payments.domain.records import Order, Payment, Refund
from payments.errors import ProviderError, ProviderFailed, ProviderRejected
from payments.telemetry import count, logger

UNITS_PER_MINOR = 1
"""What one of our minor units is on the wire: amounts are whole santim (Chapa's chapa-cli; four
integrators agree). v1 has birr there, with decimals."""

MIN_AMOUNT = 100
"""The least amount of a payment, in minor units (chapa-cli). Two integrators say more than that;
then Chapa refuses it, too."""

MAX_REFERENCE = 20
"""Characters of a merchant_reference. Chapa answers a longer one 500, as if it were out of order
(three integrators, one of them checked it on a test account)."""

MAX_REASON = 400
"""Characters of the reason of a refund (chapa-cli)."""

SAID = {
    "success": Said.PAID,
    "partially_refunded": Said.PAID,
    "pending": Said.PENDING,
    "auth_needed": Said.PENDING,
    "failed": Said.FAILED,
    "cancelled": Said.FAILED,
    "canceled": Said.FAILED,
    "incomplete": Said.FAILED,
    "blocked": Said.FAILED,
    "refunded": Said.REFUNDED,
    "fully_refunded": Said.REFUNDED,
    "reversed": Said.REVERSED,
}
"""Words of verify's `data.status` in the docs, and what v1 and the webhooks call a payment that
went back. Whether a customer may try again on the same page after a failure is not documented, so
no failure is final. Another word is unknown and counted."""

PARTLY_BACK = "partially_refunded"

REFUND_SAID = {
    "initiated": Said.PENDING,
    "processing": Said.PENDING,
    "pending": Said.PENDING,
    "success": Said.REFUNDED,
    "refunded": Said.REFUNDED,
    "reversed": Said.REVERSED,
    "failed": Said.FAILED,
}
"""The same of a refund: only `success` is in a source on v2 (chapa-cli); the rest are v1's."""

USED = "INVALID_STATE"
"""Of a new payment or refund: its reference has been used before. The docs have it with HTTP 400 in
a table and with 409 in a sentence."""
REFUSED = frozenset({"INVALID_FORMAT", "INVALID_VALUE", "MISSING_REQUIRED_FIELD", USED})
NOT_FOUND = "NOT_FOUND"
NOT_FINAL = frozenset({"PROCESSING_FAILED"})
"""Documented as temporary, so nothing is refused for certain."""

REFUSED_CODES = SUCCESS_CODES | {400, 422}
"""Of answers without a code that is known."""

PAYMENTS, REFUNDS = "payments", "refunds"
"""The two lists, as their paths have them."""

NEXT_PAGE = "next page"
MAX_CURSOR = 1_000

_REFERENCE = re.compile(r"[A-Za-z0-9_-]{6,64}")


class ChapaV2(Calls):
    """Implements `Provider`."""

    version = V2
    can_cancel = False
    names_fields = False
    # The docs ask for the content type even where there is no content.
    headers: ClassVar = {**Calls.headers, "Content-Type": "application/json"}
    retries: ClassVar = {
        "/payments": QUESTIONS,
        "/payments/hosted": QUESTIONS_AND_ACTS,
        "/refunds/": QUESTIONS,
        "/refunds?": QUESTIONS,
    }

    @override
    def _open(
        self, order: Order, payment: Payment, customer: Mapping[str, str], time_left: float
    ) -> Opened:
        if len(payment.tx_ref) > MAX_REFERENCE:
            raise ProviderFailed("a reference too long for this version", may_have_acted=False)
        if payment.amount < MIN_AMOUNT:
            raise ProviderRejected(
                "less than the least amount",
                provider_message=(
                    f"The least amount is {format_amount(MIN_AMOUNT)} {payment.currency}."
                ),
            )
        body: dict[str, Any] = {
            "amount": to_wire(payment.amount),
            "currency": payment.currency,
            "merchant_reference": payment.tx_ref,
            "meta": {"order_id": order.order_id},
            **self._urls(payment),
        }
        if customer:
            body["customer"] = _international(customer)
        answer = self._post("open", "/payments/hosted", time_left, body)
        if code_of(answer) == USED:
            # Nobody else can have made this reference: our own call arrived twice.
            raise ProviderFailed("the reference was used before")
        if not _accepted(answer):
            raise _refused("open", answer)
        url = self._checkout_url(answer)
        return Opened(
            url,
            moment_of(answer.data.get("expires_at")),
            next(_references(answer.data, url, payment.tx_ref), None),
        )

    def verify(self, payment: Payment, time_left: float) -> Verification:
        """Ask by Chapa's reference, then by ours, then search the list for ours.

        Sources contradict one another about which reference verify takes. An answer about money
        counts only if it names our reference.
        """
        until = self._clock() + time_left
        nowhere = True
        for path in _ways(payment):
            try:
                answer = self._ask("verify", path, until - self._clock())
            except ProviderError as error:
                logger.warning("verify unanswered", tx_ref=payment.tx_ref, reason=error.reason)
                return Verification(Said.UNKNOWN)
            if _missing(answer):
                continue
            found = self._found(answer, payment, asked_by_ours=payment.tx_ref in path)
            if found is not None:
                return self._verification(found, payment)
            nowhere = nowhere and _is_empty_list(answer)
        if nowhere:
            return Verification(Said.NOT_PAID, status="not known to Chapa")
        return Verification(Said.UNKNOWN)

    def _found(
        self, answer: Envelope, payment: Payment, *, asked_by_ours: bool
    ) -> Mapping[str, Any] | None:
        """The data of our payment in an answer of verify or of the list."""
        data = answer.data
        if answer.code != 200 or word_of(answer.status) == "error" or not isinstance(data, dict):
            if answer.code == 400:
                count("VerifyRefused")
            logger.warning(
                "unexpected verify response", tx_ref=payment.tx_ref, **facts_of_error(answer)
            )
            return None
        items = data.get("items")
        if isinstance(items, list):
            # The list's filter is not trusted.
            return next((each for each in items if _names(each) == payment.tx_ref), None)
        named = _names(data)
        paid = SAID.get(word_of(data.get("status"))) not in {Said.PENDING, Said.FAILED}
        if named == payment.tx_ref or (named is None and asked_by_ours and not paid):
            return data
        logger.warning("verify names another payment", tx_ref=payment.tx_ref)
        return None

    def _verification(self, data: Mapping[str, Any], payment: Payment) -> Verification:
        tx_ref = payment.tx_ref
        word = word_of(data.get("status"))
        said = SAID.get(word)
        if said is None:
            unknown_status("verify", word, tx_ref=tx_ref)
            return Verification(Said.UNKNOWN)
        currency, mode = text_of(data.get("currency")), text_of(data.get("mode"))
        verification = Verification(
            said,
            tx_ref=_names(data),
            amount=None if word == PARTLY_BACK else from_wire(data.get("amount")),
            currency=currency and currency.upper(),
            # Documented without `mode`: the key alone separates test from live.
            mode=mode.lower() if mode else self.mode,
            provider_reference=text_of(data.get("chapa_reference")) or payment.provider_reference,
            status=word,
            fee=from_wire(data.get("service_fee")),
        )
        if said is not Said.PAID:
            return verification
        if (
            data.get("amount") is None
            or None in vars(replace(verification, amount=0, fee=0)).values()
        ):
            logger.warning("verify says success without the facts", tx_ref=tx_ref)
            return Verification(Said.UNKNOWN)
        if verification.amount is None:
            # Money is there, and its unit may be another than we think: manual review.
            logger.error("verify says success with an amount that is not whole", tx_ref=tx_ref)
        return verification

    def cancel(self, payment: Payment, time_left: float) -> bool:  # noqa: ARG002 - not supported
        return False

    def refund(self, payment: Payment, refund: Refund, time_left: float) -> str | None:
        """Chapa's id of the refund, or None when Chapa has it and named none.

        Raises a ProviderError.
        """
        body = {
            "payment_reference": payment.provider_reference or payment.tx_ref,
            "amount": to_wire(refund.amount),
            "reason": (refund.reason or "Refund")[:MAX_REASON],
            "merchant_reference": refund_reference(refund.refund_id, refund.attempt),
        }
        answer = self._post("refund", "/refunds", time_left, body)
        if code_of(answer) == USED and refund.sends:
            return None  # An earlier call, whose answer was lost, arrived.
        if not _accepted(answer):
            raise _refused("refund", answer)
        data = answer.data if isinstance(answer.data, dict) else {}
        reference = text_of(data.get("chapa_reference"))
        return reference if reference != payment.provider_reference else None

    def verify_refund(self, refund: Refund, time_left: float) -> Said:
        """Ask by Chapa's reference of the refund, then by ours."""
        until = self._clock() + time_left
        ours = refund_reference(refund.refund_id, refund.attempt)
        for reference in filter(None, (refund.provider_refund_id, ours)):
            try:
                answer = self._ask(
                    "verify_refund", f"/refunds/{in_path(reference)}/verify", until - self._clock()
                )
            except ProviderError as error:
                logger.warning(
                    "refund check unanswered", refund_id=refund.refund_id, reason=error.reason
                )
                return Said.UNKNOWN
            if _accepted(answer) and isinstance(answer.data, dict):
                data = answer.data
                said = REFUND_SAID.get(word := word_of(data.get("status")))
                fits = _names(data) in {None, ours} and (
                    data.get("amount") is None or from_wire(data["amount"]) == refund.amount
                )
                if fits and said is None:
                    unknown_status("verify_refund", word, refund_id=refund.refund_id)
                if fits:
                    return said or Said.UNKNOWN
            logger.warning(
                "unexpected refund response",
                refund_id=refund.refund_id,
                **facts_of_error(answer),
            )
        return Said.UNKNOWN

    def transactions(self, since: int, until: int, position: str | None, time_left: float) -> Page:
        """All payments, then all refunds.

        Chapa's page about the list asks for `page` and `per_page` and answers with cursors;
        chapa-cli sends `limit` and `cursor`. Whichever an answer names is followed. The filters
        `from` and `to`, of the time of creation, are in both.
        """
        name, kind, value = (position or f"{PAYMENTS} page 1").split(" ", 2)
        query = {"from": _iso(since), "to": _iso(until), "per_page": str(ROWS), "limit": str(ROWS)}
        if (kind, value) != ("page", "1"):
            query[kind] = value
        answer = self._ask("list", f"/{name}?{urlencode(query)}", time_left)
        data = answer.data if isinstance(answer.data, dict) else {}
        items = data.get("items")
        if name == REFUNDS and answer.code == 404:
            # Only chapa-cli has this list.
            logger.warning("the account has no list of refunds")
            return Page((), None)
        if not _accepted(answer) or not isinstance(items, list):
            log_refusal("list", answer.message, **facts_of_error(answer))
            raise ProviderFailed(f"HTTP {answer.code} without a list")
        read = _payment_row if name == PAYMENTS else _refund_row
        rows = tuple(filter(None, map(read, items)))
        following = None if is_past(rows, since) else _following(data.get("pagination"), items)
        if following == NEXT_PAGE:
            following = f"page {int(value) + 1 if kind == 'page' else 2}"
        if following is not None:
            following = f"{name} {following}"
        elif name == PAYMENTS:
            following = f"{REFUNDS} page 1"
        return Page(rows, following, len(items) - len(rows))

    def _post(self, call: str, path: str, time_left: float, body: Mapping[str, Any]) -> Envelope:
        # The docs' security guide asks for the key; what a repetition returns is not documented. It
        # names the whole request: an attempt without a field that Chapa refused is another one.
        key = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:32]
        headers = {"Idempotency-Key": key}
        return read_envelope(*self._act(call, "POST", path, time_left, json=body, headers=headers))


def _payment_row(item: object) -> Transaction | None:
    """A row of the list of payments; None if it names nothing."""
    if not isinstance(item, dict):
        return None
    ours, theirs = _names(item), text_of(item.get("chapa_reference"))
    said = SAID.get(word := word_of(item.get("status")), Said.UNKNOWN)
    return _row(item, said, word, ours, theirs)


def _refund_row(item: object) -> Transaction | None:
    """The same of a refund: `chapa_reference` is the refund's own there."""
    if not isinstance(item, dict):
        return None
    ours, theirs = _names(item), text_of(item.get("payment_reference"))
    said = REFUND_SAID.get(word := word_of(item.get("status")), Said.UNKNOWN)
    return _row(item, said, word, ours, theirs, is_refund=True)


def _row(
    item: Mapping[str, Any],
    said: Said,
    word: str,
    ours: str | None,
    theirs: str | None,
    *,
    is_refund: bool = False,
) -> Transaction | None:
    if ours is None and theirs is None:
        return None
    amount, currency = from_wire(item.get("amount")), text_of(item.get("currency"))
    understood = amount is not None
    return Transaction(
        said if understood else Said.UNKNOWN,
        reference=ours,
        provider_reference=theirs,
        # What is shown of a payment that went back in part is not known.
        amount=None if word == PARTLY_BACK else amount,
        currency=currency and currency.upper(),
        created_at=moment_of(item.get("created_at")),
        status=word if understood else f"{word}, amount not understood",
        is_refund=is_refund,
    )


def _following(pagination: object, items: list[object]) -> str | None:
    """Where the next page begins: a cursor, NEXT_PAGE, or None after the last."""
    pages = pagination if isinstance(pagination, dict) else {}
    cursor, more = pages.get("next_cursor"), pages.get("has_more")
    if more is False:
        return None
    if isinstance(cursor, str) and 0 < len(cursor) <= MAX_CURSOR:
        return f"cursor {cursor}"
    if more is not True and "next_cursor" in pages:
        return None
    return NEXT_PAGE if items else None


def _iso(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def to_wire(minor: int) -> int:
    return minor * UNITS_PER_MINOR


def from_wire(value: object) -> int | None:
    """An amount as minor units. Numbers and strings of digits both occur in Chapa's samples.

    None for a decimal, even a whole one: it would mean that the unit is not the one we think.
    """
    text = str(value).strip() if isinstance(value, str | int) else ""
    if not re.fullmatch(r"\d{1,12}", text, re.ASCII):
        return None
    minor, rest = divmod(int(text), UNITS_PER_MINOR)
    return minor if not rest else None


def _international(customer: Mapping[str, str]) -> dict[str, str]:
    """With the telephone number as most integrators send it: +2519…"""
    number = customer.get("phone_number")
    changed = {"phone_number": f"+251{number[-9:]}"} if number else {}
    return {**customer, **changed}


def _references(data: Mapping[str, Any], url: str, ours: str) -> Iterator[str]:
    """Chapa's reference: a field of the answer, or the last part of the page's address.

    The docs call it returned by initialization; three integrators find it in the address only.
    """
    for name in ("chapa_reference", "reference"):
        reference = text_of(data.get(name))
        if reference and reference != ours:
            yield reference
    last = urlsplit(url).path.rstrip("/").rpartition("/")[2]
    if _REFERENCE.fullmatch(last):
        yield last


def _ways(payment: Payment) -> Iterator[str]:
    if payment.provider_reference:
        yield f"/payments/{in_path(payment.provider_reference)}/verify"
    yield f"/payments/{in_path(payment.tx_ref)}/verify"
    yield f"/payments?reference={in_path(payment.tx_ref)}"


def _names(data: object) -> str | None:
    """Our reference in an answer; the docs admit a misspelt key in older ones."""
    if not isinstance(data, dict):
        return None
    return text_of(data.get("merchant_reference")) or text_of(data.get("merchant_referece"))


def _accepted(answer: Envelope) -> bool:
    return (
        answer.code in SUCCESS_CODES
        and code_of(answer) is None
        and word_of(answer.status) not in {"error", "failed"}
    )


def _missing(answer: Envelope) -> bool:
    """Whether Chapa says that it does not know the payment, which is then not paid.

    A 404 of another server has no `status` and says nothing.
    """
    code = code_of(answer)
    return code == NOT_FOUND or (code is None and answer.code == 404 and answer.has_status)


def _is_empty_list(answer: Envelope) -> bool:
    """A list with other payments may be one whose filter has no effect: it says nothing."""
    return answer.code == 200 and isinstance(answer.data, dict) and answer.data.get("items") == []


def _refused(call: str, answer: Envelope) -> ProviderError:
    """In the docs the details are null; in fixtures they, or the message, name fields."""
    details = answer.error.get("details") if isinstance(answer.error, dict) else None
    complaints = {
        name.removeprefix("customer."): said
        for named in (answer.message, details)
        if isinstance(named, dict)
        for name, said in named.items()
        if name != "request_id"
    }
    words = complaints or answer.message
    log_refusal(call, words, **facts_of_error(answer))
    code = code_of(answer)
    if code in REFUSED or (code not in NOT_FINAL and answer.code in REFUSED_CODES):
        return ProviderRejected("refused", provider_message=words)
    uncertain = answer.code < 400 or answer.code == 409 or code in NOT_FINAL
    return ProviderFailed(f"HTTP {answer.code}", may_have_acted=uncertain)
