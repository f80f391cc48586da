"""The end of a function's log belongs to its own invocation, however slowly the log is read."""

import subprocess

from sandbox.stack import MINISTACK, ROOT

INVOKE = """
import io, runpy, time, zipfile
from ministack.core.lambda_runtime import Worker

runpy.run_path("sandbox/local_aws.py")["complete_logs"]()


def read_slowly(worker):
    for line in worker._proc.stderr:
        time.sleep(0.05)
        worker._stderr_queue.put(line.rstrip("\\n"))


Worker._read_stderr = read_slowly
code = io.BytesIO()
with zipfile.ZipFile(code, "w") as archive:
    archive.writestr("main.py", "def handler(event, _):\\n for n in event: print(n)\\n")
config = {
    "FunctionName": "f",
    "FunctionArn": "arn:aws:lambda:eu-central-1:000000000000:function:f",
    "Runtime": "python3.13",
    "Handler": "main.handler",
    "Timeout": 30,
}
worker = Worker("f", config, code.getvalue())
try:
    for event in ([1, 2, 3], [], [4]):
        print(worker.invoke(event, "request")["log"].split())
finally:
    worker.kill()
"""


def test_each_invocation_has_its_whole_log() -> None:
    done = subprocess.run(
        [str(MINISTACK), "-P", "-c", INVOKE],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == ["['1', '2', '3']", "[]", "['4']"]
