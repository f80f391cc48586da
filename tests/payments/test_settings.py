from dataclasses import MISSING, FrozenInstanceError, fields

import pytest

from payments.domain.rules import Rules
from payments.errors import ConfigurationError
from payments.settings import PublisherSettings, Settings
from tests.environment import SETTINGS

REQUIRED = [each.name.upper() for each in fields(Settings) if each.default is MISSING]
DEFAULTS = {each.name: each.default for each in fields(Settings) if each.default is not MISSING}
WRONG = {
    "TABLE_NAME": [""],
    "QUEUE_URL": [""],
    "SECRET_ID": [""],
    "CHECKOUT_HOSTS": ["", ",", " , "],
    "SHOP_NAME": ["", "a" * 17],
    "ORDER_TTL_SECONDS": ["", "0", "-1", "1.5", "half an hour"],
    "LEASE_SECONDS": ["0", "soon"],
    "WAIT_SECONDS": ["-1", "nan"],
    "CHECK_AFTER_SECONDS": ["", "0", "90,-1", "90;120", "90,soon"],
    "FINAL_CHECK_AFTER_SECONDS": ["0", "a day"],
    "VERIFY_EVERY_SECONDS": ["0", "inf"],
    "LINK_SECONDS": ["0", "an hour"],
    "UNANSWERED_AFTER_SECONDS": ["0", ""],
    "PENDING_GRACE_SECONDS": ["-1", ""],
    "HOLD_STOCK_UNTIL_PAGE_EXPIRES": ["", "perhaps"],
    "REPUBLISH_AFTER_SECONDS": ["0", ""],
    "MAX_UNPAID_ORDERS": ["-1", "", "many"],
    "LATE_SUCCESS_POLICY": ["", "Reserve", "keep"],
    "COMPARE_DAYS": ["0", "", "x"],
}
TAKES_ANY_TEXT = {"TABLE_NAME", "QUEUE_URL", "SECRET_ID", "CHECKOUT_HOSTS"}


def settings(**changes: str) -> Settings:
    return Settings.from_environment(SETTINGS | {k.upper(): v for k, v in changes.items()})


def without(name: str) -> dict[str, str]:
    return {key: value for key, value in SETTINGS.items() if key != name}


def test_environment_becomes_settings_and_rules() -> None:
    found = settings(path="/bin")
    assert found.shop_name == "Shop"
    assert found.rules == Rules(
        order_ttl=1800,
        lease=60,
        link=3600,
        check_after=(90, 120, 300, 600, 1800, 3600),
        final_check_after=(3600, 86400),
        unanswered_after=86400,
        pending_grace=300,
        hold_until_page_expires=True,
        verify_every=3,
        late_success="reserve",
    )
    assert found == settings()
    with pytest.raises(FrozenInstanceError):
        found.shop_name = "Another"  # type: ignore[misc]


def test_spaces_in_a_list_do_not_matter() -> None:
    found = settings(checkout_hosts=" a.example , b.example,")
    assert found.checkout_hosts == ("a.example", "b.example")


@pytest.mark.parametrize("name", REQUIRED)
def test_missing_setting_is_named(name: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^{name}: "):
        Settings.from_environment(without(name))


@pytest.mark.parametrize(("name", "default"), DEFAULTS.items())
def test_optional_setting_has_a_default(name: str, default: object) -> None:
    assert getattr(Settings.from_environment(without(name.upper())), name) == default


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in WRONG.items() for value in values]
)
def test_wrong_setting_is_named(name: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^{name}: "):
        settings(**{name: value})


def test_all_problems_are_reported_at_once() -> None:
    with pytest.raises(ConfigurationError) as caught:
        Settings.from_environment({})
    named = [problem.partition(":")[0] for problem in str(caught.value).split("; ")]
    assert named == REQUIRED
    assert set(WRONG) == set(REQUIRED)  # Wrong values are tried for each of them.


def test_publisher_needs_only_table_and_bus() -> None:
    given = {"TABLE_NAME": "payments", "BUS_NAME": "chapa-payments"}
    assert PublisherSettings.from_environment(given).bus_name == "chapa-payments"
    for missing in given:
        with pytest.raises(ConfigurationError, match=f"^{missing}: "):
            PublisherSettings.from_environment(given | {missing: ""})
    assert not hasattr(settings(), "bus_name")


def test_message_repeats_no_value() -> None:
    value = "CHASECK-pasted-into-the-wrong-place" + "!" * 20
    with pytest.raises(ConfigurationError) as caught:
        settings(**dict.fromkeys(set(REQUIRED) - TAKES_ANY_TEXT, value))
    assert value not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


HERE = ["http://127.0.0.1:8080/v1", "http://localhost:8080/v2"]
THERE = ["https://api.chapa.co/v1", "https://api.chapa.co/v1/", "https://api.chapa.global/v2"]
URLS = ["chapa_url", "chapa_url_other"]


@pytest.mark.parametrize("url", [*HERE, *THERE, ""])
@pytest.mark.parametrize("name", URLS)
def test_chapa_is_called_over_https_or_on_this_machine(name: str, url: str) -> None:
    found = settings(**(dict.fromkeys(URLS, "") | {name: url}))
    assert getattr(found, name) == url.removesuffix("/")
    assert found.chapa_urls == ((url.removesuffix("/"),) if url else ())


NOT_HERE = ["http://api.chapa.co/v1", "http://127.0.0.1.shop.example/v1", "api.chapa.co/v1"]
NOT_HERE += ["http://localhost.shop.example/v2", "http://10.0.0.1:8080/v1", "ftp://api.chapa.co/v1"]
NO_VERSION = ["https://api.chapa.global/v3", "https://api.chapa.co", "https://api.chapa.co/v1/x"]


@pytest.mark.parametrize(
    ("url", "message"),
    [(url, "https, or http on this") for url in NOT_HERE] + [(url, "/v1 or") for url in NO_VERSION],
)
@pytest.mark.parametrize("name", URLS)
def test_other_url_of_chapa_is_refused(name: str, url: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{name.upper()}: .*{message}"):
        settings(**(dict.fromkeys(URLS, "") | {name: url}))


def test_two_urls_of_one_version_are_refused() -> None:
    urls = {
        "chapa_url": "https://api.chapa.co/v2",
        "chapa_url_other": "https://api.chapa.global/v2",
    }
    with pytest.raises(ConfigurationError, match=r"^CHAPA_URL_OTHER: .*another version"):
        settings(**urls)
