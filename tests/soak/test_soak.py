"""The soak: a short one over a real stack; and its judge, which has to find every lie."""

import os
import random
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from moto import mock_aws

from operators.invariants import stored_orders
from payments import refunds
from payments.states import OrderStatus, PaymentStatus
from sandbox.chapa.control import Control
from sandbox.chapa.faults import ANSWER
from sandbox.chapa.in_process import BASE_URL, session_for
from sandbox.chapa.journal import Entry
from sandbox.chapa.simulator import Simulator
from sandbox.client import Response
from sandbox.stack import ROOT
from tests.shop import Shop
from tests.soak.__main__ import believed
from tests.soak.customers import Life, let_live
from tests.soak.judge import World, unpublished, untrue
from tests.soak.story import Call, Heard, Story
from tests.soak.trouble import Kill, make_chapa_faulty, works


@dataclass
class Day:
    """What happened in a shop in this process, as its clients wrote it down."""

    stories: dict[str, Story]
    world: World

    def judged(self) -> list[str]:
        return untrue(self.stories.values(), self.world)

    def change(self, name: str, call: Call, nth: int = 0, **changes: Any) -> None:
        """Another answer than the one that the client got; `body` adds to it."""
        heard = self.stories[name].heard
        index = [i for i, each in enumerate(heard) if each.call == call][nth]
        body = {**heard[index].body, **changes.pop("body", {})}
        heard[index] = replace(heard[index], body=body, **changes)

    def set_payment(self, tx_ref: str, **changes: Any) -> None:
        """Past all rules, as only a bug would."""
        order_id = tx_ref.partition("-")[0]
        orders = dict(self.world.orders)
        story = orders[order_id].story
        payments = tuple(replace(p, **changes) if p.tx_ref == tx_ref else p for p in story.payments)
        orders[order_id] = replace(orders[order_id], story=replace(story, payments=payments))
        self.world = replace(self.world, orders=orders)

    def set_order(self, order_id: str, **changes: Any) -> None:
        orders = dict(self.world.orders)
        story = orders[order_id].story
        orders[order_id] = replace(
            orders[order_id], story=replace(story, order=replace(story.order, **changes))
        )
        self.world = replace(self.world, orders=orders)

    def forget(self, order_id: str) -> None:
        orders = {known: order for known, order in self.world.orders.items() if known != order_id}
        self.world = replace(self.world, orders=orders)

    def set_at_chapa(self, tx_ref: str, **changes: Any) -> None:
        at_chapa = dict(self.world.at_chapa)
        at_chapa[tx_ref] = {**at_chapa[tx_ref], **changes}
        self.world = replace(self.world, at_chapa=at_chapa)

    def order_of(self, name: str) -> str:
        [order_id] = self.stories[name].orders
        return order_id

    def page_of(self, name: str) -> str:
        [tx_ref] = self.stories[name].pages
        return tx_ref


class Clients:
    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.stories: dict[str, Story] = {}

    def hear(self, name: str, call: Call, ask: Callable[[], Response]) -> Response:
        began = self.shop.clock().timestamp()
        answer = ask()
        ended = self.shop.clock().timestamp()
        self.stories[name].heard.append(Heard(call, began, ended, answer.status, answer.body))
        self.shop.clock.advance(1)
        return answer

    def place(self, name: str, sku: str, quantity: int = 1, key: str | None = None) -> Response:
        self.stories.setdefault(name, Story(name, "abebe", "shops", {sku: quantity}, key))
        customer = {"first_name": name}
        return self.hear(
            name, "place", lambda: self.shop.order({sku: quantity}, key=key, customer=customer)
        )

    def open_page(self, name: str) -> str:
        [order_id] = self.stories[name].orders
        answer = self.hear(name, "initialize", lambda: self.shop.pay(order_id))
        self.stories[name].pages[answer.body["tx_ref"]] = answer.body["checkout_url"]
        return str(answer.body["tx_ref"])

    def pay(self, name: str, tx_ref: str, *, late: bool = False) -> None:
        self.shop.control.pay(tx_ref, late=late)
        self.stories[name].paid.add(tx_ref)
        self.hear(name, "payment", lambda: self.shop.status(tx_ref, refresh=True))


@pytest.fixture(scope="module")
def _day() -> Day:
    """Almaz pays; Bekele, who had the last one, pays too late, when it is Chaltu's; Dawit, who
    wanted it as well, hears that it is sold out; Eden orders twice under one key; the bank takes
    back what Fikre paid, and the shop pays Genet back."""
    with mock_aws():
        return _lived_through(Shop())


def _lived_through(shop: Shop) -> Day:
    clients = Clients(shop)
    clients.place("Almaz", "COFFEE-250", 2)
    clients.pay("Almaz", clients.open_page("Almaz"))
    clients.place("Bekele", "LAST")
    too_late = clients.open_page("Bekele")
    assert clients.place("Dawit", "LAST").code == "out_of_stock"
    shop.clock.advance(shop.backend.rules.order_ttl)
    shop.sweep()
    clients.place("Fikre", "COFFEE-250")
    clients.pay("Fikre", taken_back := clients.open_page("Fikre"))
    shop.control.reverse(taken_back)
    clients.stories["Fikre"].taken_back.add(taken_back)
    clients.place("Genet", "COFFEE-250")
    clients.pay("Genet", promised_back := clients.open_page("Genet"))
    refunds.request(
        shop.backend, promised_back, None, key="Genet", reason="Sour", return_stock=True
    )
    clients.stories["Genet"].promised_back.add(promised_back)
    clients.place("Chaltu", "LAST")
    clients.pay("Chaltu", clients.open_page("Chaltu"))
    clients.pay("Bekele", too_late, late=True)
    for _ in range(10):
        shop.deliver()
        shop.clock.advance(3600)
        shop.sweep()
    assert shop.payment(too_late).status is PaymentStatus.REFUNDED
    clients.place("Eden", "MUG", key="K")
    clients.place("Eden", "MUG", key="K")
    orders, _ = stored_orders(shop.dynamodb.scan(TableName="payments")["Items"])
    at_chapa = {payment["tx_ref"]: payment for payment in shop.control.payments()}
    return Day(clients.stories, World(orders, at_chapa, shop.units))


@pytest.fixture
def day(_day: Day) -> Day:
    """The same day for each test, to be told otherwise."""
    return deepcopy(_day)


def test_true_stories_agree_with_the_table_and_with_chapa(day: Day) -> None:
    assert day.judged() == []
    assert [heard.status for heard in day.stories["Eden"].heard] == [201, 200]
    assert day.world.at_chapa[day.page_of("Bekele")]["refunds"]


def told_that_an_unpaid_order_is_paid(day: Day) -> None:
    day.change("Eden", "place", body={"status": "paid"})


def taken_back_and_still_paid(day: Day) -> None:
    day.set_payment(day.page_of("Fikre"), status=PaymentStatus.SUCCEEDED)


def taken_back_by_nobody(day: Day) -> None:
    day.set_at_chapa(day.page_of("Fikre"), status="success")


def taken_back_of_an_order_that_stays_paid(day: Day) -> None:
    day.set_order(day.order_of("Fikre"), status=OrderStatus.PAID)


def promised_back_and_kept(day: Day) -> None:
    day.set_payment(day.page_of("Genet"), status=PaymentStatus.SUCCEEDED)


def promised_back_and_unknown(day: Day) -> None:
    day.forget(day.order_of("Genet"))


def tried_in_vain(day: Day) -> None:
    day.stories["Genet"].complaints.append("to pay it back did not work in 8 tries")


def sold_out_while_goods_that_came_back_are_there(day: Day) -> None:
    """The units that Genet brought back are there again, those of Fikre are not."""
    story = day.stories["Dawit"]
    story.basket = {"COFFEE-250": 7}
    day.change("Dawit", "place", began=2e9, ended=2e9, body={"skus": ["COFFEE-250"]})


def told_that_an_unpaid_payment_succeeded(day: Day) -> None:
    day.set_payment(day.page_of("Almaz"), status=PaymentStatus.CLOSED)


def told_that_a_paid_order_is_pending_again(day: Day) -> None:
    first = day.stories["Almaz"].heard[-1]
    again = {**first.body, "order_status": "pending"}
    day.stories["Almaz"].heard.append(replace(first, began=first.ended + 1, body=again))


def paid_and_expired_without_a_refund(day: Day) -> None:
    order_id = day.order_of("Bekele")
    orders = dict(day.world.orders)
    story = replace(orders[order_id].story, refunds=())
    day.world = replace(
        day.world, orders={**orders, order_id: replace(orders[order_id], story=story)}
    )


def paid_and_closed(day: Day) -> None:
    day.set_payment(day.page_of("Bekele"), status=PaymentStatus.CLOSED)


def paid_and_unknown(day: Day) -> None:
    day.forget(day.order_of("Almaz"))


def paid_for_an_order_that_another_payment_paid(day: Day) -> None:
    day.set_order(day.order_of("Almaz"), paid_by="another")


def paid_and_not_at_chapa(day: Day) -> None:
    day.set_at_chapa(day.page_of("Almaz"), status="unpaid")


def paid_by_nobody(day: Day) -> None:
    day.stories["Chaltu"].paid.clear()


def refunded_by_us_and_not_by_chapa(day: Day) -> None:
    day.set_at_chapa(day.page_of("Bekele"), refunds=[])


def refunded_twice(day: Day) -> None:
    [refund] = day.world.at_chapa[day.page_of("Bekele")]["refunds"]
    day.set_at_chapa(day.page_of("Bekele"), refunds=[refund, refund])


def handed_a_payment_that_does_not_exist(day: Day) -> None:
    day.change("Almaz", "initialize", body={"tx_ref": day.order_of("Almaz") + "-nothing"})


def handed_somebody_else_s_page(day: Day) -> None:
    theirs = day.stories["Chaltu"].pages[day.page_of("Chaltu")]
    day.change("Almaz", "initialize", body={"checkout_url": theirs})


def handed_a_payment_that_chapa_does_not_know(day: Day) -> None:
    at_chapa = dict(day.world.at_chapa)
    del at_chapa[day.page_of("Almaz")]
    day.stories["Almaz"].paid.clear()
    day.world = replace(day.world, at_chapa=at_chapa)


def asked_for_another_amount(day: Day) -> None:
    day.set_at_chapa(day.page_of("Chaltu"), amount="0.99")


def told_of_an_order_that_does_not_exist(day: Day) -> None:
    day.forget(day.order_of("Eden"))


def sold_other_goods(day: Day) -> None:
    day.stories["Eden"].basket = {"MUG": 2}


def told_another_price(day: Day) -> None:
    day.change("Eden", "place", body={"amount": "1.00"})


def made_two_orders_of_one_key(day: Day) -> None:
    stories = day.stories
    customer = {"first_name": "Eden"}
    day.set_order(day.order_of("Chaltu"), customer=customer)
    stories["Eden"].heard += [h for h in stories.pop("Chaltu").heard if h.call == "place"]


def made_an_order_behind_the_client_s_back(day: Day) -> None:
    stories = day.stories
    day.set_order(day.order_of("Chaltu"), customer={"first_name": "Dawit"})
    stories["Dawit"].paid |= stories.pop("Chaltu").paid


def told_that_an_order_has_ended_which_goes_on(day: Day) -> None:
    story = day.stories["Eden"]
    story.heard.append(replace(story.heard[0], call="cancel", status=200))


def told_that_an_order_will_end_which_goes_on(day: Day) -> None:
    story = day.stories["Eden"]
    story.heard.append(replace(story.heard[0], call="cancel", status=202))


def told_that_it_is_sold_out_while_it_was_there(day: Day) -> None:
    day.change("Dawit", "place", began=0, ended=1)


def answered_with_a_bug(day: Day) -> None:
    day.change("Almaz", "place", status=500, body={"code": "internal_error"})


def cut_off_without_a_kill(day: Day) -> None:
    day.stories["Almaz"].heard.append(Heard("order", 11, 12, 502, {"message": "Internal Error"}))


def failed_by_a_chapa_that_was_well(day: Day) -> None:
    day.stories["Almaz"].heard.append(
        Heard("initialize", 1, 2, 503, {"code": "provider_unavailable"})
    )


LIES: dict[Callable[[Day], None], str] = {
    told_that_an_unpaid_order_is_paid: "was seen paid, and later was seen pending",
    taken_back_and_still_paid: "reversed, and it is succeeded",
    taken_back_by_nobody: "which is reversed, and Chapa says success",
    taken_back_of_an_order_that_stays_paid: "back, and the order is paid",
    promised_back_and_kept: "refunded, and it is succeeded",
    promised_back_and_unknown: "of which we know nothing",
    tried_in_vain: "did not work in 8 tries",
    sold_out_while_goods_that_came_back_are_there: "but they were there",
    told_that_an_unpaid_payment_succeeded: "was seen succeeded, and later is closed",
    told_that_a_paid_order_is_pending_again: "was seen paid, and later was seen pending",
    paid_and_expired_without_a_refund: "0.00 of it are owed back",
    paid_and_closed: "the money is nobody's",
    paid_and_unknown: "of which we know nothing",
    paid_for_an_order_that_another_payment_paid: "the order is paid by another",
    paid_and_not_at_chapa: "of which Chapa knows nothing",
    paid_by_nobody: "and nobody paid it",
    refunded_by_us_and_not_by_chapa: "Chapa gave back 0.00",
    refunded_twice: "refunded twice",
    handed_a_payment_that_does_not_exist: "which does not exist",
    handed_somebody_else_s_page: "another page than that of payment",
    handed_a_payment_that_chapa_does_not_know: "which Chapa does not know",
    asked_for_another_amount: "asks for another amount",
    told_of_an_order_that_does_not_exist: "which does not exist",
    sold_other_goods: "has other goods",
    told_another_price: "has another price",
    made_two_orders_of_one_key: "one Idempotency-Key made 2 orders",
    made_an_order_behind_the_client_s_back: "nobody was told of",
    told_that_an_order_has_ended_which_goes_on: "has ended, but it is pending",
    told_that_an_order_will_end_which_goes_on: "but it never was",
    told_that_it_is_sold_out_while_it_was_there: "but they were there",
    answered_with_a_bug: "was answered 500 internal_error",
    cut_off_without_a_kill: "was answered 502",
    failed_by_a_chapa_that_was_well: "was answered 503 provider_unavailable",
}


@pytest.mark.parametrize(("lie", "words"), LIES.items(), ids=lambda it: getattr(it, "__name__", ""))
def test_a_lie_is_found(day: Day, lie: Callable[[Day], None], words: str) -> None:
    lie(day)
    assert [finding for finding in day.judged() if words in finding]


def test_a_late_success_is_no_lie(day: Day) -> None:
    """An order that was seen expired may be paid all the same; the other way round is a lie."""
    order_id = day.order_of("Bekele")
    order = {"order_id": order_id, "order_status": "expired"}
    day.stories["Almaz"].heard.append(Heard("order", 1, 2, 200, order))
    day.set_order(order_id, status=OrderStatus.PAID)
    assert day.judged() == []


def test_whoever_kills_the_process_explains_the_cut(day: Day) -> None:
    cut_off_without_a_kill(day)
    for kill, explained in (
        (Kill(11.5, "status"), True),
        (Kill(10.5, "status"), True),
        (Kill(11.5, "checkout"), False),
        (Kill(12.5, "status"), False),
        (Kill(1.5, "status"), False),
    ):
        day.world = replace(day.world, kills=[kill])
        assert (day.judged() == []) is explained, kill


def test_an_event_that_was_not_published_is_found_and_one_that_never_was_too(day: Day) -> None:
    ids = [
        f"{order_id}#{number}"
        for order_id, order in day.world.orders.items()
        for number in range(1, len(order.events) + 1)
    ]
    assert unpublished(day.world.orders, [*ids, ids[0]]) == []
    assert unpublished(day.world.orders, ids[1:]) == [f"event {ids[0]} was never published"]
    assert unpublished(day.world.orders, [*ids, "x#1"]) == [
        "event x#1 was published, and is in no ledger"
    ]


def test_a_forged_webhook_that_is_believed_is_found() -> None:
    def sent(status: int | None, *faults: str) -> Entry:
        return Entry(1, "", "webhook", "T", "POST", "", "", [*faults], status)

    good = [sent(200), sent(401, "forged"), sent(502, "forged"), sent(None, "forged")]
    assert [*believed(good)] == []
    assert [*believed([sent(200, "forged")])] == ["a forged webhook about T was answered 200"]


class TestLetLive:
    """The loop in which customers live."""

    def test_everybody_lives_to_the_end_and_only_so_many_act_at_once(self) -> None:
        acting, most, ended = 0, 0, []
        lock = threading.Lock()

        def life(number: int) -> Life[None]:
            nonlocal acting, most
            for pause in (0, 0.01, 0):
                with lock:
                    acting += 1
                    most = max(most, acting)
                time.sleep(0.001)
                with lock:
                    acting -= 1
                yield pause
            ended.append(number)

        let_live(map(life, range(30)), 3)
        assert sorted(ended) == [*range(30)]
        assert most <= 3

    def test_what_one_of_them_raises_is_raised_when_the_others_have_stopped(self) -> None:
        def life(_: int) -> Life[None]:
            yield 0
            raise RuntimeError("fell off a ladder")

        with pytest.raises(RuntimeError, match="ladder"):
            let_live(map(life, count()), 3)


class TestTrouble:
    def went_wrong(self, share: float, times: int) -> Counter[str]:
        """What became of so many questions to a Chapa that goes wrong so often."""
        simulator = Simulator(rng=random.Random(11))
        make_chapa_faulty(Control(BASE_URL, session_for(simulator)), share)
        met = (simulator.faults.take("verify", "T", ANSWER) for _ in range(times))
        return Counter(fault.kind for fault in met if fault)

    def test_a_tenth_goes_wrong_in_all_ways_alike(self) -> None:
        met = self.went_wrong(0.1, 20_000)
        assert met.total() == pytest.approx(2_000, rel=0.1)
        assert set(met) == set(ANSWER)
        assert met.pop("status") == pytest.approx(600, rel=0.2)
        assert [*met.values()] == pytest.approx([200] * 7, rel=0.3)

    def test_all_can_go_wrong_and_nothing(self) -> None:
        assert self.went_wrong(1, 500).total() == 500
        assert self.went_wrong(0, 500).total() == 0


def test_a_process_that_waits_for_its_input_does_not_work() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.stdin.readline(); sum(range(10**10))"],
        stdin=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin
        try:
            deadline = time.monotonic() + 20
            while works(process.pid) and time.monotonic() < deadline:
                time.sleep(0.01)
            assert not works(process.pid)
            process.stdin.write("go\n")
            process.stdin.flush()
            while not works(process.pid) and time.monotonic() < deadline:
                time.sleep(0.01)
            assert works(process.pid)
        finally:
            process.kill()
    assert not works(process.pid)


def test_a_short_soak_finds_nothing_and_leaves_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "tests.soak", f"--state={tmp_path}"),
            *("--orders=16", "--clients=2", "--seed=short", "--faults=20", "--kills=5", "--ttl=5"),
        ],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], "PYTHONPATH": "shared"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    figures = {
        name.strip(): int(number.replace(",", ""))
        for name, number in re.findall(r"^\| (.+?) +\| +([\d,]+) \|$", done.stdout, re.MULTILINE)
    }
    assert figures["customers"] == 16
    assert figures["findings"] == 0
    for some in (
        "orders placed",
        "payments made at Chapa",
        "faults of Chapa's answers",
        "processes killed in the midst of work",
        "order.paid",
        "events heard on the bus",
    ):
        assert figures[some] > 0, some
    assert [*tmp_path.iterdir()] == []
