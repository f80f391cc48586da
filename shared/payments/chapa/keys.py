"""Which version of Chapa's API a secret key belongs to, in which mode, and where that API is.

Keys of the classic dashboard begin with CHASECK (developer.chapa.co), keys of the current one with
CHAPA_TEST_ or CHAPA_LIVE_ (docs.chapa.global, test and live mode). Neither works on the other
version's platform. The versions count amounts in different units, so a key and a URL that do not
fit are refused.
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

from payments.errors import ConfigurationError


class Version(NamedTuple):
    provider: str
    """What is stored with each payment that it opened."""
    url: str
    """Where its API is, unless a setting says something else."""
    key: re.Pattern[str]

    @property
    def ending(self) -> str:
        """How every URL of this version ends."""
        return self.url[self.url.rindex("/") :]


V1 = Version(
    "chapa-v1",
    "https://api.chapa.co/v1",
    re.compile(r"CHASECK(?P<test>_TEST)?-[\x21-\x7e]+"),
)
V2 = Version(
    "chapa-v2",
    "https://api.chapa.global/v2",
    # A public key is no secret key.
    re.compile(r"CHAPA_(?:LIVE|(?P<test>TEST))_(?!PUB)[\x21-\x7e]+"),
)
VERSIONS = (V1, V2)


def url_of(version: Version, given: Iterable[str]) -> str:
    """The given URL that ends as those of the version do, or else the version's own."""
    return next((url for url in given if url.endswith(version.ending)), version.url)


def read_key(name: str, api_key: str, given: Iterable[str]) -> tuple[Version, str]:
    """The version and the mode, `test` or `live`, of a key.

    `name` is the key's name in the secret. Raises ConfigurationError for what cannot be a secret
    key, and for a live key that would be sent without TLS.
    """
    for version in VERSIONS:
        if (found := version.key.fullmatch(api_key)) is None:
            continue
        if found["test"]:
            return version, "test"
        if not url_of(version, given).startswith("https://"):
            raise ConfigurationError(f"{name}: a live key is sent over https only; see CHAPA_URL")
        return version, "live"
    raise ConfigurationError(
        f"{name}: must begin with CHASECK- or CHASECK_TEST- (a secret key of Chapa's v1), or with"
        " CHAPA_LIVE_ or CHAPA_TEST_ (of v2), and be printable ASCII without spaces"
    )


def check_url(version: Version, chapa_url: str, given: Iterable[str]) -> None:
    """Raises ConfigurationError if CHAPA_URL is given, and no given URL is of the key's version."""
    if chapa_url and not any(url.endswith(version.ending) for url in given):
        raise ConfigurationError(
            f"CHAPA_URL: does not end in {version.ending}, and api_key is a key of that version"
        )
