"""Two and three actions at once, in every order of their calls, with every injected fault.

A run deviates by its interruptions and its faults. By day two runs with at most two deviations are
drawn for every second pair, the same each time; of the version of Chapa's API that PROVIDER does
not choose, a few in a third of the scenes. `make nightly` draws far more, of pairs and triples and
of both versions. A failure says how to replay it, for example
REPLAY="waiting: cancel, webhook: 0 0 1" pytest tests/search/test_interleavings.py -k replay
"""

import os
import random
import zlib
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations_with_replacement, islice

import pytest

from tests.depth import NIGHTLY, depth
from tests.search.explorer import Choice, Run, read, schedules, written
from tests.search.found import FOUND
from tests.search.scenes import (
    PLAYED,
    SCENES,
    USE_CASES,
    Action,
    Setup,
    Stage,
    actions,
    name_of,
    named,
)
from tests.search.world import World
from tests.shop import CURRENT

type Record = Callable[[str, object], None]

DEVIATIONS = int(os.environ.get("DEVIATIONS", "2"))
SCHEDULES = {
    2: int(os.environ.get("RUNS", depth("2", "20"))),
    3: int(os.environ.get("RUNS", "3")),
}
"""For each pair and each triple; 0 plays them all."""


@pytest.fixture(scope="module")
def stage(aws: None, provider: str) -> Stage:
    return Stage(World(provider, wait_seconds="0", verify_every_seconds="1"))


def pairs(some: Sequence[Action]) -> Iterator[tuple[Action, ...]]:
    return combinations_with_replacement(some, 2)


def explore(stage: Stage, setup: Setup, group: Sequence[Action], limit: int) -> int:
    """Play different schedules. Returns their number."""
    chance = random.Random(zlib.crc32(named(setup, group).encode()))

    def play(choices: Sequence[Choice]) -> Run:
        return stage.play_to_rest(setup, group, choices)

    runs = islice(schedules(play, DEVIATIONS, chance), limit or None)
    seen = [written(run.taken) for run in runs]
    assert len(seen) == len(set(seen))
    return len(seen)


@pytest.mark.parametrize("size", depth([2], [2, 3]), ids={2: "pairs", 3: "triples"}.get)
@pytest.mark.parametrize(("provider", "setup"), PLAYED, indirect=["provider"], ids=name_of)
def test_actions_at_once_keep_the_invariants(
    stage: Stage, provider: str, setup: Setup, size: int, record_property: Record
) -> None:
    groups = list(combinations_with_replacement(SCENES[setup], size))
    limit = SCHEDULES[size]
    if not NIGHTLY:
        groups, limit = (groups[::2], limit) if provider == CURRENT else (groups[::12], 1)
    played = sum(explore(stage, setup, group, limit) for group in groups)
    record_property("schedules", played)


def test_every_pair_of_use_cases_meets_in_some_scene() -> None:
    met = {frozenset(pair) for some in SCENES.values() for pair in pairs(some)}
    assert {frozenset(pair) for pair in pairs(actions(USE_CASES))} <= met


@pytest.mark.parametrize("provider", [CURRENT], indirect=True)
@pytest.mark.parametrize("schedule", [*FOUND, *filter(None, [os.environ.get("REPLAY")])])
def test_replayed_schedule_keeps_the_invariants(stage: Stage, schedule: str) -> None:
    scene, names, choices = (part.strip() for part in schedule.split(":", 2))
    setup = next(each for each in SCENES if each.__name__ == scene)
    stage.play_to_rest(setup, actions(names.replace(",", "")), read(choices))
