"""A client for the simulator's control API."""

from typing import Any, Literal

import requests

from sandbox.chapa.faults import Call, Forgery, Kind
from sandbox.chapa.journal import Entry
from sandbox.chapa.simulator import RefundStatus

type Json = dict[str, Any]


class ControlError(Exception):
    """The simulator refused a command; the text says why."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code
        self.text = text


class Control:
    """Tells a simulator what to do. Methods that act on a payment return how it is afterwards."""

    def __init__(
        self, base_url: str, session: requests.Session | None = None, timeout: float = 10
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self._timeout = timeout
        self._session = session or requests.Session()
        # A proxy from the environment would not know a server on this machine.
        self._session.trust_env = False

    def settings(self) -> Json:
        return self._ask("GET", "settings")

    def set(self, **settings: Any) -> Json:
        """For example `set(retry_seconds=1, webhook_url=..., webhook_secret=...)`."""
        return self._ask("PUT", "settings", settings)

    def switch(self, **switches: str) -> Json:
        """For example `switch(verify_unpaid="pending")`."""
        return self._ask("PUT", "settings", {"switches": switches})

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
        """A fault for the next `times` calls, or until it is removed; its id."""
        told = {"call": call, "kind": kind, "tx_ref": tx_ref, "times": times, "chance": chance}
        told |= details
        return int(self._ask("POST", "faults", told)["id"])

    def faults(self) -> list[Json]:
        return list(self._ask("GET", "faults")["faults"])

    def used_faults(self) -> dict[tuple[str, str], int]:
        """How often each kind of each call was used since the last reset."""
        used = self._ask("GET", "faults")["used"]
        return {(each["call"], each["kind"]): int(each["times"]) for each in used}

    def remove_fault(self, number: int) -> None:
        self._ask("DELETE", f"faults/{number}")

    def clear_faults(self) -> None:
        self._ask("DELETE", "faults")

    def journal(self, call: Call | None = None, tx_ref: str | None = None) -> list[Entry]:
        wanted = {"call": call, "tx_ref": tx_ref}
        answer = self._ask("GET", "journal", params={k: v for k, v in wanted.items() if v})
        return [Entry(**entry) for entry in answer["entries"]]

    def clear_journal(self) -> None:
        self._ask("DELETE", "journal")

    def payments(self) -> list[Json]:
        return list(self._ask("GET", "payments")["payments"])

    def payment(self, tx_ref: str) -> Json:
        return self._ask("GET", f"payments/{tx_ref}")

    def begin(self, tx_ref: str) -> Json:
        return self._ask("POST", "begin", {"tx_ref": tx_ref})

    def pay(
        self,
        tx_ref: str,
        *,
        amount: str | None = None,
        currency: str | None = None,
        late: bool = False,
        webhook: bool = True,
    ) -> Json:
        """`late`: the money comes although the link is closed."""
        told = {"tx_ref": tx_ref, "late": late, "webhook": webhook}
        return self._ask("POST", "pay", {**told, "amount": amount, "currency": currency})

    def fail(self, tx_ref: str, *, webhook: bool = True) -> Json:
        return self._ask("POST", "fail", {"tx_ref": tx_ref, "webhook": webhook})

    def cancel(self, tx_ref: str, *, webhook: bool = True) -> Json:
        return self._ask("POST", "cancel", {"tx_ref": tx_ref, "webhook": webhook})

    def expire(self, tx_ref: str) -> Json:
        return self._ask("POST", "expire", {"tx_ref": tx_ref})

    def reverse(self, tx_ref: str, *, webhook: bool = True) -> Json:
        return self._ask("POST", "reverse", {"tx_ref": tx_ref, "webhook": webhook})

    def refund_status(self, reference: str, status: RefundStatus, *, webhook: bool = True) -> Json:
        """`reference` is Chapa's handle of the refund, or our own."""
        told = {"reference": reference, "status": status, "webhook": webhook}
        return self._ask("POST", "refund_status", told)

    def webhook(
        self,
        event: str,
        tx_ref: str | None = None,
        *,
        overrides: Json | None = None,
        signature: Forgery | Literal["genuine"] = "genuine",
        seconds: float = 0,
    ) -> Json:
        """Send any event; the body that is sent."""
        told = {"event": event, "tx_ref": tx_ref, "overrides": overrides or {}}
        answer = self._ask("POST", "webhook", {**told, "signature": signature, "seconds": seconds})
        return dict(answer["body"])

    def refuse(self, seconds: float) -> None:
        """Connections are refused from now on for so long, the control API's too."""
        self._ask("POST", "refuse", {"seconds": seconds})

    def answers(self) -> bool:
        """Whether anybody listens there."""
        try:
            self.settings()
        except requests.ConnectionError:
            return False
        return True

    def reset(self) -> None:
        self._ask("POST", "reset")

    def _ask(
        self,
        method: str,
        path: str,
        body: Json | None = None,
        params: dict[str, str] | None = None,
    ) -> Json:
        answer = self._session.request(
            method,
            f"{self.base_url}/_control/{path}",
            json=body,
            params=params,
            timeout=self._timeout,
        )
        if not answer.ok:
            try:
                text = answer.json()["error"]
            except (ValueError, KeyError):
                text = answer.text
            raise ControlError(answer.status_code, text)
        return dict(answer.json())
