"""Random histories of a shop: the invariants hold after every step, and each history ends well.

Hypothesis generates the histories and shrinks one that fails. Each line of the output is a step;
the comments below it say what the product did. To replay a history, paste its lines into a test
whose `state` is a `Histories()`.
"""

import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, get_args

import pytest
from hypothesis import HealthCheck, Phase, note, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

from operators.invariants import ClientView
from payments.aws.items import events_in
from payments.domain.ids import order_id_of, refund_reference
from payments.domain.records import Refund
from payments.domain.states import OrderStatus
from payments.errors import NotResolvable, RefundKeyUsed, RefundTooLarge
from payments.usecases import refund as refunds
from payments.usecases.publish import event_id
from payments.usecases.refund import RefundDecision
from payments.usecases.resolve import PaymentDecision, resolve
from sandbox.chapa.control import ControlError
from sandbox.chapa.faults import ANSWER, WEBHOOK, WRONG
from sandbox.chapa.settings import Switches, SwitchesV2
from tests.depth import NIGHTLY, depth
from tests.search.world import (
    CHAPA_CALLS,
    CONFLICT,
    ITEM_THROTTLED,
    LOST_ANSWER,
    REFUSED,
    TRANSIENT,
    World,
)
from tests.shop import CURRENT, http_event

SEEDS = depth(range(1), range(5))
HISTORIES = depth(20, 60)
STEPS = depth(25, 50)
OF_THE_OTHER_BY_DAY = 3
"""Histories that begin with the version of Chapa's API that PROVIDER does not choose."""

BASKETS = {
    "coffee": [("COFFEE-250", 1)],
    "last unit": [("LAST", 1)],
    "two mugs": [("MUG", 2)],
    "mug and another mug": [("MUG", 1), ("MUG", 1)],
    "mug and last unit": [("MUG", 1), ("LAST", 1)],
    "six coffees and a mug": [("COFFEE-250", 6), ("MUG", 1)],
    "book in dollars": [("EBOOK", 1)],
}

RECENT = st.integers(0, 5)
"""A payment, counted from the newest."""

DYNAMODB_FAULTS = (CONFLICT, ITEM_THROTTLED, REFUSED, LOST_ANSWER)

SWITCHES = [
    (group, name, word)
    for group, switches in (("switches", Switches), ("switches_v2", SwitchesV2))
    for name, switch in switches.model_fields.items()
    for word in get_args(switch.annotation)[1:]
]

ANSWERS = {"verify_mode": "absent", "verify_unknown": "404"}
"""Switches of v2 with which Chapa answers: it need not, but then nothing comes to rest."""

MONEY_FOLLOWS = timedelta(minutes=10)
"""An attempt that began before its page closed may bring money for this long."""

LAG = timedelta(minutes=5)
"""verify may show a payment this much later. No shop could work with a lag of days."""


@dataclass(eq=False)
class Placed:
    order_id: str
    user: str
    basket: str
    key: str | None


orders: Bundle[Placed] = Bundle("order")


def one_of(*words: str | None) -> st.SearchStrategy[Any]:
    return st.sampled_from(words)


def quantities(basket: str) -> Counter[str]:
    total = Counter[str]()
    for sku, quantity in BASKETS[basket]:
        total[sku] += quantity
    return total


def _outcome_is_lost(refund: Refund) -> bool:
    """Nothing tells when a part is paid back whose response was lost: an alarm each day."""
    return refund.provider_refund_id is None and refund.unanswered_since is not None


class Histories(RuleBasedStateMachine):
    world: World

    def __init__(self) -> None:
        super().__init__()
        self.world.reset()
        self.placed: dict[str, Placed] = {}
        self.perhaps_used: set[tuple[str, str | None]] = set()
        """Users and keys of requests whose outcome is unknown."""
        self.opened: list[str] = []
        """The tx_ref of every payment at Chapa, also when the response was lost."""

    @invariant()
    def all_invariants_hold(self) -> None:
        world = self.world
        for line in world.log:
            note(f"    # {world.clock.now:%d %H:%M:%S} {line}")
        world.log.clear()
        assert world.audit() == []
        world.counted["steps"] += 1
        for aggregate in world.aggregates():
            ours = {
                refund_reference(refund.refund_id, attempt)
                for refund in aggregate.refunds
                for attempt in range(1, refund.attempt + 1)
            }
            for payment in aggregate.payments:
                at_chapa = world.simulator.find(payment.tx_ref)
                received = at_chapa.refunds if at_chapa else []
                names = Counter(r.merchant_reference for r in received if r.merchant_reference)
                assert names.keys() <= ours, "Chapa received a refund that is not ours"
                assert all(count == 1 for count in names.values()), "Chapa received a refund twice"

    def payment(self, recent: int) -> str:
        return self.opened[-1 - recent % len(self.opened)]

    def owner(self, tx_ref: str) -> Placed:
        return self.placed[order_id_of(tx_ref) or ""]

    # Customers.

    @initialize(target=orders)
    def abebe_opens_a_payment_for_the_last_unit(self) -> Placed:
        order = self._place("abebe", "last unit", None)
        assert isinstance(order, Placed)
        self._open_payment(order)
        return order

    @rule(
        target=orders,
        user=one_of("abebe", "sara"),
        basket=one_of(*sorted(BASKETS)),
        key=one_of(None, "K1", "K2"),
    )
    def place_order(
        self, user: str, basket: str, key: str | None
    ) -> Placed | MultipleResults[Placed]:
        return self._place(user, basket, key)

    def _place(self, user: str, basket: str, key: str | None) -> Placed | MultipleResults[Placed]:
        world = self.world
        in_stock = all(world.available(sku) >= units for sku, units in quantities(basket).items())
        same = [o for o in self.placed.values() if key and (o.user, o.key) == (user, key)]
        body = {"items": [{"sku": sku, "quantity": n} for sku, n in BASKETS[basket]]}
        headers = {"idempotency-key": key} if key else {}
        event = http_event("POST", body, user=user, headers=headers)
        perhaps = key is not None and (user, key) in self.perhaps_used
        route = "place under a used key" if same else "place"
        route = "place under a key that may be used" if perhaps and not same else route
        response = world.request(route, "orders", event)
        if response is None or response.status >= 500:
            self.perhaps_used.add((user, key))
            return multiple()
        if same:
            [first] = same
            assert (response.status == 200) is (quantities(first.basket) == quantities(basket))
            assert response["order_id"] == first.order_id
            return multiple()
        if response.status == 200:
            # A process that died had placed an order under this key.
            assert perhaps, "another order was returned"
        elif response.status != 422:
            assert (response.status == 201) is in_stock, f"in stock: {in_stock}, but {response}"
        if response.status >= 400:
            return multiple()
        order = Placed(response["order_id"], user, basket, key)
        self.placed[order.order_id] = order
        return order

    @rule(order=orders)
    def open_payment(self, order: Placed) -> None:
        self._open_payment(order)

    def _open_payment(self, order: Placed) -> None:
        world = self.world
        known = {tx_ref for _, tx_ref in world.simulator.payments}
        event = http_event("POST", {"order_id": order.order_id}, user=order.user)
        response = world.request("initialize", "initialize", event)
        opened = [tx_ref for _, tx_ref in world.simulator.payments if tx_ref not in known]
        assert len(opened) <= 1
        self.opened += opened
        if response and response.status in {200, 201}:
            at_chapa = world.at_chapa(response["tx_ref"])
            assert at_chapa.token in response["checkout_url"]
            assert at_chapa.paid or f"{at_chapa.amount:.2f}" == response["amount"]

    @rule(recent=RECENT, refresh=st.booleans())
    def read_payment(self, recent: int, refresh: bool) -> None:
        world, tx_ref = self.world, self.payment(recent)
        query = {"refresh": "true"} if refresh else {}
        user = self.owner(tx_ref).user
        event = http_event("GET", user=user, path={"tx_ref": tx_ref}, query=query)
        before = world.asked("verify", tx_ref)
        response = world.request("status", "status", event)
        if response is None or response.status != 200:
            return
        was_paid = response["order_status"] in {"paid", "refunded"}
        world.client_views.append(ClientView(response["order_id"], was_paid, world.now))
        at_chapa = world.at_chapa(tx_ref)
        if world.asked("verify", tx_ref) > before and not world.faulty:
            hidden = at_chapa.hidden_until and world.clock() < at_chapa.hidden_until
            paid = at_chapa.status == "success" and not hidden
            settled = response["status"] in {"succeeded", "unapplied", "review"}
            assert settled or not paid, f"Chapa said paid, and it is {response['status']}"

    @rule(order=orders)
    def read_order(self, order: Placed) -> None:
        event = http_event("GET", user=order.user, path={"order_id": order.order_id})
        response = self.world.request("show", "status", event)
        if response and response.status == 200:
            known = {payment["tx_ref"] for payment in response["payments"]}
            assert known >= {t for t in self.opened if self.owner(t) is order}

    @rule(order=orders)
    def cancel_order(self, order: Placed) -> None:
        event = http_event("POST", user=order.user, path={"order_id": order.order_id})
        response = self.world.request("cancel", "orders", event)
        if response and response.status == 200:
            assert response["status"] in {"cancelled", "expired"}

    # Chapa.

    @rule(recent=RECENT)
    def pay(self, recent: int) -> None:
        self._pay(recent)

    @rule(
        recent=RECENT,
        wrong=st.sampled_from([{}, {"amount": "0.50"}, {"currency": "XAF"}]),
        hidden=st.booleans(),
    )
    def pay_unusually(self, recent: int, wrong: dict[str, Any], hidden: bool) -> None:
        self._pay(recent, hidden=hidden, **wrong)

    def _pay(self, recent: int, *, hidden: bool = False, **wrong: Any) -> None:
        tx_ref = self.payment(recent)
        at_chapa = self.world.at_chapa(tx_ref)
        now = self.world.clock()
        ends = [at_chapa.expires_at, *([at_chapa.updated_at] if at_chapa.cancelled else [])]
        if now > min(ends) + MONEY_FOLLOWS:
            return
        if hidden and not at_chapa.paid:
            at_chapa.hidden_until = now + LAG
        self._at_chapa(self.world.control.pay, tx_ref, late=True, **wrong)

    @rule(recent=RECENT, act=one_of("fail", "cancel", "reverse"))
    def payment_will(self, recent: int, act: str) -> None:
        self._at_chapa(getattr(self.world.control, act), self.payment(recent))

    @rule(recent=RECENT)
    def chapa_refunds(self, recent: int) -> None:
        chapa, payment = self.world.simulator, self.world.at_chapa(self.payment(recent))
        if payment.status == "success" and not payment.refunds:
            refund = chapa.refund(payment, payment.amount, reference=None, reason=None, meta=None)
            chapa.move_refund(refund, "refunded")

    @rule(recent=RECENT, status=one_of("refunded", "reversed"))
    def refunds_end_as(self, recent: int, status: Any) -> None:
        for refund in self.world.at_chapa(self.payment(recent)).refunds:
            if refund.status not in {"refunded", "reversed"}:
                self.world.simulator.move_refund(refund, status)

    def _at_chapa(self, act: Callable[..., object], tx_ref: str, **details: Any) -> None:
        try:
            act(tx_ref, **details)
        except ControlError as error:
            self.world.log.append(f"Chapa: {error.text}")
        else:
            self.world.counted[f"at Chapa: {act.__name__}"] += 1

    # Webhooks.

    @precondition(lambda self: self.world.simulator.outbox.waiting)
    @rule(how=one_of("as sent", "newest first", "each twice", "lost"))
    def webhooks_arrive(self, how: str) -> None:
        world, outbox = self.world, self.world.simulator.outbox
        before = len(world.sent)
        match how:
            case "newest first":
                for delivery in reversed(outbox.waiting):
                    world.receive(delivery.message)
            case "lost":
                outbox.clear()
            case _:
                world.deliver()
        if how == "each twice":
            for message in world.sent[before:]:
                world.receive(message)

    @precondition(lambda self: self.world.sent)
    @rule(which=st.integers(0, 5))
    def old_webhook_arrives_again(self, which: int) -> None:
        self.world.receive(self.world.sent[which % len(self.world.sent)])

    @rule(
        recent=RECENT,
        event=one_of(
            "charge.success",
            "charge.failed/cancelled",
            "charge.refunded",
            "charge.reversed",
            "payment.success",
            "payment.incomplete",
            "payment.fully_refunded",
            "refund.success",
            "payout.success",
        ),
    )
    def signed_webhook_arrives(self, recent: int, event: str) -> None:
        """What it says may be untrue."""
        self.world.control.webhook(event, self.payment(recent))
        self.world.deliver()

    @rule(recent=RECENT)
    def callback_arrives(self, recent: int) -> None:
        event = http_event("GET", user=None, query={"trx_ref": self.payment(recent)})
        self.world.request("callback", "webhook", event)

    # Operators.

    @rule(
        recent=RECENT,
        amount=st.sampled_from([None, 0, 40, 400, 100_000_000]),
        key=one_of("T1", "T2"),
        units=st.integers(0, 2),
    )
    def operator_refunds(self, recent: int, amount: int | None, key: str, units: int) -> None:
        """Amount in minor units; None for all that is left. `units` of the first line come back."""
        world, tx_ref = self.world, self.payment(recent)
        sku = BASKETS[self.owner(tx_ref).basket][0][0]

        def request() -> object:
            returns = {sku: units} if units else {}
            return refunds.request(
                world.backend, tx_ref, amount, key=key, reason="Broken", returns=returns
            )

        if refund := self._operator("refund", request):
            assert amount != 100_000_000, refund

    @rule(recent=RECENT, decision=st.sampled_from(PaymentDecision), unanswered=st.booleans())
    def operator_resolves(self, recent: int, decision: PaymentDecision, unanswered: bool) -> None:
        backend, tx_ref = self.world.backend, self.payment(recent)
        self._operator(
            decision.value,
            lambda: resolve(
                backend, tx_ref, decision, by="almaz", reason="Seen", unanswered=unanswered
            ),
        )

    @rule(recent=RECENT, decision=st.sampled_from(RefundDecision))
    def operator_resolves_refunds(self, recent: int, decision: RefundDecision) -> None:
        backend, tx_ref = self.world.backend, self.payment(recent)
        for each in self.world.aggregate(order_id_of(tx_ref) or "").refunds_of(tx_ref):
            self._operator(
                f"{decision.value} refund",
                lambda refund_id=each.refund_id: refunds.resolve(  # type: ignore[misc]
                    backend, refund_id, decision, by="almaz", reason="Seen"
                ),
            )

    def _operator(self, what: str, command: Callable[[], object]) -> object:
        """What came of a command; None when it was refused or failed."""
        world, result = self.world, None
        try:
            result = world.process(command)
        except (NotResolvable, RefundTooLarge, RefundKeyUsed) as error:
            world.log.append(f"{what}: refused: {error}")
        except TRANSIENT:
            assert world.faulty
        else:
            world.counted[f"operator: {what}"] += 1
            world.log.append(f"{what}: {result}")
        return result

    @rule(policy=one_of("reserve", "refund", "review"))
    def operator_sets_the_late_success_policy(self, policy: Any) -> None:
        backend = self.world.backend
        rules = replace(backend.rules, late_success=policy)
        self.world.backend = replace(backend, rules=rules)

    @rule()
    def operator_rotates_the_webhook_secret(self) -> None:
        """Both secrets are valid for a minute, as the README says."""
        world = self.world
        old = world.accepted[0]
        world.accepted = [f"{old}+", old]
        world.set_secret(webhook_secret=world.accepted[0], webhook_secret_previous=old)
        world.clock.advance(61)
        world.control.set(webhook_secret=world.accepted[0])

    @rule(hold=st.booleans())
    def operator_sets_whether_stock_is_held(self, hold: bool) -> None:
        self.world.with_rules(hold_until_page_expires=hold)

    @rule()
    def operator_changes_over_to_the_other_version(self) -> None:
        world = self.world
        rules = world.backend.rules
        world.change_over(webhook_secret=world.accepted[0])
        world.accepted = world.accepted[:1]
        world.backend = replace(world.backend, rules=rules)

    # Schedule, worker and stream.

    @rule(how=one_of("in order", "newest first", "each twice", "lost"))
    def worker_receives_messages(self, how: str) -> None:
        messages = self.world.visible_messages()
        match how:
            case "newest first":
                messages.reverse()
            case "each twice":
                messages = [message for message in messages for _ in range(2)]
            case "lost":
                messages = []
        for message in messages:
            self.world.reconcile(message)

    @rule(broken=st.booleans())
    def stream_publishes(self, broken: bool) -> None:
        self.world.bus.broken = broken
        self.world.publish()
        self.world.bus.broken = False

    @rule(
        seconds=st.sampled_from([0, 1, 5, 120, 1800, 3600, 86_400]),
        then=one_of("nothing", "expire", "expire and reconcile"),
    )
    def time_passes(self, seconds: int, then: str) -> None:
        self.world.clock.advance(seconds)
        if then != "nothing":
            self.world.expire()
        if then == "expire and reconcile":
            for message in self.world.visible_messages():
                self.world.reconcile(message)

    # Faults.

    @rule(
        calls=st.sampled_from([*((call,) for call in CHAPA_CALLS), CHAPA_CALLS]),
        kind=st.sampled_from([*ANSWER, REFUSED]),
        times=st.sampled_from([1, 3, None]),
    )
    def chapa_will_fail(self, calls: Any, kind: Any, times: int | None) -> None:
        waits = "timeout" in kind or kind == "slow"
        details: dict[str, Any] = {"seconds": 10} if waits else {}
        for call in calls:
            if kind == REFUSED:
                self.world.refused[call] = times or float("inf")
            else:
                self.world.control.add_fault(call, kind, times=times, **details)

    @rule(kind=st.sampled_from([*WRONG, "says", *WEBHOOK, "failed_first", "out_of_order"]))
    def chapa_will_say(self, kind: Any) -> None:
        call: Any = "verify" if kind in {*WRONG, "says"} else "webhook"
        # No product costs this much: another amount could equal a real price.
        amount: dict[str, Any] = {"amount": "7.77"} if kind == "wrong_amount" else {}
        self.world.control.add_fault(call, kind, **amount)

    @rule(switch=st.sampled_from(SWITCHES))
    def chapa_turns_out_to_have(self, switch: tuple[str, str, str]) -> None:
        group, name, word = switch
        self.world.control.set(**{group: {name: word}})

    @rule(
        fault=one_of(
            CONFLICT, ITEM_THROTTLED, REFUSED, LOST_ANSWER, "index misses", "queue refuses"
        ),
        times=st.sampled_from([1, 2, 9]),
    )
    def aws_will_fail(self, fault: Any, times: int) -> None:
        match fault:
            case "index misses":
                self.world.index_misses += times
            case "queue refuses":
                self.world.queue_refuses = True
            case _:
                self.world.dynamodb_faults += [fault] * times

    @rule(call=st.integers(1, 14))
    def next_process_dies_at(self, call: int) -> None:
        self.world.dies_at = call

    @rule()
    def everything_recovers(self) -> None:
        self.world.recover()

    def teardown(self) -> None:
        if sys.exc_info()[0] is not None:
            return  # The history has failed already.
        world = self.world
        world.recover()
        world.control.switch_v2(**ANSWERS)
        world.simulator.outbox.clear()
        world.counted["sweeps until rest"] += world.pass_time()
        world.clock.advance(900)
        world.work()  # Messages that came late. What they changed may be due much later.
        world.pass_time()
        self.all_invariants_hold()
        assert world.audit(settled=True) == []
        for aggregate in world.aggregates():
            ended = aggregate.order.status is not OrderStatus.PENDING
            assert ended or aggregate.in_review, aggregate
            assert not aggregate.open_payments, aggregate
            assert all(map(_outcome_is_lost, aggregate.open_refunds)), aggregate
        self._check_everything_is_published()
        world.counted["histories"] += 1

    def _check_everything_is_published(self) -> None:
        self.world.publish()
        logged = {
            event_id(key)
            for item in self.world.items()
            if item["sk"]["S"].startswith("EVENTS#")
            for key, _ in events_in(item)
        }
        assert logged == self.world.bus.ids


@pytest.fixture(scope="module")
def world(aws: None, provider: str) -> World:
    world = World(provider)
    world.max_sweeps = 80
    return world


@pytest.mark.parametrize("number", SEEDS)
def test_every_history_keeps_the_invariants_and_comes_to_rest(
    world: World, provider: str, number: int, record_property: Callable[[str, object], None]
) -> None:
    histories = HISTORIES if NIGHTLY or provider == CURRENT else OF_THE_OTHER_BY_DAY
    world.counted.clear()
    Histories.world = world
    run_state_machine_as_test(
        seed(number)(Histories) if NIGHTLY else Histories,
        settings=settings(
            max_examples=histories,
            stateful_step_count=STEPS,
            derandomize=not NIGHTLY,
            database=None,
            deadline=None,
            # Steps are slow and histories long, by intention.
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
            report_multiple_bugs=False,
            phases=[Phase.generate, Phase.shrink],
        ),
    )
    for what, times in sorted(world.counted.items()):
        record_property(what, times)
    # Hypothesis begins with the shortest history and ends some early. The first and the last check
    # are no steps.
    steps = world.counted["steps"] - 2 * world.counted["histories"]
    assert steps >= (histories - 1) * STEPS * 0.75
