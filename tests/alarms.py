"""Evaluates the alarms of template.yaml on the metrics that functions print, as CloudWatch does.

A window slides with the time of evaluation, and each of its periods must breach
(docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarm-evaluation-window.html).
"""

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from tests.template import resources

NAMESPACE = "ChapaPayments"

STATISTICS: Mapping[str, Callable[[list[float]], float]] = {"Sum": sum, "Maximum": max}
COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {
    "GreaterThanOrEqualToThreshold": lambda value, threshold: value >= threshold,
    "LessThanThreshold": lambda value, threshold: value < threshold,
}


class Datapoint(NamedTuple):
    at: float
    metric: str
    value: float


def alarms(namespace: str = NAMESPACE) -> dict[str, dict[str, Any]]:
    """By name, such as `PaymentReview`."""
    return {
        name.removesuffix("Alarm"): alarm
        for name, alarm in resources("AWS::CloudWatch::Alarm").items()
        if alarm["Namespace"] == namespace
    }


def datapoints(printed: str, at: float) -> list[Datapoint]:
    """Those of the lines in the embedded metric format, but for cold starts."""
    found = []
    for line in printed.splitlines():
        document = json.loads(line)
        for directive in document.get("_aws", {}).get("CloudWatchMetrics", ()):
            if directive["Namespace"] == NAMESPACE and directive["Dimensions"] == [["service"]]:
                for metric in directive["Metrics"]:
                    values = document[metric["Name"]]
                    found += [Datapoint(at, metric["Name"], value) for value in values]
    return found


def in_alarm(alarm: Mapping[str, Any], points: Iterable[Datapoint], now: float) -> bool:
    """Whether every period of the window breaches; the window ends now."""
    values = [(p.at, p.value) for p in points if p.metric == alarm["MetricName"]]
    breaches = COMPARISONS[alarm["ComparisonOperator"]]
    for number in range(alarm["EvaluationPeriods"]):
        end = now - number * alarm["Period"]
        inside = [value for at, value in values if end - alarm["Period"] < at <= end]
        if not inside:
            breaching = alarm["TreatMissingData"] == "breaching"
        else:
            statistic = STATISTICS[alarm["Statistic"]](inside)
            breaching = breaches(statistic, alarm["Threshold"])
        if not breaching:
            return False
    return True
