"""Lambda can import what `sam build` makes, with nothing else of this machine."""

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from sandbox.stack import FUNCTIONS, build
from tests.environment import PROCESS, PUBLISHER, SETTINGS

RUNTIME = ("boto3", "botocore", "s3transfer", "jmespath", "dateutil", "six", "urllib3")
"""Packages of Lambda's Python runtime."""

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
        origin = Path(str(importlib.import_module(name).__file__))
        found = origin.parent if origin.name == "__init__.py" else origin
        (directory / found.name).symlink_to(found)
    return directory


@pytest.mark.parametrize("function", FUNCTIONS)
def test_lambda_can_import_the_function(function: str, built: Path, runtime: Path) -> None:
    code, layer = built / f"{function.capitalize()}Function", built / "SharedLayer" / "python"
    path = [str(code), str(layer), str(runtime)]
    done = subprocess.run(
        # -S: without this machine's packages; -I: without its settings.
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


def test_layer_holds_exactly_its_requirements(built: Path) -> None:
    layer = built / "SharedLayer" / "python"
    pinned = re.findall(r"^([\w.-]+)==", (layer / "requirements.txt").read_text(), re.MULTILINE)
    wanted = {name.replace("-", "_").lower() for name in pinned}
    assert {path.name.split("-")[0].lower() for path in layer.glob("*.dist-info")} == wanted


def test_layer_holds_the_compiled_packages_of_both_processors(built: Path) -> None:
    names = [path.name for path in (built / "SharedLayer").rglob("*.so")]
    both = [{name for name in names if f"-{machine}-" in name} for machine in ("x86_64", "aarch64")]
    assert sum(map(len, both)) == len(names)
    assert {name.replace("x86_64", "aarch64") for name in both[0]} == both[1] != set()


def test_layer_holds_byte_code_that_python_does_not_check(built: Path) -> None:
    layer = built / "SharedLayer" / "python"
    for source in (path for path in layer.rglob("*.py") if "__pycache__" not in path.parts):
        code = source.parent / "__pycache__" / f"{source.stem}.cpython-313.pyc"
        magic, flags = code.read_bytes()[:4], code.read_bytes()[4:8]
        assert magic == importlib.util.MAGIC_NUMBER, source
        # A hash of the source, unchecked: https://peps.python.org/pep-0552/
        assert flags == b"\x01\0\0\0", source


def test_layer_is_smaller_than_30_mb(built: Path) -> None:
    """Lambda allows 250 MB, but what is smaller starts sooner."""
    files = (built / "SharedLayer").rglob("*")
    assert sum(file.stat().st_size for file in files if file.is_file()) < 30_000_000


@pytest.mark.parametrize("function", FUNCTIONS)
def test_function_is_one_file(function: str, built: Path) -> None:
    files = (built / f"{function.capitalize()}Function").iterdir()
    assert [path.name for path in files if path.name != "__pycache__"] == ["app.py"]
