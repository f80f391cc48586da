"""Whole payments per second on the deployed local stack, beside a function that does nothing.

A payment: place an order, open its payment, pay on Chapa's page, wait until the order is paid by
the webhook. The emulator, the simulator and all functions share this machine, and the echo function
runs on the same emulator: read how the two relate, not how fast AWS would be.

`python -m bench.throughput [PAYMENTS]` prints the table; PAYMENTS is the number at each level.
"""

import io
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from zipfile import ZipFile

from bench.tables import markdown
from sandbox.aws import USERS
from sandbox.client import Client
from sandbox.stack import Stack

CLIENTS = (1, 4, 16)
ECHO = "def handler(event, _context):\n    return event\n"
SKU = "BENCH"


def payment(shop: Client, number: int) -> None:
    user = USERS[number % len(USERS)]
    placed = shop.place({SKU: 1}, user=user)
    assert placed.status == 201, placed
    begun = shop.initialize(placed["order_id"], user=user)
    assert begun.status == 201, begun
    shop.press(shop.visit(begun["checkout_url"]), "pay")
    shop.await_order(placed["order_id"], "paid", user=user)


def make_echo(shop: Client) -> None:
    packed = io.BytesIO()
    with ZipFile(packed, "w") as archive:
        archive.writestr("app.py", ECHO)
    shop.aws("lambda").create_function(
        FunctionName="echo",
        Runtime="python3.13",
        Role="arn:aws:iam::000000000000:role/echo",
        Handler="app.handler",
        Code={"ZipFile": packed.getvalue()},
        MemorySize=512,
        Timeout=27,
    )


def measure(clients: int, times: int, one: Callable[[int], None]) -> list[str]:
    """Per second, and milliseconds of the median and of the 99th percentile."""

    def timed(number: int) -> float:
        began = time.perf_counter()
        one(number)
        return (time.perf_counter() - began) * 1000

    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(one, range(clients)))  # Each has a process of its own after that.
        began = time.perf_counter()
        took = sorted(pool.map(timed, range(times)))
        seconds = time.perf_counter() - began
    return [f"{times / seconds:.1f}", *(f"{took[int(times * at)]:,.0f}" for at in (0.5, 0.99))]


def main() -> None:
    payments = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    # Two customers place all orders.
    params = {"MaxUnpaidOrders": "0"}
    with (
        TemporaryDirectory() as folder,
        Stack(Path(folder), params=params) as described,
        Client(described) as shop,
    ):
        shop.sell(SKU, 100 * payments, 45_000)
        make_echo(shop)
        invoke = shop.aws("lambda").invoke
        rows = [
            [
                clients,
                *measure(clients, payments, lambda number: payment(shop, number)),
                *measure(
                    clients,
                    payments,
                    lambda _: invoke(FunctionName="echo", Payload=b"{}")["Payload"].read(),
                ),
            ]
            for clients in CLIENTS
        ]
    head = [
        f"{what} {column}"
        for what in ("payments", "echo")
        for column in ("per second", "p50 ms", "p99 ms")
    ]
    print(markdown(["Clients", *head], rows))


if __name__ == "__main__":
    main()
