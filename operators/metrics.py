"""Sums of CloudWatch metrics, over the hours before now."""

from datetime import UTC, datetime, timedelta
from typing import Any

import boto3

PERIOD = 300


def sum_of(
    namespace: str, name: str, dimensions: dict[str, str], now: int, hours: float
) -> float | None:
    """None when there are no data."""
    end = datetime.fromtimestamp(now, UTC)
    found: Any = boto3.client("cloudwatch").get_metric_statistics(
        Namespace=namespace,
        MetricName=name,
        Dimensions=[{"Name": key, "Value": value} for key, value in dimensions.items()],
        StartTime=end - timedelta(hours=hours),
        # A minute that is not over yet counts, too.
        EndTime=end + timedelta(minutes=1),
        Period=PERIOD,
        Statistics=["Sum"],
    )
    points = [point["Sum"] for point in found["Datapoints"]]
    return sum(points) if points else None


def counted(stack: str, name: str, now: int, hours: float = 24) -> int:
    """How often the functions of a stack counted this."""
    return int(sum_of("ChapaPayments", name, {"service": stack}, now, hours) or 0)
