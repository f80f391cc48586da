import json
import math
from collections.abc import Callable, Iterator
from io import StringIO
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError, ConnectTimeoutError
from moto import mock_aws

from payments.aws.secrets import FAILED_SECONDS, FRESH_SECONDS, Secret, SecretStore
from payments.errors import ConfigurationError, Unavailable
from payments.telemetry import metrics
from payments.web.http import problem

LOOPBACK, LOOPBACK_V2 = "http://127.0.0.1:8080/v1", "http://127.0.0.1:8080/v2"
TEST_KEY, LIVE_KEY = "CHASECK_TEST-0123456789abcdef", "CHASECK-0123456789abcdef"
KEY_OF_V2 = "CHAPA_TEST_PRIV_0123456789abcdef"
FIRST = {"api_key": TEST_KEY, "webhook_secret": "first"}
SECOND = {"api_key": TEST_KEY, "webhook_secret": "second", "webhook_secret_previous": "first"}


def only_v1(*webhook_secrets: str) -> Secret:
    return Secret("chapa-v1", {"chapa-v1": TEST_KEY}, webhook_secrets, "test")


class Vault:
    """The secret in Secrets Manager, and a store with a clock that tests move."""

    def __init__(self) -> None:
        self.client = boto3.client("secretsmanager")
        self.reads = 0
        self.seconds = 1_000.0
        self.error: Exception | None = None
        self.client.meta.events.register("before-call.secretsmanager.GetSecretValue", self._read)
        self.store = SecretStore(self.client, "chapa", LOOPBACK, clock=lambda: self.seconds)

    def _read(self, **_: object) -> None:
        self.reads += 1
        if self.error is not None:
            raise self.error

    def put(self, secret: Any) -> None:
        name = "SecretBinary" if isinstance(secret, bytes) else "SecretString"
        value: Any = {name: secret if isinstance(secret, str | bytes) else json.dumps(secret)}
        try:
            self.client.create_secret(Name="chapa", **value)
        except self.client.exceptions.ResourceExistsException:
            self.client.put_secret_value(SecretId="chapa", **value)


@pytest.fixture
def vault(log: StringIO) -> Iterator[Vault]:
    metrics.clear_metrics()
    with mock_aws():
        yield Vault()
    metrics.clear_metrics()


def test_secret_is_read_at_first_use_and_once_a_minute(vault: Vault) -> None:
    vault.put(FIRST)
    assert vault.reads == 0
    assert vault.store.current() == only_v1("first")
    vault.put(SECOND)
    vault.seconds = math.nextafter(vault.seconds + FRESH_SECONDS, 0)
    assert vault.store.current().webhook_secrets == ("first",)
    assert vault.reads == 1
    vault.seconds += 1
    assert vault.store.current().webhook_secrets == ("second", "first")
    assert vault.reads == 2


def throttled() -> Exception:
    return ClientError({"Error": {"Code": "ThrottlingException"}}, "GetSecretValue")


def unreachable() -> Exception:
    return ConnectTimeoutError(endpoint_url="https://secretsmanager")


@pytest.mark.parametrize("error", [throttled, unreachable])
def test_silent_secrets_manager_is_unavailable_and_not_read_again_for_three_seconds(
    vault: Vault, log: StringIO, error: Callable[[], Exception]
) -> None:
    vault.put(FIRST)
    vault.error = error()
    for _ in range(3):
        with pytest.raises(Unavailable) as caught:
            vault.store.current()
        vault.seconds += FAILED_SECONDS / 3 - 0.001
    response = problem(caught.value)
    assert (response["statusCode"], response["headers"]["retry-after"]) == (503, "5")
    assert vault.reads == log.getvalue().count("secret not read") == 1
    assert set(metrics.metric_set) == {"SecretNotRead"}
    vault.error = None
    vault.seconds += 1
    assert vault.store.current() == only_v1("first")


def test_missing_secret_is_named(vault: Vault) -> None:
    with pytest.raises(ConfigurationError, match=r"^SECRET_ID: .*ResourceNotFoundException"):
        vault.store.current()


@pytest.mark.parametrize("code", ["AccessDeniedException", "InvalidRequestException"])
def test_secret_that_may_not_be_read_is_a_wrong_configuration(vault: Vault, code: str) -> None:
    vault.error = ClientError({"Error": {"Code": code}}, "GetSecretValue")
    with pytest.raises(ConfigurationError, match=f"^SECRET_ID: cannot be read: {code}"):
        vault.store.current()


WRONG: dict[str, tuple[Any, str]] = {
    "not JSON": (f"api_key={TEST_KEY}", "SECRET_ID"),
    "half a document": (f'{{"api_key": "{TEST_KEY}', "SECRET_ID"),
    "binary": (json.dumps(FIRST).encode(), "SECRET_ID"),
    "string": (json.dumps(TEST_KEY), "SECRET_ID"),
    "list": ([TEST_KEY], "SECRET_ID"),
    "null": ("null", "SECRET_ID"),
    "no api_key": ({"webhook_secret": TEST_KEY}, "api_key"),
    "empty api_key": ({"api_key": " ", "webhook_secret": TEST_KEY}, "api_key"),
    "list as api_key": (FIRST | {"api_key": [TEST_KEY]}, "api_key"),
    "public key": (FIRST | {"api_key": "CHAPUBK-0123456789abcdef"}, "api_key"),
    "URL of another version": (FIRST | {"api_key": KEY_OF_V2}, "CHAPA_URL"),
    "no key as api_key_other": (FIRST | {"api_key_other": "0123456789abcdef"}, "api_key_other"),
    "two keys of one version": (FIRST | {"api_key_other": f"{TEST_KEY}0"}, "api_key_other"),
    "keys of two modes": (
        FIRST | {"api_key_other": "CHAPA_LIVE_PRIV_0123456789abcdef"},
        "api_key_other",
    ),
    "live key on this machine": (FIRST | {"api_key": LIVE_KEY}, "api_key"),
}


@pytest.mark.parametrize(("secret", "named"), WRONG.values(), ids=WRONG)
def test_wrong_part_is_named_logged_and_never_quoted(
    vault: Vault, log: StringIO, secret: object, named: str
) -> None:
    vault.put(secret)
    with pytest.raises(ConfigurationError, match=f"^{named}: ") as caught:
        vault.store.current()
    [line] = map(json.loads, log.getvalue().splitlines())
    assert (line["level"], line["reason"]) == ("ERROR", str(caught.value))
    error: BaseException | None = caught.value
    shown = log.getvalue()
    while error is not None:
        shown += f"{error} {error!r}"
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    assert "0123456789abcdef" not in shown


@pytest.mark.parametrize(
    "break_it",
    [
        lambda vault: vault.put(WRONG["half a document"][0]),
        lambda vault: vault.put(WRONG["public key"][0]),
        lambda vault: setattr(vault, "error", throttled()),
    ],
)
def test_failed_refresh_keeps_the_old_secret_for_three_seconds_at_a_time(
    vault: Vault, log: StringIO, break_it: Callable[[Vault], None]
) -> None:
    vault.put(FIRST)
    secret = vault.store.current()
    break_it(vault)
    vault.seconds += FRESH_SECONDS
    assert vault.store.current() is vault.store.current() is secret
    assert vault.reads == log.getvalue().count("secret not read") + 1 == 2
    assert "0123456789abcdef" not in log.getvalue()
    vault.error = None
    vault.put(SECOND)
    vault.seconds += FAILED_SECONDS
    assert vault.store.current().webhook_secrets == ("second", "first")


@pytest.mark.parametrize(
    ("values", "accepted"),
    [
        ({}, ()),
        ({"webhook_secret": " \n"}, ()),
        ({"webhook_secret": None, "webhook_secret_previous": 5}, ()),
        ({"webhook_secret": " now\r\n"}, ("now",)),
        ({"webhook_secret": "now", "webhook_secret_previous": ""}, ("now",)),
        ({"webhook_secret": "now", "webhook_secret_previous": "then\n"}, ("now", "then")),
    ],
)
def test_webhook_secrets_are_trimmed_and_a_missing_one_is_logged(
    vault: Vault, log: StringIO, values: dict[str, object], accepted: tuple[str, ...]
) -> None:
    vault.put({"api_key": f" {TEST_KEY}\n"} | values)
    assert vault.store.current() == only_v1(*accepted)
    assert ("webhook_secret: missing" in log.getvalue()) is not bool(accepted)


@pytest.mark.parametrize(
    ("current", "other", "provider"),
    [(TEST_KEY, KEY_OF_V2, "chapa-v1"), (KEY_OF_V2, TEST_KEY, "chapa-v2")],
)
@pytest.mark.parametrize("urls", [("", ""), (LOOPBACK, LOOPBACK_V2), (LOOPBACK_V2, LOOPBACK)])
def test_current_key_opens_payments_and_both_are_known_by_their_version(
    vault: Vault, current: str, other: str, provider: str, urls: tuple[str, str]
) -> None:
    vault.put(FIRST | {"api_key": current, "api_key_other": f" {other}\n"})
    store = SecretStore(vault.client, "chapa", *urls)
    assert store.current() == Secret(
        provider, {"chapa-v1": TEST_KEY, "chapa-v2": KEY_OF_V2}, ("first",), "test"
    )


def test_rotation_to_a_key_of_the_other_version_needs_no_deployment(vault: Vault) -> None:
    store = SecretStore(vault.client, "chapa", "", clock=lambda: vault.seconds)
    vault.put(FIRST)
    assert store.current().provider == "chapa-v1"
    vault.put(FIRST | {"api_key": KEY_OF_V2, "api_key_other": TEST_KEY})
    vault.seconds += FRESH_SECONDS
    assert store.current().provider == "chapa-v2"


def test_repr_does_not_show_the_secret(vault: Vault) -> None:
    vault.put(SECOND)
    shown = f"{vault.store.current()!r} {vault.store.current()} {vault.store!r}"
    assert not any(value in shown for value in SECOND.values())
