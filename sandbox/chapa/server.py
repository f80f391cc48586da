"""The simulator on a TCP port, with threads that deliver its webhooks."""

import os
import socket
import struct
import threading
from types import TracebackType
from typing import Any, Self

from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

from sandbox.chapa.app import create_app
from sandbox.chapa.faults import DroppedError
from sandbox.chapa.outbox import DeliveryThreads
from sandbox.chapa.simulator import Simulator

HOST = "127.0.0.1"
POLL_SECONDS = 0.02
RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Handler(WSGIRequestHandler):
    """One request per connection, so that no connection outlives `refuse` or `stop`."""

    protocol_version = "HTTP/1.0"

    def connection_dropped(self, error: BaseException, environ: Any = None) -> None:  # noqa: ARG002
        """Close with a TCP reset if the fault says so; an orderly shutdown would come first."""
        if isinstance(error, DroppedError) and error.reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            os.close(self.connection.detach())

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Nothing: the journal has the request."""


class Server:
    """Listens from construction on; raises OSError when the port is taken."""

    def __init__(self, simulator: Simulator, port: int = 0) -> None:
        self._simulator = simulator
        self._app = create_app(simulator)
        self._deliveries = DeliveryThreads(simulator.outbox)
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
        self._deliveries.start()

    def stop(self) -> None:
        """Release held connections, stop listening, send nothing more."""
        with self._lock:
            self._simulator.stopping.set()
        self._simulator.release_held()
        self._listener.shutdown()
        self._thread.join()
        self._deliveries.stop()

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
        # make_server ends the program when the port is taken.
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
        """Returns when nothing listens; the current request still gets its response."""
        self._closed_for = seconds
        self._listener.shutdown()
        self._closed.wait()
