"""The comparison with Chapa's list, on the simulator, in both versions of its API."""

from dataclasses import replace
from decimal import Decimal
from io import StringIO

import pytest

from payments.chapa import v1, v2
from payments.domain.comparison import Comparison
from payments.domain.events import PaymentDiffers
from payments.domain.ids import order_id_of
from payments.domain.states import OrderStatus, PaymentStatus
from payments.errors import ProviderError
from payments.usecases import compare
from payments.usecases.compare import DAY, compare_nightly
from payments.usecases.refund import request
from sandbox.chapa.records import Account
from sandbox.chapa.records import Payment as AtChapa
from tests.shop import API_KEYS, Died, Shop, die

HOUR = 3600
V1, V2 = "chapa-v1", "chapa-v2"


@pytest.fixture(params=[V1, V2])
def provider(request: pytest.FixtureRequest) -> str:
    return str(request.param)


only_v1 = pytest.mark.parametrize("provider", [V1], indirect=True)
only_v2 = pytest.mark.parametrize("provider", [V2], indirect=True)


def at_chapa(shop: Shop, tx_ref: str) -> AtChapa:
    found = shop.simulator.find(tx_ref)
    assert found is not None
    return found


def night(shop: Shop, days: int = 3) -> Comparison:
    """The comparison of the next night, with the checks that it queues."""
    shop.clock.advance(DAY - shop.now % DAY + HOUR)
    compare_nightly(shop.backend, days)
    done = shop.backend.comparisons.comparison(shop.provider)
    assert done is not None
    shop.clock.advance(60)
    shop.work()
    return done


def differences(shop: Shop, tx_ref: str) -> list[str]:
    """What the events say that differs."""
    events = shop.events(order_id_of(tx_ref) or "")
    return [event.what for event in events if isinstance(event, PaymentDiffers)]


def foreign(shop: Shop, reference: str, amount: str = "900.00") -> None:
    """A payment that another system of the same account opened, and a customer paid."""
    opened = {"tx_ref": reference, "amount": Decimal(amount), "currency": "ETB"}
    account: Account = ("v1" if shop.provider == V1 else "v2", "test")
    shop.simulator.open(account, opened, API_KEYS[shop.provider])
    shop.control.pay(reference, webhook=False)


def refund_at_chapa(shop: Shop, tx_ref: str, amount: str) -> None:
    """On the dashboard, without a webhook."""
    made = shop.simulator.refund(
        at_chapa(shop, tx_ref), Decimal(amount), reference=None, reason=None, meta=None
    )
    shop.simulator.move_refund(made, "refunded", webhook=False)


def test_equal_books_have_no_difference(shop: Shop) -> None:
    _, tx_ref = shop.paid()
    shop.begun()
    order_id, refunded = shop.paid({"MUG": 1})
    request(shop.backend, refunded, None, key="T-1", reason="Broken")
    for _ in range(8):
        shop.clock.advance(600)
        shop.sweep()
    assert shop.aggregate(order_id).order.status is OrderStatus.REFUNDED
    done = night(shop)
    rows = 2 if shop.provider == V1 else 3
    assert (done.rows, done.paid, done.foreign, done.differences) == (rows, 1, 0, 0)
    assert done.done
    assert not differences(shop, tx_ref)


def test_reversal_without_a_webhook_is_found_and_applied(shop: Shop) -> None:
    order_id, tx_ref = shop.paid()
    shop.control.reverse(tx_ref, webhook=False)
    night(shop)
    assert shop.payment(tx_ref).status is PaymentStatus.REVERSED
    names = shop.event_names(order_id)
    assert names[-3:] == ["payment.differs", "payment.reversed", "order.refunded"]
    assert night(shop).differences == 0


def test_success_without_a_webhook_is_found_and_applied(shop: Shop) -> None:
    order_id, tx_ref = shop.begun()
    shop.control.pay(tx_ref, webhook=False)
    # The sweep has stopped, too. v1's list does not name our payment, so nothing is certain.
    assert night(shop).differences == (0 if shop.provider == V1 else 1)
    assert shop.aggregate(order_id).order.status is OrderStatus.PAID
    done = night(shop)
    assert (done.differences, done.foreign, done.paid) == (0, 0, 1)


def test_refund_of_the_dashboard_is_found_and_applied(shop: Shop) -> None:
    order_id, tx_ref = shop.paid()
    refund_at_chapa(shop, tx_ref, "900.00")
    night(shop)
    assert differences(shop, tx_ref) == ["status"]
    assert shop.aggregate(order_id).order.status is OrderStatus.REFUNDED
    assert night(shop).differences == 0


@only_v2
def test_part_that_was_refunded_on_the_dashboard_stays_a_difference(shop: Shop) -> None:
    _, tx_ref = shop.paid()
    refund_at_chapa(shop, tx_ref, "100.00")
    night(shop)
    night(shop)
    assert differences(shop, tx_ref) == ["refund", "refund"]
    assert shop.payment(tx_ref).status is PaymentStatus.SUCCEEDED


@pytest.mark.corrupts
@pytest.mark.parametrize("what", ["amount", "currency", "missing"])
def test_what_no_check_can_resolve_is_reported_each_night(shop: Shop, what: str) -> None:
    _, tx_ref = shop.paid()
    shop.paid({"MUG": 1})
    payment = at_chapa(shop, tx_ref)
    match what:
        case "amount":
            payment.amount = Decimal("1.00")
        case "currency":
            payment.currency = "USD"
        case "missing":
            del shop.simulator.payments[payment.account, tx_ref]
    for _ in range(2):
        done = night(shop)
        assert (done.differences, done.paid) == (1, 2)
    assert differences(shop, tx_ref) == [what, what]
    assert shop.payment(tx_ref).status is PaymentStatus.SUCCEEDED


@pytest.mark.corrupts
def test_other_business_of_the_account_is_counted_without_an_event(
    shop: Shop, log: StringIO
) -> None:
    foreign(shop, "invoice-17")
    foreign(shop, "a" * 20)  # Of our shape, as another shop of this code has them.
    done = night(shop)
    assert (done.rows, done.foreign, done.differences) == (2, 2, 0)
    assert '"foreign":2' in log.getvalue()


@only_v1
def test_success_of_a_closed_payment_is_found_though_the_list_has_no_tx_ref(shop: Shop) -> None:
    order_id, tx_ref = shop.expired()
    shop.clock.advance(DAY + 2 * HOUR)
    shop.sweeps()  # No check is planned any more.
    assert shop.aggregate(order_id).order.due_at is None
    shop.control.pay(tx_ref, late=True, webhook=False)
    assert night(shop).foreign == 1
    assert shop.aggregate(order_id).order.status is OrderStatus.PAID
    assert night(shop).foreign == 0


@only_v1
def test_tx_ref_in_a_row_of_v1_is_used(shop: Shop) -> None:
    shop.control.switch(list_tx_ref="present", list_order="oldest")
    _, tx_ref = shop.begun()
    shop.control.pay(tx_ref, webhook=False)
    assert night(shop).differences == 1
    assert shop.payment(tx_ref).status is PaymentStatus.SUCCEEDED


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    for client in (v1, v2):
        monkeypatch.setattr(client, "ROWS", 1)


@pytest.mark.usefixtures("small_pages")
@pytest.mark.parametrize(
    "switches",
    [{}, {"list_pages": "page", "list_filters": "ignored", "refund_list": "absent"}],
    ids=["cursors", "pages"],
)
def test_all_pages_are_compared(shop: Shop, switches: dict[str, str]) -> None:
    shop.control.switch_v2(**switches)
    for sku in ("COFFEE-250", "MUG", "LAST"):
        shop.paid({sku: 1})
    done = night(shop)
    assert (done.rows, done.paid, done.differences) == (3, 3, 0)
    # One page of the other account, and one that is empty where nothing names the end.
    assert shop.asked("list") == 4 + (shop.provider == V2 and bool(switches))


@only_v1
@pytest.mark.usefixtures("small_pages")
@pytest.mark.parametrize("skip", range(5))
def test_comparison_goes_on_where_a_process_died(shop: Shop, skip: int) -> None:
    tx_refs = [shop.paid({sku: 1})[1] for sku in ("COFFEE-250", "MUG")]
    for tx_ref in tx_refs:
        shop.control.reverse(tx_ref, webhook=False)
    shop.clock.advance(DAY)
    shop.before_aws("PutItem", die, skip=skip // 2, when="before" if skip % 2 else "after")
    try:
        compare_nightly(shop.backend, 3)
    except Died:
        shop.clock.advance(900)
        compare_nightly(shop.backend, 3)
    done = shop.backend.comparisons.comparison(shop.provider)
    assert done is not None
    assert (done.done, done.rows, done.differences) == (True, 2, 2)
    shop.clock.advance(60)
    shop.work()
    assert [differences(shop, tx_ref) for tx_ref in tx_refs] == [["status"], ["status"]]


def test_comparison_stops_while_chapa_does_not_answer_and_goes_on_later(
    shop: Shop, log: StringIO
) -> None:
    shop.paid()
    shop.control.add_fault("list", "status", status=500, times=2)
    assert not night(shop).done
    assert "comparison stopped" in log.getvalue()
    shop.clock.advance(6 * HOUR)
    compare_nightly(shop.backend, 3)
    done = shop.backend.comparisons.comparison(shop.provider)
    assert done is not None
    assert (done.done, done.rows) == (True, 1)


def test_list_that_does_not_move_on_is_an_error(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.paid()
    client = shop.backend.providers[shop.provider]
    page = client.transactions(shop.now - DAY, shop.now + DAY, None, 20)
    monkeypatch.setattr(client, "transactions", lambda *_: replace(page, following="again"))
    begun = compare.begin(shop.backend, shop.provider, shop.now - DAY, shop.now + DAY)
    one = compare.step(shop.backend, begun)
    with pytest.raises(ProviderError, match="does not move on"):
        compare.step(shop.backend, one.comparison)


def test_events_of_one_comparison_are_limited(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare, "MAX_RECORDED", 1)
    tx_refs = [shop.paid({sku: 1})[1] for sku in ("COFFEE-250", "MUG")]
    for tx_ref in tx_refs:
        shop.control.reverse(tx_ref, webhook=False)
    assert night(shop).differences == 2
    assert sorted(differences(shop, tx_ref) for tx_ref in tx_refs) == [[], ["status"]]
    assert {shop.payment(tx_ref).status for tx_ref in tx_refs} == {PaymentStatus.REVERSED}


@pytest.mark.corrupts
@only_v1
def test_payment_that_cannot_be_read_does_not_stop_the_others(shop: Shop, log: StringIO) -> None:
    broken = shop.paid({"MUG": 1})[1]
    _, tx_ref = shop.paid()
    shop.control.reverse(tx_ref, webhook=False)
    key = {"pk": f"ORDER#{broken[:12]}", "sk": f"PAYMENT#{broken}"}
    update = {"UpdateExpression": "SET #s = :s", "ExpressionAttributeNames": {"#s": "status"}}
    shop.table.update_item(Key=key, **update, ExpressionAttributeValues={":s": "lost"})
    done = night(shop)
    assert (done.done, done.differences, done.foreign) == (True, 1, 1)
    assert "payment cannot be read" in log.getvalue()
    assert shop.payment(tx_ref).status is PaymentStatus.REVERSED
