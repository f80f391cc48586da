"""A merchant that calls the simulator, over HTTP or in this process."""

import json
import random
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import requests

from sandbox.chapa.control import Control
from sandbox.chapa.in_process import BASE_URL, ManualClock, session_for
from sandbox.chapa.outbox import Message
from sandbox.chapa.settings import Settings
from sandbox.chapa.simulator import Simulator

TEST_KEY = "CHASECK_TEST-abcdefgh12345678"
LIVE_KEY = "CHASECK-abcdefgh12345678"
V2_KEY = "CHAPA_TEST_PRIV_abcdefgh12345678"
V2_LIVE_KEY = "CHAPA_LIVE_PRIV_abcdefgh12345678"
SECRET = "a webhook secret"
V2_SECRET = "another webhook secret"


class Merchant:
    def __init__(self, session: requests.Session, base_url: str = BASE_URL) -> None:
        self.session = session
        self.base_url = base_url
        self.control = Control(base_url, session)
        self.v2 = MerchantV2(self)

    def call(
        self, method: str, path: str, *, key: str = TEST_KEY, version: str = "v1", **kwargs: Any
    ) -> requests.Response:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        headers |= kwargs.pop("headers", {})
        url = f"{self.base_url}/{version}{path}"
        return self.session.request(method, url, headers=headers, **{"timeout": 5, **kwargs})

    def initialize(
        self, tx_ref: str = "tx-1", *, key: str = TEST_KEY, **fields: Any
    ) -> requests.Response:
        body = {"amount": "100.00", "currency": "ETB", "tx_ref": tx_ref, **fields}
        return self.call("POST", "/transaction/initialize", key=key, json=body)

    def verify(self, tx_ref: str = "tx-1", *, key: str = TEST_KEY) -> requests.Response:
        return self.call("GET", f"/transaction/verify/{tx_ref}", key=key)

    def status(self, tx_ref: str = "tx-1") -> str:
        """The payment's status in verify."""
        return str(self.verify(tx_ref).json()["data"]["status"])

    def cancel(self, tx_ref: str = "tx-1", *, key: str = TEST_KEY) -> requests.Response:
        return self.call("PUT", f"/transaction/cancel/{tx_ref}", key=key)

    def refund(self, ref: str = "tx-1", **fields: Any) -> requests.Response:
        return self.call("POST", f"/refund/{ref}", data=fields)

    def refund_verify(self, ref_id: str) -> requests.Response:
        return self.call("GET", f"/refund/{ref_id}/verify")

    def checkout_path(self, tx_ref: str = "tx-1", **fields: Any) -> str:
        """Initialize a payment; returns the path of its checkout page."""
        url: str = self.initialize(tx_ref, **fields).json()["data"]["checkout_url"]
        return urlsplit(url).path

    def paid(self, tx_ref: str = "tx-1", **fields: Any) -> str:
        """Initialize a payment and pay it; returns its Chapa reference."""
        assert self.initialize(tx_ref, **fields).status_code == 200
        return str(self.control.pay(tx_ref)["reference"])


class MerchantV2:
    """The calls of v2."""

    def __init__(self, merchant: Merchant) -> None:
        self._merchant = merchant

    def call(
        self, method: str, path: str, *, key: str = V2_KEY, **kwargs: Any
    ) -> requests.Response:
        return self._merchant.call(method, path, version="v2", key=key, **kwargs)

    def open(
        self,
        reference: str = "ref-1",
        *,
        key: str = V2_KEY,
        headers: dict[str, str] | None = None,
        **fields: Any,
    ) -> requests.Response:
        body = {"amount": 10_000, "currency": "ETB", "merchant_reference": reference, **fields}
        return self.call("POST", "/payments/hosted", key=key, json=body, headers=headers or {})

    def checkout_path(self, reference: str = "ref-1", **fields: Any) -> str:
        url: str = self.open(reference, **fields).json()["data"]["checkout_url"]
        return urlsplit(url).path

    def paid(self, reference: str = "ref-1", **fields: Any) -> str:
        """Open a payment and pay it; returns its Chapa reference."""
        assert self.open(reference, **fields).status_code == 200
        return str(self._merchant.control.pay(reference)["reference"])

    def verify(self, reference: str = "ref-1", *, key: str = V2_KEY) -> requests.Response:
        return self.call("GET", f"/payments/{reference}/verify", key=key)

    def data(self, reference: str = "ref-1") -> dict[str, Any]:
        return dict(self.verify(reference).json()["data"])

    def listed(self, path: str = "/payments", **params: Any) -> dict[str, Any]:
        response = self.call("GET", path, params=params)
        assert response.status_code == 200
        return dict(response.json()["data"])

    def refund(self, reference: str, **fields: Any) -> requests.Response:
        return self.call("POST", "/refunds", json={"payment_reference": reference, **fields})

    def refund_verify(self, reference: str) -> requests.Response:
        return self.call("GET", f"/refunds/{reference}/verify")


class LocalMerchant(Merchant):
    """A merchant with its own simulator; `respond` answers webhooks and callbacks."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.respond: Callable[[], int] = lambda: 200
        self.messages: list[Message] = []
        self.simulator = Simulator(
            Settings(
                webhook_url="http://shop.local/webhook",
                webhook_secret=SECRET,
                webhook_secret_v2=V2_SECRET,
            ),
            clock=self.clock,
            rng=random.Random(7),
            send=self._receive,
            hold=self.clock.advance,
        )
        super().__init__(session_for(self.simulator))

    def _receive(self, message: Message, _timeout: float) -> int:
        self.messages.append(message)
        return self.respond()

    def deliver(self) -> list[int | None]:
        return self.simulator.outbox.deliver_due()

    @property
    def webhooks(self) -> list[Message]:
        return [message for message in self.messages if message.call == "webhook"]

    @property
    def callbacks(self) -> list[Message]:
        return [message for message in self.messages if message.call == "callback"]

    @property
    def bodies(self) -> list[dict[str, Any]]:
        """Bodies of the webhooks received."""
        return [json.loads(message.body) for message in self.webhooks]

    @property
    def events(self) -> list[str]:
        """Names of the events received."""
        return [body["event"] for body in self.bodies]
