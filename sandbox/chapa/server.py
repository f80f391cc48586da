"""The simulator behind a real socket, with its courier."""

import os
import socket
import struct
import threading
from types import TracebackType
from typing import Any, Self

from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

from sandbox.chapa.app import create_app
from sandbox.chapa.faults import DroppedError
from sandbox.chapa.outbox import Courier
from sandbox.chapa.simulator import Simulator

HOST = "127.0.0.1"
POLL_SECONDS = 0.02
RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Handler(WSGIRequestHandler):
    """One request for each connection, so that none outlives a refusal or the end."""

    protocol_version = "HTTP/1.0"

    def connection_dropped(self, error: BaseException, environ: Any = None) -> None:  # noqa: ARG002
        """End the connection as the fault says; an orderly shutdown would come before a reset."""
        if isinstance(error, DroppedError) and error.reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            os.close(self.connection.detach())

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """The journal has it."""


class Server:
    """Listens from the moment it is made; raises OSError when the port is taken."""

    def __init__(self, simulator: Simulator, port: int = 0) -> None:
        self._simulator = simulator
        self._app = create_app(simulator)
        self._courier = Courier(simulator.outbox)
        self._listener = self._listen(port)
        self.port = self._listener.port
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._closed_for = 0.0
        self._thread = threading.Thread(target=self._serve, name="listener", daemon=True)
        simulator.refuse = self._refuse

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    def start(self) -> None:
        self._thread.start()
        self._courier.start()

    def stop(self) -> None:
        """Let go of held connections, stop listening, send nothing more."""
        with self._lock:
            self._simulator.stopping.set()
        self._simulator.let_go()
        self._listener.shutdown()
        self._thread.join()
        self._courier.stop()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _listen(self, port: int) -> BaseWSGIServer:
        # make_server would end the program if the port were taken.
        with socket.socket() as taken:
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            taken.bind((HOST, port))
            taken.listen(128)
            return make_server(
                HOST, port, self._app, threaded=True, request_handler=Handler, fd=taken.fileno()
            )

    def _serve(self) -> None:
        while True:
            self._listener.serve_forever(POLL_SECONDS)
            self._closed.set()
            self._simulator.stopping.wait(self._closed_for)
            # Under the lock, so that `stop` cannot shut down the old listener and miss the new one.
            with self._lock:
                if self._simulator.stopping.is_set():
                    return
                self._closed.clear()
                self._listener = self._listen(self.port)

    def _refuse(self, seconds: float) -> None:
        """Returns when nothing listens any more; whoever asked is still answered."""
        self._closed_for = seconds
        self._listener.shutdown()
        self._closed.wait()
