"""What one customer did and what the API responded, call by call."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

type Call = Literal["place", "place again", "initialize", "cancel", "order", "payment"]

GAVE_UP = "gave_up"
"""The customer's own code for a call without a response in a minute, as on an overloaded machine.
That is no finding: the customer must be able to repeat the call."""


@dataclass(frozen=True)
class LoggedCall:
    """One API call. Times are in seconds since the epoch; status 0 means no response."""

    call: Call
    began: float
    ended: float
    status: int
    body: Mapping[str, Any] = field(default_factory=dict)

    @property
    def code(self) -> str:
        """The code of a problem document, else empty."""
        return str(self.body.get("code", ""))

    @property
    def good(self) -> bool:
        return 200 <= self.status < 300


@dataclass
class CustomerLog:
    name: str
    """The customer's first name on the order."""
    user: str
    wants: str
    basket: Mapping[str, int]
    key: str | None = None
    """The Idempotency-Key, if the customer uses one."""
    calls: list[LoggedCall] = field(default_factory=list)
    pages: dict[str, str] = field(default_factory=dict)
    """The checkout URL of each payment received, by tx_ref."""
    paid: set[str] = field(default_factory=set)
    """Payments that the checkout page or the bank confirmed."""
    reversed: set[str] = field(default_factory=set)
    """Payments that the bank reversed; Chapa reported it to the shop."""
    refunded: set[str] = field(default_factory=set)
    """Payments that the operator refunded."""
    failures: list[str] = field(default_factory=list)
    """Steps that had to work and failed in every try."""

    @property
    def orders(self) -> set[str]:
        """Ids of the orders that the customer knows."""
        placed = (call for call in self.calls if call.call in {"place", "place again"})
        return {str(call.body["order_id"]) for call in placed if call.good}
