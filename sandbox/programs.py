"""Programs that the sandbox starts, found again by a variable in their environment.

The programs that they start inherit it. Unlike a process id it is never given to another program.
"""

import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

MARK = "SANDBOX_PROGRAM"
KILL_SECONDS = 10
EXEC_SECONDS = 0.5
YOUNG_SECONDS = 10
PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Program:
    name: str
    state_dir: Path

    def start(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        *,
        cwd: Path,
        outlives_us: bool,
    ) -> subprocess.Popen[bytes]:
        """Output goes to NAME.log in the state directory. To be called from the main thread."""
        with self.log.open("w") as log:
            return subprocess.Popen(
                command if outlives_us else _ends_with_us(command),
                cwd=cwd,
                env={**environment, MARK: self._mark},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def log(self) -> Path:
        return self.state_dir / f"{self.name}.log"

    @property
    def _mark(self) -> str:
        return f"{self.state_dir}:{self.name}"

    def processes(self) -> list[psutil.Process]:
        """The program and everything that it started."""
        return [p for p in psutil.process_iter() if variable(p, MARK) == self._mark]


def variable(process: psutil.Process, name: str) -> str:
    """A variable of the environment that the process started with; empty when it has ended."""
    deadline = time.monotonic() + EXEC_SECONDS
    try:
        while True:
            environment = process.environ()
            # While the kernel replaces a process's program (exec), its environment reads as empty.
            # Programs do that when they start. An older process has no environment, or has written
            # a title over it.
            young = time.time() - process.create_time() < YOUNG_SECONDS
            # A kernel thread has no program.
            if environment or not young or not process.exe() or time.monotonic() >= deadline:
                return environment.get(name, "")
    except (psutil.Error, OSError):
        return ""


def end(programs: Iterable[Program], *, grace_seconds: float) -> list[str]:
    """Stop them all: ask first, kill after the grace. Returns the names of those that ran."""
    programs = list(programs)
    names = [program.name for program in programs if program.processes()]
    deadline = time.monotonic() + grace_seconds
    number = signal.SIGTERM
    while running := [p for program in programs for p in program.processes()]:
        if time.monotonic() >= deadline:
            if number is signal.SIGKILL:
                raise TimeoutError(f"process {running[0].pid} does not end")
            number, deadline = signal.SIGKILL, time.monotonic() + KILL_SECONDS
        for process in running:
            try:
                process.send_signal(number)
            except psutil.NoSuchProcess:
                continue
        patience = max(deadline, time.monotonic() + 0.1)
        while not all(map(_has_ended, running)) and time.monotonic() < patience:
            time.sleep(0.01)
    return names


def _has_ended(process: psutil.Process) -> bool:
    """Also while its parent has not asked for its exit code, as some containers never do."""
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def _ends_with_us(command: Sequence[str]) -> list[str]:
    """The command, ended by the kernel when this process is killed and cannot do it itself."""
    ask = (
        f"import ctypes, os, sys; ctypes.CDLL(None).prctl({PR_SET_PDEATHSIG}, {signal.SIGTERM:d});"
        " os.execv(sys.argv[1], sys.argv[1:])"
    )
    return [sys.executable, "-ISc", ask, *command]
