"""What one client of the shop did and was told, call by call, as the client wrote it down."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

type Call = Literal["place", "place again", "initialize", "cancel", "order", "payment"]


GAVE_UP = "gave_up"
"""The client's own code for a call that nobody answered for a minute, as on a machine that has too
much to do. It is no lie, and to ask again must be safe."""


@dataclass(frozen=True)
class Heard:
    """One answer. Times are on the clock of the machine; status 0 is no answer at all."""

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
class Story:
    name: str
    """Of the client, which the order bears as its customer's first name."""
    user: str
    wants: str
    basket: Mapping[str, int]
    key: str | None = None
    """The Idempotency-Key, if the client uses one."""
    heard: list[Heard] = field(default_factory=list)
    pages: dict[str, str] = field(default_factory=dict)
    """The address of the page of each payment that was handed out, by tx_ref."""
    paid: set[str] = field(default_factory=set)
    """The payments whose page, or bank, said that the money was taken."""
    taken_back: set[str] = field(default_factory=set)
    """Those that the bank reversed, and of which Chapa could tell the shop."""
    promised_back: set[str] = field(default_factory=set)
    """Those that the shop's operator said go back."""
    complaints: list[str] = field(default_factory=list)
    """What should have worked, and did not however often it was tried."""

    @property
    def orders(self) -> set[str]:
        """The ids of the orders that the client was told of."""
        placed = (heard for heard in self.heard if heard.call in {"place", "place again"})
        return {str(heard.body["order_id"]) for heard in placed if heard.good}
