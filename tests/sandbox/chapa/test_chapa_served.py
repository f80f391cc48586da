"""The simulator over real HTTP."""

import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from sandbox.chapa.__main__ import main
from sandbox.chapa.server import Server
from sandbox.chapa.simulator import HELD_AT_ONCE, Simulator
from tests.sandbox.chapa.merchant import SECRET, Merchant


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(Simulator()) as server:
        yield server


@pytest.fixture
def merchant(server: Server) -> Iterator[Merchant]:
    with requests.Session() as session:
        yield Merchant(session, server.url)


def eventually(fact: Callable[[], bool]) -> None:
    until = time.monotonic() + 5
    while not fact():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_one_of_many_concurrent_initializes_with_one_tx_ref_wins(merchant: Merchant) -> None:
    with ThreadPoolExecutor(8) as pool:
        responses = list(pool.map(lambda _: merchant.initialize(), range(24)))
    assert sorted(response.status_code for response in responses) == [200] + [400] * 23
    assert len(merchant.control.payments()) == 1


def test_webhook_is_sent_over_http_until_its_attempts_are_used_up(merchant: Merchant) -> None:
    url = f"{merchant.base_url}/nothing"
    merchant.control.set(
        webhook_url=url, webhook_secret=SECRET, webhook_attempts=3, retry_seconds=0.05
    )
    merchant.paid()
    eventually(lambda: [e.status for e in merchant.control.journal("webhook")] == [404] * 3)


@pytest.mark.parametrize("kind", ["reset", "reset_after"])
def test_reset_is_a_tcp_reset(server: Server, merchant: Merchant, kind: str) -> None:
    merchant.control.add_fault("initialize", kind)  # type: ignore[arg-type]
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
    assert len(merchant.control.payments()) == (kind == "reset_after")


def test_held_connection_times_out_or_is_closed(merchant: Merchant) -> None:
    merchant.initialize()
    for method, call in (("GET", "verify"), ("PUT", "cancel")):
        merchant.control.add_fault(call, "timeout_after", seconds=30)  # type: ignore[arg-type]
        with pytest.raises(requests.ReadTimeout):
            merchant.call(method, f"/transaction/{call}/tx-1", timeout=0.1)
    assert merchant.control.payment("tx-1")["cancelled"] is True
    merchant.control.add_fault("verify", "timeout_before", seconds=0.1)
    with pytest.raises(requests.ConnectionError, match="without response"):
        merchant.verify()


def test_stop_closes_held_connections() -> None:
    server = Server(Simulator())
    server.start()
    with requests.Session() as session, ThreadPoolExecutor() as pool:
        merchant = Merchant(session, server.url)
        merchant.control.add_fault("verify", "timeout_before", seconds=600)
        held = pool.submit(merchant.verify)
        eventually(lambda: bool(merchant.control.used_faults()))
        server.stop()
        assert isinstance(held.exception(5), requests.ConnectionError)


def test_clearing_the_faults_releases_held_connections(merchant: Merchant) -> None:
    merchant.control.add_fault("verify", "slow", seconds=600)
    with ThreadPoolExecutor() as pool:
        held = pool.submit(merchant.verify)
        eventually(lambda: bool(merchant.control.used_faults()))
        assert not held.done()
        # The call may begin to wait only after the first of these.
        eventually(lambda: merchant.control.clear_faults() or held.done())  # type: ignore[func-returns-value]
    assert held.exception() is None


def test_connections_beyond_the_limit_are_not_held() -> None:
    all_wait = threading.Barrier(HELD_AT_ONCE + 1)
    simulator = Simulator(hold=lambda _: all_wait.wait(5) + all_wait.wait(5))
    with ThreadPoolExecutor(HELD_AT_ONCE) as pool:
        held = [pool.submit(simulator.hold, 1) for _ in range(HELD_AT_ONCE)]
        all_wait.wait(5)
        # If it were held, it would be one party too many.
        simulator.hold(600)
        all_wait.wait(5)
    assert [each.exception() for each in held] == [None] * HELD_AT_ONCE


def test_refused_connections_are_accepted_again_or_end_with_the_server(
    merchant: Merchant, server: Server
) -> None:
    merchant.control.refuse(0.3)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port), timeout=5)
    eventually(merchant.control.answers)
    assert merchant.initialize().status_code == 200
    merchant.control.refuse(600)


def test_program_prints_its_url_and_ends_on_sigterm() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "sandbox.chapa", "--port=0", "--api-key=CHASECK_TEST-only"],
        cwd=Path(__file__).parents[3],
        env={},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        url = process.stdout.readline().split()[3].rstrip(",")
        with requests.Session() as session:
            merchant = Merchant(session, url)
            assert merchant.initialize(key="CHASECK_TEST-only").status_code == 200
            assert merchant.initialize("tx-2", key="CHASECK_TEST-other").status_code == 401
            merchant.control.add_fault("verify", "reset")
            with pytest.raises(requests.ConnectionError):
                merchant.verify()
        process.send_signal(signal.SIGTERM)
        assert process.communicate(timeout=5) == ("", "")
        assert process.returncode == 0


def test_bad_options_end_the_program_with_one_sentence(
    server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["chapa", "--port", str(server.port)])
    assert main() == 2
    assert capsys.readouterr() == (
        "",
        f"Cannot listen on 127.0.0.1:{server.port}: another program is using it.\n",
    )
    monkeypatch.setattr("sys.argv", ["chapa", "--webhook-url", "http://127.0.0.1:1/"])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert "needs --webhook-secret" in capsys.readouterr().err
