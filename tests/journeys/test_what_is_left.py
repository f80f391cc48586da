"""What the journeys of a stack leave behind: invariants that hold, and logs without private data.

Runs after all other journeys of a stack.
"""

import pytest

from payments.domain.ids import order_id_of
from sandbox.client import until
from tests.forgeries import PRIVATE
from tests.journeys.shop import CUSTOMER, DeployedShop

pytestmark = pytest.mark.usefixtures("stack")


def test_log_lines_hold_no_secret_no_customer_data_and_no_bug(shop: DeployedShop) -> None:
    order_id, _ = shop.paid(shop.product())
    refused = shop.place({shop.product(): 1}, customer={"email": "birtukan.w@example.com"})
    assert shop.initialize(refused["order_id"]).status == 201
    shop.await_worker()
    until(
        lambda: shop.logs.lines(order_id),
        lambda lines: any("order.paid" in line for _, line in lines),
        "the log of the payment has arrived",
    )
    until(
        lambda: shop.logs.lines("opened without what Chapa refused"),
        bool,
        "the log of the refusal too",
    )
    secret = shop.secret()
    private = {
        *CUSTOMER.values(),
        *PRIVATE,
        "birtukan.w",
        CUSTOMER["phone_number"].removeprefix("0"),
        secret["api_key"],
        secret["api_key_other"],
        secret["webhook_secret"],
        "the next secret",
        *(user["token"].split(".")[2] for user in shop.stack["users"].values()),
    }
    lines = shop.logs.lines()
    assert [line for line in lines for word in private if word.lower() in line[1].lower()] == []
    # What two tests want to fail: the dead letters' messages, and reading a deleted secret.
    bugs = ('"bug"', "configuration", "Task timed out", "Traceback")
    wanted = ("order not reconciled", "SECRET_ID: cannot be read")
    assert [
        line
        for line in lines
        if any(word in line[1] for word in bugs) and not any(word in line[1] for word in wanted)
    ] == []


def test_sweeps_settle_all_that_chapa_confirms_and_the_audit_finds_nothing(
    shop: DeployedShop,
) -> None:
    _, tx_ref = shop.begun(shop.product())
    shop.chapa.pay(tx_ref, webhook=False)
    shop.await_worker()
    assert shop.violations(settled=False) == []

    def sweep_all() -> list[str]:
        confirmed = {order_id_of(payment.tx_ref) for payment in shop.confirmed()}
        for item in shop.dump():
            if item["sk"] == "ORDER" and "due_at" in item and item["order_id"] in confirmed:
                shop.make_due(item["order_id"])
        shop.sweep()
        shop.await_worker()
        return shop.violations(settled=True)

    until(sweep_all, lambda found: found == [], "all that Chapa confirms has an owner")
    assert shop.payment(tx_ref)["status"] == "succeeded"
    code, audit, error = shop.operate("audit")
    assert (code, audit["violations"], error) == (0, [], "")
    assert audit["items"] == len(shop.items())
