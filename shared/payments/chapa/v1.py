"""Chapa's v1 API, as far as a shop needs it.

Nothing here decides about an order. The HTTP code counts first, then the body: Chapa's `status`
alone has several meanings (developer.chapa.co/integrations/responses). No decision depends on the
words of a message but one: the reference that "has been used before".
"""

import json
import time
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any
from urllib.parse import quote, urlsplit

import requests
from pydantic import BaseModel, ConfigDict
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError, ReadTimeoutError
from urllib3.util import Retry

from payments.aws.secrets import SecretStore
from payments.chapa.http import BoundedAdapter, TooLong, content_of
from payments.chapa.provider import Opened
from payments.domain.answers import Said, Verification
from payments.domain.ids import refund_reference
from payments.domain.money import format_amount, parse_amount
from payments.domain.records import Order, Payment, Refund
from payments.errors import (
    ProviderError,
    ProviderFailed,
    ProviderRejected,
    ProviderTimeout,
    ProviderUnavailable,
)
from payments.settings import Settings
from payments.telemetry import count, logger, scrub

NAME = "chapa-v1"

CONNECT_SECONDS = 4.0
READ_SECONDS = 20.0
READ_RETRIES = 2
PAUSE_SECONDS = 1
"""The longest wait before a question is asked again, whatever Retry-After says."""
MIN_SECONDS = 0.5
"""No call begins with less time left."""
IDLE_SECONDS = 20.0
"""A connection unused for longer is not trusted with a POST: a frozen function does not notice
that the other side closed it, and a POST lost that way may seem to have acted."""

SUCCESS_CODES = frozenset({200, 201, 202})
"""All three occur in fixtures of public clients."""

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

CUSTOMER_FIELDS = frozenset({"email", "phone_number", "first_name", "last_name"})
"""Optional fields of initialize: the customer can type them on Chapa's page."""


class Envelope(BaseModel):
    """What every answer comes in, and its HTTP code."""

    model_config = ConfigDict(hide_input_in_errors=True)

    code: int
    message: str | dict[str, Any] | list[Any] | None
    """A sentence, or complaints by field."""
    status: Any = None
    data: Any = None

    @property
    def accepted(self) -> bool:
        return self.code in SUCCESS_CODES and _word(self.status) != "failed"

    @property
    def used_before(self) -> bool:
        """The one message that is read: the same words for a tx_ref and a refund's reference."""
        return isinstance(self.message, str) and "used before" in self.message.lower()


class ChapaV1:
    """Implements `Provider`, over one HTTP session."""

    name = NAME

    def __init__(
        self,
        settings: Settings,
        secrets: SecretStore,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._secrets = secrets
        self._clock = clock
        self._acted_at = clock()
        self.session = requests.Session()
        self.session.headers.update({"Accept": "application/json"})
        self.session.trust_env = False  # A proxy or .netrc of the machine is not ours to use.
        self.session.mount(settings.chapa_url, BoundedAdapter())
        questions = Retry(
            total=READ_RETRIES,
            allowed_methods={"GET"},
            status_forcelist={429, 500, 502, 503, 504},
            backoff_factor=0.2,
            backoff_jitter=0.2,
            retry_after_max=PAUSE_SECONDS,
            raise_on_status=False,
        )
        # Only questions are asked again automatically, so only their addresses have retries. Under
        # /refund/ there is a POST too, and urllib3 retries any method after some errors.
        for path, retry in {
            "/transaction/verify/": questions,
            "/refund/": questions.new(connect=0, other=0),
        }.items():
            self.session.mount(f"{settings.chapa_url}{path}", BoundedAdapter(max_retries=retry))

    @property
    def mode(self) -> str:
        return self._secrets.current().mode

    def open(self, order: Order, payment: Payment, time_left: float) -> Opened:
        """Open a checkout. Sent once; once more only without the customer fields Chapa refused.

        Raises ProviderRejected, ProviderFailed, ProviderTimeout or ProviderUnavailable.
        """
        started = self._clock()
        try:
            return self._open(order, payment, order.customer, time_left)
        except ProviderRejected as error:
            complaints = error.members["provider_message"]
            refused = set(complaints) if isinstance(complaints, dict) else set()
            if not refused or not refused <= order.customer.keys() & CUSTOMER_FIELDS:
                raise
        logger.warning("opened without what Chapa refused", fields=sorted(refused))
        customer = {name: text for name, text in order.customer.items() if name not in refused}
        return self._open(order, payment, customer, time_left - (self._clock() - started))

    def _open(
        self, order: Order, payment: Payment, customer: Mapping[str, str], time_left: float
    ) -> Opened:
        settings = self._settings
        body: dict[str, Any] = {
            **customer,
            "amount": format_amount(payment.amount),
            "currency": payment.currency,
            "tx_ref": payment.tx_ref,
            "customization": {
                "title": settings.shop_name,
                # Letters, digits, space, hyphen and dot only, at most 50 of them.
                "description": f"Order {order.order_id}",
            },
        }
        if settings.callback_url:
            body["callback_url"] = settings.callback_url
        if settings.return_url:
            mark = "&" if "?" in settings.return_url else "?"
            body["return_url"] = f"{settings.return_url}{mark}tx_ref={payment.tx_ref}"

        answer = _envelope(*self._act("POST", "/transaction/initialize", time_left, json=body))
        if answer.used_before:
            # Nobody else can have made this reference: our own call arrived twice.
            raise ProviderFailed("the reference was used before")
        if not answer.accepted:
            raise _refused("open", answer)
        url = answer.data.get("checkout_url") if isinstance(answer.data, dict) else None
        if not isinstance(url, str):
            raise ProviderFailed("an answer without a checkout URL")
        if not self._trusted(url):
            raise ProviderFailed("a checkout URL on a host that CHECKOUT_HOSTS does not name")
        return Opened(url)

    def verify(self, payment: Payment, time_left: float) -> Verification:
        tx_ref = payment.tx_ref
        try:
            answer = self._ask(f"/transaction/verify/{quote(tx_ref, safe='')}", time_left)
        except ProviderError as error:
            logger.warning("verify unanswered", tx_ref=tx_ref, reason=error.reason)
            return Verification(Said.UNKNOWN)
        if _not_paid(answer):
            return Verification(Said.NOT_PAID, status="not paid yet")
        if answer.code != 200 or not isinstance(answer.data, dict):
            logger.warning("unexpected verify response", tx_ref=tx_ref, http_status=answer.code)
            return Verification(Said.UNKNOWN)
        data = answer.data
        word = _word(data.get("status"))
        said = SAID.get(word)
        if said is None:
            logger.warning("unknown status in verify", tx_ref=tx_ref, word=scrub(word, 40))
            count("UnknownProviderStatus")
            return Verification(Said.UNKNOWN)
        currency, mode = _text(data.get("currency")), _text(data.get("mode"))
        verification = Verification(
            said,
            tx_ref=_text(data.get("tx_ref")),
            amount=parse_amount(data.get("amount")),
            currency=currency and currency.upper(),
            mode=mode and mode.lower(),
            provider_reference=_text(data.get("reference")),
            status=word,
        )
        if said is Said.PAID and None in vars(verification).values():
            logger.warning("verify says success without the facts", tx_ref=tx_ref)
            return Verification(Said.UNKNOWN)
        return verification

    def cancel(self, payment: Payment, time_left: float) -> bool:
        """True when Chapa closed it, or says that there is nothing open to close.

        Any 2xx is a yes, with or without a body; so is a 4xx, but for 401, 403 and 429.
        """
        path = f"/transaction/cancel/{quote(payment.tx_ref, safe='')}"
        try:
            code, _ = self._act("PUT", path, time_left)
        except ProviderError as error:
            logger.warning("cancel unanswered", tx_ref=payment.tx_ref, reason=error.reason)
            return False
        return 200 <= code < 300 or (400 <= code < 500 and code != 403)

    def refund(self, payment: Payment, refund: Refund, time_left: float) -> str | None:
        """Chapa's id of the refund, or None when Chapa has it and named none.

        The same reference may be sent again: Chapa takes each once. Raises a ProviderError.
        """
        path = f"/refund/{quote(payment.provider_reference or payment.tx_ref, safe='')}"
        # Documented as form-encoded, unlike the rest.
        form = {
            "amount": format_amount(refund.amount),
            "reference": refund_reference(refund.refund_id, refund.attempt),
            "reason": refund.reason or "Refund",
        }
        answer = _envelope(*self._act("POST", path, time_left, data=form))
        if answer.used_before:
            return None
        if not answer.accepted:
            raise _refused("refund", answer)
        data = answer.data if isinstance(answer.data, dict) else {}
        # Documented as `ref_id`, seen as `ref`, and by one integrator not at all.
        return _text(data.get("ref_id")) or _text(data.get("ref"))

    def verify_refund(self, refund: Refund, time_left: float) -> Said:
        path = f"/refund/{quote(refund.provider_refund_id or '', safe='')}/verify"
        try:
            answer = self._ask(path, time_left)
        except ProviderError as error:
            logger.warning(
                "refund check unanswered", refund_id=refund.refund_id, reason=error.reason
            )
            return Said.UNKNOWN
        if answer.code in SUCCESS_CODES and isinstance(answer.data, dict):
            data = answer.data
            said = REFUND_SAID.get(_word(data.get("status")))
            reference = refund_reference(refund.refund_id, refund.attempt)
            ours = _text(data.get("merchant_reference")) in {None, reference}
            if said and ours and parse_amount(data.get("amount")) in {None, refund.amount}:
                return said
        logger.warning(
            "unexpected refund response", refund_id=refund.refund_id, http_status=answer.code
        )
        return Said.UNKNOWN

    def _trusted(self, url: str) -> bool:
        try:
            parts = urlsplit(url)
        except ValueError:
            return False
        hosts = self._settings.checkout_hosts
        if "*" in hosts:
            return parts.scheme in {"http", "https"}
        # Not `hostname`: browsers read `https://evil\@host/` as a page of evil.
        return parts.scheme == "https" and parts.netloc.lower() in hosts

    def _ask(self, path: str, time_left: float) -> Envelope:
        time_of_a_try = (time_left - READ_RETRIES * PAUSE_SECONDS) / (READ_RETRIES + 1)
        return _envelope(*self._exchange("GET", path, time_of_a_try))

    def _act(self, method: str, path: str, time_left: float, **content: Any) -> tuple[int, bytes]:
        # Questions have connections of their own: one that was just used says nothing here.
        if self._clock() - self._acted_at > IDLE_SECONDS:
            self.session.close()
        try:
            return self._exchange(method, path, time_left, **content)
        finally:
            self._acted_at = self._clock()

    def _exchange(
        self, method: str, path: str, time_left: float, **content: Any
    ) -> tuple[int, bytes]:
        """The HTTP code and the body. `content` is `json` or `data`.

        Raises a ProviderError for 401, 429 and 5xx, and when no whole answer came.
        """
        api_key = self._secrets.current().api_key
        if time_left < MIN_SECONDS:
            raise ProviderUnavailable("no time left to ask", may_have_acted=False)
        connect = min(CONNECT_SECONDS, time_left / 4)
        try:
            with self.session.request(
                method,
                f"{self._settings.chapa_url}{path}",
                **content,
                headers={"Authorization": f"Bearer {api_key}"},
                timeout=(connect, min(READ_SECONDS, time_left - connect)),
                allow_redirects=False,
                stream=True,
            ) as reply:
                body = content_of(reply)
        except requests.ConnectTimeout:
            raise ProviderUnavailable("no connection in time", may_have_acted=False) from None
        except requests.Timeout:
            raise ProviderTimeout("no answer in time") from None
        except requests.ConnectionError as error:
            raise _connection_error(error) from None
        except (requests.RequestException, TooLong, ValueError) as error:
            # A body cut short or too long, a wrong encoding or Location. requests raises the
            # ValueError of a URL in a redirect that it only reads.
            raise ProviderFailed(f"a broken answer ({type(error).__name__})") from None
        code = reply.status_code
        if code == 401:
            count("ProviderRefusedKey")
            logger.error("the provider refused our API key", path=path.split("/")[1])
            raise ProviderFailed("HTTP 401: our API key was refused", may_have_acted=False)
        if code == 429:
            raise ProviderUnavailable("HTTP 429: too many requests", may_have_acted=False)
        if code >= 500:
            raise ProviderFailed(f"HTTP {code}")
        return code, body


def _envelope(code: int, body: bytes) -> Envelope:
    try:
        content = json.loads(body, parse_float=Decimal, parse_constant=_no_constant)
        return Envelope.model_validate({**content, "code": code})
    except (ValueError, TypeError, ArithmeticError, RecursionError):
        # Decimal refuses a huge exponent with an ArithmeticError.
        raise ProviderFailed(f"HTTP {code} without an envelope") from None


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _not_paid(answer: Envelope) -> bool:
    """Not known to Chapa, or not paid yet: the two differ only in words.

    A fixture has 200 with `data` null and the status "null". Errors of other servers have no
    `status` and say nothing about a payment.
    """
    if "status" not in answer.model_fields_set:
        return False
    nothing = answer.data is None and SAID.get(_word(answer.status)) is Said.NOT_PAID
    return answer.code in {400, 404} or (answer.code == 200 and nothing)


def _word(status: object) -> str:
    """A status as the tables have it. Null is "null"; what is no text is no word of any table."""
    if status is None:
        return "null"
    # Chapa's own samples have stray tabs.
    return status.strip().lower() if isinstance(status, str) else f"({type(status).__name__})"


def _text(value: object) -> str | None:
    """Codes and references are short and plain; anything else counts as missing."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    text = value.strip() if isinstance(value, str) else ""
    return text if 0 < len(text) <= 200 and text.isascii() and text.isprintable() else None


def _refused(call: str, answer: Envelope) -> ProviderError:
    words = answer.message
    logger.warning(
        f"{call} refused",
        http_status=answer.code,
        words=scrub(words) if isinstance(words, str) else "",
        fields=sorted(map(scrub, words)) if isinstance(words, dict) else [],
    )
    if answer.code in REFUSED_CODES:
        return ProviderRejected("refused", provider_message=words)
    # A redirect is not what was agreed, but it is no refusal either.
    return ProviderFailed(f"HTTP {answer.code}", may_have_acted=answer.code < 400)


def _connection_error(error: requests.ConnectionError) -> ProviderError:
    """A refused connection happened before Chapa knew; a broken one may have come after."""
    cause = error.args[0] if error.args else None
    cause = getattr(cause, "reason", cause)
    if isinstance(cause, NewConnectionError | ConnectTimeoutError):
        return ProviderUnavailable("connection refused", may_have_acted=False)
    if isinstance(cause, ReadTimeoutError):
        return ProviderTimeout("no answer in time")
    return ProviderUnavailable("the connection broke")
