"""What all versions of Chapa's API share: the session, bounded calls, envelopes and errors.

Nothing here decides about an order. The HTTP code counts first, then the body: Chapa's `status`
alone has several meanings (developer.chapa.co/integrations/responses).
"""

import json
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, ClassVar
from urllib.parse import quote, urlsplit

import requests
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError, ReadTimeoutError
from urllib3.util import Retry

from payments.aws.secrets import SecretStore
from payments.chapa.http import BoundedAdapter, TooLong, content_of
from payments.chapa.keys import Version, url_of
from payments.chapa.provider import Opened
from payments.domain.answers import Transaction
from payments.domain.records import Order, Payment
from payments.errors import (
    ProviderError,
    ProviderFailed,
    ProviderRejected,
    ProviderTimeout,
    ProviderUnavailable,
)
from payments.settings import Settings
from payments.telemetry import called, count, logger, scrub

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

CUSTOMER_FIELDS = frozenset({"email", "phone_number", "first_name", "last_name"})
"""Optional fields of a new payment: the customer can type them on Chapa's page."""

QUESTIONS = Retry(
    total=READ_RETRIES,
    allowed_methods={"GET"},
    status_forcelist={429, 500, 502, 503, 504},
    backoff_factor=0.2,
    backoff_jitter=0.2,
    retry_after_max=PAUSE_SECONDS,
    raise_on_status=False,
)
"""For addresses that only questions go to."""

QUESTIONS_AND_ACTS = QUESTIONS.new(connect=0, other=0)
"""For addresses that a POST goes to, too: urllib3 retries any method after some errors."""


ROWS = 25
"""How many rows of a list are asked for at once: a page stays below the size limit of an answer."""


@dataclass(frozen=True)
class Envelope:
    """What every answer comes in, and its HTTP code."""

    code: int
    message: str | dict[str, Any] | list[Any] | None
    """A sentence, or complaints by field."""
    status: Any = None
    data: Any = None
    error: Any = None
    """Of v2 only: a code and details."""
    has_status: bool = False
    """Whether the answer names a status; it may be null."""


class Calls:
    """Calls to one version of Chapa's API, over one HTTP session."""

    version: ClassVar[Version]
    retries: ClassVar[Mapping[str, Retry]]
    """By the beginning of a path. Other addresses are called once."""
    headers: ClassVar[Mapping[str, str]] = {"Accept": "application/json"}
    """Of each request."""
    names_fields: ClassVar[bool]
    """Whether a refusal names the field that is wrong. If not, it may be one of the customer's."""

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
        self.url = url_of(self.version, settings.chapa_urls)
        self.session = requests.Session()
        self.session.headers.update(self.headers)
        self.session.trust_env = False  # A proxy or .netrc of the machine is not ours to use.
        self.session.mount(self.url, BoundedAdapter())
        for path, retry in self.retries.items():
            self.session.mount(f"{self.url}{path}", BoundedAdapter(max_retries=retry))

    @property
    def name(self) -> str:
        return self.version.provider

    @property
    def mode(self) -> str:
        return self._secrets.current().mode

    def open(self, order: Order, payment: Payment, time_left: float) -> Opened:
        """Open a checkout. Sent once; once more only without the customer fields Chapa refused, or
        without all of them if Chapa may have refused one of them.

        Raises ProviderRejected, ProviderFailed, ProviderTimeout or ProviderUnavailable.
        """
        started = self._clock()
        try:
            return self._open(order, payment, order.customer, time_left)
        except ProviderRejected as error:
            complaints = error.members["provider_message"]
            if isinstance(complaints, dict):
                refused = set(complaints)
            else:
                refused = set() if self.names_fields else set(order.customer)
            if not refused or not refused <= order.customer.keys() & CUSTOMER_FIELDS:
                raise
        logger.warning("opened without what Chapa refused", fields=sorted(refused))
        customer = {name: text for name, text in order.customer.items() if name not in refused}
        return self._open(order, payment, customer, time_left - (self._clock() - started))

    def _open(
        self, order: Order, payment: Payment, customer: Mapping[str, str], time_left: float
    ) -> Opened:
        raise NotImplementedError

    def _urls(self, payment: Payment) -> dict[str, str]:
        """Where Chapa calls back, and where the customer returns to."""
        settings = self._settings
        urls: dict[str, str] = {}
        if settings.callback_url:
            urls["callback_url"] = settings.callback_url
        if settings.return_url:
            mark = "&" if "?" in settings.return_url else "?"
            urls["return_url"] = f"{settings.return_url}{mark}tx_ref={payment.tx_ref}"
        return urls

    def _checkout_url(self, answer: Envelope) -> str:
        """Raises ProviderFailed without a URL to which a customer may be sent."""
        url = answer.data.get("checkout_url") if isinstance(answer.data, dict) else None
        if not isinstance(url, str):
            raise ProviderFailed("an answer without a checkout URL")
        if not self._trusted(url):
            raise ProviderFailed("a checkout URL on a host that CHECKOUT_HOSTS does not name")
        return url

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

    def _ask(self, call: str, path: str, time_left: float) -> Envelope:
        time_of_a_try = (time_left - READ_RETRIES * PAUSE_SECONDS) / (READ_RETRIES + 1)
        return read_envelope(*self._exchange(call, "GET", path, time_of_a_try))

    def _act(
        self, call: str, method: str, path: str, time_left: float, **content: Any
    ) -> tuple[int, bytes]:
        # Questions have connections of their own: one that was just used says nothing here.
        if self._clock() - self._acted_at > IDLE_SECONDS:
            self.session.close()
        try:
            return self._exchange(call, method, path, time_left, **content)
        finally:
            self._acted_at = self._clock()

    def _exchange(
        self, call: str, method: str, path: str, time_left: float, **content: Any
    ) -> tuple[int, bytes]:
        """The HTTP code and the body. `content` is `json`, `data` or `headers`.

        Raises a ProviderError for 401, 429 and 5xx, and when no whole answer came.
        """
        code, body = self.send(call, method, path, time_left, **content)
        if code == 401:
            count("ProviderRefusedKey")
            logger.error("the provider refused our API key", path=path.split("/")[1])
            raise ProviderFailed("HTTP 401: our API key was refused", may_have_acted=False)
        if code == 429:
            raise ProviderUnavailable("HTTP 429: too many requests", may_have_acted=False)
        if code >= 500:
            with suppress(ProviderError):  # Not every failure has an envelope.
                answer = read_envelope(code, body)
                if answer.error:
                    logger.warning(f"{call} failed", **facts_of_error(answer))
            raise ProviderFailed(f"HTTP {code}")
        return code, body

    def send(
        self,
        call: str,
        method: str,
        path: str,
        time_left: float,
        headers: Mapping[str, str] | None = None,
        **content: Any,
    ) -> tuple[int, bytes]:
        """One exchange as it is: the HTTP code and the body. `call` names it in logs and metrics.

        Raises a ProviderError when no whole answer came or no key of this version is known.
        """
        api_key = self._secrets.current().api_keys.get(self.name)
        if api_key is None:
            count("ProviderKeyMissing")
            logger.error("no API key of this version in the secret", provider=self.name)
            raise ProviderUnavailable("no API key of this version", may_have_acted=False)
        if time_left < MIN_SECONDS:
            raise ProviderUnavailable("no time left to ask", may_have_acted=False)
        connect = min(CONNECT_SECONDS, time_left / 4)
        started, answered = self._clock(), False
        try:
            with self.session.request(
                method,
                f"{self.url}{path}",
                **content,
                headers={**(headers or {}), "Authorization": f"Bearer {api_key}"},
                timeout=(connect, min(READ_SECONDS, time_left - connect)),
                allow_redirects=False,
                stream=True,
            ) as reply:
                body = content_of(reply)
            answered = reply.status_code < 500 and reply.status_code not in {401, 429}
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
        finally:
            called(call, self._clock() - started, answered=answered)
        return reply.status_code, body


def read_envelope(code: int, body: bytes) -> Envelope:
    try:
        content = json.loads(body, parse_float=Decimal, parse_constant=_no_constant)
    except (ValueError, ArithmeticError, RecursionError):
        content = None  # Decimal refuses a huge exponent with an ArithmeticError.
    message = content.get("message", 0) if isinstance(content, dict) else 0
    if not isinstance(message, str | dict | list | None):
        raise ProviderFailed(f"HTTP {code} without an envelope")
    return Envelope(
        code=code,
        message=message,
        status=content.get("status"),
        data=content.get("data"),
        error=content.get("error"),
        has_status="status" in content,
    )


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def word_of(status: object) -> str:
    """A status as the tables have it. Null is "null"; what is no text is no word of any table."""
    if status is None:
        return "null"
    # Chapa's own samples have stray tabs.
    return status.strip().lower() if isinstance(status, str) else f"({type(status).__name__})"


def text_of(value: object) -> str | None:
    """Codes and references are short and plain; anything else counts as missing."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    text = value.strip() if isinstance(value, str) else ""
    return text if 0 < len(text) <= 200 and text.isascii() and text.isprintable() else None


def moment_of(value: object) -> int | None:
    """Seconds since the epoch of a time such as 2026-11-22T09:00:00Z; None for anything else."""
    try:
        found = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    if found is None:
        return None
    return int((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp())


def is_past(rows: Iterable[Transaction], since: int) -> bool:
    """Whether a page of a list, and so every later page, is older than the range.

    Only if its rows are sorted, the newest first: Chapa does not document the order.
    """
    times = [-1 if row.created_at is None else row.created_at for row in rows]
    falling = times == sorted(times, reverse=True) and times[:1] > times[-1:]
    return falling and times[-1] >= 0 and times[0] < since


def unknown_status(call: str, word: str, **about: Any) -> None:
    """A word that no table has: somebody must find out what it means."""
    logger.warning(f"unknown status in {call}", word=scrub(word, 40), **about)
    count("UnknownProviderStatus")


def log_refusal(call: str, words: object, **facts: Any) -> None:
    logger.warning(
        f"{call} refused",
        words=scrub(words) if isinstance(words, str) else "",
        fields=sorted(map(scrub, words)) if isinstance(words, dict) else [],
        **facts,
    )


def code_of(answer: Envelope) -> str | None:
    return text_of(answer.error.get("code")) if isinstance(answer.error, dict) else None


def facts_of_error(answer: Envelope) -> dict[str, Any]:
    """What support asks for. No words of the answer."""
    details = answer.error.get("details") if isinstance(answer.error, dict) else None
    request_id = text_of(details.get("request_id")) if isinstance(details, dict) else None
    return {
        "http_status": answer.code,
        "error_code": scrub(code_of(answer) or "", 40),
        "request_id": scrub(request_id or "", 80),
    }


def in_path(reference: str) -> str:
    return quote(reference, safe="")


def _connection_error(error: requests.ConnectionError) -> ProviderError:
    """A refused connection happened before Chapa knew; a broken one may have come after."""
    cause = error.args[0] if error.args else None
    cause = getattr(cause, "reason", cause)
    if isinstance(cause, NewConnectionError | ConnectTimeoutError):
        return ProviderUnavailable("connection refused", may_have_acted=False)
    if isinstance(cause, ReadTimeoutError):
        return ProviderTimeout("no answer in time")
    return ProviderUnavailable("the connection broke")
