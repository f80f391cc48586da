"""Starts MiniStack, the local AWS, with complete logs and quicker cold starts of functions.

MiniStack by itself stops reading the log when the function has printed nothing for five
milliseconds. On a busy machine the last lines, which include the metrics, then appear only with the
next invocation, or never. Here each invocation prints a mark at its end, and the log is read up to
the mark.

Each process that runs functions has the layer. It is unpacked once, and linked after that.

Runs with MiniStack's own Python.
"""

import os
import queue
import shutil
import tempfile
import threading
import time
from zipfile import ZipFile

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


def unpack_once() -> None:
    """An archive that was unpacked before is linked, file by file. Nothing writes to the files."""
    unpack, lock = ZipFile.extractall, threading.Lock()
    unpacked: dict[tuple[tuple[str, int], ...], str] = {}

    def extractall(archive: ZipFile, path: str) -> None:
        content = tuple((each.filename, each.CRC) for each in archive.infolist())
        with lock:
            if content not in unpacked:
                first = tempfile.mkdtemp(prefix="unpacked-")
                unpack(archive, first)
                unpacked[content] = first
        shutil.copytree(unpacked[content], path, copy_function=os.link, dirs_exist_ok=True)

    ZipFile.extractall = extractall  # type: ignore[assignment,method-assign]


if __name__ == "__main__":
    complete_logs()
    unpack_once()
    main()
