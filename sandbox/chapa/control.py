"""A client for the simulator's control API."""

from typing import Any, Literal

import requests

from sandbox.chapa.faults import Call, Forgery, Kind
from sandbox.chapa.journal import Entry
from sandbox.chapa.records import RefundStatus, Version

type Json = dict[str, Any]


class ControlError(Exception):
    """The simulator refused a command; `text` is its reason."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code
        self.text = text


class Control:
    """A client. Methods that change a payment return the payment afterwards."""

    def __init__(
        self, base_url: str, session: requests.Session | None = None, timeout: float = 10
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self._timeout = timeout
        self._session = session or requests.Session()
        # A proxy from the environment cannot reach a server on this machine.
        self._session.trust_env = False

    def settings(self) -> Json:
        return self._request("GET", "settings")

    def set(self, **settings: Any) -> Json:
        """For example `set(retry_seconds=1, webhook_url=..., webhook_secret=...)`."""
        return self._request("PUT", "settings", settings)

    def switch(self, **switches: str) -> Json:
        """For example `switch(verify_unpaid="pending")`."""
        return self._request("PUT", "settings", {"switches": switches})

    def switch_v2(self, **switches: str) -> Json:
        """For example `switch_v2(link_end="payable")`."""
        return self._request("PUT", "settings", {"switches_v2": switches})

    def add_fault(
        self,
        call: Call,
        kind: Kind,
        *,
        tx_ref: str | None = None,
        times: int | None = 1,
        chance: float = 1,
        **details: Any,
    ) -> int:
        """Returns the fault's id. `times=None` keeps the fault until it is removed."""
        fault = {"call": call, "kind": kind, "tx_ref": tx_ref, "times": times, "chance": chance}
        return int(self._request("POST", "faults", fault | details)["id"])

    def faults(self) -> list[Json]:
        return list(self._request("GET", "faults")["faults"])

    def used_faults(self) -> dict[tuple[str, str], int]:
        """How often each kind of each call was used since the last reset."""
        used = self._request("GET", "faults")["used"]
        return {(each["call"], each["kind"]): int(each["times"]) for each in used}

    def remove_fault(self, number: int) -> None:
        self._request("DELETE", f"faults/{number}")

    def clear_faults(self) -> None:
        self._request("DELETE", "faults")

    def journal(self, call: Call | None = None, tx_ref: str | None = None) -> list[Entry]:
        wanted = {"call": call, "tx_ref": tx_ref}
        found = self._request("GET", "journal", params={k: v for k, v in wanted.items() if v})
        return [Entry(**entry) for entry in found["entries"]]

    def clear_journal(self) -> None:
        self._request("DELETE", "journal")

    def payments(self) -> list[Json]:
        return list(self._request("GET", "payments")["payments"])

    def payment(self, tx_ref: str) -> Json:
        return self._request("GET", f"payments/{tx_ref}")

    def begin(self, tx_ref: str) -> Json:
        return self._request("POST", "begin", {"tx_ref": tx_ref})

    def pay(
        self,
        tx_ref: str,
        *,
        amount: str | None = None,
        currency: str | None = None,
        late: bool = False,
        webhook: bool = True,
    ) -> Json:
        """With `late` it is paid even if the link is closed."""
        flags = {"tx_ref": tx_ref, "late": late, "webhook": webhook}
        return self._request("POST", "pay", {**flags, "amount": amount, "currency": currency})

    def fail(self, tx_ref: str, *, webhook: bool = True) -> Json:
        return self._request("POST", "fail", {"tx_ref": tx_ref, "webhook": webhook})

    def cancel(self, tx_ref: str, *, webhook: bool = True) -> Json:
        return self._request("POST", "cancel", {"tx_ref": tx_ref, "webhook": webhook})

    def expire(self, tx_ref: str) -> Json:
        return self._request("POST", "expire", {"tx_ref": tx_ref})

    def reverse(self, tx_ref: str, *, webhook: bool = True) -> Json:
        return self._request("POST", "reverse", {"tx_ref": tx_ref, "webhook": webhook})

    def refund_status(self, reference: str, status: RefundStatus, *, webhook: bool = True) -> Json:
        """`reference` is Chapa's `ref_id` of the refund or the merchant's reference."""
        change = {"reference": reference, "status": status, "webhook": webhook}
        return self._request("POST", "refund_status", change)

    def webhook(
        self,
        event: str,
        tx_ref: str | None = None,
        *,
        overrides: Json | None = None,
        signature: Forgery | Literal["genuine"] = "genuine",
        seconds: float = 0,
        version: Version | None = None,
    ) -> Json:
        """Send any event; returns its body. Without `version` it is the payment's."""
        command = {
            "event": event,
            "tx_ref": tx_ref,
            "overrides": overrides or {},
            "signature": signature,
            "seconds": seconds,
            "version": version,
        }
        return dict(self._request("POST", "webhook", command)["body"])

    def refuse(self, seconds: float) -> None:
        """Refuse all connections for so many seconds, those to the control API too."""
        self._request("POST", "refuse", {"seconds": seconds})

    def answers(self) -> bool:
        """Whether the simulator accepts connections."""
        try:
            self.settings()
        except requests.ConnectionError:
            return False
        return True

    def reset(self) -> None:
        self._request("POST", "reset")

    def _request(
        self,
        method: str,
        path: str,
        body: Json | None = None,
        params: dict[str, str] | None = None,
    ) -> Json:
        response = self._session.request(
            method,
            f"{self.base_url}/_control/{path}",
            json=body,
            params=params,
            timeout=self._timeout,
        )
        if not response.ok:
            try:
                text = response.json()["error"]
            except (ValueError, KeyError):
                text = response.text
            raise ControlError(response.status_code, text)
        return dict(response.json())
