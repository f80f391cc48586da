"""The operator's settings: the environment as one frozen object, and the secret.

Both are refused as a whole when something is missing or wrong, with the name of the setting in the
message: the environment at import, the secret at first use, and again whenever it is read anew.
"""

import json
import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveInt,
    ValidationError,
    field_validator,
)

from payments.domain import Rules
from payments.errors import ConfigurationError
from payments.telemetry import logger

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient

SECRET_SECONDS = 60
"""How long a process believes in the secret it read, so the longest a rotation takes to arrive."""

_API_KEY = re.compile(r"CHASECK(?P<test>_TEST)?-[\x21-\x7e]+")
"""Checked to its end: a key pasted with a line break could not be sent as a header."""


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
    chapa_url: str
    checkout_hosts: Words = Field(min_length=1)
    callback_url: str = ""
    return_url: str = ""
    shop_name: str = Field(min_length=1, max_length=16)
    order_ttl_seconds: PositiveInt
    lease_seconds: PositiveInt
    wait_seconds: NonNegativeInt
    look_after_seconds: Seconds = Field(min_length=1)
    last_look_after_seconds: Seconds
    verify_every_seconds: PositiveInt
    review_after_seconds: PositiveInt
    republish_after_seconds: PositiveInt
    late_success_policy: Literal["reserve", "refund", "review"]

    @field_validator("chapa_url")
    @classmethod
    def _v1_only(cls, url: str) -> str:
        """Chapa's v2 counts in santim where v1 counts in birr: never mistake one for the other."""
        url = url.rstrip("/")
        if not url.startswith(("https://", "http://127.0.0.1:", "http://localhost:")):
            raise ValueError("must be https, or http on this machine")
        if not url.endswith("/v1"):
            raise ValueError("must end in /v1, the only version of Chapa's API supported")
        return url

    @property
    def rules(self) -> Rules:
        return Rules(
            order_ttl=self.order_ttl_seconds,
            lease=self.lease_seconds,
            look_after=self.look_after_seconds,
            last_look_after=self.last_look_after_seconds,
            review_after=self.review_after_seconds,
            late_success=self.late_success_policy,
        )


@dataclass(frozen=True)
class Secret:
    api_key: str = field(repr=False)
    webhook_secrets: tuple[str, ...] = field(repr=False)
    """Current and previous; empty when none is set, and then every webhook is refused."""
    mode: str
    """`test` or `live`: what the key's payments say in their `mode`."""


def mode_of(api_key: str, chapa_url: str) -> str:
    """The mode that a key works in.

    Raises ConfigurationError for a key that cannot be one, or does not belong to this URL: another
    version's key prefix (sent to v1 it would be refused; the reverse would charge 100 times too
    much or too little), or a live key on anything but TLS.
    """
    key = _API_KEY.fullmatch(api_key)
    if key is None:
        raise ConfigurationError(
            "api_key: must be CHASECK- or CHASECK_TEST- and printable ASCII without spaces,"
            " as secret keys of Chapa's v1 are"
        )
    if key["test"]:
        return "test"
    if not chapa_url.startswith("https://"):
        raise ConfigurationError("api_key: a live key is sent over https only; see CHAPA_URL")
    return "live"


class SecretStore:
    """The secret, read from Secrets Manager at first use and again every minute."""

    def __init__(
        self,
        client: "SecretsManagerClient",
        secret_id: str,
        chapa_url: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._secret_id = secret_id
        self._chapa_url = chapa_url
        self._clock = clock
        self._secret: Secret | None = None
        self._read_at = 0.0

    def current(self) -> Secret:
        """Raises ConfigurationError when the secret cannot be read or its key cannot be right."""
        if self._secret is None or self._clock() - self._read_at >= SECRET_SECONDS:
            try:
                self._secret = self._read()
            except ConfigurationError as error:
                if self._secret is None:
                    raise
                # The one we have still works; half a rotation must not stop the shop.
                logger.error("secret not refreshed", reason=str(error))
            self._read_at = self._clock()
        return self._secret

    def _read(self) -> Secret:
        try:
            text = self._client.get_secret_value(SecretId=self._secret_id)["SecretString"]
        except Exception as error:
            raise ConfigurationError(
                f"SECRET_ID: cannot be read: {type(error).__name__}"
            ) from error
        try:
            values: Any = json.loads(text)
        except ValueError:
            values = None
        if not isinstance(values, dict):
            # Not chained: the parser's message would quote the secret.
            raise ConfigurationError("SECRET_ID: the secret is not a JSON object") from None
        api_key = values.get("api_key")
        if not isinstance(api_key, str) or not api_key:
            raise ConfigurationError("api_key: missing in the secret")
        webhook_secrets = (values.get("webhook_secret"), values.get("webhook_secret_previous"))
        return Secret(
            api_key=api_key,
            webhook_secrets=tuple(s for s in webhook_secrets if isinstance(s, str) and s),
            mode=mode_of(api_key, self._chapa_url),
        )
