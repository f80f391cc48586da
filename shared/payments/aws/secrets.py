"""The secret with Chapa's API key and the webhook secrets."""

import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from payments.errors import ConfigurationError, Unavailable
from payments.telemetry import count, logger

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient

FRESH_SECONDS = 60
"""How long a process uses the secret that it read, so the longest a rotation takes to arrive."""

FAILED_SECONDS = 3
"""How long a failed read is not repeated: a flood of requests must not become one of reads."""

RETRY_AFTER_SECONDS = 5

MISSING = {"ResourceNotFoundException", "AccessDeniedException", "InvalidRequestException"}
"""Answers of Secrets Manager that waiting does not change."""

_API_KEY = re.compile(r"CHASECK(?P<test>_TEST)?-[\x21-\x7e]+")


@dataclass(frozen=True)
class Secret:
    api_key: str = field(repr=False)
    webhook_secrets: tuple[str, ...] = field(repr=False)
    """Current and previous; empty when none is set, and then no webhook can be checked."""
    mode: str
    """`test` or `live`: what the key's payments say in their `mode`."""


def mode_of(api_key: str, chapa_url: str) -> str:
    """The mode that a key works in.

    Raises ConfigurationError for a key that cannot be one, or does not belong to this URL: the
    other version of Chapa counts amounts in another unit, and a live key needs TLS.
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
        self._error: ConfigurationError | Unavailable | None = None
        self._read_again_at = float("-inf")

    def current(self) -> Secret:
        """The secret. One that cannot be read anew is used on: half a rotation stops no shop.

        Raises Unavailable when Secrets Manager does not answer, ConfigurationError when the secret
        is missing or wrong.
        """
        if self._clock() >= self._read_again_at:
            try:
                self._secret, self._error = self._read(), None
            except (ConfigurationError, Unavailable) as error:
                self._error = error
                count("SecretNotRead")
                logger.error("secret not read", reason=str(error))
            again = FAILED_SECONDS if self._error else FRESH_SECONDS
            self._read_again_at = self._clock() + again
        if self._secret is None:
            raise self._error or Unavailable("The secret is not read yet.")
        return self._secret

    def _read(self) -> Secret:
        try:
            answer = self._client.get_secret_value(SecretId=self._secret_id)
        except ClientError as error:
            code = error.response["Error"].get("Code", "")
            if code in MISSING:
                raise ConfigurationError(f"SECRET_ID: cannot be read: {code}") from None
            raise _unavailable(code) from None
        except BotoCoreError as error:
            raise _unavailable(type(error).__name__) from None
        try:
            values: Any = json.loads(answer.get("SecretString", ""))  # Missing in a binary one.
        except ValueError:
            values = None
        if not isinstance(values, dict):
            # Not chained: the parser's message would quote the secret.
            raise ConfigurationError("SECRET_ID: the secret is not a JSON object") from None
        api_key = _trimmed(values, "api_key")
        current = _trimmed(values, "webhook_secret")
        previous = _trimmed(values, "webhook_secret_previous")
        if not api_key:
            raise ConfigurationError("api_key: missing in the secret")
        if not current:
            # Payments still work: the schedule checks them. Webhooks are answered 503.
            logger.error("webhook_secret: missing in the secret")
        return Secret(
            api_key=api_key,
            webhook_secrets=tuple(filter(None, (current, previous))),
            mode=mode_of(api_key, self._chapa_url),
        )


def _trimmed(values: Mapping[str, Any], name: str) -> str:
    """Without the line break or space that a pasted secret often ends with."""
    value = values.get(name)
    return value.strip() if isinstance(value, str) else ""


def _unavailable(why: str) -> Unavailable:
    return Unavailable(f"The secret cannot be read: {why}", retry_after=RETRY_AFTER_SECONDS)
