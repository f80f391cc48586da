"""Read units of a sweep with 1,000 due orders among many: exact, on moto.

How long it takes on moto says nothing: moto reads its whole table at each query.
`python -m bench.sweep [ORDERS]` prints the table; ORDERS is the largest number of orders.
"""

import io
import os
import sys
from contextlib import redirect_stdout
from typing import Any

from tests.environment import PROCESS, PUBLISHER, SETTINGS

if __name__ == "__main__":
    # Before the product is imported: it reads its settings at import, as on Lambda.
    os.environ.update(PROCESS | SETTINGS | PUBLISHER | {"POWERTOOLS_LOG_LEVEL": "CRITICAL"})

from moto import mock_aws
from moto.dynamodb.models.dynamo_type import DynamoType, Item

from bench.counts import Counted, table_of
from bench.tables import Goal, markdown, verdict
from bench.units import Account
from payments.aws.items import item_of, record_key, serialize
from payments.domain.records import Line, Order
from tests.shop import Shop

DUE = 1_000
ORDERS = (1_000, 10_000, 100_000)
FLAT = 0.1
LATER = 30 * 24 * 3600
LINES = (Line("COFFEE-250", "Yirgacheffe coffee, 250 g", 2, 45_000),)


def add_orders(now: int, orders: int, due: int) -> None:
    """Orders of which the first so many are due now, and the others some time later."""
    items: Any = table_of().items
    for number in range(orders):
        due_at = now if number < due else now + 1 + number % LATER
        order_id = f"{number:012d}"
        order = Order(order_id, "abebe", 90_000, "ETB", LINES, now, due_at, "hash", due_at=due_at)
        key = record_key(order_id, order)
        stored = key | {name: serialize(value) for name, value in item_of(order).items()}
        item = Item(DynamoType(key["pk"]), DynamoType(key["sk"]), stored)
        items[item.hash_key][item.range_key] = item


def swept(counted: Counted, orders: int, due: int) -> Account:
    """What one sweep costs in a table that has no other orders."""
    add_orders(counted.shop.now, orders, due)
    with counted.counting() as account:
        sent = counted.shop.call("expire", {})["sent"]
    assert sent == due, sent
    return account


def main() -> None:
    most = int(sys.argv[1]) if len(sys.argv) > 1 else ORDERS[-1]
    found: dict[int, Account] = {}
    for orders in (number for number in ORDERS if number <= most):
        with mock_aws(), redirect_stdout(io.StringIO()):
            found[orders] = swept(Counted(Shop()), orders, DUE)
    rows = [
        [f"{orders:,}", f"{DUE:,}", account.calls["Query"], f"{account.reads:g}", account.total]
        for orders, account in found.items()
    ]
    head = ["Orders", "due", "queries", "read units", "write units"]
    print(markdown(head, rows))
    least, largest = (bound(a.reads for a in found.values()) for bound in (min, max))
    print(f"\n{verdict([Goal('read units, most ÷ least', largest / least, 1 + FLAT)])}")


if __name__ == "__main__":
    main()
