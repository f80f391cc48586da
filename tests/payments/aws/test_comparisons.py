import json
from dataclasses import replace
from io import StringIO
from typing import Any
from unittest.mock import patch

import pytest
from botocore.exceptions import ClientError

from payments.aws.comparisons import Comparisons
from payments.aws.items import PaymentKey
from payments.aws.table import CONFLICT_TRIES, Stale
from payments.domain.comparison import Comparison
from payments.errors import Busy
from tests.payments.aws.orders import (
    KEY,
    NOW,
    ORDER_ID,
    OTHER_ID,
    TX,
    Store,
    begun,
    failing_update,
    overwrite,
    read,
    refused,
    unchanged,
)

pytestmark = pytest.mark.corrupts  # Its orders have no payment at Chapa.

PAYMENT = PaymentKey(ORDER_ID, TX)
BEGUN = Comparison("chapa-v1", since=NOW - 86_400, until=NOW, started_at=NOW)


def test_comparison_is_saved_over_the_one_that_was_read(store: Store) -> None:
    assert store.comparison("chapa-v1") is None
    first = store.save_comparison(None, BEGUN)
    second = store.save_comparison(first, replace(first, listing=False))
    assert (first.version, second.version) == (1, 2)
    assert store.comparison("chapa-v1") == second
    assert store.comparison("chapa-v2") is None
    for before in (None, first):
        with refused(store, Stale):
            store.save_comparison(before, BEGUN)


def test_comparison_is_read_consistently(store: Store) -> None:
    consistent = list[bool]()
    store.shop.dynamodb.meta.events.register(
        "provide-client-params.dynamodb.GetItem",
        lambda params, **_: consistent.append(params["ConsistentRead"]),
    )
    store.comparison("chapa-v1")
    assert consistent == [True]


@pytest.mark.parametrize(
    ("code", "error"),
    [("TransactionConflictException", Stale), ("ValidationException", ClientError)],
)
def test_comparison_that_cannot_be_saved_is_an_error(
    store: Store, code: str, error: type[Exception]
) -> None:
    answer: Any = {"Error": {"Code": code, "Message": ""}}
    refusal = ClientError(answer, "PutItem")
    with patch.object(store.shop.dynamodb, "put_item", side_effect=refusal), refused(store, error):
        store.save_comparison(None, BEGUN)


def test_payment_is_marked_once_by_each_comparison(store: Store) -> None:
    aggregate = begun(store)
    assert store.mark_listed(PAYMENT, NOW)
    with unchanged(store):
        assert not store.mark_listed(PAYMENT, NOW)
        assert not store.mark_listed(PAYMENT, NOW - 1)
        assert not store.mark_listed(PaymentKey(OTHER_ID, TX), NOW)
    assert store.mark_listed(PAYMENT, NOW + 1)
    [payment] = aggregate.payments
    marked = replace(aggregate, payments=(replace(payment, listed_at=NOW + 1),))
    assert read(store, aggregate) == marked


def test_mark_that_meets_transactions_is_tried_again(store: Store) -> None:
    begun(store)
    with failing_update(store, *["TransactionConflictException"] * (CONFLICT_TRIES - 1)):
        assert store.mark_listed(PAYMENT, NOW)
    assert len(store.shop.slept) == CONFLICT_TRIES - 1
    conflicts = ["TransactionConflictException"] * CONFLICT_TRIES
    with failing_update(store, *conflicts), refused(store, Busy) as busy:
        store.mark_listed(PAYMENT, NOW + 1)
    assert busy.value.detail == "The payment is being changed by too many at once."


def test_payments_are_read_each_once_and_a_broken_one_is_logged(
    store: Store, log: StringIO
) -> None:
    [payment] = begun(store).payments
    assert store.payments([PAYMENT, PAYMENT, PaymentKey(OTHER_ID, TX)]) == {PAYMENT: payment}
    overwrite(store, KEY, f"PAYMENT#{TX}", "status", "mislaid")
    assert store.payments([PAYMENT]) == {}
    line = json.loads(log.getvalue())
    assert (line["message"], line["kind"]) == ("payment cannot be read", "ValueError")
    assert (line["order_id"], line["tx_ref"]) == PAYMENT


def test_other_errors_of_aws_are_not_hidden(store: Store) -> None:
    nowhere = Comparisons(store.shop.dynamodb, "nowhere")
    with pytest.raises(ClientError):
        nowhere.mark_listed(PAYMENT, NOW)
