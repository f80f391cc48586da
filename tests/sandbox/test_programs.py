"""Programs of the sandbox are found and ended with everything that they started."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from sandbox import programs
from sandbox.client import until
from sandbox.programs import Program, end, variable

STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
time.sleep(60)
"""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Program]]:
    started: list[tuple[Program, subprocess.Popen[bytes]]] = []

    def start(*command: str, outlives_us: bool = True) -> Program:
        program = Program("sleeper", tmp_path / str(len(started)))
        program.state_dir.mkdir()
        process = program.start(command, {}, cwd=tmp_path, outlives_us=outlives_us)
        started.append((program, process))
        return program

    yield start
    end([program for program, _ in started], grace_seconds=0)
    for _, process in started:
        process.wait()


def test_program_is_ended_with_its_children_and_others_run_on(
    start: Callable[..., Program],
) -> None:
    program = start("/bin/sh", "-c", "sleep 60 & sleep 60; true")
    other = start("/bin/sleep", "60")
    until(program.processes, lambda found: len(found) == 3, "it has started two programs")
    assert end([program], grace_seconds=30) == ["sleeper"]
    assert program.processes() == []
    assert end([program], grace_seconds=30) == []
    assert len(other.processes()) == 1


def test_variable_of_a_process_is_read_while_its_program_is_replaced() -> None:
    replace = "import os, sys; os.execv(sys.argv[1], sys.argv[1:])"
    command = [sys.executable, "-ISc", replace, "/bin/sleep", "5"]
    for _ in range(20):
        with subprocess.Popen(command, env={"NAME": "value"}) as program:
            process = psutil.Process(program.pid)
            while process.name() != "sleep":
                assert variable(process, "NAME") == "value"
            program.kill()


def test_environment_of_an_older_process_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(programs, "YOUNG_SECONDS", 0)
    monkeypatch.setattr(programs, "EXEC_SECONDS", 600)
    with subprocess.Popen(["/bin/sleep", "60"], env={}) as program:
        assert variable(psutil.Process(program.pid), "NAME") == ""
        program.kill()


def test_children_of_a_killed_program_are_ended(start: Callable[..., Program]) -> None:
    program = start("/bin/sh", "-c", "sleep 60 & sleep 60; true")
    processes = until(program.processes, lambda found: len(found) == 3, "it has two children")
    next(p for p in processes if p.name() == "sh").kill()
    until(program.processes, lambda found: len(found) == 2, "its children are left")
    assert end([program], grace_seconds=30) == ["sleeper"]
    assert program.processes() == []


def test_program_that_ignores_sigterm_is_killed(start: Callable[..., Program]) -> None:
    program = start(sys.executable, "-c", STUBBORN)
    until(program.log.read_text, bool, "it ignores the signal")
    assert end([program], grace_seconds=0.1) == ["sleeper"]
    assert program.processes() == []


def test_program_ends_when_the_process_that_started_it_is_killed(tmp_path: Path) -> None:
    program = Program("sleeper", tmp_path)
    source = (
        "import time\nfrom pathlib import Path\nfrom sandbox.programs import Program\n"
        f"Program('sleeper', Path({str(tmp_path)!r})).start(\n"
        "    ['/bin/sleep', '60'], {}, cwd=Path('/'), outlives_us=False\n)\ntime.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", source]) as launcher:
        sleeping = until(
            program.processes,
            lambda found: [p.name() for p in found] == ["sleep"],
            "it has started",
        )
        launcher.kill()
    until(sleeping[0].is_running, lambda running: not running, "it has ended")
