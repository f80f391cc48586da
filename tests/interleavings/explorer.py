"""Runs use cases side by side, one step at a time, in every order that a bound allows.

A step ends before each call to DynamoDB or Chapa. Each use case has a thread, and exactly one of
them runs at any moment, so that a list of choices says all about a run: the same list is the same
run.
"""

import random
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

type Task = Callable[[], object]


class _Thread(threading.Thread):
    def __init__(self, task: Task, explorer: "Run", number: int) -> None:
        super().__init__(daemon=True)
        self.task, self.run_, self.number = task, explorer, number
        self.go = threading.Semaphore(0)
        self.finished = False
        self.error: BaseException | None = None

    def run(self) -> None:
        self.go.acquire()
        try:
            self.task()
        except BaseException as error:
            self.error = error
        self.finished = True
        self.run_.stopped.release()


@dataclass
class Run:
    """One run of some tasks: `choices` as far as they go, and then nobody is interrupted."""

    tasks: Sequence[Task]
    choices: Sequence[int] = ()
    taken: list[int] = field(default_factory=list)
    could: list[list[int]] = field(default_factory=list)
    """At each step, the tasks that could have gone on."""

    def __post_init__(self) -> None:
        self.stopped = threading.Semaphore(0)
        self._threads = [_Thread(task, self, n) for n, task in enumerate(self.tasks)]
        self._by_ident: dict[int, _Thread] = {}

    def step(self) -> None:
        """Called by the world before each of its calls: let others go first, if they are to."""
        thread = self._by_ident.get(threading.get_ident())
        if thread is None:
            return  # Setting up, or looking on.
        self.stopped.release()
        thread.go.acquire()

    def play(self) -> list[BaseException | None]:
        """How each task ended."""
        for thread in self._threads:
            thread.start()
            self._by_ident[thread.ident or 0] = thread
        current = 0
        while able := [t.number for t in self._threads if not t.finished]:
            place = len(self.taken)
            if place < len(self.choices):
                current = self.choices[place]
            elif current not in able:
                current = able[0]
            self.taken.append(current)
            self.could.append(able)
            self._threads[current].go.release()
            self.stopped.acquire()
        return [thread.error for thread in self._threads]


def preemptions(taken: Sequence[int], could: Sequence[Sequence[int]]) -> int:
    """How often somebody was interrupted who could have gone on."""
    return sum(taken[n] != taken[n - 1] and taken[n - 1] in could[n] for n in range(1, len(taken)))


def schedules(
    play: Callable[[Sequence[int]], Run], bound: int, chance: random.Random
) -> Iterator[Run]:
    """Every run with at most `bound` interruptions, once, in an order that `chance` decides.

    `play` starts from the same state each time.
    """
    waiting: list[list[int]] = [[]]
    while waiting:
        prefix = waiting.pop(chance.randrange(len(waiting)))
        run = play(prefix)
        yield run
        for place in range(len(prefix), len(run.taken)):
            for other in run.could[place]:
                if other == run.taken[place]:
                    continue
                branch = [*run.taken[:place], other]
                if preemptions(branch, run.could) <= bound:
                    waiting.append(branch)
