"""The log lines of all functions, each read once."""

from collections import defaultdict
from typing import Any

OVERLAP = 10_000
"""Milliseconds by which a line may arrive after one with a later time."""


class Logs:
    def __init__(self, client: Any) -> None:
        self._client = client
        self._latest: defaultdict[str, int] = defaultdict(int)
        """The time of the latest line of each log group, in milliseconds."""
        self._known: set[tuple[str, int, str]] = set()
        self._lines: list[tuple[str, str]] = []

    def lines(self, words: str = "") -> list[tuple[str, str]]:
        """All lines so far that contain these words, each with its log group."""
        for group in self._client.describe_log_groups()["logGroups"]:
            # The local AWS returns at most 10,000 lines at once, and no token for the rest.
            while self._read_more(group["logGroupName"]):
                pass
        return [(group, line) for group, line in self._lines if words in line]

    def _read_more(self, group: str) -> bool:
        pages = self._client.get_paginator("filter_log_events").paginate(
            logGroupName=group, startTime=max(0, self._latest[group] - OVERLAP)
        )
        fresh = 0
        for event in (event for page in pages for event in page["events"]):
            key = (event["logStreamName"], event["timestamp"], event["message"])
            if key not in self._known:
                fresh += 1
                self._known.add(key)
                self._latest[group] = max(self._latest[group], event["timestamp"])
                self._lines.append((group, event["message"]))
        return fresh > 0
