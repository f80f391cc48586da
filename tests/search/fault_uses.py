"""Every use case that calls Chapa or that Chapa calls: setup, action, and what follows it."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from payments.aws.queue import Message, message_body
from sandbox.chapa.control import ControlError
from sandbox.chapa.faults import Call, Kind
from sandbox.chapa.records import Version
from sandbox.client import Response
from tests.search import scenes
from tests.search.scenes import Scene, Setup
from tests.shop import http_event

WORKER_MILLISECONDS = 60_000
MAX_TRIES = 60
"""How often a customer repeats a request; any order has expired by then."""

NOBODY = "-"
"""In the tables: no client waits for a response."""

type Act = Callable[[Scene], str]


@dataclass(frozen=True)
class Use:
    """`afterwards` happens outside, once the fault has ended or while it lasts."""

    name: str
    setup: Setup
    act: Act
    afterwards: Callable[[Scene], str | None] = lambda _: None
    fault_after: str | None = None
    """The fault begins with the first call to Chapa whose path contains this."""


def shown(response: Response) -> str:
    if response.status < 300:
        return str(response.status)
    again = response.body.get("retry_after")
    return f"{response.status} {response.code}" + (f", again in {again} s" if again else "")


def initialize(scene: Scene) -> str:
    return shown(_initialize(scene))


def _initialize(scene: Scene) -> Response:
    response = scene.world.pay(scene.order_id)
    if response.status < 300:
        scene.tx_ref = str(response["tx_ref"])
    return response


def repeat_and_pay(scene: Scene) -> str:
    """The customer repeats the request as `retry_after` says, and pays on the page."""
    began = scene.world.now
    response = _initialize(scene)
    tries = 1
    while "retry_after" in response.body and tries < MAX_TRIES:
        scene.world.clock.advance(response["retry_after"])
        response = _initialize(scene)
        tries += 1
    if response.status < 300:
        scene.world.control.pay(scene.tx_ref, webhook=False)
    if tries == 1:
        return shown(response)
    seconds = scene.world.now - began
    span = f"{seconds} s" if seconds < 120 else f"{seconds // 60} min"
    return f"{shown(response)} after {tries} tries in {span}"


def pay_anyway(scene: Scene) -> None:
    with suppress(ControlError):  # The page is closed.
        scene.world.control.pay(scene.tx_ref, webhook=False)


def webhook(scene: Scene, event: str = "charge.success") -> str:
    response = scene.world.notify(scene.tx_ref, event)
    return f"{shown(response)} {response.body.get('outcome', '')}".strip()


def reversal_webhook(scene: Scene) -> str:
    return webhook(scene, "charge.reversed")


def refresh(scene: Scene) -> str:
    response = scene.world.status(scene.tx_ref, refresh=True)
    return f"{response.status} order {response['order_status']}"


def worker(scene: Scene) -> str:
    event = {"Records": [{"messageId": "1", "body": message_body(Message(scene.order_id))}]}
    result = scene.world.call("reconcile", event, milliseconds=WORKER_MILLISECONDS)
    assert result == {"batchItemFailures": []}
    return NOBODY


def cancel(scene: Scene) -> str:
    event = http_event("POST", path={"order_id": scene.order_id})
    response = scene.world.http("orders", event)
    return shown(response) + (f" order {response['status']}" if response.status < 300 else "")


def customer_pays(scene: Scene) -> str:
    scene.world.control.pay(scene.tx_ref)
    return _deliver(scene)


def attempt_fails(scene: Scene) -> str:
    scene.world.control.fail(scene.tx_ref)
    return _deliver(scene)


def chapa_reverses(scene: Scene) -> str:
    scene.world.control.reverse(scene.tx_ref)
    return _deliver(scene)


def _deliver(scene: Scene) -> str:
    return ", ".join(str(code) for code in scene.world.deliver()) or NOBODY


def deliver_the_rest(scene: Scene) -> str | None:
    """Delayed and refused webhooks, as long as Chapa repeats them."""
    world, codes = scene.world, list[int | None]()
    while waiting_ := world.simulator.outbox.waiting:
        world.clock.now = max(world.clock.now, min(delivery.due for delivery in waiting_))
        world.sweep()
        codes += world.deliver()
    if not codes:
        return None
    return f"later {codes[0]}" + (f", {len(codes)} times" if len(codes) > 1 else "")


def cancelling(scene: Scene) -> None:
    """The customer cancels the order, and Chapa does not answer."""
    scenes.waiting(scene)
    scene.world.control.add_fault("cancel", "reset")
    cancel(scene)
    scene.world.clock.advance(90)


def all_refunded(scene: Scene) -> None:
    scenes.applied(scene)
    scene.refund("first", None)


def unapplied(scene: Scene) -> None:
    scenes.paid_and_sold_out(scene)
    scene.webhook()


def sent(setup: Setup, fault: Kind | None = None) -> Setup:
    """The worker sent the refund; with a fault, Chapa did not answer."""

    def after(scene: Scene) -> None:
        setup(scene)
        if fault:
            scene.world.control.add_fault("refund", fault, seconds=1)
        scene.worker()
        due = scene.world.aggregate(scene.order_id).order.due_at
        assert due is not None
        scene.world.clock.advance(due - scene.world.now)

    return after


def applied_earlier(scene: Scene) -> None:
    scenes.applied(scene)
    scene.world.clock.advance(90)


def paid_and_page_over(scene: Scene) -> None:
    scenes.just_opened(scene)
    scene.customer_pays()
    scene.world.clock.advance(scenes.PAGE_OVER)


def known_by_the_list(scene: Scene) -> None:
    """The response of initialize was lost, and verify takes Chapa's reference only."""
    scene.world.control.switch_v2(verify_by="chapa_reference")
    scenes.page_lost(scene)
    scene.customer_pays()


def reversed_(scene: Scene) -> None:
    applied_earlier(scene)
    scene.world.control.reverse(scene.tx_ref, webhook=False)


def reversal_unanswered(scene: Scene) -> None:
    """A webhook reported the reversal, and Chapa did not answer."""
    reversed_(scene)
    scene.world.control.add_fault("verify", "reset")
    reversal_webhook(scene)
    scene.world.clock.advance(90)


def refunded_elsewhere(scene: Scene) -> None:
    """The money was refunded on Chapa's dashboard."""
    applied_earlier(scene)
    world = scene.world
    payment = world.at_chapa(scene.tx_ref)
    refund = world.simulator.refund(payment, payment.amount, reference=None, reason=None, meta=None)
    world.simulator.move_refund(refund, "refunded", webhook=False)


UNHEARD: Kind = "timeout_before"
UNANSWERED: Kind = "timeout_after"

_V1: Mapping[Call, Sequence[Use]] = {
    "initialize": [
        Use("customer opens a payment and repeats", scenes.no_payment, initialize, repeat_and_pay),
        Use("customer opens a payment and gives up", scenes.no_payment, initialize),
        Use("customer repeats after a lost response", scenes.page_lost, initialize, repeat_and_pay),
    ],
    "verify": [
        Use("webhook: paid", scenes.paid_unnoticed, webhook),
        Use("webhook: paid, order expired", scenes.expired_and_paid, webhook),
        Use("webhook: paid twice", scenes.paid_twice, webhook),
        Use("webhook: not paid", scenes.waiting, webhook),
        Use("customer refreshes the status after paying", scenes.paid_unnoticed, refresh),
        Use("worker: paid", scenes.paid_unnoticed, worker),
        Use("worker: not paid", scenes.waiting, worker),
        Use("worker: paid, order overdue", scenes.paid_and_overdue, worker),
        Use("worker: not paid, order overdue", scenes.overdue, worker),
        Use("worker: page just closed", scenes.overdue, worker, fault_after="cancel"),
        Use("worker: paid, order expired", scenes.expired_and_paid, worker),
        Use("customer cancels the order", scenes.waiting, cancel),
        Use("customer cancels a paid order", scenes.paid_unnoticed, cancel),
        Use("customer repeats after a lost response", scenes.page_lost, initialize, repeat_and_pay),
        Use("refund repeated, Chapa never received it", sent(all_refunded, UNHEARD), worker),
        Use("refund repeated, response lost", sent(all_refunded, UNANSWERED), worker),
        Use("webhook: reversed", reversed_, reversal_webhook),
        Use("webhook: reversed, but it is not", applied_earlier, reversal_webhook),
        Use("webhook: refunded on Chapa's dashboard", refunded_elsewhere, reversal_webhook),
        Use("worker: possible reversal", reversal_unanswered, worker),
    ],
    "cancel": [
        Use("worker: order overdue", scenes.overdue, worker),
        Use("worker: order overdue, customer still pays", scenes.overdue, worker, pay_anyway),
        Use("customer cancels the order", scenes.waiting, cancel),
        Use("customer cancels the order and still pays", scenes.waiting, cancel, pay_anyway),
        Use("worker: order being cancelled", cancelling, worker),
        Use("customer repeats after a lost response", scenes.page_lost, initialize, repeat_and_pay),
    ],
    "refund": [
        Use("all of a payment", all_refunded, worker),
        Use("part of a payment", scenes.refund_requested, worker),
        Use("payment that came too late", unapplied, worker),
        Use("all, repeated, Chapa never received it", sent(all_refunded, UNHEARD), worker),
        Use("all, repeated, response lost", sent(all_refunded, UNANSWERED), worker),
        Use(
            "part, repeated, Chapa never received it",
            sent(scenes.refund_requested, UNHEARD),
            worker,
        ),
        Use(
            "part, repeated, response lost",
            sent(scenes.refund_requested, UNANSWERED),
            worker,
        ),
    ],
    "refund_verify": [
        Use("all of a payment", sent(all_refunded), worker),
        Use("part of a payment", sent(scenes.refund_requested), worker),
    ],
    "webhook": [
        Use("paid", scenes.waiting, customer_pays, deliver_the_rest),
        Use("attempt failed", scenes.waiting, attempt_fails, deliver_the_rest),
        Use("reversed", applied_earlier, chapa_reverses, deliver_the_rest),
    ],
    "callback": [
        Use("paid", scenes.waiting, customer_pays, deliver_the_rest),
    ],
}

_V2: Mapping[Call, Sequence[Use]] = {
    "verify": [
        Use("worker: paid, page over", paid_and_page_over, worker),
        Use("worker: not paid, page over", scenes.page_over, worker),
    ],
    "list": [
        Use("worker: paid, and only the list knows it", known_by_the_list, worker),
    ],
}
"""A payment of v2 is closed when its page is over, without a call."""

_ONLY_V1 = {"customer cancels the order", "customer cancels a paid order", "reversed"}
"""With v2 a cancel waits for the end of the page without a call, and no event names a reversal."""

USES: Mapping[Version, Mapping[Call, Sequence[Use]]] = {
    "v1": _V1,
    "v2": {
        call: [
            *(use for use in _V1.get(call, ()) if not use.fault_after and use.name not in _ONLY_V1),
            *_V2.get(call, ()),
        ]
        for call in (
            "initialize",
            "verify",
            "list",
            "refund",
            "refund_verify",
            "webhook",
            "callback",
        )
    },
}
