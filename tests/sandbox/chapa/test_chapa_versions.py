"""v1 and v2 beside each other."""

import pytest

from payments.chapa.signature import sign
from sandbox.chapa.in_process import BASE_URL, session_for
from sandbox.chapa.simulator import Simulator
from tests.sandbox.chapa.merchant import (
    LIVE_KEY,
    SECRET,
    TEST_KEY,
    V2_KEY,
    V2_LIVE_KEY,
    V2_SECRET,
    LocalMerchant,
    Merchant,
)


@pytest.mark.parametrize(
    ("key", "codes"),
    [
        (TEST_KEY, [200, 401]),
        (LIVE_KEY, [200, 401]),
        (V2_KEY, [401, 200]),
        (V2_LIVE_KEY, [401, 200]),
        ("CHAPA_TEST_PUB_abcdefgh", [401, 401]),
        ("", [401, 401]),
    ],
)
def test_key_is_accepted_by_its_own_version(
    merchant: LocalMerchant, key: str, codes: list[int]
) -> None:
    assert [
        r.status_code for r in (merchant.initialize(key=key), merchant.v2.open(key=key))
    ] == codes
    refused = merchant.v2.open("ref-2", key=TEST_KEY).json()
    assert (refused["status"], refused["error"]["details"]) == ("error", None)


def test_any_secret_key_is_accepted_by_both_if_switched(merchant: LocalMerchant) -> None:
    merchant.control.switch_v2(key_platform="ignored")
    assert merchant.initialize(key=V2_KEY).status_code == 200
    assert merchant.v2.open(key=LIVE_KEY).status_code == 200
    shown = [(each["version"], each["mode"]) for each in merchant.control.payments()]
    assert shown == [("v1", "test"), ("v2", "live")]


def test_given_keys_of_both_versions_are_the_only_ones() -> None:
    with session_for(Simulator(api_keys=[TEST_KEY, V2_KEY])) as session:
        merchant = Merchant(session)
        assert merchant.initialize().status_code == merchant.v2.open().status_code == 200
        assert merchant.initialize(key=LIVE_KEY).status_code == 401
        assert merchant.v2.open(key=V2_LIVE_KEY).status_code == 401


def test_payment_is_visible_only_through_its_own_version(merchant: LocalMerchant) -> None:
    first, second = merchant.paid("same"), merchant.v2.paid("other")
    assert merchant.verify("other").status_code == 404
    assert merchant.v2.verify("same").status_code == 404
    assert merchant.v2.verify(first).status_code == 404
    assert merchant.cancel("other").status_code == 404
    assert merchant.refund(second).status_code == 404
    assert merchant.v2.refund(first).status_code == 404
    rows = merchant.call("GET", "/transactions").json()["data"]["transactions"]
    assert [row["ref_id"] for row in rows] == [first]
    assert [i["chapa_reference"] for i in merchant.v2.listed()["items"]] == [second]
    # Each version has its own references.
    assert merchant.v2.open("same").status_code == 200
    refund = merchant.refund(first, reference="r-1").json()["data"]["ref_id"]
    assert merchant.v2.refund_verify(refund).status_code == 404
    assert merchant.v2.refund(second, merchant_reference="r-1").status_code == 200


def test_test_key_does_not_see_live_payments_of_v2(merchant: LocalMerchant) -> None:
    reference = merchant.v2.paid(key=V2_LIVE_KEY)
    for known in (reference, "ref-1"):
        assert merchant.v2.verify(known).status_code == 401
    assert merchant.v2.listed()["items"] == []


def test_webhook_has_the_form_and_the_secret_of_its_version(merchant: LocalMerchant) -> None:
    merchant.paid("tx-1")
    merchant.v2.paid("ref-1")
    merchant.deliver()
    assert merchant.events == ["charge.success", "payment.success"]
    assert [body["amount"] for body in merchant.bodies] == ["100.00", "10000"]
    for message, secret in zip(merchant.webhooks, (SECRET, V2_SECRET), strict=True):
        assert message.headers["x-chapa-signature"] == sign(message.body, secret)


def test_journal_says_the_version_and_hides_keys_and_secrets_of_both(
    merchant: LocalMerchant,
) -> None:
    merchant.paid("tx-1")
    leaks = {"key": V2_KEY, "secret": V2_SECRET}
    merchant.v2.paid("ref-1", meta=leaks)
    merchant.v2.verify("ref-1")
    merchant.deliver()
    calls = [(entry.version, entry.call, entry.tx_ref) for entry in merchant.control.journal()]
    assert calls == [
        ("v1", "initialize", "tx-1"),
        ("v2", "initialize", "ref-1"),
        ("v2", "verify", "ref-1"),
        ("v1", "webhook", "tx-1"),
        ("v2", "webhook", "ref-1"),
    ]
    shown = merchant.session.get(f"{BASE_URL}/_control/journal").text
    shown += merchant.session.get(f"{BASE_URL}/_control/settings").text
    assert "[hidden]" in shown
    assert all(leak not in shown for leak in leaks.values())


def test_control_finds_a_payment_by_chapas_reference(merchant: LocalMerchant) -> None:
    merchant.initialize("same")
    merchant.v2.open("same")
    shown = {each["version"]: each["reference"] for each in merchant.control.payments()}
    for version, reference in shown.items():
        assert merchant.control.payment(reference)["version"] == version
    merchant.control.pay(shown["v2"])
    assert [each["status"] for each in merchant.control.payments()] == ["unpaid", "success"]


def test_state_of_v2_can_be_remembered(merchant: LocalMerchant) -> None:
    merchant.control.switch_v2(idempotency_key="replayed")
    first = merchant.v2.open(headers={"Idempotency-Key": "k-1"}).json()
    state = merchant.simulator.remember()
    merchant.control.reset()
    merchant.simulator.return_to(state)
    assert merchant.v2.open(headers={"Idempotency-Key": "k-1"}).json() == first
    merchant.clock.advance(3600)
    merchant.deliver()
    assert merchant.events == ["payment.incomplete"]
