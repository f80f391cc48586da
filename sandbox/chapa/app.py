"""The simulator as a WSGI app."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, cast

from flask import Flask, render_template, request
from werkzeug.local import LocalProxy

from sandbox.chapa import api, api_v1, api_v2, checkout, control_api
from sandbox.chapa.simulator import Simulator

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

NAME = "chapa.simulator"


def create_app(simulator: Simulator) -> "WSGIApplication":
    """Both APIs, the checkout page and the control API of one simulator."""

    def app(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        environ[NAME] = simulator
        return FLASK(environ, start_response)

    return app


def _flask(simulator: Simulator) -> Flask:
    flask = Flask(__name__)
    # A dropped connection is an exception that Flask must not handle.
    flask.config["PROPAGATE_EXCEPTIONS"] = True
    flask.register_blueprint(api.blueprint(simulator, api_v1.API))
    flask.register_blueprint(api.blueprint(simulator, api_v2.API))
    flask.register_blueprint(checkout.blueprint(simulator))
    flask.register_blueprint(control_api.blueprint(simulator))

    @flask.get("/")
    def payments() -> str:
        """The newest payments first, each with a link to its checkout page."""
        with simulator.lock:
            settings = simulator.settings
            payments = [(p, checkout.page_path(p, settings)) for p in simulator.payments.values()]
            return render_template("payments.html", payments=payments[::-1])

    return flask


# One app serves every simulator: its routes take longer to build than most tests take.
FLASK = _flask(cast(Simulator, LocalProxy(lambda: request.environ[NAME])))
