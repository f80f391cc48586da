"""A shop that changes from one version of Chapa's API to the other."""

from io import StringIO

import pytest

from payments.domain.states import OrderStatus, PaymentStatus, RefundStatus
from payments.usecases.refund import request
from tests.shop import API_KEYS, Shop

V1, V2 = API_KEYS["chapa-v1"], API_KEYS["chapa-v2"]


def change_keys(shop: Shop, api_key: str, api_key_other: str = "") -> None:
    """A rotation of the secret, without a deployment."""
    shop.set_secret(api_key=api_key, api_key_other=api_key_other)
    shop.clock.advance(60)


@pytest.fixture(autouse=True)
def _begins_with_v1(shop: Shop) -> None:
    change_keys(shop, V1)


def test_current_key_decides_the_version_of_new_payments(shop: Shop) -> None:
    opens: list[str] = []
    for keys in ((V1,), (V2, V1), (V1, V2), (V2,)):
        change_keys(shop, *keys)
        opens.append(shop.backend.current_provider().name)
    assert opens == ["chapa-v1", "chapa-v2", "chapa-v1", "chapa-v2"]


def test_payment_is_settled_and_refunded_by_the_version_that_opened_it(shop: Shop) -> None:
    order_id, tx_ref = shop.begun()
    assert shop.payment(tx_ref).provider == "chapa-v1"
    shop.control.pay(tx_ref, webhook=False)
    change_keys(shop, V2, V1)
    assert shop.notify(tx_ref).body == {"outcome": "applied"}
    assert shop.aggregate(order_id).order.status is OrderStatus.PAID
    request(shop.backend, tx_ref, None, key="ticket-1", reason="Broken cup")
    shop.work()
    assert shop.asked("refund", tx_ref) == 1


def test_v2_finds_a_partial_refund_by_our_reference_after_its_id_was_lost(shop: Shop) -> None:
    change_keys(shop, V2, V1)
    order_id, tx_ref = shop.paid()
    request(shop.backend, tx_ref, 40_000, key="ticket-1", reason="Broken cup")
    shop.control.add_fault("refund", "timeout_after", seconds=1)
    shop.sweeps()
    [refund] = shop.aggregate(order_id).refunds
    assert (refund.status, refund.provider_refund_id) == (RefundStatus.REFUNDED, None)
    assert len(shop.simulator.refunds) == 1


@pytest.mark.parametrize("phone", ["without_plus", "refused"])
@pytest.mark.parametrize("said", [{}, {"error_details": "fields"}, {"error_message": "object"}])
def test_number_that_v2_refuses_does_not_make_an_order_unpayable(
    shop: Shop, phone: str, said: dict[str, str]
) -> None:
    change_keys(shop, V2, V1)
    shop.control.switch_v2(phone=phone, **said)
    order = shop.order(customer={"phone_number": "0911223344", "first_name": "Abebe"})
    assert shop.pay(order.body["order_id"]).status == 201


PAID, PENDING, REVIEW = PaymentStatus.SUCCEEDED, PaymentStatus.PENDING, PaymentStatus.REVIEW


@pytest.mark.parametrize(
    ("switches", "status"),
    [
        *(({"verify_by": by}, PAID) for by in ("chapa_reference", "merchant_reference")),
        ({"status_case": "upper", "verify_amounts": "string"}, PAID),
        ({"verify_mode": "present", "verify_reference": "misspelt"}, PAID),
        ({"webhook_shape": "wrapped", "webhook_amounts": "decimal"}, PAID),
        *(({"webhook_signature": form}, PAID) for form in ("both_names", "prefixed")),
        ({"webhook_signature": "constant"}, PENDING),
        # A factor of 100, a fee, another mode: a person decides.
        ({"verify_amounts": "decimal"}, REVIEW),
        ({"verify_amount": "less_fee"}, REVIEW),
        ({"verify_mode": "wrong"}, REVIEW),
    ],
    ids=str,
)
def test_success_of_v2_in_each_contested_form(
    shop: Shop, switches: dict[str, str], status: PaymentStatus
) -> None:
    change_keys(shop, V2, V1)
    shop.control.switch_v2(**switches)
    _, tx_ref = shop.begun()
    shop.control.pay(tx_ref)
    shop.deliver()
    assert shop.payment(tx_ref).status is status


def test_payment_is_closed_by_the_version_that_opened_it(shop: Shop) -> None:
    order_id, tx_ref = shop.begun()
    change_keys(shop, V2, V1)
    shop.wait(order_id, 1900)
    assert shop.payment(tx_ref).status is PaymentStatus.CLOSED
    assert shop.control.payment(tx_ref)["cancelled"] is True


def test_payment_whose_version_has_no_key_waits_for_one(
    shop: Shop, log: StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    order_id, tx_ref = shop.begun()
    shop.control.pay(tx_ref, webhook=False)
    change_keys(shop, V2)
    assert shop.notify(tx_ref).body == {"outcome": "deferred"}
    shop.wait(order_id, 3600)
    assert shop.payment(tx_ref).status in {PaymentStatus.PENDING, PaymentStatus.CLOSING}
    assert shop.payment(tx_ref).unanswered_since is not None
    assert shop.available("COFFEE-250") == 8
    assert "no API key of this version in the secret" in log.getvalue()
    assert '"ProviderKeyMissing"' in capsys.readouterr().out
    change_keys(shop, V2, V1)
    shop.clock.advance(3600)
    shop.sweep()
    assert shop.aggregate(order_id).order.status is OrderStatus.PAID


def test_refund_whose_version_has_no_key_waits_for_one(shop: Shop) -> None:
    order_id, tx_ref = shop.paid()
    change_keys(shop, V2)
    request(shop.backend, tx_ref, None, key="ticket-1", reason="Broken cup")
    shop.sweeps(2)
    assert shop.aggregate(order_id).refunds[0].unanswered_since is not None
    change_keys(shop, V2, V1)
    shop.sweeps(4)
    assert shop.asked("refund", tx_ref) == 1
