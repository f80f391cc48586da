"""A log of calls received and messages sent, without secrets."""

import itertools
import json
import threading
from collections import deque
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import quote, quote_plus

KEPT = 50_000
BODY_LENGTH = 10_000


@dataclass
class Entry:
    """One call received, or one attempt to send a webhook or callback.

    `status` is the HTTP status of the response, None without one; `error` names the exception of
    a failed attempt. `version` is the version of the API, v1 or v2.
    """

    number: int
    time: str
    call: str
    tx_ref: str | None
    method: str
    url: str
    body: str
    faults: list[str] = field(default_factory=list)
    status: int | None = None
    error: str | None = None
    version: str | None = None


class Journal:
    """The last `KEPT` entries, in the order in which they began."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._entries: deque[Entry] = deque(maxlen=KEPT)
        self._secrets: set[str] = set()

    def hide(self, secret: str) -> None:
        """Replace this text in later entries, in each encoding that a body can have."""
        in_json = json.dumps(secret)[1:-1]
        spellings = {secret, in_json, in_json.replace("/", "\\/"), quote(secret, ""), quote(secret)}
        with self._lock:
            self._secrets |= spellings | {quote_plus(secret)}

    def add(
        self,
        call: str,
        tx_ref: str | None,
        now: datetime,
        *,
        method: str,
        url: str,
        body: bytes,
        faults: Iterable[str] = (),
        version: str | None = None,
    ) -> Entry:
        text = body.decode(errors="replace")
        with self._lock:
            entry = Entry(
                next(self._numbers),
                now.isoformat(),
                call,
                tx_ref if tx_ref is None else self._redacted(tx_ref),
                method,
                self._redacted(url),
                self._redacted(text)[:BODY_LENGTH],
                list(faults),
                version=version,
            )
            self._entries.append(entry)
            return entry

    def _redacted(self, text: str) -> str:
        for secret in sorted(self._secrets, key=len, reverse=True):
            text = text.replace(secret, "[hidden]")
        return text

    def clear(self) -> None:
        with self._lock:
            self._entries.clear()

    def entries(self, call: str | None = None, tx_ref: str | None = None) -> list[Entry]:
        with self._lock:
            return [
                entry
                for entry in self._entries
                if call in (None, entry.call) and tx_ref in (None, entry.tx_ref)
            ]

    def shown(self, call: str | None = None, tx_ref: str | None = None) -> list[dict[str, Any]]:
        return [asdict(entry) for entry in self.entries(call, tx_ref)]
