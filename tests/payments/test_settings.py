import io
import json
import math
from collections.abc import Iterator

import boto3
import pytest
from moto import mock_aws
from pydantic import ValidationError
from pydantic_core import PydanticUndefined

from payments.errors import ConfigurationError
from payments.settings import (
    SECRET_SECONDS,
    PublisherSettings,
    Secret,
    SecretStore,
    Settings,
    mode_of,
)
from tests.environment import SETTINGS

REQUIRED = [name.upper() for name, field in Settings.model_fields.items() if field.is_required()]
OPTIONAL = [name.upper() for name in Settings.model_fields if name.upper() not in REQUIRED]
WRONG = {
    "TABLE_NAME": [""],
    "QUEUE_URL": [""],
    "SECRET_ID": [""],
    "CHAPA_URL": ["", "api.chapa.co/v1", "ftp://api.chapa.co/v1"],
    "CHECKOUT_HOSTS": ["", ",", " , "],
    "SHOP_NAME": ["", "a" * 17],
    "ORDER_TTL_SECONDS": ["", "0", "-1", "1.5", "half an hour"],
    "LEASE_SECONDS": ["0", "soon"],
    "WAIT_SECONDS": ["-1", "nan"],
    "LOOK_AFTER_SECONDS": ["", "0", "90,-1", "90;120", "90,soon"],
    "LAST_LOOK_AFTER_SECONDS": ["0", "a day"],
    "VERIFY_EVERY_SECONDS": ["0", "inf"],
    "REVIEW_AFTER_SECONDS": ["0", ""],
    "REPUBLISH_AFTER_SECONDS": ["0", ""],
    "LATE_SUCCESS_POLICY": ["", "Reserve", "keep"],
}
TAKES_ANY_TEXT = {"TABLE_NAME", "QUEUE_URL", "SECRET_ID", "CHECKOUT_HOSTS"}


def settings(**changes: str) -> Settings:
    return Settings.from_environment(SETTINGS | {k.upper(): v for k, v in changes.items()})


def without(name: str) -> dict[str, str]:
    return {key: value for key, value in SETTINGS.items() if key != name}


def test_environment_becomes_settings_and_rules() -> None:
    found = settings(path="/bin")

    assert found.shop_name == "Shop"
    assert found.order_ttl_seconds == found.rules.order_ttl == 1800
    assert found.look_after_seconds == found.rules.look_after == (90, 120, 300, 600, 1800, 3600)
    assert found.late_success_policy == found.rules.late_success == "reserve"
    assert (found.rules.lease, found.rules.review_after) == (60, 86400)
    assert found.rules.last_look_after == (3600, 86400)
    assert found == settings()
    with pytest.raises(ValidationError, match="frozen"):
        found.shop_name = "Another"


def test_spaces_in_a_list_do_not_matter() -> None:
    found = settings(checkout_hosts=" a.example , b.example,")

    assert found.checkout_hosts == ("a.example", "b.example")


@pytest.mark.parametrize("name", REQUIRED)
def test_missing_setting_is_named(name: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^{name}: "):
        Settings.from_environment(without(name))


@pytest.mark.parametrize("name", OPTIONAL)
def test_optional_setting_has_a_default(name: str) -> None:
    default = Settings.model_fields[name.lower()].default

    assert default is not PydanticUndefined
    assert getattr(Settings.from_environment(without(name)), name.lower()) == default


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in WRONG.items() for value in values]
)
def test_wrong_setting_is_named(name: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^{name}: "):
        settings(**{name: value})


def test_wrong_values_are_tried_for_every_required_setting() -> None:
    assert set(WRONG) == set(REQUIRED)


def test_all_problems_are_reported_at_once() -> None:
    with pytest.raises(ConfigurationError) as caught:
        Settings.from_environment({})

    assert [problem.partition(":")[0] for problem in str(caught.value).split("; ")] == REQUIRED


def test_publisher_needs_only_table_and_bus() -> None:
    given = {"TABLE_NAME": "payments", "BUS_NAME": "chapa-payments"}
    assert PublisherSettings.from_environment(given).bus_name == "chapa-payments"
    for missing in given:
        with pytest.raises(ConfigurationError, match=f"^{missing}: "):
            PublisherSettings.from_environment(given | {missing: ""})
    assert "bus_name" not in Settings.model_fields


def test_message_repeats_no_value() -> None:
    value = "CHASECK-pasted-into-the-wrong-place" + "!" * 20

    with pytest.raises(ConfigurationError) as caught:
        settings(**dict.fromkeys(set(REQUIRED) - TAKES_ANY_TEXT, value))

    assert value not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


HTTPS = "https://api.chapa.co/v1"
LOOPBACK = "http://127.0.0.1:8080/v1"


@pytest.mark.parametrize("url", [HTTPS, LOOPBACK, "http://localhost:8080/v1", f"{HTTPS}/"])
def test_chapa_is_called_over_https_or_on_this_machine(url: str) -> None:
    assert settings(chapa_url=url).chapa_url == url.removesuffix("/")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        *(
            (url, "https, or http on this machine")
            for url in (
                "http://api.chapa.co/v1",
                "http://127.0.0.1.shop.example/v1",
                "http://localhost.shop.example/v1",
                "http://10.0.0.1:8080/v1",
            )
        ),
        # Amounts of version 2 are santim: a payment would be wrong by a factor of 100.
        ("https://api.chapa.global/v2", "/v1"),
        ("https://api.chapa.co/v2/", "/v1"),
        ("https://api.chapa.co", "/v1"),
    ],
)
def test_other_url_of_chapa_is_refused(url: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=f"CHAPA_URL: .*{message}"):
        settings(chapa_url=url)


TEST_KEY = "CHASECK_TEST-0123456789abcdef"
LIVE_KEY = "CHASECK-0123456789abcdef"
KEY_OF_V2 = "CHAPA_LIVE_0123456789abcdef"


@pytest.mark.parametrize(
    ("key", "url", "mode"),
    [(TEST_KEY, HTTPS, "test"), (TEST_KEY, LOOPBACK, "test"), (LIVE_KEY, HTTPS, "live")],
)
def test_key_decides_the_mode(key: str, url: str, mode: str) -> None:
    assert mode_of(key, url) == mode


@pytest.mark.parametrize(
    "key",
    [
        "CHAPA_TEST_0123456789abcdef",
        KEY_OF_V2,
        "CHAPUBK_TEST-0123456789abcdef",
        "CHAPUBK-0123456789abcdef",
        LIVE_KEY.lower(),
        f" {LIVE_KEY}",
        f"Bearer {LIVE_KEY}",
        "sk_live_0123456789abcdef",
        # Pasted with the end of its line, a key would fail only at the first payment.
        f"{TEST_KEY}\n",
        f"{LIVE_KEY}\r\n",
        f"{TEST_KEY} ",
        f"{TEST_KEY}አ",
        "CHASECK_TEST-",
    ],
)
def test_wrong_key_is_refused_and_not_repeated(key: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^api_key: ") as caught:
        mode_of(key, HTTPS)

    assert "0123456789abcdef" not in str(caught.value)


def test_live_key_is_never_sent_without_tls() -> None:
    with pytest.raises(ConfigurationError, match=r"api_key: .*https only") as caught:
        mode_of(LIVE_KEY, LOOPBACK)

    assert LIVE_KEY not in str(caught.value)


class Vault:
    """The secret in Secrets Manager, and a store with a clock that tests move."""

    def __init__(self) -> None:
        self.client = boto3.client("secretsmanager")
        self.reads = 0
        self.seconds = 1_000.0
        self.client.meta.events.register("before-call.secretsmanager.GetSecretValue", self._counted)
        self.store = SecretStore(self.client, "chapa", LOOPBACK, clock=lambda: self.seconds)

    def _counted(self, **_: object) -> None:
        self.reads += 1

    def put(self, secret: object) -> None:
        text = secret if isinstance(secret, str) else json.dumps(secret)
        try:
            self.client.create_secret(Name="chapa", SecretString=text)
        except self.client.exceptions.ResourceExistsException:
            self.client.put_secret_value(SecretId="chapa", SecretString=text)

    def delete(self) -> None:
        self.client.delete_secret(SecretId="chapa", ForceDeleteWithoutRecovery=True)


@pytest.fixture
def vault() -> Iterator[Vault]:
    with mock_aws():
        yield Vault()


FIRST = {"api_key": TEST_KEY, "webhook_secret": "first"}
SECOND = {"api_key": TEST_KEY, "webhook_secret": "second", "webhook_secret_previous": "first"}


def test_secret_is_read_at_first_use_and_once_a_minute(vault: Vault) -> None:
    vault.put(FIRST)
    assert vault.reads == 0
    assert vault.store.current() == Secret(TEST_KEY, ("first",), "test")
    assert vault.reads == 1

    vault.put(SECOND)
    vault.seconds = math.nextafter(vault.seconds + SECRET_SECONDS, 0)
    assert vault.store.current().webhook_secrets == ("first",)
    assert vault.reads == 1

    vault.seconds += 1
    assert vault.store.current().webhook_secrets == ("second", "first")
    assert vault.reads == 2


@pytest.mark.parametrize("broken", ["null", "not JSON", {"api_key": "CHAPUBK-public"}, {}])
def test_broken_new_secret_leaves_the_old_one_in_use(
    vault: Vault, log: io.StringIO, broken: object
) -> None:
    vault.put(FIRST)
    secret = vault.store.current()
    vault.put(broken)
    vault.seconds += SECRET_SECONDS

    assert vault.store.current() is secret


def test_secret_that_cannot_be_read_again_is_tried_a_minute_later(
    vault: Vault, log: io.StringIO
) -> None:
    vault.put(FIRST)
    secret = vault.store.current()
    vault.delete()
    vault.seconds += SECRET_SECONDS
    assert vault.store.current() is secret
    assert vault.store.current() is secret
    assert vault.reads == 2

    vault.put(SECOND)
    vault.seconds += SECRET_SECONDS
    assert vault.store.current().webhook_secrets == ("second", "first")


def test_missing_secret_is_named_and_tried_again_at_once(vault: Vault) -> None:
    with pytest.raises(ConfigurationError, match=r"^SECRET_ID: .*ResourceNotFoundException"):
        vault.store.current()
    vault.put(FIRST)

    assert vault.store.current().api_key == TEST_KEY


UNREADABLE = {
    "not JSON": (f"api_key={TEST_KEY}", "SECRET_ID"),
    "half a document": (f'{{"api_key": "{TEST_KEY}', "SECRET_ID"),
    "string": (json.dumps(TEST_KEY), "SECRET_ID"),
    "list": (json.dumps([TEST_KEY]), "SECRET_ID"),
    "null": ("null", "SECRET_ID"),
    "no api_key": (json.dumps({"webhook_secret": TEST_KEY}), "api_key"),
    "empty api_key": (json.dumps({"api_key": "", "webhook_secret": TEST_KEY}), "api_key"),
    "list as api_key": (json.dumps({"api_key": [TEST_KEY]}), "api_key"),
    "key of version 2": (json.dumps({"api_key": KEY_OF_V2}), "api_key"),
    "live key on this machine": (json.dumps({"api_key": LIVE_KEY}), "api_key"),
}


@pytest.mark.parametrize(("text", "named"), UNREADABLE.values(), ids=UNREADABLE)
def test_wrong_secret_is_named_and_never_quoted(vault: Vault, text: str, named: str) -> None:
    vault.put(text)

    with pytest.raises(ConfigurationError, match=f"^{named}: ") as caught:
        vault.store.current()

    error: BaseException | None = caught.value
    while error is not None:
        assert "0123456789abcdef" not in f"{error} {error!r}"
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


@pytest.mark.parametrize(
    ("values", "accepted"),
    [
        ({}, ()),
        ({"webhook_secret": ""}, ()),
        ({"webhook_secret": None, "webhook_secret_previous": 5}, ()),
        ({"webhook_secret": "now"}, ("now",)),
        ({"webhook_secret": "now", "webhook_secret_previous": ""}, ("now",)),
        ({"webhook_secret": "now", "webhook_secret_previous": "then"}, ("now", "then")),
    ],
)
def test_only_webhook_secrets_with_content_are_accepted(
    vault: Vault, values: dict[str, object], accepted: tuple[str, ...]
) -> None:
    vault.put({"api_key": TEST_KEY} | values)

    assert vault.store.current().webhook_secrets == accepted


def test_repr_does_not_show_the_secret(vault: Vault) -> None:
    vault.put(SECOND)
    secret = vault.store.current()

    for shown in (repr(secret), str(secret), repr(vault.store), f"{[secret]}"):
        for value in SECOND.values():
            assert value not in shown


def test_failed_refresh_is_logged_without_the_secret(vault: Vault, log: io.StringIO) -> None:
    vault.put(FIRST)
    vault.store.current()
    vault.put(f'{{"api_key": "{LIVE_KEY}')
    vault.seconds += SECRET_SECONDS
    vault.store.current()

    line = json.loads(log.getvalue())
    assert (line["level"], line["message"]) == ("ERROR", "secret not refreshed")
    assert "SECRET_ID" in line["reason"]
    assert LIVE_KEY not in log.getvalue()
