"""What a request and an order cost in calls and write units: exact, and the same on any machine.

`bench/results.md` shows what each unit is for.
"""

from collections.abc import Callable

import pytest

from bench import counts, sweep
from bench.counts import Counted
from bench.units import Account
from tests.shop import Shop


@pytest.fixture
def counted(shop: Shop) -> Counted:
    return Counted(shop)


def calls(counted: Counted, request: Callable[[], object]) -> dict[str, int]:
    """Calls to DynamoDB, and those to Chapa by name."""
    before = list(counted.shop.simulator.journal.entries())
    with counted.counting() as account:
        request()
    asked = [entry.call for entry in counted.shop.simulator.journal.entries()][len(before) :]
    return dict(account.calls) | {call: asked.count(call) for call in asked}


def test_a_new_payment_is_one_read_two_writes_and_one_call_to_chapa(counted: Counted) -> None:
    order_id = counted.placed()
    first = calls(counted, lambda: counted.begun(order_id))
    assert first == {"Query": 1, "TransactWriteItems": 1, "UpdateItem": 1, "initialize": 1}
    assert calls(counted, lambda: counted.begun(order_id)) == {"Query": 1}


def test_a_webhook_is_one_read_one_claim_one_verify_and_one_transaction(counted: Counted) -> None:
    tx_ref = counted.begun(counted.placed())
    counted.shop.control.pay(tx_ref, webhook=False)
    applied = calls(counted, lambda: counted.shop.notify(tx_ref))
    assert applied == {"Query": 1, "UpdateItem": 1, "verify": 1, "TransactWriteItems": 1}
    assert calls(counted, lambda: counted.shop.notify(tx_ref)) == {"Query": 1}
    forged = calls(counted, lambda: counted.shop.webhook({"tx_ref": tx_ref}, sign_with="x"))
    assert forged == {}


@pytest.mark.parametrize(
    ("account", "units"),
    [
        (counts.paid, 39),
        (lambda counted: counts.expired(counted, attempted=False), 31),
        (lambda counted: counts.expired(counted, attempted=True), 50),
    ],
    ids=["paid", "expired", "expired with a payment"],
)
def test_order_of_three_lines_costs_so_many_write_units(
    counted: Counted, account: Callable[[Counted], Account], units: int
) -> None:
    found = account(counted)
    assert found.total == units, dict(found.units)


@pytest.mark.corrupts  # These orders hold stock that nobody reserved.
def test_sweep_costs_what_is_due_and_not_what_exists(counted: Counted) -> None:
    few = sweep.swept(counted, orders=50, due=50)
    many = sweep.swept(counted, orders=500, due=50)
    assert (few.calls, few.reads, few.total) == (many.calls, many.reads, many.total)


def test_settling_writes_no_stock(counted: Counted) -> None:
    tx_ref = counted.begun(counted.placed())
    counted.shop.control.pay(tx_ref, webhook=False)
    with counted.counting() as account:
        counted.shop.notify(tx_ref)
    assert account.units["item ORDER"]
    assert not account.units["item STOCK"]
