"""What every test starts from: a deployed function's environment, and nobody's AWS account."""

import os

from tests.environment import PROCESS, PUBLISHER, SETTINGS

# Before anything of the product is imported: it reads its settings at import, as on Lambda.
os.environ.update(PROCESS)
os.environ.update(SETTINGS)
os.environ.update(PUBLISHER)
os.environ.pop("AWS_PROFILE", None)
os.environ.pop("AWS_ENDPOINT_URL", None)

from collections.abc import Iterator
from io import StringIO

import pytest
from moto import mock_aws

from payments.telemetry import logger
from tests.shop import Shop


@pytest.fixture
def shop(request: pytest.FixtureRequest) -> Iterator[Shop]:
    """A shop on an AWS and a Chapa inside this process, whose clock stands still.

    Whatever a test did with it, the promises hold in the end.
    """
    with mock_aws():
        shop = Shop()
        yield shop
        if not request.node.get_closest_marker("corrupts"):
            assert shop.audit() == []


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> StringIO:
    """What the functions log, as it would arrive at CloudWatch."""
    stream = StringIO()
    monkeypatch.setattr(logger.registered_handler, "stream", stream)
    return stream
