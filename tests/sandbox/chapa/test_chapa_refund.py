"""Refunds and reversals."""

from decimal import Decimal

import pytest

from sandbox.chapa.control import Control
from sandbox.chapa.in_process import ManualClock
from sandbox.chapa.simulator import Simulator
from tests.sandbox.chapa.merchant import LIVE_KEY, Inbox, Merchant, paid


def status_of(merchant: Merchant) -> str:
    return str(merchant.verify().json()["data"]["status"])


def test_a_refund_without_an_amount_returns_everything(
    merchant: Merchant, control: Control
) -> None:
    reference = paid(merchant, control)
    response = merchant.refund(reference, reason="late", reference="late-tx-1")
    assert response.status_code == 200
    data = response.json()["data"]
    assert data["amount"] == "100.00"
    assert data["status"] == "initiated"
    assert data["chapa_reference"] == reference
    assert data["merchant_reference"] == "late-tx-1"
    assert data["ref"] == data["ref_id"]


def test_a_refund_takes_either_reference_in_form_or_json(
    merchant: Merchant, control: Control
) -> None:
    reference = paid(merchant, control)
    assert merchant.refund(reference, amount="10").status_code == 200
    assert merchant.refund("tx-1", amount="10").status_code == 200
    assert merchant.call("POST", "/refund/tx-1", json={"amount": 10}).status_code == 200


@pytest.mark.parametrize("only", ["reference", "tx_ref"])
def test_only_one_reference_may_be_accepted(
    merchant: Merchant, control: Control, only: str
) -> None:
    references = {"reference": paid(merchant, control), "tx_ref": "tx-1"}
    control.switch(refund_path=only)
    for kind, reference in references.items():
        response = merchant.refund(reference, amount="1")
        assert response.status_code == (200 if kind == only else 404)


def test_only_a_paid_payment_of_this_mode_can_be_refunded(
    merchant: Merchant, control: Control
) -> None:
    merchant.initialize()
    assert merchant.refund().status_code == 400
    assert merchant.refund("nobody").status_code == 404
    reference = str(control.pay("tx-1")["reference"])
    assert merchant.call("POST", f"/refund/{reference}", key=LIVE_KEY).status_code == 404


def test_refunds_never_exceed_the_payment(merchant: Merchant, control: Control) -> None:
    paid(merchant, control)
    assert merchant.refund(amount="60.00").status_code == 200
    assert merchant.refund(amount="60.00").status_code == 400
    assert merchant.refund(amount="40.01").status_code == 400
    assert merchant.refund(amount="40.00").status_code == 200
    assert merchant.refund(amount="0.01").status_code == 400
    refunds = control.payment("tx-1")["refunds"]
    assert sum(Decimal(refund["amount"]) for refund in refunds) == 100


def test_a_refund_amount_must_be_a_positive_amount(merchant: Merchant, control: Control) -> None:
    paid(merchant, control)
    for amount in ("0", "-1", "x", "1.001"):
        assert "amount" in merchant.refund(amount=amount).json()["message"]


def test_a_refund_reference_can_be_used_once(merchant: Merchant, control: Control) -> None:
    paid(merchant, control)
    first = merchant.refund(amount="10", reference="r-1").json()["data"]
    again = merchant.refund(amount="10", reference="r-1")
    assert again.status_code == 400
    assert again.json()["message"] == "Refund reference has been used before"
    control.switch(refund_reference="replay")
    replay = merchant.refund(amount="10", reference="r-1")
    assert replay.json()["data"]["ref_id"] == first["ref_id"]
    assert merchant.refund(amount="11", reference="r-1").status_code == 400
    assert len(control.payment("tx-1")["refunds"]) == 1


def test_partial_refunds_can_be_switched_off(merchant: Merchant, control: Control) -> None:
    paid(merchant, control)
    control.switch(refund_partial="refused")
    assert merchant.refund(amount="10").status_code == 400
    assert merchant.refund().status_code == 200


@pytest.mark.parametrize(("handle", "other"), [("ref", "ref_id"), ("ref_id", "ref")])
def test_a_refund_may_have_one_handle_only(
    merchant: Merchant, control: Control, handle: str, other: str
) -> None:
    paid(merchant, control)
    control.switch(refund_handle=handle)
    data = merchant.refund().json()["data"]
    assert handle in data
    assert other not in data


def test_the_second_look_finds_a_refund_done(
    merchant: Merchant, control: Control, simulator: Simulator, inbox: Inbox
) -> None:
    reference = paid(merchant, control)
    ref_id = merchant.refund(reference="r-1").json()["data"]["ref_id"]
    assert merchant.refund_verify(ref_id).json()["data"]["status"] == "processing"
    assert status_of(merchant) == "success"
    body = merchant.refund_verify(ref_id).json()
    assert body["message"] == "Refund verified successfully"
    assert body["data"] == {
        "amount": 100,
        "currency": "ETB",
        "ref_id": ref_id,
        "payment_reference": reference,
        "merchant_reference": "r-1",
        "status": "refunded",
        "created_at": "2026-11-22T09:00:00.000000Z",
        "updated_at": "2026-11-22T09:00:00.000000Z",
    }
    assert status_of(merchant) == "refunded"
    simulator.outbox.deliver_due()
    assert inbox.events == ["charge.success", "charge.refunded"]


def test_the_number_of_looks_can_be_set(merchant: Merchant, control: Control) -> None:
    paid(merchant, control)
    ref_id = merchant.refund().json()["data"]["ref_id"]
    control.set(refund_looks=0)
    for _ in range(5):
        assert merchant.refund_verify(ref_id).json()["data"]["status"] == "initiated"
    control.set(refund_looks=6)
    assert merchant.refund_verify(ref_id).json()["data"]["status"] == "refunded"


def test_a_refund_can_come_back(merchant: Merchant, control: Control) -> None:
    paid(merchant, control)
    control.switch(refund_ends="reversed")
    ref_id = merchant.refund().json()["data"]["ref_id"]
    merchant.refund_verify(ref_id)
    assert merchant.refund_verify(ref_id).json()["data"]["status"] == "reversed"
    assert status_of(merchant) == "success"
    assert merchant.refund().status_code == 200


def test_an_unknown_refund_is_not_found(merchant: Merchant) -> None:
    assert merchant.refund_verify("nobody").status_code == 404


def test_a_partly_refunded_payment_is_still_a_success(merchant: Merchant, control: Control) -> None:
    paid(merchant, control)
    merchant.refund(amount="60", reference="r-1")
    control.refund_status("r-1", "refunded")
    assert status_of(merchant) == "success"
    merchant.refund(amount="40", reference="r-2")
    control.refund_status("r-2", "refunded")
    assert status_of(merchant) == "refunded"
    control.switch(verify_refunded="success")
    assert status_of(merchant) == "success"


@pytest.mark.parametrize(
    ("naming", "events"),
    [
        ("charge", ["charge.success", "charge.refunded"]),
        ("refund", ["charge.success", "refund.success", "refund.reversed"]),
        ("none", ["charge.success"]),
    ],
)
def test_refund_events_have_either_name_or_none(
    merchant: Merchant,
    control: Control,
    simulator: Simulator,
    inbox: Inbox,
    naming: str,
    events: list[str],
) -> None:
    paid(merchant, control)
    control.switch(refund_event=naming)
    for reference, status in (("r-1", "refunded"), ("r-2", "reversed")):
        merchant.refund(amount="10", reference=reference)
        assert control.refund_status(reference, "processing")["refunds"][-1]["looks"] == 0
        control.refund_status(reference, "refunded" if status == "refunded" else "reversed")
    simulator.outbox.deliver_due()
    assert inbox.events == events


def test_a_reversed_payment_says_so(
    merchant: Merchant,
    control: Control,
    simulator: Simulator,
    inbox: Inbox,
    clock: ManualClock,
) -> None:
    paid(merchant, control)
    clock.advance(60)
    control.reverse("tx-1")
    assert status_of(merchant) == "reversed"
    simulator.outbox.deliver_due()
    assert inbox.events == ["charge.success", "charge.reversed"]
