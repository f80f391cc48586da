"""What a signed webhook says: which payment to check, and no fact that would be believed.

Event names, wrappers and the name of the reference vary between Chapa's versions and pages, so
every place where our reference has been seen is read.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from payments.domain.ids import order_id_of
from payments.errors import InvalidRequest

REFERENCES = ("tx_ref", "trx_ref", "merchant_reference")
SUCCESSES = frozenset({"charge.success", "payment.success"})


@dataclass(frozen=True)
class Notification:
    event: str
    tx_ref: str | None
    """The payment that it is about; None when it names none of ours."""

    @property
    def says_success(self) -> bool:
        """Then a payment that is paid already needs no check: nothing else is claimed."""
        return self.event in SUCCESSES


def read(body: bytes) -> Notification:
    """Raises InvalidRequest for a body that is not a JSON object."""
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise InvalidRequest("The body is not a JSON object.")
    event = content.get("event")
    return Notification(
        event=event[:100].strip().lower() if isinstance(event, str) else "",
        tx_ref=next(_ours(content), None),
    )


def _ours(content: Mapping[str, Any]) -> Iterator[str]:
    """References that have the shape of ours: at the top level, or below `data`."""
    for place in (content, content.get("data")):
        if isinstance(place, dict):
            for name in REFERENCES:
                value = place.get(name)
                if isinstance(value, str) and order_id_of(value):
                    yield value
