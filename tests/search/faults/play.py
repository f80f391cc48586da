"""One cell of the table: a use case while Chapa goes wrong, once or for longer than a day."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import requests
from urllib3.exceptions import NewConnectionError

from sandbox.chapa.faults import Call
from sandbox.chapa.journal import Entry
from tests.search.faults.cases import Case, Means
from tests.search.faults.uses import Use
from tests.search.interleavings.scenes import Scene, Stage
from tests.search.interleavings.world import World

LASTS = 27 * 3600
"""Longer than a day of silence, after which a person is called, with all that comes before it."""

REFUND_TAKES = 2 * 86_400
"""Chapa says: one to three days."""

MOST_SWEEPS = 80
DENIED = "Chapa confirms it, and it is "
"""How the checker begins when a success was lost sight of."""

ONLY_SAID = ("but at Chapa it is", "but Chapa gave back")
"""What the checker finds when Chapa says what is not so."""


@dataclass(frozen=True)
class Picture:
    """How an order stands, in words and as it is compared."""

    order: str
    stock: str
    payments: tuple[str, ...]
    refunds: tuple[str, ...]
    shelf: tuple[int, int, int]
    cancelling: bool
    doubted: bool

    def __str__(self) -> str:
        text = f"order {self.order}"
        if self.cancelling and self.order == "pending":
            text += ", being cancelled"
        if self.payments:
            text += f"; payment {', '.join(_counted(self.payments))}"
        if self.doubted:
            text += " in doubt"
        if self.refunds:
            text += f"; refund {', '.join(self.refunds)}"
        return text


@dataclass(frozen=True)
class Cell:
    told: str
    before: Picture
    at_once: Picture
    later: str | None
    """What whoever came back was told."""
    lasted: Picture | None
    """After more than a day of it; None when it went wrong once."""
    end: Picture
    denied: bool
    """Chapa denied a payment for so long that only another webhook finds it."""
    seconds: float
    """How long the call took that met the fault."""
    journal: tuple[Entry, ...]
    """What Chapa was asked before it was well for good."""
    at_chapa: tuple[str, ...]
    """What became of each payment there."""
    refunds_at_chapa: int


def _counted(words: Sequence[str]) -> Iterator[str]:
    for word, alike in itertools.groupby(words):
        count = len(list(alike))
        yield word if count == 1 else f"{count} {word}"


class Player:
    def __init__(self, world: World) -> None:
        self.world, self.shop = world, world.shop
        # Looks twelve hours apart after the first: a day of silence with few of them.
        self.shop.configure(wait_seconds="0", look_after_seconds="90,600,7200,43200")
        self.shop.control.set(refund_checks=0)
        self.stage = Stage(world)
        self._refuses: Call | None = None
        self._refusals_left: float = 0
        self._refused = 0
        self._ends: dict[object, Picture] = {}
        around = self.shop.chapa_connection.around
        self.shop.chapa_connection.around = lambda request, send: around(
            request, lambda: self._line(request, send)
        )

    def play(self, use: Use, case: Case | None, *, lasting: bool = False) -> Cell | None:
        """None when the use case never met the fault. Raises for a promise that is broken."""
        scene = self.stage.set(use.setting)
        self._refuses, self._refused = None, 0
        self.shop.simulator.journal.clear()
        before = self._picture(scene)
        times = None if lasting else 1
        if case is not None and use.goes_wrong_after:
            self.shop.before_chapa(use.goes_wrong_after, lambda: self._goes_wrong(case, times))
        elif case is not None:
            self._goes_wrong(case, times)
        began = self.shop.clock.now
        told = use.act(scene)
        seconds = (self.shop.clock.now - began).total_seconds()
        self.shop.chapa_connection.interruptions.clear()
        if case is not None and not (self._refused or self.shop.simulator.faults.used()):
            return None
        at_once = self._picture(scene)
        assert self._broken(case) == []

        if not lasting:
            self._is_well_again()
        later = use.afterwards(scene)
        lasted = None
        denied = False
        if lasting:
            self._time_passes(LASTS)
            lasted = self._picture(scene)
            broken = self._broken(case)
            # Who is told by Chapa for a day that nothing is paid has to believe it.
            denied = case is not None and case.means in {Means.DENIED, Means.FAILED}
            assert [each for each in broken if not (denied and DENIED in each)] == []
            denied = bool(broken)
            self._is_well_again()
            if denied:
                scene.webhook()
        journal = tuple(self.shop.simulator.journal.entries())
        end = self._rest(scene, case)
        return Cell(
            told,
            before,
            at_once,
            later,
            lasted,
            end,
            denied,
            seconds,
            journal,
            tuple(payment.status for payment in self.shop.simulator.payments.values()),
            len(self.shop.simulator.refunds),
        )

    def _rest(self, scene: Scene, case: Case | None) -> Picture:
        """Only the ordinary machinery goes on, once for each state."""
        state = (self.world.digest(), scene.order_id)
        if state not in self._ends:
            for _ in range(MOST_SWEEPS):
                self.world.work()
                due = self.world.next_due()
                if due is None:
                    break
                self._wait_until(due)
                self.world.sweep()
            assert self.world.next_due() is None, "there is always something left to do"
            assert self._broken(case, settled=True) == []
            self._ends[state] = self._picture(scene)
        return self._ends[state]

    def _broken(self, case: Case | None, *, settled: bool = False) -> list[str]:
        broken = self.shop.audit(settled=settled)
        if case is None or case.means not in {Means.BELIEVED, Means.MONEY_BACK}:
            return broken
        # It is Chapa that says so, with all the facts: nobody can know better.
        return [each for each in broken if not any(words in each for words in ONLY_SAID)]

    def _time_passes(self, seconds: int) -> None:
        """The schedule and the worker go on, and nobody else."""
        until = self.shop.now + seconds
        while True:
            self.world.work()
            due = self.world.next_due()
            if due is None or due > until:
                break
            self._wait_until(due)
            self.world.sweep()
        self._wait_until(until)

    def _wait_until(self, when: int) -> None:
        """Meanwhile Chapa pays back what it was asked to long enough ago."""
        self.shop.clock.advance(max(0, when - self.shop.now))
        for refund in self.shop.simulator.refunds.values():
            if (self.shop.clock.now - refund.created_at).total_seconds() >= REFUND_TAKES:
                self.shop.simulator.move_refund(refund, "refunded", webhook=False)

    def _goes_wrong(self, case: Case, times: int | None) -> None:
        if case.kind is None:
            self._refuses, self._refusals_left = case.call, times or float("inf")
        else:
            self.shop.simulator.faults.add(case.fault(times))

    def _is_well_again(self) -> None:
        self._refuses = None
        self.shop.simulator.faults.clear()

    def _line(self, request: Any, send: Callable[[], Any]) -> Any:
        if self._refuses == _call_of(request) and self._refusals_left > 0:
            self._refusals_left -= 1
            self._refused += 1
            refused = NewConnectionError(None, "refused")  # type: ignore[arg-type]
            raise requests.ConnectionError(refused, request=request)
        return send()

    def _picture(self, scene: Scene) -> Picture:
        story = self.shop.aggregate(scene.order_id)
        payments = sorted(story.payments, key=lambda payment: payment.created_at)
        return Picture(
            str(story.order.status),
            str(story.order.stock),
            tuple(str(payment.status) for payment in payments),
            tuple(str(refund.status) for refund in story.refunds),
            self.shop.stock("LAST"),
            story.order.cancelling,
            any(payment.in_doubt for payment in payments),
        )


def _call_of(request: Any) -> Call:
    path = str(request.url)
    for call in ("initialize", "verify/", "cancel"):
        if f"/transaction/{call}" in path:
            return call.rstrip("/")  # type: ignore[return-value]
    return "refund_verify" if path.endswith("/verify") else "refund"
