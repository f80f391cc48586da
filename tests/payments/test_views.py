import pytest

from payments.views import iso_time


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "1970-01-01T00:00:00Z"), (1_795_338_000, "2026-11-22T09:00:00Z")]
)
def test_time_is_iso_8601_in_utc(seconds: int, text: str) -> None:
    assert iso_time(seconds) == text
