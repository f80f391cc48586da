"""Two deployed stacks side by side: with xdist each group of files runs in one process on its own.

Each stack has real functions, a real table and queue, and a Chapa simulator. Parameters shorten
the waits that have one; for the others a test moves an order's times in the table.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.stack import Stack
from tests.journeys.shop import DeployedShop

GROUPS = ("stack-1", "stack-2")
SECOND = {"test_access", "test_expiry", "test_fuzz", "test_webhook"}
"""Files of the second group. Both groups take about the same time."""

LAST = "test_what_is_left"
"""Runs at the end of each group, on what the group left behind."""

PARAMS = {
    "VerifyEverySeconds": "1",
    "WaitSeconds": "1",
    # Nothing becomes due by itself during a test.
    "LookAfterSeconds": "600",
    "RepublishAfterSeconds": "2",
    "ReturnUrl": "https://shop.example/thanks",
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "group" in metafunc.fixturenames:
        metafunc.parametrize("group", GROUPS)


def group_of(item: pytest.Item) -> str:
    if item.path.stem == LAST:
        assert isinstance(item, pytest.Function)
        return str(item.callspec.params["group"])
    return GROUPS[item.path.stem in SECOND]


@pytest.hookimpl(tryfirst=True)  # xdist reads the marks in a hook of the same name.
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The journeys come first, since they take longest."""
    journeys = [item for item in items if item.path.parent == Path(__file__).parent]
    for item in journeys:
        item.add_marker(pytest.mark.xdist_group(group_of(item)))
    journeys.sort(key=lambda item: (group_of(item), item.path.stem == LAST))
    items[:] = journeys + [item for item in items if item not in set(journeys)]


@pytest.fixture(scope="session")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DeployedShop]:
    directory = tmp_path_factory.mktemp("stack")
    with Stack(directory, params=PARAMS) as stack, DeployedShop(stack) as shop:
        # A webhook of Chapa's own comes only where a test asks for it.
        shop.chapa.switch(callback="none", cancel_event="none")
        # On a busy machine Chapa must not send a webhook twice because the first was slow.
        shop.chapa.set(send_timeout=60)
        # The message of a worker that is stopped comes back after ten seconds, not six minutes.
        with shop.retried_after(10):
            yield shop


@pytest.fixture
def shop(deployed: DeployedShop) -> Iterator[DeployedShop]:
    """The shared shop; Chapa's faults and switches are as before after the test."""
    before = deployed.chapa.settings()["switches"]
    yield deployed
    deployed.chapa.clear_faults()
    deployed.chapa.switch(**before)
