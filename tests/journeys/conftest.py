"""The deployed stack of this process; see `stacks.py` for which tests share one.

It has real functions, a real table and queue, and a Chapa simulator. Parameters shorten
the waits that have one; for the others a test moves an order's times in the table.
"""

from collections.abc import Iterator

import pytest

from sandbox.stack import Stack
from tests.journeys.shop import DeployedShop
from tests.journeys.stacks import LAST, STACKS, stack_of

RETRY_SECONDS = 10
"""For the message of a worker that a test stops; six minutes in the template."""

PARAMS = {
    "VerifyEverySeconds": "1",
    "WaitSeconds": "1",
    # Nothing becomes due by itself during a test.
    "CheckAfterSeconds": "600",
    "RepublishAfterSeconds": "2",
    "MaxUnpaidOrders": "0",
    "AlarmEmail": "alarms@shop.example",
    "ReturnUrl": "https://shop.example/thanks",
    "AllowedOrigins": "https://shop.example,http://localhost:3000",
    "LoginDomainPrefix": "shop-in-tests",
    "LoginCallbackUrls": "http://localhost:3000/signed-in",
    "SelfSignUp": "true",
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "stack" in metafunc.fixturenames:
        metafunc.parametrize("stack", STACKS)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The journeys come first, since they take longest, and the checks at the end of each stack."""
    journeys = [item for item in items if stack_of(item.nodeid)]
    journeys.sort(key=lambda item: (stack_of(item.nodeid), LAST in item.nodeid))
    items[:] = journeys + [item for item in items if item not in set(journeys)]


@pytest.fixture(scope="session")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DeployedShop]:
    directory = tmp_path_factory.mktemp("stack")
    stack = Stack(directory, params=PARAMS, enforce_permissions=True)
    with stack as described, DeployedShop(described, directory) as shop:
        # A webhook of Chapa's own comes only where a test asks for it.
        shop.chapa.switch(callback="none", cancel_event="none")
        shop.chapa.switch_v2(callback="none")
        # On a busy machine Chapa must not send a webhook twice because the first was slow.
        shop.chapa.set(send_timeout=60)
        shop.retry_messages_after(RETRY_SECONDS)
        yield shop


@pytest.fixture
def shop(deployed: DeployedShop) -> Iterator[DeployedShop]:
    """The shared shop; Chapa's faults and switches are as before after the test."""
    before = deployed.chapa.settings()["switches"]
    yield deployed
    deployed.chapa.clear_faults()
    deployed.chapa.switch(**before)
    deployed.retry_messages_after(RETRY_SECONDS)
