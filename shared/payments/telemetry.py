"""What operators read: one JSON line for each decision, and a metric for each event.

No secret and no customer data: lines carry ids, statuses and reasons. Words that came from outside
go through `scrub` first.
"""

import os
import re
from collections.abc import Iterable
from typing import Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit

from payments.domain.aggregate import Event
from payments.domain.events import details

logger = Logger()
# One dimension for all functions of a stack: alarms do not care which of them counted.
metrics = Metrics(service=os.environ.get("METRICS_SERVICE"))

_PRIVATE = re.compile(
    r"[^\s@\"']+@[^\s@\"']+|\+?\d[\d\s-]{7,}\d|CHA(?:SECK|PUBK|PA_TEST|PA_LIVE)[_-]\S+", re.I
)


def scrub(text: str, limit: int = 300) -> str:
    """Words from outside, without what may be an address, a telephone number or a key."""
    # Cut first, far behind what is shown: the search is quadratic in the length of a word.
    return _PRIVATE.sub("[removed]", text[: 10 * limit])[:limit]


def count(name: str, times: int = 1) -> None:
    metrics.add_metric(name=name, unit=MetricUnit.Count, value=times)


def announce(order_id: str, events: Iterable[Event]) -> None:
    """Log each event, and count it: `payment.review` is counted as `PaymentReview`."""
    for event in events:
        shown: dict[str, Any] = details(event)
        logger.info(event.name, order_id=order_id, **shown)
        count(metric_of(event.name))


def metric_of(event_name: str) -> str:
    return "".join(word.capitalize() for word in event_name.split("."))
