"""Injected faults of the API's calls, and the control API."""

import random
from collections.abc import Callable
from typing import Any

import pytest
import requests

from sandbox.chapa.control import ControlError
from sandbox.chapa.faults import Fault, Faults
from sandbox.chapa.in_process import BASE_URL
from sandbox.chapa.settings import Switches
from tests.sandbox.chapa.merchant import TEST_KEY, LocalMerchant


def known(merchant: LocalMerchant) -> list[str]:
    return [payment["tx_ref"] for payment in merchant.control.payments()]


def readable(response: requests.Response) -> bool:
    try:
        return isinstance(response.json(), dict)
    except requests.JSONDecodeError:
        return False


@pytest.mark.parametrize(
    ("kind", "details", "outcome", "acts", "waited"),
    [
        ("timeout_before", {"seconds": 7}, (requests.ReadTimeout, None), False, 7),
        ("timeout_after", {"seconds": 7}, (requests.ReadTimeout, None), True, 7),
        ("reset", {}, (requests.ConnectionError, None), False, 0),
        ("reset_after", {}, (requests.ConnectionError, None), True, 0),
        ("slow", {"seconds": 3}, ("application/json", 200), True, 3),
        ("status", {"status": 500}, ("application/json", 500), False, 0),
        ("status", {"status": 500, "acts": True}, ("application/json", 500), True, 0),
        ("html", {"status": 502}, ("text/html", 502), False, 0),
        ("html", {"status": 200, "acts": True}, ("text/html", 200), True, 0),
        ("malformed", {}, ("application/json", 200), True, 0),
    ],
)
def test_fault_hits_one_call_before_or_after_it_takes_effect(
    merchant: LocalMerchant,
    kind: Any,
    details: dict[str, Any],
    outcome: Any,
    acts: bool,
    waited: int,
) -> None:
    before = merchant.clock()
    merchant.control.add_fault("initialize", kind, **details)
    result: tuple[Any, int | None]
    try:
        response = merchant.initialize()
        result = (response.headers["Content-Type"].split(";")[0], response.status_code)
        assert readable(response) is (kind not in ("html", "malformed"))
    except requests.RequestException as error:
        result = (type(error), None)
    assert result == outcome
    assert (merchant.clock() - before).total_seconds() == waited
    assert known(merchant) == (["tx-1"] if acts else [])
    [entry] = merchant.control.journal("initialize")
    assert (entry.status, entry.faults) == (outcome[1], [kind])
    assert merchant.initialize().status_code == (400 if acts else 200)


@pytest.mark.parametrize("call", ["verify", "cancel", "refund", "refund_verify"])
def test_every_call_can_have_a_fault(merchant: LocalMerchant, call: Any) -> None:
    reference = merchant.paid()
    ref_id = merchant.refund(amount="1").json()["data"]["ref_id"]
    calls: dict[str, Callable[[], requests.Response]] = {
        "verify": merchant.verify,
        "cancel": merchant.cancel,
        "refund": lambda: merchant.refund(reference),
        "refund_verify": lambda: merchant.refund_verify(ref_id),
    }
    merchant.control.add_fault(call, "status", status=429, retry_after=9, tx_ref="tx-1")
    response = calls[call]()
    assert (response.status_code, response.headers["Retry-After"]) == (429, "9")
    assert calls[call]().status_code != 429


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
def test_verify_returns_one_wrong_field(
    merchant: LocalMerchant, kind: Any, details: dict[str, Any], field: str, value: object
) -> None:
    merchant.paid()
    merchant.control.add_fault("verify", kind, **details)
    wrong, right = merchant.verify(), merchant.verify()
    assert wrong.status_code == 200
    assert wrong.json()["data"] == {**right.json()["data"], field: value}
    assert wrong.json()["data"][field] != right.json()["data"][field]
    assert [entry.faults for entry in merchant.control.journal("verify")] == [[kind], []]


def test_verify_denies_a_payment_and_wrong_amount_waits_for_a_200(merchant: LocalMerchant) -> None:
    merchant.initialize()
    merchant.control.add_fault("verify", "wrong_amount")
    assert merchant.verify().status_code == 404
    merchant.control.pay("tx-1")
    assert merchant.verify().json()["data"]["amount"] == 1
    merchant.control.add_fault("verify", "says", word="404")
    assert merchant.verify().json()["message"] == "Payment not paid yet"


def test_faults_are_used_oldest_first_for_their_tx_ref_and_times(merchant: LocalMerchant) -> None:
    control = merchant.control
    control.add_fault("verify", "status", status=503, tx_ref="tx-2")
    control.add_fault("verify", "status", status=500, times=2)
    control.add_fault("verify", "status", status=401)
    number = control.add_fault("verify", "status", status=429, times=None)
    codes = [merchant.verify().status_code for _ in range(6)]
    assert codes == [500, 500, 401, 429, 429, 429]
    assert merchant.verify("tx-2").status_code == 503
    assert control.faults() == [
        {"id": number, "call": "verify", "kind": "status", "tx_ref": None, "times": None}
        | {"chance": 1, "status": 429, "retry_after": None, "acts": None}
    ]
    control.remove_fault(number)
    assert merchant.verify().status_code == 404
    with pytest.raises(ControlError, match=f"404: no fault {number}"):
        control.remove_fault(number)
    control.add_fault("cancel", "reset")
    control.clear_faults()
    assert control.faults() == []
    assert control.used_faults() == {("verify", "status"): 7}


def test_fault_with_chance_hits_that_share_of_the_calls(merchant: LocalMerchant) -> None:
    merchant.control.add_fault("verify", "status", times=None, chance=0.2, status=500)
    merchant.control.add_fault("verify", "html", times=None, chance=0.25, status=502)
    codes = [merchant.verify().status_code for _ in range(1000)]
    assert 160 <= codes.count(500) <= 240
    # A quarter of the calls that the first fault spared.
    assert 160 <= codes.count(502) <= 240
    assert merchant.control.used_faults() == {
        ("verify", "status"): codes.count(500),
        ("verify", "html"): codes.count(502),
    }


def test_spared_call_does_not_count_and_the_seed_decides() -> None:
    def hits() -> list[bool]:
        faults = Faults(random.Random(3))
        faults.add(Fault(call="verify", kind="reset", times=3, chance=0.1))
        return [faults.take("verify", None, ["reset"]) is not None for _ in range(200)]

    assert hits().count(True) == 3
    assert hits()[:3] != [True] * 3
    assert hits() == hits()


FAULT = {"call": "verify", "kind": "slow"}
REFUSED: list[tuple[str, str, object, int, str]] = [
    ("POST", "faults", FAULT | {"call": "pay"}, 400, "call"),
    ("POST", "faults", FAULT | {"kind": "sloow"}, 400, "kind"),
    ("POST", "faults", FAULT | {"secnods": 1}, 400, "secnods"),
    ("POST", "faults", FAULT | {"status": 1}, 400, "status"),
    ("POST", "faults", FAULT | {"kind": "lost"}, 400, "verify cannot have the fault lost"),
    ("POST", "faults", {"call": "webhook", "kind": "wrong_amount"}, 400, "webhook cannot"),
    ("POST", "faults", FAULT | {"times": 0}, 400, "times"),
    ("POST", "faults", FAULT | {"chance": 0}, 400, "chance"),
    ("POST", "faults", FAULT | {"chance": 1.1}, 400, "chance"),
    ("PUT", "settings", {"webhok_url": "x"}, 400, "webhok_url"),
    ("PUT", "settings", {"switches": {"verify_unpayed": "404"}}, 400, "verify_unpayed"),
    ("PUT", "settings", {"switches": {"verify_unpaid": "200"}}, 400, "verify_unpaid"),
    ("PUT", "settings", {"switches": "x"}, 400, "switches"),
    ("PUT", "settings", {"retry_seconds": 0}, 400, "retry_seconds"),
    ("PUT", "settings", {"webhook_secret": None}, 400, "webhook_secret"),
    ("PUT", "settings", [], 400, "body"),
    ("POST", "pay", {"tx_ref": "tx-1", "ammount": 1}, 400, "ammount"),
    ("POST", "pay", {}, 400, "tx_ref"),
    ("POST", "fail", {"tx_ref": "tx-1", "amount": 1}, 400, "amount"),
    ("POST", "refund_status", {"reference": "r", "status": "done"}, 400, "status"),
    ("POST", "webhook", {"event": "charge.success", "signature": "x"}, 400, "signature"),
    ("POST", "refuse", {"seconds": -1}, 400, "seconds"),
    ("GET", "journal?cal=verify", None, 400, "cal"),
    ("GET", "payments/unknown", None, 404, "no payment with the tx_ref unknown"),
    *[
        ("POST", command, {"tx_ref": "unknown"}, 404, "no payment with the tx_ref unknown")
        for command in ("pay", "fail", "reverse", "expire")
    ],
    ("POST", "refund_status", {"reference": "r", "status": "refunded"}, 404, "no refund"),
    ("POST", "webhook", {"event": "charge.success"}, 404, "needs its tx_ref"),
    *[("POST", c, {"tx_ref": "tx-paid"}, 409, "paid") for c in ("pay", "begin", "fail", "cancel")],
    ("POST", "reverse", {"tx_ref": "tx-new"}, 409, "not paid"),
    ("POST", "refuse", {"seconds": 1}, 409, "without a server"),
    ("POST", "webhook", {"event": "e", "tx_ref": "tx-paid"}, 409, "no webhook_url"),
]


@pytest.mark.parametrize(("method", "path", "body", "code", "text"), REFUSED)
def test_bad_command_is_refused_with_a_reason(
    merchant: LocalMerchant, method: str, path: str, body: object, code: int, text: str
) -> None:
    merchant.paid("tx-paid")
    merchant.initialize("tx-new")
    if text == "no webhook_url":
        merchant.control.set(webhook_url=None)
    response = merchant.session.request(method, f"{BASE_URL}/_control/{path}", json=body)
    assert response.status_code == code
    assert text in response.json()["error"]


def test_another_amount_or_currency_can_be_paid(merchant: LocalMerchant) -> None:
    merchant.initialize()
    merchant.control.pay("tx-1", amount="99.99", currency="USD")
    data = merchant.verify().json()["data"]
    assert (data["amount"], data["currency"]) == (99.99, "USD")


def test_settings_change_one_by_one_and_reset_restores_all(merchant: LocalMerchant) -> None:
    control = merchant.control
    control.switch(failed_word="failed")
    control.set(retry_seconds=1, switches={"callback": "none"})
    shown = control.settings()
    assert shown["retry_seconds"] == 1
    assert shown["switches"]["failed_word"] == "failed"
    assert shown["switches"]["callback"] == "none"
    assert shown["webhook_secret_is_set"] is True
    assert "webhook_secret" not in shown
    merchant.paid()
    control.add_fault("verify", "reset", times=2)
    with pytest.raises(requests.ConnectionError):
        merchant.verify()
    control.reset()
    assert merchant.deliver() == []
    assert [*control.payments(), *control.faults(), *control.journal()] == []
    assert control.used_faults() == {}
    assert control.settings()["switches"] == Switches().model_dump()
    assert merchant.initialize().status_code == 200


def test_journal_has_every_call_and_attempt_in_order(merchant: LocalMerchant) -> None:
    control = merchant.control
    merchant.initialize(amount="5")
    merchant.verify()
    merchant.clock.advance(2)
    control.pay("tx-1")
    merchant.deliver()
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
    assert [entry.number for entry in control.journal("initialize")] == [1, 4]
    assert [entry.number for entry in control.journal(tx_ref="tx-1")] == [1, 2, 3]
    assert [entry.number for entry in control.journal("initialize", "tx-2")] == [4]
    control.clear_journal()
    assert control.journal() == []


def test_no_secret_is_ever_shown(merchant: LocalMerchant) -> None:
    secret = "s3cret/with=signs&ጫማ"
    merchant.control.set(webhook_secret=secret)
    leaks = {"key": TEST_KEY, "secret": secret}
    merchant.paid(meta=leaks, callback_url=f"http://shop.local/?key={TEST_KEY}")
    merchant.call("POST", "/refund/tx-1", data=leaks)
    merchant.call("GET", "/transaction/verify/tx-1", params=leaks)
    merchant.deliver()
    shown = merchant.session.get(f"{BASE_URL}/_control/journal").text
    assert "[hidden]" in shown
    assert TEST_KEY not in shown
    assert "s3cret" not in shown
    assert "s3cret" not in merchant.session.get(f"{BASE_URL}/_control/settings").text
    assert "s3cret" not in repr(merchant.simulator.settings)
