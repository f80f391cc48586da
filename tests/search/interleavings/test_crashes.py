"""Whoever dies, before or after any call: the ordinary machinery mends what they left.

After each death everything is played to its end twice: once nobody tries again, and only the
schedule and the worker go on; once the client, Chapa or the queue repeats what was not answered.
"""

import random
from collections.abc import Sequence

import pytest

from payments.domain.states import OrderStatus
from tests.search.interleavings.explorer import Choice, Run, schedules, written
from tests.search.interleavings.scenes import (
    SCENES,
    Scene,
    Setting,
    Stage,
    Thing,
    applied_and_refunding,
    looked_at_for_the_last_time_and_paid,
    named,
)
from tests.search.interleavings.world import DEATHS, Rest

MORE_SWEEPS = 8
"""What a death may cost, beside what it takes without one."""

IN_PART = {(applied_and_refunding, Scene.worker)}
"""Chapa tells of a refund in part by its handle only, and that can be lost."""

A_PERSON_LOOKS = [(OrderStatus.PAID, [("pending", 40)])]
"""A day later."""


@pytest.mark.parametrize(
    ("setting", "thing"),
    [
        pytest.param(setting, thing, id=named(setting, [thing]))
        for setting, things in SCENES.items()
        for thing in things
    ],
)
def test_whoever_dies_at_a_call_leaves_what_others_can_finish(
    stage: Stage, setting: Setting, thing: Thing
) -> None:
    world = stage.world
    scene = stage.set(setting)
    world.play([lambda: thing(scene)])
    nothing_happened = undisturbed = world.come_to_rest()
    if setting is not looked_at_for_the_last_time_and_paid:
        stage.set(setting)
        nothing_happened = world.come_to_rest()
    in_time = MORE_SWEEPS + max(undisturbed.sweeps, nothing_happened.sweeps)

    def ended_well(rest: Rest, *ends: object) -> bool:
        if (setting, thing) in IN_PART and rest.endings == A_PERSON_LOOKS:
            return True
        return rest.sweeps <= in_time and rest.endings in ends

    def play(choices: Sequence[Choice]) -> Run:
        scene = stage.set(setting)
        run = world.play([lambda: thing(scene)], choices)
        told = f"{named(setting, [thing])}: {written(run.taken)}"
        left = world.today()
        ends = (undisturbed.endings, nothing_happened.endings)
        assert ended_well(world.come_to_rest(), *ends), told
        world.return_to(left)
        world.play([lambda: thing(scene)])
        assert ended_well(world.come_to_rest(), undisturbed.endings), told
        return run

    with world.only(DEATHS):
        for _ in schedules(play, 1, random.Random(7)):
            pass
