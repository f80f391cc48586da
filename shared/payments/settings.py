"""The operator's settings: the environment as one frozen object.

It is refused as a whole, at import, when a setting is missing or wrong; the message names it.
Read without pydantic, whose import and schemas take a quarter of a cold start
(`bench/results.md`).
"""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, Literal, Self, cast

from payments.domain.rules import Rules
from payments.errors import ConfigurationError


def _text(least: int = 0, most: int = 1000) -> Callable[[str], str]:
    def read(value: str) -> str:
        if not least <= len(value) <= most:
            raise ValueError(f"must have {least} to {most} characters")
        return value

    return read


def _whole(least: int) -> Callable[[str], int]:
    def read(value: str) -> int:
        if not re.fullmatch(r"\d{1,12}", value, re.ASCII) or int(value) < least:
            raise ValueError(f"must be a whole number, at least {least}")
        return int(value)

    return read


def _list[T](read: Callable[[str], T], least: int = 0) -> Callable[[str], tuple[T, ...]]:
    def read_all(value: str) -> tuple[T, ...]:
        found = tuple(read(part.strip()) for part in value.split(",") if part.strip())
        if len(found) < least:
            raise ValueError("must not be empty")
        return found

    return read_all


def _one_of[T](**values: T) -> Callable[[str], T]:
    def read(value: str) -> T:
        if value not in values:
            raise ValueError(f"must be one of {', '.join(values)}")
        return values[value]

    return read


def _chapa_url(url: str) -> str:
    url = url.rstrip("/")
    if not url:
        return ""
    if not url.startswith(("https://", "http://127.0.0.1:", "http://localhost:")):
        raise ValueError("must be https, or http on this machine")
    if not url.endswith(("/v1", "/v2")):
        raise ValueError("must end in /v1 or /v2, the versions of Chapa's API")
    return url


def _setting(read: Callable[[str], object], **default: object) -> Any:
    return field(metadata={"read": read}, **cast(Any, default))


TEXT = _text(1)
POSITIVE = _whole(1)
ZERO_TOO = _whole(0)
POLICY = _one_of(reserve="reserve", refund="refund", review="review")


class FromEnvironment:
    """Settings, each named in the environment as here but in capitals."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Raises ConfigurationError with the names of all settings that are missing or wrong."""
        values, problems = {}, []
        for each in fields(cast(Any, cls)):
            name = each.name.upper()
            try:
                if name in environment:
                    values[each.name] = each.metadata["read"](environment[name])
                elif each.default is MISSING:
                    problems.append(f"{name}: is missing")
            except ValueError as error:
                problems.append(f"{name}: {error}")
        urls = [values.get(name, "")[-3:] for name in ("chapa_url", "chapa_url_other")]
        if urls[0] and urls[0] == urls[1]:
            problems.append("CHAPA_URL_OTHER: must be of another version than CHAPA_URL")
        if problems:
            raise ConfigurationError("; ".join(problems)) from None
        return cls(**values)


@dataclass(frozen=True)
class PublisherSettings(FromEnvironment):
    """What publishing needs; it never talks to Chapa."""

    table_name: str = _setting(TEXT)
    bus_name: str = _setting(TEXT)


@dataclass(frozen=True)
class Settings(FromEnvironment):
    table_name: str = _setting(TEXT)
    queue_url: str = _setting(TEXT)
    secret_id: str = _setting(TEXT)
    checkout_hosts: tuple[str, ...] = _setting(_list(str, least=1))
    shop_name: str = _setting(_text(1, 16))
    order_ttl_seconds: int = _setting(POSITIVE)
    lease_seconds: int = _setting(POSITIVE)
    wait_seconds: int = _setting(ZERO_TOO)
    link_seconds: int = _setting(POSITIVE)
    check_after_seconds: tuple[int, ...] = _setting(_list(POSITIVE, least=1))
    final_check_after_seconds: tuple[int, ...] = _setting(_list(POSITIVE))
    verify_every_seconds: int = _setting(POSITIVE)
    unanswered_after_seconds: int = _setting(POSITIVE)
    pending_grace_seconds: int = _setting(ZERO_TOO)
    hold_stock_until_page_expires: bool = _setting(_one_of(true=True, false=False))
    republish_after_seconds: int = _setting(POSITIVE)
    compare_days: int = _setting(POSITIVE)
    max_unpaid_orders: int = _setting(ZERO_TOO)
    """Of one customer; 0 means no limit."""
    late_success_policy: Literal["reserve", "refund", "review"] = _setting(POLICY)
    chapa_url: str = _setting(_chapa_url, default="")
    """Base URL of Chapa's API; empty means the usual one of the key's version."""
    chapa_url_other: str = _setting(_chapa_url, default="")
    """The same for the other version, of `api_key_other`."""
    callback_url: str = _setting(str, default="")
    return_url: str = _setting(str, default="")

    @property
    def chapa_urls(self) -> tuple[str, ...]:
        """The given ones."""
        return tuple(filter(None, (self.chapa_url, self.chapa_url_other)))

    @property
    def rules(self) -> Rules:
        return Rules(
            order_ttl=self.order_ttl_seconds,
            lease=self.lease_seconds,
            link=self.link_seconds,
            check_after=self.check_after_seconds,
            final_check_after=self.final_check_after_seconds,
            unanswered_after=self.unanswered_after_seconds,
            pending_grace=self.pending_grace_seconds,
            hold_until_page_expires=self.hold_stock_until_page_expires,
            verify_every=self.verify_every_seconds,
            late_success=self.late_success_policy,
        )
