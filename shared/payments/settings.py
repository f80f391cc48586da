"""The operator's settings: the environment as one frozen object.

It is refused as a whole, at import, when a setting is missing or wrong; the message names it.
"""

import os
from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveInt,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from payments.domain.rules import Rules
from payments.errors import ConfigurationError


def _split(value: object) -> object:
    return (
        tuple(filter(None, (part.strip() for part in value.split(","))))
        if isinstance(value, str)
        else value
    )


type Seconds = Annotated[tuple[PositiveInt, ...], BeforeValidator(_split)]
type Words = Annotated[tuple[str, ...], BeforeValidator(_split)]


class FromEnvironment(BaseModel):
    """Settings, each named in the environment as here but in capitals."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Raises ConfigurationError with the names of all settings that are missing or wrong."""
        given = {
            name: environment[name.upper()]
            for name in cls.model_fields
            if name.upper() in environment
        }
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            raise ConfigurationError(
                "; ".join(f"{str(e['loc'][0]).upper()}: {e['msg']}" for e in error.errors())
            ) from None


class PublisherSettings(FromEnvironment):
    """What publishing needs; it never talks to Chapa."""

    table_name: str = Field(min_length=1)
    bus_name: str = Field(min_length=1)


class Settings(FromEnvironment):
    table_name: str = Field(min_length=1)
    queue_url: str = Field(min_length=1)
    secret_id: str = Field(min_length=1)
    chapa_url: str = ""
    """Base URL of Chapa's API; empty means the usual one of the key's version."""
    chapa_url_other: str = ""
    """The same for the other version, of `api_key_other`."""
    checkout_hosts: Words = Field(min_length=1)
    callback_url: str = ""
    return_url: str = ""
    shop_name: str = Field(min_length=1, max_length=16)
    order_ttl_seconds: PositiveInt
    lease_seconds: PositiveInt
    wait_seconds: NonNegativeInt
    link_seconds: PositiveInt
    check_after_seconds: Seconds = Field(min_length=1)
    final_check_after_seconds: Seconds
    verify_every_seconds: PositiveInt
    unanswered_after_seconds: PositiveInt
    pending_grace_seconds: NonNegativeInt
    hold_stock_until_page_expires: bool
    republish_after_seconds: PositiveInt
    max_unpaid_orders: NonNegativeInt
    """Of one customer; 0 means no limit."""
    late_success_policy: Literal["reserve", "refund", "review"]
    compare_days: PositiveInt

    @field_validator("chapa_url", "chapa_url_other")
    @classmethod
    def _of_a_version(cls, url: str, info: ValidationInfo) -> str:
        url = url.rstrip("/")
        if not url:
            return ""
        if not url.startswith(("https://", "http://127.0.0.1:", "http://localhost:")):
            raise ValueError("must be https, or http on this machine")
        if not url.endswith(("/v1", "/v2")):
            raise ValueError("must end in /v1 or /v2, the versions of Chapa's API")
        if url[-3:] == str(info.data.get("chapa_url", ""))[-3:]:
            raise ValueError("must be of another version than CHAPA_URL")
        return url

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
