"""The control API, under `/_control`: how a test or a demo steers the simulator.

    GET    /_control/settings                 the settings, without the secret
    PUT    /_control/settings                 {any settings, "switches": {some of v1's},
                                              "switches_v2": {some of v2's}}
    GET    /_control/faults                   active faults, and how often each kind was used
    POST   /_control/faults                   {"call", "kind", "tx_ref"?, "times"?, "chance"?,
                                              details}
    DELETE /_control/faults[/<id>]            remove one; without id all, and release held calls
    GET    /_control/journal?call=&tx_ref=    calls received, webhooks and callbacks sent
    DELETE /_control/journal
    GET    /_control/payments[/<tx_ref>]
    POST   /_control/begin                    {"tx_ref"}: start an attempt
    POST   /_control/pay                      {"tx_ref", "amount"?, "currency"?, "late"?,
                                              "webhook"?}
    POST   /_control/fail, cancel, reverse    {"tx_ref", "webhook"?}
    POST   /_control/expire                   {"tx_ref"}: the link expires now
    POST   /_control/refund_status            {"reference", "status", "webhook"?}; the reference is
                                              Chapa's ref_id or the merchant's
    POST   /_control/webhook                  {"tx_ref"?, "event", "overrides"?, "signature"?,
                                              "seconds"?, "version"?}; a payout has no tx_ref, and
                                              its version is v1 unless given
    POST   /_control/refuse                   {"seconds"}: refuse connections for that time
    POST   /_control/reset                    delete all state

`tx_ref` is the merchant's reference of the payment in both versions; Chapa's is accepted, too.
Amounts are in units of the currency, such as birr, in both versions.

400: a field, switch or fault does not exist, `error` names it; 404: no such payment, refund or
fault; 409: the state does not allow it.
"""

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Literal

from flask import Blueprint, Response, request
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sandbox.chapa.faults import Fault, Forgery
from sandbox.chapa.records import Payment, Refund, RefundStatus, Version
from sandbox.chapa.simulator import NotNowError, Simulator
from sandbox.chapa.wire_v1 import moment, two_places


class Command(BaseModel):
    model_config = ConfigDict(extra="forbid")


class OnPayment(Command):
    tx_ref: str


class Ending(OnPayment):
    webhook: bool = True


class Paying(Ending):
    amount: Decimal | None = Field(default=None, ge=0)
    currency: str | None = None
    late: bool = False


class RefundMove(Command):
    reference: str
    status: RefundStatus
    webhook: bool = True


class AnyEvent(Command):
    event: str
    tx_ref: str | None = None
    overrides: dict[str, Any] = Field(default_factory=dict)
    signature: Forgery | Literal["genuine"] = "genuine"
    seconds: float = Field(default=0, ge=0)
    version: Version | None = None


class Refusal(Command):
    seconds: float = Field(gt=0, le=600)


class MissingError(Exception):
    """No such payment, refund or fault."""


def blueprint(simulator: Simulator) -> Blueprint:
    control = Blueprint("control", __name__, url_prefix="/_control")
    _settings_and_faults(control, simulator)
    _payments(control, simulator)

    @control.get("/journal")
    def journal() -> Response:
        unknown = set(request.args) - {"call", "tx_ref"}
        if unknown:
            return _reply({"error": f"unknown filter: {', '.join(sorted(unknown))}"}, 400)
        entries = simulator.journal.shown(request.args.get("call"), request.args.get("tx_ref"))
        return _reply({"entries": entries})

    @control.delete("/journal")
    def clear_journal() -> Response:
        simulator.journal.clear()
        return _reply({})

    @control.post("/reset")
    def reset() -> Response:
        simulator.reset()
        return _reply({})

    @control.post("/refuse")
    def refuse() -> Response:
        command = Refusal.model_validate(_body())
        if simulator.refuse is None:
            raise NotNowError("the simulator runs without a server")
        simulator.refuse(command.seconds)
        return _reply({})

    @control.errorhandler(ValidationError)
    def invalid(error: ValidationError) -> Response:
        problems = [
            f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}".removeprefix(": ")
            for problem in error.errors(include_url=False, include_input=False)
        ]
        return _reply({"error": "; ".join(problems)}, 400)

    @control.errorhandler(MissingError)
    def missing(error: MissingError) -> Response:
        return _reply({"error": str(error)}, 404)

    @control.errorhandler(NotNowError)
    def not_now(error: NotNowError) -> Response:
        return _reply({"error": str(error)}, 409)

    return control


def _settings_and_faults(control: Blueprint, simulator: Simulator) -> None:
    @control.get("/settings")
    def settings() -> Response:
        return _reply(simulator.settings.shown())

    @control.put("/settings")
    def change_settings() -> Response:
        simulator.change_settings(_body())
        return _reply(simulator.settings.shown())

    @control.get("/faults")
    def faults() -> Response:
        return _reply({"faults": simulator.faults.shown(), "used": simulator.faults.used()})

    @control.post("/faults")
    def add_fault() -> Response:
        return _reply({"id": simulator.faults.add(Fault.model_validate(_body()))}, 201)

    @control.delete("/faults")
    def clear_faults() -> Response:
        simulator.faults.clear()
        simulator.release_held()
        return _reply({})

    @control.delete("/faults/<int:number>")
    def remove_fault(number: int) -> Response:
        if not simulator.faults.remove(number):
            raise MissingError(f"no fault {number}; it was removed or used up")
        return _reply({})


def _payments(control: Blueprint, simulator: Simulator) -> None:
    @control.get("/payments")
    def payments() -> Response:
        with simulator.lock:
            return _reply({"payments": [_shown(p) for p in simulator.payments.values()]})

    @control.get("/payments/<path:tx_ref>")
    def payment(tx_ref: str) -> Response:
        return _reply(_shown(_find(simulator, tx_ref)))

    @control.post("/begin")
    def begin() -> Response:
        return on_payment(OnPayment, lambda payment, _: simulator.begin(payment))

    @control.post("/pay")
    def pay() -> Response:
        return on_payment(
            Paying,
            lambda payment, command: simulator.pay(
                payment, **command.model_dump(exclude={"tx_ref"})
            ),
        )

    @control.post("/fail")
    def fail() -> Response:
        return on_payment(Ending, lambda payment, c: simulator.fail(payment, webhook=c.webhook))

    @control.post("/cancel")
    def cancel() -> Response:
        return on_payment(Ending, lambda payment, c: simulator.cancel(payment, webhook=c.webhook))

    @control.post("/reverse")
    def reverse() -> Response:
        return on_payment(Ending, lambda payment, c: simulator.reverse(payment, webhook=c.webhook))

    @control.post("/expire")
    def expire() -> Response:
        return on_payment(OnPayment, lambda payment, _: simulator.expire(payment))

    @control.post("/refund_status")
    def refund_status() -> Response:
        command = RefundMove.model_validate(_body())
        refund = simulator.refund_by(command.reference)
        if refund is None:
            raise MissingError(f"no refund with the reference {command.reference}")
        simulator.move_refund(refund, command.status, webhook=command.webhook)
        return _reply(_shown(_find(simulator, refund.tx_ref)))

    @control.post("/webhook")
    def webhook() -> Response:
        command = AnyEvent.model_validate(_body())
        payment = _find(simulator, command.tx_ref) if command.tx_ref else None
        version = command.version or (payment.version if payment else "v1")
        body = _event(simulator, command, payment, version)
        simulator.send_event(
            version,
            body,
            tx_ref=payment.tx_ref if payment else None,
            api_key=payment.api_key if payment else "",
            forged=None if command.signature == "genuine" else command.signature,
            delay=command.seconds,
        )
        return _reply({"body": body})

    def on_payment[C: OnPayment](kind: type[C], act: Callable[[Payment, C], object]) -> Response:
        command = kind.model_validate(_body())
        with simulator.lock:
            payment = _find(simulator, command.tx_ref)
            act(payment, command)
            return _reply(_shown(payment))


def _event(
    simulator: Simulator, command: AnyEvent, payment: Payment | None, version: Version
) -> dict[str, Any]:
    """The event's body; its status is the last part of the event's name."""
    status = command.event.partition(".")[2]
    if command.event.startswith("payout."):
        body = simulator.payout_body(command.event, status, version)
    elif payment is None:
        raise MissingError("an event about a payment needs its tx_ref")
    else:
        body = simulator.event_body(version, payment, command.event, status)
    return {**body, **command.overrides}


def _find(simulator: Simulator, tx_ref: str) -> Payment:
    if payment := simulator.find(tx_ref) or simulator.by_reference(tx_ref):
        return payment
    raise MissingError(f"no payment with the tx_ref {tx_ref}")


def _body() -> dict[str, Any]:
    body = request.get_json(force=True, silent=True)
    return body if isinstance(body, dict) else {"body": "is not a JSON object"}


def _reply(body: dict[str, Any], code: int = 200) -> Response:
    return Response(json.dumps(body), code, mimetype="application/json")


def _shown(payment: Payment) -> dict[str, Any]:
    return {
        "tx_ref": payment.tx_ref,
        "version": payment.version,
        "mode": payment.mode,
        "status": payment.status,
        "amount": two_places(payment.amount),
        "currency": payment.currency,
        "reference": payment.reference,
        "token": payment.token,
        "cancelled": payment.cancelled,
        "failures": payment.failures,
        "expires_at": moment(payment.expires_at),
        "callback_url": payment.callback_url,
        "return_url": payment.return_url,
        "customization": payment.customization,
        "meta": payment.meta,
        "refunds": [_shown_refund(refund) for refund in payment.refunds],
    }


def _shown_refund(refund: Refund) -> dict[str, Any]:
    return {
        "ref_id": refund.ref_id,
        "merchant_reference": refund.merchant_reference,
        "amount": two_places(refund.amount),
        "status": refund.status,
        "checks": refund.checks,
    }
