"""What `sam build` makes is what Lambda can import: nothing is borrowed from this machine."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from sandbox.stack import FUNCTIONS, build
from tests.environment import PROCESS, PUBLISHER, SETTINGS

RUNTIME = ("boto3", "botocore", "s3transfer", "jmespath", "dateutil", "six", "urllib3")
"""What Lambda's Python brings along beside the standard library."""

IMPORT = """
import json, sys
sys.path[:0] = json.loads(sys.argv[1])
import app
assert callable(app.handler)
print(json.dumps(sorted(m.__file__ for m in sys.modules.values() if getattr(m, "__file__", None))))
"""


@pytest.fixture(scope="module")
def built() -> Path:
    return build().parent


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("runtime")
    for name in RUNTIME:
        spec = importlib.util.find_spec(name)
        assert spec
        assert spec.origin
        origin = Path(spec.origin)
        found = origin.parent if origin.name == "__init__.py" else origin
        (directory / found.name).symlink_to(found)
    return directory


@pytest.mark.parametrize("function", FUNCTIONS)
def test_lambda_can_import_the_function(function: str, built: Path, runtime: Path) -> None:
    code, layer = built / f"{function.capitalize()}Function", built / "SharedLayer" / "python"
    path = [str(directory) for directory in (code, layer, runtime)]
    done = subprocess.run(
        # Neither this machine's packages (-S) nor its settings (-I) take part.
        [sys.executable, "-I", "-S", "-B", "-c", IMPORT, json.dumps(path)],
        env=SETTINGS | PROCESS | (PUBLISHER if function == "publish" else {}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    ours = [f for f in json.loads(done.stdout) if "/payments/" in f or f.endswith("/app.py")]
    assert ours
    assert all(file.startswith(str(built)) for file in ours)


def test_the_layer_brings_what_it_is_said_to_bring_and_no_more(built: Path) -> None:
    layer = built / "SharedLayer" / "python"
    wanted = {
        line.split("==")[0].replace("-", "_").lower()
        for line in (layer / "requirements.txt").read_text().splitlines()
        if line and not line.startswith("#")
    }
    brought = {path.name.split("-")[0].lower() for path in layer.glob("*.dist-info")}
    assert brought == wanted


def test_the_layer_leaves_room(built: Path) -> None:
    """Lambda takes 250 MB of function and layers together; loading less starts sooner."""
    files = (built / "SharedLayer").rglob("*")
    assert sum(file.stat().st_size for file in files if file.is_file()) < 30_000_000


def test_a_function_is_one_file(built: Path) -> None:
    for function in FUNCTIONS:
        directory = built / f"{function.capitalize()}Function"
        assert [path.name for path in directory.iterdir() if path.name != "__pycache__"] == [
            "app.py"
        ]
