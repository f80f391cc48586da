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
REFUSES_TEXT = set(REQUIRED) - {"TABLE_NAME", "QUEUE_URL", "SECRET_ID", "CHECKOUT_HOSTS"}


def test_the_environment_becomes_settings() -> None:
    settings = Settings.from_environment(SETTINGS)

    assert settings.shop_name == "Shop"
    assert settings.order_ttl_seconds == 1800
    assert settings.look_after_seconds == (90, 120, 300, 600, 1800, 3600)
    assert settings.late_success_policy == "reserve"


def test_the_rules_of_the_domain_are_the_operators_numbers() -> None:
    rules = Settings.from_environment(SETTINGS).rules

    assert (rules.order_ttl, rules.lease, rules.review_after) == (1800, 60, 86400)
    assert rules.look_after == (90, 120, 300, 600, 1800, 3600)
    assert rules.last_look_after == (3600, 86400)
    assert rules.late_success == "reserve"


def test_spaces_round_the_parts_of_a_list_do_not_matter() -> None:
    environment = SETTINGS | {"CHECKOUT_HOSTS": " a.example , b.example,"}

    assert Settings.from_environment(environment).checkout_hosts == ("a.example", "b.example")


def test_variables_of_others_are_nobodys_business_here() -> None:
    assert Settings.from_environment(SETTINGS | {"PATH": "/bin"}) == Settings.from_environment(
        SETTINGS
    )


@pytest.mark.parametrize("name", REQUIRED)
def test_a_missing_setting_is_named(name: str) -> None:
    environment = {key: value for key, value in SETTINGS.items() if key != name}

    with pytest.raises(ConfigurationError, match=f"^{name}: "):
        Settings.from_environment(environment)


@pytest.mark.parametrize("name", OPTIONAL)
def test_an_optional_setting_may_be_missing(name: str) -> None:
    default = Settings.model_fields[name.lower()].default
    environment = {key: value for key, value in SETTINGS.items() if key != name}

    assert default is not PydanticUndefined
    assert getattr(Settings.from_environment(environment), name.lower()) == default


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in WRONG.items() for value in values]
)
def test_a_wrong_setting_is_named(name: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^{name}: "):
        Settings.from_environment(SETTINGS | {name: value})


def test_every_setting_that_can_be_wrong_is_tried_above() -> None:
    assert set(WRONG) == set(REQUIRED)


def test_all_problems_are_reported_at_once() -> None:
    with pytest.raises(ConfigurationError) as caught:
        Settings.from_environment({})

    assert [problem.partition(":")[0] for problem in str(caught.value).split("; ")] == REQUIRED


def test_publishing_needs_its_table_and_its_bus_and_nothing_of_chapa() -> None:
    given = {"TABLE_NAME": "payments", "BUS_NAME": "chapa-payments"}
    assert PublisherSettings.from_environment(given).bus_name == "chapa-payments"
    for missing in given:
        with pytest.raises(ConfigurationError, match=f"^{missing}: "):
            PublisherSettings.from_environment(given | {missing: ""})
    assert "bus_name" not in Settings.model_fields


def test_the_message_repeats_no_value() -> None:
    value = "CHASECK-pasted-into-the-wrong-place" + "!" * 20

    environment = SETTINGS | dict.fromkeys(REFUSES_TEXT, value)
    with pytest.raises(ConfigurationError) as caught:
        Settings.from_environment(environment)

    assert value not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_settings_do_not_change() -> None:
    settings = Settings.from_environment(SETTINGS)

    with pytest.raises(ValidationError, match="frozen"):
        settings.shop_name = "Another"


@pytest.mark.parametrize(
    "url",
    ["https://api.chapa.co/v1", "http://127.0.0.1:8080/v1", "http://localhost:8080/v1"],
)
def test_chapa_is_asked_over_https_or_on_this_machine(url: str) -> None:
    assert Settings.from_environment(SETTINGS | {"CHAPA_URL": url}).chapa_url == url


def test_a_slash_at_the_end_of_the_url_is_taken_away() -> None:
    environment = SETTINGS | {"CHAPA_URL": "https://api.chapa.co/v1/"}

    assert Settings.from_environment(environment).chapa_url == "https://api.chapa.co/v1"


@pytest.mark.parametrize(
    "url",
    [
        "http://api.chapa.co/v1",
        "http://127.0.0.1.shop.example/v1",
        "http://localhost.shop.example/v1",
        "http://10.0.0.1:8080/v1",
    ],
)
def test_http_leads_to_this_machine_only(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"CHAPA_URL: .*https, or http on this machine"):
        Settings.from_environment(SETTINGS | {"CHAPA_URL": url})


@pytest.mark.parametrize(
    "url", ["https://api.chapa.global/v2", "https://api.chapa.co/v2/", "https://api.chapa.co"]
)
def test_only_the_first_version_of_chapas_api_is_asked(url: str) -> None:
    """Amounts there are santim: a payment would be wrong by a factor of 100."""
    with pytest.raises(ConfigurationError, match=r"CHAPA_URL: .*/v1"):
        Settings.from_environment(SETTINGS | {"CHAPA_URL": url})


HTTPS = "https://api.chapa.co/v1"
LOOPBACK = "http://127.0.0.1:8080/v1"
TEST_KEY = "CHASECK_TEST-0123456789abcdef"
LIVE_KEY = "CHASECK-0123456789abcdef"


@pytest.mark.parametrize(
    ("key", "url", "mode"),
    [(TEST_KEY, HTTPS, "test"), (TEST_KEY, LOOPBACK, "test"), (LIVE_KEY, HTTPS, "live")],
)
def test_the_key_says_the_mode(key: str, url: str, mode: str) -> None:
    assert mode_of(key, url) == mode


FOREIGN_KEYS = {
    "test, of v2": "CHAPA_TEST_0123456789abcdef",
    "live, of v2": "CHAPA_LIVE_0123456789abcdef",
    "public, test": "CHAPUBK_TEST-0123456789abcdef",
    "public, live": "CHAPUBK-0123456789abcdef",
    "in lower case": LIVE_KEY.lower(),
    "with a space before": f" {LIVE_KEY}",
    "with its scheme": f"Bearer {LIVE_KEY}",
    "somebody else's": "sk_live_0123456789abcdef",
}


@pytest.mark.parametrize("key", FOREIGN_KEYS.values(), ids=FOREIGN_KEYS)
def test_a_key_of_another_kind_is_refused(key: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^api_key: ") as caught:
        mode_of(key, HTTPS)

    assert key not in str(caught.value)


def test_a_live_key_never_travels_in_the_clear() -> None:
    with pytest.raises(ConfigurationError, match=r"api_key: .*https only") as caught:
        mode_of(LIVE_KEY, LOOPBACK)

    assert LIVE_KEY not in str(caught.value)


BAD_CHARACTERS = {
    "a line end": f"{TEST_KEY}\n",
    "a line end of another system": f"{LIVE_KEY}\r\n",
    "a space": f"{TEST_KEY} ",
    "letters that no header holds": f"{TEST_KEY}አ",
    "nothing after the prefix": "CHASECK_TEST-",
}


@pytest.mark.parametrize("key", BAD_CHARACTERS.values(), ids=BAD_CHARACTERS)
def test_a_key_that_cannot_be_sent_is_refused_before_it_is(key: str) -> None:
    """Pasted with the end of its line, it would fail only at the first payment."""
    with pytest.raises(ConfigurationError, match=r"^api_key: ") as caught:
        mode_of(key, HTTPS)

    assert "0123456789abcdef" not in str(caught.value)


class Vault:
    """The secret as an operator keeps it in Secrets Manager, and a store whose clock is moved."""

    def __init__(self) -> None:
        self.client = boto3.client("secretsmanager")
        self.reads = 0
        self.seconds = 1_000.0
        self.client.meta.events.register("before-call.secretsmanager.GetSecretValue", self._counted)
        self.store = SecretStore(self.client, "chapa", LOOPBACK, clock=lambda: self.seconds)

    def _counted(self, **_: object) -> None:
        self.reads += 1

    def keep(self, secret: object) -> None:
        text = secret if isinstance(secret, str) else json.dumps(secret)
        try:
            self.client.create_secret(Name="chapa", SecretString=text)
        except self.client.exceptions.ResourceExistsException:
            self.client.put_secret_value(SecretId="chapa", SecretString=text)

    def lose(self) -> None:
        self.client.delete_secret(SecretId="chapa", ForceDeleteWithoutRecovery=True)


@pytest.fixture
def vault() -> Iterator[Vault]:
    with mock_aws():
        yield Vault()


FIRST = {"api_key": TEST_KEY, "webhook_secret": "first"}
SECOND = {"api_key": TEST_KEY, "webhook_secret": "second", "webhook_secret_previous": "first"}


def test_the_secret_is_read_at_first_use(vault: Vault) -> None:
    vault.keep(FIRST)
    assert vault.reads == 0

    assert vault.store.current() == Secret(TEST_KEY, ("first",), "test")
    assert vault.reads == 1


def test_the_secret_is_read_once_a_minute(vault: Vault) -> None:
    vault.keep(FIRST)
    for _ in range(5):
        vault.store.current()
    vault.seconds = math.nextafter(vault.seconds + SECRET_SECONDS, 0)
    vault.store.current()
    assert vault.reads == 1

    vault.seconds += 1
    vault.store.current()
    assert vault.reads == 2


def test_a_rotation_arrives_within_a_minute(vault: Vault) -> None:
    vault.keep(FIRST)
    vault.store.current()
    vault.keep(SECOND)
    assert vault.store.current().webhook_secrets == ("first",)

    vault.seconds += SECRET_SECONDS
    assert vault.store.current().webhook_secrets == ("second", "first")


@pytest.mark.parametrize("broken", ["", "no JSON", {"api_key": "CHAPUBK-public"}, {}])
def test_half_a_rotation_does_not_stop_the_shop(
    vault: Vault, log: io.StringIO, broken: object
) -> None:
    vault.keep(FIRST)
    secret = vault.store.current()
    vault.keep(broken or "null")
    vault.seconds += SECRET_SECONDS

    assert vault.store.current() is secret


def test_a_secret_that_cannot_be_read_again_stays_and_is_asked_for_a_minute_later(
    vault: Vault, log: io.StringIO
) -> None:
    vault.keep(FIRST)
    secret = vault.store.current()
    vault.lose()
    vault.seconds += SECRET_SECONDS
    assert vault.store.current() is secret
    assert vault.store.current() is secret
    assert vault.reads == 2

    vault.keep(SECOND)
    vault.seconds += SECRET_SECONDS
    assert vault.store.current().webhook_secrets == ("second", "first")


def test_a_first_read_that_failed_is_tried_again_at_once(vault: Vault) -> None:
    with pytest.raises(ConfigurationError, match="SECRET_ID"):
        vault.store.current()
    vault.keep(FIRST)

    assert vault.store.current().api_key == TEST_KEY


UNREADABLE = {
    "no JSON": (f"api_key={TEST_KEY}", "SECRET_ID"),
    "half of it": (f'{{"api_key": "{TEST_KEY}', "SECRET_ID"),
    "a bare string": (json.dumps(TEST_KEY), "SECRET_ID"),
    "a list": (json.dumps([TEST_KEY]), "SECRET_ID"),
    "null": ("null", "SECRET_ID"),
    "no api_key": (json.dumps({"webhook_secret": TEST_KEY}), "api_key"),
    "an empty api_key": (json.dumps({"api_key": "", "webhook_secret": TEST_KEY}), "api_key"),
    "an api_key that is a list": (json.dumps({"api_key": [TEST_KEY]}), "api_key"),
    "a key of v2": (json.dumps({"api_key": FOREIGN_KEYS["live, of v2"]}), "api_key"),
    "a live key on this machine": (json.dumps({"api_key": LIVE_KEY}), "api_key"),
}


@pytest.mark.parametrize(("text", "named"), UNREADABLE.values(), ids=UNREADABLE)
def test_a_secret_that_cannot_be_right_is_named_and_never_quoted(
    vault: Vault, text: str, named: str
) -> None:
    vault.keep(text)

    with pytest.raises(ConfigurationError, match=f"^{named}: ") as caught:
        vault.store.current()

    error: BaseException | None = caught.value
    while error is not None:
        assert "0123456789abcdef" not in f"{error} {error!r}"
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def test_a_secret_that_is_not_there_is_named(vault: Vault) -> None:
    with pytest.raises(ConfigurationError, match=r"^SECRET_ID: .*ResourceNotFoundException"):
        vault.store.current()


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
def test_only_webhook_secrets_that_are_there_are_accepted(
    vault: Vault, values: dict[str, object], accepted: tuple[str, ...]
) -> None:
    vault.keep({"api_key": TEST_KEY} | values)

    assert vault.store.current().webhook_secrets == accepted


def test_a_secret_does_not_show_itself(vault: Vault) -> None:
    vault.keep(SECOND)
    secret = vault.store.current()

    for shown in (repr(secret), str(secret), repr(vault.store), f"{[secret]}"):
        assert TEST_KEY not in shown
        assert "first" not in shown
        assert "second" not in shown


def test_a_failed_refresh_is_told_without_the_secret(vault: Vault, log: io.StringIO) -> None:
    vault.keep(FIRST)
    vault.store.current()
    vault.keep(f'{{"api_key": "{LIVE_KEY}')
    vault.seconds += SECRET_SECONDS
    vault.store.current()

    line = json.loads(log.getvalue())
    assert (line["level"], line["message"]) == ("ERROR", "secret not refreshed")
    assert "SECRET_ID" in line["reason"]
    assert LIVE_KEY not in log.getvalue()
