"""Every way in which the simulator can go wrong, and what it means to whoever asked.

The kinds are the simulator's own list. What each means is written down here, not read from the
product: it is what the product is judged by.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal, get_args

from sandbox.chapa.faults import Call, Fault, Forgery, Kind, kinds_of

ACTS: tuple[Call, ...] = ("initialize", "cancel", "refund")
QUESTIONS: tuple[Call, ...] = ("verify", "refund_verify")

STATUSES = (400, 401, 404, 422, 429, 500, 502, 503, 504)
WORDS = ("nonsense", None, "404", "pending", "failed/cancelled", "success", "refunded", "reversed")
AFTER_ACTING = "after acting"
IN_TIME, TOO_SLOW = 5, 30
"""Seconds: no function waits for an answer as long as the second."""


class Means(StrEnum):
    NOTHING = "nothing went wrong but time"
    # Of an act:
    NOT_DONE = "Chapa certainly did nothing"
    REFUSED = "Chapa refuses what we sent"
    PERHAPS = "Chapa may have acted"
    NOT_OPEN = "Chapa says that there is nothing open to shut"
    # Of a question:
    NO_ANSWER = "nobody knows"
    DENIED = "Chapa says: not paid yet"
    FAILED = "Chapa says: failed"
    BELIEVED = "Chapa says: paid"
    MONEY_BACK = "Chapa says: the money went back"
    UNTRUE = "what Chapa says is not about what we asked for"
    # Of a delivery:
    DELIVERED = "a webhook comes, once or more, now or later"
    NEVER = "no webhook comes that counts"


@dataclass(frozen=True)
class Case:
    """One way to go wrong, by a name that no other of its call has.

    `kind` is None for a connection that is refused: no call arrives.
    """

    call: Call
    kind: Kind | None
    details: Mapping[str, Any]
    name: str
    means: Means

    def fault(self, times: int | None) -> Fault:
        assert self.kind is not None
        return Fault(call=self.call, kind=self.kind, times=times, **self.details)


def cases_of(call: Call) -> Iterator[Case]:
    if call in ACTS + QUESTIONS:
        yield Case(call, None, {}, "refused", _means(call, None, {}))
    for kind in kinds_of(call):
        for details in _variants(call, kind):
            yield Case(call, kind, details, _name(kind, details), _means(call, kind, details))


def _variants(call: Call, kind: Kind) -> list[dict[str, Any]]:
    """A kind that is not mentioned here has one, as the simulator means it."""
    variants = VARIANTS.get(kind, [{}])
    if call in ACTS and kind in {"status", "html", "malformed"}:
        return [each | {"acts": acts} for each in variants for acts in (False, True)]
    return variants


VARIANTS: Mapping[Kind, list[dict[str, Any]]] = {
    "status": [{"status": code} for code in STATUSES]
    + [{"status": code, "retry_after": 86_400} for code in (429, 503)],
    "html": [{"status": code} for code in (200, 404, 502)],
    "slow": [{"seconds": IN_TIME}, {"seconds": TOO_SLOW}],
    "wrong_amount": [{"amount": "0.50"}],
    "says": [{"word": word} for word in WORDS],
    "doubled": [{"n": 2}, {"n": 5}],
    "delayed": [{"seconds": 30}, {"seconds": 600}],
    "early": [{"n": 2}, {"seconds": 300}],
    "out_of_order": [{"seconds": 0}, {"seconds": 600}],
    "forged": [{"signature": signature} for signature in get_args(Forgery.__value__)],
}


def _name(kind: Kind, details: Mapping[str, Any]) -> str:
    parts: list[str] = [] if kind == "status" else [kind]
    for name, value in details.items():
        match name:
            case "status" | "signature":
                parts.append(str(value))
            case "retry_after":
                parts.append("for a day")
            case "word":
                parts.append("null" if value is None else f"“{value}”")
            case "seconds":
                parts.append(f"{value} s")
            case "n":
                parts.append(f"times {value}")
            case "acts" if value:
                parts.append(AFTER_ACTING)
    return " ".join(parts)


def _means(call: Call, kind: Kind | None, details: Mapping[str, Any]) -> Means:
    if call in ACTS:
        return _means_of_act(call, kind, details)
    if call in QUESTIONS:
        return _means_of_question(call, kind, details)
    match kind:
        case "lost" | "forged":
            return Means.NEVER
        case "doubled" | "delayed" | "early" | "failed_first" | "out_of_order":
            return Means.DELIVERED
    raise NotImplementedError(f"what does a {kind} {call} mean?")


def _means_of_act(call: Call, kind: Kind | None, details: Mapping[str, Any]) -> Means:
    match kind, details.get("status"):
        case None, _:
            return Means.NOT_DONE
        case "status", 400 | 404 if call == "cancel":
            return Means.NOT_OPEN
        case "status", 400 | 422 if call != "cancel":
            return Means.REFUSED
        case "status", int(code) if code < 500:
            return Means.NOT_DONE
        case "slow", _ if details["seconds"] == IN_TIME:
            return Means.NOTHING
        case (
            "status"
            | "html"
            | "malformed"
            | "slow"
            | "timeout_before"
            | "timeout_after"
            | "reset"
            | "reset_after",
            _,
        ):
            return Means.PERHAPS
    raise NotImplementedError(f"what does a {kind} {call} mean?")


def _means_of_question(call: Call, kind: Kind | None, details: Mapping[str, Any]) -> Means:
    match kind:
        case "status" if details["status"] == 404 and call == "verify":
            return Means.DENIED
        case "slow" if details["seconds"] == IN_TIME:
            return Means.NOTHING
        case "wrong_amount" | "wrong_currency" | "wrong_mode" | "wrong_tx_ref":
            return Means.UNTRUE
        case "says":
            return {
                "nonsense": Means.NO_ANSWER,
                None: Means.DENIED,
                "404": Means.DENIED,
                "pending": Means.DENIED,
                "failed/cancelled": Means.FAILED,
                "success": Means.BELIEVED,
                "refunded": Means.MONEY_BACK,
                "reversed": Means.MONEY_BACK,
            }[details["word"]]
        case (
            None
            | "status"
            | "html"
            | "malformed"
            | "slow"
            | "timeout_before"
            | "timeout_after"
            | "reset"
            | "reset_after"
        ):
            return Means.NO_ANSWER
    raise NotImplementedError(f"what does a {kind} {call} mean?")


ToldAtInitialize = Literal[
    "400 provider_rejected",
    "502 provider_error",
    "503 provider_unavailable",
    "504 provider_timeout",
]


def told_at_initialize(case: Case) -> ToldAtInitialize:
    """What a customer hears, of whom Chapa's page was asked in vain."""
    match case.kind, case.details.get("status"):
        case "status", 400 | 422:
            return "400 provider_rejected"
        case (None | "reset" | "reset_after", _) | ("status", 429):
            return "503 provider_unavailable"
        case "timeout_before" | "timeout_after" | "slow", _:
            return "504 provider_timeout"
    return "502 provider_error"
