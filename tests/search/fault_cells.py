"""One cell of the fault table: a use case with one fault, once or for 27 hours."""

from dataclasses import dataclass
from datetime import timedelta
from itertools import groupby
from typing import Any

from payments.domain.states import PAID
from sandbox.chapa.journal import Entry
from tests.search.fault_cases import Case, Means
from tests.search.fault_uses import Use
from tests.search.scenes import Scene, Stage
from tests.search.world import World

LASTS = 27 * 3600
"""Seconds: a day without an answer, after which an alarm fires, and what comes before."""

LOST_SUCCESS = "Chapa confirms it, and it is "
"""The invariants call a success that we do not know of by these words."""

UNTRUE_SUCCESS = ("but at Chapa it is", "but Chapa gave back")
"""And by these, when Chapa said what is not so."""


@dataclass(frozen=True)
class State:
    """An order as the table shows it and as it is compared."""

    order: str
    payments: tuple[str, ...]
    refunds: tuple[str, ...]
    available: int
    cancelling: bool
    possibly_reversed: bool

    def __str__(self) -> str:
        text = f"order {self.order}"
        if self.cancelling and self.order == "pending":
            text += ", being cancelled"
        if self.payments:
            groups = [(status, len(list(some))) for status, some in groupby(self.payments)]
            words = (status if n == 1 else f"{n} {status}" for status, n in groups)
            text += f"; payment {', '.join(words)}"
        if self.possibly_reversed:
            text += ", possibly reversed"
        if self.refunds:
            text += f"; refund {', '.join(self.refunds)}"
        return text


@dataclass(frozen=True)
class Cell:
    received: str
    before: State
    immediately: State
    repeated: str | None
    after_27_hours: State | None
    """None when the fault happened once."""
    end: State
    denied: bool
    """Chapa denied a success for so long that only other webhooks find it."""
    seconds: float
    """Duration of the action."""
    journal: tuple[Entry, ...]
    """Calls to Chapa until it recovered."""
    at_chapa: tuple[str, ...]
    """Status of each payment at Chapa."""
    refunds_at_chapa: int


class Player:
    def __init__(self, provider: str) -> None:
        # The second check is twelve hours after the first: a day without answers has few checks.
        # No event is overdue: nothing publishes them here, so each sweep would write all of them.
        self.world = World(
            provider,
            wait_seconds="0",
            check_after_seconds="90,600,7200,43200",
            republish_after_seconds=str(10**9),
        )
        self.world.max_sweeps = 80
        self.world.refund_takes = timedelta(days=2)
        self.world.control.set(refund_checks=0)
        self.stage = Stage(self.world)
        self._ends: dict[object, State] = {}

    def play(self, use: Use, case: Case | None, *, lasting: bool = False) -> Cell | None:
        """None when the use case does not meet the fault. Raises for a violated invariant."""
        world = self.world
        scene = self.stage.set(use.setup)
        world.recover()
        world.simulator.journal.clear()
        before = self._state(scene)
        times = None if lasting else 1
        if case and use.fault_after:
            world.before_chapa(use.fault_after, lambda: self._begin(case, times))
        elif case:
            self._begin(case, times)
        began = world.clock.now
        received = use.act(scene)
        seconds = (world.clock.now - began).total_seconds()
        world.chapa_connection.interruptions.clear()
        if case and not (world.refusals or world.simulator.faults.used()):
            return None
        immediately = self._state(scene)
        assert self._violations(case) == []

        if not lasting:
            world.recover()
        repeated = use.afterwards(scene)
        after_27_hours, denied = None, False
        if case and lasting:
            world.pass_time(world.now + LASTS)
            after_27_hours = self._state(scene)
            violations = self._violations(case)
            if case.means in {Means.DENIED, Means.PENDING, Means.FAILED}:
                denied = bool(violations)
                violations = [each for each in violations if LOST_SUCCESS not in each]
            assert violations == []
            world.recover()
            if denied:
                for payment in world.aggregate(scene.order_id).payments:
                    Scene(world, scene.order_id, payment.tx_ref).webhook()
        journal = tuple(world.simulator.journal.entries())
        end = self._rest(scene, case)
        at_chapa = tuple(payment.status for payment in world.simulator.payments.values())
        return Cell(
            received,
            before,
            immediately,
            repeated,
            after_27_hours,
            end,
            denied,
            seconds,
            journal,
            at_chapa,
            len(world.simulator.refunds),
        )

    def _begin(self, case: Case, times: int | None) -> None:
        if case.kind is None:
            self.world.refused[case.call] = times or float("inf")
        else:
            self.world.simulator.faults.add(case.fault(times))

    def _rest(self, scene: Scene, case: Case | None) -> State:
        state = (self.world.digest(), scene.order_id)
        if state not in self._ends:
            self.world.pass_time()
            assert self._violations(case, settled=True) == []
            self._ends[state] = self._state(scene)
        return self._ends[state]

    def _violations(self, case: Case | None, **settled: Any) -> list[str]:
        found = self.world.audit(**settled)
        if case is None or case.means not in {Means.BELIEVED, Means.MONEY_BACK}:
            return found
        # Chapa itself says so, with all the facts.
        return [each for each in found if not any(words in each for words in UNTRUE_SUCCESS)]

    def _state(self, scene: Scene) -> State:
        aggregate = self.world.aggregate(scene.order_id)
        payments = sorted(aggregate.payments, key=lambda payment: payment.created_at)
        return State(
            aggregate.order.status.value,
            tuple(payment.status.value for payment in payments),
            tuple(refund.status.value for refund in aggregate.refunds),
            self.world.available("LAST"),
            aggregate.order.cancelling,
            any(payment.status in PAID and payment.check_at for payment in payments),
        )
