"""POST /webhooks/chapa: Chapa's signed webhook. GET: Chapa's unsigned callback.

Neither is believed. The signed one is verified with Chapa at once, or stored as an early check;
the unsigned one leads to an early check at most.
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
    InvalidRequest,
    NotDeferred,
    PaymentNotFound,
    Unavailable,
)
from payments.telemetry import count, logger, metrics, scrub
from payments.usecases.backend import Backend
from payments.usecases.settle import defer, settle
from payments.web import http

backend = Backend.from_environment()

CANNOT_DEFER = (ClientError, BotoCoreError, Busy)

RETRY_SECONDS = 60


@logger.inject_lambda_context(clear_state=True)
@metrics.log_metrics(capture_cold_start_metric=True)
@http.handler
def handler(event: http.Event, context: LambdaContext) -> dict[str, Any]:
    bounded = backend.within(context)
    if event["requestContext"]["http"]["method"] == "GET":
        query = event.get("queryStringParameters") or {}
        given = filter(None, map(query.get, notification.REFERENCES))
        _callback(bounded, next(given, ""))
        return http.respond(202, {"outcome": "noted"})

    body = http.raw_body(event)
    headers = {name.lower(): value for name, value in (event.get("headers") or {}).items()}
    _check_signature(body, headers)
    count("WebhookAccepted")
    try:
        note = notification.read(body)
    except InvalidRequest:
        logger.warning("webhook not readable", bytes=len(body))
        raise
    outcome = "ignored" if note.tx_ref is None else _notified(bounded, note, note.tx_ref)
    count(f"Webhook{outcome.capitalize()}")
    logger.info(
        "webhook",
        chapa_event=scrub(note.event),
        order_id=order_id_of(note.tx_ref or ""),
        tx_ref=note.tx_ref,
        outcome=outcome,
    )
    return http.respond(200, {"outcome": outcome})


def _check_signature(body: bytes, headers: dict[str, str]) -> None:
    """Raises BadSignature, or Unavailable when no secret can be read: Chapa then sends it again."""
    if not signature.is_signed(headers):
        # Chapa's callback as a POST, or a stranger. It is not counted as forged.
        count("WebhookUnsigned")
        raise BadSignature("There is no signature header.")
    try:
        secrets = backend.secrets.current().webhook_secrets
    except ConfigurationError:
        secrets = ()  # The store has logged and counted it.
    if not secrets:
        raise Unavailable("No webhook secret is configured.", retry_after=RETRY_SECONDS)
    if not signature.verify(body, headers, secrets):
        count("BadSignature")
        # Its maximum over hours says whether any webhook was genuine.
        count("WebhookAccepted", 0)
        raise BadSignature("No header holds an HMAC of this body under the webhook secret.")
    if len(secrets) > 1 and not signature.verify(body, headers, secrets[:1]):
        # Until this is no longer counted, a rotation is not over.
        count("WebhookPreviousSecret")


def _notified(bounded: Backend, note: Notification, reference: str) -> str:
    try:
        try:
            aggregate, tx_ref = bounded.find_by_reference(reference)
            if tx_ref != reference:
                # About a refund: its own check finds out.
                defer(bounded, aggregate, tx_ref, bounded.rules.verify_every, paid_too=True)
                return "deferred"
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
            order_id = order_id_of(reference)
            assert order_id is not None  # noqa: S101 - it was found by it
            bounded.queue.send(Message(order_id, reference), bounded.rules.verify_every)
    except PaymentNotFound:
        # Signed, and of our shape, but not in our table: of another shop on the same account, or
        # of a table that was lost.
        logger.warning("webhook for an unknown payment", tx_ref=reference)
        count("UnknownPayment")
        return "ignored"
    except CANNOT_DEFER as error:
        logger.error("webhook not deferred", tx_ref=reference, kind=http.kind_of(error))
        count("DependencyFailed")
        raise NotDeferred("Send this webhook again.", retry_after=RETRY_SECONDS) from None
    return "deferred"


def _too_early(decision: Decision, note: Notification, tx_ref: str) -> bool:
    """Whether a success is reported of a closed payment, and verify does not show it yet."""
    payment = decision.aggregate.payment(tx_ref)
    return note.says_success and payment is not None and payment.status is PaymentStatus.CLOSED


def _callback(bounded: Backend, tx_ref: str) -> None:
    try:
        defer(bounded, bounded.find(tx_ref), tx_ref, bounded.rules.verify_every)
    except PaymentNotFound:
        count("CallbackUnknown")  # Anybody may send it, so there is no line for each.
    except CANNOT_DEFER as error:
        logger.warning("callback not used", tx_ref=tx_ref, kind=http.kind_of(error))
