"""Every use case that calls Chapa, or that Chapa calls: what was before, what is done, who comes
back after it."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from payments.queue import message_for
from sandbox.chapa.control import ControlError
from sandbox.chapa.faults import Call
from sandbox.client import Response
from tests.search.interleavings import scenes
from tests.search.interleavings.scenes import Scene, Setting
from tests.shop import http_event

WORKER_MILLISECONDS = 60_000
MOST_TRIES = 60
"""Times that a customer asks again; by then any order's time is over."""

NOBODY = "-"
"""There is nobody to be told."""

type Act = Callable[[Scene], str]
type Afterwards = Callable[[Scene], str | None]


@dataclass(frozen=True)
class Use:
    """`afterwards` is what somebody outside does when the fault is over, or goes on doing."""

    name: str
    setting: Setting
    act: Act
    afterwards: Afterwards = lambda _: None
    goes_wrong_after: str | None = None
    """The fault begins only when this part of Chapa was called."""


def told(answer: Response) -> str:
    if answer.status < 300:
        return str(answer.status)
    again = answer.body.get("retry_after")
    return f"{answer.status} {answer.code}" + (f", again in {again} s" if again else "")


def click(scene: Scene) -> str:
    return told(_ask(scene))


def _ask(scene: Scene) -> Response:
    answer = scene.shop.pay(scene.order_id)
    if answer.status < 300:
        scene.tx_ref = str(answer.body["tx_ref"])
    return answer


def comes_back_and_pays(scene: Scene) -> str:
    """Whoever was told to ask again does so, in time, and pays on the page that they get."""
    began = scene.shop.now
    answer = _ask(scene)
    tries = 1
    while "retry_after" in answer.body and tries < MOST_TRIES:
        scene.shop.clock.advance(answer.body["retry_after"])
        answer = _ask(scene)
        tries += 1
    if answer.status < 300:
        scene.shop.control.pay(scene.tx_ref, webhook=False)
    often = "" if tries == 1 else f" after {tries} tries in {_span(scene.shop.now - began)}"
    return f"{told(answer)}{often}"


def _span(seconds: int) -> str:
    return f"{seconds} s" if seconds < 120 else f"{seconds // 60} min"


def pays_in_spite_of_all(scene: Scene) -> None:
    with suppress(ControlError):  # Where the page is really shut, they cannot.
        scene.shop.control.pay(scene.tx_ref, webhook=False)


def webhook(scene: Scene) -> str:
    answer = scene.shop.notify(scene.tx_ref)
    return f"{told(answer)} {answer.body.get('outcome', '')}".strip()


def reversal_webhook(scene: Scene) -> str:
    answer = scene.shop.notify(scene.tx_ref, "charge.reversed")
    return f"{told(answer)} {answer.body.get('outcome', '')}".strip()


def refresh(scene: Scene) -> str:
    answer = scene.shop.status(scene.tx_ref, refresh=True)
    return f"{answer.status} order {answer.body['order_status']}"


def worker(scene: Scene) -> str:
    event = {"Records": [{"messageId": "1", "body": message_for(scene.order_id)}]}
    answer = scene.shop.call("reconcile", event, milliseconds=WORKER_MILLISECONDS)
    assert answer == {"batchItemFailures": []}
    return NOBODY


def cancels(scene: Scene) -> str:
    event = http_event("POST", path={"order_id": scene.order_id})
    answer = scene.shop.http("checkout", event)
    status = f" order {answer.body['status']}" if answer.status < 300 else ""
    return f"{told(answer)}{status}"


def cancelling(scene: Scene) -> None:
    """The customer does not want it any more, and Chapa could not be asked to shut the page."""
    scenes.waiting(scene)
    scene.shop.control.add_fault("cancel", "reset")
    cancels(scene)
    scene.shop.clock.advance(90)


def overdue_and_known(scene: Scene) -> None:
    """Whoever shuts the page has looked a moment before."""
    scenes.overdue(scene)


def refund_owed(scene: Scene) -> None:
    scenes.applied(scene)
    scene.refund("first", None)


def part_owed(scene: Scene) -> None:
    scenes.applied(scene)
    scene.refund("first", 40)


def owed_for_coming_too_late(scene: Scene) -> None:
    scenes.sold_to_another_and_paid(scene)
    scene.webhook()


def _until_due(scene: Scene) -> None:
    due = scene.shop.aggregate(scene.order_id).order.due_at
    assert due is not None
    scene.shop.clock.advance(due - scene.shop.now)


def unheard(setting: Setting) -> Setting:
    """A refund that was asked for once already, and Chapa never heard of it."""

    def unheard_(scene: Scene) -> None:
        setting(scene)
        scene.shop.control.add_fault("refund", "timeout_before", seconds=1)
        scene.worker()
        _until_due(scene)

    return unheard_


def unanswered(setting: Setting) -> Setting:
    """A refund that was asked for once already, and Chapa's answer was lost."""

    def unanswered_(scene: Scene) -> None:
        setting(scene)
        scene.shop.control.add_fault("refund", "timeout_after", seconds=1)
        scene.worker()
        _until_due(scene)

    return unanswered_


def taken(setting: Setting) -> Setting:
    """Chapa has the refund and said so."""

    def taken_(scene: Scene) -> None:
        setting(scene)
        scene.worker()
        scene.shop.clock.advance(90)

    return taken_


def reversed_(scene: Scene) -> None:
    scenes.applied(scene)
    scene.shop.control.reverse(scene.tx_ref, webhook=False)
    scene.shop.clock.advance(90)


def reversed_and_doubted(scene: Scene) -> None:
    """The webhook came while Chapa could not be asked."""
    reversed_(scene)
    scene.shop.control.add_fault("verify", "reset")
    reversal_webhook(scene)
    scene.shop.clock.advance(90)


def doubted_without_reason(scene: Scene) -> None:
    scenes.applied(scene)
    scene.shop.clock.advance(90)


def refunded_elsewhere(scene: Scene) -> None:
    """Somebody gave the money back on Chapa's dashboard."""
    scenes.applied(scene)
    payment = scene.shop.simulator.find(scene.tx_ref)
    assert payment is not None
    refund = scene.shop.simulator.refund(
        payment, payment.amount, reference=None, reason=None, meta=None
    )
    scene.shop.simulator.move_refund(refund, "refunded", webhook=False)
    scene.shop.clock.advance(90)


def customer_pays(scene: Scene) -> str:
    """The money comes, and what Chapa has to say about it is delivered."""
    scene.shop.control.pay(scene.tx_ref)
    return _delivered(scene)


def attempt_fails(scene: Scene) -> str:
    scene.shop.control.fail(scene.tx_ref)
    return _delivered(scene)


def chapa_reverses(scene: Scene) -> str:
    scene.shop.control.reverse(scene.tx_ref)
    return _delivered(scene)


def _delivered(scene: Scene) -> str:
    return ", ".join(str(code) for code in scene.shop.deliver()) or NOBODY


def more_is_delivered(scene: Scene) -> str | None:
    """What was delayed or refused, for as long as Chapa tries."""
    codes: list[int | None] = []
    while scene.shop.simulator.outbox.waiting:
        due = min(delivery.due for delivery in scene.shop.simulator.outbox.waiting)
        scene.shop.clock.now = max(scene.shop.clock.now, due)
        scene.world.sweep()
        scene.world.work()
        codes += scene.shop.deliver()
    if not codes:
        return None
    return f"later {codes[0]}" + (f", {len(codes)} times" if len(codes) > 1 else "")


USES: Mapping[Call, Sequence[Use]] = {
    "initialize": [
        Use("a customer goes to pay, and asks again", scenes.unbegun, click, comes_back_and_pays),
        Use("a customer goes to pay, and gives up", scenes.unbegun, click),
        Use("a customer asks again, whose page was lost", scenes.lost, click, comes_back_and_pays),
    ],
    "verify": [
        Use("webhook of a success", scenes.paid, webhook),
        Use("webhook of a success, the order has expired", scenes.expired_and_paid, webhook),
        Use("webhook of a second success", scenes.replaced_and_paid_twice, webhook),
        Use("webhook, nothing is paid", scenes.waiting, webhook),
        Use("the customer polls after paying", scenes.paid, refresh),
        Use("the worker looks, it is paid", scenes.paid, worker),
        Use("the worker looks, nothing is paid", scenes.waiting, worker),
        Use("the worker looks, it is paid and past its time", scenes.paid_and_overdue, worker),
        Use("the worker looks, unpaid and past its time", scenes.overdue, worker),
        Use(
            "the worker has shut the page",
            overdue_and_known,
            worker,
            goes_wrong_after="cancel",
        ),
        Use("the worker's last look finds a success", scenes.expired_and_paid, worker),
        Use("the customer cancels", scenes.waiting, cancels),
        Use("the customer cancels what they paid", scenes.paid, cancels),
        Use("a customer asks again, whose page was lost", scenes.lost, click, comes_back_and_pays),
        Use("a refund is asked for again, unheard", unheard(refund_owed), worker),
        Use("a refund is asked for again, unanswered", unanswered(refund_owed), worker),
        Use("webhook of a reversal", reversed_, reversal_webhook),
        Use("webhook of a reversal that is none", doubted_without_reason, reversal_webhook),
        Use("webhook of money given back elsewhere", refunded_elsewhere, reversal_webhook),
        Use("the worker looks into a reversal", reversed_and_doubted, worker),
    ],
    "cancel": [
        Use("the worker, an order past its time", scenes.overdue, worker),
        Use(
            "the same, and the customer still pays",
            scenes.overdue,
            worker,
            pays_in_spite_of_all,
        ),
        Use("the customer cancels", scenes.waiting, cancels),
        Use("the customer cancels, and still pays", scenes.waiting, cancels, pays_in_spite_of_all),
        Use("the worker, an order that is being cancelled", cancelling, worker),
        Use("a customer asks again, whose page was lost", scenes.lost, click, comes_back_and_pays),
    ],
    "refund": [
        Use("all of a payment", refund_owed, worker),
        Use("a part of a payment", part_owed, worker),
        Use("money that came too late", owed_for_coming_too_late, worker),
        Use("all again, Chapa did not hear of it", unheard(refund_owed), worker),
        Use("all again, the answer was lost", unanswered(refund_owed), worker),
        Use("a part again, Chapa did not hear of it", unheard(part_owed), worker),
        Use("a part again, the answer was lost", unanswered(part_owed), worker),
    ],
    "refund_verify": [
        Use("all of a payment", taken(refund_owed), worker),
        Use("a part of a payment", taken(part_owed), worker),
    ],
    "webhook": [
        Use("of a success", scenes.waiting, customer_pays, more_is_delivered),
        Use("of a failed attempt", scenes.waiting, attempt_fails, more_is_delivered),
        Use("of a reversal", doubted_without_reason, chapa_reverses, more_is_delivered),
    ],
    "callback": [
        Use("of a success", scenes.waiting, customer_pays, more_is_delivered),
    ],
}
