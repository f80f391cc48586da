"""Every test gets the environment of a deployed function, whatever the caller's environment is."""

import gc
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
from typing import Any
from unittest.mock import patch

import pytest
from moto import mock_aws
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

from payments.aws import items
from payments.chapa.keys import V1
from payments.telemetry import logger
from tests.journeys.stacks import stack_of
from tests.shop import Shop

# moto makes so many objects that the default threshold costs a fifth of the processor time.
gc.set_threshold(50_000)


class ByStack(LoadScopeScheduling):  # type: ignore[misc]
    """Runs the journeys of one deployed stack in one process, and any other test anywhere.

    Marks for `--dist=loadgroup` have no effect: pytest-xdist 3.8 passes them on in an attribute
    that pytest 9.2 no longer has.
    """

    def _split_scope(self, nodeid: str) -> str:
        return stack_of(nodeid) or nodeid


def pytest_xdist_auto_num_workers() -> int:
    """One more than there are processors: journeys wait, two stacks at a time."""
    return (os.process_cpu_count() or 1) + 1


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByStack:
    return ByStack(config, log)


@pytest.fixture
def provider() -> str:
    """The version of Chapa's API that opens payments of `shop`."""
    return V1.provider


@pytest.fixture
def shop(request: pytest.FixtureRequest, provider: str) -> Iterator[Shop]:
    """A shop in this process. After the test its data must violate no invariant.

    The due index has one shard, not eight: the other seven queries of each sweep find nothing.
    """
    with mock_aws(), patch.object(items, "DUE_SHARDS", 1):
        shop = Shop(provider)
        yield shop
        if not request.node.get_closest_marker("corrupts"):
            assert shop.audit() == []


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> StringIO:
    """The log lines of the functions, as CloudWatch receives them."""
    stream = StringIO()
    monkeypatch.setattr(logger.registered_handler, "stream", stream)
    return stream
