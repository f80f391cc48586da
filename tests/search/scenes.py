"""The states of an order in which actions meet, and the actions."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from functions.webhook.app import _notified
from payments.aws.queue import Message
from payments.chapa.keys import V2
from payments.chapa.notification import Notification
from payments.domain import ids
from payments.errors import NotDeferred
from payments.usecases import refund as refunds
from payments.usecases import resolve
from payments.usecases.cancel import cancel
from payments.usecases.compare import compare_nightly
from payments.usecases.initialize import initialize
from payments.usecases.reconcile import reconcile
from payments.usecases.refund import RefundDecision
from payments.usecases.resolve import PaymentDecision
from payments.usecases.settle import settle
from sandbox.chapa.control import ControlError
from sandbox.client import Response
from tests.depth import NIGHTLY
from tests.search.explorer import Choice, Run, Task, written
from tests.search.world import Snapshot, World
from tests.shop import CURRENT, PROVIDERS, Died

PAGE_OVER = 3600 + 120
"""Seconds after which nobody can pay on a page any more."""

type Action = Callable[["Scene"], object]
type Setup = Callable[["Scene"], None]


class Scene:
    """One order with its payment, and the actions on them."""

    def __init__(self, world: World, order_id: str = "", tx_ref: str = "") -> None:
        self.world, self.order_id, self.tx_ref = world, order_id, tx_ref

    @property
    def can_close(self) -> bool:
        """Whether the shop can close a page; with v2 an order holds its stock until its end."""
        return self.world.provider != V2.provider

    def webhook(self, event: str = "charge.success") -> object:
        notification = Notification(event=event, tx_ref=self.tx_ref)
        return _notified(self.world.backend, notification, self.tx_ref)

    def refund_webhook(self) -> object:
        return self.webhook("charge.refunded")

    def webhook_until_answered(self) -> object:
        """Chapa repeats a webhook that was not answered."""
        for _ in range(10):
            with suppress(Died, NotDeferred):
                return self.webhook()
        return None

    def webhook_then_worker(self) -> None:
        self.webhook_until_answered()
        self.worker()

    def worker(self) -> None:
        reconcile(self.world.backend, Message(self.order_id))

    def sweep(self) -> None:
        """Schedule and worker."""
        self.world.sweep()

    def status_refresh(self) -> object:
        aggregate = self.world.backend.find(self.tx_ref)
        return settle(self.world.backend, aggregate, self.tx_ref)

    def initialize(self) -> object:
        return initialize(self.world.backend, self.order_id, "abebe")

    def cancel(self) -> object:
        return cancel(self.world.backend, self.order_id, "abebe")

    def refund(self, key: str = "a", amount: int | None = 600) -> object:
        return refunds.request(self.world.backend, self.tx_ref, amount, key=key, reason="Broken")

    def other_refund(self) -> object:
        return self.refund("b", None)

    def customer_pays(self) -> None:
        with suppress(ControlError):  # Already paid.
            self.world.control.pay(self.tx_ref, late=True, webhook=False)

    def attempt_fails(self) -> object:
        with suppress(ControlError):  # Already paid, or the page is closed.
            self.world.control.fail(self.tx_ref, webhook=False)
        return self.webhook()

    def chapa_reverses(self) -> object:
        with suppress(ControlError):
            self.world.control.reverse(self.tx_ref, webhook=False)
        return self.refund_webhook()

    def compare(self) -> None:
        """The nightly comparison, up to now."""
        compare_nightly(self.world.backend, 1, until=self.world.now + 1)

    def other_order(self) -> Response:
        return self.world.order({"LAST": 1}, user="sara")

    def _decide(self, by: str, decision: PaymentDecision, **how: bool) -> object:
        backend = self.world.backend
        return resolve.resolve(backend, self.tx_ref, decision, by=by, reason="Seen", **how)

    def operator_accepts(self) -> object:
        return self._decide("almaz", PaymentDecision.ACCEPT)

    def operator_refunds(self) -> object:
        return self._decide("bekele", PaymentDecision.REFUND)

    def operator_dismisses(self) -> object:
        return self._decide("chala", PaymentDecision.DISMISS)

    def operator_dismisses_unanswered(self) -> object:
        return self._decide("desta", PaymentDecision.DISMISS, unanswered=True)

    def _decide_refund(self, by: str, decision: RefundDecision) -> object:
        refund_id = ids.refund_id(self.tx_ref, "key first")
        return refunds.resolve(self.world.backend, refund_id, decision, by=by, reason="Seen")

    def refund_retried(self) -> object:
        return self._decide_refund("almaz", RefundDecision.RETRY)

    def refund_settled(self) -> object:
        return self._decide_refund("bekele", RefundDecision.SETTLE)

    def refund_dismissed(self) -> object:
        return self._decide_refund("chala", RefundDecision.DISMISS)

    def goods_returned(self) -> object:
        backend, returns = self.world.backend, {"LAST": 1}
        return refunds.request(backend, self.tx_ref, 0, key="c", reason="Back", returns=returns)

    def chapa_refunds(self) -> object:
        """All that is left, on Chapa's dashboard."""
        chapa, payment = self.world.simulator, self.world.at_chapa(self.tx_ref)
        if payment.paid and payment.refundable:
            refund = chapa.refund(
                payment, payment.refundable, reference=None, reason=None, meta=None
            )
            chapa.move_refund(refund, "refunded", webhook=False)
        return self.refund_webhook()

    def minute_passes(self) -> None:
        """Longer than any lease: every task in progress is too slow."""
        self.world.clock.advance(61)

    def half_hour_passes(self) -> None:
        self.world.clock.advance(1800)


def no_payment(scene: Scene) -> None:
    scene.order_id = str(scene.world.order({"LAST": 1}).body["order_id"])


def just_opened(scene: Scene) -> None:
    scene.order_id, scene.tx_ref = scene.world.begun({"LAST": 1})


def waiting(scene: Scene) -> None:
    just_opened(scene)
    scene.world.clock.advance(90)


def paid_unnoticed(scene: Scene) -> None:
    just_opened(scene)
    scene.customer_pays()
    scene.world.clock.advance(90)


def paid_just_after_check(scene: Scene) -> None:
    just_opened(scene)
    scene.status_refresh()
    scene.customer_pays()


def overdue(scene: Scene) -> None:
    just_opened(scene)
    scene.world.clock.advance(1800)


def paid_and_overdue(scene: Scene) -> None:
    paid_unnoticed(scene)
    scene.world.clock.advance(1800)


def page_lost(scene: Scene) -> None:
    """The response of initialize was lost: Chapa has a payment, and we have no URL."""
    no_payment(scene)
    scene.world.control.add_fault("initialize", "timeout_after", seconds=1)
    scene.world.pay(scene.order_id)
    [payment] = scene.world.aggregate(scene.order_id).payments
    scene.tx_ref = payment.tx_ref
    scene.world.clock.advance(90)


def page_over(scene: Scene) -> None:
    """Nobody did anything until the end of the page."""
    just_opened(scene)
    scene.world.clock.advance(PAGE_OVER)


def expired(scene: Scene) -> None:
    """Where a page cannot be closed, the order expires with it."""
    (overdue if scene.can_close else page_over)(scene)
    scene.worker()


def expired_and_paid(scene: Scene) -> None:
    expired(scene)
    scene.customer_pays()
    scene.world.clock.advance(3600)


def paid_after_final_check(scene: Scene) -> None:
    """Only a webhook can still report the payment."""
    expired(scene)
    for seconds in (3600, 86_400):
        scene.world.clock.advance(seconds)
        scene.worker()
    scene.customer_pays()


def paid_and_sold_out(scene: Scene) -> None:
    """The order expired, and another customer bought the last unit before the payment came."""
    expired_and_paid(scene)
    other = scene.other_order().body["order_id"]
    tx_ref = scene.world.pay(other, user="sara").body["tx_ref"]
    scene.world.control.pay(tx_ref, webhook=False)
    scene.world.notify(tx_ref)


def paid_twice(scene: Scene) -> None:
    """The first payment failed and was replaced; then the customer paid both."""
    just_opened(scene)
    first = scene.tx_ref
    scene.attempt_fails()
    second = initialize(scene.world.backend, scene.order_id, "abebe").payment
    for tx_ref in (second.tx_ref, first):
        scene.world.control.pay(tx_ref, late=True, webhook=False)
    scene.world.clock.advance(90)


def paid_with_both_versions(scene: Scene) -> None:
    """The shop changed its key between two payments of an order, and the customer paid both."""
    just_opened(scene)
    first = scene.tx_ref
    scene.attempt_fails()
    scene.world.change_over()
    second = initialize(scene.world.backend, scene.order_id, "abebe").payment
    for tx_ref in (first, second.tx_ref):
        scene.world.control.pay(tx_ref, late=True, webhook=False)
    scene.world.clock.advance(90)


def applied(scene: Scene) -> None:
    paid_unnoticed(scene)
    scene.webhook()


def reversed_unnoticed(scene: Scene) -> None:
    applied(scene)
    scene.world.control.reverse(scene.tx_ref, webhook=False)
    scene.minute_passes()


def refund_requested(scene: Scene) -> None:
    applied(scene)
    scene.refund("first", 400)


def refund_pending(scene: Scene) -> None:
    refund_requested(scene)
    scene.worker()
    scene.world.clock.advance(90)


def refund_unanswered(scene: Scene) -> None:
    applied(scene)
    scene.world.control.add_fault("refund", "timeout_after", seconds=1)
    scene.refund("first", None)
    scene.worker()
    scene.world.clock.advance(90)


def refund_refused(scene: Scene) -> None:
    """Chapa refused a part. The operators decide about it."""
    refund_requested(scene)
    scene.world.control.add_fault("refund", "status", status=400)
    scene.worker()
    scene.world.clock.advance(90)


def other_amount_paid(scene: Scene) -> None:
    """In manual review."""
    just_opened(scene)
    scene.world.control.pay(scene.tx_ref, amount="0.50", webhook=False)
    scene.world.clock.advance(90)
    scene.webhook()


def other_amount_and_overdue(scene: Scene) -> None:
    other_amount_paid(scene)
    scene.world.clock.advance(1800)


def rest_refunded_by_chapa(scene: Scene) -> None:
    """We refunded a part, and Chapa's dashboard the rest: manual review."""
    refund_pending(scene)
    for refund in scene.world.simulator.refunds.values():
        scene.world.simulator.move_refund(refund, "refunded", webhook=False)
    scene.worker()
    scene.world.clock.advance(90)
    scene.chapa_refunds()


def closing_in_grace(scene: Scene) -> None:
    """Chapa says pending after the end of the page: a wallet may be asking the customer."""
    scene.world.control.switch(verify_unpaid="pending", verify_cancelled="unpaid")
    scene.world.control.switch_v2(link_end="pending")
    expired(scene)
    scene.world.clock.advance(60)


def late_success_in_review(scene: Scene) -> None:
    scene.world.with_rules(late_success="review")
    expired_and_paid(scene)
    scene.webhook()


USE_CASES = "initialize webhook status_refresh worker sweep cancel refund"

ACTIONS: Mapping[Setup, str] = {
    no_payment: "initialize cancel worker minute_passes half_hour_passes",
    waiting: "worker initialize cancel status_refresh customer_pays attempt_fails minute_passes"
    " half_hour_passes",
    paid_unnoticed: "webhook sweep status_refresh initialize cancel minute_passes",
    paid_just_after_check: "webhook status_refresh cancel",
    overdue: "sweep worker webhook initialize cancel customer_pays minute_passes"
    " operator_dismisses",
    paid_and_overdue: "sweep webhook cancel minute_passes",
    page_over: "worker webhook customer_pays cancel",
    page_lost: "initialize worker cancel customer_pays webhook minute_passes",
    expired_and_paid: "sweep webhook other_order",
    paid_after_final_check: "webhook_until_answered webhook_then_worker",
    paid_and_sold_out: "sweep webhook status_refresh",
    paid_twice: "worker sweep webhook cancel status_refresh initialize",
    paid_with_both_versions: "sweep webhook cancel",
    applied: "refund other_refund goods_returned refund_webhook worker chapa_reverses webhook"
    " status_refresh initialize cancel sweep",
    refund_requested: "worker other_refund refund_webhook chapa_reverses minute_passes",
    refund_pending: "worker other_refund chapa_reverses refund_webhook",
    refund_unanswered: "worker refund_webhook chapa_reverses minute_passes refund_settled",
    refund_refused: "refund_retried refund_settled refund_dismissed other_refund goods_returned"
    " chapa_refunds worker",
    other_amount_paid: "operator_accepts operator_refunds operator_dismisses chapa_refunds worker",
    other_amount_and_overdue: "operator_dismisses_unanswered operator_accepts cancel sweep",
    rest_refunded_by_chapa: "operator_accepts operator_refunds operator_dismisses worker",
    closing_in_grace: "worker customer_pays webhook operator_accepts operator_dismisses"
    " operator_dismisses_unanswered",
    late_success_in_review: "operator_accepts operator_refunds operator_dismisses other_order"
    " chapa_refunds",
    reversed_unnoticed: "compare refund worker",
}


def actions(names: str) -> list[Action]:
    return [getattr(Scene, name) for name in names.split()]


SCENES: Mapping[Setup, Sequence[Action]] = {
    setup: actions(names) for setup, names in ACTIONS.items()
}


PLAYED = [
    (provider, setup)
    for provider in PROVIDERS
    for number, setup in enumerate(SCENES)
    if NIGHTLY or provider == CURRENT or number % 3 == 0
]
"""By day a third of the scenes with the version of Chapa's API that PROVIDER does not choose."""


class Stage:
    """A world with a snapshot of each scene."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.scene = Scene(world)
        self._empty = world.snapshot()
        self._scenes: dict[Setup, tuple[Snapshot, str, str]] = {}

    def set(self, setup: Setup) -> Scene:
        if setup not in self._scenes:
            self.world.return_to(self._empty)
            scene = Scene(self.world)
            setup(scene)
            self._scenes[setup] = (self.world.snapshot(), scene.order_id, scene.tx_ref)
        snapshot, *ids = self._scenes[setup]
        self.world.return_to(snapshot)
        self.scene = Scene(self.world, *ids)
        return self.scene

    def play(self, setup: Setup, actions: Sequence[Action], choices: Sequence[Choice] = ()) -> Run:
        scene = self.set(setup)
        tasks: list[Task] = [lambda action=action: action(scene) for action in actions]  # type: ignore[misc]
        return self.world.play(tasks, choices)

    def play_to_rest(
        self, setup: Setup, actions: Sequence[Action], choices: Sequence[Choice] = ()
    ) -> Run:
        try:
            run = self.play(setup, actions, choices)
            self.world.come_to_rest()
        except Exception as error:
            taken = written(self.world.last_run.taken)
            error.add_note(f'REPLAY="{named(setup, actions)}: {taken}"')
            raise
        return run


def named(setup: Setup, actions: Sequence[Action]) -> str:
    return f"{setup.__name__}: {', '.join(action.__name__ for action in actions)}"


def name_of(part: object) -> str:
    """A setup's name for pytest, or the provider's."""
    return str(getattr(part, "__name__", part))
