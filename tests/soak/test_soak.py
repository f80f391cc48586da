"""A short soak over a real stack, and its judge, which must find every wrong response."""

import os
import random
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from moto import mock_aws

from payments.domain.states import PaymentStatus
from payments.usecases import refund
from sandbox.chapa.control import Control
from sandbox.chapa.faults import ANSWER
from sandbox.chapa.in_process import BASE_URL, session_for
from sandbox.chapa.journal import Entry
from sandbox.chapa.simulator import Simulator
from sandbox.client import Response
from sandbox.stack import ROOT
from tests.depth import NIGHTLY, depth
from tests.shop import Shop
from tests.soak.customer_log import Call, CustomerLog, LoggedCall
from tests.soak.customers import Steps, run_all
from tests.soak.judge import FinalState, accepted_forgeries, findings, unpublished
from tests.soak.trouble import Kill, make_chapa_faulty, works


@dataclass
class Recording:
    """What happened in a shop in this process; a test changes it as a bug would."""

    logs: dict[str, CustomerLog]
    items: list[dict[str, Any]]
    at_chapa: dict[str, dict[str, Any]]
    units: dict[str, int]
    kills: tuple[Kill, ...] = ()

    @property
    def state(self) -> FinalState:
        return FinalState(self.items, self.at_chapa, self.units, self.kills)

    def findings(self) -> list[str]:
        return findings(self.logs.values(), self.state)

    def tx_ref(self, name: str) -> str:
        [tx_ref] = self.logs[name].pages
        return tx_ref

    def order(self, name: str, kind: str = "") -> list[dict[str, Any]]:
        """The items of a customer's order, perhaps only those of one kind."""
        [order_id] = self.logs[name].orders
        mine = [item for item in self.items if item["pk"]["S"] == f"ORDER#{order_id}"]
        return [item for item in mine if item["sk"]["S"].startswith(kind)]


class Recorder:
    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.logs: dict[str, CustomerLog] = {}

    def call(self, name: str, call: Call, send: Callable[[], Response]) -> Response:
        began = self.shop.clock().timestamp()
        response = send()
        logged = LoggedCall(call, began, began, response.status, response.body)
        self.logs[name].calls.append(logged)
        self.shop.clock.advance(1)
        return response

    def place(self, name: str, sku: str, quantity: int = 1, key: str | None = None) -> Response:
        self.logs.setdefault(name, CustomerLog(name, "abebe", "shops", {sku: quantity}, key))
        customer = {"first_name": name}
        return self.call(
            name, "place", lambda: self.shop.order({sku: quantity}, key=key, customer=customer)
        )

    def open_page(self, name: str) -> str:
        [order_id] = self.logs[name].orders
        body = self.call(name, "initialize", lambda: self.shop.pay(order_id)).body
        self.logs[name].pages[body["tx_ref"]] = body["checkout_url"]
        return str(body["tx_ref"])

    def pay(self, name: str, tx_ref: str, *, late: bool = False) -> str:
        self.shop.control.pay(tx_ref, late=late)
        self.logs[name].paid.add(tx_ref)
        self.call(name, "payment", lambda: self.shop.status(tx_ref, refresh=True))
        return tx_ref

    def buy(self, name: str, sku: str, quantity: int = 1) -> str:
        self.place(name, sku, quantity)
        return self.pay(name, self.open_page(name))


@pytest.fixture(scope="module")
def _recording() -> Recording:
    """Almaz pays. Bekele holds the last unit, Dawit finds it out of stock, Bekele's order expires,
    Chaltu buys the unit, and Bekele pays too late. Eden places one order twice with a key. The
    bank reverses the payment of Fikre; the shop refunds Genet, who returns the goods."""
    with mock_aws():
        return _record(Shop())


def _record(shop: Shop) -> Recording:
    recorder = Recorder(shop)
    logs = recorder.logs
    recorder.buy("Almaz", "COFFEE-250", 2)
    recorder.place("Bekele", "LAST")
    too_late = recorder.open_page("Bekele")
    assert recorder.place("Dawit", "LAST").code == "out_of_stock"
    shop.clock.advance(shop.backend.rules.order_ttl)
    shop.sweep()
    shop.control.reverse(tx_ref := recorder.buy("Fikre", "COFFEE-250"))
    logs["Fikre"].reversed.add(tx_ref)
    tx_ref = recorder.buy("Genet", "COFFEE-250")
    returned = {"COFFEE-250": 1}
    refund.request(shop.backend, tx_ref, None, key="Genet", reason="Sour", returns=returned)
    logs["Genet"].refunded.add(tx_ref)
    recorder.buy("Chaltu", "LAST")
    recorder.pay("Bekele", too_late, late=True)
    for _ in range(10):
        shop.deliver()
        shop.clock.advance(3600)
        shop.sweep()
    assert shop.payment(too_late).status is PaymentStatus.REFUNDED
    assert [recorder.place("Eden", "MUG", key="K").status for _ in range(2)] == [201, 200]
    items = shop.dynamodb.scan(TableName="payments")["Items"]
    at_chapa = {payment["tx_ref"]: payment for payment in shop.control.payments()}
    assert at_chapa[too_late]["refunds"]
    return Recording(logs, items, at_chapa, shop.units)


@pytest.fixture
def recording(_recording: Recording) -> Recording:
    return deepcopy(_recording)


type Change = Callable[[Recording], None]


def stored(name: str, kind: str, **values: Any) -> Change:
    """Overwrite attributes of a customer's order or payment in the table."""

    def change(it: Recording) -> None:
        [item] = it.order(name, kind)
        item |= {key: v if isinstance(v, dict) else {"S": v} for key, v in values.items()}

    return change


def deleted(name: str, kind: str = "") -> Change:
    def change(it: Recording) -> None:
        lost = it.order(name, kind)
        it.items = [item for item in it.items if item not in lost]

    return change


def chapa(name: str, **values: Any) -> Change:
    return lambda it: it.at_chapa[it.tx_ref(name)].update(values)


def response(name: str, call: Call, *, repeat: bool = False, **changes: Any) -> Change:
    """Change a customer's first response to such a call, or log it once more with the changes."""

    def change(it: Recording) -> None:
        calls = it.logs[name].calls
        index = 0 if repeat else next(i for i, logged in enumerate(calls) if logged.call == call)
        body = {**calls[index].body, **changes.get("body", {})}
        changed = replace(calls[index], **{"call": call, **changes, "body": body})
        if repeat:
            calls.append(changed)
        else:
            calls[index] = changed

    return change


def basket(name: str, **units: int) -> Change:
    return lambda it: setattr(it.logs[name], "basket", units)


def refunded_twice(it: Recording) -> None:
    it.at_chapa[it.tx_ref("Bekele")]["refunds"] *= 2


def unknown_to_chapa(it: Recording) -> None:
    it.logs["Almaz"].paid.clear()
    del it.at_chapa[it.tx_ref("Almaz")]


def out_of_stock_although_returned(it: Recording) -> None:
    """The unit that Genet returned is available again, that of Fikre is not."""
    it.logs["Dawit"].basket = {"COFFEE-250": 7}
    response("Dawit", "place", began=2e9, ended=2e9, body={"skus": ["COFFEE-250"]})(it)


def page_of_another_customer(it: Recording) -> None:
    url = it.logs["Chaltu"].pages[it.tx_ref("Chaltu")]
    response("Almaz", "initialize", body={"checkout_url": url})(it)


def two_orders_for_one_key(it: Recording) -> None:
    stored("Chaltu", "ORDER", customer={"M": {"first_name": {"S": "Eden"}}})(it)
    it.logs["Eden"].calls.append(it.logs.pop("Chaltu").calls[0])


def order_in_no_response(it: Recording) -> None:
    stored("Chaltu", "ORDER", customer={"M": {"first_name": {"S": "Dawit"}}})(it)
    it.logs["Dawit"].paid |= it.logs.pop("Chaltu").paid


def cut_off(it: Recording) -> None:
    it.logs["Almaz"].calls.append(LoggedCall("order", 11, 12, 502, {"message": "Internal Error"}))


PENDING_AGAIN = response("Almaz", "order", repeat=True, status=200, began=3e9, ended=3e9)
NO_PROVIDER = {"code": "provider_unavailable"}
WRONG: dict[str, Change] = {
    "paid, and later was seen pending": response("Eden", "place", body={"status": "paid"}),
    "seen paid, and later was seen pending": PENDING_AGAIN,
    "seen succeeded, and later is pending": stored("Almaz", "PAYMENT", status="pending"),
    "reversed, but it is succeeded": stored("Fikre", "PAYMENT", status="succeeded"),
    "is reversed, but at Chapa it is success": chapa("Fikre", status="success"),
    "paid, but 0 payments are applied": stored("Fikre", "ORDER", status="paid"),
    "refunded, but it is succeeded": stored("Genet", "PAYMENT", status="succeeded"),
    "refunded, but it is missing": deleted("Genet"),
    "failed in 8 tries": lambda it: it.logs["Genet"].failures.append("it failed in 8 tries"),
    "but 0.00 is owed back": deleted("Bekele", "REFUND#"),
    "confirms it, and it is closed": stored("Bekele", "PAYMENT", status="closed"),
    "confirms it, but the table has no such payment": deleted("Almaz"),
    "paid, but 1 payments are applied": stored("Almaz", "ORDER", paid_by="another"),
    "but at Chapa it is unpaid": chapa("Almaz", status="unpaid"),
    "but no customer paid it": lambda it: it.logs["Chaltu"].paid.clear(),
    "Chapa gave back 0": chapa("Bekele", refunds=[]),
    "refunded twice": refunded_twice,
    "payment T, which does not exist": response("Almaz", "initialize", body={"tx_ref": "T"}),
    "received another page than that of payment": page_of_another_customer,
    "which Chapa does not know": unknown_to_chapa,
    "has another amount than order": chapa("Chaltu", amount="0.99"),
    "received order": deleted("Eden"),
    "has other goods": basket("Eden", MUG=2),
    "has another price": response("Eden", "place", body={"amount": "1.00"}),
    "one Idempotency-Key made 2 orders": two_orders_for_one_key,
    "has orders that no response named": order_in_no_response,
    "cancel returned 200": response("Eden", "cancel", repeat=True, status=200),
    "cancel returned 202": response("Eden", "cancel", repeat=True, status=202),
    "['LAST'] were out of stock": response("Dawit", "place", began=0, ended=1),
    "were out of stock in a response, but available": out_of_stock_although_returned,
    "500 internal": response("Almaz", "place", status=500, body={"code": "internal_error"}),
    "order returned 502": cut_off,
    "503 prov": response("Almaz", "initialize", repeat=True, status=503, body=NO_PROVIDER),
}


@pytest.mark.parametrize("finding", depth([*WRONG][::8], [*WRONG]))
def test_judge_finds_wrong_state_or_response(recording: Recording, finding: str) -> None:
    assert recording.findings() == []
    WRONG[finding](recording)
    assert [found for found in recording.findings() if finding in found]


def test_late_success_is_no_finding(recording: Recording) -> None:
    """An expired order may become paid, but a paid order may not expire."""
    stored("Bekele", "ORDER", status="paid")(recording)
    [order_id] = recording.logs["Bekele"].orders
    body = {"order_id": order_id, "order_status": "expired"}
    recording.logs["Almaz"].calls.append(LoggedCall("order", 1, 2, 200, body))
    assert not [finding for finding in recording.findings() if "was seen" in finding]


@pytest.mark.parametrize(
    ("kill", "explained"),
    [
        (Kill(11.5, "status"), True),
        (Kill(10.5, "status"), True),
        (Kill(11.5, "orders"), False),
        (Kill(12.5, "status"), False),
        (Kill(1.5, "status"), False),
    ],
)
def test_kill_of_its_process_explains_a_cut_response(
    recording: Recording, kill: Kill, explained: bool
) -> None:
    cut_off(recording)
    recording.kills = (kill,)
    assert (recording.findings() == []) is explained


def test_unpublished_and_unknown_events_are_found(recording: Recording) -> None:
    orders = recording.state.orders
    ids = [f"{name}#{n + 1}" for name, order in orders.items() for n in range(len(order.events))]
    assert unpublished(orders, [*ids, ids[0]]) == []
    assert unpublished(orders, ids[1:]) == [f"event {ids[0]} was never published"]
    assert unpublished(orders, [*ids, "x#1"]) == ["event x#1 was published, but is in no event log"]


def test_accepted_forged_webhook_is_found() -> None:
    def sent(status: int | None, *faults: str) -> Entry:
        return Entry(1, "", "webhook", "T", "POST", "", "", [*faults], status)

    good = [sent(200), sent(401, "forged"), sent(502, "forged"), sent(None, "forged")]
    assert [*accepted_forgeries(good)] == []
    assert [*accepted_forgeries([sent(200, "forged")])] == [
        "a forged webhook of T was answered 200"
    ]


def test_run_all_ends_every_scenario_with_at_most_so_many_steps_at_once() -> None:
    acting, most, ended = 0, 0, []
    lock = threading.Lock()

    def scenario(number: int) -> Steps[None]:
        nonlocal acting, most
        for pause in (0, 0.01, 0):
            with lock:
                acting += 1
                most = max(most, acting)
            time.sleep(0.001)
            with lock:
                acting -= 1
            yield pause
        ended.append(number)

    run_all(map(scenario, range(30)), 3)
    assert sorted(ended) == [*range(30)]
    assert most <= 3


def test_run_all_raises_what_a_scenario_raises_and_stops_the_others() -> None:
    def scenario(number: int) -> Steps[None]:
        yield 0
        if number == 7:
            raise RuntimeError("bug in the scenario")
        while True:
            yield 0.001

    with pytest.raises(RuntimeError, match="bug in the scenario"):
        run_all(map(scenario, range(100)), 3)


@pytest.mark.parametrize(("share", "calls"), [(0.1, 20_000), (1, 500), (0, 500)])
def test_given_share_of_calls_goes_wrong_evenly_in_all_ways(share: float, calls: int) -> None:
    simulator = Simulator(rng=random.Random(11))
    make_chapa_faulty(Control(BASE_URL, session_for(simulator)), share)
    faults = (simulator.faults.take("verify", "T", ANSWER) for _ in range(calls))
    kinds = Counter(fault.kind for fault in faults if fault)
    if share != 0.1:
        assert kinds.total() == share * calls
        return
    assert kinds.total() == pytest.approx(2_000, rel=0.1)
    assert set(kinds) == set(ANSWER)
    assert kinds.pop("status") == pytest.approx(600, rel=0.2)
    assert [*kinds.values()] == pytest.approx([200] * 7, rel=0.3)


def test_process_that_waits_for_its_input_does_not_work() -> None:
    def becomes(working: bool) -> None:
        deadline = time.monotonic() + 20
        while works(process.pid) is not working:
            assert time.monotonic() < deadline
            time.sleep(0.01)

    with subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.stdin.readline(); sum(range(10**10))"],
        stdin=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin
        try:
            becomes(working=False)
            process.stdin.write("go\n")
            process.stdin.flush()
            becomes(working=True)
        finally:
            process.kill()
    assert not works(process.pid)


@pytest.mark.skipif(not NIGHTLY, reason="takes a minute, runs at night")
@pytest.mark.parametrize("provider", ["v1", "v2"])
def test_short_soak_finds_nothing_and_leaves_no_files(tmp_path: Path, provider: str) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "tests.soak", f"--state={tmp_path}"),
            f"--provider={provider}",
            *("--orders=16", "--clients=2", "--seed=short", "--faults=20", "--kills=5", "--ttl=5"),
        ],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "HOME": os.environ["HOME"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    rows = re.findall(r"^\| (.+?) +\| +([\d,]+) \|$", done.stdout, re.MULTILINE)
    figures = {name.strip(): int(number.replace(",", "")) for name, number in rows}
    assert figures["customers"] == 16
    assert figures["findings"] == 0
    for name in (
        "place 201",
        "payments made at Chapa",
        "injected faults",
        "killed processes",
        "order.paid",
        "events received from the bus",
    ):
        assert figures[name] > 0, name
    assert [*tmp_path.iterdir()] == []
