"""Injected faults: which calls go wrong, how, and how often."""

import itertools
import random
import threading
from collections import Counter
from collections.abc import Collection
from decimal import Decimal
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, model_validator

type Call = Literal[
    "initialize",
    "verify",
    "cancel",
    "refund",
    "refund_verify",
    "list",
    "refund_list",
    "timeline",
    "banks",
    "currencies",
    "webhook",
    "callback",
]
type Forgery = Literal["random", "constant", "api_key", "uppercase", "other_body", "missing"]
type Kind = Literal[
    "timeout_before",
    "timeout_after",
    "reset",
    "reset_after",
    "status",
    "html",
    "malformed",
    "slow",
    "wrong_amount",
    "wrong_currency",
    "wrong_mode",
    "wrong_tx_ref",
    "says",
    "lost",
    "doubled",
    "delayed",
    "early",
    "failed_first",
    "out_of_order",
    "forged",
]

DETAILS: dict[Kind, set[str]] = {
    "timeout_before": {"seconds"},
    "timeout_after": {"seconds"},
    "reset": set(),
    "reset_after": set(),
    "status": {"status", "retry_after", "acts"},
    "html": {"status", "acts"},
    "malformed": {"acts"},
    "slow": {"seconds"},
    "wrong_amount": {"amount"},
    "wrong_currency": {"currency"},
    "wrong_mode": set(),
    "wrong_tx_ref": {"value"},
    "says": {"word"},
    "lost": set(),
    "doubled": {"n"},
    "delayed": {"seconds"},
    "early": {"n", "seconds"},
    "failed_first": set(),
    "out_of_order": {"seconds"},
    "forged": {"signature"},
}
"""The fields that each kind takes besides `COMMON`."""

ANSWER: tuple[Kind, ...] = (
    "timeout_before",
    "timeout_after",
    "reset",
    "reset_after",
    "status",
    "html",
    "malformed",
    "slow",
)
WRONG: tuple[Kind, ...] = ("wrong_amount", "wrong_currency", "wrong_mode", "wrong_tx_ref")
SUCCESS_ONLY: tuple[Kind, ...] = ("early", "failed_first", "out_of_order")
WEBHOOK: tuple[Kind, ...] = ("lost", "doubled", "delayed", "forged")
CALLBACK: tuple[Kind, ...] = ("lost", "doubled", "delayed")
ACTS_FIRST: tuple[Kind, ...] = ("timeout_after", "reset_after", "malformed", "slow")


def kinds_of(call: Call) -> tuple[Kind, ...]:
    match call:
        case "webhook":
            return WEBHOOK + SUCCESS_ONLY
        case "callback":
            return CALLBACK
        case "verify":
            return (*ANSWER, *WRONG, "says")
        case _:
            return ANSWER


COMMON = {"call", "kind", "tx_ref", "times", "chance"}
"""The fields that every kind takes."""


class Fault(BaseModel):
    """One rule: the next `times` calls go wrong as `kind` says; null: until it is removed.

    `chance` is the share of matching calls that go wrong; a spared call does not count in `times`.
    """

    model_config = ConfigDict(extra="forbid")

    call: Call
    kind: Kind
    tx_ref: str | None = None
    times: PositiveInt | None = 1
    chance: float = Field(default=1, gt=0, le=1)
    seconds: float = Field(default=30, ge=0, le=600)
    status: int = Field(default=502, ge=200, le=599)
    retry_after: int | None = Field(default=None, ge=0)
    acts: bool | None = None
    amount: Decimal = Decimal("1.00")
    currency: str = "USD"
    value: str = "somebody-elses-tx-ref"
    word: str | None = "nonsense"
    n: PositiveInt = 2
    signature: Forgery = "random"

    @model_validator(mode="after")
    def _details_belong_to_the_kind(self) -> Self:
        if self.kind not in kinds_of(self.call):
            raise ValueError(f"{self.call} cannot have the fault {self.kind}")
        unknown = self.model_fields_set - DETAILS[self.kind] - COMMON
        if unknown:
            raise ValueError(f"{self.kind} takes no {', '.join(sorted(unknown))}")
        return self

    @property
    def acts_first(self) -> bool:
        """Whether the call takes effect before it goes wrong."""
        return self.acts if self.acts is not None else self.kind in ACTS_FIRST

    def shown(self) -> dict[str, object]:
        return self.model_dump(mode="json", include=COMMON | DETAILS[self.kind])


class Faults:
    """The active rules, oldest first, and how often each kind was used."""

    def __init__(self, rng: random.Random) -> None:
        self._random = rng
        self._used: Counter[tuple[Call, Kind]] = Counter()
        self._lock = threading.Lock()
        self._ids = itertools.count(1)
        self._rules: dict[int, Fault] = {}

    def add(self, fault: Fault) -> int:
        with self._lock:
            number = next(self._ids)
            self._rules[number] = fault
            return number

    def remove(self, number: int) -> bool:
        with self._lock:
            return self._rules.pop(number, None) is not None

    def clear(self) -> None:
        with self._lock:
            self._rules.clear()

    def take(self, call: Call, tx_ref: str | None, kinds: Collection[Kind]) -> Fault | None:
        """The oldest matching rule whose chance hits; uses up one of its `times`."""
        with self._lock:
            for number, fault in self._rules.items():
                if fault.call != call or fault.kind not in kinds:
                    continue
                if fault.tx_ref is not None and fault.tx_ref != tx_ref:
                    continue
                if fault.chance < 1 and self._random.random() >= fault.chance:
                    continue
                self._used[call, fault.kind] += 1
                if fault.times == 1:
                    del self._rules[number]
                elif fault.times is not None:
                    self._rules[number] = fault.model_copy(update={"times": fault.times - 1})
                return fault
            return None

    def shown(self) -> list[dict[str, object]]:
        with self._lock:
            return [{"id": number, **fault.shown()} for number, fault in self._rules.items()]

    def used(self) -> list[dict[str, object]]:
        """How often each kind was used since `forget`, removed rules included."""
        with self._lock:
            return [
                {"call": call, "kind": kind, "times": times}
                for (call, kind), times in sorted(self._used.items())
            ]

    def forget(self) -> None:
        with self._lock:
            self._rules.clear()
            self._used.clear()


class DroppedError(ConnectionError):
    """Close the connection without a response, with a TCP reset or after it was held.

    It is a ConnectionError because the WSGI server does not log those.
    """

    def __init__(self, *, reset: bool) -> None:
        super().__init__("reset" if reset else "held, then closed")
        self.reset = reset
