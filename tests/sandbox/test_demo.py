"""The demo: every line of it is checked, and one that does not hold cannot be overlooked."""

import io
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from sandbox import demo
from sandbox.client import Client
from sandbox.demo import STORIES, Later, Teller, tell
from sandbox.stack import ROOT, Description, StackError

COMMAND = [sys.executable, "-m", "sandbox.demo"]
ENVIRONMENT = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], "PYTHONPATH": "shared"}


def processes_of(directory: str) -> list[str]:
    """Command lines of programs that work in a state directory."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if directory.encode() in path.read_bytes():
                found.append(path.with_name("cmdline").read_text())
        except OSError:
            continue
    return found


def test_every_line_of_the_demo_holds_and_nothing_is_left(tmp_path: Path) -> None:
    done = subprocess.run(
        [*COMMAND, f"--state={tmp_path}"],
        cwd=ROOT,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert all(str(story.__doc__) in done.stdout for story in STORIES)
    assert "NOT SO" not in done.stdout
    assert "\x1b" not in done.stdout
    assert done.stdout.count("\n  ok: ") > 20
    assert processes_of(str(tmp_path)) == []
    assert list(tmp_path.iterdir()) == []


def test_a_demo_that_is_interrupted_leaves_nothing(tmp_path: Path) -> None:
    with subprocess.Popen(
        [*COMMAND, f"--state={tmp_path}"],
        cwd=ROOT,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        text=True,
    ) as program:
        assert program.stdout
        for line in program.stdout:
            if "Deployed" in line:
                break
        assert processes_of(str(tmp_path)) != []
        program.send_signal(signal.SIGINT)
        program.stdout.read()
    assert program.returncode == 130
    assert processes_of(str(tmp_path)) == []
    assert list(tmp_path.iterdir()) == []


class Told:
    """A teller whose words can be read."""

    def __init__(self) -> None:
        self.out = io.StringIO()
        self.teller = Teller(Console(file=self.out, highlight=False, width=200))

    def tell(self, *stories: Callable[[Client, Teller], Later | None]) -> str:
        tell(None, self.teller, stories)  # type: ignore[arg-type]
        self.teller.console.print(self.teller.table())
        return self.out.getvalue()


def good(_: Client, teller: Teller) -> None:
    """All is well"""
    teller.check("water is wet", True, "Water is wet")


def broken(_: Client, teller: Teller) -> None:
    """A promise is broken"""
    teller.check("two is two", True, "Two is two")
    teller.check("two is three", False, "Two is three", {"two": 2})
    teller.check("never told", True, "Never told")


def crashing(_: Client, teller: Teller) -> None:
    """A story ends early"""
    raise ValueError("no such thing")


def in_two_parts(_: Client, teller: Teller) -> Later:
    """A story takes its time"""
    teller.check("it begins", True, "It begins")
    return lambda: teller.check("it ends", True, "It ends")


def test_a_line_that_does_not_hold_is_shown_and_ends_its_story_only() -> None:
    told = Told()
    words = told.tell(broken, good)
    assert "NOT SO: Two is three\n    but: {'two': 2}" in words
    assert "Never told" not in words
    assert "ok: Water is wet" in words
    assert "NO: two is three" in words
    assert not told.teller.all_held


def test_a_story_that_crashes_has_not_held() -> None:
    told = Told()
    words = told.tell(good, crashing)
    assert "NOT SO: ValueError: no such thing" in words
    assert not told.teller.all_held


def test_a_story_that_checks_nothing_has_not_held() -> None:
    def empty(_: Client, teller: Teller) -> None:
        """Nothing"""

    told = Told()
    told.tell(empty)
    assert not told.teller.all_held
    assert not Told().teller.all_held


def test_a_story_s_second_part_is_told_after_the_others() -> None:
    told = Told()
    words = told.tell(in_two_parts, good)
    assert words.index("It begins") < words.index("Water is wet") < words.index("It ends")
    assert told.teller.all_held


@pytest.mark.parametrize(("story", "code"), [(good, 0), (broken, 1), (crashing, 1)])
def test_the_exit_code_says_whether_every_line_held(
    story: Callable[[Client, Teller], None],
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def run(teller: Teller, state_dir: Path) -> None:
        tell(None, teller, (story,))  # type: ignore[arg-type]

    monkeypatch.setattr(demo, "run", run)
    monkeypatch.setattr(sys, "argv", ["demo", f"--state={tmp_path}"])
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    assert demo.main() == code
    told = capsys.readouterr().out
    assert ("lines held, in" in told) == (code == 0)
    # The logs of a demo that failed are kept.
    assert len(list(tmp_path.iterdir())) == code


def test_a_stack_that_does_not_start_is_said_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(teller: Teller, state_dir: Path) -> Description:
        raise StackError("MiniStack is not set up; run `make setup`.")

    monkeypatch.setattr(demo, "run", run)
    monkeypatch.setattr(sys, "argv", ["demo", f"--state={tmp_path}"])
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    assert demo.main() == 1
    assert capsys.readouterr().err == "MiniStack is not set up; run `make setup`.\n"
