"""API Gateway's HTTP API events (payload format 2.0), responses and problem documents."""

import base64
import binascii
import json
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext
from botocore.exceptions import BotoCoreError, ClientError

from payments.errors import (
    TABLE,
    ConfigurationError,
    Internal,
    InvalidRequest,
    NoSubject,
    PaymentsError,
    ProviderError,
    ProviderFailed,
    ProviderRejected,
    ProviderTimeout,
    Unavailable,
)
from payments.telemetry import count, logger

type Event = Mapping[str, Any]
type Response = dict[str, Any]
type Handler = Callable[[Event, LambdaContext], Response]

MAX_BODY = 64 * 1024
"""Bytes of a request that is parsed; 90 order lines need a tenth of it."""

PROVIDER_WORDS: dict[type[ProviderError], str] = {
    ProviderRejected: "The payment provider refused this payment; its own words are in"
    " provider_message. Nothing was opened.",
    ProviderFailed: "The payment provider could not open the payment. Keep this order and ask again"
    " for it; do not place another.",
    ProviderTimeout: "The payment provider did not answer in time, so it is not known yet whether"
    " it opened the payment. Keep this order and ask again for it; do not place another.",
    ProviderError: "The payment provider cannot be reached just now. Keep this order and ask again"
    " for it; do not place another.",
}


def handler(function: Handler) -> Handler:
    """Turns every error into its problem document. A failure is logged here, once."""

    @wraps(function)
    def wrapped(event: Event, context: LambdaContext) -> Response:
        try:
            response = function(event, context)
        except PaymentsError as error:
            _log(error, event)
            response = problem(error)
            if response["statusCode"] == 500:  # A product that is not stored as it should be.
                count("InternalError")
        except ConfigurationError as error:
            logger.critical("configuration", reason=str(error))
            response = _internal()
        except (ClientError, BotoCoreError) as error:
            # The message may quote values; the kind and the operation say enough.
            logger.error("AWS did not answer", kind=kind_of(error))
            count("DependencyFailed")
            response = problem(
                Unavailable("Something that we depend on did not answer. Try again.", retry_after=1)
            )
        except Exception:
            logger.exception("bug")
            response = _internal()
        count(f"Answered{response['statusCode']}")
        return response

    return wrapped


def _log(error: PaymentsError, event: Event) -> None:
    known = TABLE[type(error)]
    if known.status < 500 and "authorizer" not in event.get("requestContext", {}):
        return  # What strangers send is only counted: a flood of it must not fill the logs.
    log = logger.error if known.status >= 500 else logger.info
    log(known.code, detail=error.detail, order_id=error.members.get("order_id"))


def kind_of(error: Exception) -> str:
    if isinstance(error, ClientError):
        return f"{error.operation_name}: {error.response['Error'].get('Code')}"
    return type(error).__name__


def _internal() -> Response:
    count("InternalError")
    return problem(Internal("This is our fault, and it was logged. Try again later."))


def respond(status: int, body: Mapping[str, Any], **headers: str) -> Response:
    return {
        "statusCode": status,
        "headers": {
            "content-type": "application/json",
            "cache-control": "no-store",
            **{name.replace("_", "-"): value for name, value in headers.items()},
        },
        # The provider's own words are handed on, and may hold numbers, which are read as Decimal.
        "body": json.dumps(body, separators=(",", ":"), default=str),
    }


def problem(error: PaymentsError) -> Response:
    """An RFC 9457 problem document with our stable `code`."""
    known = TABLE[type(error)]
    detail = error.detail
    if isinstance(error, ProviderError):
        detail = PROVIDER_WORDS.get(type(error), PROVIDER_WORDS[ProviderError])
    document = {
        "type": f"urn:chapa-payments:{known.code}",
        "title": known.title,
        "status": known.status,
        "code": known.code,
        "detail": detail,
        **error.members,
    }
    headers = {"content_type": "application/problem+json"}
    if error.retry_after is not None:
        document["retry_after"] = error.retry_after
        headers["retry_after"] = str(error.retry_after)
    return respond(known.status, document, **headers)


def raw_body(event: Event) -> bytes:
    """The bytes as they were sent. Raises InvalidRequest for invalid base64 or too long a body."""
    body = event.get("body") or ""
    if len(body) > 2 * MAX_BODY:  # Base64 makes three bytes four.
        raise InvalidRequest(f"The body is longer than {MAX_BODY} bytes.")
    if not event.get("isBase64Encoded"):
        raw = str(body).encode("utf-8", "surrogatepass")
    else:
        try:
            raw = base64.b64decode(body, validate=True)
        except (binascii.Error, ValueError):
            raise InvalidRequest("The body is not valid base64.") from None
    if len(raw) > MAX_BODY:
        raise InvalidRequest(f"The body is longer than {MAX_BODY} bytes.")
    return raw


def header(event: Event, name: str) -> str | None:
    """API Gateway hands out names in lower case, but not every caller of a function does."""
    for key, value in (event.get("headers") or {}).items():
        if key.lower() == name:
            return str(value)
    return None


def user_id(event: Event) -> str:
    """The subject of the token that the JWT authorizer checked. Raises NoSubject.

    Without a subject, all such tokens would share one account.
    """
    subject = event["requestContext"]["authorizer"]["jwt"]["claims"].get("sub")
    if not isinstance(subject, str) or not subject.strip():
        raise NoSubject("The token has no subject (`sub`).")
    return subject
