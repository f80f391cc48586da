import pytest

from payments.chapa.keys import V1, V2, Version, check_url, read_key, url_of
from payments.errors import ConfigurationError

HERE_V1, HERE_V2 = "http://127.0.0.1:8080/v1", "http://127.0.0.1:8080/v2"
TEST_V1, LIVE_V1 = "CHASECK_TEST-0123456789abcdef", "CHASECK-0123456789abcdef"
TEST_V2, LIVE_V2 = "CHAPA_TEST_PRIV_0123456789abcdef", "CHAPA_LIVE_PRIV_0123456789abcdef"


@pytest.mark.parametrize(
    ("key", "version", "mode"),
    [
        (TEST_V1, V1, "test"),
        (LIVE_V1, V1, "live"),
        (TEST_V2, V2, "test"),
        (LIVE_V2, V2, "live"),
        ("CHAPA_TEST_0123456789abcdef", V2, "test"),
        ("CHAPA_LIVE_TEST_0123456789abcdef", V2, "live"),
    ],
)
def test_key_decides_version_and_mode(key: str, version: Version, mode: str) -> None:
    assert read_key("api_key", key, ()) == (version, mode)


NO_KEYS = ["CHAPUBK_TEST-0123456789abcdef", "CHAPA_TEST_PUB_0123456789abcdef", LIVE_V2.lower()]
NO_KEYS += ["CHAPUBK-0123456789abcdef", LIVE_V1.lower(), f" {LIVE_V1}", f"Bearer {LIVE_V1}"]
NO_KEYS += ["sk_live_0123456789abcdef", f"{TEST_V1}\n", f"{LIVE_V2} x", f"{TEST_V1}አ"]
NO_KEYS += ["CHASECK_TEST-", "CHAPA_TEST_", "CHAPA_0123456789abcdef", f"{TEST_V2}\n"]


@pytest.mark.parametrize("key", NO_KEYS)
def test_wrong_key_is_refused_by_its_name_and_not_repeated(key: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^api_key_other: ") as caught:
        read_key("api_key_other", key, ())
    assert "0123456789abcdef" not in str(caught.value)


@pytest.mark.parametrize(("key", "url"), [(LIVE_V1, HERE_V1), (LIVE_V2, HERE_V2)])
def test_live_key_is_never_sent_without_tls(key: str, url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^api_key: .*https only") as caught:
        read_key("api_key", key, [url])
    assert key not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "v1", "v2"),
    [
        ([], "https://api.chapa.co/v1", "https://api.chapa.global/v2"),
        ([HERE_V1], HERE_V1, "https://api.chapa.global/v2"),
        ([HERE_V2], "https://api.chapa.co/v1", HERE_V2),
        ([HERE_V2, HERE_V1], HERE_V1, HERE_V2),
    ],
)
def test_each_version_has_the_given_url_or_its_own(given: list[str], v1: str, v2: str) -> None:
    assert [url_of(V1, given), url_of(V2, given)] == [v1, v2]


@pytest.mark.parametrize("version", [V1, V2])
def test_given_url_of_another_version_is_refused_by_name(version: Version) -> None:
    other = HERE_V2 if version is V1 else HERE_V1
    with pytest.raises(ConfigurationError, match=f"^CHAPA_URL: .*{version.ending}"):
        check_url(version, other, [other])
    check_url(version, other, [HERE_V1, HERE_V2])
    check_url(version, "", [])
