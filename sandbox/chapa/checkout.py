"""The hosted page with buttons to pay, to fail and to cancel."""

from flask import Blueprint, Response, make_response, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from sandbox.chapa.simulator import FAILED, NotNowError, Payment, Simulator, with_query

NO_LINK = ("This link does not exist", "Ask the shop for a new one.")
CLOSED = {
    "paid": ("Payment received", "Thank you. You can close this page."),
    "cancelled": ("Payment cancelled", "This link can no longer be paid."),
    "expired": ("This link has expired", "It can no longer be paid. Ask the shop for a new one."),
    "failed too often": ("Too many attempts", "This link can no longer be paid."),
}


def blueprint(simulator: Simulator) -> Blueprint:
    checkout = Blueprint("checkout", __name__, url_prefix="/checkout/payment")

    @checkout.get("/<token>")
    def page(token: str) -> Response:
        payment = simulator.by_token(token)
        return shown(simulator, payment, 200 if payment else 404)

    @checkout.post("/<token>")
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

    return checkout


def return_address(simulator: Simulator, payment: Payment) -> str:
    """The shop's return_url; without one, this page, which shows the outcome."""
    if payment.return_url is None:
        return url_for("checkout.page", token=payment.token)
    if simulator.settings.switches.return_url == "unchanged":
        return payment.return_url
    status = FAILED if payment.status == "failed" else payment.status
    return with_query(
        payment.return_url,
        {"trx_ref": payment.tx_ref, "ref_id": payment.reference, "status": status},
    )


def shown(simulator: Simulator, payment: Payment | None, code: int) -> Response:
    closed = payment.closed(simulator.clock()) if payment else None
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
