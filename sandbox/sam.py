"""Builds and deploys template.yaml with the SAM CLI, and none of the user's own settings."""

import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from sandbox.aws import CREDENTIALS, HOST

ROOT = Path(__file__).parents[1]
STATE = ROOT / ".sandbox"
BUILDS = STATE / "build"

COMMAND_SECONDS = 300
KEPT_BUILDS = 3
LAYER = "SharedLayer"
HASH_DIGITS = 16
"""Of a build's name."""


class StackError(Exception):
    """What went wrong, in one sentence for the person at the keyboard."""


def build(say: Callable[[str], None] = lambda _: None) -> Path:
    """Build with the SAM CLI unless these very sources were built before. Returns the template.

    All stacks share the builds: each is named after the hash of its sources.
    """
    BUILDS.mkdir(parents=True, exist_ok=True)
    with FileLock(BUILDS / "lock"):
        done = BUILDS / _hash_of_sources()
        built = done / "template.json"
        if built.exists():
            os.utime(done)
            return built
        unfinished = BUILDS / "unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        arguments = ["--template-file", str(ROOT / "template.yaml")]
        arguments += ["--build-dir", str(unfinished), "--cache-dir", str(BUILDS / "cache")]
        arguments += ["--parameter-overrides", f"Architecture={architecture()}"]
        with step(say, "Building the functions and their layer with the SAM CLI", "Built"):
            sam("build", arguments, BUILDS / "build.log")
        # Only here: it takes half a second, and most calls find a build.
        from samcli.yamlhelper import yaml_parse  # noqa: PLC0415

        # What each `sam deploy` would do again: it parses the template several times, which takes
        # seconds with YAML, and zips the layer.
        template = yaml_parse((unfinished / "template.yaml").read_text())
        layer = shutil.make_archive(str(unfinished / LAYER), "zip", unfinished / LAYER)
        template["Resources"][LAYER]["Properties"]["ContentUri"] = Path(layer).name
        (unfinished / built.name).write_text(json.dumps(template))
        unfinished.rename(done)
        builds = BUILDS.glob("[0-9a-f]" * HASH_DIGITS)
        for old in sorted(builds, key=lambda path: path.stat().st_mtime)[:-KEPT_BUILDS]:
            shutil.rmtree(old)
        return built


def sam(
    command: str, arguments: list[str], log: Path, environment: Mapping[str, str] | None = None
) -> None:
    """Run the SAM CLI with made-up credentials and none of the user's settings."""
    settings = ["--config-file", str(ROOT / "samconfig.toml"), "--config-env", "local"]
    python = Path(sys.executable)
    with log.open("w") as output:
        done = subprocess.run(
            [sys.executable, "-m", "samcli", command, *settings, *arguments],
            cwd=BUILDS,  # it keeps there what it remembers of earlier builds
            env={
                # pip, which it calls, may need all that this machine says about the network.
                **{k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "PYTHON"))},
                **CREDENTIALS,
                # It looks for a python3.13 with pip there, which may be nowhere else.
                "PATH": f"{python.parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
                "AWS_CONFIG_FILE": os.devnull,
                "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
                "NO_PROXY": HOST,
                "no_proxy": HOST,
                "SAM_CLI_TELEMETRY": "0",
                "SAM_CLI_ENABLE_LANGUAGE_EXTENSIONS": "1",
                "__SAM_CLI_APP_DIR": str(BUILDS),  # not the user's home
                **(environment or {}),
            },
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            timeout=COMMAND_SECONDS,
            check=False,
        )
    if done.returncode:
        raise StackError(f"sam {command} failed: {last_words(log)} (see {log})")


def _hash_of_sources() -> str:
    digest = hashlib.sha256(architecture().encode())
    settings = ("template.yaml", "samconfig.toml", "sandbox/requirements.txt", "sandbox/sam.py")
    paths = [ROOT / name for name in settings]
    for directory in ("functions", "shared"):
        found = (ROOT / directory).rglob("*")
        paths += sorted(p for p in found if p.is_file() and p.parent.name != "__pycache__")
    for path in paths:
        content = path.read_bytes()
        digest.update(f"{path.relative_to(ROOT)} {len(content)} ".encode() + content)
    return digest.hexdigest()[:HASH_DIGITS]


def template_parameters() -> set[str]:
    """Names of the template's parameters."""
    template = (ROOT / "template.yaml").read_text()
    section = re.search(r"^Parameters:\n(.*?)(?=^\w|\Z)", template, re.MULTILINE | re.DOTALL)
    return set(re.findall(r"^  (\w+):", section[1], re.MULTILINE)) if section else set()


def architecture() -> str:
    return "arm64" if platform.machine() in ("aarch64", "arm64") else "x86_64"


@contextmanager
def step(say: Callable[[str], None], begins: str, done: str) -> Iterator[None]:
    say(f"{begins} ...")
    started = time.monotonic()
    yield
    say(f"{done} in {time.monotonic() - started:.1f} s.")


def last_words(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("Error")]
    return (errors or lines or ["it wrote nothing"])[-1]
