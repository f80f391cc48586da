"""AWS clients: their timeouts and retries, and when they are made.

botocore without boto3: importing boto3 also imports its file transfers, and takes a tenth of a
cold start (`bench/results.md`).
"""

from functools import cached_property
from typing import Any

from botocore.config import Config
from botocore.session import Session

CONFIG = Config(
    # Two quick retries. What is slower is better met by the caller's own retry.
    connect_timeout=2,
    read_timeout=5,
    retries={"mode": "standard", "total_max_attempts": 3},
)

_session = Session()


def client(service: str) -> Any:
    return _session.create_client(service, config=CONFIG)


def client_at_first_use(service: str) -> Any:
    """A client that many invocations do without: making one takes a twentieth of a cold start."""
    return _AtFirstUse(service)


class _AtFirstUse:
    def __init__(self, service: str) -> None:
        self._service = service

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    @cached_property
    def _client(self) -> Any:
        return client(self._service)
