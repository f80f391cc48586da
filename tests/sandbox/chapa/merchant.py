"""A shop that talks to the simulator, and the place where its webhooks arrive."""

import json
from typing import Any
from urllib.parse import urlsplit

import requests

from sandbox.chapa.control import Control
from sandbox.chapa.in_process import BASE_URL
from sandbox.chapa.outbox import Message

TEST_KEY = "CHASECK_TEST-abcdefgh12345678"
LIVE_KEY = "CHASECK-abcdefgh12345678"
SECRET = "a webhook secret"
WEBHOOK_URL = "http://shop.local/webhook"


class Merchant:
    def __init__(self, session: requests.Session, base_url: str = BASE_URL) -> None:
        self.session = session
        self.base_url = base_url

    def call(
        self, method: str, path: str, *, key: str = TEST_KEY, **kwargs: Any
    ) -> requests.Response:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        headers |= kwargs.pop("headers", {})
        url = f"{self.base_url}/v1{path}"
        return self.session.request(method, url, headers=headers, **{"timeout": 5, **kwargs})

    def initialize(
        self, tx_ref: str = "tx-1", *, key: str = TEST_KEY, **fields: Any
    ) -> requests.Response:
        body = {"amount": "100.00", "currency": "ETB", "tx_ref": tx_ref, **fields}
        return self.call("POST", "/transaction/initialize", key=key, json=body)

    def verify(self, tx_ref: str = "tx-1", *, key: str = TEST_KEY) -> requests.Response:
        return self.call("GET", f"/transaction/verify/{tx_ref}", key=key)

    def cancel(self, tx_ref: str = "tx-1", *, key: str = TEST_KEY) -> requests.Response:
        return self.call("PUT", f"/transaction/cancel/{tx_ref}", key=key)

    def refund(self, ref: str = "tx-1", **fields: Any) -> requests.Response:
        return self.call("POST", f"/refund/{ref}", data=fields)

    def refund_verify(self, ref_id: str) -> requests.Response:
        return self.call("GET", f"/refund/{ref_id}/verify")

    def checkout_path(self, tx_ref: str = "tx-1", **fields: Any) -> str:
        """Initialize, and the path of the page to pay on."""
        url: str = self.initialize(tx_ref, **fields).json()["data"]["checkout_url"]
        return urlsplit(url).path


class Inbox:
    """Takes webhooks and callbacks, and answers with `code`, or fails with `error`."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.code = 200
        self.error: OSError | None = None

    def __call__(self, message: Message, _timeout: float) -> int:
        self.messages.append(message)
        if self.error:
            raise self.error
        return self.code

    @property
    def webhooks(self) -> list[Message]:
        return [message for message in self.messages if message.call == "webhook"]

    @property
    def callbacks(self) -> list[Message]:
        return [message for message in self.messages if message.call == "callback"]

    @property
    def events(self) -> list[str]:
        return [json.loads(message.body)["event"] for message in self.webhooks]


def paid(merchant: Merchant, control: Control, tx_ref: str = "tx-1", **fields: Any) -> str:
    """A paid payment's Chapa reference."""
    assert merchant.initialize(tx_ref, **fields).status_code == 200
    return str(control.pay(tx_ref)["reference"])
