"""`make soak`: thousands of orders through the deployed local stack, where a tenth goes wrong.

Customers do what customers do, many at once. Meanwhile Chapa times out, errs, takes no connections,
and loses, doubles, delays and forges its webhooks; banks take money back, the operator pays back
and redrives the dead letters, and processes of functions are killed in the midst of their work.
Then the trouble ends, the schedule gets its time, and it is checked that every promise holds, and
that what each customer was told agrees with the table and with Chapa.
"""

import argparse
import json
import os
import random
import secrets
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.box import ASCII2, ROUNDED, Box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from operators.invariants import StoredOrder, stored_orders, violations
from sandbox.chapa.journal import Entry
from sandbox.client import Client, TooLate, until
from sandbox.listener import Listener
from sandbox.stack import STATE, Stack, StackError
from tests.soak.customers import PLENTIFUL, SCARCE, Customer, Life, let_live
from tests.soak.judge import World, unpublished, untrue
from tests.soak.story import Story
from tests.soak.trouble import Kill, Reaper, Repeated, make_chapa_faulty

PARAMS = {
    # Time goes faster here: minutes of a shop are seconds.
    "LeaseSeconds": "8",
    "WaitSeconds": "2",
    "LookAfterSeconds": "3,5,10",
    "LastLookAfterSeconds": "4,8",
    "VerifyEverySeconds": "1",
    "ReviewAfterSeconds": "900",
    "RepublishAfterSeconds": "90",
    "RequestsPerSecond": "10000",
    "RequestBurst": "5000",
    "ReturnUrl": "https://shop.example/thanks",
}

HIDDEN_SECONDS = "15"
"""For how long a message is hidden whose worker was killed; it is six minutes on AWS."""

DEAD_AFTER = 1
"""How often a message may fail; five times on AWS, and here nothing fails so often."""

SWEEP_SECONDS = 2.0
REST_SECONDS = 240
"""The longest that the schedule may take until nothing is left to be done."""

REQUESTS_AN_OUTAGE = 40
"""To so many requests of which an answer of Chapa's goes wrong it once takes no connections."""

SHOWN = 50
"""Findings that are shown; the rest stands in a file."""

type Figure = tuple[str, int | str]
"""Its name in plain words; two spaces before it make it a part of the one above."""


@dataclass(frozen=True)
class Settings:
    orders: int
    clients: int
    seed: str
    faults: float
    """Percent of Chapa's answers that go wrong."""
    kills: float
    """Processes killed to a hundred requests of customers."""
    ttl: int
    """Seconds that an unpaid order keeps its stock; half an hour in a shop."""


@dataclass
class Day:
    """What came of it."""

    settings: Settings
    customers: list[Customer] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    evidence: dict[str, Any] = field(default_factory=dict)
    """What is needed to look into a finding; gathered only if there is one."""


class Soak:
    """One market day on one stack. `run` returns what came of it."""

    def __init__(
        self, stack: Stack, shop: Client, settings: Settings, say: Callable[[str], None]
    ) -> None:
        self.day = Day(settings)
        self._stack = stack
        self._shop = shop
        self._say = say
        self._reaper = Reaper(stack, settings.seed)
        self._listener = Listener(shop.stack)
        self._sweeps = self._sweeps_in_trouble = 0
        self._redriven = self._outages = 0

    def run(self) -> Day:
        self._open_the_shop()
        started = time.monotonic()
        self._sell()
        sold = time.monotonic()
        self._come_to_rest()
        rested = time.monotonic()
        customers = self.day.customers
        let_live((customer.looks_again() for customer in customers), self.day.settings.clients)
        self._say("Everybody looked once more. Judging ...")
        self._judge(sold - started, rested - sold)
        return self.day

    def _open_the_shop(self) -> None:
        settings, shop = self.day.settings, self._shop
        prices = random.Random(f"{settings.seed}/prices")
        for sku, units in (PLENTIFUL | SCARCE).items():
            shop.sell(sku, units, prices.randint(100, 500_000))
        sqs, queue = shop.aws("sqs"), shop.stack["queues"]["reconcile"]
        known = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["RedrivePolicy"])
        redrive = json.loads(known["Attributes"]["RedrivePolicy"])
        policy = json.dumps(redrive | {"maxReceiveCount": DEAD_AFTER})
        sqs.set_queue_attributes(
            QueueUrl=queue,
            Attributes={"VisibilityTimeout": HIDDEN_SECONDS, "RedrivePolicy": policy},
        )
        # On a slow machine it is no fault of the webhook's that nobody answers it soon.
        shop.chapa.set(send_timeout=30)
        make_chapa_faulty(shop.chapa, settings.faults / 100)

    def _sell(self) -> None:
        settings, shop = self.day.settings, self._shop

        def arriving() -> Iterator[Life[None]]:
            for number in range(settings.orders):
                customer = Customer(number, settings.seed, shop)
                self.day.customers.append(customer)
                yield customer.life()

        pauses = random.Random(f"{settings.seed}/pauses")
        outages = random.Random(f"{settings.seed}/outages")
        tasks = [
            Repeated("schedule", lambda: SWEEP_SECONDS, self._sweep),
            Repeated("listener", lambda: 1.0, self._listener.listen),
            Repeated("progress", lambda: 15.0, self._progress),
            Repeated("reaper", lambda: pauses.uniform(0, 0.5), self._reap),
            Repeated("outage", lambda: 0.5, lambda: self._break_down(outages.uniform(0.5, 3))),
            Repeated("operator", lambda: 5.0, self._redrive),
        ]
        with ExitStack() as meanwhile:
            for task in tasks:
                meanwhile.enter_context(task)
            let_live(arriving(), settings.clients)
        self._progress()
        for task in tasks:
            for error in task.failures:
                self._find(f"the {task.name} failed: {type(error).__name__}: {error}")

    def _sweep(self) -> None:
        """What the schedule runs every minute; a killed sweep is followed by another."""
        began = time.time()
        try:
            self._shop.sweep()
        except RuntimeError:
            if not any(k.function == "expire" and k.at >= began for k in self._reaper.kills):
                raise
        else:
            self._sweeps += 1

    # Trouble comes in step with the work and not with the time: a slow machine gets on, too.

    def _reap(self) -> None:
        self._reaper.look()
        if len(self._reaper.kills) < self._requests * self.day.settings.kills / 100:
            self._reaper.strike()

    def _break_down(self, seconds: float) -> None:
        """Chapa takes no connections for a while."""
        chapa = self._shop.chapa
        if self._outages < self._requests * self.day.settings.faults / 100 / REQUESTS_AN_OUTAGE:
            self._outages += 1
            chapa.refuse(seconds)
            until(chapa.answers, bool, "Chapa answers")

    @property
    def _requests(self) -> int:
        return sum(len(customer.story.heard) for customer in self.day.customers)

    def _redrive(self) -> None:
        if self._shop.queued("dead_letter"):
            code, answer, complaint = self._shop.operate("redrive")
            self._redriven += int(answer.get("redriven", 0))
            if code:
                self._find(f"the dead letters could not be redriven: {complaint}")

    def _progress(self) -> None:
        day = self.day
        paid = sum(bool(customer.story.paid) for customer in day.customers)
        self._say(
            f"{len(day.customers)} of {day.settings.orders} customers came, {paid} have paid,"
            f" {len(self._reaper.kills)} processes killed"
        )

    def _come_to_rest(self) -> None:
        """No more trouble: Chapa answers, nobody is killed, and webhooks need not come any more."""
        shop = self._shop
        self._say("The trouble is over; the schedule gets its time ...")
        shop.chapa.clear_faults()
        shop.chapa.switch(webhook_delivery="lost")
        self._sweeps_in_trouble = self._sweeps
        deadline = time.monotonic() + REST_SECONDS
        while left := self._left_to_do():
            if time.monotonic() > deadline:
                self._find(f"after {REST_SECONDS} s of rest there are still {left}")
                return
            self._bank_works_off_refunds()
            self._redrive()
            self._sweep()
            with suppress(TooLate):  # The next round says what is left.
                shop.await_worker()
            self._listener.listen()
            time.sleep(0.5)

    def _left_to_do(self) -> str:
        """What is still due, marked or queued; empty when nothing can happen by itself any more."""
        shop = self._shop
        due = Counter(
            "orders to look at" if key == "ORDER" else "events to publish" for key in shop.due()
        )
        due["messages for the worker"] = shop.queued("reconcile")
        due["dead letters"] = shop.queued("dead_letter")
        return ", ".join(f"{number} {what}" for what, number in due.items() if number)

    def _bank_works_off_refunds(self) -> None:
        """Days pass at the bank, also for a refund of which nobody kept the handle."""
        for payment in self._shop.chapa.payments():
            for refund in payment["refunds"]:
                if refund["status"] not in {"refunded", "reversed"}:
                    self._shop.chapa.refund_status(refund["ref_id"], "refunded", webhook=False)

    def _find(self, finding: str) -> None:
        self.day.findings.append(finding)

    def _judge(self, selling: float, resting: float) -> None:
        shop, day = self._shop, self.day
        self._listener.listen(seconds=1)
        items = shop.items()
        orders, _ = stored_orders(items)
        day.findings += violations(
            items,
            units=shop.units,
            confirmed=shop.confirmed(),
            settled=True,
        )
        world = World(
            orders=orders,
            at_chapa={payment["tx_ref"]: payment for payment in shop.chapa.payments()},
            units=shop.units,
            kills=self._reaper.kills,
            chapa_was_faulty=bool(day.settings.faults),
        )
        stories = [customer.story for customer in day.customers]
        day.findings += untrue(stories, world)
        published = [str(event["detail"]["id"]) for event in self._listener.heard]
        day.findings += unpublished(orders, published)
        webhooks = shop.calls("webhook")
        day.findings += believed(webhooks)
        day.findings += [
            f"a function failed for a reason of its own: {line.get('exception')}"
            for line in logged(shop, "bug")
            if line.get("message") == "bug"
        ]
        if day.findings:
            day.evidence |= {
                "findings": day.findings,
                "stories": stories,
                "items": items,
                "at_chapa": world.at_chapa,
                "kills": self._reaper.kills,
                "journal": shop.calls(),
                "logs": [*shop.logged()],
            }
        day.figures = [
            *told_by_clients(stories),
            *done_to_us(shop.chapa.used_faults(), webhooks, self._reaper.kills),
            ("times that Chapa took no connections", self._outages),
            *done_by_us(orders.values(), published, webhook_outcomes(shop)),
            ("questions to Chapa about a payment", len(shop.calls("verify"))),
            ("orders that the worker failed at", failed_at(shop)),
            ("dead letters, all redriven", self._redriven),
            ("sweeps while there was trouble", self._sweeps_in_trouble),
            ("sweeps until all was at rest", self._sweeps - self._sweeps_in_trouble),
            ("seconds of trouble", round(selling)),
            ("seconds until all was at rest", round(resting)),
            ("orders a second", f"{len(orders) / selling:.1f}"),
            ("findings", len(day.findings)),
        ]


def believed(webhooks: Iterable[Entry]) -> Iterator[str]:
    """Forged webhooks that were not refused. One whose process was killed was not either."""
    for entry in webhooks:
        if "forged" in entry.faults and entry.status not in {401, 500, 502, None}:
            yield f"a forged webhook about {entry.tx_ref} was answered {entry.status}"


def told_by_clients(stories: Sequence[Story]) -> Iterator[Figure]:
    heard = [heard for story in stories for heard in story.heard]

    def answered(status: int, *calls: str) -> int:
        return sum(each.status == status and each.call in calls for each in heard)

    yield "customers", len(stories)
    yield "requests of customers", len(heard)
    yield "orders placed", answered(201, "place", "place again")
    yield "pages of Chapa handed out", answered(201, "initialize")
    yield "payments made at Chapa", sum(len(story.paid) for story in stories)
    yield "same order found again by its key", answered(200, "place", "place again")
    yield "same page handed out again", answered(200, "initialize")
    refused = Counter((each.status, each.code) for each in heard if not each.good)
    for (status, code), number in sorted(refused.items()):
        yield f"requests answered {status or ''} {code or 'by a killed process'}", number


def done_to_us(
    used: Mapping[tuple[str, str], int], webhooks: Sequence[Entry], kills: Sequence[Kill]
) -> Iterator[Figure]:
    ours = {kind: n for (call, kind), n in used.items() if call == "webhook"}
    answers: Counter[str] = Counter()
    for (call, kind), number in used.items():
        if call not in {"webhook", "callback"}:
            answers[kind] += number
    yield "faults of Chapa's answers", answers.total()
    for kind, number in answers.most_common():
        yield f"  {kind.replace('_', ' ')}", number
    yield "webhooks sent, every attempt counted", sum("lost" not in w.faults for w in webhooks)
    for kind, number in sorted(ours.items(), key=lambda each: -each[1]):
        yield f"  {kind.replace('_', ' ')}", number
    yield "processes killed in the midst of work", len(kills)
    for function, number in Counter(kill.function for kill in kills).most_common():
        yield f"  {function}", number


def done_by_us(
    orders: Iterable[StoredOrder], published: Sequence[str], outcomes: Mapping[str, int]
) -> Iterator[Figure]:
    events = Counter(event.name for order in orders for event in order.events)
    yield "transitions, each a line of a ledger", events.total()
    for name, number in events.most_common():
        yield f"  {name}", number
    yield "events heard on the bus", len(published)
    yield "  of these heard before", len(published) - len(set(published))
    yield "webhooks settled at once, or absorbed", sum(outcomes.values())
    for outcome, number in sorted(outcomes.items(), key=lambda each: -each[1]):
        yield f"  {outcome}", number


def logged(shop: Client, words: str, function: str = "") -> Iterator[dict[str, Any]]:
    for _, line in shop.logged(words, function):
        with suppress(ValueError):
            yield json.loads(line)


def webhook_outcomes(shop: Client) -> Counter[str]:
    told = logged(shop, "outcome", "webhook")
    return Counter(line["outcome"] for line in told if line.get("message") == "webhook")


def failed_at(shop: Client) -> int:
    words = "order not reconciled"
    return sum(line.get("message") == words for line in logged(shop, words, "reconcile"))


def soak(settings: Settings, state_dir: Path, say: Callable[[str], None]) -> Day:
    """Raises StackError when there is no stack to soak."""
    say("Starting a local AWS and a Chapa to practise on ...")
    params = PARAMS | {"OrderTtlSeconds": str(settings.ttl)}
    stack = Stack(state_dir, params=params, seed=settings.seed, say=say)
    with stack as description, Client(description) as shop:
        return Soak(stack, shop, settings, say).run()


def table(figures: Iterable[Figure], box: Box) -> Table:
    shown = Table(box=box)
    shown.add_column("Figure")
    shown.add_column("Count", justify="right")
    for name, count in figures:
        shown.add_row(Text(name), f"{count:,}" if isinstance(count, int) else count)
    return shown


def _positive(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0")
    return int(text)


def _percent(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1
    if not 0 <= number <= 100:
        raise argparse.ArgumentTypeError(f"{text!r} is no percentage")
    return number


def arguments() -> argparse.ArgumentParser:
    """Each setting is an argument, or a variable of the environment in capitals."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.soak",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Each is also read from the environment: make soak ORDERS=500 SEED=17",
    )
    settings: list[tuple[str, Callable[[str], object], object, str]] = [
        ("orders", _positive, 2000, "how many customers come, each for one order"),
        ("clients", _positive, 8, "how many of them act at once"),
        ("seed", str, None, "of all chance; a run can be repeated as far as threads allow"),
        ("faults", _percent, 10, "percent of Chapa's answers that go wrong; of webhooks more"),
        ("kills", _percent, 1, "processes killed to a hundred requests of customers"),
        ("ttl", _positive, 30, "seconds that an unpaid order keeps its stock"),
    ]
    for name, kind, default, meaning in settings:
        given = os.environ.get(name.upper()) or default
        usual = f" ({default})" if default is not None else ""
        parser.add_argument(f"--{name}", type=kind, default=given, help=meaning + usual)
    parser.add_argument("--state", type=Path, default=STATE, help="where it keeps its files")
    return parser


def plain(record: Any) -> Any:
    return sorted(record) if isinstance(record, set) else asdict(record)


def main() -> int:
    started = time.monotonic()
    given = arguments().parse_args()
    settings = Settings(
        orders=given.orders,
        clients=given.clients,
        seed=given.seed or secrets.token_hex(4),
        faults=given.faults,
        kills=given.kills,
        ttl=given.ttl,
    )
    console = Console(highlight=False)

    def say(line: str) -> None:
        minutes, seconds = divmod(int(time.monotonic() - started), 60)
        console.print(Text(f"{minutes:3}:{seconds:02}  {line}"), soft_wrap=True)

    # A polite end is an end like Ctrl-C: what was started is stopped.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    given.state.mkdir(parents=True, exist_ok=True)
    # One of its own, so that it does not disturb the stack of `make up`.
    state_dir = Path(tempfile.mkdtemp(prefix="soak-", dir=given.state))
    say(f"The seed of all chance is {settings.seed}.")
    try:
        day = soak(settings, state_dir, say)
    except StackError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        shutil.rmtree(state_dir, ignore_errors=True)
        return 130
    console.print()
    console.print(table(day.figures, ROUNDED if console.is_terminal else ASCII2))
    took = f"{time.monotonic() - started:.0f} s"
    if day.findings:
        for finding in day.findings[:SHOWN]:
            console.print(Text(f"NOT SO: {finding}"), soft_wrap=True)
        evidence = state_dir / "findings.json"
        evidence.write_text(json.dumps(day.evidence, indent=2, default=plain))
        console.print(f"{len(day.findings)} findings, in {took}. All of them, with the table and")
        console.print(f"every story, are in {evidence}; SEED={settings.seed}.", soft_wrap=True)
        return 1
    console.print(f"Every promise held, and every customer was told the truth, in {took}.")
    shutil.rmtree(state_dir, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
