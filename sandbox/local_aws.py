"""Starts MiniStack, the local AWS, with one fault mended: it loses the ends of functions' logs.

MiniStack takes the log of an invocation as complete when the function's process has printed nothing
for five milliseconds. On a busy machine the last lines, among them the metrics, then appear only
with the next invocation, or never. Here the process prints a mark at the end of each invocation.

Runs with MiniStack's own Python.
"""

import queue
import time

from ministack.app import main
from ministack.core import lambda_runtime

LOG_END = "--- end of the invocation's log ---"
PATIENCE = 5
"""Seconds; for a process that ended without the mark."""

ANSWER = "        _real_stdout.flush()\n\nrun()"
"""Of the program that runs a Python function: the last lines, which send the function's answer."""


def complete_logs() -> None:
    program = lambda_runtime._PYTHON_WORKER_SCRIPT
    if program.count(ANSWER) != 1:
        raise SystemExit("This version of MiniStack runs functions another way; see local_aws.py.")
    mark = f"        print({LOG_END!r}, file=sys.stderr, flush=True)\n"
    lambda_runtime._PYTHON_WORKER_SCRIPT = program.replace(ANSWER, mark + ANSWER)
    lambda_runtime.Worker._drain_stderr_bounded = _read_to_the_end


def _read_to_the_end(worker: lambda_runtime.Worker) -> str:
    lines: list[str] = []
    deadline = time.monotonic() + PATIENCE
    while (left := deadline - time.monotonic()) > 0:
        try:
            line = worker._stderr_queue.get(timeout=left)
        except queue.Empty:
            break
        if line == LOG_END:
            break
        lines.append(line)
    return "\n".join(lines)


if __name__ == "__main__":
    complete_logs()
    main()
