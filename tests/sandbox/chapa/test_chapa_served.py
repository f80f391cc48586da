"""The simulator over real HTTP."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import requests

from payments.chapa.signature import verify
from sandbox.chapa.control import Control
from sandbox.chapa.server import Server
from sandbox.chapa.settings import Settings
from sandbox.chapa.simulator import Simulator
from tests.sandbox.chapa.merchant import SECRET, Merchant

ROOT = Path(__file__).parents[3]


class Shop(HTTPServer):
    """Notes each webhook, and answers with the next of `codes`, then with 200."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), ShopHandler)
        self.codes: list[int] = []
        self.bodies: list[bytes] = []
        self.genuine: list[bool] = []
        self.arrived = threading.Condition()

    def wait_for(self, count: int) -> None:
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.bodies) >= count, timeout=5)


class ShopHandler(BaseHTTPRequestHandler):
    server: Shop

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        with self.server.arrived:
            self.server.bodies.append(body)
            self.server.genuine.append(verify(body, headers, [SECRET]))
            code = self.server.codes.pop(0) if self.server.codes else 200
            self.server.arrived.notify_all()
        self.send_response(code)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""


@pytest.fixture
def shop() -> Iterator[Shop]:
    with Shop() as shop:
        thread = threading.Thread(target=shop.serve_forever, args=[0.02])
        thread.start()
        yield shop
        shop.shutdown()
        thread.join()


@pytest.fixture
def server(shop: Shop) -> Iterator[Server]:
    settings = Settings(
        webhook_url=f"http://127.0.0.1:{shop.server_port}/",
        webhook_secret=SECRET,
        retry_seconds=0.05,
    )
    with Server(Simulator(settings)) as server:
        yield server


@pytest.fixture
def merchant(server: Server) -> Iterator[Merchant]:
    with requests.Session() as session:
        session.trust_env = False
        yield Merchant(session, server.url)


@pytest.fixture
def control(server: Server) -> Iterator[Control]:
    with requests.Session() as session:
        yield Control(server.url, session)


def eventually(fact: Callable[[], bool]) -> None:
    until = time.monotonic() + 5
    while not fact():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_a_person_can_pay_and_the_shop_is_told(
    merchant: Merchant, shop: Shop, server: Server
) -> None:
    path = merchant.checkout_path()
    answer = merchant.session.post(server.url + path, data={"action": "pay"}, timeout=5)
    assert "Payment received" in answer.text
    shop.wait_for(1)
    assert shop.genuine == [True]
    assert merchant.verify().json()["data"]["status"] == "success"


def test_of_many_initializes_at_once_with_one_tx_ref_one_wins(
    merchant: Merchant, control: Control
) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: merchant.initialize(), range(24)))
    assert sorted(answer.status_code for answer in answers) == [200] + [400] * 23
    assert len(control.payments()) == 1


def test_a_webhook_is_sent_again_until_a_200(
    merchant: Merchant, control: Control, shop: Shop
) -> None:
    shop.codes = [500, 302, 201]
    merchant.initialize()
    control.pay("tx-1")
    shop.wait_for(4)
    assert len(set(shop.bodies)) == 1
    eventually(lambda: [e.status for e in control.journal("webhook")] == [500, 302, 201, 200])


@pytest.mark.parametrize("acts", [False, True])
def test_a_reset_is_a_tcp_reset(server: Server, control: Control, acts: bool) -> None:
    control.add_fault("initialize", "reset_after" if acts else "reset")
    body = b'{"amount":"1","currency":"ETB","tx_ref":"tx-1"}'
    head = (
        "POST /v1/transaction/initialize HTTP/1.1\r\nHost: x\r\n"
        "Authorization: Bearer CHASECK_TEST-x\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
        connection.sendall(head.encode() + body)
        with pytest.raises(ConnectionResetError):
            connection.recv(1)
    assert len(control.payments()) == acts


def test_a_held_connection_times_out_after_the_call_acted(
    merchant: Merchant, control: Control
) -> None:
    control.add_fault("verify", "timeout_after", seconds=30)
    control.add_fault("cancel", "timeout_after", seconds=30)
    merchant.initialize()
    for method, call in (("GET", "verify"), ("PUT", "cancel")):
        with pytest.raises(requests.ReadTimeout):
            merchant.call(method, f"/transaction/{call}/tx-1", timeout=0.1)
    assert control.payment("tx-1")["cancelled"] is True


def test_a_held_connection_is_closed_in_the_end(merchant: Merchant, control: Control) -> None:
    control.add_fault("verify", "timeout_before", seconds=0.1)
    with pytest.raises(requests.ConnectionError, match="without response"):
        merchant.verify()


def test_a_held_connection_does_not_hold_up_the_end() -> None:
    simulator = Simulator()
    server = Server(simulator)
    server.start()
    outcomes: list[str] = []

    def ask() -> None:
        with requests.Session() as session:
            session.trust_env = False
            try:
                session.get(f"{server.url}/v1/transaction/verify/tx-1", timeout=30)
            except requests.ConnectionError:
                outcomes.append("closed without an answer")

    with requests.Session() as session:
        Control(server.url, session).add_fault("verify", "timeout_before", seconds=600)
    thread = threading.Thread(target=ask)
    thread.start()
    eventually(lambda: len(simulator.journal.entries()) == 1)
    server.stop()
    thread.join(5)
    assert outcomes == ["closed without an answer"]


def test_who_is_held_is_let_go_when_the_faults_are_cleared(
    merchant: Merchant, control: Control
) -> None:
    control.add_fault("verify", "slow", seconds=600)
    with ThreadPoolExecutor() as pool:
        held = pool.submit(merchant.verify)
        eventually(lambda: bool(control.used_faults()))
        assert not held.done()

        def let_go() -> bool:
            control.clear_faults()
            return held.done()

        eventually(let_go)
    assert held.exception() is None


def test_connections_beyond_the_limit_are_not_held() -> None:
    inside = threading.Semaphore(0)
    release = threading.Event()

    def hold(_seconds: float) -> None:
        inside.release()
        release.wait(5)

    simulator = Simulator(hold=hold)
    threads = [threading.Thread(target=simulator.hold, args=[1]) for _ in range(64)]
    for thread in threads:
        thread.start()
    for _ in threads:
        assert inside.acquire(timeout=5)
    simulator.hold(600)
    assert not inside.acquire(blocking=False)
    release.set()
    for thread in threads:
        thread.join()


def test_connections_can_be_refused_for_a_while(
    merchant: Merchant, control: Control, server: Server
) -> None:
    control.refuse(0.3)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port), timeout=5)

    def listens() -> bool:
        try:
            return merchant.initialize().status_code == 200
        except requests.ConnectionError:
            return False

    eventually(listens)
    control.refuse(0.05)
    eventually(control.answers)


def test_a_server_can_end_while_it_refuses(control: Control, server: Server) -> None:
    control.refuse(600)


def program(*arguments: str) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.Popen(
        [sys.executable, "-m", "sandbox.chapa", *arguments],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_the_program_says_where_it_is_and_ends_when_told() -> None:
    with program("--port", "0", "--api-key", "CHASECK_TEST-only") as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        url = line.split()[3].rstrip(",")
        with requests.Session() as session:
            session.trust_env = False
            merchant = Merchant(session, url)
            assert merchant.initialize(key="CHASECK_TEST-only").status_code == 200
            assert merchant.initialize("tx-2", key="CHASECK_TEST-other").status_code == 401
            Control(url, session).add_fault("verify", "reset")
            with pytest.raises(requests.ConnectionError):
                merchant.verify()
        process.send_signal(signal.SIGTERM)
        rest, errors = process.communicate(timeout=5)
        assert (process.returncode, rest, errors) == (0, "", "")


def test_a_taken_port_is_one_clear_sentence(server: Server) -> None:
    with program("--port", str(server.port)) as process:
        out, errors = process.communicate(timeout=10)
        assert (process.returncode, out) == (2, "")
        assert errors == (
            f"Cannot listen on 127.0.0.1:{server.port}: another program is using it.\n"
        )


def test_a_webhook_url_without_a_secret_is_refused() -> None:
    with program("--port", "0", "--webhook-url", "http://127.0.0.1:1/") as process:
        _, errors = process.communicate(timeout=10)
        assert process.returncode == 2
        assert "needs --webhook-secret" in errors
