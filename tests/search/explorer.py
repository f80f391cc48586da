"""Runs tasks side by side, one call at a time, in every order and with every injected fault.

A task stops before it begins and before each call to DynamoDB, Chapa or the queue. Each task has a
thread, and one thread runs at a time, so a list of choices determines a run.
"""

import random
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

type Task = Callable[[], object]

DONE = "done"
"""The outcome of a call without an injected fault."""


class Choice(NamedTuple):
    """The task that continues, and the outcome of the call before which it stopped."""

    task: int
    outcome: str = DONE

    def __str__(self) -> str:
        return str(self.task) if self.outcome == DONE else f"{self.task}:{self.outcome}"


def written(choices: Sequence[Choice]) -> str:
    return " ".join(map(str, choices))


def read(text: str) -> list[Choice]:
    parts = (word.partition(":") for word in text.split())
    return [Choice(int(task), outcome or DONE) for task, _, outcome in parts]


class _Thread(threading.Thread):
    def __init__(self, task: Task, run: "Run") -> None:
        super().__init__(daemon=True)
        self.task, self.of = task, run
        self.go = threading.Semaphore(0)
        self.offers: tuple[str, ...] = ()
        self.outcome = DONE
        self.finished = False
        self.result: object = None
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            # A task without calls, such as a payment at Chapa, needs a place in the order too.
            self.of.step()
            self.result = self.task()
        except BaseException as error:
            self.error = error
        self.finished = True
        self.of.stopped.release()


@dataclass
class Run:
    """One run of some tasks: first the given choices, then without faults."""

    tasks: Sequence[Task]
    choices: Sequence[Choice] = ()
    taken: list[Choice] = field(default_factory=list)
    could: list[list[Choice]] = field(default_factory=list)
    """All possible choices at each step."""

    def __post_init__(self) -> None:
        self.stopped = threading.Semaphore(0)
        self._threads = [_Thread(task, self) for task in self.tasks]

    def step(self, *faults: str) -> str:
        """Stop before a call. Returns the outcome of the call."""
        thread = threading.current_thread()
        if thread not in self._threads:
            return DONE
        assert isinstance(thread, _Thread)
        thread.offers = (DONE, *faults)
        self.stopped.release()
        thread.go.acquire()
        return thread.outcome

    def play(self) -> "Run":
        for thread in self._threads:
            thread.start()
            self.stopped.acquire()
        current = 0
        while able := [n for n, thread in enumerate(self._threads) if not thread.finished]:
            place = len(self.taken)
            if place < len(self.choices):
                choice = self.choices[place]
            else:
                choice = Choice(current if current in able else able[0])
            current = choice.task
            thread = self._threads[current]
            self.taken.append(choice)
            self.could.append([Choice(n, o) for n in able for o in self._threads[n].offers])
            if choice not in self.could[-1]:
                raise ValueError(f"step {place} cannot be {choice}: {self.could[-1]}")
            thread.outcome = choice.outcome
            thread.go.release()
            self.stopped.acquire()
        return self

    @property
    def results(self) -> list[object]:
        return [thread.result for thread in self._threads]

    @property
    def errors(self) -> list[BaseException | None]:
        return [thread.error for thread in self._threads]

    def faults(self, task: int) -> set[str]:
        return {choice.outcome for choice in self.taken if choice.task == task} - {DONE}


def deviations(taken: Sequence[Choice], could: Sequence[Sequence[Choice]]) -> int:
    """Number of injected faults and of interruptions of a task that could continue."""
    faults = sum(choice.outcome != DONE for choice in taken)
    interruptions = sum(
        after.task != before.task and Choice(before.task) in able
        for before, after, able in zip(taken, taken[1:], could[1:], strict=False)
    )
    return faults + interruptions


def schedules(
    play: Callable[[Sequence[Choice]], Run], bound: int, chance: random.Random
) -> Iterator[Run]:
    """Every run with at most `bound` deviations, once, in a random order.

    `play` must start from the same state each time.
    """
    waiting: list[list[Choice]] = [[]]
    while waiting:
        prefix = waiting.pop(chance.randrange(len(waiting)))
        run = play(prefix)
        yield run
        for place in range(len(prefix), len(run.taken)):
            for other in run.could[place]:
                branch = [*run.taken[:place], other]
                if other != run.taken[place] and deviations(branch, run.could) <= bound:
                    waiting.append(branch)
