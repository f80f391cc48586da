import logging
from collections.abc import Iterator
from unittest.mock import patch

import pytest
from moto import mock_aws

from payments.aws import items


@pytest.fixture(scope="module")
def aws() -> Iterator[None]:
    """moto for a module, without log lines, and with one shard of the due index instead of eight.

    The other seven queries of each sweep cost time and find nothing.
    """
    logging.disable()
    with mock_aws(), patch.object(items, "DUE_SHARDS", 1):
        yield
    logging.disable(logging.NOTSET)
