"""POST /webhooks/chapa: a signed webhook of Chapa. GET: its unsigned callback, which can be forged.

Neither is trusted. A webhook makes us settle the payment at once, or later from the queue; a
callback only schedules an early check.
"""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext
from botocore.exceptions import BotoCoreError, ClientError
from pydantic import BaseModel, ConfigDict, Field

from payments import http, signature
from payments.backend import Backend
from payments.domain import Decision, Outcome
from payments.errors import (
    BadSignature,
    Busy,
    ConfigurationError,
    InvalidRequest,
    NotDeferred,
    PaymentNotFound,
)
from payments.ids import order_id_of
from payments.settle import defer, find, settle
from payments.states import PaymentStatus
from payments.telemetry import count, logger, metrics, scrub

backend = Backend.from_environment()

SUCCESS = "charge.success"

MONEY_BACK = {"charge.refunded", "charge.reversed", "refund.success", "refund.reversed"}
"""Events after which a paid payment is checked. One integrator received the last two."""

CANNOT_DEFER = (ClientError, BotoCoreError, Busy)


class Notification(BaseModel):
    """The part of the body that says which payment to check. Nothing else in it is used."""

    model_config = ConfigDict(extra="ignore", strict=True, hide_input_in_errors=True)

    event: str = Field(max_length=100)
    tx_ref: str | None = Field(None, max_length=100)


@logger.inject_lambda_context(clear_state=True)
@metrics.log_metrics
@http.handler
def handler(event: http.Event, context: LambdaContext) -> dict[str, Any]:
    bounded = backend.within(context)
    if event["requestContext"]["http"]["method"] == "GET":
        query = event.get("queryStringParameters") or {}
        _check_early(bounded, query.get("trx_ref") or query.get("tx_ref") or "")
        return http.respond(202, {"outcome": "noted"})

    body = http.raw_body(event)
    headers = {name.lower(): value for name, value in (event.get("headers") or {}).items()}
    if not signature.verify(body, headers, _webhook_secrets()):
        count("BadSignature")
        raise BadSignature("No header holds an HMAC of this body under the webhook secret.")
    note = http.parse(Notification, body)
    outcome = _notified(bounded, note)
    count(f"Webhook{outcome.capitalize()}")
    logger.info(
        "webhook", chapa_event=scrub(note.event), tx_ref=_shown(note.tx_ref), outcome=outcome
    )
    return http.respond(200, {"outcome": outcome})


def _webhook_secrets() -> tuple[str, ...]:
    """Without a configured secret every webhook is refused."""
    try:
        secrets = backend.secrets.current().webhook_secrets
    except ConfigurationError as error:
        logger.critical("configuration", reason=str(error))
        return ()
    if not secrets:
        logger.critical("configuration", reason="webhook_secret: missing in the secret")
    return secrets


def _notified(bounded: Backend, note: Notification) -> str:
    if not note.event.startswith(("charge.", "refund.")):
        return "ignored"
    if note.tx_ref is None:
        if note.event.startswith("refund."):
            return "ignored"  # Refunds are polled.
        raise InvalidRequest("An event about a charge has a tx_ref.")
    try:
        story = find(bounded, note.tx_ref)
        money_back = note.event in MONEY_BACK
        decision = settle(bounded, story, note.tx_ref, money_back=money_back)
        if decision.outcome in {Outcome.APPLIED, Outcome.DUPLICATE} and not _before_verify(
            decision, note
        ):
            return decision.outcome
        doubt = note.tx_ref if money_back and decision.outcome is not Outcome.OPEN else None
        defer(bounded, decision.story, bounded.settings.verify_every_seconds, doubt)
    except PaymentNotFound:
        # Another system may use the same account, or the table was lost.
        logger.warning("webhook for an unknown payment", tx_ref=_shown(note.tx_ref))
        count("UnknownPayment")
        return "ignored"
    except CANNOT_DEFER as error:
        logger.error("webhook not deferred", tx_ref=note.tx_ref, kind=type(error).__name__)
        raise NotDeferred("Send this webhook again.", retry_after=60) from None
    return "deferred"


def _before_verify(decision: Decision, note: Notification) -> bool:
    """Whether the success of a closed payment is notified, and verify does not report it yet."""
    payment = decision.story.payment(note.tx_ref or "")
    return note.event == SUCCESS and payment is not None and payment.status is PaymentStatus.CLOSED


def _shown(tx_ref: str | None) -> str | None:
    """For the log. The tx_ref of another system may contain a telephone number."""
    return tx_ref if tx_ref is None or order_id_of(tx_ref) else scrub(tx_ref)


def _check_early(bounded: Backend, tx_ref: str) -> None:
    try:
        defer(bounded, find(bounded, tx_ref), bounded.settings.verify_every_seconds)
    except (PaymentNotFound, *CANNOT_DEFER) as error:
        logger.info("callback not used", kind=type(error).__name__)
