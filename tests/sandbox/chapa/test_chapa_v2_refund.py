"""Refunds through v2."""

from typing import Any

import pytest
import requests

from tests.sandbox.chapa.merchant import LocalMerchant


def code(response: requests.Response) -> str | None:
    """The `error.code`; None for a success."""
    body = response.json()
    assert (body["status"] == "success") is (response.status_code == 200)
    return body["error"]["code"] if "error" in body else None


def test_refund_is_a_success_at_the_second_check(merchant: LocalMerchant) -> None:
    reference = merchant.v2.paid()
    body = merchant.v2.refund(reference, amount=4000, reason="late", merchant_reference="r-1")
    made = body.json()["data"]
    assert made["chapa_reference"].startswith("RFND")
    expected = {
        "payment_reference": reference,
        "merchant_reference": "r-1",
        "amount": 4000,
        "currency": "ETB",
        "status": "pending",
        "reason": "late",
        "created_at": "2026-11-22T09:00:00Z",
        "updated_at": "2026-11-22T09:00:00Z",
    }
    assert made == expected | {"chapa_reference": made["chapa_reference"]}
    for known, status in ((made["chapa_reference"], "pending"), ("r-1", "success")):
        checked = merchant.v2.refund_verify(known).json()["data"]
        assert checked == made | {"status": status}
    assert merchant.v2.data()["status"] == "success"


def test_refund_without_amount_refunds_what_is_left(merchant: LocalMerchant) -> None:
    reference = merchant.v2.paid()
    merchant.v2.refund(reference, amount=4000)
    assert merchant.v2.refund(reference).json()["data"]["amount"] == 6000
    assert code(merchant.v2.refund(reference)) == "INVALID_VALUE"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"payment_reference": None}, "MISSING_REQUIRED_FIELD"),
        ({"payment_reference": "unknown"}, "NOT_FOUND"),
        ({"amount": "4000"}, "INVALID_VALUE"),
        ({"amount": 99}, "INVALID_VALUE"),
        ({"amount": 10_001}, "INVALID_VALUE"),
        ({"reason": "x" * 401}, "INVALID_VALUE"),
        ({"merchant_reference": "r-used"}, "INVALID_STATE"),
    ],
)
def test_bad_refund_is_refused(merchant: LocalMerchant, fields: Any, expected: str) -> None:
    reference = merchant.v2.paid()
    assert code(merchant.v2.refund(reference, amount=100, merchant_reference="r-used")) is None
    before = merchant.control.payment("ref-1")["refunds"]
    assert code(merchant.v2.refund(**{"reference": reference, **fields})) == expected
    assert merchant.control.payment("ref-1")["refunds"] == before


def test_only_a_success_can_be_refunded(merchant: LocalMerchant) -> None:
    merchant.v2.open()
    reference = merchant.control.payment("ref-1")["reference"]
    assert code(merchant.v2.refund(reference)) == "INVALID_STATE"
    assert code(merchant.v2.refund_verify("unknown")) == "NOT_FOUND"


@pytest.mark.parametrize("accepted", ["chapa_reference", "merchant_reference"])
def test_refund_accepts_the_reference_of_the_switch(merchant: LocalMerchant, accepted: str) -> None:
    references = {"chapa_reference": merchant.v2.paid(), "merchant_reference": "ref-1"}
    merchant.control.switch_v2(refund_by=accepted)
    codes = {kind: code(merchant.v2.refund(each)) for kind, each in references.items()}
    assert codes == {kind: None if kind == accepted else "NOT_FOUND" for kind in references}


@pytest.mark.parametrize(
    ("switch", "statuses"),
    [
        ("success", ["pending", "pending", "success"]),
        ("immediate", ["success"] * 3),
        ("failed", ["pending", "pending", "failed"]),
    ],
)
def test_result_of_a_refund_follows_the_switch(
    merchant: LocalMerchant, switch: str, statuses: list[str]
) -> None:
    reference = merchant.v2.paid()
    merchant.control.switch_v2(refund_result=switch)
    made = merchant.v2.refund(reference).json()["data"]
    checks = [merchant.v2.refund_verify(made["chapa_reference"]) for _ in range(2)]
    assert [made["status"], *(each.json()["data"]["status"] for each in checks)] == statuses


def test_timeout_of_a_refund_may_hide_that_it_was_made(merchant: LocalMerchant) -> None:
    reference = merchant.v2.paid()
    merchant.control.add_fault("refund", "timeout_after", tx_ref="ref-1")
    with pytest.raises(requests.ReadTimeout):
        merchant.v2.refund(reference, merchant_reference="r-1")
    assert merchant.v2.refund_verify("r-1").status_code == 200


def test_repeated_refund_is_replayed_if_switched(merchant: LocalMerchant) -> None:
    merchant.control.switch_v2(idempotency_key="replayed")
    body = {"payment_reference": merchant.v2.paid(), "amount": 1000}
    headers = {"Idempotency-Key": "k-1"}
    call = merchant.v2.call
    answers = [call("POST", "/refunds", json=body, headers=headers).json() for _ in range(2)]
    assert answers[0] == answers[1]
    assert len(merchant.control.payment("ref-1")["refunds"]) == 1


def test_refunds_are_listed_newest_first(merchant: LocalMerchant) -> None:
    reference = merchant.v2.paid()
    for name in ("r-1", "r-2"):
        merchant.v2.refund(reference, amount=1000, merchant_reference=name)
    merchant.control.refund_status("r-1", "refunded")
    for params, names in (
        ({}, ["r-2", "r-1"]),
        ({"reference": "r-1"}, ["r-1"]),
        ({"reference": reference, "status": "pending"}, ["r-2"]),
    ):
        items = merchant.v2.listed("/refunds", **params)["items"]
        assert [item["merchant_reference"] for item in items] == names


@pytest.mark.parametrize(
    ("switch", "events"),
    [
        ("payment", ["payment.partially_refunded", "payment.fully_refunded"]),
        ("refund", ["refund.success", "refund.failed", "refund.success"]),
        ("none", []),
    ],
)
def test_refund_events_have_the_names_of_the_switch(
    merchant: LocalMerchant, switch: str, events: list[str]
) -> None:
    reference = merchant.v2.paid()
    merchant.control.switch_v2(refund_event=switch)
    for name, amount, status in (
        ("r-1", 4000, "refunded"),
        ("r-2", 6000, "reversed"),
        ("r-3", 6000, "refunded"),
    ):
        merchant.v2.refund(reference, amount=amount, merchant_reference=name)
        merchant.control.refund_status(name, status)  # type: ignore[arg-type]
    merchant.deliver()
    assert merchant.events == ["payment.success", *events]
    for body in merchant.bodies[1:]:
        own = switch == "refund"
        assert body["webhook_type"] == ("refund" if own else "payment")
        assert body["amount"] in ("4000", "6000")
        assert body["merchant_reference"].startswith("r-" if own else "ref-1")
