"""Lists of orders, payments, refunds and products, and orders by a reference of Chapa."""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from payments.aws.items import (
    EVENTS_PREFIX,
    REVIEW_LIST,
    UNANSWERED_LIST,
    EventKey,
    PaymentKey,
    day_list,
    given_back_list,
    payment_key,
    plain,
    serialize,
    serialized,
)
from payments.aws.table import Table

MAX_COUNTED = 1000
"""Entries of a list that are counted; with more, the number is this one."""

DAY_SECONDS = 86_400


class Listed(NamedTuple):
    """One entry of a list: the order, and the payment or refund if it is about one."""

    order_id: str
    kind: str
    name: str


class Standing(NamedTuple):
    """What stands in a list: how many entries, and since when the oldest of them."""

    entries: int
    since: int | None


class Lists(Table):
    def listed(
        self,
        list_key: str,
        limit: int | None = None,
        *,
        after: Mapping[str, Any] | None = None,
        between: tuple[int, int] | None = None,
        newest_first: bool = True,
    ) -> Iterator[Listed]:
        """The entries of a list that follow the position `after`. Eventually consistent.

        `between`: only those of these times, the second one excluded.
        """
        condition, values = _range(list_key, between)
        more = {"ExclusiveStartKey": after} if after else {}
        pages = self._client.get_paginator("query").paginate(
            TableName=self._table,
            IndexName="lists",
            KeyConditionExpression=condition,
            ExpressionAttributeValues=values,
            ScanIndexForward=not newest_first,
            PaginationConfig={"MaxItems": limit, "PageSize": limit} if limit else {},
            **more,  # type: ignore[arg-type]
        )
        for page in pages:
            for item in map(plain, page["Items"]):
                kind, _, name = item["sk"].partition("#")
                yield Listed(item["pk"].partition("#")[2], kind, name)

    def standing(self, list_key: str) -> Standing:
        """How much stands in a list of payments and refunds. Eventually consistent."""
        answer = self._client.query(
            TableName=self._table,
            IndexName="lists",
            KeyConditionExpression="list_key = :list",
            ExpressionAttributeValues={":list": serialize(list_key)},
            Limit=MAX_COUNTED,
        )
        items = answer["Items"]
        return Standing(len(items), int(items[0]["list_at"]["S"]) if items else None)

    def list_page(
        self,
        list_key: str,
        start: str | None = None,
        *,
        between: tuple[int, int] | None = None,
        limit: int = 100,
    ) -> tuple[list[PaymentKey], str | None]:
        """The payments of a page of a list, newest first, and where the next page begins.

        `between` is as in `listed`. Eventually consistent.
        """
        condition, values = _range(list_key, between)
        answer = self._client.query(
            TableName=self._table,
            IndexName="lists",
            KeyConditionExpression=condition,
            ExpressionAttributeValues=values,
            ScanIndexForward=False,
            Limit=limit,
            **({"ExclusiveStartKey": json.loads(start)} if start else {}),
        )
        last = answer.get("LastEvaluatedKey")
        keys = [key for item in answer["Items"] if (key := payment_key(item))]
        return keys, json.dumps(last) if last else None

    def paid_between(self, first: int, end: int) -> Iterator[Listed]:
        """Payments that were paid from `first` until before `end`, those in manual review too.

        A payment stands in one list, so that one in review or unanswered is not in its day's;
        theirs hold refunds besides. Eventually consistent.
        """
        for list_key in (*_days(day_list, first, end), REVIEW_LIST, UNANSWERED_LIST):
            for entry in self.listed(list_key, between=(first, end)):
                if entry.kind == "PAYMENT":
                    yield entry

    def given_back_between(self, first: int, end: int) -> Iterator[EventKey]:
        """Events by which money went back. Eventually consistent."""
        for list_key in _days(given_back_list, first, end):
            for entry in self.listed(list_key, between=(first, end)):
                yield EventKey(entry.order_id, int(entry.name))

    def named(self, provider_reference: str) -> Iterator[PaymentKey]:
        """Payments that have this reference of Chapa. Eventually consistent."""
        answer = self._client.query(
            TableName=self._table,
            IndexName="references",
            KeyConditionExpression="provider_reference = :ref",
            ExpressionAttributeValues={":ref": serialize(provider_reference)},
        )
        yield from filter(None, map(payment_key, answer["Items"]))

    def search(self, text: str) -> Iterator[str]:
        """Ids of orders with this text in an id or reference. Reads the whole table."""
        seen = ""
        pages = self._client.get_paginator("scan").paginate(
            TableName=self._table,
            FilterExpression="begins_with(pk, :order) AND NOT begins_with(sk, :event) AND ("
            "contains(pk, :text) OR contains(tx_ref, :text) OR contains(refund_id, :text)"
            " OR contains(provider_reference, :text) OR contains(provider_refund_id, :text))",
            ExpressionAttributeValues={
                ":order": serialize("ORDER#"),
                ":event": serialize(EVENTS_PREFIX),
                ":text": serialize(text),
            },
            ProjectionExpression="pk",
        )
        for page in pages:
            for item in page["Items"]:
                order_id = item["pk"]["S"].removeprefix("ORDER#")
                if order_id != seen:
                    yield order_id
                seen = order_id

    def find_by_provider_reference(self, reference: str) -> Iterator[str]:
        """Ids of orders with a payment or refund of this Chapa reference.

        Refunds stand in no index: for them it reads the whole table.
        """
        for key in self.named(reference):
            yield key.order_id
        pages = self._client.get_paginator("scan").paginate(
            TableName=self._table,
            FilterExpression="provider_refund_id = :ref",
            ExpressionAttributeValues={":ref": serialize(reference)},
            ProjectionExpression="pk",
        )
        for page in pages:
            for item in page["Items"]:
                yield item["pk"]["S"].removeprefix("ORDER#")


def _range(list_key: str, between: tuple[int, int] | None) -> tuple[str, dict[str, Any]]:
    """The condition of a query of the index, and its values."""
    if between is None:
        return "list_key = :list", serialized({":list": list_key})
    first, last = f"{between[0]:012d}", f"{between[1] - 1:012d}"
    values = {":list": list_key, ":first": first, ":last": last}
    return "list_key = :list AND list_at BETWEEN :first AND :last", serialized(values)


def _days(list_of: Callable[[int], str], first: int, end: int) -> list[str]:
    """The lists of the UTC days that a time touches."""
    start = first - first % DAY_SECONDS
    return [list_of(at) for at in range(start, end, DAY_SECONDS)]
