"""Calls a handler of Lambda again and again, in a process that has nothing else in it.

`python -S -P driver.py MODULE.HANDLER`. Each line of standard input is an event and how often the
handler gets it; each line of standard output is what came of it. What the function prints is
dropped, as Lambda takes it away. Imports only the standard library.
"""

import json
import os
import sys
import time
from importlib import import_module

SECONDS = 27
"""The timeout of the functions in template.yaml."""


class Context:
    function_name = "bench"
    memory_limit_in_mb = 512
    invoked_function_arn = "arn:aws:lambda:us-east-1:123456789012:function:bench"
    aws_request_id = "1"

    def __init__(self) -> None:
        self._ends = time.monotonic() + SECONDS

    def get_remaining_time_in_millis(self) -> int:
        return int((self._ends - time.monotonic()) * 1000)


def memory_kb() -> int:
    with open("/proc/self/statm") as file:  # noqa: PTH123 - pathlib would be one import more
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024


def main() -> None:
    results = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    module, _, name = sys.argv[1].rpartition(".")
    handler = getattr(import_module(module), name)
    for line in sys.stdin:
        asked = json.loads(line)
        began = time.process_time()
        for _ in range(asked["times"]):
            answer = handler(asked["event"], Context())
        cpu_ms = (time.process_time() - began) * 1000 / asked["times"]
        found = {"answer": answer, "cpu_ms": cpu_ms, "memory_kb": memory_kb()}
        print(json.dumps(found), file=results, flush=True)


main()
