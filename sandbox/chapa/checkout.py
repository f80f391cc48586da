"""The hosted page with buttons to pay, to fail and to cancel."""

from flask import Blueprint, Response, make_response, redirect, render_template, request
from werkzeug.wrappers import Response as AnyResponse

from sandbox.chapa.records import Payment
from sandbox.chapa.settings import Settings
from sandbox.chapa.simulator import WIRES, NotNowError, Simulator

NO_LINK = ("This link does not exist", "Ask the shop for a new one.")
CLOSED = {
    "paid": ("Payment received", "Thank you. You can close this page."),
    "cancelled": ("Payment cancelled", "This link can no longer be paid."),
    "expired": ("This link has expired", "It can no longer be paid. Ask the shop for a new one."),
    "failed too often": ("Too many attempts", "This link can no longer be paid."),
}

V1, HOSTED, TEST_HOSTED, SHORT = (
    "/checkout/payment/",
    "/payment/hosted/",
    "/test/payment/hosted/",
    "/payment/",
)


def page_path(payment: Payment, settings: Settings) -> str:
    if payment.version == "v1":
        return V1 + payment.token
    if settings.switches_v2.checkout_path == "payment":
        return SHORT + payment.token
    return (TEST_HOSTED if payment.mode == "test" else HOSTED) + payment.token


def page_url(payment: Payment, settings: Settings) -> str:
    """The address of a payment's page on the host that this request came to."""
    return request.host_url.rstrip("/") + page_path(payment, settings)


def blueprint(simulator: Simulator) -> Blueprint:
    checkout = Blueprint("checkout", __name__)

    def page(token: str) -> Response:
        payment = simulator.by_token(token)
        return shown(simulator, payment, 200 if payment else 404)

    def act(token: str) -> AnyResponse:
        payment = simulator.by_token(token)
        if payment is None:
            return shown(simulator, None, 404)
        action = request.form.get("action")
        try:
            match action:
                case "pay" if not payment.paid:
                    simulator.pay(payment)
                case "pay":
                    # A second click changes nothing.
                    pass
                case "fail":
                    simulator.fail(payment)
                case "cancel":
                    simulator.cancel(payment)
                case _:
                    return shown(simulator, payment, 400)
        except NotNowError:
            return shown(simulator, payment, 409)
        return redirect(return_address(simulator, payment), 303)

    for prefix in (V1, HOSTED, TEST_HOSTED, SHORT):
        checkout.add_url_rule(f"{prefix}<token>", f"page {prefix}", page)
        checkout.add_url_rule(f"{prefix}<token>", f"act {prefix}", act, methods=["POST"])
    return checkout


def return_address(simulator: Simulator, payment: Payment) -> str:
    """The shop's return_url; without one, this page, which shows the outcome."""
    if payment.return_url is None:
        return page_path(payment, simulator.settings)
    wire = WIRES[payment.version]
    return wire.return_url(payment, payment.return_url, simulator.settings)


def shown(simulator: Simulator, payment: Payment | None, code: int) -> Response:
    closed = simulator.closed(payment) if payment else None
    outcome = CLOSED[closed] if closed else None
    page = render_template(
        "checkout.html",
        payment=payment,
        outcome=outcome if payment else NO_LINK,
        paid=closed == "paid",
        failed=payment is not None and closed is None and payment.status == "failed",
    )
    response = make_response(page, code)
    response.headers["Cache-Control"] = "no-store"
    return response
