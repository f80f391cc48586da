"""The simulator as a Flask app."""

from flask import Flask, render_template

from sandbox.chapa import api, checkout, control_api
from sandbox.chapa.simulator import Simulator


def create_app(simulator: Simulator) -> Flask:
    """The API, the checkout page and the control API of one simulator."""
    app = Flask(__name__)
    # A dropped connection is an exception that Flask must not handle.
    app.config["PROPAGATE_EXCEPTIONS"] = True
    app.register_blueprint(api.blueprint(simulator))
    app.register_blueprint(checkout.blueprint(simulator))
    app.register_blueprint(control_api.blueprint(simulator))

    @app.get("/")
    def payments() -> str:
        """The newest payments first, each with a link to its checkout page."""
        with simulator.lock:
            return render_template(
                "payments.html", payments=[*reversed(simulator.payments.values())]
            )

    return app
