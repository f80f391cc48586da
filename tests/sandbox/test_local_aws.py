"""The local AWS gives each invocation its whole log, and unpacks the same archive once."""

import subprocess
from pathlib import Path

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


UNPACK = """
import io, os, runpy, sys, tempfile, zipfile

tempfile.tempdir = sys.argv[1]
runpy.run_path("sandbox/local_aws.py")["unpack_once"]()
for number, content in enumerate(["same", "same", "other"]):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as writing:
        writing.writestr("python/main.py", content)
    folder = f"{sys.argv[1]}/{number}"
    if number:
        os.mkdir(folder)
    zipfile.ZipFile(archive).extractall(folder)
"""


def run(program: str, *arguments: str) -> list[str]:
    done = subprocess.run(
        [str(MINISTACK), "-P", "-c", program, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


def test_each_invocation_has_its_whole_log() -> None:
    assert run(INVOKE) == ["['1', '2', '3']", "[]", "['4']"]


def test_same_archive_is_unpacked_once(tmp_path: Path) -> None:
    run(UNPACK, str(tmp_path))
    files = [tmp_path / str(number) / "python" / "main.py" for number in range(3)]
    assert [file.read_text() for file in files] == ["same", "same", "other"]
    assert files[0].samefile(files[1])
