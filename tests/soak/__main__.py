"""`make soak`: thousands of orders on the local stack while a tenth of Chapa's responses go wrong.

Many customers shop at once. Meanwhile Chapa times out, fails, refuses connections, and loses,
doubles, delays and forges its webhooks; banks reverse payments, the operator makes refunds, retries
those that Chapa refused and redrives dead letters, and processes of functions are killed while they
work. Then the faults end, the schedule finishes what is open, and the soak checks every invariant,
and that every response to a customer agrees with the table and with Chapa. With a key of Chapa's v2
the pages of unpaid orders cannot be closed; they end some seconds after their orders.
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
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import requests
from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError
from rich.box import ASCII2, ROUNDED, Box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from payments.aws.items import REVIEW_LIST
from payments.aws.lists import Lists
from payments.aws.repository import Repository
from payments.domain import decisions
from sandbox.client import Client, TooLate, until
from sandbox.listener import Listener
from sandbox.stack import STATE, Stack, StackError
from tests.soak.customers import PLENTIFUL, SCARCE, Customer, run_all
from tests.soak.judge import FinalState, accepted_forgeries, findings, unpublished
from tests.soak.trouble import ProcessKiller, Repeated, make_chapa_faulty

PARAMS = {
    # Minutes of a real shop are seconds here.
    "LeaseSeconds": "8",
    "WaitSeconds": "2",
    "CheckAfterSeconds": "3,5,10",
    "FinalCheckAfterSeconds": "4,8",
    "VerifyEverySeconds": "1",
    "UnansweredAfterSeconds": "900",
    "PendingGraceSeconds": "5",
    "RepublishAfterSeconds": "90",
    # Two customers place all orders.
    "MaxUnpaidOrders": "0",
    "RequestsPerSecond": "10000",
    "RequestBurst": "5000",
    "ReturnUrl": "https://shop.example/thanks",
}

VISIBILITY_SECONDS = "15"
"""How long the message of a killed worker stays hidden; six minutes on AWS."""

MAX_RECEIVES = 1
"""How often a message can fail before it is a dead letter; five times on AWS."""

SWEEP_SECONDS = 2.0
REST_SECONDS = 240
"""The longest time until nothing is left to do after the faults have ended."""

REQUESTS_PER_OUTAGE = 40
"""Chapa refuses connections once per so many requests whose Chapa responses go wrong."""

FAILED = "order not reconciled"
"""The worker's log message for an order that it will try again."""

SHOWN = 50
"""Findings to print; a file has all of them."""

type Figure = tuple[str, int | str]
"""Name and value; a name that starts with two spaces is a part of the figure above."""


class Options(BaseModel):
    model_config = ConfigDict(frozen=True)

    orders: PositiveInt = Field(2000, description="number of customers; each places one order")
    clients: PositiveInt = Field(8, description="requests of customers at the same time")
    seed: str = Field("", description="seed of all randomness; threads still vary")
    faults: float = Field(
        10, ge=0, le=100, description="percent of Chapa's responses that go wrong; more webhooks"
    )
    kills: float = Field(
        1, ge=0, le=100, description="killed processes per hundred requests of customers"
    )
    ttl: PositiveInt = Field(30, description="seconds until an unpaid order expires")
    provider: Literal["v1", "v2"] = Field("v1", description="version of Chapa's API")


@dataclass
class SoakResult:
    customers: list[Customer] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    evidence: dict[str, Any] = field(default_factory=dict)
    """Data to analyse findings; empty without any."""


class Soak:
    def __init__(
        self, stack: Stack, shop: Client, options: Options, say: Callable[[str], None]
    ) -> None:
        self.result = SoakResult()
        self._options = options
        self._shop = shop
        self._say = say
        self._killer = ProcessKiller(stack, options.seed)
        self._listener = Listener(shop.stack)
        self._sweeps = self._sweeps_in_trouble = 0
        self._redriven = self._retried = self._outages = self._ended = 0
        self._chance = random.Random(f"{options.seed}/pages")
        table = (shop.aws("dynamodb"), shop.stack["table_name"])
        self._repository, self._lists = Repository(*table), Lists(*table)

    def run(self) -> SoakResult:
        self._set_up()
        started = time.monotonic()
        self._shop_with_faults()
        ended = time.monotonic()
        self._finish_open_work()
        rested = time.monotonic()
        customers, threads = self.result.customers, self._options.clients
        run_all((customer.check_orders() for customer in customers), threads)
        self._say("Every customer has checked its orders. Judging ...")
        self._judge(ended - started, rested - ended)
        return self.result

    def _set_up(self) -> None:
        options, shop = self._options, self._shop
        prices = random.Random(f"{options.seed}/prices")
        for sku, units in (PLENTIFUL | SCARCE).items():
            shop.sell(sku, units, prices.randint(100, 500_000))
        sqs, queue = shop.aws("sqs"), shop.stack["queues"]["reconcile"]
        known = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["RedrivePolicy"])
        redrive = json.loads(known["Attributes"]["RedrivePolicy"])
        policy = json.dumps(redrive | {"maxReceiveCount": MAX_RECEIVES})
        sqs.set_queue_attributes(
            QueueUrl=queue,
            Attributes={"VisibilityTimeout": VISIBILITY_SECONDS, "RedrivePolicy": policy},
        )
        # A slow machine must not make webhooks fail.
        shop.chapa.set(send_timeout=30)
        make_chapa_faulty(shop.chapa, options.faults / 100)

    def _shop_with_faults(self) -> None:
        options, shop = self._options, self._shop
        pauses = random.Random(f"{options.seed}/pauses")
        outages = random.Random(f"{options.seed}/outages")
        tasks = [
            Repeated("schedule", lambda: SWEEP_SECONDS, self._sweep),
            Repeated("listener", lambda: 1.0, self._listener.listen),
            Repeated("progress", lambda: 15.0, self._progress),
            Repeated("killer", lambda: pauses.uniform(0, 0.5), self._kill),
            Repeated("outage", lambda: 0.5, lambda: self._refuse(outages.uniform(0.5, 3))),
            Repeated("operator", lambda: 5.0, self._operate),
            Repeated("end of pages", lambda: 4.0, lambda: self._end_pages(0.4)),
        ]
        for number in range(options.orders):
            self.result.customers.append(Customer(number, options.seed, shop))
        with ExitStack() as meanwhile:
            for task in tasks:
                meanwhile.enter_context(task)
            run_all((customer.shop() for customer in self.result.customers), options.clients)
        self._progress()
        for task in tasks:
            for error in task.failures:
                self._find(f"the {task.name} failed: {type(error).__name__}: {error}")

    def _sweep(self) -> None:
        """Run the schedule's function; a killed run is followed by another."""
        began = time.time()
        try:
            self._shop.sweep()
        except RuntimeError:
            if not any(k.function == "expire" and k.at >= began for k in self._killer.kills):
                raise
        else:
            self._sweeps += 1

    # The number of kills and outages follows the requests, so that a slow machine makes progress.

    def _kill(self) -> None:
        self._killer.find_started()
        if len(self._killer.kills) < self._requests * self._options.kills / 100:
            self._killer.kill_one()

    def _refuse(self, seconds: float) -> None:
        """Make Chapa refuse connections for a while."""
        chapa = self._shop.chapa
        if self._outages < self._requests * self._options.faults / 100 / REQUESTS_PER_OUTAGE:
            self._outages += 1
            chapa.refuse(seconds)
            until(chapa.answers, bool, "Chapa accepts connections")

    def _end_pages(self, share: float) -> None:
        """End this share of the pages that Chapa cannot close and whose orders wait for that."""
        if self._options.provider == "v1":
            return
        now = int(time.time())
        for due in [*self._repository.due(now + 60)]:
            aggregate = self._repository.read(due.order_id)
            if aggregate is None or decisions.payable(aggregate, now):
                continue
            lives = any(
                not payment.can_cancel and (payment.page_expires_at or now) >= now
                for payment in aggregate.open_payments
            )
            if lives and self._chance.random() < share:
                # The next time, if Chapa refuses connections.
                with suppress(requests.ConnectionError):
                    self._shop.end_pages(due.order_id)
                    self._ended += 1

    @property
    def _requests(self) -> int:
        return sum(len(customer.log.calls) for customer in self.result.customers)

    def _operate(self) -> None:
        """What an operator must do: redrive dead letters, and retry refunds that Chapa refused."""
        for entry in self._lists.listed(REVIEW_LIST):
            if entry.kind == "REFUND":
                code, _, _ = self._shop.operate("retry-refund", entry.name, "--reason=soak")
                self._retried += not code
        if self._shop.queued("dead_letter"):
            code, output, error = self._shop.operate("redrive")
            self._redriven += int(output.get("redriven", 0))
            if code:
                self._find(f"the redrive of the dead letters failed: {error}")

    def _progress(self) -> None:
        logs = [customer.log for customer in self.result.customers]
        started, paid = sum(bool(log.calls) for log in logs), sum(bool(log.paid) for log in logs)
        self._say(
            f"{started} of {len(logs)} customers have started, {paid} have paid,"
            f" {len(self._killer.kills)} processes killed"
        )

    def _finish_open_work(self) -> None:
        """Without faults, and without webhooks, the schedule alone must finish everything."""
        shop = self._shop
        self._say("The faults have ended; the schedule finishes what is open ...")
        shop.chapa.clear_faults()
        shop.chapa.add_fault("webhook", "lost", times=None)
        self._sweeps_in_trouble = self._sweeps
        deadline = time.monotonic() + REST_SECONDS
        while left := self._open_work():
            if time.monotonic() > deadline:
                self._find(f"after {REST_SECONDS} s without faults there are still {left}")
                return
            self._end_pages(1)
            self._finish_refunds_at_chapa()
            self._operate()
            self._sweep()
            with suppress(TooLate):  # The next round reports what is left.
                shop.await_worker()
            self._listener.listen()
            time.sleep(0.5)

    def _open_work(self) -> str:
        """What is due or queued; empty when nothing more happens by itself."""
        shop = self._shop
        due = Counter(
            "orders to check" if key == "ORDER" else "events to publish" for key in shop.due()
        )
        due["messages for the worker"] = shop.queued("reconcile")
        due["dead letters"] = shop.queued("dead_letter")
        return ", ".join(f"{number} {name}" for name, number in due.items() if number)

    def _finish_refunds_at_chapa(self) -> None:
        """The bank finishes every refund, also one whose id the product never received."""
        for payment in self._shop.chapa.payments():
            for refund in payment["refunds"]:
                if refund["status"] not in {"refunded", "reversed"}:
                    self._shop.chapa.refund_status(refund["ref_id"], "refunded", webhook=False)

    def _find(self, finding: str) -> None:
        self.result.findings.append(finding)

    def _judge(self, seconds: float, rest_seconds: float) -> None:
        shop, result = self._shop, self.result
        self._listener.listen(seconds=1)
        state = FinalState(
            items=shop.items(),
            at_chapa={payment["tx_ref"]: payment for payment in shop.chapa.payments()},
            units=shop.units,
            kills=self._killer.kills,
            chapa_was_faulty=bool(self._options.faults),
        )
        logs = [customer.log for customer in result.customers]
        published = [str(event["detail"]["id"]) for event in self._listener.received]
        webhooks = shop.calls("webhook")
        result.findings += findings(logs, state)
        result.findings += unpublished(state.orders, published)
        result.findings += accepted_forgeries(webhooks)
        result.findings += [
            f"a function failed with an exception: {line.get('exception')}"
            for line in log_lines(shop, "bug")
        ]
        if result.findings:
            result.evidence |= {
                "findings": result.findings,
                "customers": logs,
                "items": state.items,
                "at_chapa": state.at_chapa,
                "kills": state.kills,
                "journal": shop.calls(),
                "logs": [*shop.logged()],
            }
        used = shop.chapa.used_faults()
        calls = [call for log in logs for call in log.calls]
        paid = sum(len(log.paid) for log in logs)
        result.figures = [
            ("customers", len(logs)),
            *total("responses to customers", (f"{c.call} {c.status} {c.code}" for c in calls)),
            ("payments made at Chapa", paid),
            *total("injected faults", {f"{call} {kind}": n for (call, kind), n in used.items()}),
            ("outages of Chapa", self._outages),
            ("orders whose pages ended", self._ended),
            *total("killed processes", (kill.function for kill in state.kills)),
            ("webhook attempts", sum("lost" not in entry.faults for entry in webhooks)),
            *total(
                "webhooks handled",
                (line["outcome"] for line in log_lines(shop, "webhook", "webhook")),
            ),
            *total("events logged", (e.name for o in state.orders.values() for e in o.events)),
            ("events received from the bus", len(published)),
            ("  duplicates", len(published) - len(set(published))),
            ("verify calls", len(shop.calls("verify"))),
            ("failures of the worker", sum(1 for _ in log_lines(shop, FAILED, "reconcile"))),
            ("dead letters, all redriven", self._redriven),
            ("refused refunds, all retried", self._retried),
            ("sweeps with faults", self._sweeps_in_trouble),
            ("sweeps after the faults", self._sweeps - self._sweeps_in_trouble),
            ("seconds with faults", round(seconds)),
            ("seconds until nothing was left to do", round(rest_seconds)),
            ("orders per second", f"{len(state.orders) / seconds:.1f}"),
            ("findings", len(result.findings)),
        ]


def total(name: str, counted: Iterable[str] | Mapping[str, int]) -> list[Figure]:
    """A figure, and below it its parts, largest first."""
    counts = Counter(counted)
    return [(name, counts.total()), *((f"  {part}", n) for part, n in counts.most_common())]


def log_lines(shop: Client, message: str, function: str = "") -> Iterator[dict[str, Any]]:
    """Log lines with exactly this message."""
    for _, text in shop.logged(message, function):
        with suppress(ValueError):
            line = json.loads(text)
            if line.get("message") == message:
                yield line


def soak(options: Options, state_dir: Path, say: Callable[[str], None]) -> SoakResult:
    """Raises StackError if the stack does not start."""
    say("Starting a local AWS and the Chapa simulator ...")
    params = PARAMS | {"OrderTtlSeconds": str(options.ttl)}
    stack = Stack(state_dir, provider=options.provider, params=params, seed=options.seed, say=say)
    with stack as description, Client(description) as shop:
        return Soak(stack, shop, options, say).run()


def table(figures: Iterable[Figure], box: Box) -> Table:
    shown = Table(box=box)
    shown.add_column("Figure")
    shown.add_column("Count", justify="right")
    for name, count in figures:
        shown.add_row(Text(name), f"{count:,}" if isinstance(count, int) else count)
    return shown


def read_options() -> tuple[Options, Path]:
    """Each option is an argument, or an environment variable in capitals."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.soak",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Each option is also read from the environment: make soak ORDERS=500 SEED=17",
    )
    for name, option in Options.model_fields.items():
        usual = option.default or "random"
        parser.add_argument(
            f"--{name}",
            default=os.environ.get(name.upper()) or option.default,
            help=f"{option.description} ({usual})".replace("%", "%%"),
        )
    parser.add_argument("--state", type=Path, default=STATE, help="directory for its files")
    given = vars(parser.parse_args())
    state: Path = given.pop("state")
    given["seed"] = given["seed"] or secrets.token_hex(4)
    try:
        return Options.model_validate(given), state
    except ValidationError as error:
        problem = error.errors()[0]
        parser.error(f"--{problem['loc'][0]}: {problem['msg']}")


def main() -> int:
    started = time.monotonic()
    options, state = read_options()
    console = Console(highlight=False)

    def say(line: str) -> None:
        minutes, seconds = divmod(int(time.monotonic() - started), 60)
        console.print(Text(f"{minutes:3}:{seconds:02}  {line}"), soft_wrap=True)

    # SIGTERM ends the soak like Ctrl-C: what it started is stopped.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    state.mkdir(parents=True, exist_ok=True)
    # A directory of its own, so that the stack of `make up` is not disturbed.
    state_dir = Path(tempfile.mkdtemp(prefix="soak-", dir=state))
    say(f"The seed is {options.seed}.")
    try:
        result = soak(options, state_dir, say)
    except StackError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        shutil.rmtree(state_dir, ignore_errors=True)
        return 130
    console.print()
    console.print(table(result.figures, ROUNDED if console.is_terminal else ASCII2))
    took = f"{time.monotonic() - started:.0f} s"
    if not result.findings:
        console.print(f"Every invariant held, and every response was true, in {took}.")
        shutil.rmtree(state_dir, ignore_errors=True)
        return 0
    for finding in result.findings[:SHOWN]:
        console.print(Text(f"FINDING: {finding}"), soft_wrap=True)
    evidence = state_dir / "findings.json"
    # Dataclasses and sets are all that JSON does not know here.
    evidence.write_text(
        json.dumps(
            result.evidence,
            indent=2,
            default=lambda it: [*it] if isinstance(it, set) else asdict(it),
        )
    )
    console.print(f"{len(result.findings)} findings in {took}, SEED={options.seed}.")
    console.print(f"All data is in {evidence}.", soft_wrap=True)
    return 1


if __name__ == "__main__":
    sys.exit(main())
