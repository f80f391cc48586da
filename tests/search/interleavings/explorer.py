"""Runs use cases side by side, one call at a time, in every order and with every mishap of a call.

A use case stops before it begins and before each call to DynamoDB, Chapa or the queue. Each has a
thread, and exactly one of them runs at any moment, so that a list of choices says all about a run:
the same list is the same run.
"""

import random
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

type Task = Callable[[], object]

DONE = "done"
"""What becomes of a call that nothing befalls."""


class Choice(NamedTuple):
    """Which task goes on, and what becomes of the call that it stopped before."""

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
            # What makes no call, as a customer who pays, happens at some moment too.
            self.of.step()
            self.result = self.task()
        except BaseException as error:
            self.error = error
        self.finished = True
        self.of.stopped.release()


@dataclass
class Run:
    """One run of some tasks: `choices` as far as they go, and then nothing befalls anybody."""

    tasks: Sequence[Task]
    choices: Sequence[Choice] = ()
    taken: list[Choice] = field(default_factory=list)
    could: list[list[Choice]] = field(default_factory=list)
    """At each step, all that could have been chosen."""

    def __post_init__(self) -> None:
        self.stopped = threading.Semaphore(0)
        self._threads = [_Thread(task, self) for task in self.tasks]

    def step(self, *mishaps: str) -> str:
        """Called by the world before each of its calls; returns what becomes of the call."""
        thread = threading.current_thread()
        if thread not in self._threads:
            return DONE  # Setting up, or looking on.
        assert isinstance(thread, _Thread)
        thread.offers = (DONE, *mishaps)
        self.stopped.release()
        thread.go.acquire()
        return thread.outcome

    def play(self) -> "Run":
        for thread in self._threads:
            thread.start()
            self.stopped.acquire()  # Before it begins.
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
        """How each task ended."""
        return [thread.error for thread in self._threads]

    def mishaps(self, task: int) -> set[str]:
        """What befell the calls of one task."""
        return {choice.outcome for choice in self.taken if choice.task == task} - {DONE}


def oddity(taken: Sequence[Choice], could: Sequence[Sequence[Choice]]) -> int:
    """How often somebody was interrupted who could have gone on, or something befell a call."""
    mishaps = sum(choice.outcome != DONE for choice in taken)
    interruptions = sum(
        after.task != before.task and Choice(before.task) in able
        for before, after, able in zip(taken, taken[1:], could[1:], strict=False)
    )
    return mishaps + interruptions


def schedules(
    play: Callable[[Sequence[Choice]], Run], bound: int, chance: random.Random
) -> Iterator[Run]:
    """Every run that is at most `bound` odd, once, in an order that `chance` decides.

    `play` starts from the same state each time.
    """
    waiting: list[list[Choice]] = [[]]
    while waiting:
        prefix = waiting.pop(chance.randrange(len(waiting)))
        run = play(prefix)
        yield run
        for place in range(len(prefix), len(run.taken)):
            for other in run.could[place]:
                branch = [*run.taken[:place], other]
                if other != run.taken[place] and oddity(branch, run.could) <= bound:
                    waiting.append(branch)
