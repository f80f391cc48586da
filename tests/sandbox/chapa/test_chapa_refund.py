"""Refunds and reversals."""

import pytest

from tests.sandbox.chapa.merchant import LIVE_KEY, LocalMerchant


@pytest.mark.parametrize("accepted", ["either", "reference", "tx_ref"])
def test_refund_accepts_the_references_of_the_switch(
    merchant: LocalMerchant, accepted: str
) -> None:
    references = {"reference": merchant.paid(), "tx_ref": "tx-1"}
    merchant.control.switch(refund_path=accepted)
    for kind, reference in references.items():
        response = merchant.refund(reference, amount="1")
        assert response.status_code == (200 if accepted in (kind, "either") else 404)
    by_json = merchant.call("POST", "/refund/tx-1", json={"amount": 10})
    assert by_json.status_code == (404 if accepted == "reference" else 200)


def test_bad_refund_is_refused(merchant: LocalMerchant) -> None:
    merchant.initialize()
    assert merchant.refund().status_code == 400
    reference = merchant.control.pay("tx-1")["reference"]
    assert merchant.call("POST", f"/refund/{reference}", key=LIVE_KEY).status_code == 404
    assert merchant.refund("unknown").status_code == 404
    assert merchant.refund_verify("unknown").status_code == 404
    for amount in ("0", "-1", "x", "1.001"):
        assert "amount" in merchant.refund(amount=amount).json()["message"]
    amounts = ("60.00", "60.00", "40.01", "40.00", "0.01")
    codes = [merchant.refund(amount=amount).status_code for amount in amounts]
    assert codes == [200, 400, 400, 200, 400]


def test_reference_used_again_and_partial_refund_follow_the_switches(
    merchant: LocalMerchant,
) -> None:
    merchant.paid()
    first = merchant.refund(amount="10", reference="r-1").json()["data"]
    again = merchant.refund(amount="10", reference="r-1")
    assert again.status_code == 400
    assert again.json()["message"] == "Refund reference has been used before"
    merchant.control.switch(refund_reference="replay")
    replay = merchant.refund(amount="10", reference="r-1").json()["data"]
    assert replay["ref_id"] == first["ref_id"]
    assert merchant.refund(amount="11", reference="r-1").status_code == 400
    assert len(merchant.control.payment("tx-1")["refunds"]) == 1
    merchant.control.switch(refund_partial="refused")
    assert merchant.refund(amount="10").status_code == 400
    merchant.paid("tx-2")
    assert merchant.refund("tx-2").status_code == 200


@pytest.mark.parametrize(
    ("switch", "names"),
    [("both", {"ref", "ref_id"}), ("ref", {"ref"}), ("ref_id", {"ref_id"})],
)
def test_full_refund_is_done_at_the_second_check(
    merchant: LocalMerchant, switch: str, names: set[str]
) -> None:
    reference = merchant.paid()
    merchant.control.switch(refund_handle=switch)
    data = merchant.refund(reference, reason="late", reference="r-1").json()["data"]
    assert (data["amount"], data["status"]) == ("100.00", "initiated")
    assert (data["chapa_reference"], data["merchant_reference"]) == (reference, "r-1")
    assert names == data.keys() & {"ref", "ref_id"}
    [ref_id] = {data[name] for name in names}
    assert merchant.refund_verify(ref_id).json()["data"]["status"] == "processing"
    assert merchant.status() == "success"
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
    assert merchant.status() == "refunded"
    merchant.deliver()
    assert merchant.events == ["charge.success", "charge.refunded"]
    merchant.control.switch(verify_refunded="success")
    assert merchant.status() == "success"


def test_refund_may_have_a_number_and_another_code(merchant: LocalMerchant) -> None:
    merchant.paid()
    merchant.control.switch(refund_handle="number")
    for code in ("201", "202"):
        merchant.control.switch(refund_code=code)
        response = merchant.refund(amount="10")
        ref_id = response.json()["data"]["ref_id"]
        assert (response.status_code, type(ref_id)) == (int(code), int)
        assert merchant.refund_verify(str(ref_id)).status_code == 200


def test_checks_and_end_of_a_refund_can_be_set(merchant: LocalMerchant) -> None:
    merchant.paid()
    ref_id = merchant.refund().json()["data"]["ref_id"]
    merchant.control.set(refund_checks=0)
    for _ in range(5):
        assert merchant.refund_verify(ref_id).json()["data"]["status"] == "initiated"
    merchant.control.set(refund_checks=6, switches={"refund_ends": "reversed"})
    assert merchant.refund_verify(ref_id).json()["data"]["status"] == "reversed"
    assert merchant.status() == "success"
    assert merchant.refund().status_code == 200


def test_partly_refunded_payment_is_still_a_success(merchant: LocalMerchant) -> None:
    merchant.paid()
    for reference, amount, status in (("r-1", "60", "success"), ("r-2", "40", "refunded")):
        merchant.refund(amount=amount, reference=reference)
        merchant.control.refund_status(reference, "refunded")
        assert merchant.status() == status


@pytest.mark.parametrize(
    ("switch", "events"),
    [
        ("charge", ["charge.refunded"]),
        ("refund", ["refund.success", "refund.reversed"]),
        ("none", []),
    ],
)
def test_refund_events_have_the_names_of_the_switch(
    merchant: LocalMerchant, switch: str, events: list[str]
) -> None:
    merchant.paid()
    merchant.control.switch(refund_event=switch)
    for reference in ("r-1", "r-2"):
        merchant.refund(amount="10", reference=reference)
        payment = merchant.control.refund_status(reference, "processing")
        assert payment["refunds"][-1]["checks"] == 0
    merchant.control.refund_status("r-1", "refunded")
    merchant.control.refund_status("r-2", "reversed")
    merchant.deliver()
    assert merchant.events == ["charge.success", *events]


def test_reversed_payment_is_reversed_in_verify_and_webhook(merchant: LocalMerchant) -> None:
    merchant.paid()
    merchant.control.reverse("tx-1")
    assert merchant.status() == "reversed"
    merchant.deliver()
    assert merchant.events == ["charge.success", "charge.reversed"]
