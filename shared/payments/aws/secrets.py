"""The secret with Chapa's API keys and the webhook secrets."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from payments.chapa.keys import Version, check_url, read_key
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


@dataclass(frozen=True)
class Secret:
    provider: str
    """The version of Chapa's API that new payments are opened with: that of `api_key`."""
    api_keys: Mapping[str, str] = field(repr=False)
    """By provider, so that a payment is settled with the version that opened it."""
    webhook_secrets: tuple[str, ...] = field(repr=False)
    """Current and previous; empty when none is set, and then no webhook can be checked."""
    mode: str
    """`test` or `live`: what the payments of the keys say in their `mode`."""


class SecretStore:
    """The secret, read from Secrets Manager at first use and again every minute."""

    def __init__(
        self,
        client: "SecretsManagerClient",
        secret_id: str,
        chapa_url: str,
        chapa_url_other: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._secret_id = secret_id
        self._chapa_url = chapa_url
        self._urls = tuple(filter(None, (chapa_url, chapa_url_other)))
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
        current = _trimmed(values, "webhook_secret")
        previous = _trimmed(values, "webhook_secret_previous")
        if not current:
            # Payments still work: the schedule checks them. Webhooks are answered 503.
            logger.error("webhook_secret: missing in the secret")
            count("WebhookSecretMissing")
        version, mode, api_keys = self._keys(values)
        return Secret(
            provider=version.provider,
            api_keys=api_keys,
            webhook_secrets=tuple(filter(None, (current, previous))),
            mode=mode,
        )

    def _keys(self, values: Mapping[str, Any]) -> tuple[Version, str, Mapping[str, str]]:
        api_key = _trimmed(values, "api_key")
        if not api_key:
            raise ConfigurationError("api_key: missing in the secret")
        version, mode = read_key("api_key", api_key, self._urls)
        check_url(version, self._chapa_url, self._urls)
        other_key = _trimmed(values, "api_key_other")
        if not other_key:
            return version, mode, {version.provider: api_key}
        other, other_mode = read_key("api_key_other", other_key, self._urls)
        if other is version:
            raise ConfigurationError("api_key_other: is of the same version as api_key")
        if other_mode != mode:
            raise ConfigurationError(
                "api_key_other: one key is a test key and the other a live key"
            )
        return version, mode, {version.provider: api_key, other.provider: other_key}


def _trimmed(values: Mapping[str, Any], name: str) -> str:
    """Without the line break or space that a pasted secret often ends with."""
    value = values.get(name)
    return value.strip() if isinstance(value, str) else ""


def _unavailable(why: str) -> Unavailable:
    return Unavailable(f"The secret cannot be read: {why}", retry_after=RETRY_AFTER_SECONDS)
