"""What is so before several things happen at once, and the things that may."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from functions.webhook.app import _notified
from payments.aws.queue import Message
from payments.chapa.notification import Notification
from payments.usecases import refund as refunds
from payments.usecases.cancel import cancel
from payments.errors import NotDeferred
from payments.usecases.initialize import initialize
from payments.usecases.reconcile import reconcile
from payments.usecases.settle import settle
from sandbox.chapa.control import ControlError
from sandbox.client import Response
from tests.search.interleavings.explorer import Choice, Run, Task, written
from tests.search.interleavings.world import Day, World
from tests.shop import Died

type Thing = Callable[["Scene"], object]
type Setting = Callable[["Scene"], None]


class Scene:
    """One order with its payment, in a world, and what may happen to them."""

    def __init__(self, world: World) -> None:
        self.world, self.shop = world, world.shop
        self.order_id, self.tx_ref = "", ""

    def begin(self) -> None:
        self.order_id, self.tx_ref = self.shop.begun({"LAST": 1})

    def webhook(self) -> object:
        note = Notification(event="charge.success", tx_ref=self.tx_ref)
        return _notified(self.shop.backend, note, self.tx_ref)

    def webhook_until_heard(self) -> object:
        """Chapa sends it again when it was not answered."""
        for _ in range(10):
            with suppress(Died, NotDeferred):
                return self.webhook()
        return None

    def webhook_and_worker(self) -> object:
        self.webhook_until_heard()
        return self.worker()

    def money_back_webhook(self) -> object:
        note = Notification(event="charge.refunded", tx_ref=self.tx_ref)
        return _notified(self.shop.backend, note, self.tx_ref)

    def worker(self) -> object:
        reconcile(self.shop.backend, Message(self.order_id))
        return None

    def sweep(self) -> object:
        """And the worker, with whatever is on the queue by then."""
        self.world.sweep()
        self.world.work()
        return None

    def refresh(self) -> object:
        story = self.shop.backend.find(self.tx_ref)
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

    def payment_fails(self) -> object:
        with suppress(ControlError):  # Or the page is shut.
            self.shop.control.fail(self.tx_ref, webhook=False)
        return self.webhook()

    def chapa_reverses(self) -> object:
        with suppress(ControlError):
            self.shop.control.reverse(self.tx_ref, webhook=False)
        return self.money_back_webhook()

    def another_order(self) -> Response:
        return self.shop.order({"LAST": 1}, user="sara")

    def a_minute_passes(self) -> object:
        """Longer than any lease: whoever is at something is slower than they may be."""
        self.shop.clock.advance(61)
        return None

    def half_an_hour_passes(self) -> object:
        self.shop.clock.advance(1800)
        return None


def unbegun(scene: Scene) -> None:
    scene.order_id = str(scene.shop.order({"LAST": 1}).body["order_id"])


def waiting(scene: Scene) -> None:
    scene.begin()
    scene.shop.clock.advance(90)


def paid(scene: Scene) -> None:
    scene.begin()
    scene.shop.control.pay(scene.tx_ref, webhook=False)
    scene.shop.clock.advance(90)


def paid_and_just_asked(scene: Scene) -> None:
    """Somebody asked Chapa in this very second, before the customer had paid."""
    scene.begin()
    scene.refresh()
    scene.shop.control.pay(scene.tx_ref, webhook=False)


def overdue(scene: Scene) -> None:
    scene.begin()
    scene.shop.clock.advance(1800)


def paid_and_overdue(scene: Scene) -> None:
    paid(scene)
    scene.shop.clock.advance(1800)


def lost(scene: Scene) -> None:
    """A payment whose URL nobody knows, though Chapa may have opened it."""
    unbegun(scene)
    scene.shop.control.add_fault("initialize", "timeout_after", seconds=1)
    scene.shop.pay(scene.order_id)
    [payment] = scene.shop.aggregate(scene.order_id).payments
    scene.tx_ref = payment.tx_ref
    scene.shop.clock.advance(90)


def expired_and_paid(scene: Scene) -> None:
    overdue(scene)
    scene.worker()
    scene.customer_pays()
    scene.shop.clock.advance(3600)


def looked_at_for_the_last_time_and_paid(scene: Scene) -> None:
    """Nobody looks any more: all hangs on the webhook."""
    overdue(scene)
    for seconds in (0, 3600, 86_400):
        scene.shop.clock.advance(seconds)
        scene.worker()
    scene.customer_pays()


def sold_to_another_and_paid(scene: Scene) -> None:
    expired_and_paid(scene)
    other = scene.another_order().body["order_id"]
    tx_ref = scene.shop.pay(other, user="sara").body["tx_ref"]
    scene.shop.control.pay(tx_ref, webhook=False)
    scene.shop.notify(tx_ref)


def replaced_and_paid_twice(scene: Scene) -> None:
    scene.begin()
    first = scene.tx_ref
    scene.shop.control.fail(first, webhook=False)
    scene.webhook()
    second = initialize(scene.shop.backend, scene.order_id, "abebe").payment
    scene.shop.control.pay(second.tx_ref, webhook=False)
    scene.shop.control.pay(first, late=True, webhook=False)
    scene.shop.clock.advance(90)


def applied(scene: Scene) -> None:
    paid(scene)
    scene.webhook()


def applied_and_refunding(scene: Scene) -> None:
    applied(scene)
    scene.refund("first", 40)


def refund_pending(scene: Scene) -> None:
    applied_and_refunding(scene)
    scene.worker()
    scene.shop.clock.advance(90)


def refund_unanswered(scene: Scene) -> None:
    applied(scene)
    scene.shop.control.add_fault("refund", "timeout_after", seconds=1)
    scene.refund("first", None)
    scene.worker()
    scene.shop.clock.advance(90)


S = Scene

USE_CASES = (S.click, S.webhook, S.refresh, S.worker, S.sweep, S.cancels, S.refund)

SCENES: Mapping[Setting, Sequence[Thing]] = {
    unbegun: [S.click, S.cancels, S.worker, S.a_minute_passes, S.half_an_hour_passes],
    waiting: [
        S.worker,
        S.click,
        S.cancels,
        S.refresh,
        S.customer_pays,
        S.payment_fails,
        S.a_minute_passes,
        S.half_an_hour_passes,
    ],
    paid: [S.webhook, S.sweep, S.refresh, S.click, S.cancels, S.a_minute_passes],
    paid_and_just_asked: [S.webhook, S.refresh, S.cancels],
    overdue: [
        S.sweep,
        S.worker,
        S.webhook,
        S.click,
        S.cancels,
        S.customer_pays,
        S.a_minute_passes,
    ],
    paid_and_overdue: [S.sweep, S.webhook, S.cancels, S.a_minute_passes],
    lost: [S.click, S.worker, S.cancels, S.customer_pays, S.webhook, S.a_minute_passes],
    expired_and_paid: [S.sweep, S.webhook, S.another_order],
    looked_at_for_the_last_time_and_paid: [S.webhook_until_heard, S.webhook_and_worker],
    sold_to_another_and_paid: [S.sweep, S.webhook, S.refresh],
    replaced_and_paid_twice: [S.worker, S.sweep, S.webhook, S.cancels, S.refresh, S.click],
    applied: [
        S.refund,
        S.another_refund,
        S.money_back_webhook,
        S.worker,
        S.chapa_reverses,
        S.webhook,
        S.refresh,
        S.click,
        S.cancels,
        S.sweep,
    ],
    applied_and_refunding: [
        S.worker,
        S.another_refund,
        S.money_back_webhook,
        S.chapa_reverses,
        S.a_minute_passes,
    ],
    refund_pending: [S.worker, S.another_refund, S.chapa_reverses, S.money_back_webhook],
    refund_unanswered: [S.worker, S.money_back_webhook, S.chapa_reverses, S.a_minute_passes],
}


class Stage:
    """A world with every scene as it begins, set once."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._first_day = self.world.today()
        self._settings: dict[Setting, tuple[Day, str, str]] = {}

    def set(self, setting: Setting) -> Scene:
        if setting not in self._settings:
            self.world.return_to(self._first_day)
            scene = Scene(self.world)
            setting(scene)
            self._settings[setting] = (self.world.today(), scene.order_id, scene.tx_ref)
        day, order_id, tx_ref = self._settings[setting]
        self.world.return_to(day)
        scene = Scene(self.world)
        scene.order_id, scene.tx_ref = order_id, tx_ref
        return scene

    def play(
        self, setting: Setting, things: Sequence[Thing], choices: Sequence[Choice] = ()
    ) -> Run:
        scene = self.set(setting)
        tasks: list[Task] = [lambda thing=thing: thing(scene) for thing in things]  # type: ignore[misc]
        run = self.world.play(tasks, choices)
        try:
            self.world.come_to_rest()
        except AssertionError as error:
            raise AssertionError(f"{named(setting, things)}: {written(run.taken)}") from error
        return run


def named(setting: Setting, things: Sequence[Thing]) -> str:
    return f"{setting.__name__}: {', '.join(thing.__name__ for thing in things)}"
