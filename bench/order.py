"""What a whole order costs in millionths of a dollar: prices times what was counted.

Counted on moto and the simulator: invocations, calls, units, events, lines of logs. Measured: the
processor time of warm calls (`bench.warm` must have run). Assumed: what the constants below say.
Not in it: cold starts, storage, and what does not depend on orders (docs/deploy.md).

Prices of us-east-1 without free tiers, from AWS's pages of prices: aws.amazon.com, /lambda/pricing,
/dynamodb/pricing/on-demand, /api-gateway/pricing, /eventbridge/pricing, /cloudwatch/pricing,
/sqs/pricing, /xray/pricing.

`python -m bench.order` prints the table.
"""

import io
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from typing import Any, override

from tests.environment import PROCESS, PUBLISHER, SETTINGS

if __name__ == "__main__":
    # Before the product is imported: it reads its settings at import, as on Lambda.
    os.environ.update(PROCESS | SETTINGS | PUBLISHER | {"POWERTOOLS_LOG_LEVEL": "INFO"})

from moto import mock_aws

from bench import counts
from bench.counts import UNIT_PRICE, USER, Counted
from bench.tables import Goal, markdown, printed, rows_of, verdict
from bench.units import Account
from payments.telemetry import logger
from tests.shop import Shop, http_event
from tests.template import template

GB_SECOND = 13.33
"""Of arm64, the template's default; of x86_64 it is 16.67."""
INVOCATION = 0.2
READ_UNIT = 0.125
HTTP_REQUEST = 1.0
EVENT = 1.0
LOG_KB = 0.5
QUEUE_REQUEST = 0.4
TRACE = 5.0

CHAPA_SECONDS = 1.5
"""Assumed for one call to Chapa."""
CHAPA_SECONDS_IF_FAST = 0.5
AWS_SECONDS = 0.01
"""Assumed for one call to DynamoDB or EventBridge."""
OWN_LOG_KB = 0.6
"""Assumed for Lambda's own lines about one invocation."""
ACCESS_LOG_KB = 0.3
"""Assumed for API Gateway's line about one request."""
TRACED = 0.05
"""X-Ray's default rule records one request a second, and of the others this share."""
QUEUE_REQUESTS = 3
"""Of one message: send, receive, delete."""
POLLS = 3
"""How often a customer's page asks for the status of a payment. Assumed."""
VCPU_MB = 1769
"""At this memory a function has one processor, and with less a share of it
(docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html)."""
MEMORY_MB = template()["Globals"]["Function"]["MemorySize"]


class Metered(Counted):
    """A shop of which everything that has a price is counted. Sweeps are not the order's."""

    def __init__(self, shop: Shop, output: io.StringIO) -> None:
        super().__init__(shop)
        self.invocations: Counter[str] = Counter()
        self.requests = self.chapa_calls = self.aws_calls = self.log_bytes = 0
        self.account = Account()
        self._output = output
        self._call = shop.call
        shop.call = self._metered  # type: ignore[method-assign]

    @contextmanager
    @override
    def counting(self) -> Iterator[Account]:
        with super().counting() as self.account:
            yield self.account

    def _metered(self, function: str, event: Mapping[str, Any], milliseconds: int = 29_000) -> Any:
        with self._of(function):
            self.requests += "requestContext" in event
            return self._call(function, event, milliseconds)

    @override
    def publish(self) -> None:
        events = self.bus.events
        with self._of("publish"):
            super().publish()
        if self.bus.events == events:
            self.invocations["publish"] -= 1

    @contextmanager
    def _of(self, function: str) -> Iterator[None]:
        calls, reads = self.account.calls.total(), self.account.reads
        asked, written = self._asked(), self._output.tell()
        yield
        if function == "expire":
            self.account.reads = reads
            return
        self.invocations[function] += 1
        self.aws_calls += self.account.calls.total() - calls
        self.chapa_calls += self._asked() - asked
        self.log_bytes += self._output.tell() - written

    def _asked(self) -> int:
        return sum(map(self.shop.asked, ("initialize", "verify", "cancel")))

    def parts(self, cpu_ms: Mapping[str, float], chapa_seconds: float) -> dict[str, float]:
        """Millionths of a dollar, by what they are for."""
        times, account = self.invocations.total(), self.account
        seconds = sum(
            count * cpu_ms.get(name, cpu_ms["initialize"]) / 1000 * VCPU_MB / MEMORY_MB
            for name, count in self.invocations.items()
        )
        seconds += self.aws_calls * AWS_SECONDS + self.chapa_calls * chapa_seconds
        log_kb = self.log_bytes / 1000 + times * OWN_LOG_KB + self.requests * ACCESS_LOG_KB
        queue_requests = self.invocations["reconcile"] * QUEUE_REQUESTS
        return {
            f"Lambda: {seconds:.1f} s of {MEMORY_MB} MB": seconds * MEMORY_MB / 1024 * GB_SECOND,
            f"Lambda: {times} invocations": times * INVOCATION,
            f"DynamoDB: {account.total} write units": account.total * UNIT_PRICE,
            f"DynamoDB: {account.reads:g} read units": account.reads * READ_UNIT,
            f"HTTP API: {self.requests} requests": self.requests * HTTP_REQUEST,
            f"EventBridge: {self.bus.events} events": self.bus.events * EVENT,
            f"Logs: {log_kb:.0f} KB": log_kb * LOG_KB,
            f"SQS: {queue_requests} requests": queue_requests * QUEUE_REQUEST,
            f"X-Ray: {times * TRACED:.2f} traces": times * TRACED * TRACE,
        }


def paid(metered: Metered) -> Account:
    """Place, pay, webhook, callback, and what the customer's page asks meanwhile."""
    with metered.counting() as account:
        _, tx_ref = metered.paid()
        query = {"trx_ref": tx_ref}
        metered.shop.http("webhook", http_event("GET", user=None, query=query))
        for _ in range(POLLS):
            metered.shop.status(tx_ref, user=USER)
    return account


ORDERS: Mapping[str, tuple[Callable[[Metered], Account], float]] = {
    "paid": (paid, 60),
    "abandoned": (lambda metered: counts.expired(metered, attempted=True), 70),
}
"""By order: how it is counted, and the goal."""


def measured() -> dict[str, float]:
    """Milliseconds of processor time of a warm call, by function."""
    rows = {row[0]: float(row[2]) for row in rows_of(printed("warm"))}
    return {"webhook": rows["applied webhook"], "initialize": rows["initialize"]}


def main() -> None:
    cpu_ms = measured()
    goals: list[Goal] = []
    tables: list[str] = []
    for name, (account, goal) in ORDERS.items():
        output = io.StringIO()
        logger.registered_handler.stream = output  # type: ignore[attr-defined]
        with mock_aws(), redirect_stdout(output):
            metered = Metered(Shop(), output)
            account(metered)
            parts = metered.parts(cpu_ms, CHAPA_SECONDS)
            fast = sum(metered.parts(cpu_ms, CHAPA_SECONDS_IF_FAST).values())
        total = sum(parts.values())
        goals.append(Goal(f"{name} order", total, goal))
        rows = [[part, f"{price:.1f}"] for part, price in parts.items()]
        rows.append(["**all**", f"**{total:.0f}**"])
        rows.append([f"all, if Chapa answers in {CHAPA_SECONDS_IF_FAST} s", f"{fast:.0f}"])
        tables.append(markdown([f"Order: {name}", "millionths of a dollar"], rows))
        runs = [f"{function} {times}" for function, times in sorted((+metered.invocations).items())]
        tables.append(f"Invocations: {', '.join(runs)}.")
    print("\n\n".join([*tables, verdict(goals)]))


if __name__ == "__main__":
    main()
