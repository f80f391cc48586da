"""Builders: the client, the records that it is asked about, and recorded answers of Chapa."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

import responses
from requests import PreparedRequest

from payments.aws.secrets import SecretStore
from payments.chapa.calls import READ_RETRIES
from payments.chapa.v1 import ChapaV1
from payments.chapa.v2 import ChapaV2
from payments.domain.answers import Said, Verification
from payments.domain.records import Order, Payment, Refund
from payments.errors import ProviderError, ProviderFailed, ProviderRejected, ProviderUnavailable
from payments.settings import Settings
from tests.environment import SETTINGS

KEY = "CHASECK_TEST-0123456789abcdef"
CHAPA = "https://api.chapa.co/v1"
ORDER_ID = "abcdefghijkl"
TX_REF = f"{ORDER_ID}mnopqrst"
REFUND_ID = f"{ORDER_ID}uvwxyz23"
PLENTY = 27.0
TRIES = READ_RETRIES + 1
CUSTOMER = {
    "first_name": "አበበ",
    "last_name": "Bikila",
    "email": "abebe@shop.example",
    "phone_number": "0911234567",
}
ORDER = Order(ORDER_ID, "abebe", 150_050, "ETB", (), 0, 1_800, "hash")
PAYMENT = Payment(TX_REF, "chapa-v1", 150_050, "ETB", 0, provider_reference="AP1")
REFUND = Refund(REFUND_ID, TX_REF, 150_050, "ETB", 0, provider_refund_id="R1")

CHECKOUT_URL = "https://checkout.chapa.co/checkout/payment/token"
OPENED = {"message": "Hosted Link", "status": "success", "data": {"checkout_url": CHECKOUT_URL}}
DETAILS = json.loads(f"""{{
  "first_name": "Abebe", "last_name": null, "email": "abebe@shop.example", "currency": "ETB",
  "amount": 1500.5, "charge": 52.52, "mode": "test", "method": "telebirr", "type": "API",
  "status": "success", "reference": "APezQ1KKswbb", "tx_ref": "{TX_REF}",
  "customization": {{"title": "Shop", "description": null, "logo": null}}, "meta": null,
  "created_at": "2026-11-22T09:00:00.000000Z", "updated_at": "2026-11-22T09:00:00.000000Z"
}}""")

ACTS = ("open", "refund", "cancel")
ROUTES = {
    "open": ("POST", "transaction/initialize"),
    "verify": ("GET", f"transaction/verify/{TX_REF}"),
    "cancel": ("PUT", f"transaction/cancel/{TX_REF}"),
    "refund": ("POST", "refund/AP1"),
    "verify_refund": ("GET", "refund/R1/verify"),
}

PAID = Verification(Said.PAID, TX_REF, 150_050, "ETB", "test", "APezQ1KKswbb", "success", 5_252)
NOT_PAID = Verification(Said.NOT_PAID, status="not paid yet")
UNKNOWN = Verification(Said.UNKNOWN)

NOT_DONE = (ProviderFailed, False)
UNCERTAIN = (ProviderFailed, True)
REFUSED = (ProviderRejected, False)
NOT_REACHED = (ProviderUnavailable, False)
BROKEN = (ProviderUnavailable, True)


def details(**changes: object) -> dict[str, Any]:
    """Verify's answer for a paid payment."""
    return {"message": "Payment details", "status": "success", "data": DETAILS | changes}


def failed(message: object = "Something went wrong", **changes: object) -> dict[str, Any]:
    return {"message": message, "status": "failed", "data": None} | changes


class Api:
    """A client of Chapa's API, with a clock, and a secret whose key can be changed."""

    make: type[ChapaV1 | ChapaV2] = ChapaV1
    first_key = KEY

    def __init__(self, url: str = CHAPA, **settings: str) -> None:
        self.key = self.first_key
        self.seconds = 1_000.0
        environment = SETTINGS | {"CHAPA_URL": url, "CHAPA_URL_OTHER": ""}
        environment |= {k.upper(): v for k, v in settings.items()}
        secrets = SecretStore(cast("Any", self), "chapa", url, clock=self._clock)
        self.client = self.make(Settings.from_environment(environment), secrets, self._clock)
        self.customer: Mapping[str, str] = {}
        self.payment = PAYMENT
        self.refund = REFUND

    def get_secret_value(self, **_: object) -> dict[str, str]:
        """In the place of Secrets Manager."""
        return {"SecretString": json.dumps({"api_key": self.key, "webhook_secret": "secret"})}

    def _clock(self) -> float:
        return self.seconds

    def ask(self, call: str, time_left: float = PLENTY) -> Any:
        """One call by its name."""
        match call:
            case "open":
                order = replace(ORDER, customer=self.customer)
                return self.client.open(order, self.payment, time_left).checkout_url
            case "refund":
                return self.client.refund(self.payment, self.refund, time_left)
            case "verify_refund":
                return self.client.verify_refund(self.refund, time_left)
            case _:
                return getattr(self.client, call)(self.payment, time_left)

    def outcome(self, call: str, time_left: float = PLENTY) -> Any:
        """What a call returns, or its error and whether Chapa may have acted."""
        try:
            return self.ask(call, time_left)
        except ProviderError as error:
            return type(error), error.may_have_acted


class Net(responses.RequestsMock):
    """A network on which only the recorded answers exist."""

    def answer(self, call: str, code: int = 200, body: Any = None, **more: Any) -> None:
        """Answer each such call with JSON, or with a body as it is."""
        method, path = ROUTES[call]
        kind = "body" if isinstance(body, str | bytes | Exception) else "json"
        self.add(method, f"{CHAPA}/{path}", status=code, **{kind: body}, **more)

    @property
    def sent(self) -> list[PreparedRequest]:
        return [call.request for call in self.calls]

    @property
    def bodies(self) -> list[Any]:
        return [json.loads(request.body or "null") for request in self.sent]

    @property
    def waits(self) -> list[float]:
        """For each request, how long it could have taken at most."""
        return [cast("Any", request).req_kwargs["timeout"].total for request in self.sent]
