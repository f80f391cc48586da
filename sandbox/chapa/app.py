"""The simulator as a Flask app."""

from flask import Flask

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
    return app
