"""What goes wrong on the market day: Chapa's answers, its webhooks, and functions' processes."""

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

CALLS: tuple[Call, ...] = ("initialize", "verify", "cancel", "refund", "refund_verify")

ANSWERS: tuple[Mapping[str, Any], ...] = (
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

WEBHOOKS: tuple[Mapping[str, Any], ...] = (
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

CALLBACKS: tuple[Mapping[str, Any], ...] = (
    {"kind": "lost"},
    {"kind": "doubled"},
    {"kind": "delayed", "seconds": 2},
)

RARE: tuple[tuple[Call, Mapping[str, Any]], ...] = (
    # Longer than the product waits, which holds a process all the while.
    ("initialize", {"kind": "timeout_before", "seconds": 25}),
    ("initialize", {"kind": "timeout_after", "seconds": 25}),
    # One answer that would send a payment to a person, whom the next look spares it.
    ("verify", {"kind": "wrong_amount"}),
    ("verify", {"kind": "wrong_tx_ref"}),
)


PATIENCE = 2.5
"""Seconds for which a process is watched that is to be killed while it works."""


def make_chapa_faulty(chapa: Control, share: float) -> None:
    """So many of all calls go wrong, in all ways alike, and more of the webhooks."""
    if not share:
        return
    for call, details in RARE:
        chapa.add_fault(call, times=None, chance=share / 50, **details)
    kinds: list[tuple[Call, Sequence[Mapping[str, Any]], float]] = [
        *((call, ANSWERS, share) for call in CALLS),
        # Of webhooks more: what nobody reports is what the schedule is for.
        ("webhook", WEBHOOKS, min(1, 4 * share)),
        ("callback", CALLBACKS, share),
    ]
    for call, ways, together in kinds:
        for number, details in enumerate(ways):
            # The first rule that fits is used, so each has to leave the others their part.
            part = together / len(ways)
            chance = min(1, part / (1 - number * part))
            chapa.add_fault(call, times=None, chance=chance, **details)


@dataclass(frozen=True)
class Kill:
    at: float
    function: str


class Reaper:
    """Kills processes of functions of one stack without a word."""

    def __init__(self, stack: Stack, seed: str) -> None:
        self.kills: list[Kill] = []
        self._stack = stack
        self._random = random.Random(f"{seed}/reaper")
        self._ready: dict[int, str] = {}

    def look(self) -> None:
        """Take note of who has started up.

        Only those are killed: when one dies before, MiniStack ends all others of its function, too.
        """
        workers = self._stack.workers()
        self._ready = {
            pid: name for pid, name in workers.items() if pid in self._ready or not works(pid)
        }

    def strike(self) -> None:
        """Kill one of a function drawn by lot in the midst of its work, if it has any soon."""
        if not self._ready:
            return
        function = self._random.choice(sorted(set(self._ready.values())))
        pid = self._caught([pid for pid, name in self._ready.items() if name == function])
        if pid is None:
            return
        with suppress(OSError):
            # A handle first: ids are given out again, and this must hit nobody else.
            handle = os.pidfd_open(pid)
            try:
                if self._stack.workers().get(pid) == function:
                    kill = Kill(time.time(), function)
                    signal.pidfd_send_signal(handle, signal.SIGKILL)
                    self.kills.append(kill)
            finally:
                os.close(handle)

    def _caught(self, pids: list[int]) -> int | None:
        self._random.shuffle(pids)
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            for pid in pids:
                if works(pid):
                    return pid
            time.sleep(0.005)
        return None


def works(pid: int) -> bool:
    """Whether a process does anything else than wait for its next invocation, on its input."""
    try:
        call = Path(f"/proc/{pid}/syscall").read_text().split()
    except OSError:
        return False
    return call[1:2] != ["0x0"]


class Repeated:
    """Something that is done again and again, in a thread, while it is entered.

    `pause` says for how many seconds it is left each time.
    """

    def __init__(self, name: str, pause: Callable[[], float], do: Callable[[], object]) -> None:
        self.failures: list[Exception] = []
        """What went wrong with it. It goes on all the same."""
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
