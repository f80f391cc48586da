"""The runtime API of Lambda on loopback: one process, one event, and when its answer came.

The function runs in AWS's own runtime client (`awslambdaric`, PyPI). The API is that of
docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html.
"""

import json
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple, override

ARN = "arn:aws:lambda:us-east-1:123456789012:function:bench"
SECONDS = 60
TRACE = "Root=1-5-6;Parent=7;Sampled=0"
DRIVER = Path(__file__).parent / "driver.py"


@dataclass(frozen=True)
class Start:
    wall_ms: float
    """From the start of the process to its first answer."""
    cpu_ms: float
    """Processor time of the process until it was ended, just after its first answer."""
    answer: Any


class _Api(ThreadingHTTPServer):
    daemon_threads = True

    @override
    def handle_error(self, *_: object) -> None:
        """The process is ended while it waits for its second event."""

    def __init__(self, event: Mapping[str, Any]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.event = json.dumps(event).encode()
        self.asked = False
        self.done = threading.Event()
        self.at = 0.0
        self.answer = b""
        self.failed = False


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Api

    def do_GET(self) -> None:
        if self.server.asked:
            self.server.done.wait(SECONDS)
            time.sleep(SECONDS)  # There is no second event.
            return
        self.server.asked = True
        self.send_response(200)
        self.send_header("Lambda-Runtime-Aws-Request-Id", "1")
        deadline = int((time.time() + 29) * 1000)
        self.send_header("Lambda-Runtime-Deadline-Ms", str(deadline))
        self.send_header("Lambda-Runtime-Invoked-Function-Arn", ARN)
        self.send_header("Lambda-Runtime-Trace-Id", TRACE)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(self.server.event)))
        self.end_headers()
        self.wfile.write(self.server.event)

    def do_POST(self) -> None:
        self.server.at = time.perf_counter()
        self.server.answer = self.rfile.read(int(self.headers.get("content-length", 0)))
        self.server.failed = not self.path.endswith("/response")
        self.send_response(202)
        self.send_header("content-length", "0")
        self.end_headers()
        self.server.done.set()

    @override
    def log_message(self, *_: object) -> None:
        pass


def _variables(task: Path, path: Sequence[Path], environment: Mapping[str, str]) -> dict[str, str]:
    return dict(environment) | {
        "AWS_LAMBDA_FUNCTION_NAME": "bench",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
        "LAMBDA_TASK_ROOT": str(task),
        "PYTHONPATH": os.pathsep.join(map(str, path)),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PATH": os.environ["PATH"],
    }


class Called(NamedTuple):
    answer: Any
    cpu_ms: float
    """Processor time of one call, the mean of all."""
    memory_kb: int
    """Resident memory of the process after the last call."""


type Call = Callable[..., Called]
"""Of an event and the number of times: 1 if none is given."""


@contextmanager
def warm(
    python: str, task: Path, handler: str, path: Sequence[Path], environment: Mapping[str, str]
) -> Iterator[Call]:
    """A process that has imported a function and waits for events; see `bench/driver.py`."""
    variables = _variables(task, [task, *path], environment)
    variables["_X_AMZN_TRACE_ID"] = TRACE
    process = subprocess.Popen(
        [python, "-S", "-P", DRIVER, handler],
        cwd=task,
        env=variables,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    events, results = process.stdin, process.stdout

    def call(event: Mapping[str, Any], times: int = 1) -> Called:
        print(json.dumps({"event": event, "times": times}), file=events, flush=True)
        if line := results.readline():
            return Called(**json.loads(line))
        raise RuntimeError(f"{handler} ended")

    try:
        yield call
    finally:
        events.close()
        process.wait()
        results.close()


def start(
    python: str,
    task: Path,
    handler: str,
    path: Sequence[Path],
    environment: Mapping[str, str],
    event: Mapping[str, Any],
) -> Start:
    """Start a function in a new process and let it answer one event. Raises when it fails."""
    api = _Api(event)
    threading.Thread(target=api.serve_forever, daemon=True).start()
    variables = _variables(task, path, environment) | {
        "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{api.server_address[1]}"
    }
    began = time.perf_counter()
    # Without `site`: nothing that this machine's Python has installed is on the path.
    process = subprocess.Popen(
        [python, "-S", "-m", "awslambdaric", handler],
        cwd=task,
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    answered = api.done.wait(SECONDS)
    process.kill()
    assert process.stdout is not None
    said = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = status
    api.shutdown()
    api.server_close()
    if not answered or api.failed:
        raise RuntimeError(f"{handler} failed: {api.answer!r}\n{said.decode()}")
    cpu = (usage.ru_utime + usage.ru_stime) * 1000
    return Start((api.at - began) * 1000, cpu, json.loads(api.answer))
