"""What operators read: one JSON line for each thing that happened, and a metric for each event.

No secret and no customer data: lines carry ids, statuses and reasons. Words that came from outside
go through `scrub` first.
"""

import os
import re
from collections.abc import Iterable

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit

from payments.story import Event

logger = Logger()
# One dimension for all functions of a stack: an alarm asks what happened, not which of them saw it.
metrics = Metrics(service=os.environ.get("METRICS_SERVICE"))

_PRIVATE = re.compile(
    r"[^\s@\"']+@[^\s@\"']+|\+?\d[\d\s-]{7,}\d|CHA(?:SECK|PUBK|PA_TEST|PA_LIVE)[_-]\S+", re.I
)


def scrub(text: str, limit: int = 300) -> str:
    """Words from outside, without what looks like an address, a telephone number or a key."""
    # Cut first, far behind what is shown: the search is quadratic in the length of a word.
    return _PRIVATE.sub("[removed]", text[: 10 * limit])[:limit]


def count(name: str, times: int = 1) -> None:
    metrics.add_metric(name=name, unit=MetricUnit.Count, value=times)


def announce(order_id: str, events: Iterable[Event]) -> None:
    """`payment.review` becomes a log line and a count of `PaymentReview`."""
    for event in events:
        logger.info(event.name, order_id=order_id, **event.details)
        count("".join(word.capitalize() for word in event.name.split(".")))
