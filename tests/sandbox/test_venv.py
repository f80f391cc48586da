"""`sandbox/venv.sh` makes virtual environments with uv and whatever Python 3.13 it finds."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sandbox.stack import ROOT


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A PATH with what the script calls, a python3.13 that fails as a shim does, and no uv."""
    directory = tmp_path / "bin"
    directory.mkdir()
    for name in ("bash", "env", "dirname", "cat", "mkdir", "rm", "flock"):
        if found := shutil.which(name):
            (directory / name).symlink_to(found)
    script(directory / "python3.13", "echo 'not installed' >&2; exit 127")
    return directory


def script(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def project(directory: Path) -> Path:
    """A copy of the script in a project of its own, so that it finds nothing of this one."""
    (directory / "sandbox").mkdir()
    shutil.copy(ROOT / "sandbox" / "venv.sh", directory / "sandbox")
    (directory / "requirements.txt").write_text("-r few.txt\n")
    (directory / "few.txt").write_text("# nothing\n")
    return directory


def set_up(project: Path, path: Path, *pairs: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [project / "sandbox" / "venv.sh", *(pairs or ("venv", "few.txt"))],
        env={"PATH": str(path), "VIRTUAL_ENV": "/nowhere", "PYTHONPATH": "/nowhere"},
        capture_output=True,
        text=True,
        check=False,
    )


def uv(path: Path, *, python: str = "exit 1") -> None:
    """A uv that makes an environment of this Python, installs nothing and finds what it is told."""
    script(
        path / "uv",
        f"""case "$1 $2" in
            --version*) ;;
            "venv -q") mkdir -p "$5/bin" && ln -s {sys.executable} "$5/bin/python" ;;
            "pip install") ;;
            "python find") {python} ;;
            *) exit 1 ;;
        esac""",
    )
    (path / "ln").symlink_to(str(shutil.which("ln")))


def test_without_uv_and_python_one_sentence_says_what_to_install(
    path: Path, tmp_path: Path
) -> None:
    done = set_up(project(tmp_path), path)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("The set-up needs uv: install it, or Python 3.9")
    assert not (tmp_path / "venv").exists()


def test_missing_python_313_is_said_in_one_sentence(path: Path, tmp_path: Path) -> None:
    uv(path)
    done = set_up(project(tmp_path), path)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("Python 3.13 is needed")
    assert not (tmp_path / "venv").exists()


def test_environments_are_made_once_and_again_after_an_interruption(
    path: Path, tmp_path: Path
) -> None:
    uv(path, python=f"echo {sys.executable}")
    pairs = ("venv", "few.txt", "other/venv", "few.txt")
    directory = project(tmp_path)
    first = set_up(directory, path, *pairs)
    assert (first.returncode, first.stdout) == (0, ""), first.stderr
    assert first.stderr.count("Installed few.txt in ") == 2
    again = set_up(directory, path, *pairs)
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")
    # An interrupted set-up leaves a python, but not what the environment is made of.
    (tmp_path / "venv" / ".made-of").unlink()
    assert set_up(directory, path, *pairs).stderr.count("Installed ") == 1
    # A change in a file that is named by -r counts.
    set_up(directory, path, "venv", "requirements.txt")
    (directory / "few.txt").write_text("# still nothing\n")
    assert (
        "Installed requirements.txt" in set_up(directory, path, "venv", "requirements.txt").stderr
    )


def test_environment_with_more_packages_is_left_alone(path: Path, tmp_path: Path) -> None:
    uv(path, python=f"echo {sys.executable}")
    directory = project(tmp_path)
    set_up(directory, path, "venv", "requirements.txt")
    assert set_up(directory, path, "venv", "few.txt").stderr == ""


def test_failed_installation_shows_what_uv_says(path: Path, tmp_path: Path) -> None:
    uv(path, python=f"echo {sys.executable}")
    script(path / "uv", f'[ "$1" = pip ] && echo no network >&2 && exit 1; echo {sys.executable}')
    done = set_up(project(tmp_path), path)
    assert done.returncode == 1
    assert "no network\nCould not install few.txt" in done.stderr
    assert not (tmp_path / "venv" / ".made-of").exists()
