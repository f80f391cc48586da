"""How patient every client of AWS is."""

from botocore.config import Config

CONFIG = Config(
    # Two quick tries more; what is slower than that is better met by the caller's own retry.
    connect_timeout=2,
    read_timeout=5,
    retries={"mode": "standard", "total_max_attempts": 3},
)
