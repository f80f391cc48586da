"""Days, as the commands take them."""

from datetime import date, datetime, time, timedelta
from typing import Annotated
from zoneinfo import ZoneInfo

import typer

Zone = Annotated[
    str, typer.Option(metavar="ZONE", help="Where the day is, such as Africa/Addis_Ababa.")
]


YEARS = range(2000, 3000)
"""Of days that are no slip of the keys: a comparison reads a list for each day."""


def given_day(text: str) -> date:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        day = date.min
    if day.year not in YEARS:
        raise typer.BadParameter(f"{text!r} is not a day like 2026-11-26.")
    return day


def given_zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, LookupError):
        raise typer.BadParameter(f"{name!r} is not a time zone like Africa/Addis_Ababa.") from None


def day_of(day: date, zone: ZoneInfo) -> tuple[int, int]:
    """The first second of a day and that of the next one, since the epoch."""
    first, next_ = (datetime.combine(each, time(), zone) for each in (day, day + timedelta(1)))
    return int(first.timestamp()), int(next_.timestamp())
