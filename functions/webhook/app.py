<<<<<<< HEAD
"""POST /webhooks/chapa: Chapa's signed webhook. GET: Chapa's unsigned callback.

Neither is believed. The signed one is verified with Chapa at once, or stored as an early check;
the unsigned one leads to an early check at most.
=======
"""POST /webhooks/chapa: a signed webhook of Chapa. GET: its unsigned callback, which can be forged.

Neither is trusted. A webhook makes us settle the payment at once, or later from the queue; a
callback only schedules an early check.
>>>>>>> main
"""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext
from botocore.exceptions import BotoCoreError, ClientError

from payments.aws.queue import Message
from payments.chapa import notification, signature
from payments.chapa.notification import Notification
from payments.domain.answers import Outcome
from payments.domain.decisions import Decision
from payments.domain.ids import order_id_of
from payments.domain.states import PaymentStatus
from payments.errors import (
    BadSignature,
    Busy,
    ConfigurationError,
    NotDeferred,
    PaymentNotFound,
    Unavailable,
)
from payments.telemetry import count, logger, metrics, scrub
from payments.usecases.backend import Backend
from payments.usecases.settle import defer, settle
from payments.web import http

backend = Backend.from_environment()

<<<<<<< HEAD
CANNOT_DEFER = (ClientError, BotoCoreError, Busy)

RETRY_SECONDS = 60
=======
SUCCESS = "charge.success"

MONEY_BACK = {"charge.refunded", "charge.reversed", "refund.success", "refund.reversed"}
"""Events after which a paid payment is checked. One integrator received the last two."""

CANNOT_DEFER = (ClientError, BotoCoreError, Busy)


class Notification(BaseModel):
    """The part of the body that says which payment to check. Nothing else in it is used."""

    model_config = ConfigDict(extra="ignore", strict=True, hide_input_in_errors=True)

    event: str = Field(max_length=100)
    tx_ref: str | None = Field(None, max_length=100)
>>>>>>> main


@logger.inject_lambda_context(clear_state=True)
@metrics.log_metrics
@http.handler
def handler(event: http.Event, context: LambdaContext) -> dict[str, Any]:
    bounded = backend.within(context)
    if event["requestContext"]["http"]["method"] == "GET":
        query = event.get("queryStringParameters") or {}
<<<<<<< HEAD
        _callback(bounded, query.get("trx_ref") or query.get("tx_ref") or "")
=======
        _check_early(bounded, query.get("trx_ref") or query.get("tx_ref") or "")
>>>>>>> main
        return http.respond(202, {"outcome": "noted"})

    body = http.raw_body(event)
    headers = {name.lower(): value for name, value in (event.get("headers") or {}).items()}
    _check_signature(body, headers)
    note = notification.read(body)
    outcome = "ignored" if note.tx_ref is None else _notified(bounded, note, note.tx_ref)
    count(f"Webhook{outcome.capitalize()}")
    logger.info("webhook", chapa_event=scrub(note.event), tx_ref=note.tx_ref, outcome=outcome)
    return http.respond(200, {"outcome": outcome})


<<<<<<< HEAD
def _check_signature(body: bytes, headers: dict[str, str]) -> None:
    """Raises BadSignature, or Unavailable when no secret can be read: Chapa then sends it again."""
    if not signature.is_signed(headers):
        # Chapa's callback as a POST, or a stranger. It is not counted as forged.
        count("WebhookUnsigned")
        raise BadSignature("There is no signature header.")
=======
def _webhook_secrets() -> tuple[str, ...]:
    """Without a configured secret every webhook is refused."""
>>>>>>> main
    try:
        secrets = backend.secrets.current().webhook_secrets
    except ConfigurationError as error:
        logger.critical("configuration", reason=str(error))
        secrets = ()
    if not secrets:
        raise Unavailable("No webhook secret is configured.", retry_after=RETRY_SECONDS)
    if not signature.verify(body, headers, secrets):
        count("BadSignature")
        raise BadSignature("No header holds an HMAC of this body under the webhook secret.")


<<<<<<< HEAD
def _notified(bounded: Backend, note: Notification, tx_ref: str) -> str:
    try:
        try:
            aggregate = bounded.find(tx_ref)
            paid_too = not note.says_success
            decision = settle(bounded, aggregate, tx_ref, paid_too=paid_too)
            done = decision.outcome in {Outcome.APPLIED, Outcome.DUPLICATE}
            if done and not _too_early(decision, note, tx_ref):
                return decision.outcome.value
            paid_too = paid_too and decision.outcome is not Outcome.OPEN
            defer(
                bounded, decision.aggregate, tx_ref, bounded.rules.verify_every, paid_too=paid_too
            )
        except Busy:
            # The worker stores the early check when fewer processes write the order.
            order_id = order_id_of(tx_ref)
            assert order_id is not None  # noqa: S101 - it was found by it
            bounded.queue.send(Message(order_id, tx_ref), bounded.rules.verify_every)
    except PaymentNotFound:
        # Signed, and of our shape, but not in our table: of another shop on the same account, or
        # of a table that was lost.
        logger.warning("webhook for an unknown payment", tx_ref=tx_ref)
=======
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
>>>>>>> main
        count("UnknownPayment")
        return "ignored"
    except CANNOT_DEFER as error:
        logger.error("webhook not deferred", tx_ref=tx_ref, kind=type(error).__name__)
        raise NotDeferred("Send this webhook again.", retry_after=RETRY_SECONDS) from None
    return "deferred"


<<<<<<< HEAD
def _too_early(decision: Decision, note: Notification, tx_ref: str) -> bool:
    """Whether a success is reported of a closed payment, and verify does not show it yet."""
    payment = decision.aggregate.payment(tx_ref)
    return note.says_success and payment is not None and payment.status is PaymentStatus.CLOSED


def _callback(bounded: Backend, tx_ref: str) -> None:
=======
def _before_verify(decision: Decision, note: Notification) -> bool:
    """Whether the success of a closed payment is notified, and verify does not report it yet."""
    payment = decision.story.payment(note.tx_ref or "")
    return note.event == SUCCESS and payment is not None and payment.status is PaymentStatus.CLOSED


def _shown(tx_ref: str | None) -> str | None:
    """For the log. The tx_ref of another system may contain a telephone number."""
    return tx_ref if tx_ref is None or order_id_of(tx_ref) else scrub(tx_ref)


def _check_early(bounded: Backend, tx_ref: str) -> None:
>>>>>>> main
    try:
        defer(bounded, bounded.find(tx_ref), tx_ref, bounded.rules.verify_every)
    except (PaymentNotFound, *CANNOT_DEFER) as error:
        logger.info("callback not used", kind=type(error).__name__)
