"""Replaces two slow parts of moto; its results stay the same.

With 170 items in the table, placing, paying and showing an order took 115 ms and takes 60 ms; a
scan of all items took 155 ms and takes 26 ms.
"""

import copy
from typing import Any

from moto.core.utils import get_service_model
from moto.dynamodb.models import DynamoDBBackend
from moto.dynamodb.models.table import Table


def install() -> None:
    # Keeps each attribute value as it arrives. Otherwise moto looks in each for ten possible
    # members, under several spellings.
    shapes: Any = vars(get_service_model("dynamodb"))["_service_description"]["shapes"]
    shapes["AttributeValue"]["document"] = True
    DynamoDBBackend.transact_write_items = _transact  # type: ignore[method-assign]


_transact_write_items = DynamoDBBackend.transact_write_items


def _transact(self: DynamoDBBackend, transact_items: list[dict[str, Any]]) -> None:
    """Copies the table once for the rollback, not once for each item of the transaction."""
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
