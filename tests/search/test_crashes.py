"""A process may die before or after any call, and schedule and worker finish its work.

After each death the scene is played to rest twice: once nobody repeats the action, and once the
client, Chapa or the queue repeats it.
"""

import random
from collections import deque
from collections.abc import Sequence
from itertools import islice

import pytest

from tests.depth import depth
from tests.search.explorer import Choice, Run, schedules, written
from tests.search.scenes import (
    SCENES,
    Action,
    Scene,
    Setup,
    Stage,
    named,
    paid_after_final_check,
    refund_requested,
)
from tests.search.world import DEATHS, Rest, World

SCHEDULES = depth(3, None)
"""For each action: the one without a death, and deaths at some of its calls or at each."""

MORE_SWEEPS = 8
"""How many sweeps a death may cost."""

PARTIAL_REFUND = (refund_requested, Scene.worker)
"""Chapa shows a partial refund only by its own reference, and a death can lose that reference."""

REFERENCE_LOST = (("paid", {"LAST": 1}, [("pending", 40)]),)


@pytest.fixture(scope="module")
def stage(aws: None) -> Stage:
    world = World(wait_seconds="0", verify_every_seconds="1")
    world.faults = DEATHS
    return Stage(world)


@pytest.mark.parametrize("setup", SCENES, ids=lambda setup: setup.__name__)
def test_death_at_any_call_is_repaired_by_schedule_and_worker(stage: Stage, setup: Setup) -> None:
    for action in SCENES[setup]:
        check_deaths(stage, setup, action)


def check_deaths(stage: Stage, setup: Setup, action: Action) -> None:
    world = stage.world
    stage.play(setup, [action])
    without_action = without_death = world.come_to_rest()
    if setup is not paid_after_final_check:
        stage.set(setup)
        without_action = world.come_to_rest()
    limit = MORE_SWEEPS + max(without_death.sweeps, without_action.sweeps)

    def ends_well(rest: Rest, *rests: Rest) -> bool:
        if (setup, action) == PARTIAL_REFUND and rest.endings == REFERENCE_LOST:
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
