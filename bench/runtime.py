"""The runtime API of Lambda on loopback: one process, one event, and when its answer came.

The function runs in AWS's own runtime client (`awslambdaric`, PyPI). The API is that of
docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html.
"""

import json
import os
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, override

ARN = "arn:aws:lambda:us-east-1:123456789012:function:bench"
SECONDS = 60


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
        self.send_header("Lambda-Runtime-Trace-Id", "Root=1-5-6;Parent=7;Sampled=0")
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
    variables = dict(environment) | {
        "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{api.server_address[1]}",
        "AWS_LAMBDA_FUNCTION_NAME": "bench",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
        "LAMBDA_TASK_ROOT": str(task),
        "PYTHONPATH": os.pathsep.join(map(str, path)),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PATH": os.environ["PATH"],
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
