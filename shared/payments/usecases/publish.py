"""Publish events: from the table's stream onto the event bus.

An event is marked from the transaction that wrote it until it is known to be on the bus. A process
that dies in between leaves the mark, so that it is published again under the same id: at least
once.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from payments.aws.bus import Bus, Entry, in_calls
from payments.aws.clients import CONFIG
from payments.aws.items import EventKey, event_in
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
    key: EventKey


@dataclass(frozen=True)
class Publisher:
    repository: Repository
    bus: Bus

    @classmethod
    def from_environment(cls) -> Self:
        """Raises ConfigurationError."""
        settings = PublisherSettings.from_environment()
        return cls(
            Repository(boto3.client("dynamodb", config=CONFIG), settings.table_name),
            Bus(boto3.client("events", config=CONFIG), settings.bus_name),
        )

    def publish(self, records: Iterable[Mapping[str, Any]]) -> str | None:
        """Returns the sequence number of the first record that must come again, if any."""
        readable = [known for record in records if (known := _read(record))]
        for group in in_calls(readable):
            failed = []
            for (origin, _), reason in zip(group, self._put(group), strict=True):
                if reason:
                    failed.append((origin, reason))
                else:
                    self._unmark(origin.key)
            if len(failed) < len(group):
                count("EventsPublished", len(group) - len(failed))
            if failed:
                first, reason = failed[0]
                logger.error("events not published", reason=reason, n=len(failed))
                count("EventsNotPublished", len(failed))
                # All that follows comes again with it; to go on would publish it twice.
                return first.sequence_number
        return None

    def _put(self, group: list[tuple[Origin, Entry]]) -> list[str]:
        try:
            return self.bus.put([entry for _, entry in group])
        except (BotoCoreError, ClientError) as error:
            return [type(error).__name__] * len(group)

    def _unmark(self, key: EventKey) -> None:
        try:
            self.repository.unmark_event(key)
        except (BotoCoreError, ClientError) as error:
            # It is published. The sweep repeats it in an hour, and consumers count each id once.
            logger.error(
                "event published but still marked", id=event_id(key), reason=type(error).__name__
            )


def _read(record: Mapping[str, Any]) -> tuple[Origin, Entry] | None:
    change = record["dynamodb"]
    try:
        key, event = event_in(change["NewImage"])
        entry = Entry(event.name, event.at, json.dumps(envelope(key, event)))
    except Exception:
        # No retry makes it readable, and it must not delay the others. It stays marked, so the
        # overdue alarm fires.
        logger.exception("event not readable", key=change.get("Keys"))
        count("EventsUnreadable")
        return None
    return Origin(change["SequenceNumber"], key), entry


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
