"""One DynamoDB table: reads, and conditional writes that are tried again where that may help."""

import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import batched
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from payments.aws.items import (
    STOCK_PREFIX,
    deserialize,
    plain,
    product_in,
    serialize,
    serialized,
)
from payments.errors import Busy, CatalogueError, OutOfStock

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

CONFLICT_TRIES = 8
"""Tries of one transaction against others that hold the same items at the same moment."""

UNPROCESSED_TRIES = 6
"""Tries of a batch read whose keys come back unprocessed under throttling."""

FIRST_PAUSE_SECONDS = 0.02
"""Of a backoff with full jitter that doubles with each try."""

PASSING = {None, "None", "TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"}
"""Reasons of a cancelled transaction that a repetition may overcome."""

NOT_UPDATED = {"ConditionalCheckFailedException", "TransactionConflictException"}
"""Refusals of a single update that need no retry: another process writes what it is about."""

CHANCE = random.SystemRandom()
"""From the operating system: with SnapStart, all copies of a snapshot share the state of `random`
(docs.aws.amazon.com/lambda/latest/dg/snapstart-uniqueness.html)."""


class Stale(Exception):
    """Another process wrote first: read again, decide again."""


class Table:
    def __init__(
        self,
        client: "DynamoDBClient",
        table_name: str,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._client = client
        self._table = table_name
        self._sleep = sleep

    def _batch_get(
        self, keys: Sequence[dict[str, Any]], *, consistent: bool = True
    ) -> Iterator[dict[str, Any]]:
        for some in batched(keys, 100, strict=False):
            wanted: Any = {self._table: {"Keys": list(some), "ConsistentRead": consistent}}
            for _ in self._tries(UNPROCESSED_TRIES, "The table is overloaded. Try again."):
                answer = self._client.batch_get_item(RequestItems=wanted)
                yield from map(plain, answer["Responses"].get(self._table, []))
                wanted = answer.get("UnprocessedKeys")
                if not wanted:
                    break

    def _update_if(self, key: dict[str, Any], **update: Any) -> bool:
        """Whether the update's condition held, and no transaction was at the item."""
        try:
            self._client.update_item(TableName=self._table, Key=key, **update)
        except ClientError as error:
            if error.response["Error"]["Code"] in NOT_UPDATED:
                return False
            raise
        return True

    def _write(self, writes: list[dict[str, Any]]) -> None:
        if len(writes) == 1:
            self._write_one(writes[0])
        else:
            self._transact(writes)

    def _write_one(self, write: dict[str, Any]) -> None:
        """Half the price of a transaction. One whose answer was lost is Stale when repeated."""
        [(kind, request)] = write.items()
        send = self._client.update_item if kind == "Update" else self._client.put_item
        for _ in self._tries(CONFLICT_TRIES, "Too many write the same item at once. Try again."):
            try:
                send(**request)
            except ClientError as error:
                code = error.response["Error"]["Code"]
                if code == "ConditionalCheckFailedException":
                    raise Stale from None
                if code != "TransactionConflictException":
                    raise
            else:
                return

    def _transact(self, writes: list[dict[str, Any]]) -> None:
        for _ in self._tries(CONFLICT_TRIES, "Too many write the same items at once. Try again."):
            try:
                self._client.transact_write_items(TransactItems=writes)  # type: ignore[arg-type]
            except self._client.exceptions.TransactionCanceledException as error:
                reasons: Any = error.response["CancellationReasons"]
                _raise_failed_condition(writes, reasons)
            except self._client.exceptions.TransactionInProgressException:
                pass
            else:
                return
            # Held by another transaction or throttled: nothing was decided, so try the same again.

    def _put(self, key: dict[str, Any], item: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "Put": {
                "TableName": self._table,
                "Item": key | serialized(item),
                "ConditionExpression": "attribute_not_exists(pk)",
            }
        }

    def _update(
        self,
        key: dict[str, Any],
        old: Mapping[str, Any],
        new: Mapping[str, Any],
        conditions: Mapping[str, Sequence[Any]],
    ) -> dict[str, Any]:
        """Set what differs and remove what is gone, if each named attribute has a listed value.

        The value None stands for an attribute that is not stored.
        """
        names: dict[str, str] = {}
        values: dict[str, Any] = {}

        def name_of(attribute: str) -> str:
            names[f"#{attribute}"] = attribute
            return f"#{attribute}"

        def value_of(value: Any) -> str:
            placeholder = f":v{len(values)}"
            values[placeholder] = serialize(value)
            return placeholder

        changed = [name for name, value in new.items() if old.get(name) != value]
        gone = [name for name in old if name not in new]
        parts = []
        if changed:
            parts.append(
                "SET " + ", ".join(f"{name_of(name)} = {value_of(new[name])}" for name in changed)
            )
        if gone:
            parts.append("REMOVE " + ", ".join(map(name_of, gone)))
        return {
            "Update": {
                "TableName": self._table,
                "Key": key,
                "UpdateExpression": " ".join(parts),
                "ConditionExpression": " AND ".join(
                    f"attribute_not_exists({name_of(name)})"
                    if allowed == [None]
                    else f"{name_of(name)} IN ({', '.join(map(value_of, allowed))})"
                    for name, allowed in conditions.items()
                ),
                "ExpressionAttributeNames": names,
                "ExpressionAttributeValues": values,
            }
        }

    def _tries(self, most: int, why_not: str) -> Iterator[None]:
        """One turn for each try, with a growing pause in between; raises Busy after the last."""
        for number in range(most):
            if number:
                self._sleep(CHANCE.uniform(0, FIRST_PAUSE_SECONDS * 2 ** (number - 1)))
            yield
        raise Busy(why_not, retry_after=1)


def items_of(pages: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    for page in pages:
        yield from map(plain, page["Items"])


def _raise_failed_condition(writes: list[dict[str, Any]], reasons: list[dict[str, Any]]) -> None:
    """Raise why the transaction can never succeed; return when a repetition may."""
    short: list[str] = []
    for write, reason in zip(writes, reasons, strict=True):
        code = reason.get("Code")
        if code == "ConditionalCheckFailed":
            change = write.get("Update")
            if change is None or not change["Key"]["pk"]["S"].startswith(STOCK_PREFIX):
                raise Stale
            short.append(_short_of(change, reason.get("Item")))
        elif code not in PASSING:
            raise RuntimeError(f"transaction refused: {code}: {reason.get('Message')}")
    if short:
        raise OutOfStock("Some products are sold out.", skus=sorted(short))


def _short_of(change: Mapping[str, Any], item: Mapping[str, Any] | None) -> str:
    """The SKU whose units cannot be taken. Raises Stale when only the price changed."""
    sku = str(change["Key"]["pk"]["S"]).removeprefix(STOCK_PREFIX)
    taken = change["ExpressionAttributeValues"].get(":taken")
    product = product_in(plain(item)) if item else None
    if taken is None:
        raise CatalogueError(f"Product {sku} is gone, but orders hold units of it.", sku=sku)
    if product and product.for_sale and product.available >= deserialize(taken):
        raise Stale
    return sku  # Sold out, or it left the catalogue.
