"""Misbehaviour on demand, and the control API around it."""

import random
from typing import Any

import pytest
import requests

from sandbox.chapa.control import Control, ControlError
from sandbox.chapa.faults import Fault
from sandbox.chapa.in_process import BASE_URL, ManualClock
from sandbox.chapa.settings import Settings, Switches
from sandbox.chapa.simulator import Simulator
from tests.sandbox.chapa.merchant import SECRET, TEST_KEY, Inbox, Merchant, paid


def known(control: Control) -> list[str]:
    return [payment["tx_ref"] for payment in control.payments()]


@pytest.mark.parametrize(
    ("kind", "error", "acted", "waited"),
    [
        ("timeout_before", requests.ReadTimeout, False, 7),
        ("timeout_after", requests.ReadTimeout, True, 7),
        ("reset", requests.ConnectionError, False, 0),
        ("reset_after", requests.ConnectionError, True, 0),
    ],
)
def test_a_connection_can_end_before_or_after_the_call_acted(
    merchant: Merchant,
    control: Control,
    clock: ManualClock,
    kind: Any,
    error: type[Exception],
    acted: bool,
    waited: int,
) -> None:
    before = clock()
    details: dict[str, Any] = {"seconds": 7} if waited else {}
    control.add_fault("initialize", kind, **details)
    with pytest.raises(error):
        merchant.initialize()
    assert (clock() - before).total_seconds() == waited
    assert known(control) == (["tx-1"] if acted else [])
    [entry] = control.journal("initialize")
    assert (entry.status, entry.faults) == (None, [kind])


def test_a_lost_answer_to_initialize_uses_up_the_tx_ref(
    merchant: Merchant, control: Control
) -> None:
    control.add_fault("initialize", "timeout_after", seconds=1)
    with pytest.raises(requests.ReadTimeout):
        merchant.initialize()
    again = merchant.initialize()
    assert again.json()["message"] == "Transaction reference has been used before"


@pytest.mark.parametrize("call", ["verify", "cancel", "refund", "refund_verify"])
def test_every_call_can_be_answered_with_any_status(
    merchant: Merchant, control: Control, call: Any
) -> None:
    paid(merchant, control)
    ref_id = merchant.refund(amount="1").json()["data"]["ref_id"]
    control.add_fault(call, "status", status=429, retry_after=9, tx_ref="tx-1")
    calls = {
        "verify": merchant.verify,
        "cancel": merchant.cancel,
        "refund": merchant.refund,
        "refund_verify": lambda: merchant.refund_verify(ref_id),
    }
    response = calls[call]()
    assert (response.status_code, response.headers["Retry-After"]) == (429, "9")
    assert calls[call]().status_code != 429


def test_an_error_can_come_after_the_call_acted(merchant: Merchant, control: Control) -> None:
    control.add_fault("initialize", "status", status=500)
    assert merchant.initialize("tx-1").status_code == 500
    control.add_fault("initialize", "status", status=500, acts=True)
    assert merchant.initialize("tx-2").status_code == 500
    assert known(control) == ["tx-2"]


@pytest.mark.parametrize("status", [502, 200])
def test_an_answer_can_be_a_page(merchant: Merchant, control: Control, status: int) -> None:
    control.add_fault("verify", "html", status=status)
    response = merchant.verify()
    assert (response.status_code, response.headers["Content-Type"][:9]) == (status, "text/html")


def test_an_answer_can_be_broken_json(merchant: Merchant, control: Control) -> None:
    control.add_fault("initialize", "malformed")
    response = merchant.initialize()
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "application/json"
    with pytest.raises(requests.JSONDecodeError):
        response.json()
    assert known(control) == ["tx-1"]


def test_an_answer_can_be_slow(merchant: Merchant, control: Control, clock: ManualClock) -> None:
    before = clock()
    control.add_fault("initialize", "slow", seconds=3)
    assert merchant.initialize().status_code == 200
    assert (clock() - before).total_seconds() == 3


@pytest.mark.parametrize(
    ("kind", "details", "field", "value"),
    [
        ("wrong_amount", {"amount": "1.00"}, "amount", 1),
        ("wrong_currency", {}, "currency", "USD"),
        ("wrong_mode", {}, "mode", "live"),
        ("wrong_tx_ref", {"value": "tx-2"}, "tx_ref", "tx-2"),
        ("says", {"word": "failed"}, "status", "failed"),
        ("says", {"word": "reversed"}, "status", "reversed"),
        ("says", {"word": None}, "status", None),
        ("says", {}, "status", "nonsense"),
    ],
)
def test_verify_can_tell_an_untruth(
    merchant: Merchant,
    control: Control,
    kind: Any,
    details: dict[str, Any],
    field: str,
    value: object,
) -> None:
    paid(merchant, control)
    control.add_fault("verify", kind, **details)
    wrong = merchant.verify()
    right = merchant.verify()
    assert wrong.status_code == 200
    assert wrong.json()["data"] == {**right.json()["data"], field: value}
    assert wrong.json()["data"][field] != right.json()["data"][field]
    assert [entry.faults for entry in control.journal("verify")] == [[kind], []]


def test_verify_can_deny_a_payment(merchant: Merchant, control: Control) -> None:
    paid(merchant, control)
    control.add_fault("verify", "says", word="404")
    assert merchant.verify().json()["message"] == "Payment not paid yet"


def test_an_untruth_about_the_amount_waits_for_an_answer_that_has_one(
    merchant: Merchant, control: Control
) -> None:
    merchant.initialize()
    control.add_fault("verify", "wrong_amount")
    assert merchant.verify().status_code == 404
    control.pay("tx-1")
    assert merchant.verify().json()["data"]["amount"] == 1


def test_a_fault_lasts_for_its_number_of_calls(merchant: Merchant, control: Control) -> None:
    control.add_fault("verify", "status", status=500, times=2)
    codes = [merchant.verify().status_code for _ in range(3)]
    assert codes == [500, 500, 404]
    assert control.faults() == []


def test_a_fault_without_a_number_lasts_until_it_is_removed(
    merchant: Merchant, control: Control
) -> None:
    number = control.add_fault("verify", "status", status=500, times=None)
    assert {merchant.verify().status_code for _ in range(5)} == {500}
    control.remove_fault(number)
    assert merchant.verify().status_code == 404
    with pytest.raises(ControlError, match="no fault 1"):
        control.remove_fault(number)


def test_a_fault_can_be_for_one_tx_ref(merchant: Merchant, control: Control) -> None:
    control.add_fault("initialize", "status", status=500, tx_ref="tx-2")
    assert merchant.initialize("tx-1").status_code == 200
    assert merchant.initialize("tx-2").status_code == 500


def test_a_fault_for_a_tx_ref_finds_a_refund_by_chapas_reference(
    merchant: Merchant, control: Control
) -> None:
    reference = paid(merchant, control)
    control.add_fault("refund", "status", status=500, tx_ref="tx-1")
    assert merchant.refund(reference).status_code == 500


def test_faults_are_used_in_the_order_they_were_added(merchant: Merchant, control: Control) -> None:
    for status in (500, 401, 429):
        control.add_fault("verify", "status", status=status)
    assert [merchant.verify().status_code for _ in range(4)] == [500, 401, 429, 404]


def test_faults_can_be_listed_and_cleared(control: Control) -> None:
    control.add_fault("webhook", "doubled", n=4, tx_ref="tx-1", times=2)
    [fault] = control.faults()
    expected = {"call": "webhook", "kind": "doubled", "n": 4, "tx_ref": "tx-1", "times": 2}
    expected |= {"chance": 1}
    assert fault == {"id": 1, **expected}
    control.clear_faults()
    assert control.faults() == []


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"call": "pay", "kind": "slow"}, "call"),
        ({"call": "verify", "kind": "sloow"}, "kind"),
        ({"call": "verify", "kind": "slow", "secnods": 1}, "secnods"),
        ({"call": "verify", "kind": "slow", "status": 1}, "status"),
        ({"call": "verify", "kind": "lost"}, "verify cannot have the fault lost"),
        ({"call": "webhook", "kind": "wrong_amount"}, "webhook cannot"),
        ({"call": "verify", "kind": "reset", "times": 0}, "times"),
        ({"call": "verify", "kind": "reset", "chance": 0}, "chance"),
        ({"call": "verify", "kind": "reset", "chance": 1.1}, "chance"),
    ],
)
def test_an_unknown_fault_is_refused_by_name(
    session: requests.Session, body: dict[str, Any], named: str
) -> None:
    response = session.post(f"{BASE_URL}/_control/faults", json=body)
    assert response.status_code == 400
    assert named in response.json()["error"]


@pytest.mark.parametrize(
    ("method", "path", "body", "named"),
    [
        ("PUT", "settings", {"webhok_url": "x"}, "webhok_url"),
        ("PUT", "settings", {"switches": {"verify_unpayed": "404"}}, "verify_unpayed"),
        ("PUT", "settings", {"switches": {"verify_unpaid": "200"}}, "verify_unpaid"),
        ("PUT", "settings", {"switches": "x"}, "switches"),
        ("PUT", "settings", {"retry_seconds": 0}, "retry_seconds"),
        ("PUT", "settings", {"webhook_secret": None}, "webhook_secret"),
        ("PUT", "settings", [], "body"),
        ("POST", "pay", {"tx_ref": "tx-1", "ammount": 1}, "ammount"),
        ("POST", "pay", {}, "tx_ref"),
        ("POST", "fail", {"tx_ref": "tx-1", "amount": 1}, "amount"),
        ("POST", "refund_status", {"reference": "r", "status": "done"}, "status"),
        ("POST", "webhook", {"event": "charge.success", "signature": "x"}, "signature"),
        ("POST", "refuse", {"seconds": -1}, "seconds"),
        ("GET", "journal?cal=verify", None, "cal"),
    ],
)
def test_an_unknown_field_is_refused_by_name(
    session: requests.Session, method: str, path: str, body: object, named: str
) -> None:
    response = session.request(method, f"{BASE_URL}/_control/{path}", json=body)
    assert response.status_code == 400
    assert named in response.json()["error"]


def test_an_unknown_payment_is_a_404_that_names_it(control: Control) -> None:
    for command in (control.payment, control.pay, control.fail, control.reverse, control.expire):
        with pytest.raises(ControlError, match="404: no payment with the tx_ref nobody"):
            command("nobody")
    with pytest.raises(ControlError, match="404"):
        control.refund_status("nobody", "refunded")
    with pytest.raises(ControlError, match="404"):
        control.webhook("charge.success")


def test_what_cannot_happen_now_is_a_409(merchant: Merchant, control: Control) -> None:
    paid(merchant, control, "tx-paid")
    merchant.initialize("tx-new")
    for command, tx_ref in (
        (control.pay, "tx-paid"),
        (control.begin, "tx-paid"),
        (control.fail, "tx-paid"),
        (control.cancel, "tx-paid"),
        (control.reverse, "tx-new"),
    ):
        with pytest.raises(ControlError, match="409"):
            command(tx_ref)
    with pytest.raises(ControlError, match="409: nothing listens"):
        control.refuse(1)
    control.set(webhook_url=None)
    with pytest.raises(ControlError, match="409: no webhook_url"):
        control.webhook("charge.success", "tx-paid")


def test_another_amount_or_currency_can_be_paid(merchant: Merchant, control: Control) -> None:
    merchant.initialize()
    control.pay("tx-1", amount="99.99", currency="USD")
    data = merchant.verify().json()["data"]
    assert (data["amount"], data["currency"]) == (99.99, "USD")


def test_settings_are_changed_one_by_one(control: Control) -> None:
    control.switch(failed_word="failed")
    control.set(retry_seconds=1, switches={"callback": "none"})
    shown = control.settings()
    assert shown["retry_seconds"] == 1
    assert shown["switches"]["failed_word"] == "failed"
    assert shown["switches"]["callback"] == "none"
    assert shown["webhook_secret_is_set"] is True
    assert "webhook_secret" not in shown


def test_reset_forgets_everything(
    merchant: Merchant, control: Control, simulator: Simulator, inbox: Inbox
) -> None:
    paid(merchant, control)
    control.add_fault("verify", "slow")
    control.switch(failed_word="failed")
    control.reset()
    assert simulator.outbox.deliver_due() == []
    assert inbox.messages == []
    assert [*control.payments(), *control.faults(), *control.journal()] == []
    assert control.settings()["switches"] == Switches().model_dump()
    assert merchant.initialize().status_code == 200


def test_a_webhook_under_way_when_everything_is_forgotten_is_not_sent_again(
    clock: ManualClock,
) -> None:
    simulator = Simulator(
        Settings(webhook_url="http://shop.local", webhook_secret=SECRET),
        clock=clock,
        send=lambda *_: simulator.reset() or 500,  # type: ignore[func-returns-value]
    )
    simulator.send_event({"event": "charge.success"}, tx_ref=None)
    assert simulator.outbox.deliver_due() == [500]
    assert simulator.outbox.waiting == []


def test_a_fault_with_a_chance_spoils_so_many_of_the_calls(
    merchant: Merchant, control: Control
) -> None:
    control.add_fault("verify", "status", times=None, chance=0.2, status=500)
    control.add_fault("verify", "html", times=None, chance=0.25, status=502)
    codes = [merchant.verify().status_code for _ in range(1000)]
    assert 160 <= codes.count(500) <= 240
    # A quarter of those that the first left alone.
    assert 160 <= codes.count(502) <= 240
    assert control.used_faults() == {
        ("verify", "status"): codes.count(500),
        ("verify", "html"): codes.count(502),
    }


def test_a_call_that_the_die_spared_is_none_of_a_fault_s_times(
    merchant: Merchant, control: Control
) -> None:
    control.add_fault("verify", "status", times=3, chance=0.1, status=500)
    codes = [merchant.verify().status_code for _ in range(200)]
    assert codes.count(500) == 3
    assert codes[:3] != [500] * 3
    assert control.faults() == []


def test_the_same_seed_throws_the_same_dice(clock: ManualClock) -> None:
    def spoiled() -> list[bool]:
        faults = Simulator(clock=clock, rng=random.Random(3)).faults
        faults.add(Fault(call="verify", kind="reset", times=None, chance=0.5))
        return [faults.take("verify", None, ["reset"]) is not None for _ in range(50)]

    assert spoiled() == spoiled()


def test_how_often_a_fault_was_used_is_known_until_everything_is_forgotten(
    merchant: Merchant, control: Control
) -> None:
    control.add_fault("verify", "status", times=2, status=500)
    control.add_fault("cancel", "reset")
    for _ in range(3):
        merchant.verify()
    control.clear_faults()
    assert control.used_faults() == {("verify", "status"): 2}
    control.reset()
    assert control.used_faults() == {}


def test_the_journal_has_every_call_and_attempt_in_order(
    merchant: Merchant, control: Control, simulator: Simulator, clock: ManualClock
) -> None:
    merchant.initialize(amount="5")
    merchant.verify()
    clock.advance(2)
    control.pay("tx-1")
    simulator.outbox.deliver_due()
    merchant.initialize("tx-2", amount="0")
    entries = control.journal()
    assert [(e.number, e.call, e.tx_ref, e.status) for e in entries] == [
        (1, "initialize", "tx-1", 200),
        (2, "verify", "tx-1", 404),
        (3, "webhook", "tx-1", 200),
        (4, "initialize", "tx-2", 400),
    ]
    assert entries[0].body == '{"amount": "5", "currency": "ETB", "tx_ref": "tx-1"}'
    assert entries[1].url == "/v1/transaction/verify/tx-1"
    assert entries[2].time == "2026-11-22T09:00:02+00:00"


def test_the_journal_can_be_filtered_and_cleared(merchant: Merchant, control: Control) -> None:
    for tx_ref in ("tx-1", "tx-2"):
        merchant.initialize(tx_ref)
        merchant.verify(tx_ref)
    assert len(control.journal("verify")) == 2
    assert len(control.journal(tx_ref="tx-1")) == 2
    assert [entry.number for entry in control.journal("verify", "tx-2")] == [4]
    control.clear_journal()
    assert control.journal() == []


def test_no_secret_is_ever_shown(
    merchant: Merchant, control: Control, simulator: Simulator, session: requests.Session
) -> None:
    secret = "s3cret/with=signs&ጫማ"
    control.set(webhook_secret=secret)
    leaks = {"key": TEST_KEY, "secret": secret}
    paid(merchant, control, meta=leaks, callback_url=f"http://shop.local/?key={TEST_KEY}")
    merchant.call("POST", "/refund/tx-1", data=leaks)
    merchant.call("GET", "/transaction/verify/tx-1", params=leaks)
    simulator.outbox.deliver_due()
    shown = session.get(f"{BASE_URL}/_control/journal").text
    assert "[hidden]" in shown
    assert TEST_KEY not in shown
    assert "s3cret" not in shown
    assert "s3cret" not in session.get(f"{BASE_URL}/_control/settings").text
    assert "s3cret" not in repr(simulator.settings)
