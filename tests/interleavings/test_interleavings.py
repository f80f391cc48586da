"""Two things at once, in every order of their calls: whatever happens, the promises hold.

By default nobody is interrupted more than once, and a few orders of each pair are drawn, the same
in each run. `SCHEDULES=0` takes all of them, and `INTERRUPTIONS=2` looks at far more.
"""

import copy
import os
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import combinations_with_replacement, islice
from typing import Any

import pytest
from moto import mock_aws
from moto.dynamodb.models import dynamodb_backends

from functions.webhook.app import Notification, _notified
from payments import refunds
from payments.cancel import cancel
from payments.errors import PaymentsError
from payments.initialize import initialize
from payments.reconcile import reconcile
from payments.settle import find, settle
from sandbox.chapa.control import ControlError
from tests.interleavings.explorer import Run, Task, schedules
from tests.shop import WEBHOOK_SECRET, Shop

INTERRUPTIONS = int(os.environ.get("INTERRUPTIONS", "1"))
SCHEDULES = int(os.environ.get("SCHEDULES", "4")) or None


class World:
    """A shop that can be put back to its first day, and whose calls are steps."""

    def __init__(self) -> None:
        self.shop = Shop()
        self.shop.configure(wait_seconds="0")
        # Each may ask Chapa whenever it likes: more happens at once.
        every = self.shop.backend.settings.model_copy(update={"verify_every_seconds": 0})
        self.shop.backend = replace(self.shop.backend, settings=every)
        self._first_day = copy.deepcopy(self._table.items)
        self._began = self.shop.clock.now
        self.run: Run | None = None
        self.shop.dynamodb.meta.events.register("before-call.dynamodb", self._step)
        self.shop.line.before_each = self._step

    @property
    def _table(self) -> Any:
        """moto puts another in its place when a transaction fails."""
        return dynamodb_backends["123456789012"]["us-east-1"].tables["payments"]

    def _step(self, **_: Any) -> None:
        if self.run:
            self.run.step()

    def reset(self) -> None:
        shop = self.shop
        self.run = None
        self._table.items = copy.deepcopy(self._first_day)
        shop.clock.now = self._began
        shop.random.seed(7)
        shop.told.clear()
        while shop.messages.receive():
            pass
        shop.control.reset()
        shop.control.set(webhook_url="http://127.0.0.1:1", webhook_secret=WEBHOOK_SECRET)

    def settle_down(self, order_id: str) -> None:
        """The ordinary machinery, and nothing else: looks, each when it is due."""
        shop = self.shop
        for _ in range(20):
            due = shop.story(order_id).order.due_at
            if due is None:
                return
            shop.clock.advance(max(0, due - shop.now))
            reconcile(shop.backend, order_id)
        raise AssertionError("the order never comes to rest")


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with mock_aws():
        yield World()


class Story:
    """What is so before two things happen at once, and the things that may."""

    def __init__(self, world: World) -> None:
        self.shop = world.shop
        self.order_id, self.tx_ref = "", ""

    def begin(self) -> None:
        self.order_id, self.tx_ref = self.shop.begun({"LAST": 1})

    def webhook(self) -> object:
        note = Notification(event="charge.success", tx_ref=self.tx_ref)
        return _notified(self.shop.backend, note)

    def money_back_webhook(self) -> object:
        note = Notification(event="charge.refunded", tx_ref=self.tx_ref)
        return _notified(self.shop.backend, note)

    def worker(self) -> object:
        reconcile(self.shop.backend, self.order_id)
        return None

    def refresh(self) -> object:
        story = find(self.shop.backend, self.tx_ref)
        return settle(self.shop.backend, story, self.tx_ref)

    def click(self) -> object:
        return initialize(self.shop.backend, self.order_id, "abebe")

    def cancels(self) -> object:
        return cancel(self.shop.backend, self.order_id, "abebe")

    def refund(self, key: str = "a", amount: int | None = 60) -> object:
        return refunds.request(self.shop.backend, self.tx_ref, amount, key=key, reason="Broken")

    def another_refund(self) -> object:
        return self.refund("b", None)

    def customer_pays(self) -> object:
        with suppress(ControlError):  # They paid already.
            self.shop.control.pay(self.tx_ref, late=True, webhook=False)
        return None

    def another_order(self) -> object:
        return self.shop.order({"LAST": 1}, user="sara")


def waiting(story: Story) -> None:
    story.begin()
    story.shop.clock.advance(90)


def paid(story: Story) -> None:
    story.begin()
    story.shop.control.pay(story.tx_ref, webhook=False)
    story.shop.clock.advance(90)


def overdue(story: Story) -> None:
    story.begin()
    story.shop.clock.advance(1800)


def paid_and_overdue(story: Story) -> None:
    paid(story)
    story.shop.clock.advance(1800)


def lost(story: Story) -> None:
    """A payment whose URL nobody knows, though Chapa may have opened it."""
    story.order_id = str(story.shop.order({"LAST": 1}).body["order_id"])
    story.shop.control.add_fault("initialize", "timeout_after", seconds=1)
    story.shop.pay(story.order_id)
    [payment] = story.shop.story(story.order_id).payments
    story.tx_ref = payment.tx_ref
    story.shop.clock.advance(90)


def expired_and_paid(story: Story) -> None:
    overdue(story)
    story.worker()
    story.customer_pays()
    story.shop.clock.advance(3600)


def replaced_and_paid_twice(story: Story) -> None:
    story.begin()
    first = story.tx_ref
    story.shop.control.fail(first, webhook=False)
    story.webhook()
    _, second, _ = initialize(story.shop.backend, story.order_id, "abebe")
    story.shop.control.pay(second.tx_ref, webhook=False)
    story.shop.control.pay(first, late=True, webhook=False)
    story.shop.clock.advance(90)


def applied(story: Story) -> None:
    paid(story)
    story.webhook()


def applied_and_refunding(story: Story) -> None:
    applied(story)
    story.refund("first", 40)


S = Story
SITUATIONS: dict[Callable[[Story], None], list[Callable[[Story], object]]] = {
    waiting: [S.worker, S.click, S.cancels, S.refresh, S.customer_pays],
    paid: [S.webhook, S.worker, S.refresh, S.click, S.cancels],
    overdue: [S.worker, S.webhook, S.click, S.cancels, S.customer_pays],
    paid_and_overdue: [S.worker, S.webhook, S.cancels],
    lost: [S.click, S.worker, S.cancels, S.customer_pays],
    expired_and_paid: [S.worker, S.webhook, S.another_order],
    replaced_and_paid_twice: [S.worker, S.webhook, S.cancels],
    applied: [S.refund, S.another_refund, S.money_back_webhook, S.worker],
    applied_and_refunding: [S.worker, S.another_refund, S.money_back_webhook],
}

PAIRS = [
    pytest.param(situation, pair, id=" ".join(each.__name__ for each in (situation, *pair)))
    for situation, things in SITUATIONS.items()
    for pair in combinations_with_replacement(things, 2)
]


@pytest.mark.parametrize(("situation", "things"), PAIRS)
def test_in_every_order_the_promises_hold(
    world: World,
    situation: Callable[[Story], None],
    things: Sequence[Callable[[Story], object]],
) -> None:
    def play(choices: Sequence[int]) -> Run:
        world.reset()
        story = Story(world)
        situation(story)
        tasks: list[Task] = [lambda thing=thing: thing(story) for thing in things]  # type: ignore[misc]
        world.run = run = Run(tasks, choices)
        errors = run.play()
        world.run = None
        told = f"replay: {run.taken}"
        for error in errors:
            if error is not None and not isinstance(error, PaymentsError):
                raise AssertionError(told) from error
        assert world.shop.audit() == [], told
        world.settle_down(story.order_id)
        assert world.shop.audit(settled=True) == [], told
        return run

    some = islice(schedules(play, INTERRUPTIONS, random.Random(7)), SCHEDULES)
    seen = {tuple(run.taken) for run in some}
    assert len(seen) > 1
