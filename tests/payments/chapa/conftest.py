import io
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from payments.telemetry import metrics
from tests.payments.chapa.builders import Api, Net


@pytest.fixture
def net() -> Iterator[Net]:
    net = Net(assert_all_requests_are_fired=False)
    with net:
        yield net


@pytest.fixture
def api() -> Api:
    return Api()


@pytest.fixture(autouse=True)
def counted() -> Iterator[dict[str, Any]]:
    metrics.clear_metrics()
    yield metrics.metric_set
    metrics.clear_metrics()


@pytest.fixture(autouse=True)
def called(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, bool]]:
    """The calls that were sent, and whether each was answered; `counted` has no metrics of them."""
    calls: list[tuple[str, bool]] = []
    monkeypatch.setattr(
        "payments.chapa.calls.called", lambda call, _, *, answered: calls.append((call, answered))
    )
    return calls


@pytest.fixture(autouse=True)
def slept(monkeypatch: pytest.MonkeyPatch, log: io.StringIO) -> list[float]:
    """The pauses before retries, which take no time."""
    pauses: list[float] = []
    monkeypatch.setattr("urllib3.util.retry.time", SimpleNamespace(sleep=pauses.append))
    return pauses
