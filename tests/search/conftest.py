import logging
from collections.abc import Iterator
from unittest.mock import patch

import pytest
from moto import mock_aws

from payments.aws import items
from tests.shop import PROVIDERS


@pytest.fixture(scope="module", params=PROVIDERS)
def provider(request: pytest.FixtureRequest) -> str:
    """The version of Chapa's API that opens payments: first the one that PROVIDER chooses."""
    return str(request.param)


@pytest.fixture(scope="module")
def aws(provider: str) -> Iterator[None]:
    """moto for a provider, without log lines, and with one shard of the due index, not eight.

    The other seven queries of each sweep cost time and find nothing.
    """
    logging.disable()
    with mock_aws(), patch.object(items, "DUE_SHARDS", 1):
        yield
    logging.disable(logging.NOTSET)
