"""Two and three things at once, in every order of their calls, and whatever befalls one of them.

A run is as odd as it has interruptions and mishaps together. The usual suite draws some of the runs
that are at most twice odd, the same each time; `make nightly` draws far more. What fails says how
to see it again: REPLAY="scene: thing, thing: choices" pytest tests/search/interleavings -k again
"""

import os
import random
import zlib
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations_with_replacement, islice

import pytest

from tests.depth import depth
from tests.search.interleavings.explorer import Choice, Run, read, schedules, written
from tests.search.interleavings.found import FOUND
from tests.search.interleavings.scenes import (
    SCENES,
    USE_CASES,
    Scene,
    Setting,
    Stage,
    Thing,
    named,
)

type Record = Callable[[str, object], None]

ODD = int(os.environ.get("ODD", "2"))
RUNS_OF_PAIRS = int(os.environ.get("RUNS", depth("9", "100")))
RUNS_OF_TRIPLES = int(os.environ.get("RUNS", depth("1", "20")))


def pairs(things: Sequence[Thing]) -> Iterator[tuple[Thing, ...]]:
    return combinations_with_replacement(things, 2)


def explore(stage: Stage, setting: Setting, things: Sequence[Thing], runs: int) -> int:
    """How many schedules were played, each another."""
    chance = random.Random(zlib.crc32(named(setting, things).encode()))

    def play(choices: Sequence[Choice]) -> Run:
        return stage.play(setting, things, choices)

    seen = [written(run.taken) for run in islice(schedules(play, ODD, chance), runs or None)]
    assert len(seen) == len(set(seen))
    return len(seen)


@pytest.mark.parametrize(
    ("setting", "things"),
    [
        pytest.param(setting, pair, id=named(setting, pair))
        for setting, things in SCENES.items()
        for pair in pairs(things)
    ],
)
def test_two_things_at_once_break_no_promise(
    stage: Stage, setting: Setting, things: Sequence[Thing], record_property: Record
) -> None:
    record_property("schedules", explore(stage, setting, things, RUNS_OF_PAIRS))


@pytest.mark.parametrize(
    ("setting", "things"),
    [
        pytest.param(setting, triple, id=named(setting, triple))
        for setting, things in SCENES.items()
        for triple in combinations_with_replacement(things, 3)
    ],
)
def test_three_things_at_once_break_no_promise(
    stage: Stage, setting: Setting, things: Sequence[Thing], record_property: Record
) -> None:
    record_property("schedules", explore(stage, setting, things, RUNS_OF_TRIPLES))


def test_every_pair_of_use_cases_meets_in_some_scene() -> None:
    met = {frozenset(pair) for things in SCENES.values() for pair in pairs(things)}
    assert {frozenset(pair) for pair in pairs(USE_CASES)} <= met


@pytest.mark.parametrize("found", [*FOUND, *filter(None, [os.environ.get("REPLAY")])])
def test_what_was_found_once_is_played_again(stage: Stage, found: str) -> None:
    scene, things, choices = (part.strip() for part in found.split(":", 2))
    setting = next(each for each in SCENES if each.__name__ == scene)
    stage.play(setting, [getattr(Scene, name.strip()) for name in things.split(",")], read(choices))
