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
from typing import Any

import pytest
from moto import mock_aws
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

from payments.telemetry import logger
from tests.journeys.stacks import stack_of
from tests.shop import Shop


class ByStack(LoadScopeScheduling):  # type: ignore[misc]
    """Runs the journeys of one deployed stack in one process, and any other test anywhere.

    Marks for `--dist=loadgroup` have no effect: pytest-xdist 3.8 passes them on in an attribute
    that pytest 9.2 no longer has.
    """

    def _split_scope(self, nodeid: str) -> str:
        return stack_of(nodeid) or nodeid


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByStack:
    return ByStack(config, log)


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
