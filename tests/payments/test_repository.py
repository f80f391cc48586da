import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from payments import domain
from payments.errors import Busy, OutOfStock
from payments.repository import (
    CONFLICT_TRIES,
    DUE_SHARDS,
    EventKey,
    Product,
    Repository,
    Stale,
    event_in,
    plain,
)
from payments.states import OrderStatus, PaymentStatus, RefundStatus, StockStatus
from payments.story import Event, Line, Order, Story
from tests import builders
from tests.builders import NOW, PAID, RULES, refund
from tests.shop import Shop, create_table

pytestmark = pytest.mark.corrupts  # Its orders have no customer and no payment at Chapa.

PRICE = {"amount": 90_000, "currency": "ETB"}
LAST = (Line("LAST", "The last one", 1, 100),)


@pytest.fixture
def repository(shop: Shop) -> Repository:
    return shop.backend.repository


def new_order(order_id: str = "a" * 20, **changes: Any) -> Order:
    changes = {"customer": {"first_name": "አበበ"}, "due_at": NOW + 1800} | changes
    return builders.order(order_id, **changes)


def placed(repository: Repository, **changes: Any) -> Story:
    return repository.save(None, domain.place(new_order(**changes)))


def begun(repository: Repository) -> Story:
    story = placed(repository)
    return repository.save(story, domain.begin(story, "tx", NOW, RULES))


def paid(story: Story) -> Story:
    return domain.decide(story, "tx", PAID, NOW, "test", RULES).story


def refunding(repository: Repository) -> Story:
    """A paid order of which all is owed back."""
    story = begun(repository)
    story = repository.save(story, paid(story))
    owed = refund(reason="Broken", return_stock=True)
    return repository.save(story, domain.request_refund(story, owed, NOW))


def read(repository: Repository, story: Story) -> Story:
    found = repository.read(story.order.order_id)
    assert found is not None
    return found


def test_saved_order_is_read_back(repository: Repository) -> None:
    story = begun(repository)
    assert read(repository, story) == story
    assert (story.order.version, story.order.events) == (2, 2)


def test_payment_changed_within_its_status_is_read_back(repository: Repository) -> None:
    story = begun(repository)
    story = repository.save(story, domain.lost(story, "tx", "no answer", NOW))
    assert read(repository, story) == story
    assert story.payments[0].reason == "no answer"


def test_refund_is_read_back_after_each_change(repository: Repository) -> None:
    story = refunding(repository)
    assert read(repository, story) == story
    # The first change keeps the status, the second one does not.
    story = repository.save(story, domain.try_refund(story, "op-1", NOW, RULES))
    assert read(repository, story) == story
    story = repository.save(story, domain.refund_accepted(story, "op-1", "handle", NOW))
    assert read(repository, story) == story


def test_status_is_read_as_a_member_of_its_enum(repository: Repository) -> None:
    story = read(repository, refunding(repository))
    assert story.order.status is OrderStatus.PAID
    assert story.order.stock is StockStatus.COMMITTED
    assert story.payments[0].status is PaymentStatus.SUCCEEDED
    assert story.refunds[0].status is RefundStatus.REQUESTED


def test_numbers_are_read_as_integers_at_every_depth() -> None:
    raw = {"a": {"N": "1"}, "b": {"M": {"c": {"L": [{"N": "2"}, {"S": "3"}]}}}}
    assert json.dumps(plain(raw)) == '{"a": 1, "b": {"c": [2, "3"]}}'


def test_payments_are_read_in_the_order_of_their_beginning(repository: Repository) -> None:
    story = placed(repository)
    for number, tx_ref in enumerate(("tx-c", "tx-a", "tx-b")):
        story = repository.save(story, domain.begin(story, tx_ref, NOW + number, RULES))
    assert [p.tx_ref for p in read(repository, story).payments] == ["tx-c", "tx-a", "tx-b"]


def test_unknown_order_is_none(repository: Repository) -> None:
    assert repository.read("b" * 20) is None
    assert repository.read_with_ledger("b" * 20) is None


@contextmanager
def refused(shop: Shop, error: type[Exception]) -> Iterator[pytest.ExceptionInfo[Any]]:
    """The block raises this error and writes nothing."""
    before = shop.dump()
    with pytest.raises(error) as raised:
        yield raised
    assert shop.dump() == before


def change_status(shop: Shop, key: str, status: str) -> None:
    """Without a new version, which no code of the product does."""
    shop.table.update_item(
        Key={"pk": f"ORDER#{'a' * 20}", "sk": key},
        UpdateExpression="SET #status = :status",
        ExpressionAttributeNames={"#status": "status"},
        ExpressionAttributeValues={":status": status},
    )


def test_save_without_a_change_writes_nothing(shop: Shop, repository: Repository) -> None:
    story = begun(repository)
    before = shop.dump()
    assert repository.save(story, story) is story
    assert shop.dump() == before


def test_order_is_placed_once(shop: Shop, repository: Repository) -> None:
    placed(repository)
    with refused(shop, Stale):
        placed(repository)


def test_write_after_a_concurrent_write_is_stale(shop: Shop, repository: Repository) -> None:
    story = begun(repository)
    repository.save(story, domain.nudged(story, NOW))
    with refused(shop, Stale):
        repository.save(story, domain.opened(story, "tx", "https://pay", NOW))


def test_table_refuses_an_illegal_payment_status(shop: Shop, repository: Repository) -> None:
    story = begun(repository)
    change_status(shop, "PAYMENT#tx", "succeeded")
    with refused(shop, Stale):
        repository.save(story, story.with_payment("tx", status=PaymentStatus.FAILED))


def test_table_refuses_to_end_an_order_twice(shop: Shop, repository: Repository) -> None:
    story = placed(repository)
    change_status(shop, "ORDER", "paid")
    with refused(shop, Stale):
        repository.save(story, domain.end(story, NOW + 1800))


def test_table_refuses_to_refund_twice(shop: Shop, repository: Repository) -> None:
    story = refunding(repository)
    change_status(shop, "REFUND#op-1", "refunded")
    with refused(shop, Stale):
        repository.save(story, domain.refund_accepted(story, "op-1", "handle", NOW))
    with refused(shop, Stale):
        repository.save(story, domain.try_refund(story, "op-1", NOW, RULES))


def test_order_takes_only_available_stock(shop: Shop, repository: Repository) -> None:
    with refused(shop, OutOfStock) as raised:
        placed(repository, lines=(Line("MUG", "Mug", 3, 15_050), *LAST))
    assert raised.value.members["skus"] == ["MUG"]


@pytest.mark.parametrize(
    ("quantity", "price", "currency"),
    [(1, 15_049, "ETB"), (2, 15_049, "ETB"), (1, 15_050, "USD")],
    ids=["other price", "other price and the last units", "other currency"],
)
def test_order_with_an_outdated_price_is_stale(
    shop: Shop, repository: Repository, quantity: int, price: int, currency: str
) -> None:
    with refused(shop, Stale):
        placed(repository, lines=(Line("MUG", "Mug", quantity, price),), currency=currency)


def test_late_success_cannot_take_sold_stock(shop: Shop, repository: Repository) -> None:
    story = placed(repository, lines=LAST)
    expired = repository.save(story, domain.end(story, NOW + 1800))
    assert shop.stock("LAST") == (1, 0, 0)
    placed(repository, order_id="b" * 20, lines=LAST)
    with refused(shop, OutOfStock):
        repository.save(expired, revived(expired))


def test_deleted_product_is_out_of_stock(shop: Shop, repository: Repository) -> None:
    story = placed(repository)
    expired = repository.save(story, domain.end(story, NOW + 1800))
    delete_product(shop)
    with refused(shop, OutOfStock) as raised:
        placed(repository, order_id="b" * 20)
    assert raised.value.members["skus"] == ["COFFEE-250"]
    with refused(shop, OutOfStock):
        repository.save(expired, revived(expired))


def test_deleted_product_with_reserved_units_is_an_error(
    shop: Shop, repository: Repository
) -> None:
    """It is no race, so it is not tried again."""
    story = begun(repository)
    delete_product(shop)
    with refused(shop, RuntimeError) as raised:
        repository.save(story, paid(story))
    assert raised.match(r"COFFEE-250 has not .* holds of it: \{\}")
    with refused(shop, Stale):  # A lost race is reported first.
        repository.save(replace(story, order=replace(story.order, version=1)), paid(story))


def revived(expired: Story) -> Story:
    return expired.with_order(status=OrderStatus.PAID, stock=StockStatus.COMMITTED)


def delete_product(shop: Shop) -> None:
    shop.table.delete_item(Key={"pk": "STOCK#COFFEE-250", "sk": "STOCK"})


def test_order_is_read_consistently_and_without_its_event_log(
    shop: Shop, repository: Repository
) -> None:
    queries: list[bool] = []
    counts: list[int] = []

    def asked(params: dict[str, Any], **_: Any) -> None:
        queries.append(params["ConsistentRead"])

    def answered(parsed: dict[str, Any], **_: Any) -> None:
        counts.append(parsed["ScannedCount"])

    order_id = begun(repository).order.order_id
    shop.dynamodb.meta.events.register("provide-client-params.dynamodb.Query", asked)
    shop.dynamodb.meta.events.register("after-call.dynamodb.Query", answered)
    repository.read(order_id)
    repository.read_with_ledger(order_id)
    assert queries == [True, True]
    assert counts == [2, 4]


def test_stock_moves_with_the_order(shop: Shop, repository: Repository) -> None:
    assert shop.stock("COFFEE-250") == (10, 0, 0)
    story = begun(repository)
    assert shop.stock("COFFEE-250") == (8, 2, 0)
    repository.save(story, paid(story))
    assert shop.stock("COFFEE-250") == (8, 0, 2)


def test_largest_order_fits_in_one_transaction(shop: Shop, repository: Repository) -> None:
    lines = []
    for number in range(90):
        sku = f"SKU-{number}"
        shop.stock_up(sku, sku, 1, "ETB", 1)
        lines.append(Line(sku, sku, 1, 1))
    story = placed(repository, lines=tuple(lines), amount=90)
    story = repository.save(story, domain.begin(story, "tx", NOW, RULES))
    success = replace(PAID, amount=90)
    repository.save(story, domain.decide(story, "tx", success, NOW, "test", RULES).story)
    assert shop.stock("SKU-89") == (0, 0, 1)


def test_events_are_numbered_without_a_gap(shop: Shop, repository: Repository) -> None:
    story = begun(repository)
    story = repository.save(story, domain.nudged(story, NOW))
    repository.save(story, domain.opened(story, "tx", "https://pay", NOW))
    keys = [item["sk"] for item in shop.dump() if str(item["sk"]).startswith("EVENT#")]
    assert keys == ["EVENT#000001", "EVENT#000002", "EVENT#000003"]
    known = repository.read_with_ledger(story.order.order_id)
    assert known is not None
    assert known[1] == [
        Event("order.placed", NOW, PRICE),
        Event("payment.initializing", NOW, {"tx_ref": "tx", **PRICE}),
        Event("payment.pending", NOW, {"tx_ref": "tx"}),
    ]
    # A published event loses its mark, and nothing else.
    repository.unmark_event(EventKey(story.order.order_id, 1))
    assert repository.read_with_ledger(story.order.order_id) == known


class TestDue:
    def test_only_due_orders_are_found(self, repository: Repository) -> None:
        for number in range(20):
            placed(repository, order_id=f"{number:020d}", due_at=NOW + number, lines=())
        assert set(repository.due(NOW + 9)) == {f"{number:020d}" for number in range(10)}

    def test_order_without_a_check_leaves_the_index(self, repository: Repository) -> None:
        story = placed(repository)
        repository.save(story, story.with_order(due_at=None))
        assert list(repository.due(NOW + 10_000)) == []

    def test_orders_are_spread_over_the_shards(self, shop: Shop, repository: Repository) -> None:
        for number in range(64):
            placed(repository, order_id=f"{number:020d}", lines=())
        shards = {item["due_shard"] for item in shop.dump() if item["sk"] == "ORDER"}
        assert len(shards) == DUE_SHARDS


class TestEvents:
    def test_image_in_the_stream_has_key_and_content(
        self, shop: Shop, repository: Repository
    ) -> None:
        order_id = begun(repository).order.order_id
        images = shop.dynamodb.scan(TableName="payments")["Items"]
        events = [event_in(image) for image in images if image["sk"]["S"].startswith("EVENT#")]
        assert events == [
            (EventKey(order_id, 1), Event("order.placed", NOW, PRICE)),
            (EventKey(order_id, 2), Event("payment.initializing", NOW, {"tx_ref": "tx"} | PRICE)),
        ]

    def test_event_is_overdue_after_an_hour_and_is_no_order(self, repository: Repository) -> None:
        order_id = begun(repository).order.order_id
        assert list(repository.overdue_events(NOW + 3599)) == []
        assert list(repository.overdue_events(NOW + 3600)) == [(order_id, 1), (order_id, 2)]
        assert list(repository.due(NOW + 3600)) == [order_id]

    def test_published_event_is_never_overdue(self, repository: Repository) -> None:
        order_id = begun(repository).order.order_id
        assert repository.unmark_event(EventKey(order_id, 1))
        assert not repository.unmark_event(EventKey(order_id, 1))
        assert not repository.touch_event(EventKey(order_id, 1), NOW + 10_000)
        assert list(repository.overdue_events(NOW + 10_000)) == [(order_id, 2)]

    def test_only_one_of_two_sweeps_touches_an_event(self, repository: Repository) -> None:
        event = EventKey(begun(repository).order.order_id, 1)
        assert repository.touch_event(event, NOW + 3600)
        assert not repository.touch_event(event, NOW + 3600)
        assert repository.touch_event(event, NOW + 7200)

    def test_deleted_event_is_not_created_again(self, shop: Shop, repository: Repository) -> None:
        before = shop.dump()
        deleted = EventKey("b" * 20, 1)
        assert not repository.touch_event(deleted, NOW)
        assert not repository.unmark_event(deleted)
        assert shop.dump() == before


class TestClaim:
    def test_verify_is_claimed_once_in_three_seconds(self, repository: Repository) -> None:
        order_id = begun(repository).order.order_id
        assert repository.claim_look(order_id, "tx", NOW, 3)
        assert not repository.claim_look(order_id, "tx", NOW + 2, 3)
        assert repository.claim_look(order_id, "tx", NOW + 3, 3)

    def test_claim_during_a_transaction_is_left_to_the_concurrent_writer(
        self, shop: Shop, repository: Repository
    ) -> None:
        order_id = begun(repository).order.order_id
        answer: Any = {"Error": {"Code": "TransactionConflictException", "Message": "ongoing"}}
        error = ClientError(answer, "UpdateItem")
        with patch.object(shop.dynamodb, "update_item", side_effect=error):
            assert not repository.claim_look(order_id, "tx", NOW, 3)

    def test_unknown_payment_cannot_be_claimed(self, shop: Shop, repository: Repository) -> None:
        before = shop.dump()
        assert not repository.claim_look("b" * 20, "tx", NOW, 3)
        assert shop.dump() == before


class TestProducts:
    def test_only_known_products_are_found(self, repository: Repository) -> None:
        found = repository.products(["MUG", "NOTHING"])
        assert found == {"MUG": Product("MUG", "Mug", 15_050, "ETB")}

    def test_unprocessed_keys_are_read_again(self, shop: Shop, repository: Repository) -> None:
        asked: list[Any] = []
        real = shop.dynamodb.batch_get_item

        def one_at_a_time(RequestItems: Any) -> Any:  # noqa: N803
            asked.append((keys := RequestItems["payments"])["Keys"])
            assert keys["ConsistentRead"] is True
            if len(asked) == 1:
                return {"Responses": {}, "UnprocessedKeys": {"payments": {"Keys": keys["Keys"]}}}
            answer = real(RequestItems={"payments": keys | {"Keys": keys["Keys"][:1]}})
            left = keys["Keys"][1:]
            return answer | ({"UnprocessedKeys": {"payments": {"Keys": left}}} if left else {})

        with patch.object(shop.dynamodb, "batch_get_item", one_at_a_time):
            assert repository.products(["MUG", "LAST"]).keys() == {"MUG", "LAST"}
        assert [len(keys) for keys in asked] == [2, 2, 1]


class Conflicting:
    """A client whose transactions are cancelled with these codes; moto never does."""

    def __init__(self, client: Any, codes: list[str]) -> None:
        self._client = client
        self.exceptions = client.exceptions
        self.codes = codes
        self.calls = 0

    def transact_write_items(self, TransactItems: list[Any]) -> Any:  # noqa: N803
        self.calls += 1
        if not self.codes:
            return self._client.transact_write_items(TransactItems=TransactItems)
        code = self.codes.pop(0)
        if code == "TransactionInProgressException":
            raise self.exceptions.TransactionInProgressException(
                {"Error": {"Code": code, "Message": ""}}, "TransactWriteItems"
            )
        reasons = [{"Code": "None"} for _ in TransactItems]
        reasons[0] = {"Code": code, "Message": "so says DynamoDB"}
        error: Any = {
            "Error": {"Code": "TransactionCanceledException", "Message": code},
            "CancellationReasons": reasons,
        }
        raise self.exceptions.TransactionCanceledException(error, "TransactWriteItems")


class TestConflicts:
    @pytest.fixture
    def client(self) -> Iterator[Any]:
        with mock_aws():
            client = boto3.client("dynamodb")
            create_table(client, "payments")
            yield client

    def save(self, client: Any, slept: list[Any]) -> None:
        placed(Repository(client, "payments", sleep=slept.append), lines=())

    @pytest.mark.parametrize(
        "code", ["TransactionConflict", "ThrottlingError", "TransactionInProgressException"]
    )
    def test_conflicting_transaction_is_tried_again(self, client: Any, code: str) -> None:
        slept: list[float] = []
        conflicting = Conflicting(client, [code, code])
        self.save(conflicting, slept)
        assert (conflicting.calls, len(slept)) == (3, 2)

    def test_pauses_grow_until_it_gives_up(
        self, client: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        slept: list[Any] = []
        monkeypatch.setattr("payments.repository.random.uniform", lambda *bounds: bounds)
        conflicting = Conflicting(client, ["TransactionConflict"] * 100)
        with pytest.raises(Busy) as busy:
            self.save(conflicting, slept)
        assert busy.value.retry_after == 1
        assert conflicting.calls == len(slept) == CONFLICT_TRIES
        assert slept[:4] == [(0, 0.02), (0, 0.04), (0, 0.08), (0, 0.16)]

    def test_invalid_transaction_is_an_error(self, client: Any) -> None:
        with pytest.raises(RuntimeError, match="ValidationError: so says DynamoDB"):
            self.save(Conflicting(client, ["ValidationError"]), [])

    def test_other_errors_of_aws_are_not_hidden(self, client: Any) -> None:
        with pytest.raises(ClientError):
            Repository(client, "nowhere").read("a" * 20)
