"""Whatever happens to a shop, step after step, in whatever order: the promises hold.

Hypothesis writes the histories, and when one goes wrong it tells the shortest that it can find. To
read one: each line is something that somebody did, and below it stands what the product answered.
To play it again: paste its lines into a test that has the world as its state.
"""

import logging
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from functools import wraps
from typing import Any, Concatenate, get_args
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, Phase, note, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    initialize,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)
from moto import mock_aws

from payments.usecases import refund as refunds, repository
from payments.errors import IdempotencyMismatch, RefundTooLarge
from sandbox.chapa.control import ControlError
from sandbox.chapa.faults import ANSWER, WEBHOOK, WRONG
from sandbox.chapa.settings import Switches
from tests.depth import NIGHTLY, depth
from tests.search.histories.world import CHAPA_CALLS, PASSING, AwsTrouble, World
from tests.shop import http_event

SEEDS = depth(range(1), range(5))
HISTORIES = depth(20, 60)
STEPS = depth(25, 50)

BASKETS = {
    "a bag of coffee": [("COFFEE-250", 1)],
    "the last one": [("LAST", 1)],
    "two mugs": [("MUG", 2)],
    "a mug and another mug": [("MUG", 1), ("MUG", 1)],
    "a mug and the last one": [("MUG", 1), ("LAST", 1)],
    "six bags of coffee and a mug": [("COFFEE-250", 6), ("MUG", 1)],
    "a book for dollars": [("EBOOK", 1)],
}

TIMES = {
    "a second": 1,
    "five seconds": 5,
    "two minutes": 120,
    "half an hour": 1800,
    "an hour": 3600,
    "a day": 86_400,
}

SWITCHES = [
    (name, word)
    for name, switch in Switches.model_fields.items()
    for word in get_args(switch.annotation)[1:]
]

MONEY_FOLLOWS = timedelta(minutes=10)
"""After a page was shut, an attempt that had begun on it may still bring its money."""

LAG_SECONDS = 300
"""For so long verify may not know what was paid. With a lag of days nobody could work."""


@dataclass(eq=False)
class Placed:
    order_id: str
    user: str
    basket: str
    key: str | None
    shown: list[str] = field(default_factory=list)
    """The payments whose page its customer was led to."""
    opened: list[str] = field(default_factory=list)
    """The payments that Chapa opened for it, whether anybody heard of it or not."""


def step[**P, R](
    function: Callable[Concatenate["Histories", P], R],
) -> Callable[Concatenate["Histories", P], R]:
    """Something happens; then every promise is looked at."""

    @wraps(function)
    def wrapped(self: "Histories", *args: P.args, **kwargs: P.kwargs) -> R:
        self.tell()
        result = function(self, *args, **kwargs)
        assert self.world.audit() == []
        assert self.world.strange_refunds() == []
        self.world.counted["steps"] += 1
        self.world.counted[f"rule {function.__name__}"] += 1
        return result

    return wrapped  # type: ignore[return-value]


orders: Bundle[Placed] = Bundle("order")
pages = st.sampled_from(["the last page", "the first page"])


def _total(basket: str) -> Counter[str]:
    total = Counter[str]()
    for sku, quantity in BASKETS[basket]:
        total[sku] += quantity
    return total


class Histories(RuleBasedStateMachine):
    world: World

    def __init__(self) -> None:
        super().__init__()
        self.world.reset()
        self.placed: list[Placed] = []

    def tell(self) -> None:
        for line in self.world.heard:
            note(f"    # {self.world.clock.now:%d %H:%M:%S} {line}")
        self.world.heard.clear()

    # Customers.

    @initialize(target=orders)
    def abebe_wants_the_last_one(self) -> Placed:
        order = self._place("abebe", "the last one", None)
        assert isinstance(order, Placed)
        self._ask_for_the_page(order)
        return order

    @rule(
        target=orders,
        customer=st.sampled_from(["abebe", "sara"]),
        basket=st.sampled_from(sorted(BASKETS)),
        key=st.sampled_from([None, "K1", "K2"]),
    )
    @step
    def places_an_order(
        self, customer: str, basket: str, key: str | None
    ) -> Placed | MultipleResults[Placed]:
        return self._place(customer, basket, key)

    def _place(self, user: str, basket: str, key: str | None) -> Placed | MultipleResults[Placed]:
        world = self.world
        in_stock = all(world.stock(sku)[0] >= units for sku, units in _total(basket).items())
        same = [o for o in self.placed if key and (o.user, o.key) == (user, key)]
        body = {"items": [{"sku": sku, "quantity": n} for sku, n in BASKETS[basket]]}
        headers = {"idempotency-key": key} if key else {}
        event = http_event("POST", body, user=user, headers=headers)
        answer = world.ask("place under a used key" if same else "place", "checkout", event)
        if answer is None or answer.status >= 500:
            return multiple()
        if same:
            [first] = same
            assert (answer.status == 200) is (_total(first.basket) == _total(basket))
            assert answer.body["order_id"] == first.order_id
            return multiple()
        if answer.status == 200:
            # Another one under this key was placed by a process that could not say so.
            assert key, "somebody else's order was handed out"
            assert world.ever_trouble, "the key was never used"
        else:
            assert (answer.status == 201) is in_stock, f"in stock: {in_stock}, but {answer}"
        if answer.status == 409:
            return multiple()
        order = Placed(answer.body["order_id"], user, basket, key)
        self.placed.append(order)
        return order

    @rule(order=orders)
    @step
    def asks_for_the_page(self, order: Placed) -> None:
        self._ask_for_the_page(order)

    def _ask_for_the_page(self, order: Placed) -> None:
        world = self.world
        known = {tx_ref for _, tx_ref in world.simulator.payments}
        event = http_event("POST", {"order_id": order.order_id}, user=order.user)
        answer = world.ask("initialize", "initialize", event)
        opened = [tx_ref for _, tx_ref in world.simulator.payments if tx_ref not in known]
        assert len(opened) <= 1, "two payments for one click"
        order.opened += opened
        if answer and answer.status in {200, 201}:
            order.shown.append(answer.body["tx_ref"])
            at_chapa = world.attempt(answer.body["tx_ref"])
            assert at_chapa.token in answer.body["checkout_url"]
            assert at_chapa.paid or f"{at_chapa.amount:.2f}" == answer.body["amount"]

    @rule(order=orders, page=pages, ask_chapa=st.booleans())
    @step
    def looks_at_the_payment(self, order: Placed, page: str, ask_chapa: bool) -> None:
        world = self.world
        tx_ref = self._on(order, page)
        if not tx_ref:
            return
        query = {"refresh": "true"} if ask_chapa else {}
        event = http_event("GET", user=order.user, path={"tx_ref": tx_ref}, query=query)
        before = world.asked("verify", tx_ref)
        answer = world.ask("status", "status", event)
        if answer is None or answer.status != 200:
            return
        world.saw(answer)
        at_chapa = world.attempt(tx_ref)
        if world.asked("verify", tx_ref) > before and not world.trouble:
            lags = at_chapa.hidden_until and world.clock() < at_chapa.hidden_until
            paid = at_chapa.status == "success" and not lags
            settled = answer.body["status"] in {"succeeded", "surplus", "review"}
            assert settled or not paid, f"Chapa said paid, and it is {answer.body['status']}"

    @rule(order=orders)
    @step
    def looks_at_the_order(self, order: Placed) -> None:
        event = http_event("GET", user=order.user, path={"order_id": order.order_id})
        answer = self.world.ask("show", "status", event)
        if answer and answer.status == 200:
            known = {payment["tx_ref"] for payment in answer.body["payments"]}
            assert known >= {*order.shown, *order.opened}, "a payment was forgotten"

    @rule(order=orders)
    @step
    def cancels_the_order(self, order: Placed) -> None:
        event = http_event("POST", user=order.user, path={"order_id": order.order_id})
        answer = self.world.ask("cancel", "checkout", event)
        if answer and answer.status == 200:
            assert answer.body["status"] in {"cancelled", "expired"}

    @rule(order=orders, to=st.sampled_from(["pay it", "see it", "cancel it"]))
    @step
    def a_stranger_wants(self, order: Placed, to: str) -> None:
        path = {"order_id": order.order_id}
        match to:
            case "pay it":
                self.world.stranger_asks("initialize", http_event("POST", path, user="dawit"))
            case "see it":
                self.world.stranger_asks("status", http_event("GET", user="dawit", path=path))
            case _:
                self.world.stranger_asks("checkout", http_event("POST", user="dawit", path=path))

    # At Chapa.

    @rule(order=orders)
    @step
    def pays(self, order: Placed) -> None:
        self._pay(order, "the last page", "all of it")

    @rule(
        order=orders,
        page=pages,
        what=st.sampled_from(["all of it", "too little", "another currency"]),
        known=st.sampled_from(["at once", "later"]),
    )
    @step
    def pays_in_another_way(self, order: Placed, page: str, what: str, known: str) -> None:
        self._pay(order, page, what, later=known == "later")

    def _pay(self, order: Placed, page: str, what: str, *, later: bool = False) -> None:
        if not (tx_ref := self._on(order, page)):
            return
        at_chapa = self.world.attempt(tx_ref)
        now = self.world.clock()
        shut_at = at_chapa.updated_at if at_chapa.cancelled else at_chapa.expires_at
        if at_chapa.closed(now) and now > shut_at + MONEY_FOLLOWS:
            return
        told: dict[str, Any] = {}
        if what == "too little":
            told["amount"] = "0.50"
        elif what == "another currency":
            told["currency"] = "XAF"
        if later and not at_chapa.paid:
            at_chapa.hidden_until = now + timedelta(seconds=LAG_SECONDS)
        self._at_chapa(self.world.control.pay, tx_ref, late=True, **told)

    @rule(order=orders, page=pages, but=st.sampled_from(["the attempt fails", "gives up"]))
    @step
    def goes_to_pay(self, order: Placed, page: str, but: str) -> None:
        if tx_ref := self._on(order, page):
            control = self.world.control
            self._at_chapa(control.fail if but == "the attempt fails" else control.cancel, tx_ref)

    @rule(
        order=orders,
        page=pages,
        how=st.sampled_from(
            ["reversed", "refunded by Chapa itself", "our refund is done", "our refund is reversed"]
        ),
    )
    @step
    def money_goes_back(self, order: Placed, page: str, how: str) -> None:
        if not (tx_ref := self._on(order, page)):
            return
        chapa, at_chapa = self.world.simulator, self.world.attempt(tx_ref)
        match how:
            case "reversed":
                self._at_chapa(self.world.control.reverse, tx_ref)
            case "refunded by Chapa itself":
                if at_chapa.status == "success" and not at_chapa.refunds:
                    refund = chapa.refund(
                        at_chapa, at_chapa.amount, reference=None, reason=None, meta=None
                    )
                    chapa.move_refund(refund, "refunded")
            case _:
                done = "refunded" if how == "our refund is done" else "reversed"
                for refund in at_chapa.refunds:
                    if refund.status not in {"refunded", "reversed"}:
                        chapa.move_refund(refund, "refunded" if done == "refunded" else "reversed")

    def _at_chapa(self, act: Callable[..., object], tx_ref: str, **told: Any) -> None:
        try:
            act(tx_ref, **told)
        except ControlError as error:
            self.world.heard.append(f"Chapa: {error.text}")
        else:
            self.world.counted[f"at Chapa: {act.__name__}"] += 1

    def _on(self, order: Placed, page: str) -> str | None:
        if not order.opened:
            return None
        return order.opened[-1 if page == "the last page" else 0]

    # The post.

    @precondition(lambda self: self.world.simulator.outbox.waiting)
    @rule(how=st.sampled_from(["as sent", "the newest first", "each twice", "lost"]))
    @step
    def webhooks_arrive(self, how: str) -> None:
        world, outbox = self.world, self.world.simulator.outbox
        match how:
            case "as sent":
                world.deliver()
            case "the newest first":
                for delivery in reversed(outbox.waiting):
                    world.receive(delivery.message)
            case "each twice":
                before = len(world.mail)
                world.deliver()
                for message in world.mail[before:]:
                    world.receive(message)
            case _:
                outbox.clear()

    @precondition(lambda self: self.world.mail)
    @rule(which=st.integers(0, 5))
    @step
    def an_old_webhook_arrives_again(self, which: int) -> None:
        self.world.receive(self.world.mail[which % len(self.world.mail)])

    @rule(
        order=orders,
        page=pages,
        event=st.sampled_from(
            [
                "charge.success",
                "charge.failed/cancelled",
                "charge.refunded",
                "charge.reversed",
                "refund.success",
                "payout.success",
            ]
        ),
    )
    @step
    def chapa_claims(self, order: Placed, page: str, event: str) -> None:
        """A genuine webhook that says what may not be so."""
        if tx_ref := self._on(order, page):
            self.world.control.webhook(event, tx_ref)
            self.world.deliver()

    @rule(
        order=orders,
        page=pages,
        signed=st.sampled_from(
            ["random", "constant", "api_key", "uppercase", "other_body", "missing", "callback"]
        ),
    )
    @step
    def anybody_claims(self, order: Placed, page: str, signed: Any) -> None:
        """A callback has no signature, and a webhook that is forged costs nothing at all."""
        world = self.world
        if not (tx_ref := self._on(order, page)):
            return
        if signed == "callback":
            event = http_event("GET", user=None, query={"trx_ref": tx_ref})
            world.ask("callback", "webhook", event)
            return
        world.control.webhook("charge.success", tx_ref, signature=signed)
        forged = world.simulator.outbox.waiting[-1]
        before, looks = world.dump(), world.asked("verify")
        world.receive(forged.message)
        assert (world.dump(), world.asked("verify")) == (before, looks)

    # Operators.

    @rule(
        order=orders,
        page=pages,
        amount=st.sampled_from(["all that is left", "0.40", "a million"]),
        ticket=st.sampled_from(["T1", "T2"]),
        return_stock=st.booleans(),
    )
    @step
    def the_operator_refunds(
        self, order: Placed, page: str, amount: str, ticket: str, return_stock: bool
    ) -> None:
        world = self.world
        if not (tx_ref := self._on(order, page)):
            return
        wanted = {"all that is left": None, "0.40": 40, "a million": 100_000_000}[amount]

        def work() -> object:
            return refunds.request(
                world.backend,
                tx_ref,
                wanted,
                key=ticket,
                reason="Broken",
                return_stock=return_stock,
            )

        try:
            refund = world.process(work)
        except (RefundTooLarge, IdempotencyMismatch):
            world.heard.append("refund: refused")
        except PASSING:
            assert world.trouble
        else:
            assert refund is None or amount != "a million"
            world.counted["refunds requested"] += 1
            world.heard.append(f"refund: {refund}")

    @rule(what=st.sampled_from(["reserve", "refund", "review", "the webhook secret"]))
    @step
    def the_operator_sets(self, what: Any) -> None:
        """The policy for late payments; or the secret, both for a minute, as the README says."""
        world = self.world
        if what != "the webhook secret":
            world.with_rules(late_success=what)
            return
        old = world.accepted[0]
        world.accepted = [f"{old}+", old]
        world.set_secret(webhook_secret=world.accepted[0], webhook_secret_previous=old)
        world.clock.advance(61)
        world.control.set(webhook_secret=world.accepted[0])

    # Our own machinery.

    @rule()
    @step
    def the_schedule_sweeps(self) -> None:
        self.world.sweep_only()

    @rule(how=st.sampled_from(["in turn", "newest first", "each twice", "loses them"]))
    @step
    def the_worker_works(self, how: str) -> None:
        messages = self.world.queue.take()
        match how:
            case "newest first":
                messages.reverse()
            case "each twice":
                messages = [message for message in messages for _ in range(2)]
            case "loses them":
                messages = []
        for message in messages:
            self.world.hand_out(message)

    @rule(how=st.sampled_from(["well", "with the bus down"]))
    @step
    def the_stream_publishes(self, how: str) -> None:
        self.world.events.broken = how != "well"
        self.world.publish()
        self.world.events.broken = False

    @rule(how_long=st.sampled_from(list(TIMES)))
    @step
    def time_passes_and_all_is_worked_off(self, how_long: str) -> None:
        self.world.clock.advance(TIMES[how_long])
        self.world.sweep_only()
        for message in self.world.queue.take():
            self.world.hand_out(message)

    @rule(how_long=st.sampled_from(list(TIMES)))
    @step
    def time_passes(self, how_long: str) -> None:
        self.world.clock.advance(TIMES[how_long])

    # Trouble.

    @rule(
        call=st.sampled_from(CHAPA_CALLS),
        answer=st.sampled_from(ANSWER),
        times=st.sampled_from([1, 3]),
    )
    @step
    def chapa_will_answer(self, call: Any, answer: Any, times: int) -> None:
        self._fault(call, answer, times)

    @rule(what=st.sampled_from([*WRONG, "says", *WEBHOOK, "failed_first", "out_of_order"]))
    @step
    def chapa_will_say(self, what: Any) -> None:
        call: Any = "verify" if what in {*WRONG, "says"} else "webhook"
        # What nothing here costs: or it could hide by chance that something else was paid.
        amount: dict[str, Any] = {"amount": "7.77"} if what == "wrong_amount" else {}
        self.world.control.add_fault(call, what, **amount)

    @rule(answer=st.sampled_from(["connection refused", "status", "reset", "timeout_before"]))
    @step
    def chapa_goes_down(self, answer: Any) -> None:
        if answer == "connection refused":
            self.world.chapa_refuses = True
            return
        for call in CHAPA_CALLS:
            self._fault(call, answer, None)

    def _fault(self, call: Any, answer: Any, times: int | None) -> None:
        waits = "timeout" in answer or answer == "slow"
        details: dict[str, Any] = {"seconds": 10} if waits else {}
        self.world.control.add_fault(call, answer, times=times, **details)

    @rule(switch=st.sampled_from(SWITCHES))
    @step
    def chapa_turns_out_to_have(self, switch: tuple[str, str]) -> None:
        self.world.control.switch(**dict([switch]))

    @rule(
        what=st.sampled_from(
            [*get_args(AwsTrouble.__value__), "the index misses an entry", "no queue"]
        ),
        times=st.sampled_from([1, 2, 9]),
    )
    @step
    def aws_will_have_trouble(self, what: Any, times: int) -> None:
        match what:
            case "the index misses an entry":
                self.world.index_misses += times
            case "no queue":
                self.world.queue.broken = True
            case _:
                self.world.aws_trouble += [what] * times

    @rule(call=st.integers(1, 14))
    @step
    def the_next_process_dies_at_its(self, call: int) -> None:
        self.world.dies_at = call

    @rule()
    @step
    def all_is_well_again(self) -> None:
        self.world.well_again()

    def teardown(self) -> None:
        self.tell()
        if sys.exc_info()[0] is not None:
            return  # It went wrong before.
        world = self.world
        world.settle_down()
        self.tell()
        assert world.audit(settled=True) == []
        assert world.strange_refunds() == []
        assert world.restless() == []
        self._everything_is_published()
        world.counted["histories"] += 1

    def _everything_is_published(self) -> None:
        self.world.publish()
        told = {
            f"{item['order_id']['S']}#{item['number']['N']}"
            for item in self.world.items()
            if item["sk"]["S"].startswith("EVENT#")
        }
        assert told == self.world.events.ids


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    logging.disable()  # Thousands of lines that nobody reads; what is logged has its own tests.
    # One part of the due index instead of eight: the other seven queries would only take time.
    with mock_aws(), patch.object(repository, "DUE_SHARDS", 1):
        yield World()
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("number", SEEDS)
def test_every_history_ends_well(
    world: World, number: int, record_property: Callable[[str, object], None]
) -> None:
    world.counted.clear()
    Histories.world = world
    machine = seed(number)(Histories) if NIGHTLY else Histories
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=HISTORIES,
            stateful_step_count=STEPS,
            derandomize=not NIGHTLY,
            database=None,
            deadline=None,
            # A step that opens an order and pays it is slow, and histories are long: as meant.
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
            report_multiple_bugs=False,
            phases=[Phase.generate, Phase.shrink],
        ),
    )
    for what, times in sorted(world.counted.items()):
        record_property(what, times)
    # Hypothesis ends some histories sooner. A night has at least 11,250 steps.
    assert world.counted["steps"] >= HISTORIES * STEPS * 0.75
