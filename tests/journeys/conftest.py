"""One stack for all journeys: real functions, a real table and queue, Chapa beside them.

Time is compressed where a parameter can; where it cannot, an order is made older in the table.
"""

from collections.abc import Iterator

import pytest

from sandbox.stack import Stack
from tests.journeys.shop import Shop

PARAMS = {
    "VerifyEverySeconds": "1",
    "WaitSeconds": "1",
    # Nothing becomes due by itself while a test looks.
    "LookAfterSeconds": "600",
    "RepublishAfterSeconds": "2",
    "ReturnUrl": "https://shop.example/thanks",
}


@pytest.fixture(scope="session")
def _stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    directory = tmp_path_factory.mktemp("stack")
    with Stack(directory, params=PARAMS) as stack, Shop(stack) as shop:
        # The callback only makes the worker look once more; a test that is about it switches it on.
        shop.chapa.switch(callback="none")
        yield shop


@pytest.fixture
def shop(_stack: Shop) -> Iterator[Shop]:
    """The shop that all journeys share, with a Chapa that behaves until it is told not to."""
    yield _stack
    _stack.chapa.clear_faults()
    _stack.chapa.switch(callback="none")
