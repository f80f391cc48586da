"""Timeouts and retries of all AWS clients."""

from botocore.config import Config

CONFIG = Config(
    # Two quick retries. What is slower is better met by the caller's own retry.
    connect_timeout=2,
    read_timeout=5,
    retries={"mode": "standard", "total_max_attempts": 3},
)
