"""Publish events: from the table's stream onto the event bus.

The events of one write are one item. It is marked from that write until all of its events are known
to be on the bus. A process that dies in between leaves the mark, so that they are published again
under the same ids: at least once.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

from botocore.exceptions import BotoCoreError, ClientError

from payments.aws.bus import Bus, Entry, in_calls
from payments.aws.clients import client
from payments.aws.items import EventKey, events_in
from payments.aws.repository import Repository
from payments.domain.aggregate import Event
from payments.settings import PublisherSettings
from payments.telemetry import count, logger
from payments.web.views import details_view, iso_time

VERSION = 1
"""Of the envelope. Fields may be added within a version; none is removed or changes its meaning."""


class Origin(NamedTuple):
    """Where an event comes from, in the stream and in the table."""

    sequence_number: str
    first: EventKey
    """The first event of the same write."""
    is_last: bool
    """Whether it is the last event of the write."""


@dataclass(frozen=True)
class Publisher:
    repository: Repository
    bus: Bus

    @classmethod
    def from_environment(cls) -> Self:
        """Raises ConfigurationError."""
        settings = PublisherSettings.from_environment()
        return cls(
            Repository(client("dynamodb"), settings.table_name),
            Bus(client("events"), settings.bus_name),
        )

    def publish(self, records: Iterable[Mapping[str, Any]]) -> str | None:
        """Returns the sequence number of the first record that must come again, if any."""
        readable = [entry for record in records for entry in _read(record)]
        for group in in_calls(readable):
            reasons = self._put(group)
            failed = [
                (origin, reason)
                for (origin, _), reason in zip(group, reasons, strict=True)
                if reason
            ]
            incomplete = {origin.first for origin, _ in failed}
            for origin, _ in group:
                if origin.is_last and origin.first not in incomplete:
                    self._unmark(origin.first)
            if published := reasons.count(""):
                count("EventsPublished", published)
            if failed:
                origin, reason = failed[0]
                logger.error("events not published", reason=reason, n=len(failed))
                count("EventsNotPublished", len(failed))
                # All that follows comes again with it; to go on would publish it twice.
                return origin.sequence_number
        return None

    def _put(self, group: list[tuple[Origin, Entry]]) -> list[str]:
        try:
            return self.bus.put([entry for _, entry in group])
        except (BotoCoreError, ClientError) as error:
            return [type(error).__name__] * len(group)

    def _unmark(self, first: EventKey) -> None:
        try:
            self.repository.unmark_events(first)
        except (BotoCoreError, ClientError) as error:
            # They are published. The sweep repeats them in an hour, and consumers count each id
            # once.
            logger.error(
                "events published but still marked", id=event_id(first), reason=type(error).__name__
            )


def _read(record: Mapping[str, Any]) -> list[tuple[Origin, Entry]]:
    """The events of one write; none when one of them cannot be read."""
    change = record["dynamodb"]
    try:
        events = events_in(change["NewImage"])
        first, last = events[0][0], events[-1][0]
        return [
            (
                Origin(change["SequenceNumber"], first, key == last),
                Entry(event.name, event.at, json.dumps(envelope(key, event))),
            )
            for key, event in events
        ]
    except Exception:
        # No retry makes them readable, and they must not delay the others. They stay marked, so
        # the overdue alarm fires.
        logger.exception("events not readable", key=change.get("Keys"))
        count("EventsUnreadable")
        return []


def event_id(key: EventKey) -> str:
    return f"{key.order_id}#{key.number}"


def envelope(key: EventKey, event: Event) -> dict[str, Any]:
    """What consumers get as `detail`; see docs/events.md."""
    return {
        "version": VERSION,
        "id": event_id(key),
        "name": event.name,
        "order_id": key.order_id,
        "number": key.number,
        "at": iso_time(event.at),
        "data": details_view(event),
    }
