"""What the journeys before it left behind: promises kept, and logs that tell nothing private.

Its name puts it last. Alone it has its own journey to look at.
"""

from sandbox.client import until
from tests.journeys.shop import CUSTOMER, Shop


def test_no_log_line_holds_a_secret_or_a_customer_s_data(shop: Shop) -> None:
    order_id, _ = shop.paid(shop.product())
    refused = shop.place({shop.product(): 1}, customer={"email": "birtukan.w@example.com"})
    assert shop.initialize(refused["order_id"]).code == "provider_rejected"
    until(
        lambda: [line for _, line in shop.logged()],
        lambda seen: (
            any("order.paid" in line and order_id in line for line in seen)
            and any("initialize refused" in line for line in seen)
        ),
        "the logs have arrived",
    )
    secret = shop.secret()
    private = {
        *CUSTOMER.values(),
        "birtukan.w",
        CUSTOMER["phone_number"].removeprefix("0"),
        secret["api_key"],
        secret["webhook_secret"],
        "the next secret",
        *(user["token"].split(".")[2] for user in shop.stack["users"].values()),
    }
    told = [
        (group, word, line)
        for group, line in shop.logged()
        for word in private
        if word.lower() in line.lower()
    ]
    assert told == []


def test_no_function_failed_for_a_reason_of_its_own(shop: Shop) -> None:
    shop.paid(shop.product())
    bugs = [
        (group, line)
        for group, line in shop.logged()
        if '"bug"' in line or "configuration" in line or "Task timed out" in line
    ]
    assert bugs == []


def test_every_promise_holds_for_all_that_was_done(shop: Shop) -> None:
    shop.paid(shop.product())
    shop.await_worker()
    assert shop.broken(settled=False) == []


def test_what_nobody_reported_the_sweep_finds(shop: Shop) -> None:
    _, tx_ref = shop.begun(shop.product())
    shop.chapa.pay(tx_ref, webhook=False)

    def sweep_all() -> list[str]:
        for item in shop.dump():
            if item["sk"] == "ORDER" and "due_at" in item:
                shop.make_due(item["order_id"])
        shop.sweep()
        shop.await_worker()
        return shop.broken(settled=True)

    until(sweep_all, lambda found: found == [], "all that Chapa confirms has an owner")
    assert shop.payment(tx_ref)["status"] == "succeeded"


def test_an_operator_s_audit_finds_nothing(shop: Shop) -> None:
    shop.paid(shop.product())
    shop.await_worker()
    code, audit, complaint = shop.operate("audit")
    assert (code, audit["violations"], complaint) == (0, [], "")
    assert audit["items"] == len(shop.items())
