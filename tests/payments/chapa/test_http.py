"""Exchanges over real sockets: retries, broken connections, slow answers, endless answers."""

import gzip
import json
import random
import re
import socket
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread

import pytest

from payments.chapa.calls import PAUSE_SECONDS, READ_RETRIES
from payments.chapa.http import MAX_BYTES
from payments.domain.answers import Said
from payments.errors import ProviderError, ProviderFailed, ProviderTimeout, ProviderUnavailable
from sandbox.chapa.server import Server
from sandbox.chapa.simulator import Simulator
from tests.payments.chapa.builders import (
    ACTS,
    CHECKOUT_URL,
    CUSTOMER,
    KEY,
    NOT_PAID,
    NOT_REACHED,
    OPENED,
    PAID,
    PLENTY,
    TRIES,
    UNCERTAIN,
    UNKNOWN,
    Api,
    details,
)

SHORT = 0.5
"""Seconds left where a test waits until they are over; with less, nothing is sent."""


type Script = tuple[bytes | None, bytes | None]
"""What a connection gets: the reply, then more, again and again.

Without a reply it is closed before its request is read; without more, after the reply. With b"" for
more it stays open, and silent.
"""


class SocketServer(Api):
    """A client of a server that sends fixed bytes."""

    def __init__(self, port: int) -> None:
        super().__init__(f"http://127.0.0.1:{port}/v1")
        self.customer = CUSTOMER
        self.requests: list[bytes] = []
        self.connections = 0


@contextmanager
def server(*scripts: Script, pause: float = 0.05, times: int = 1) -> Iterator[SocketServer]:
    """Each connection gets its script, the last one for all that follow, for `times` requests."""
    over = Event()

    def talk(connection: socket.socket, reply: bytes | None, more: bytes | None) -> None:
        for _ in range(0 if reply is None else times):
            api.requests.append(read_request(connection))
            connection.sendall(reply or b"")
        if more == b"":
            connection.recv(1)  # Returns when the client hangs up.
        while more and not over.wait(pause):
            connection.sendall(more)

    def serve() -> None:
        while not over.is_set():
            with suppress(TimeoutError):
                connection, _ = listener.accept()
                api.connections += 1
                with connection, suppress(OSError):
                    talk(connection, *scripts[min(api.connections, len(scripts)) - 1])

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.05)
        api = SocketServer(listener.getsockname()[1])
        thread = Thread(target=serve)
        thread.start()
        try:
            yield api
        finally:
            api.client.session.close()
            over.set()
            thread.join()


def read_request(connection: socket.socket) -> bytes:
    with connection.makefile("rb") as stream:
        head = b"".join(iter(stream.readline, b"\r\n"))
        if not head:
            raise ConnectionError
        length = re.search(rb"(?i)content-length: (\d+)", head)
        return head + stream.read(int(length[1]) if length else 0)


HEADERS = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
CHUNKED = HEADERS + b"Transfer-Encoding: chunked\r\n\r\n"
CUT_SHORT = HEADERS + b'Content-Length: 500\r\n\r\n{"message":'
NOT_GZIP = HEADERS + b"Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}"


@pytest.mark.parametrize(
    ("script", "error"),
    [
        ((None, None), ProviderUnavailable),
        ((b"", None), ProviderUnavailable),
        ((b"", b""), ProviderTimeout),
        ((b"SSH-2.0-OpenSSH_9.6\r\n", None), ProviderUnavailable),
        ((HEADERS, b""), ProviderTimeout),
        ((CUT_SHORT, b""), ProviderTimeout),
        ((CUT_SHORT, None), ProviderFailed),
        ((CHUNKED + b'ff\r\n{"message":', None), ProviderFailed),
        ((NOT_GZIP, None), ProviderFailed),
    ],
)
def test_broken_answer_leaves_it_open_whether_chapa_acted_and_is_not_repeated(
    slept: list[float], script: Script, error: type[ProviderError]
) -> None:
    with server(script) as api:
        for number, call in enumerate(ACTS, 1):
            outcome = api.outcome(call, PLENTY if script[1] is None else SHORT)
            assert outcome == (False if call == "cancel" else (error, True))
            assert api.connections == number
    assert not slept


UNAVAILABLE = (
    b"HTTP/1.1 503 No\r\nContent-Length: 0\r\nRetry-After: 3600\r\nConnection: close\r\n\r\n"
)


@pytest.mark.parametrize("call", ["verify", "verify_refund"])
@pytest.mark.parametrize(
    ("script", "times", "time_left"),
    [
        *(((reply, None), READ_RETRIES, PLENTY) for reply in (None, b"", UNAVAILABLE)),
        ((b"", b""), 1, 2 + TRIES * 1.0),
    ],
    ids=["closed before", "closed after", "503", "silence"],
)
def test_question_is_asked_again_a_few_times(
    call: str, script: Script, times: int, time_left: float
) -> None:
    word = {"verify": "success", "verify_refund": "refunded"}[call]
    reply = HEADERS + b"\r\n" + json.dumps(details(status=word)).encode()
    with server(*[script] * times, (reply, None)) as api:
        assert api.ask(call, time_left) in {PAID, Said.REFUNDED}
        assert api.connections == times + 1
    with server(script) as api:
        assert api.ask(call, time_left) in {UNKNOWN, Said.UNKNOWN}
        assert api.connections == TRIES


def test_pause_that_chapa_asks_for_is_bounded(slept: list[float]) -> None:
    with server((UNAVAILABLE, None)) as api:
        api.ask("verify")

    assert slept == [PAUSE_SECONDS] * READ_RETRIES


DRIPS = {
    "status": (b"HTTP/1.1 200 ", b"O"),
    "headers": (b"HTTP/1.1 200 OK\r\nX-Dull: ", b"a"),
    "header after header": (b"HTTP/1.1 200 OK\r\n", b"X-Dull: a\r\n"),
    "interim answers": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "body": (HEADERS + b"Content-Length: 5000000000\r\n\r\n{", b" "),
    "body without a length": (HEADERS + b"\r\n{", b" "),
    "chunks": (CHUNKED, b"1\r\n \r\n"),
    "size of a chunk": (CHUNKED, b"0"),
    "headers after the chunks": (CHUNKED + b"0\r\n", b"X-Dull: a\r\n"),
    "body of an error": (b"HTTP/1.1 503 No\r\nContent-Length: 5000000000\r\n\r\n{", b" "),
}


@pytest.mark.parametrize(
    ("name", "call", "time_left", "tries"),
    [
        *((name, "open", SHORT, 1) for name in DRIPS),
        *((n, "verify", 2 + TRIES * SHORT, TRIES) for n in ("headers", "body", "body of an error")),
    ],
)
def test_slow_answer_does_not_outlast_the_time_left(
    name: str, call: str, time_left: float, tries: int
) -> None:
    with server(DRIPS[name]) as api:
        began = time.monotonic()
        outcome = api.outcome(call, time_left)
        took = time.monotonic() - began

    assert outcome == {"open": (ProviderTimeout, True), "verify": UNKNOWN}[call]
    # The drip never ends, so a busy machine may take its time.
    assert took < tries * SHORT + 3
    assert 1 <= api.connections <= tries


@pytest.mark.parametrize("name", DRIPS)
def test_endless_answer_is_not_read_to_the_end(name: str) -> None:
    reply, more = DRIPS[name]
    with server((reply, more * (65_536 // len(more))), pause=0) as api:
        _, may_have_acted = api.outcome("open")
        assert may_have_acted
        assert not api.ask("cancel")
        assert api.connections == 2
        assert api.ask("verify") == UNKNOWN

    assert api.connections <= 2 + TRIES


@pytest.mark.parametrize("times", [1, 2, 3])
def test_compressed_answer_is_not_unpacked_to_the_end(times: int) -> None:
    content = b"[" + b"0," * 8_000_000 + b"0]"
    for _ in range(times):
        content = gzip.compress(content)
    encoding = ", ".join(["gzip"] * times).encode()
    assert len(content) < MAX_BYTES
    head = b"Content-Encoding: %b\r\nContent-Length: %d\r\n\r\n" % (encoding, len(content))

    with server((HEADERS + head + content, None)) as api:
        tracemalloc.start()
        outcome = api.outcome("open")
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()

    assert outcome == UNCERTAIN
    assert most < 8_000_000


def longest(*, compressed: bool = False) -> bytes:
    """An answer that is as long as one may be."""
    content = json.dumps(OPENED | {"room": "x" * (MAX_BYTES - len(json.dumps(OPENED)) - 500)})
    body, head = content.encode(), b""
    if compressed:
        body, head = gzip.compress(body), b"Content-Encoding: gzip\r\n"
    return HEADERS + head + b"Content-Length: %d\r\n\r\n" % len(body) + body


@pytest.mark.parametrize("compressed", [True, False])
def test_connection_is_reused_and_each_answer_may_be_of_the_longest(compressed: bool) -> None:
    with server((longest(compressed=compressed), None), times=3) as api:
        assert [api.ask("open") for _ in range(3)] == [CHECKOUT_URL] * 3
        assert api.connections == 1


@pytest.fixture
def closed_port() -> Iterator[str]:
    """An address that refuses connections, and that no other process can take meanwhile."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}/v1"


def test_refused_connection_means_that_chapa_did_not_act(closed_port: str) -> None:
    outcomes = [Api(closed_port).outcome(call) for call in (*ACTS, "verify", "verify_refund")]

    assert outcomes == [NOT_REACHED, NOT_REACHED, False, UNKNOWN, Said.UNKNOWN]


def test_proxy_of_the_machine_does_not_see_the_key(
    closed_port: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, closed_port)

    with server((longest(), None)) as api:
        assert api.ask("open") == CHECKOUT_URL
        assert KEY.encode() in api.requests[0]


def test_strict_simulator_accepts_what_open_sends() -> None:
    with Server(Simulator(api_keys=[KEY], rng=random.Random(7))) as simulator:
        api = Api(f"{simulator.url}/v1", shop_name="Sixteen letters.")
        api.customer = CUSTOMER
        assert "/checkout/" in api.ask("open")
        with pytest.raises(ProviderFailed, match="used before"):
            api.ask("open")
        assert api.ask("verify") == NOT_PAID
        api.client.session.close()
