"""What tests/functions/test_publish.py does not show."""

from typing import Any
from unittest.mock import Mock

import pytest

from payments.aws.bus import Bus, Entry

ENTRIES = [Entry("order.paid", 0, "{}"), Entry("order.paid", 1, "{}")]


@pytest.mark.parametrize(
    ("failed", "results", "reasons"),
    [
        (0, [{"EventId": "1"}, {"EventId": "2"}], ["", ""]),
        (1, [{"EventId": "1"}, {"ErrorCode": "ThrottlingException"}], ["", "ThrottlingException"]),
        (2, [{}, {"ErrorMessage": "a message only"}], ["no reason", "no reason"]),
    ],
)
def test_each_entry_without_an_event_id_has_a_reason(
    failed: int, results: list[dict[str, Any]], reasons: list[str]
) -> None:
    client = Mock()
    client.put_events.return_value = {"FailedEntryCount": failed, "Entries": results}
    assert Bus(client, "bus").put(ENTRIES) == reasons
