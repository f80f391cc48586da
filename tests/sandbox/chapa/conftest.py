import random
from collections.abc import Iterator

import pytest
import requests

from sandbox.chapa.control import Control
from sandbox.chapa.in_process import BASE_URL, ManualClock, session_for
from sandbox.chapa.settings import Settings
from sandbox.chapa.simulator import Simulator
from tests.sandbox.chapa.merchant import SECRET, WEBHOOK_URL, Inbox, Merchant


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def inbox() -> Inbox:
    return Inbox()


@pytest.fixture
def simulator(clock: ManualClock, inbox: Inbox) -> Simulator:
    return Simulator(
        Settings(webhook_url=WEBHOOK_URL, webhook_secret=SECRET),
        clock=clock,
        rng=random.Random(7),
        send=inbox,
        hold=clock.advance,
    )


@pytest.fixture
def session(simulator: Simulator) -> Iterator[requests.Session]:
    with session_for(simulator) as session:
        yield session


@pytest.fixture
def merchant(session: requests.Session) -> Merchant:
    return Merchant(session)


@pytest.fixture
def control(session: requests.Session) -> Control:
    return Control(BASE_URL, session)
