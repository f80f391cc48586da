"""Chapa's v1 API, as far as a shop needs it.

Nothing here decides about an order. The HTTP code counts first, then the body: Chapa's `status`
alone has several meanings (developer.chapa.co/integrations/responses). No decision depends on the
words of a message but one: the reference that "has been used before".
"""

import json
import time
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Annotated, Any
from urllib.parse import quote, urlsplit

import requests
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError
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
"""A refusal in the body of a success is what one integrator reports."""

NOTHING_SAID = frozenset({None, "", "null"})
"""Chapa's ways to say that a payment has no status: it is not paid."""

SAID = {
    "success": Said.PAID,
    "pending": Said.PENDING,
    "failed": Said.FAILED,
    "failed/cancelled": Said.FAILED,
    "cancelled": Said.FAILED,
    "canceled": Said.FAILED,
    "refunded": Said.REFUNDED,
    "reversed": Said.REVERSED,
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


def _text(value: object) -> str | None:
    """Words, codes and references are short and plain; anything else counts as missing."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        return None
    text = value.strip()  # Chapa's own samples have stray tabs.
    return text if len(text) <= 200 and text.isascii() and text.isprintable() else None


def _lower(value: object) -> str | None:
    text = _text(value)
    return text.lower() if text else text


def _upper(value: object) -> str | None:
    text = _text(value)
    return text.upper() if text else text


type Text = Annotated[str | None, BeforeValidator(_text)]
type Lower = Annotated[str | None, BeforeValidator(_lower)]
type Upper = Annotated[str | None, BeforeValidator(_upper)]
type Amount = Annotated[int | None, BeforeValidator(parse_amount)]


class Envelope(BaseModel):
    """What every answer comes in. `message` is a sentence, or a list of complaints by field."""

    model_config = ConfigDict(hide_input_in_errors=True)

    message: str | dict[str, Any] | list[Any] | None
    status: Text = None
    data: Any = None


class VerifiedPayment(BaseModel):
    """The part of verify's `data` that counts; the customer's name and address are left unread."""

    model_config = ConfigDict(hide_input_in_errors=True)

    tx_ref: Text = None
    currency: Upper = None
    mode: Lower = None
    reference: Text = None
    amount: Amount = None


class StartedRefund(BaseModel):
    """Documented as `ref_id`, seen as `ref`, and by one integrator not at all."""

    model_config = ConfigDict(hide_input_in_errors=True)

    ref_id: Text = None
    ref: Text = None


class VerifiedRefund(BaseModel):
    model_config = ConfigDict(hide_input_in_errors=True)

    status: Lower = None
    amount: Amount = None
    merchant_reference: Text = None


class Checkout(BaseModel):
    model_config = ConfigDict(hide_input_in_errors=True)

    checkout_url: str


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
        """Open a checkout. Sent once; once more only without a customer field that Chapa refused.

        Raises ProviderRejected, ProviderFailed, ProviderTimeout or ProviderUnavailable.
        """
        started = self._clock()
        customer = dict(order.customer)
        try:
            return self._open(order, payment, customer, time_left)
        except ProviderRejected as error:
            named = _fields_of(error) & customer.keys() & CUSTOMER_FIELDS
            if not named:
                raise
        logger.warning("opened without what Chapa refused", fields=sorted(named))
        for name in named:
            del customer[name]
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

        reply, envelope = self._act("POST", "/transaction/initialize", time_left, json=body)
        if _used_before(envelope):
            # Nobody else can have made this reference: our own call arrived twice.
            raise ProviderFailed("the reference was used before")
        if not _accepted(reply, envelope):
            raise _refused("open", reply, envelope)
        try:
            checkout_url = Checkout.model_validate(envelope.data).checkout_url
        except ValidationError:
            raise ProviderFailed("an answer without a checkout URL") from None
        if not self._trusted(checkout_url):
            raise ProviderFailed("a checkout URL on a host that CHECKOUT_HOSTS does not name")
        return Opened(checkout_url)

    def verify(self, payment: Payment, time_left: float) -> Verification:
        tx_ref = payment.tx_ref
        try:
            reply, envelope = self._ask(f"/transaction/verify/{quote(tx_ref, safe='')}", time_left)
        except ProviderError as error:
            logger.warning("verify unanswered", tx_ref=tx_ref, reason=error.reason)
            return Verification(Said.UNKNOWN)
        if reply.status_code in {400, 404} or _says_nothing(reply, envelope):
            # Not known to Chapa, or not paid yet: the two differ only in words.
            return Verification(Said.NOT_PAID, status="not paid yet")
        if reply.status_code != 200 or not isinstance(envelope.data, dict):
            logger.warning(
                "unexpected verify response", tx_ref=tx_ref, http_status=reply.status_code
            )
            return Verification(Said.UNKNOWN)
        raw = envelope.data.get("status")
        word = raw.strip().lower() if isinstance(raw, str) else raw
        if _is_nothing(word):
            said = Said.NOT_PAID
        else:
            said = SAID.get(word, Said.UNKNOWN) if isinstance(word, str) else Said.UNKNOWN
        if said is Said.UNKNOWN:
            logger.warning(
                "unknown status in verify", tx_ref=tx_ref, word=scrub(str(word)[:400], 40)
            )
            count("UnknownProviderStatus")
            return Verification(Said.UNKNOWN)
        facts = VerifiedPayment.model_validate(envelope.data)
        if said is Said.PAID and None in (
            facts.tx_ref,
            facts.amount,
            facts.currency,
            facts.mode,
            facts.reference,
        ):
            logger.warning("verify says success without the facts", tx_ref=tx_ref)
            return Verification(Said.UNKNOWN)
        return Verification(
            said,
            tx_ref=facts.tx_ref,
            amount=facts.amount,
            currency=facts.currency,
            mode=facts.mode,
            provider_reference=facts.reference,
            status=scrub(str(word), 40),
        )

    def cancel(self, payment: Payment, time_left: float) -> bool:
        """True when Chapa closed it, or says that there is nothing open to close.

        Any 2xx is a yes, with or without a body; so is a 4xx, but for 401, 403 and 429.
        """
        path = f"/transaction/cancel/{quote(payment.tx_ref, safe='')}"
        try:
            reply, _ = self._exchange_to_act("PUT", path, time_left)
        except ProviderError as error:
            logger.warning("cancel unanswered", tx_ref=payment.tx_ref, reason=error.reason)
            return False
        code = reply.status_code
        return 200 <= code < 300 or (400 <= code < 500 and code != 403)

    def refund(self, payment: Payment, refund: Refund, time_left: float) -> str | None:
        """Chapa's id of the refund, or None when Chapa has it and named none.

        The same reference may be sent again: Chapa takes each once. Raises a ProviderError.
        """
        reply, envelope = self._act(
            "POST",
            f"/refund/{quote(payment.provider_reference or payment.tx_ref, safe='')}",
            time_left,
            # Documented as form-encoded, unlike the rest.
            data={
                "amount": format_amount(refund.amount),
                "reference": refund_reference(refund.refund_id, refund.attempt),
                "reason": refund.reason or "Refund",
            },
        )
        if _used_before(envelope):
            return None
        if not _accepted(reply, envelope):
            raise _refused("refund", reply, envelope)
        if not isinstance(envelope.data, dict):
            return None
        started = StartedRefund.model_validate(envelope.data)
        return started.ref_id or started.ref

    def verify_refund(self, refund: Refund, time_left: float) -> Said:
        path = f"/refund/{quote(refund.provider_refund_id or '', safe='')}/verify"
        try:
            reply, envelope = self._ask(path, time_left)
        except ProviderError as error:
            logger.warning(
                "refund check unanswered", refund_id=refund.refund_id, reason=error.reason
            )
            return Said.UNKNOWN
        if reply.status_code in SUCCESS_CODES and isinstance(envelope.data, dict):
            answer = VerifiedRefund.model_validate(envelope.data)
            said = REFUND_SAID.get(answer.status or "")
            reference = refund_reference(refund.refund_id, refund.attempt)
            ours = answer.merchant_reference in {None, reference}
            if said and ours and answer.amount in {None, refund.amount}:
                return said
        logger.warning(
            "unexpected refund response",
            refund_id=refund.refund_id,
            http_status=reply.status_code,
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

    def _ask(self, path: str, time_left: float) -> tuple[requests.Response, Envelope]:
        tries = READ_RETRIES + 1
        reply, body = self._exchange(
            "GET", path, (time_left - READ_RETRIES * PAUSE_SECONDS) / tries
        )
        return reply, _envelope(reply, body)

    def _act(
        self, method: str, path: str, time_left: float, **content: Any
    ) -> tuple[requests.Response, Envelope]:
        reply, body = self._exchange_to_act(method, path, time_left, **content)
        return reply, _envelope(reply, body)

    def _exchange_to_act(
        self, method: str, path: str, time_left: float, **content: Any
    ) -> tuple[requests.Response, bytes]:
        # Questions have connections of their own: one that was just used says nothing here.
        if self._clock() - self._acted_at > IDLE_SECONDS:
            self.session.close()
        try:
            return self._exchange(method, path, time_left, **content)
        finally:
            self._acted_at = self._clock()

    def _exchange(
        self, method: str, path: str, time_left: float, **content: Any
    ) -> tuple[requests.Response, bytes]:
        """One exchange; `content` is `json` or `data`. Raises unless the code is below 500."""
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
        if reply.status_code == 401:
            count("ProviderRefusedKey")
            logger.error("the provider refused our API key", path=path.split("/")[1])
            raise ProviderFailed("HTTP 401: our API key was refused", may_have_acted=False)
        if reply.status_code == 429:
            raise ProviderUnavailable("HTTP 429: too many requests", may_have_acted=False)
        if reply.status_code >= 500:
            raise ProviderFailed(f"HTTP {reply.status_code}")
        return reply, body


def _envelope(reply: requests.Response, body: bytes) -> Envelope:
    try:
        return Envelope.model_validate(
            json.loads(body, parse_float=Decimal, parse_constant=_no_constant)
        )
    except (ValueError, ArithmeticError, RecursionError):
        # Decimal refuses a huge exponent with an ArithmeticError.
        raise ProviderFailed(f"HTTP {reply.status_code} without an envelope") from None


def _is_nothing(word: object) -> bool:
    return word is None or (isinstance(word, str) and word in NOTHING_SAID)


def _says_nothing(reply: requests.Response, envelope: Envelope) -> bool:
    """A fixture has 200 with `data` null and the status "null" for a payment that is not paid."""
    return (
        reply.status_code == 200
        and envelope.data is None
        and _is_nothing((envelope.status or "").lower())
    )


def _fields_of(error: ProviderRejected) -> frozenset[str]:
    """The fields that Chapa complains about, by name."""
    words = error.members.get("provider_message")
    return frozenset(words) if isinstance(words, dict) else frozenset()


def _accepted(reply: requests.Response, envelope: Envelope) -> bool:
    """One client reports refusals that are 200 with the status `failed`."""
    return reply.status_code in SUCCESS_CODES and (envelope.status or "").lower() != "failed"


def _used_before(envelope: Envelope) -> bool:
    """The one message that is read: the same words for a tx_ref and for a refund's reference."""
    return isinstance(envelope.message, str) and "used before" in envelope.message.lower()


def _refused(call: str, reply: requests.Response, envelope: Envelope) -> ProviderError:
    words = envelope.message
    logger.warning(
        f"{call} refused",
        http_status=reply.status_code,
        words=scrub(words) if isinstance(words, str) else "",
        fields=sorted(map(scrub, words)) if isinstance(words, dict) else [],
    )
    if reply.status_code in REFUSED_CODES:
        return ProviderRejected("refused", provider_message=envelope.message)
    # A redirect is not what was agreed, but it is no refusal either.
    return ProviderFailed(f"HTTP {reply.status_code}", may_have_acted=reply.status_code < 400)


def _connection_error(error: requests.ConnectionError) -> ProviderError:
    """A refused connection happened before Chapa knew; a broken one may have come after."""
    cause = error.args[0] if error.args else None
    cause = getattr(cause, "reason", cause)
    if isinstance(cause, NewConnectionError | ConnectTimeoutError):
        return ProviderUnavailable("connection refused", may_have_acted=False)
    if isinstance(cause, ReadTimeoutError):
        return ProviderTimeout("no answer in time")
    return ProviderUnavailable("the connection broke")


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
