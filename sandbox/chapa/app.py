"""The simulator as a Flask app."""

from flask import Flask, render_template

from sandbox.chapa import api, api_v1, api_v2, checkout, control_api
from sandbox.chapa.simulator import Simulator


def create_app(simulator: Simulator) -> Flask:
    """Both APIs, the checkout page and the control API of one simulator."""
    app = Flask(__name__)
    # A dropped connection is an exception that Flask must not handle.
    app.config["PROPAGATE_EXCEPTIONS"] = True
    app.register_blueprint(api.blueprint(simulator, api_v1.API))
    app.register_blueprint(api.blueprint(simulator, api_v2.API))
    app.register_blueprint(checkout.blueprint(simulator))
    app.register_blueprint(control_api.blueprint(simulator))

    @app.get("/")
    def payments() -> str:
        """The newest payments first, each with a link to its checkout page."""
        with simulator.lock:
            settings = simulator.settings
            payments = [(p, checkout.page_path(p, settings)) for p in simulator.payments.values()]
            return render_template("payments.html", payments=payments[::-1])

    return app
