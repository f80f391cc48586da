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
        # A worker that dies here, as some are made to, must not hide its message for six minutes.
        shop.aws("sqs").set_queue_attributes(
            QueueUrl=stack["queues"]["reconcile"], Attributes={"VisibilityTimeout": "10"}
        )
        yield shop


@pytest.fixture
def shop(_stack: Shop) -> Iterator[Shop]:
    """The shop that all journeys share, with a Chapa that behaves until it is told not to."""
    was = _stack.chapa.settings()["switches"]
    yield _stack
    _stack.chapa.clear_faults()
    _stack.chapa.switch(**was)


@pytest.fixture
def impatient(shop: Shop) -> Iterator[Shop]:
    """A shop whose queue hands a message that failed out again after a second."""
    sqs, url = shop.aws("sqs"), shop.stack["queues"]["reconcile"]
    was = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["VisibilityTimeout"])["Attributes"]
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": "1"})
    yield shop
    sqs.set_queue_attributes(QueueUrl=url, Attributes=was)
