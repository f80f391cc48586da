from typing import Any
from unittest.mock import patch

import pytest
from botocore.exceptions import ClientError

from payments.aws import table
from payments.aws.repository import Repository
from payments.aws.table import CONFLICT_TRIES, UNPROCESSED_TRIES, Stale
from payments.errors import Busy
from tests.payments.aws.orders import (
    NOW,
    ORDER_ID,
    PRODUCT,
    TX,
    Store,
    begun,
    failing,
    failing_update,
    opened,
    placed,
    read,
    refused,
)

pytestmark = pytest.mark.corrupts  # Its orders have no payment at Chapa.


def test_other_errors_of_aws_are_not_hidden(store: Store) -> None:
    nowhere = Repository(store.shop.dynamodb, "nowhere")
    with pytest.raises(ClientError):
        nowhere.read(ORDER_ID)
    with pytest.raises(ClientError):
        nowhere.claim_check(ORDER_ID, TX, NOW, 3)


@pytest.fixture
def longest_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table.CHANCE, "uniform", lambda low, high: high - low)


@pytest.mark.usefixtures("longest_pauses")
def test_unprocessed_keys_are_read_again(store: Store) -> None:
    asked: list[Any] = []
    real = store.shop.dynamodb.batch_get_item

    def one_at_a_time(RequestItems: Any) -> Any:  # noqa: N803
        asked.append((keys := RequestItems["payments"])["Keys"])
        assert keys["ConsistentRead"] is True
        if len(asked) == 1:
            return {"Responses": {}, "UnprocessedKeys": {"payments": keys}}
        answer = real(RequestItems={"payments": keys | {"Keys": keys["Keys"][:1]}})
        left = keys | {"Keys": keys["Keys"][1:]}
        return answer | ({"UnprocessedKeys": {"payments": left}} if left["Keys"] else {})

    with patch.object(store.shop.dynamodb, "batch_get_item", one_at_a_time):
        assert store.products(["MUG", "LAST"]).keys() == {"MUG", "LAST"}
    assert [len(keys) for keys in asked] == [2, 2, 1]
    assert store.shop.slept == [0.02, 0.04]


@pytest.mark.usefixtures("longest_pauses")
def test_keys_that_stay_unprocessed_are_busy(store: Store) -> None:
    answer: Any = {"Responses": {}, "UnprocessedKeys": {"payments": {"Keys": [{}]}}}
    with (
        patch.object(store.shop.dynamodb, "batch_get_item", return_value=answer) as batch,
        pytest.raises(Busy) as busy,
    ):
        store.products(["MUG"])
    assert busy.value.detail == "The table is overloaded. Try again."
    assert busy.value.retry_after == 1
    assert batch.call_count == UNPROCESSED_TRIES
    assert store.shop.slept == [0.02, 0.04, 0.08, 0.16, 0.32]


def test_more_than_a_hundred_keys_are_read_in_calls(store: Store) -> None:
    skus = [f"SKU-{number}" for number in range(150)]
    assert store.products([*skus, "MUG"]) == {"MUG": PRODUCT}


PASSING = ["TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"]


@pytest.mark.parametrize("code", [*PASSING, "TransactionInProgressException"])
def test_conflicting_transaction_is_tried_again(store: Store, code: str) -> None:
    with failing(store, [code, code]) as calls:
        aggregate = placed(store)
    assert (len(calls), len(store.shop.slept)) == (3, 2)
    assert read(store, aggregate) == aggregate


def test_conflicting_single_write_is_tried_again(store: Store) -> None:
    aggregate = begun(store)
    with failing_update(store, *["TransactionConflictException"] * (CONFLICT_TRIES - 1)):
        aggregate = store.save(aggregate, opened(aggregate))
    assert len(store.shop.slept) == CONFLICT_TRIES - 1
    assert read(store, aggregate) == aggregate


@pytest.mark.parametrize(
    ("code", "error"),
    [("ConditionalCheckFailedException", Stale), ("ValidationException", ClientError)],
)
def test_single_write_that_is_refused_is_an_error(
    store: Store, code: str, error: type[Exception]
) -> None:
    aggregate = begun(store)
    with failing_update(store, code), refused(store, error):
        store.save(aggregate, opened(aggregate))


def test_single_write_that_always_meets_transactions_is_busy(store: Store) -> None:
    aggregate = begun(store)
    conflicts = ["TransactionConflictException"] * CONFLICT_TRIES
    with failing_update(store, *conflicts), refused(store, Busy) as busy:
        store.save(aggregate, opened(aggregate))
    assert busy.value.detail == "Too many write the same item at once. Try again."


@pytest.mark.usefixtures("longest_pauses")
def test_pauses_grow_until_it_gives_up(store: Store) -> None:
    with failing(store, ["TransactionConflict"] * 100) as calls, refused(store, Busy) as e:
        placed(store)
    assert e.value.detail == "Too many write the same items at once. Try again."
    assert e.value.retry_after == 1
    assert len(calls) == CONFLICT_TRIES
    assert store.shop.slept == [0.02 * 2**n for n in range(CONFLICT_TRIES - 1)]


def test_invalid_transaction_is_an_error(store: Store) -> None:
    with (
        failing(store, ["ValidationError"]),
        pytest.raises(RuntimeError, match="ValidationError: so says DynamoDB"),
    ):
        placed(store)
