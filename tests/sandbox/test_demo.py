"""The demo checks every line that it prints, and a false line fails the run."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from sandbox import demo
from sandbox.client import Client
from sandbox.demo import SCENARIOS, Report, Scenario, play
from sandbox.stack import ROOT, StackError
from tests.depth import depth

# A child inherits which signals its parent ignores or blocks; background jobs ignore SIGINT.
RUN = """
import runpy, signal
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.pthread_sigmask(signal.SIG_SETMASK, [])
runpy.run_module("sandbox.demo", run_name="__main__", alter_sys=True)
"""


def start(state: Path, provider: str = "") -> subprocess.Popen[str]:
    command = [sys.executable, "-c", RUN, f"--state={state}", f"--svg={state}.svg"]
    env = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], "PYTHONPATH": "shared"}
    env["PROVIDER"] = provider
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, env=env, stdout=pipe, stderr=pipe, text=True)


def processes_of(directory: Path) -> list[str]:
    """The ids of the processes that have the directory in their environment."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            found += [path.parent.name] * (os.fsencode(directory) in path.read_bytes())
    return found


# What differs with v2 is also played by a journey.
@pytest.mark.parametrize("provider", depth([""], ["", "v2"]))
def test_demo_passes_every_check_and_leaves_nothing(tmp_path: Path, provider: str) -> None:
    state = tmp_path / "state"
    with start(state, provider) as program:
        out, err = program.communicate()
    assert (program.returncode, err) == (0, ""), out + err
    places = [out.index(f"\n{each.__doc__}\n") for each in SCENARIOS]
    assert places == sorted(places)
    assert [text for text in ("FAILED", "\x1b") if text in out] == []
    assert out.count("\n  ✓ ") > 20
    assert [*processes_of(state), *state.iterdir()] == []
    picture = Path(f"{state}.svg").read_text()
    assert "duplicate&#160;webhook&#160;ignored" in picture
    assert "url(http" not in picture


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_demo_leaves_nothing(tmp_path: Path, number: int, code: int) -> None:
    state = tmp_path / "state"
    with start(state) as program:
        assert program.stdout
        # Printed when the local AWS and the simulator answer.
        assert any("Deploying" in line for line in program.stdout)
        assert processes_of(state) != []
        program.send_signal(number)
        program.communicate()
    assert program.returncode == code
    assert [*processes_of(state), *state.iterdir()] == []


def checks(*facts: bool | Exception) -> Scenario:
    def scenario(_: Client, report: Report) -> None:
        for number, fact in enumerate(facts):
            if isinstance(fact, Exception):
                raise fact
            report.check(f"check {number}", fact, f"Line {number}", {"seen": fact})

    scenario.__doc__ = f"Scenario {facts}"
    return scenario


@pytest.mark.parametrize(
    ("scenarios", "code", "expected"),
    [
        ([checks(True)], 0, "✓ Line 0\n"),
        ([checks(False, True)], 1, "FAILED: Line 0\n    but: {'seen': False}\n"),
        ([checks(False), checks(True)], 1, "✓ Line 0\n"),
        ([checks(False), checks(True)], 1, "FAILED: check 0 "),
        ([checks(True, ValueError("no"))], 1, "✓ Line 0\n  FAILED: ValueError: no\n"),
        ([checks()], 1, "Not every check passed"),
        ([], 1, ""),
    ],
)
def test_exit_code_is_0_only_if_every_scenario_has_true_lines_only(
    scenarios: list[Scenario],
    code: int,
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def run(report: Report, _: Path, __: str) -> None:
        if not scenarios:
            assert not report.passed
            raise StackError("The local AWS did not start.")
        play(None, report, tuple(scenarios))  # type: ignore[arg-type]

    monkeypatch.setattr(demo, "run", run)
    monkeypatch.setattr(sys, "argv", ["demo", f"--state={tmp_path}"])
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    assert demo.main() == code
    out, err = capsys.readouterr()
    assert expected in out
    assert "Line 1" not in out
    assert ("All checks passed in" in out) == (code == 0)
    assert err == ("" if scenarios else "The local AWS did not start.\n")
    assert len(list(tmp_path.iterdir())) == code  # The logs of a failed run are kept.
