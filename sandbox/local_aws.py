"""Starts MiniStack, the local AWS, and makes sure that the log of each invocation is complete.

MiniStack by itself stops reading the log when the function has printed nothing for five
milliseconds. On a busy machine the last lines, which include the metrics, then appear only with the
next invocation, or never. Here each invocation prints a mark at its end, and the log is read up to
the mark.

Runs with MiniStack's own Python.
"""

import queue
import time

from ministack.app import main
from ministack.core import lambda_runtime

LOG_END = "--- end of the invocation's log ---"
PATIENCE = 5
"""Seconds to wait for a mark. A process that was killed prints none."""

ANSWER = "        _real_stdout.flush()\n\nrun()"
"""The last lines of MiniStack's program that runs a Python function: they send its answer."""


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
