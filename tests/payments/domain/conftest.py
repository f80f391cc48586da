from typing import Any

import pytest

from payments.domain.aggregate import Event, OrderAggregate
from payments.domain.records import Order, Payment, Refund


@pytest.fixture(autouse=True)
def times_are_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a test does: each event has a time, and each payment and refund its beginning."""
    record, put = OrderAggregate.record, OrderAggregate.put

    def recorded(aggregate: OrderAggregate, *events: Event) -> OrderAggregate:
        assert [event for event in events if type(event.at) is not int] == []
        return record(aggregate, *events)

    def kept(aggregate: OrderAggregate, one: Order | Payment | Refund) -> OrderAggregate:
        created: Any = one.created_at
        assert type(created) is int
        return put(aggregate, one)

    monkeypatch.setattr(OrderAggregate, "record", recorded)
    monkeypatch.setattr(OrderAggregate, "put", kept)
