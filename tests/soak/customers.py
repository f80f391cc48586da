"""Customers of the soak: each follows a scenario and logs every call.

A scenario is a generator that yields the seconds to wait before its next step; `run_all` runs many
at once. The seed decides which scenario a customer follows and how long it waits.
"""

import heapq
import itertools
import json
import random
import time
from collections.abc import Callable, Generator, Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from datetime import datetime
from functools import partial

import requests

from sandbox.chapa.control import Control, ControlError
from sandbox.client import Client, Response, until
from tests.soak.customer_log import GAVE_UP, Call, CustomerLog, LoggedCall

type Steps[T] = Generator[float, None, T]

PLENTIFUL = {f"plenty-{n}": 100_000 for n in range(12)}
SCARCE = {"last-jebena": 3, "last-netela": 5, "last-mesob": 8, "last-gabi": 12}
"""Far fewer units than customers want."""

TRIES = 8
"""How often a customer tries a call before it gives up."""

FINAL = {"succeeded", "unapplied", "refunded", "reversed", "review"}
"""Payment statuses after which the customer stops polling."""


class Customer:
    def __init__(self, number: int, seed: str, shop: Client) -> None:
        self._random = random.Random(f"{seed}/{number}")
        self._shop = shop
        self._chapa = Control(shop.chapa.base_url)
        name = f"Customer{number}"
        self._scenario = self._choose(SCENARIOS)
        self.log = CustomerLog(
            name=name,
            user=self._random.choice(sorted(shop.stack["users"])),
            wants=(self._scenario.__doc__ or "").strip("."),
            basket=self._basket(),
            key=f"{seed}/{name}" if self._random.random() < 0.35 else None,
        )

    def shop(self) -> Steps[None]:
        order = yield from self._place()
        if order is None:
            return
        yield self._random.uniform(0, 1)
        yield from self._scenario(self, order)
        yield self._random.uniform(0, 2)
        self._call("order", partial(self._shop.order, order["order_id"], user=self.log.user))

    def check_orders(self) -> Steps[None]:
        """Get each order once more, after everything has ended."""
        for order_id in sorted(self.log.orders):
            yield 0
            self._call("order", partial(self._shop.order, order_id, user=self.log.user))

    def _choose[T](self, weights: Mapping[T, int]) -> T:
        [chosen] = self._random.choices(list(weights), list(weights.values()))
        return chosen

    def _basket(self) -> dict[str, int]:
        if self._random.random() < 0.2:
            return {self._random.choice(sorted(SCARCE)): self._random.choice((1, 1, 2))}
        lines = self._choose({1: 6, 2: 3, 4: 1})
        return {sku: self._random.randint(1, 3) for sku in self._random.sample([*PLENTIFUL], lines)}

    def _call(self, call: Call, send: Callable[[], Response]) -> Response:
        """Call the API once and log it."""
        began = time.time()
        try:
            response = send()
        except requests.Timeout:
            response = Response(0, {"code": GAVE_UP}, {})
        except (requests.RequestException, ValueError) as error:
            response = Response(0, {"error": str(error)}, {})
        logged = LoggedCall(call, began, time.time(), response.status, response.body)
        self.log.calls.append(logged)
        return response

    def _both(self, one: Callable[[], object], other: Callable[[], object]) -> None:
        """Two clicks at the same moment."""
        with ThreadPoolExecutor(2) as clicks:
            for click in [clicks.submit(one), clicks.submit(other)]:
                click.result()

    def _retry(self, call: Call, send: Callable[[], Response]) -> Steps[Response]:
        """Repeat a call until its response is final."""
        response = self._call(call, send)
        for _ in range(TRIES - 1):
            if 0 < response.status < 500 and response.code != "payment_in_progress":
                break
            yield float(response.headers.get("retry-after", 1)) + self._random.uniform(0, 0.5)
            response = self._call(call, send)
        return response

    def _place(self) -> Steps[Response | None]:
        log = self.log

        def send() -> Response:
            customer = {"first_name": log.name, "phone_number": "0911223344"}
            return self._shop.place(log.basket, user=log.user, key=log.key, customer=customer)

        if log.key and self._random.random() < 0.3:
            self._both(*[partial(self._call, "place again", send)] * 2)
            yield self._random.uniform(0, 0.5)
        response = yield from self._retry("place", send)
        if log.key and self._random.random() < 0.3:
            yield self._random.uniform(0, 2)
            self._call("place again", send)
        return response if response.status in {200, 201} else None

    def _page(self, order: Response) -> Steps[str | None]:
        """Open a checkout page; returns its tx_ref, None if there is no page."""
        send = partial(self._shop.initialize, order["order_id"], user=self.log.user)
        if self._random.random() < 0.2:
            self._both(*[partial(self._call, "initialize", send)] * 2)
        response = yield from self._retry("initialize", send)
        if response.status not in {200, 201}:
            return None
        tx_ref = str(response["tx_ref"])
        self.log.pages[tx_ref] = response["checkout_url"]
        yield self._random.uniform(0.2, 2)
        return tx_ref

    def _at_chapa[T](self, do: Callable[[], T]) -> T:
        """Repeat an action while Chapa accepts no connections."""
        while True:
            try:
                return do()
            except requests.ConnectionError:
                until(self._chapa.answers, bool, "Chapa answers")

    def _press(self, tx_ref: str, button: str) -> None:
        page = self._at_chapa(partial(self._shop.visit, self.log.pages[tx_ref]))
        if button not in page.buttons:
            return  # The page is closed.
        if self._at_chapa(partial(self._shop.press, page, button)) and button == "pay":
            self.log.paid.add(tx_ref)

    def _bank_pays(self, tx_ref: str) -> None:
        """The bank confirms an attempt although the page may be closed."""
        try:
            self._at_chapa(partial(self._chapa.pay, tx_ref, late=True))
        except ControlError as error:
            if error.code != 409:
                raise
        else:
            self.log.paid.add(tx_ref)

    def _return(self, tx_ref: str) -> Steps[str]:
        """Return to the shop and poll the payment; returns its status."""
        status = ""
        send = partial(self._shop.payment, tx_ref, user=self.log.user, refresh=True)
        for pause in (0.3, 1, 2, 4):
            yield pause
            status = str(self._call("payment", send).body.get("status", ""))
            if status in FINAL:
                break
        return status

    def _visit(self, order: Response, *buttons: str) -> Steps[tuple[str, str] | None]:
        """Open a page, press buttons, return; the tx_ref and the status that the shop shows."""
        tx_ref = yield from self._page(order)
        if tx_ref is None:
            return None
        for number, button in enumerate(buttons):
            if number:
                yield self._random.uniform(0.2, 3)
            self._press(tx_ref, button)
        return tx_ref, (yield from self._return(tx_ref))

    def _until_done(self, name: str, do: Callable[[], bool]) -> Steps[None]:
        for _ in range(TRIES):
            # A killed process can leave no response, or one that cannot be read.
            with suppress(requests.RequestException, ValueError):
                if do():
                    return
            yield 1
        self.log.failures.append(f"{name} failed in {TRIES} tries")

    def _until_expired(self, order: Response) -> Steps[None]:
        over = datetime.fromisoformat(order["expires_at"]).timestamp()
        yield max(0, over - time.time()) + self._random.uniform(0.5, 5)

    def pays(self, order: Response) -> Steps[None]:
        """pays and returns"""
        yield from self._visit(order, "pay")

    def pays_and_leaves(self, order: Response) -> Steps[None]:
        """pays and closes the browser"""
        tx_ref = yield from self._page(order)
        if tx_ref:
            self._press(tx_ref, "pay")

    def fails_first(self, order: Response) -> Steps[None]:
        """fails to pay, then pays on the same page"""
        yield from self._visit(order, "fail", "pay")

    def takes_another_page(self, order: Response) -> Steps[None]:
        """fails or cancels on one page, then pays on another"""
        if (yield from self._visit(order, self._random.choice(("fail", "cancel")))):
            yield from self._visit(order, "pay")

    def pays_twice(self, order: Response) -> Steps[None]:
        """pays on two pages"""
        visit = yield from self._visit(order, "fail")
        if not visit:
            return
        if other := (yield from self._page(order)):
            self._both(partial(self._press, other, "pay"), partial(self._bank_pays, visit[0]))
            yield from self._return(other)
        yield from self._return(visit[0])

    def pays_late(self, order: Response) -> Steps[None]:
        """pays after the order has expired"""
        tx_ref = yield from self._page(order)
        if tx_ref:
            yield from self._until_expired(order)
            self._bank_pays(tx_ref)
            yield from self._return(tx_ref)

    def abandons(self, order: Response) -> Steps[None]:
        """never pays"""
        if self._random.random() < 0.7:
            yield from self._page(order)
        yield from self._until_expired(order)

    def cancels(self, order: Response) -> Steps[None]:
        """cancels the order"""
        if self._random.random() < 0.6:
            yield from self._page(order)
        yield from self._retry("cancel", self._cancel(order))

    def cancels_while_paying(self, order: Response) -> Steps[None]:
        """cancels the order in one window while paying in another"""
        tx_ref = yield from self._page(order)
        if tx_ref:
            cancel = self._cancel(order)
            self._both(partial(self._call, "cancel", cancel), partial(self._press, tx_ref, "pay"))
            yield from self._retry("cancel", cancel)
            yield from self._return(tx_ref)

    def gets_a_refund(self, order: Response) -> Steps[None]:
        """pays and gets a refund from the shop"""
        tx_ref, status = (yield from self._visit(order, "pay")) or ("", "")
        if status != "succeeded":
            return
        units = self.log.basket.items() if self._random.random() < 0.5 else ()
        goods = [f"--return={sku}={quantity}" for sku, quantity in units]

        def refund() -> bool:
            code, _, _ = self._shop.operate("refund", tx_ref, f"--key={self.log.name}", *goods)
            return code == 0

        yield from self._until_done(f"the refund of {tx_ref}", refund)
        self.log.refunded.add(tx_ref)
        if self._random.random() < 0.5:
            refund()  # Repeated with its key, it is one refund.

    def is_reversed(self, order: Response) -> Steps[None]:
        """pays, and the bank reverses the payment"""
        tx_ref, status = (yield from self._visit(order, "pay")) or ("", "")
        if status != "succeeded":
            return
        self._at_chapa(partial(self._chapa.reverse, tx_ref, webhook=False))
        event = {"event": "charge.reversed", "tx_ref": tx_ref, "status": "reversed"}
        body = json.dumps(event).encode()
        yield from self._until_done(
            f"the webhook of the reversal of {tx_ref}",
            lambda: self._shop.notify(body).status == 200,
        )
        self.log.reversed.add(tx_ref)

    def _cancel(self, order: Response) -> Callable[[], Response]:
        return partial(self._shop.cancel, order["order_id"], user=self.log.user)


SCENARIOS: dict[Callable[[Customer, Response], Steps[None]], int] = {
    Customer.pays: 33,
    Customer.pays_and_leaves: 11,
    Customer.fails_first: 8,
    Customer.takes_another_page: 8,
    Customer.pays_twice: 7,
    Customer.pays_late: 7,
    Customer.abandons: 8,
    Customer.cancels: 6,
    Customer.cancels_while_paying: 6,
    Customer.gets_a_refund: 3,
    Customer.is_reversed: 3,
}
"""Each scenario, and how many of a hundred customers follow it."""


def run_all(scenarios: Iterable[Steps[None]], threads: int) -> None:
    """Run scenarios, at most `threads` steps at once; a new one starts when no other is due.

    Raises what a scenario raises, after the running steps have ended.
    """
    new, numbers = iter(scenarios), itertools.count()
    waiting: list[tuple[float, int, Steps[None]]] = []
    running: dict[Future[float | None], Steps[None]] = {}
    with ThreadPoolExecutor(threads) as pool:
        while True:
            while len(running) < threads:
                if waiting and waiting[0][0] <= time.monotonic():
                    scenario = heapq.heappop(waiting)[2]
                elif fresh := next(new, None):
                    scenario = fresh
                else:
                    break
                running[pool.submit(next, scenario, None)] = scenario
            if not running and not waiting:
                return
            until_due = max(0, waiting[0][0] - time.monotonic()) if waiting else None
            if not running:
                time.sleep(until_due or 0)
            full = len(running) == threads
            for done in wait(running, None if full else until_due, FIRST_COMPLETED).done:
                scenario = running.pop(done)
                if (pause := done.result()) is not None:
                    heapq.heappush(waiting, (time.monotonic() + pause, next(numbers), scenario))
