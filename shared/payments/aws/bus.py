"""The event bus that other services listen to."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mypy_boto3_events import EventBridgeClient
    from mypy_boto3_events.type_defs import PutEventsRequestEntryTypeDef

SOURCE = "chapa-payments"

MOST_ENTRIES = 10
MOST_BYTES = 256 * 1024
"""What one call takes."""


@dataclass(frozen=True)
class Entry:
    name: str
    at: int
    detail: str
    """JSON."""

    @property
    def size(self) -> int:
        """As EventBridge counts it; a time counts 14 bytes."""
        return 14 + len(SOURCE) + len(self.name.encode()) + len(self.detail.encode())


class Bus:
    def __init__(self, client: "EventBridgeClient", name: str) -> None:
        self._client = client
        self._name = name

    def put(self, entries: Sequence[Entry]) -> list[str]:
        """Put as many as one call takes. For each, why it is not on the bus, or "" when it is.

        Raises botocore's errors when that is not known of any.
        """
        answer = self._client.put_events(Entries=[self._request_entry(entry) for entry in entries])
        if not answer["FailedEntryCount"]:
            return [""] * len(entries)
        return [
            "" if "EventId" in each else each.get("ErrorCode") or "no reason"
            for each in answer["Entries"]
        ]

    def _request_entry(self, entry: Entry) -> "PutEventsRequestEntryTypeDef":
        return {
            "EventBusName": self._name,
            "Source": SOURCE,
            "DetailType": entry.name,
            "Time": datetime.fromtimestamp(entry.at, UTC),
            "Detail": entry.detail,
        }


def in_calls[K](entries: Sequence[tuple[K, Entry]]) -> Iterator[list[tuple[K, Entry]]]:
    """Entries in their order, in groups that one call takes."""
    group: list[tuple[K, Entry]] = []
    size = 0
    for key, entry in entries:
        if group and (len(group) == MOST_ENTRIES or size + entry.size > MOST_BYTES):
            yield group
            group, size = [], 0
        group.append((key, entry))
        size += entry.size
    if group:
        yield group
