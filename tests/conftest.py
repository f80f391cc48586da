"""Every test gets the environment of a deployed function, whatever the caller's environment is."""

import os
import re
import time

from tests.environment import FOREIGN, PROCESS, PUBLISHER, SETTINGS

# Before the product is imported: it reads its settings at import, as on Lambda.
if foreign := [name for name in os.environ if re.fullmatch(FOREIGN, name.upper())]:
    for name in foreign:
        del os.environ[name]
os.environ.update(PROCESS | SETTINGS | PUBLISHER)
if hasattr(time, "tzset"):
    time.tzset()

from collections.abc import Iterator
from io import StringIO

import pytest
from moto import mock_aws

from payments.telemetry import logger
from tests.shop import Shop


@pytest.fixture
def shop(request: pytest.FixtureRequest) -> Iterator[Shop]:
    """A shop in this process. After the test its data must violate no invariant."""
    with mock_aws():
        shop = Shop()
        yield shop
        if not request.node.get_closest_marker("corrupts"):
            assert shop.audit() == []


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> StringIO:
    """The log lines of the functions, as CloudWatch receives them."""
    stream = StringIO()
    monkeypatch.setattr(logger.registered_handler, "stream", stream)
    return stream
