"""What moto does slowly, done fast. It stays moto that decides.

With 170 items in the table an order that is placed, begun, paid and shown took 115 ms, now 60, and
a scan of them all 155 ms, now 26.
"""

import copy
from typing import Any

from moto.core.utils import get_service_model
from moto.dynamodb.models import DynamoDBBackend
from moto.dynamodb.models.table import Table


def install() -> None:
    # An attribute value is stored as it goes over the wire. Left alone, moto asks each for the ten
    # members that it might have, under several spellings.
    shapes: Any = vars(get_service_model("dynamodb"))["_service_description"]["shapes"]
    shapes["AttributeValue"]["document"] = True
    DynamoDBBackend.transact_write_items = _transact  # type: ignore[method-assign]


_transact_write_items = DynamoDBBackend.transact_write_items


def _transact(self: DynamoDBBackend, transact_items: list[dict[str, Any]]) -> None:
    """With one copy of the table to go back to, not one for each item of the transaction."""
    copies: dict[int, Table] = {}

    def once(table: Table, memo: dict[int, Any]) -> Table:
        if id(table) not in copies:
            other = copies[id(table)] = copy.copy(table)
            other.items = copy.deepcopy(table.items, memo)
            if shard := table.stream_shard:
                other.stream_shard = copy.copy(shard)
                other.stream_shard.items = list(shard.items)
        return copies[id(table)]

    Table.__deepcopy__ = once  # type: ignore[attr-defined]
    try:
        _transact_write_items(self, transact_items)
    finally:
        del Table.__deepcopy__  # type: ignore[attr-defined]
