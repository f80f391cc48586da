"""A deployed shop that changes over from Chapa's v1 to v2: two keys in the secret change places."""

from collections.abc import Iterator
from io import StringIO

import pytest
from rich.console import Console

from sandbox import demo
from sandbox.client import Client
from tests.journeys.shop import DeployedShop

pytestmark = pytest.mark.usefixtures("opened_before")


@pytest.fixture(scope="module")
def opened_before(deployed: DeployedShop) -> Iterator[tuple[str, str]]:
    """The order id and tx_ref of a payment that was opened before the change."""
    opened = deployed.begun(deployed.product())
    with deployed.changed_over():
        yield opened


def test_open_payment_of_v1_is_paid_after_the_change(
    shop: DeployedShop, opened_before: tuple[str, str]
) -> None:
    order_id, tx_ref = opened_before
    assert shop.chapa.payment(tx_ref)["version"] == "v1"
    shop.chapa.pay(tx_ref)
    assert shop.answered("webhook", tx_ref) == [200]
    assert shop.state(order_id) == ("paid", ["succeeded"])
    assert {entry.version for entry in shop.calls("verify", tx_ref)} == {"v1"}


def test_payment_of_v2_is_paid_by_its_webhook_and_refunded(shop: DeployedShop) -> None:
    sku = shop.product()
    order_id = shop.ordered(sku)
    begun = shop.initialize(order_id)
    tx_ref = begun["tx_ref"]
    at_chapa = shop.chapa.payment(tx_ref)
    assert (at_chapa["version"], at_chapa["amount"]) == ("v2", "901.00")
    page = shop.visit(begun["checkout_url"])
    assert shop.press(page, "pay") == f"https://shop.example/thanks?tx_ref={tx_ref}"
    assert shop.answered("webhook", tx_ref) == [200]
    assert shop.state(order_id) == ("paid", ["succeeded"])
    assert shop.payment(tx_ref)["provider_reference"] == at_chapa["reference"]

    code, _, _ = shop.operate("refund", tx_ref, "--key=ticket-v2", f"--return={sku}=2")
    assert code == 0
    shop.await_payment(tx_ref, "refunded")
    assert shop.refunds(tx_ref) == [("901.00", "refunded")]
    assert shop.available(sku) == 10
    assert {entry.version for entry in shop.chapa.journal(tx_ref=tx_ref)} == {"v2"}


@pytest.mark.parametrize("scenario", [demo.abandoned, demo.paid_twice])
def test_scenario_of_the_demo_that_has_another_course_with_v2_passes(
    shop: DeployedShop, scenario: demo.Scenario
) -> None:
    report = demo.Report(Console(file=(out := StringIO()), width=demo.WIDTH))
    with Client({**shop.stack, "provider": "v2"}) as client:
        demo.play(client, report, (scenario,))
    assert report.passed, out.getvalue()
