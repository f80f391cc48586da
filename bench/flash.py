"""A flash sale: how many reservations of one product per second pass, by simulation.

Two transactions on one item at the same time conflict, and the later one is refused
(docs.aws.amazon.com/amazondynamodb/latest/developerguide/transaction-apis.html). The simulation:
customers arrive at random; a try holds the product's item for the time of a transaction, and one
that meets a held item takes as long and is refused. When and how often it is tried again is decided
by the product's own code (`Repository._tries`). Seeded: the numbers are the same on any machine.

`python -m bench.flash [CUSTOMERS]` prints the tables.
"""

import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import count
from typing import Any
from unittest.mock import patch

from bench.tables import markdown
from payments.aws import table
from payments.aws.repository import Repository
from payments.aws.table import CONFLICT_TRIES
from payments.errors import Busy

SEED = 20261127
REFUSED = 0.01
"""The share of customers who may be answered 503 `busy`."""
DURATIONS_MS = (5, 10, 20, 40)
RATES = (20, 40, 60, 80, 100, 150, 200)


@dataclass(frozen=True)
class Sale:
    refused: float
    """The share of reservations that found the item held at each try."""
    tries: float
    """The mean number of transactions that one customer causes."""
    p99_ms: float
    """Of the time from the first try to success."""


class _Customer:
    """One reservation, whose pauses are those of the product."""

    def __init__(self, at: float) -> None:
        self.began = at
        self.tries = 0
        self._pause = 0.0
        client: Any = None
        product = Repository(client, "payments", sleep=self._sleep)
        self._tries: Iterator[None] = product._tries(CONFLICT_TRIES, "busy")

    def _sleep(self, seconds: float) -> None:
        self._pause = seconds

    def next_try(self, now: float) -> float | None:
        """When the next try begins. None after the last one."""
        self._pause = 0.0
        try:
            next(self._tries)
        except Busy:
            return None
        self.tries += 1
        return now + self._pause


def simulate(rate: float, seconds: float, customers: int) -> Sale:
    """`rate` customers per second, whose transactions take so many seconds."""
    # The product draws its pauses from the operating system.
    with patch.object(table, "CHANCE", random.Random(SEED + 1)):
        return _simulate(rate, seconds, customers)


def _simulate(rate: float, seconds: float, customers: int) -> Sale:
    chance = random.Random(SEED)
    order = count()
    waiting: list[tuple[float, int, _Customer]] = []
    at = 0.0
    for _ in range(customers):
        at += chance.expovariate(rate)
        customer = _Customer(at)
        customer.next_try(at)
        heappush(waiting, (at, next(order), customer))
    held_until = 0.0
    refused = tries = 0
    took: list[float] = []
    while waiting:
        now, _, customer = heappop(waiting)
        answered = now + seconds
        if now >= held_until:
            held_until = answered
            took.append(answered - customer.began)
        else:
            again = customer.next_try(answered)
            if again is not None:
                heappush(waiting, (again, next(order), customer))
                continue
            refused += 1
        tries += customer.tries
    took.sort()
    p99 = took[int(len(took) * 0.99)] if took else float("nan")
    return Sale(refused / customers, tries / customers, p99 * 1000)


def most(seconds: float, customers: int) -> int:
    """The highest rate, in whole reservations per second, at which few enough are refused."""
    low, high = 1, int(1 / seconds)
    while low < high:
        middle = (low + high + 1) // 2
        if simulate(middle, seconds, customers).refused < REFUSED:
            low = middle
        else:
            high = middle - 1
    return low


def main() -> None:
    customers = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    rows = []
    for duration in DURATIONS_MS:
        rate = most(duration / 1000, customers)
        sale = simulate(rate, duration / 1000, customers)
        rows.append([duration, rate, f"{sale.tries:.1f}", f"{sale.p99_ms:.0f}"])
    head = ["A transaction takes, ms", f"reservations per second with < {REFUSED:.0%} refused"]
    print(markdown([*head, "tries of each", "p99, ms"], rows))
    print(f"\nRefused, by arrivals per second ({CONFLICT_TRIES} tries):\n")
    table = [
        [f"{ms} ms", *(f"{simulate(rate, ms / 1000, customers).refused:.1%}" for rate in RATES)]
        for ms in DURATIONS_MS
    ]
    print(markdown(["A transaction takes", *RATES], table))


if __name__ == "__main__":
    main()
