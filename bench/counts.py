"""Exact counts of calls and write units, on moto and the simulator, with the template's times.

An order has three lines, and a customer with all optional fields. Publishing is counted with it.
"""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any

from tests.environment import PROCESS, PUBLISHER, SETTINGS

if __name__ == "__main__":
    # Before the product is imported: it reads its settings at import, as on Lambda.
    os.environ.update(PROCESS | SETTINGS | PUBLISHER | {"POWERTOOLS_LOG_LEVEL": "CRITICAL"})

from moto import mock_aws
from moto.backends import get_backend
from moto.core.models import DEFAULT_ACCOUNT_ID

from bench.tables import Goal, markdown, verdict
from bench.units import Account, Item, counting
from payments.aws.bus import Bus
from payments.aws.repository import Repository
from payments.domain.states import OrderStatus
from payments.usecases.publish import Publisher
from tests.shop import Shop, invoke
from tests.template import template

LINES = {"COFFEE-250": 1, "MUG": 1, "FILTER-100": 2}
USER = "6f1d1c9e-7c61-4a36-9f0d-5b9c8a1f2e34"
"""As long as Cognito's subjects."""
CUSTOMER = {
    "first_name": "Derartu",
    "last_name": "Gebremariam",
    "email": "derartu.gebremariam@shop.example",
    "phone_number": "0911928374",
}
DAYS = 3

UNIT_PRICE = 0.625
"""Millionths of a dollar for a write unit on demand, us-east-1
(aws.amazon.com/dynamodb/pricing/on-demand)."""


def table_of() -> Any:
    """The table in moto itself."""
    backend: Any = get_backend("dynamodb")[DEFAULT_ACCOUNT_ID]["us-east-1"]
    return backend.tables["payments"]


class _AnyBus:
    """An event bus that takes everything."""

    events = 0

    def put_events(self, Entries: list[Any]) -> dict[str, Any]:  # noqa: N803
        self.events += len(Entries)
        return {"FailedEntryCount": 0, "Entries": [{"EventId": "1"} for _ in Entries]}


class Counted:
    """A shop whose calls to DynamoDB are counted."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.bus = _AnyBus()
        parameters = template()["Parameters"]
        shop.configure(
            check_after_seconds=parameters["CheckAfterSeconds"]["Default"],
            final_check_after_seconds=parameters["FinalCheckAfterSeconds"]["Default"],
            order_ttl_seconds=str(parameters["OrderTtlSeconds"]["Default"]),
        )
        shop.stock_up("FILTER-100", "Paper filters, 100", 12_000, "ETB", 50)
        self._indexes = template()["Resources"]["Table"]["Properties"]["GlobalSecondaryIndexes"]

    @contextmanager
    def counting(self) -> Iterator[Account]:
        with counting(self.shop.dynamodb, self._items, self._indexes) as account:
            yield account

    def _items(self) -> list[Item]:
        rows = table_of().items.values()
        return [item.to_json()["Attributes"] for row in rows for item in row.values()]

    def publish(self) -> None:
        """Let the stream hand over what was written, with the filter of the template."""
        marked = [i for i in self._items() if "EVENTS#" in str(i.get("due_shard", ""))]
        records = [
            {"dynamodb": {"NewImage": item, "SequenceNumber": str(number)}}
            for number, item in enumerate(marked)
        ]
        if not records:
            return
        repository = Repository(self.shop.dynamodb, "payments")
        publisher = Publisher(repository, Bus(self.bus, "bus"))  # type: ignore[arg-type]
        invoke("publish", {"Records": records}, publisher=publisher)

    def placed(self) -> str:
        response = self.shop.order(LINES, user=USER, customer=CUSTOMER)
        assert response.status == 201, response
        self.publish()
        return str(response.body["order_id"])

    def begun(self, order_id: str) -> str:
        tx_ref = str(self.shop.pay(order_id, user=USER).body["tx_ref"])
        self.publish()
        return tx_ref

    def paid(self) -> tuple[str, str]:
        """The order and its payment, after the webhook."""
        order_id = self.placed()
        tx_ref = self.begun(order_id)
        self.shop.control.pay(tx_ref, webhook=False)
        self.shop.clock.advance(40)
        assert self.shop.notify(tx_ref).body == {"outcome": "applied"}
        self.publish()
        return order_id, tx_ref


def paid(counted: Counted) -> Account:
    with counted.counting() as account:
        order_id, _ = counted.paid()
    assert counted.shop.aggregate(order_id).order.due_at is None
    return account


def expired(counted: Counted, *, attempted: bool) -> Account:
    """An order that nobody paid, until nothing is due any more."""
    with counted.counting() as account:
        order_id = counted.placed()
        if attempted:
            counted.begun(order_id)
        # The minute of the schedule is not the second in which an order becomes due.
        for _ in range(DAYS * 24 * 60):
            due_at = counted.shop.aggregate(order_id).order.due_at
            if due_at is None:
                break
            counted.shop.clock.advance(max(0, due_at - counted.shop.now) + 30)
            counted.shop.sweep()
            counted.publish()
    assert counted.shop.aggregate(order_id).order.status is OrderStatus.EXPIRED
    return account


ACCOUNTS = {
    "paid": (paid, 40),
    "expired without a payment": (lambda counted: expired(counted, attempted=False), 30),
    "expired with a payment": (lambda counted: expired(counted, attempted=True), 50),
}
"""By order: how it is counted, and the goal."""


def main() -> None:
    """Print the account of each unit."""
    found: dict[str, Account] = {}
    for name, (account, _) in ACCOUNTS.items():
        with mock_aws(), redirect_stdout(io.StringIO()):
            found[name] = account(Counted(Shop()))
    names = list(found)
    kinds = sorted({kind for account in found.values() for kind in account.units})
    rows = [[kind, *(each.units[kind] for each in found.values())] for kind in kinds]
    rows.append(["**all**", *(f"**{each.total}**" for each in found.values())])
    rows.append(["goal", *(f"≤ {goal}" for _, goal in ACCOUNTS.values())])
    cost = [f"{each.total * UNIT_PRICE:.1f}" for each in found.values()]
    rows.append(["millionths of a dollar", *cost])
    print(markdown(["Write units", *names], rows))
    goals = [Goal(name, found[name].total, goal) for name, (_, goal) in ACCOUNTS.items()]
    print(f"\n{verdict(goals)}")


if __name__ == "__main__":
    main()
