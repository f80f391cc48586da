"""Faults of the soak: of Chapa's responses and webhooks, and killed processes of functions."""

import os
import random
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from sandbox.chapa.control import Control
from sandbox.chapa.faults import Call
from sandbox.stack import Stack

type Details = Mapping[str, Any]

CALLS: tuple[Call, ...] = ("initialize", "verify", "list", "cancel", "refund", "refund_verify")

RESPONSES: tuple[Details, ...] = (
    {"kind": "timeout_before", "seconds": 1},
    {"kind": "timeout_after", "seconds": 1},
    {"kind": "reset"},
    {"kind": "reset_after"},
    {"kind": "status", "status": 500},
    {"kind": "status", "status": 502, "acts": True},
    {"kind": "status", "status": 429, "retry_after": 1},
    {"kind": "html", "status": 503},
    {"kind": "malformed"},
    {"kind": "slow", "seconds": 1.5},
)
WEBHOOKS: tuple[Details, ...] = (
    {"kind": "lost"},
    {"kind": "lost"},
    {"kind": "doubled"},
    {"kind": "doubled", "n": 3},
    {"kind": "delayed", "seconds": 4},
    {"kind": "forged", "signature": "random"},
    {"kind": "forged", "signature": "constant"},
    {"kind": "early", "n": 2},
    {"kind": "failed_first"},
    {"kind": "out_of_order"},
)
CALLBACKS: tuple[Details, ...] = (
    {"kind": "lost"},
    {"kind": "doubled"},
    {"kind": "delayed", "seconds": 2},
)
RARE: tuple[tuple[Call, Details], ...] = (
    # Longer than the product waits, and it keeps a process busy.
    ("initialize", {"kind": "timeout_before", "seconds": 25}),
    ("initialize", {"kind": "timeout_after", "seconds": 25}),
    # It sends the refund to manual review, where the operator finds it.
    ("refund", {"kind": "status", "status": 400}),
    # It sends the payment to manual review, and the next check brings it back.
    ("verify", {"kind": "wrong_amount"}),
    ("verify", {"kind": "wrong_tx_ref"}),
)

WATCH_SECONDS = 2.5
"""How long a process that will be killed is watched until it works."""


def make_chapa_faulty(chapa: Control, share: float) -> None:
    """Make this share of all calls go wrong, evenly in all ways, and more of the webhooks."""
    if not share:
        return
    for call, details in RARE:
        chapa.add_fault(call, times=None, chance=share / 50, **details)
    kinds: list[tuple[Call, Sequence[Details], float]] = [
        *((call, RESPONSES, share) for call in CALLS),
        # More webhooks are lost, so that the schedule has work.
        ("webhook", WEBHOOKS, min(1, 4 * share)),
        ("callback", CALLBACKS, share),
    ]
    for call, ways, total in kinds:
        for number, details in enumerate(ways):
            # The first fault that matches is used, so a later one needs a higher chance.
            part = total / len(ways)
            chance = min(1, part / (1 - number * part))
            chapa.add_fault(call, times=None, chance=chance, **details)


@dataclass(frozen=True)
class Kill:
    at: float
    function: str


class ProcessKiller:
    """Kills processes of a stack's functions with SIGKILL while they work."""

    def __init__(self, stack: Stack, seed: str) -> None:
        self.kills: list[Kill] = []
        self._stack = stack
        self._random = random.Random(f"{seed}/kills")
        self._started: dict[int, str] = {}

    def find_started(self) -> None:
        """Note the processes that have started up, which are the only ones to kill.

        If one dies before, MiniStack also ends all others of its function.
        """
        workers = self._stack.workers()
        self._started = {
            pid: name for pid, name in workers.items() if pid in self._started or not works(pid)
        }

    def kill_one(self) -> None:
        """Kill a process of a random function, if one of them works soon."""
        if not self._started:
            return
        function = self._random.choice(sorted(set(self._started.values())))
        pid = self._working([pid for pid, name in self._started.items() if name == function])
        if pid is None:
            return
        with suppress(OSError):
            # The handle comes first: the id could be given to another process meanwhile.
            handle = os.pidfd_open(pid)
            try:
                if self._stack.workers().get(pid) == function:
                    kill = Kill(time.time(), function)
                    signal.pidfd_send_signal(handle, signal.SIGKILL)
                    self.kills.append(kill)
            finally:
                os.close(handle)

    def _working(self, pids: list[int]) -> int | None:
        self._random.shuffle(pids)
        deadline = time.monotonic() + WATCH_SECONDS
        while time.monotonic() < deadline:
            for pid in pids:
                if works(pid):
                    return pid
            time.sleep(0.005)
        return None


def works(pid: int) -> bool:
    """Whether a process does anything but wait for its next invocation, on standard input."""
    try:
        call = Path(f"/proc/{pid}/syscall").read_text().split()
    except OSError:
        return False
    return call[1:2] != ["0x0"]


class Repeated:
    """Repeats an action in a thread, with `pause()` seconds before each time."""

    def __init__(self, name: str, pause: Callable[[], float], do: Callable[[], object]) -> None:
        self.failures: list[Exception] = []
        """What the action raised; it is repeated all the same."""
        self.name = name
        self._pause = pause
        self._do = do
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._stopping.wait(self._pause()):
            try:
                self._do()
            except Exception as error:
                self.failures.append(error)
