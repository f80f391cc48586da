"""A process may die before or after any call, and schedule and worker finish its work.

After each death the scene is played to rest twice: once nobody repeats the action, and once the
client, Chapa or the queue repeats it.
"""

import random
from collections import deque
from collections.abc import Sequence
from itertools import islice

import pytest

from payments.chapa.keys import V1
from payments.domain.states import PaymentStatus
from tests.depth import NIGHTLY, depth
from tests.search.explorer import Choice, Run, schedules, written
from tests.search.scenes import (
    PLAYED,
    SCENES,
    Action,
    Scene,
    Setup,
    Stage,
    name_of,
    named,
    paid_after_final_check,
    paid_with_both_versions,
    refund_requested,
)
from tests.search.world import DEATHS, Rest, World
from tests.shop import CURRENT

SCHEDULES = depth(3, None)
"""For each action: the one without a death, and deaths at some of its calls or at each.

By day, of the version of Chapa's API that PROVIDER does not choose: one action of some scenes.
"""

MORE_SWEEPS = 8
"""How many sweeps a death may cost."""

PARTIAL_REFUND = (refund_requested, Scene.worker)
"""v1 shows a partial refund only by its own reference, and a death can lose that reference."""

REFERENCE_LOST = (("paid", {"LAST": 1}, [("pending", 400)]),)


@pytest.fixture(scope="module")
def stage(aws: None, provider: str) -> Stage:
    world = World(provider, wait_seconds="0", verify_every_seconds="1")
    world.faults = DEATHS
    return Stage(world)


@pytest.mark.parametrize(("provider", "setup"), PLAYED, indirect=["provider"], ids=name_of)
def test_death_at_any_call_is_repaired_by_schedule_and_worker(
    stage: Stage, provider: str, setup: Setup
) -> None:
    some = SCENES[setup] if NIGHTLY or provider == CURRENT else SCENES[setup][:1]
    for action in some:
        check_deaths(stage, setup, action)


@pytest.mark.parametrize("provider", [CURRENT], indirect=True)
def test_second_payment_is_refunded_by_the_version_that_opened_it(stage: Stage) -> None:
    scene = stage.set(paid_with_both_versions)
    stage.world.pass_time()
    payments = stage.world.aggregate(scene.order_id).payments
    assert len({payment.provider for payment in payments}) == 2
    kept, owed = sorted(payments, key=lambda payment: payment.status is PaymentStatus.REFUNDED)
    assert (kept.status, owed.status) == (PaymentStatus.SUCCEEDED, PaymentStatus.REFUNDED)
    [refund] = stage.world.simulator.refunds.values()
    assert refund.tx_ref == owed.tx_ref
    assert owed.provider == f"chapa-{refund.account[0]}"


def check_deaths(stage: Stage, setup: Setup, action: Action) -> None:
    world = stage.world
    stage.play(setup, [action])
    without_action = without_death = world.come_to_rest()
    if setup is not paid_after_final_check:
        stage.set(setup)
        without_action = world.come_to_rest()
    limit = MORE_SWEEPS + max(without_death.sweeps, without_action.sweeps)

    def ends_well(rest: Rest, *rests: Rest) -> bool:
        lost = world.provider == V1.provider and rest.endings == REFERENCE_LOST
        if (setup, action) == PARTIAL_REFUND and lost:
            return True
        return rest.sweeps <= limit and rest.endings in [each.endings for each in rests]

    def play(choices: Sequence[Choice]) -> Run:
        run = stage.play(setup, [action], choices)
        schedule = f"{named(setup, [action])}: {written(run.taken)}"
        after_death = world.snapshot()
        try:
            assert ends_well(world.come_to_rest(), without_death, without_action)
            world.return_to(after_death)
            world.play([lambda: action(stage.scene)])
            assert ends_well(world.come_to_rest(), without_death)
        except AssertionError as error:
            error.add_note(schedule)
            raise
        return run

    deque(islice(schedules(play, 1, random.Random(7)), SCHEDULES), maxlen=0)
