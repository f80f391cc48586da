from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from payments.aws.items import (
    CATALOGUE_LIST,
    OWED_LIST,
    REVIEW_LIST,
    UNANSWERED_LIST,
    EventKey,
    PaymentKey,
    customer_list,
    day_list,
)
from payments.aws.lists import Listed, Standing
from payments.domain import refunds
from payments.domain.aggregate import OrderAggregate
from payments.domain.answers import Said
from payments.domain.records import Payment, Refund
from payments.domain.states import PaymentStatus
from tests.payments.aws.orders import (
    NOW,
    ORDER_ID,
    OTHER_ID,
    REFUND_ID,
    TX,
    Store,
    begun,
    changed,
    opened,
    paid,
    placed,
    refunding,
)

pytestmark = pytest.mark.corrupts  # Its orders have no payment at Chapa.

DAY = "PAID#2027-01-15"


def test_order_is_found_by_a_reference_of_chapa(store: Store) -> None:
    aggregate = refunding(store)
    store.save(aggregate, refunds.accepted(aggregate, REFUND_ID, "RF1", NOW))
    placed(store, OTHER_ID)
    assert list(store.find_by_provider_reference("AP1")) == [ORDER_ID]
    assert list(store.find_by_provider_reference("RF1")) == [ORDER_ID]
    assert list(store.find_by_provider_reference("AP2")) == []


def test_orders_of_a_customer_are_listed_newest_first(store: Store) -> None:
    for number in range(3):
        placed(store, f"{number:012d}", created_at=NOW + number, lines=())
    placed(store, OTHER_ID, user_id="almaz", lines=())
    listed = list(store.listed(customer_list("abebe")))
    assert [entry.order_id for entry in listed] == ["0" * 11 + n for n in "210"]
    assert list(store.listed(customer_list("abebe"), 2)) == listed[:2]
    assert list(store.listed(customer_list("almaz"))) == [Listed(OTHER_ID, "ORDER", "")]


def test_payments_of_a_day_are_listed_in_pages_newest_first(store: Store) -> None:
    keys = [PaymentKey(f"{number:012d}", f"{number:012d}paymentx") for number in range(5)]
    for number, key in enumerate(keys):
        order = placed(store, key.order_id, lines=())
        payment = Payment(key.tx_ref, "chapa-v1", 1, "ETB", NOW, PaymentStatus.SUCCEEDED)
        store.save(order, order.put(replace(payment, paid_at=NOW + number)))
    listed, start = store.list_page(DAY, limit=3)
    assert (listed, start is None) == (keys[:1:-1], False)
    assert store.list_page(DAY, start, limit=3) == (keys[1::-1], None)
    assert store.list_page(DAY, between=(NOW + 1, NOW + 3)) == (keys[2:0:-1], None)
    assert store.list_page("PAID#2027-01-16") == ([], None)
    between = store.listed(DAY, between=(NOW + 1, NOW + 3))
    assert [entry.order_id for entry in between] == [key.order_id for key in keys[2:0:-1]]
    paid_then = store.paid_between(NOW + 1, NOW + 3)
    assert {entry.order_id for entry in paid_then} == {key.order_id for key in keys[1:3]}


def test_events_by_which_money_went_back_are_listed_by_their_time(store: Store) -> None:
    aggregate = refunding(store)
    aggregate = store.save(aggregate, refunds.accepted(aggregate, REFUND_ID, "RF1", NOW))
    number = aggregate.order.event_count + 1
    store.save(aggregate, refunds.ended(aggregate, REFUND_ID, Said.REFUNDED, NOW + 60))
    assert list(store.given_back_between(NOW + 60, NOW + 61)) == [EventKey(ORDER_ID, number)]
    assert list(store.given_back_between(NOW, NOW + 60)) == []
    assert list(store.given_back_between(NOW + 61, NOW + 86_400)) == []


def test_standing_of_a_list_is_its_entries_and_the_age_of_the_oldest(store: Store) -> None:
    aggregate = refunding(store)
    later = replace(aggregate.refunds[0], refund_id="later", created_at=NOW + 60)
    store.save(aggregate, aggregate.put(later))
    assert store.standing(OWED_LIST) == Standing(2, NOW)
    assert store.standing(REVIEW_LIST) == Standing(0, None)


def test_products_are_listed(store: Store) -> None:
    store.set_product("TEA", name="Tea", unit_price=1, currency="ETB")
    listed = [entry.order_id for entry in store.listed(CATALOGUE_LIST)]
    assert listed == ["TEA", "MUG", "LAST", "EBOOK", "COFFEE-250"]


def test_record_is_in_one_list_and_leaves_it_with_its_state(store: Store) -> None:
    payment, owed = Listed(ORDER_ID, "PAYMENT", TX), Listed(ORDER_ID, "REFUND", REFUND_ID)

    def refund_is(**changes: Any) -> Callable[[OrderAggregate], OrderAggregate]:
        return lambda a: a.put(replace(a.refunds[0], **changes))

    steps: list[tuple[Callable[[OrderAggregate], OrderAggregate], dict[str, Listed]]] = [
        (opened, {}),
        (lambda a: changed(a, unanswered_since=NOW), {UNANSWERED_LIST: payment}),
        (lambda a: changed(a, status=PaymentStatus.REVIEW, paid_at=NOW), {REVIEW_LIST: payment}),
        (lambda a: changed(a, unanswered_since=None), {REVIEW_LIST: payment}),
        (paid, {DAY: payment}),
        (
            lambda a: refunds.request_refund(a, Refund(REFUND_ID, TX, 1, "ETB", NOW), NOW),
            {DAY: payment, OWED_LIST: owed},
        ),
        (refund_is(unanswered_since=NOW), {DAY: payment, UNANSWERED_LIST: owed}),
        (lambda a: refunds.refused(a, REFUND_ID, "No", NOW), {DAY: payment, REVIEW_LIST: owed}),
        (refund_is(unanswered_since=None), {DAY: payment, REVIEW_LIST: owed}),
        (lambda a: refunds.retry(a, a.refunds[0], "me", "", NOW), {DAY: payment, OWED_LIST: owed}),
        (lambda a: refunds.accepted(a, REFUND_ID, "RF1", NOW), {DAY: payment, OWED_LIST: owed}),
        (lambda a: refunds.ended(a, REFUND_ID, Said.REFUNDED, NOW), {DAY: payment}),
    ]
    aggregate = begun(store)
    for step, expected in steps:
        aggregate = store.save(aggregate, step(aggregate))
        found = {
            name: entry
            for name in (REVIEW_LIST, OWED_LIST, UNANSWERED_LIST, DAY)
            for entry in store.listed(name)
        }
        assert found == expected


def test_payments_of_a_day_are_those_that_were_paid_on_it_in_utc() -> None:
    assert day_list(NOW) == DAY
    assert day_list(NOW - NOW % 86_400 - 1) == "PAID#2027-01-14"
