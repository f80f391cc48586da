"""What the comparison with a provider's list reads and notes."""

from collections.abc import Iterable
from dataclasses import asdict, replace
from typing import Any

from botocore.exceptions import ClientError

from payments.aws.items import (
    PaymentKey,
    comparison_key,
    comparison_of,
    order_key,
    payment_of,
    plain,
    serialize,
    serialized,
)
from payments.aws.table import CONFLICT_TRIES, NOT_UPDATED, Stale, Table
from payments.domain.comparison import Comparison
from payments.domain.records import Payment
from payments.telemetry import logger


class Comparisons(Table):
    def payments(self, keys: Iterable[PaymentKey]) -> dict[PaymentKey, Payment]:
        """Those of the payments that exist and can be read. Raises Busy."""
        wanted = [order_key(key.order_id, f"PAYMENT#{key.tx_ref}") for key in dict.fromkeys(keys)]
        found: dict[PaymentKey, Payment] = {}
        for item in self._batch_get(wanted):
            key = PaymentKey(item["pk"].partition("#")[2], item["sk"].partition("#")[2])
            try:
                found[key] = payment_of(item)
            except (LookupError, TypeError, ValueError) as error:
                # The audit names it; the others must not wait for it.
                kind = type(error).__name__
                logger.error("payment cannot be read", **key._asdict(), kind=kind)
        return found

    def mark_listed(self, key: PaymentKey, at: int) -> bool:
        """Note that the comparison which began then has found the payment in the provider's list.

        Outside the version, since it decides nothing. False when that was noted. Raises Busy.
        """
        for _ in self._tries(CONFLICT_TRIES, "The payment is being changed by too many at once."):
            try:
                self._client.update_item(
                    TableName=self._table,
                    Key=order_key(key.order_id, f"PAYMENT#{key.tx_ref}"),
                    UpdateExpression="SET listed_at = :at",
                    ConditionExpression="attribute_exists(pk) AND "
                    "(attribute_not_exists(listed_at) OR listed_at < :at)",
                    ExpressionAttributeValues={":at": serialize(at)},
                )
            except self._client.exceptions.ConditionalCheckFailedException:
                return False
            except self._client.exceptions.TransactionConflictException:
                continue
            break
        return True

    def comparison(self, provider: str) -> Comparison | None:
        """How far the comparison with a provider's list is; None before the first one."""
        answer = self._client.get_item(
            TableName=self._table, Key=comparison_key(provider), ConsistentRead=True
        )
        return comparison_of(plain(answer["Item"])) if "Item" in answer else None

    def save_comparison(self, before: Comparison | None, after: Comparison) -> Comparison:
        """Raises Stale when another process saved one since `before` was read."""
        saved = replace(after, version=(before.version if before else 0) + 1)
        values = {name: value for name, value in asdict(saved).items() if value is not None}
        put: Any = {"Item": comparison_key(after.provider) | serialized(values)}
        if before is None:
            put["ConditionExpression"] = "attribute_not_exists(pk)"
        else:
            put["ConditionExpression"] = "version = :before"
            put["ExpressionAttributeValues"] = {":before": serialize(before.version)}
        try:
            self._client.put_item(TableName=self._table, **put)
        except ClientError as error:
            if error.response["Error"]["Code"] in NOT_UPDATED:
                raise Stale from None
            raise
        return saved
