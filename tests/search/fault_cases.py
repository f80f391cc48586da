"""Every fault of the Chapa simulator, and what it means for the caller.

The meanings are written down here and not read from the product, because they judge the product.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, get_args

from sandbox.chapa.faults import WRONG, Call, Fault, Forgery, Kind, kinds_of
from sandbox.chapa.records import Version

ACTS: tuple[Call, ...] = ("initialize", "cancel", "refund")
QUESTIONS: tuple[Call, ...] = ("verify", "list", "refund_verify")
AFTER_ACTING = " after acting"
IN_TIME, TOO_SLOW = 5, 30
"""Seconds. No function waits for a response as long as the second."""


class Means(Enum):
    NOTHING = "the right answer comes all the same"
    # Of an act:
    NOT_DONE = "Chapa certainly did nothing"
    REFUSED = "Chapa refuses what we sent"
    PERHAPS = "Chapa may have acted"
    NOT_OPEN = "Chapa says that no page is open any more"
    # Of a question:
    NO_ANSWER = "Chapa gives no usable answer"
    LISTED = "Chapa's list may give the right answer"
    DENIED = "Chapa says: not paid yet"
    PENDING = "Chapa says: pending"
    FAILED = "Chapa says: failed"
    BELIEVED = "Chapa says: paid"
    MONEY_BACK = "Chapa says: the money went back"
    UNTRUE = "the answer is about something else"
    # Of a webhook:
    DELIVERED = "a webhook comes, once or more, now or later"
    NEVER = "no valid webhook comes"


SAYS: Mapping[Version, Mapping[str | None, Means]] = {
    "v1": {
        "nonsense": Means.NO_ANSWER,
        None: Means.DENIED,
        "404": Means.DENIED,
        "pending": Means.PENDING,
        "failed/cancelled": Means.FAILED,
        "success": Means.BELIEVED,
        "refunded": Means.MONEY_BACK,
        "reversed": Means.MONEY_BACK,
    },
    "v2": {
        "nonsense": Means.NO_ANSWER,
        None: Means.NO_ANSWER,
        "404": Means.NOTHING,
        "pending": Means.PENDING,
        "failed": Means.FAILED,
        "incomplete": Means.FAILED,
        "success": Means.BELIEVED,
        "refunded": Means.MONEY_BACK,
        "reversed": Means.MONEY_BACK,
    },
}
"""What verify says. v2 is asked by another reference when it does not know one."""

STATUSES = (400, 401, 404, 422, 429, 500, 502, 503, 504)

VARIANTS: Mapping[Kind, list[dict[str, Any]]] = {
    "timeout_before": [{}],
    "timeout_after": [{}],
    "reset": [{}],
    "reset_after": [{}],
    "status": [{"status": code} for code in STATUSES]
    + [{"status": code, "retry_after": 86_400} for code in (429, 503)],
    "html": [{"status": code} for code in (200, 404, 502)],
    "malformed": [{}],
    "slow": [{"seconds": IN_TIME}, {"seconds": TOO_SLOW}],
    "wrong_amount": [{"amount": "0.50"}],
    "wrong_currency": [{}],
    "wrong_mode": [{}],
    "wrong_tx_ref": [{}],
    "lost": [{}],
    "doubled": [{"n": 2}, {"n": 5}],
    "delayed": [{"seconds": 30}, {"seconds": 600}],
    "forged": [{"signature": signature} for signature in get_args(Forgery.__value__)],
    "early": [{"n": 2}, {"seconds": 300}],
    "failed_first": [{}],
    "out_of_order": [{"seconds": 0}, {"seconds": 600}],
}


@dataclass(frozen=True)
class Case:
    """One fault of a call, under a unique name; `kind` None refuses the connection."""

    call: Call
    kind: Kind | None
    details: Mapping[str, Any]
    version: Version = "v1"

    def fault(self, times: int | None) -> Fault:
        assert self.kind is not None
        return Fault(call=self.call, kind=self.kind, times=times, **self.details)

    @property
    def name(self) -> str:
        if self.kind is None:
            return "refused"
        words: list[str] = [] if self.kind == "status" else [self.kind]
        for name, value in self.details.items():
            match name:
                case "status" | "signature":
                    words.append(str(value))
                case "retry_after":
                    words.append("for a day")
                case "word":
                    words.append(json.dumps(value))
                case "seconds":
                    words.append(f"{value} s")
                case "n":
                    words.append(f"times {value}")
        return " ".join(words) + (AFTER_ACTING if self.details.get("acts") else "")

    @property
    def means(self) -> Means:
        if self.call not in ACTS + QUESTIONS:
            return Means.NEVER if self.kind in {"lost", "forged"} else Means.DELIVERED
        if self.kind == "slow" and self.details["seconds"] == IN_TIME:
            return Means.NOTHING
        status = self.details["status"] if self.kind == "status" else None
        if self.call in QUESTIONS:
            return self._answer(status)
        if self.call == "cancel" and self._answered in {200, 400, 404, 422}:
            return Means.NOT_OPEN  # Whatever the body is.
        match status:
            case 400 | 422:
                return Means.REFUSED
            case int() if status < 500:
                return Means.NOT_DONE
        return Means.PERHAPS if self.kind else Means.NOT_DONE

    def _answer(self, status: int | None) -> Means:
        if self.kind == "says":
            return SAYS[self.version][self.details["word"]]
        if self.call == "list" and status == 404:
            return Means.DENIED
        if self.version == "v2":
            # The payment is asked about in another way, and an unpaid one is not in the list.
            if self.call == "verify" and status == 404:
                return Means.NOTHING
            if self.call == "verify" and (status in {400, 422} or self.kind == "wrong_tx_ref"):
                return Means.LISTED
        elif self.call == "verify" and status in {400, 404}:
            return Means.DENIED
        return Means.UNTRUE if self.kind in WRONG else Means.NO_ANSWER

    @property
    def _answered(self) -> int | None:
        """The HTTP status, if there is one in time."""
        return 200 if self.kind == "malformed" else self.details.get("status")

    @property
    def code_of_initialize(self) -> str:
        """The error that a customer receives when opening a payment fails in this way."""
        match self.kind, self.details.get("status"):
            case "status", 400 | 422:
                return "400 provider_rejected"
            case (None | "reset" | "reset_after", _) | ("status", 429):
                return "503 provider_unavailable"
            case "timeout_before" | "timeout_after" | "slow", _:
                return "504 provider_timeout"
        return "502 provider_error"


def cases_of(call: Call, version: Version) -> Iterator[Case]:
    if call in ACTS + QUESTIONS:
        yield Case(call, None, {}, version)
    for kind in kinds_of(call):
        says: list[dict[str, Any]] = [{"word": word} for word in SAYS[version]]
        for details in says if kind == "says" else VARIANTS[kind]:
            if call in ACTS and kind in {"status", "html", "malformed"}:
                yield Case(call, kind, details | {"acts": False}, version)
                yield Case(call, kind, details | {"acts": True}, version)
            else:
                yield Case(call, kind, details, version)
