"""Chapa's v1 API, as far as a shop needs it.

Nothing here decides anything about an order. A question answered becomes a `Verification`; a
question that could not be answered, or was answered with nonsense, becomes one that says `unknown`.
Calls that act raise a `ProviderError` which says whether Chapa may have acted all the same.

The HTTP code comes first, then the body: Chapa's `status` alone has several meanings
(developer.chapa.co/integrations/responses). No decision hangs on the wording of a message but one:
the reference that "has been used before".
"""

import json
import time
from collections.abc import Callable
from decimal import Decimal
from typing import Annotated, Any
from urllib.parse import quote, urlsplit

import requests
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError, ReadTimeoutError
from urllib3.util import Retry

from payments.domain import Said, Verification
from payments.errors import (
    ProviderError,
    ProviderFailed,
    ProviderRejected,
    ProviderTimeout,
    ProviderUnavailable,
)
from payments.money import format_amount, parse_amount
from payments.settings import SecretStore, Settings
from payments.story import Order, Payment, Refund
from payments.telemetry import count, logger, scrub
from payments.wire import BoundedAdapter, TooLong, content_of

CONNECT_SECONDS = 4.0
READ_SECONDS = 20.0
READ_RETRIES = 2
PAUSE_SECONDS = 1
"""The longest wait before a question is asked again, whatever Retry-After says."""
IDLE_SECONDS = 20.0
"""A connection unused for longer is not trusted with a POST: a frozen function does not notice
that the other side hung up, and a POST lost that way could not be told from one that acted."""

SAID = {
    "success": Said.PAID,
    "pending": Said.OPEN,
    "failed": Said.FAILED,
    "failed/cancelled": Said.FAILED,
    "cancelled": Said.FAILED,
    "canceled": Said.FAILED,
    "refunded": Said.REFUNDED,
    "reversed": Said.REVERSED,
    "": Said.OPEN,
    "null": Said.OPEN,
}
"""Every word seen in verify's `data.status`; another word means nothing and is logged."""

REFUND_SAID = {
    "initiated": Said.OPEN,
    "processing": Said.OPEN,
    "pending": Said.OPEN,
    "refunded": Said.REFUNDED,
    "reversed": Said.REVERSED,
    "failed": Said.FAILED,
}
"""The same of a refund: four words are documented, `failed` is in an event one integrator met."""


def _text(value: object) -> str | None:
    """Words, codes and references are short and plain; what is not is as good as missing."""
    if not isinstance(value, str):
        return None
    text = value.strip()  # Chapa's own samples have stray tabs.
    return text if len(text) <= 200 and text.isascii() and text.isprintable() else None


type Text = Annotated[str | None, BeforeValidator(_text)]


class Envelope(BaseModel):
    """What every answer comes in. `message` is a sentence, or a list of complaints by field."""

    model_config = ConfigDict(hide_input_in_errors=True)

    message: str | dict[str, Any] | list[Any] | None
    status: Text = None
    data: Any = None


class VerifiedPayment(BaseModel):
    """The part of verify's `data` that counts; the customer's name and address are left unread."""

    model_config = ConfigDict(hide_input_in_errors=True)

    status: Text = None
    tx_ref: Text = None
    currency: Text = None
    mode: Text = None
    reference: Text = None
    amount: Annotated[int | None, BeforeValidator(parse_amount)] = None


class StartedRefund(BaseModel):
    """Documented as `ref_id`, seen as `ref`, and by one integrator not at all."""

    model_config = ConfigDict(hide_input_in_errors=True)

    ref_id: Text = None
    ref: Text = None


class VerifiedRefund(BaseModel):
    model_config = ConfigDict(hide_input_in_errors=True)

    status: Text = None
    amount: Annotated[int | None, BeforeValidator(parse_amount)] = None
    merchant_reference: Text = None


class Checkout(BaseModel):
    model_config = ConfigDict(hide_input_in_errors=True)

    checkout_url: str


class Chapa:
    """One HTTP session. No call waits longer than `time_left` seconds, and none starts without."""

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
        # Only questions are asked again by themselves, so only their addresses have retries. Under
        # /refund/ there is a POST too, and urllib3 tries any method again after some errors.
        for path, retry in {
            "/transaction/verify/": questions,
            "/refund/": questions.new(connect=0, other=0),
        }.items():
            self.session.mount(f"{settings.chapa_url}{path}", BoundedAdapter(max_retries=retry))

    @property
    def mode(self) -> str:
        return self._secrets.current().mode

    def initialize(self, order: Order, payment: Payment, time_left: float) -> str:
        """Open a payment and return its checkout URL. Called once per tx_ref, never repeated.

        Raises ProviderRejected, ProviderFailed, ProviderTimeout or ProviderUnavailable.
        """
        settings = self._settings
        body: dict[str, Any] = {
            **order.customer,
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
            raise _refused("initialize", reply, envelope)
        try:
            checkout_url = Checkout.model_validate(envelope.data).checkout_url
        except ValidationError:
            raise ProviderFailed("an answer without a checkout URL") from None
        if not self._trusted(checkout_url):
            raise ProviderFailed("a checkout URL on a host that CHECKOUT_HOSTS does not name")
        return checkout_url

    def verify(self, tx_ref: str, time_left: float) -> Verification:
        """What Chapa knows about a payment. Never raises for what the provider does."""
        try:
            reply, envelope = self._ask(f"/transaction/verify/{quote(tx_ref, safe='')}", time_left)
        except ProviderError as error:
            logger.warning("verify unanswered", tx_ref=tx_ref, reason=error.reason)
            return Verification(Said.UNKNOWN)
        if reply.status_code == 404:
            # Unknown to Chapa, or not paid yet: the two differ only in words, and we made the ref.
            return Verification(Said.OPEN, status="not paid yet")
        if reply.status_code != 200 or not isinstance(envelope.data, dict):
            logger.warning("verify made no sense", tx_ref=tx_ref, http_status=reply.status_code)
            return Verification(Said.UNKNOWN)
        paid = VerifiedPayment.model_validate(envelope.data)
        word = (paid.status or "").strip().lower()
        said = SAID.get(word)
        if said is None:
            logger.warning("verify used a new word", tx_ref=tx_ref, word=scrub(word, 40))
            count("UnknownProviderStatus")
            return Verification(Said.UNKNOWN)
        facts = (paid.tx_ref, paid.amount, paid.currency, paid.mode, paid.reference)
        if said is Said.PAID and None in facts:
            logger.warning("verify says success without the facts", tx_ref=tx_ref)
            return Verification(Said.UNKNOWN)
        return Verification(
            said,
            tx_ref=paid.tx_ref,
            amount=paid.amount,
            currency=paid.currency,
            mode=paid.mode,
            reference=paid.reference,
            status=scrub(word, 40),
        )

    def cancel(self, tx_ref: str, time_left: float) -> bool:
        """Shut a payment. True when Chapa did, or says that there is nothing open to shut.

        That is no proof that it was not paid: verify after it.
        """
        try:
            reply, _ = self._act("PUT", f"/transaction/cancel/{quote(tx_ref, safe='')}", time_left)
        except ProviderError as error:
            logger.warning("cancel unanswered", tx_ref=tx_ref, reason=error.reason)
            return False
        return reply.status_code in {200, 400, 404}

    def refund(self, payment: Payment, refund: Refund, time_left: float) -> str | None:
        """Ask for a refund; returns Chapa's handle of it, or None when Chapa has it but named none.

        The same reference may be sent again: Chapa takes each once. Raises a ProviderError.
        """
        reply, envelope = self._act(
            "POST",
            f"/refund/{quote(payment.reference or payment.tx_ref, safe='')}",
            time_left,
            # Documented as form-encoded, unlike the rest.
            data={
                "amount": format_amount(refund.amount),
                "reference": refund.reference,
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
        """How a refund with a handle stands. Never raises for what the provider does."""
        path = f"/refund/{quote(refund.handle or '', safe='')}/verify"
        try:
            reply, envelope = self._ask(path, time_left)
        except ProviderError as error:
            logger.warning("refund unanswered", refund=refund.reference, reason=error.reason)
            return Said.UNKNOWN
        if reply.status_code == 200 and isinstance(envelope.data, dict):
            answer = VerifiedRefund.model_validate(envelope.data)
            said = REFUND_SAID.get((answer.status or "").strip().lower())
            ours = answer.merchant_reference in {None, refund.reference}
            if said and ours and answer.amount in {None, refund.amount}:
                return said
        logger.warning(
            "refund made no sense", refund=refund.reference, http_status=reply.status_code
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
        return self._send("GET", path, (time_left - READ_RETRIES * PAUSE_SECONDS) / tries)

    def _act(
        self, method: str, path: str, time_left: float, **content: Any
    ) -> tuple[requests.Response, Envelope]:
        # Questions have connections of their own: one that was just used says nothing here.
        if self._clock() - self._acted_at > IDLE_SECONDS:
            self.session.close()
        try:
            return self._send(method, path, time_left, **content)
        finally:
            self._acted_at = self._clock()

    def _send(
        self, method: str, path: str, time_left: float, **content: Any
    ) -> tuple[requests.Response, Envelope]:
        """One exchange; `content` is `json` or `data`.

        Raises unless the answer is an envelope with a code below 500.
        """
        api_key = self._secrets.current().api_key
        if time_left < 0.5:
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
            # A body cut short or too long, an encoding or a Location that is none: something
            # answered, but what? requests lets the ValueError of a URL out of a redirect that it
            # only looks at.
            raise ProviderFailed(f"a broken answer ({type(error).__name__})") from None
        if reply.status_code == 401:
            count("ProviderRefusedKey")
            logger.error("the provider refused our API key", path=path.split("/")[1])
            raise ProviderFailed("HTTP 401: our API key was refused", may_have_acted=False)
        if reply.status_code == 429:
            raise ProviderUnavailable("HTTP 429: too many requests", may_have_acted=False)
        if reply.status_code >= 500:
            raise ProviderFailed(f"HTTP {reply.status_code}")
        try:
            return reply, Envelope.model_validate(
                json.loads(body, parse_float=Decimal, parse_constant=_no_constant)
            )
        except (ValueError, ArithmeticError, RecursionError):
            # Decimal refuses an exponent that has no end with an ArithmeticError.
            raise ProviderFailed(f"HTTP {reply.status_code} without an envelope") from None


def _accepted(reply: requests.Response, envelope: Envelope) -> bool:
    """One client reports refusals that are 200 with the status `failed`."""
    return reply.status_code == 200 and (envelope.status or "").strip().lower() != "failed"


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
    if reply.status_code in {200, 400, 422}:
        return ProviderRejected("refused", provider_message=envelope.message)
    # Only a refusal is certain; 201 or a redirect is not what was agreed, but no refusal.
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
