import logging
from collections.abc import Iterator

import pytest
from moto import mock_aws

from tests.search.interleavings.scenes import Stage
from tests.search.interleavings.world import World, one_shard


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    logging.disable()
    with mock_aws(), one_shard():
        yield Stage(World())
    logging.disable(logging.NOTSET)
