import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from payments import domain
from payments.domain import Rules, Said, Verification
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
from payments.story import Event, Line, Order, Refund, Story
from tests.shop import Shop, create_table

pytestmark = pytest.mark.corrupts  # It saves stories that no use case tells.

NOW = 1_800_000_000
RULES = Rules(1800, 60, (90,), (3600,), 86400, "reserve")
PAID = Verification(Said.PAID, "tx", 90_000, "ETB", "test", "AP1", "success")


def new_order(order_id: str = "a" * 20, **changes: Any) -> Order:
    order = Order(
        order_id=order_id,
        user_id="abebe",
        amount=90_000,
        currency="ETB",
        lines=(Line("COFFEE-250", "Yirgacheffe coffee, 250 g", 2, 45_000),),
        created_at=NOW,
        expires_at=NOW + 1800,
        request_hash="hash",
        customer={"first_name": "አበበ"},
        due_at=NOW + 1800,
    )
    return replace(order, **changes)


def saved(shop: Shop, story: Story | None = None) -> Story:
    return shop.backend.repository.save(None, story or domain.place(new_order()))


def begun(shop: Shop) -> Story:
    placed = saved(shop)
    return shop.backend.repository.save(placed, domain.begin(placed, "tx", NOW, RULES))


def test_what_is_saved_is_what_is_read(shop: Shop) -> None:
    story = begun(shop)
    assert shop.backend.repository.read(story.order.order_id) == story
    assert (story.order.version, story.order.events) == (2, 2)


def test_a_payment_that_changed_but_not_its_status_is_read_as_it_was_changed(shop: Shop) -> None:
    repository, story = shop.backend.repository, begun(shop)
    story = repository.save(story, domain.lost(story, "tx", "no answer", NOW))
    assert repository.read(story.order.order_id) == story
    assert story.payments[0].reason == "no answer"


def test_a_refund_is_read_as_it_was_saved_and_as_it_was_changed(shop: Shop) -> None:
    repository, story = shop.backend.repository, begun(shop)
    story = repository.save(story, domain.decide(story, "tx", PAID, NOW, "test", RULES).story)
    owed = Refund("op-1", "tx", 90_000, "ETB", NOW, reason="Broken", return_stock=True)
    story = repository.save(story, domain.request_refund(story, owed, NOW))
    assert repository.read(story.order.order_id) == story
    # A change that leaves the status, and one that does not.
    story = repository.save(story, domain.try_refund(story, "op-1", NOW, RULES))
    assert repository.read(story.order.order_id) == story
    story = repository.save(story, domain.refund_accepted(story, "op-1", "handle", NOW))
    assert repository.read(story.order.order_id) == story


def test_a_status_is_read_as_one_and_not_as_a_word(shop: Shop) -> None:
    repository, story = shop.backend.repository, begun(shop)
    story = repository.save(story, domain.decide(story, "tx", PAID, NOW, "test", RULES).story)
    owed = Refund("op-1", "tx", 90_000, "ETB", NOW)
    repository.save(story, domain.request_refund(story, owed, NOW))
    read = repository.read(story.order.order_id)
    assert read is not None
    assert read.order.status is OrderStatus.PAID
    assert read.order.stock is StockStatus.COMMITTED
    assert read.payments[0].status is PaymentStatus.SUCCEEDED
    assert read.refunds[0].status is RefundStatus.REQUESTED


def test_numbers_are_read_as_whole_ones_however_deep_they_lie() -> None:
    raw = {"a": {"N": "1"}, "b": {"M": {"c": {"L": [{"N": "2"}, {"S": "3"}]}}}}
    assert json.dumps(plain(raw)) == '{"a": 1, "b": {"c": [2, "3"]}}'


def test_payments_are_read_in_the_order_in_which_they_were_begun(shop: Shop) -> None:
    repository, story = shop.backend.repository, saved(shop)
    for number, tx_ref in enumerate(("tx-c", "tx-a", "tx-b")):
        story = repository.save(story, domain.begin(story, tx_ref, NOW + number, RULES))
    read = repository.read(story.order.order_id)
    assert read is not None
    assert [payment.tx_ref for payment in read.payments] == ["tx-c", "tx-a", "tx-b"]


def test_an_order_that_nobody_placed_is_not_there(shop: Shop) -> None:
    assert shop.backend.repository.read("b" * 20) is None
    assert shop.backend.repository.read_with_ledger("b" * 20) is None


def test_saving_nothing_writes_nothing(shop: Shop) -> None:
    story = begun(shop)
    before = shop.dump()
    assert shop.backend.repository.save(story, story) is story
    assert shop.dump() == before


def test_an_order_is_placed_once(shop: Shop) -> None:
    saved(shop)
    before = shop.dump()
    with pytest.raises(Stale):
        saved(shop)
    assert shop.dump() == before


def test_whoever_read_before_another_wrote_must_read_again(shop: Shop) -> None:
    story = begun(shop)
    repository = shop.backend.repository
    repository.save(story, domain.nudged(story, NOW))
    before = shop.dump()
    with pytest.raises(Stale):
        repository.save(story, domain.opened(story, "tx", "https://pay", NOW))
    assert shop.dump() == before


def change_status(shop: Shop, order_id: str, key: str, status: str) -> None:
    """As nobody should: past the version."""
    shop.table.update_item(
        Key={"pk": f"ORDER#{order_id}", "sk": key},
        UpdateExpression="SET #status = :status",
        ExpressionAttributeNames={"#status": "status"},
        ExpressionAttributeValues={":status": status},
    )


def test_the_table_itself_refuses_what_may_not_follow(shop: Shop) -> None:
    story = begun(shop)
    change_status(shop, story.order.order_id, "PAYMENT#tx", "succeeded")
    before = shop.dump()
    with pytest.raises(Stale):  # Though the version is the one that was read.
        shop.backend.repository.save(story, story.with_payment("tx", status=PaymentStatus.FAILED))
    assert shop.dump() == before


def test_the_table_itself_refuses_to_end_an_order_twice(shop: Shop) -> None:
    story = saved(shop)
    change_status(shop, story.order.order_id, "ORDER", "paid")
    before = shop.dump()
    with pytest.raises(Stale):
        shop.backend.repository.save(story, domain.end(story, NOW + 1800))
    assert shop.dump() == before


def test_the_table_itself_refuses_to_pay_a_refund_back_twice(shop: Shop) -> None:
    repository, story = shop.backend.repository, begun(shop)
    story = repository.save(story, domain.decide(story, "tx", PAID, NOW, "test", RULES).story)
    owed = Refund("op-1", "tx", 90_000, "ETB", NOW)
    story = repository.save(story, domain.request_refund(story, owed, NOW))
    change_status(shop, story.order.order_id, "REFUND#op-1", "refunded")
    before = shop.dump()
    for late in (
        domain.refund_accepted(story, "op-1", "handle", NOW),
        domain.try_refund(story, "op-1", NOW, RULES),
    ):
        with pytest.raises(Stale):
            repository.save(story, late)
    assert shop.dump() == before


def test_an_order_is_read_as_it_is_and_not_as_it_was(shop: Shop) -> None:
    asked: list[dict[str, Any]] = []

    def note(params: dict[str, Any], **_: Any) -> None:
        asked.append(params)

    order_id = begun(shop).order.order_id
    shop.dynamodb.meta.events.register("provide-client-params.dynamodb.Query", note)
    shop.backend.repository.read(order_id)
    shop.backend.repository.read_with_ledger(order_id)
    assert [params["ConsistentRead"] for params in asked] == [True, True]


def test_reading_an_order_does_not_read_its_ledger(shop: Shop) -> None:
    counts: list[int] = []

    def note(parsed: dict[str, Any], **_: Any) -> None:
        counts.append(parsed["ScannedCount"])

    order_id = begun(shop).order.order_id
    shop.dynamodb.meta.events.register("after-call.dynamodb.Query", note)
    shop.backend.repository.read(order_id)
    shop.backend.repository.read_with_ledger(order_id)
    assert counts == [2, 4]


def test_stock_moves_with_the_order(shop: Shop) -> None:
    repository = shop.backend.repository
    assert shop.stock("COFFEE-250") == (10, 0, 0)
    story = begun(shop)
    assert shop.stock("COFFEE-250") == (8, 2, 0)
    repository.save(story, domain.decide(story, "tx", PAID, NOW, "test", RULES).story)
    assert shop.stock("COFFEE-250") == (8, 0, 2)


def test_an_order_takes_only_what_is_there(shop: Shop) -> None:
    lines = (Line("MUG", "Mug", 3, 15_050), Line("LAST", "The last one", 1, 100))
    before = shop.dump()
    with pytest.raises(OutOfStock) as raised:
        saved(shop, domain.place(new_order(lines=lines)))
    assert raised.value.members["skus"] == ["MUG"]
    assert shop.dump() == before


@pytest.mark.parametrize("quantity", [1, 2])
def test_a_price_that_changed_since_it_was_read_is_read_again(shop: Shop, quantity: int) -> None:
    """Also of the last units: it is the price that is wrong, and not that they are gone."""
    lines = (Line("MUG", "Mug", quantity, 15_049),)
    with pytest.raises(Stale):
        saved(shop, domain.place(new_order(lines=lines)))
    assert shop.stock("MUG") == (2, 0, 0)


def test_a_currency_that_changed_since_it_was_read_is_read_again(shop: Shop) -> None:
    lines = (Line("MUG", "Mug", 1, 15_050),)
    with pytest.raises(Stale):
        saved(shop, domain.place(new_order(lines=lines, currency="USD")))
    assert shop.stock("MUG") == (2, 0, 0)


def test_a_late_success_cannot_take_stock_that_is_gone(shop: Shop) -> None:
    story = saved(shop, domain.place(new_order(lines=(Line("LAST", "The last one", 1, 100),))))
    expired = shop.backend.repository.save(story, domain.end(story, NOW + 1800))
    assert shop.stock("LAST") == (1, 0, 0)
    other = new_order("b" * 20, lines=(Line("LAST", "The last one", 1, 100),))
    saved(shop, domain.place(other))
    before = shop.dump()
    with pytest.raises(OutOfStock):
        shop.backend.repository.save(
            expired, expired.with_order(status=OrderStatus.PAID, stock=StockStatus.COMMITTED)
        )
    assert shop.dump() == before


def off_the_catalogue(shop: Shop, sku: str) -> None:
    shop.table.delete_item(Key={"pk": f"STOCK#{sku}", "sk": "STOCK"})


def test_a_product_that_left_the_catalogue_since_it_was_read_is_sold_out(shop: Shop) -> None:
    off_the_catalogue(shop, "COFFEE-250")
    with pytest.raises(OutOfStock) as raised:
        saved(shop)
    assert raised.value.members["skus"] == ["COFFEE-250"]


def test_a_late_success_cannot_take_what_left_the_catalogue(shop: Shop) -> None:
    story = saved(shop)
    expired = shop.backend.repository.save(story, domain.end(story, NOW + 1800))
    off_the_catalogue(shop, "COFFEE-250")
    with pytest.raises(OutOfStock):
        shop.backend.repository.save(
            expired, expired.with_order(status=OrderStatus.PAID, stock=StockStatus.COMMITTED)
        )


def test_units_that_an_order_holds_and_the_catalogue_lost_are_a_bug(shop: Shop) -> None:
    """And no race: to try again would not bring them back."""
    story = begun(shop)
    off_the_catalogue(shop, "COFFEE-250")
    before = shop.dump()
    with pytest.raises(RuntimeError, match=r"COFFEE-250 has not .* holds of it: \{\}"):
        shop.backend.repository.save(
            story, domain.decide(story, "tx", PAID, NOW, "test", RULES).story
        )
    with pytest.raises(Stale):  # Whoever lost a race hears of that first.
        shop.backend.repository.save(
            replace(story, order=replace(story.order, version=1)),
            domain.decide(story, "tx", PAID, NOW, "test", RULES).story,
        )
    assert shop.dump() == before


def test_the_largest_order_fits_in_one_transaction(shop: Shop) -> None:
    lines = []
    for number in range(90):
        sku = f"SKU-{number}"
        shop.stock_up(sku, sku, 1, "ETB", 1)
        lines.append(Line(sku, sku, 1, 1))
    story = saved(shop, domain.place(new_order(lines=tuple(lines), amount=90)))
    story = shop.backend.repository.save(story, domain.begin(story, "tx", NOW, RULES))
    paid = Verification(Said.PAID, "tx", 90, "ETB", "test", "AP1", "success")
    shop.backend.repository.save(story, domain.decide(story, "tx", paid, NOW, "test", RULES).story)
    assert shop.stock("SKU-89") == (0, 0, 1)


def test_the_ledger_counts_without_a_gap(shop: Shop) -> None:
    story = begun(shop)
    repository = shop.backend.repository
    story = repository.save(story, domain.nudged(story, NOW))
    repository.save(story, domain.opened(story, "tx", "https://pay", NOW))
    keys = [item["sk"] for item in shop.dump() if str(item["sk"]).startswith("EVENT#")]
    assert keys == ["EVENT#000001", "EVENT#000002", "EVENT#000003"]
    known = repository.read_with_ledger(story.order.order_id)
    assert known is not None
    money = {"amount": 90_000, "currency": "ETB"}
    assert known[1] == [
        Event("order.placed", NOW, money),
        Event("payment.initializing", NOW, {"tx_ref": "tx", **money}),
        Event("payment.pending", NOW, {"tx_ref": "tx"}),
    ]


class TestDue:
    def test_only_what_is_due_is_found(self, shop: Shop) -> None:
        for number in range(20):
            order_id = f"{number:020d}"
            saved(shop, domain.place(new_order(order_id, due_at=NOW + number, lines=())))
        found = set(shop.backend.repository.due(NOW + 9))
        assert found == {f"{number:020d}" for number in range(10)}

    def test_what_is_not_due_any_more_leaves_the_index(self, shop: Shop) -> None:
        story = saved(shop)
        shop.backend.repository.save(story, story.with_order(due_at=None))
        assert list(shop.backend.repository.due(NOW + 10_000)) == []

    def test_orders_are_spread_over_the_shards(self, shop: Shop) -> None:
        for number in range(64):
            saved(shop, domain.place(new_order(f"{number:020d}", lines=())))
        shards = {item["due_shard"] for item in shop.dump() if item["sk"] == "ORDER"}
        assert len(shards) == DUE_SHARDS


class TestEvents:
    def test_an_event_is_marked_by_the_write_that_made_it_true(self, shop: Shop) -> None:
        begun(shop)
        marks = [item["due_at"] for item in shop.dump() if str(item["sk"]).startswith("EVENT#")]
        assert marks == [NOW + 3600, NOW + 3600]

    def test_an_event_in_the_stream_names_itself_and_says_what_happened(self, shop: Shop) -> None:
        order_id = begun(shop).order.order_id
        images = shop.dynamodb.scan(TableName="payments")["Items"]
        told = [event_in(image) for image in images if image["sk"]["S"].startswith("EVENT#")]
        price = {"amount": 90_000, "currency": "ETB"}
        assert told == [
            (EventKey(order_id, 1), Event("order.placed", NOW, price)),
            (EventKey(order_id, 2), Event("payment.initializing", NOW, {"tx_ref": "tx"} | price)),
        ]

    def test_an_event_is_not_an_order_and_an_order_is_not_an_event(self, shop: Shop) -> None:
        order_id = begun(shop).order.order_id
        repository, later = shop.backend.repository, NOW + 10_000
        assert list(repository.due(later)) == [order_id]
        assert list(repository.overdue_events(later)) == [(order_id, 1), (order_id, 2)]

    def test_an_event_is_overdue_when_its_time_is_over_and_not_before(self, shop: Shop) -> None:
        begun(shop)
        assert list(shop.backend.repository.overdue_events(NOW + 3599)) == []
        assert len(list(shop.backend.repository.overdue_events(NOW + 3600))) == 2

    def test_what_is_published_is_never_overdue(self, shop: Shop) -> None:
        order_id = begun(shop).order.order_id
        repository, later = shop.backend.repository, NOW + 10_000
        assert repository.unmark_event(EventKey(order_id, 1))
        assert not repository.unmark_event(EventKey(order_id, 1))
        assert not repository.touch_event(EventKey(order_id, 1), later)
        assert list(repository.overdue_events(later)) == [(order_id, 2)]

    def test_of_two_sweeps_one_touches_an_event(self, shop: Shop) -> None:
        event = EventKey(begun(shop).order.order_id, 1)
        repository, later = shop.backend.repository, NOW + 3600
        assert repository.touch_event(event, later)
        assert not repository.touch_event(event, later)
        assert repository.touch_event(event, later + 3600)

    def test_an_event_that_is_gone_does_not_come_back_as_a_ghost(self, shop: Shop) -> None:
        before = shop.dump()
        nobody = EventKey("b" * 20, 1)
        assert not shop.backend.repository.touch_event(nobody, NOW)
        assert not shop.backend.repository.unmark_event(nobody)
        assert shop.dump() == before

    def test_the_mark_is_not_part_of_the_story(self, shop: Shop) -> None:
        story = begun(shop)
        known = shop.backend.repository.read_with_ledger(story.order.order_id)
        shop.backend.repository.unmark_event(EventKey(story.order.order_id, 1))
        assert shop.backend.repository.read_with_ledger(story.order.order_id) == known


class TestLooks:
    def test_one_look_is_taken_in_its_time(self, shop: Shop) -> None:
        order_id = begun(shop).order.order_id
        claim = shop.backend.repository.claim_look
        assert claim(order_id, "tx", NOW, 3)
        assert not claim(order_id, "tx", NOW + 2, 3)
        assert claim(order_id, "tx", NOW + 3, 3)

    def test_who_meets_a_transaction_leaves_the_look_to_whoever_writes(self, shop: Shop) -> None:
        order_id = begun(shop).order.order_id
        answer: Any = {"Error": {"Code": "TransactionConflictException", "Message": "ongoing"}}
        error = ClientError(answer, "UpdateItem")
        with patch.object(shop.dynamodb, "update_item", side_effect=error):
            assert not shop.backend.repository.claim_look(order_id, "tx", NOW, 3)

    def test_a_payment_that_is_not_there_has_no_look_to_take(self, shop: Shop) -> None:
        assert not shop.backend.repository.claim_look("b" * 20, "tx", NOW, 3)
        assert shop.dump() == [i for i in shop.dump() if str(i["pk"]).startswith("STOCK#")]


class TestProducts:
    def test_only_known_products_are_found(self, shop: Shop) -> None:
        found = shop.backend.repository.products(["MUG", "NOTHING"])
        assert found == {"MUG": Product("MUG", "Mug", 15_050, "ETB")}

    def test_what_the_first_answer_left_out_is_asked_for_again(self, shop: Shop) -> None:
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
            assert shop.backend.repository.products(["MUG", "LAST"]).keys() == {"MUG", "LAST"}
        assert [len(keys) for keys in asked] == [2, 2, 1]


class Conflicting:
    """A client whose transactions are cancelled as DynamoDB cancels them; moto never does."""

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

    @pytest.mark.parametrize(
        "code",
        ["TransactionConflict", "ThrottlingError", "TransactionInProgressException"],
    )
    def test_a_transaction_that_met_another_is_tried_again(self, client: Any, code: str) -> None:
        slept: list[float] = []
        conflicting = Conflicting(client, [code, code])
        repository = Repository(conflicting, "payments", sleep=slept.append)  # type: ignore[arg-type]
        repository.save(None, domain.place(new_order(lines=())))
        assert (conflicting.calls, len(slept)) == (3, 2)

    def test_it_waits_longer_each_time_and_gives_up_in_the_end(
        self, client: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        slept: list[Any] = []
        monkeypatch.setattr("payments.repository.random.uniform", lambda *bounds: bounds)
        conflicting = Conflicting(client, ["TransactionConflict"] * 100)
        repository = Repository(conflicting, "payments", sleep=slept.append)  # type: ignore[arg-type]
        with pytest.raises(Busy) as busy:
            repository.save(None, domain.place(new_order(lines=())))
        assert busy.value.retry_after == 1
        assert conflicting.calls == len(slept) == CONFLICT_TRIES
        assert slept[:4] == [(0, 0.02), (0, 0.04), (0, 0.08), (0, 0.16)]

    def test_a_transaction_that_can_never_succeed_is_a_bug(self, client: Any) -> None:
        conflicting = Conflicting(client, ["ValidationError"])
        repository = Repository(conflicting, "payments", sleep=lambda _: None)  # type: ignore[arg-type]
        with pytest.raises(RuntimeError, match="ValidationError: so says DynamoDB"):
            repository.save(None, domain.place(new_order(lines=())))

    def test_other_errors_of_aws_are_not_hidden(self, client: Any) -> None:
        with pytest.raises(ClientError):
            Repository(client, "nowhere").read("a" * 20)
