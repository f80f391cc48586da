"""What operators read: one JSON line for each decision and each event, and metrics.

No secret and no customer data: lines carry ids, statuses and reasons. Words that came from outside
go through `scrub` first. Powertools adds the function, the request id and the trace id to each
line.
"""

import os
import re
from enum import Enum
from typing import Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit

logger = Logger()
# One dimension for all functions of a stack: alarms do not care which of them counted.
metrics = Metrics(service=os.environ.get("METRICS_SERVICE"))
_MEASURES = os.environ.get("POWERTOOLS_SERVICE_NAME") != "operators"
"""The operators' tool does not: nothing there writes metrics out, and Powertools would print them
on standard output when there are many."""

PROVIDER_MS = "provider_ms"
"""Key of all lines between a call to the provider and the end of the decision that needed it:
milliseconds by call."""

_PRIVATE = re.compile(
    r"[^\s@\"']+@[^\s@\"']+|\+?\d[\d\s-]{7,}\d|CHA(?:SECK|PUBK|PA_TEST|PA_LIVE)[_-]\S+", re.I
)


def scrub(text: str, limit: int = 300) -> str:
    """Words from outside, without what may be an address, a telephone number or a key."""
    # Cut first, far behind what is shown: the search is quadratic in the length of a word.
    return _PRIVATE.sub("[removed]", text[: 10 * limit])[:limit]


def count(name: str, times: int = 1) -> None:
    measure(name, MetricUnit.Count, times)


def measure(name: str, unit: MetricUnit, value: float) -> None:
    if _MEASURES:
        metrics.add_metric(name=name, unit=unit, value=value)


def called(call: str, seconds: float, *, answered: bool) -> None:
    """Note a call to the provider, such as `verify_refund`: how long it took, and whether it was
    answered usably."""
    milliseconds = round(seconds * 1000)
    known = logger.get_current_keys().get(PROVIDER_MS, {})
    logger.append_keys(provider_ms={**known, call: known.get(call, 0) + milliseconds})
    # One and zero: the average is the share of answered calls, the maximum says whether any was.
    count("ProviderAnswered", int(answered))
    name = "".join(word.capitalize() for word in call.split("_"))
    measure(f"Provider{name}Time", MetricUnit.Milliseconds, milliseconds)


def decided(what: str, outcome: str, *, before: Enum, after: Enum, **facts: Any) -> None:
    """Log what became of opening, checking, refunding or cancelling, also if nothing changed."""
    moved: dict[str, Any] = {"from": before.value, "to": after.value}
    # The line names the place of the decision, not this one.
    logger.info("decision", what=what, outcome=outcome, **moved, **facts, stacklevel=3)
    logger.remove_keys([PROVIDER_MS])


def announce(name: str, order_id: str, **facts: Any) -> None:
    """Log an event, and count it: `payment.review` is counted as `PaymentReview`."""
    logger.info(name, order_id=order_id, **facts)
    count(metric_of(name))


def metric_of(event_name: str) -> str:
    return "".join(word.capitalize() for word in event_name.split("."))
