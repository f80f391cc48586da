"""Chapa's v1 API, as far as a shop needs it.

No decision depends on the words of a message but one: the reference that "has been used before".
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, override

from payments.chapa.calls import (
    QUESTIONS,
    QUESTIONS_AND_ACTS,
    ROWS,
    SUCCESS_CODES,
    Calls,
    Envelope,
    in_path,
    is_past,
    log_refusal,
    moment_of,
    read_envelope,
    text_of,
    unknown_status,
    word_of,
)
from payments.chapa.keys import V1
from payments.chapa.provider import Opened
from payments.domain.answers import Page, Said, Transaction, Verification
from payments.domain.ids import refund_reference
from payments.domain.money import format_amount, parse_amount
from payments.domain.records import Order, Payment, Refund
from payments.errors import ProviderError, ProviderFailed, ProviderRejected
from payments.telemetry import logger

REFUSED_CODES = SUCCESS_CODES | {400, 422}
"""One client reports refusals that are 200 with the status `failed`."""

SAID = {
    "success": Said.PAID,
    "pending": Said.PENDING,
    "failed": Said.FAILED,
    "failed/cancelled": Said.FAILED,
    "cancelled": Said.FAILED,
    "canceled": Said.FAILED,
    "refunded": Said.REFUNDED,
    "reversed": Said.REVERSED,
    "null": Said.NOT_PAID,
    "": Said.NOT_PAID,
}
"""Every word seen in verify's `data.status`; another word is unknown and counted."""

REFUND_SAID = {
    "initiated": Said.PENDING,
    "processing": Said.PENDING,
    "pending": Said.PENDING,
    "refunded": Said.REFUNDED,
    "reversed": Said.REVERSED,
    "failed": Said.FAILED,
}
"""The same of a refund: four words are documented, `failed` is in an event one integrator met."""


class ChapaV1(Calls):
    """Implements `Provider`."""

    version = V1
    can_cancel = True
    names_fields = True
    retries: ClassVar = {
        "/transaction/verify/": QUESTIONS,
        "/transactions?": QUESTIONS,
        "/refund/": QUESTIONS_AND_ACTS,
    }

    @override
    def _open(
        self, order: Order, payment: Payment, customer: Mapping[str, str], time_left: float
    ) -> Opened:
        body: dict[str, Any] = {
            **customer,
            "amount": format_amount(payment.amount),
            "currency": payment.currency,
            "tx_ref": payment.tx_ref,
            "customization": {
                "title": self._settings.shop_name,
                # Letters, digits, space, hyphen and dot only, at most 50 of them.
                "description": f"Order {order.order_id}",
            },
            **self._urls(payment),
        }
        answer = read_envelope(
            *self._act("open", "POST", "/transaction/initialize", time_left, json=body)
        )
        if _used_before(answer):
            # Nobody else can have made this reference: our own call arrived twice.
            raise ProviderFailed("the reference was used before")
        if not _accepted(answer):
            raise _refused("open", answer)
        return Opened(self._checkout_url(answer))

    def verify(self, payment: Payment, time_left: float) -> Verification:
        tx_ref = payment.tx_ref
        try:
            answer = self._ask("verify", f"/transaction/verify/{in_path(tx_ref)}", time_left)
        except ProviderError as error:
            logger.warning("verify unanswered", tx_ref=tx_ref, reason=error.reason)
            return Verification(Said.UNKNOWN)
        if _not_paid(answer):
            return Verification(Said.NOT_PAID, status="not paid yet")
        if answer.code != 200 or not isinstance(answer.data, dict):
            logger.warning("unexpected verify response", tx_ref=tx_ref, http_status=answer.code)
            return Verification(Said.UNKNOWN)
        data = answer.data
        word = word_of(data.get("status"))
        said = SAID.get(word)
        if said is None:
            unknown_status("verify", word, tx_ref=tx_ref)
            return Verification(Said.UNKNOWN)
        currency, mode = text_of(data.get("currency")), text_of(data.get("mode"))
        verification = Verification(
            said,
            tx_ref=text_of(data.get("tx_ref")),
            amount=parse_amount(data.get("amount")),
            currency=currency and currency.upper(),
            mode=mode and mode.lower(),
            provider_reference=text_of(data.get("reference")),
            status=word,
            fee=parse_amount(data.get("charge")),
        )
        if said is Said.PAID and None in vars(replace(verification, fee=0)).values():
            logger.warning("verify says success without the facts", tx_ref=tx_ref)
            return Verification(Said.UNKNOWN)
        return verification

    def cancel(self, payment: Payment, time_left: float) -> bool:
        """True when Chapa closed it, or says that there is nothing open to close.

        Any 2xx is a yes, with or without a body; so is a 4xx, but for 401, 403 and 429.
        """
        path = f"/transaction/cancel/{in_path(payment.tx_ref)}"
        try:
            code, _ = self._act("cancel", "PUT", path, time_left)
        except ProviderError as error:
            logger.warning("cancel unanswered", tx_ref=payment.tx_ref, reason=error.reason)
            return False
        return 200 <= code < 300 or (400 <= code < 500 and code != 403)

    def refund(self, payment: Payment, refund: Refund, time_left: float) -> str | None:
        """Chapa's id of the refund, or None when Chapa has it and named none.

        The same reference may be sent again: Chapa takes each once. Raises a ProviderError.
        """
        path = f"/refund/{in_path(payment.provider_reference or payment.tx_ref)}"
        # Documented as form-encoded, unlike the rest.
        form = {
            "amount": format_amount(refund.amount),
            "reference": refund_reference(refund.refund_id, refund.attempt),
            "reason": refund.reason or "Refund",
        }
        answer = read_envelope(*self._act("refund", "POST", path, time_left, data=form))
        if _used_before(answer):
            return None
        if not _accepted(answer):
            raise _refused("refund", answer)
        data = answer.data if isinstance(answer.data, dict) else {}
        # Documented as `ref_id`, seen as `ref`, and by one integrator not at all.
        return text_of(data.get("ref_id")) or text_of(data.get("ref"))

    def verify_refund(self, refund: Refund, time_left: float) -> Said:
        """Ask by Chapa's id of the refund, or by our reference if the id was lost.

        Only the first is documented. An answer about another refund does not count.
        """
        reference = refund_reference(refund.refund_id, refund.attempt)
        path = f"/refund/{in_path(refund.provider_refund_id or reference)}/verify"
        try:
            answer = self._ask("verify_refund", path, time_left)
        except ProviderError as error:
            logger.warning(
                "refund check unanswered", refund_id=refund.refund_id, reason=error.reason
            )
            return Said.UNKNOWN
        if answer.code in SUCCESS_CODES and isinstance(answer.data, dict):
            data = answer.data
            said = REFUND_SAID.get(word := word_of(data.get("status")))
            ours = text_of(data.get("merchant_reference")) in {None, reference}
            fits = ours and parse_amount(data.get("amount")) in {None, refund.amount}
            if fits and said is None:
                unknown_status("verify_refund", word, refund_id=refund.refund_id)
            if fits:
                return said or Said.UNKNOWN
        logger.warning(
            "unexpected refund response", refund_id=refund.refund_id, http_status=answer.code
        )
        return Said.UNKNOWN

    def transactions(self, since: int, until: int, position: str | None, time_left: float) -> Page:  # noqa: ARG002 - it has no filter by time
        """By page numbers (developer.chapa.co, transactions). A refund shows as a status only.

        A row has Chapa's reference, as `ref_id`, and not the tx_ref. If an account has it all the
        same, it is read.
        """
        number = int(position or 1)
        answer = self._ask("list", f"/transactions?page={number}&per_page={ROWS}", time_left)
        data = answer.data if isinstance(answer.data, dict) else {}
        items = data.get("transactions")
        if answer.code not in SUCCESS_CODES or not isinstance(items, list):
            raise ProviderFailed(f"HTTP {answer.code} without a list")
        rows = tuple(filter(None, map(_row, items)))
        pages = data.get("pagination")
        more: object = items
        if isinstance(pages, dict) and "next_page_url" in pages:
            more = pages["next_page_url"]
        ends = not more or is_past(rows, since)
        return Page(rows, None if ends else str(number + 1), len(items) - len(rows))


def _row(item: object) -> Transaction | None:
    """A row of the list; None if it names nothing."""
    if not isinstance(item, dict):
        return None
    ours, theirs = text_of(item.get("tx_ref")), text_of(item.get("ref_id"))
    if ours is None and theirs is None:
        return None
    word = word_of(item.get("status"))
    amount, currency = parse_amount(item.get("amount")), text_of(item.get("currency"))
    return Transaction(
        SAID.get(word, Said.UNKNOWN) if amount is not None else Said.UNKNOWN,
        reference=ours,
        provider_reference=theirs,
        amount=amount,
        currency=currency and currency.upper(),
        created_at=moment_of(item.get("created_at")),
        status=word if amount is not None else f"{word}, amount not understood",
    )


def _accepted(answer: Envelope) -> bool:
    return answer.code in SUCCESS_CODES and word_of(answer.status) != "failed"


def _used_before(answer: Envelope) -> bool:
    """The one message that is read: the same words for a tx_ref and a refund's reference."""
    return isinstance(answer.message, str) and "used before" in answer.message.lower()


def _not_paid(answer: Envelope) -> bool:
    """Not known to Chapa, or not paid yet: the two differ only in words.

    A fixture has 200 with `data` null and the status "null". Errors of other servers have no
    `status` and say nothing about a payment.
    """
    if not answer.has_status:
        return False
    nothing = answer.data is None and SAID.get(word_of(answer.status)) is Said.NOT_PAID
    return answer.code in {400, 404} or (answer.code == 200 and nothing)


def _refused(call: str, answer: Envelope) -> ProviderError:
    log_refusal(call, answer.message, http_status=answer.code)
    if answer.code in REFUSED_CODES:
        return ProviderRejected("refused", provider_message=answer.message)
    # A redirect is not what was agreed, but it is no refusal either.
    return ProviderFailed(f"HTTP {answer.code}", may_have_acted=answer.code < 400)
