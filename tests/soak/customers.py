"""Customers: each wants something of the shop, goes about it like a person, and writes it down.

What a customer does is a generator that yields for how many seconds nothing is done; `let_live`
lets many of them live at once. What each one wants, and how long it hesitates, follows from the
seed alone.
"""

import heapq
import itertools
import json
import random
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime
from functools import partial

import requests

from sandbox.chapa.control import Control, ControlError
from sandbox.client import Client, Response, until
from tests.soak.story import GAVE_UP, Call, Heard, Story

type Life[T] = Generator[float, None, T]

PLENTIFUL = {f"plenty-{n}": 100_000 for n in range(12)}
SCARCE = {"last-jebena": 3, "last-netela": 5, "last-mesob": 8, "last-gabi": 12}
"""What everybody wants: far fewer units than customers."""

TRIES = 8
"""How often the front end of a shop asks the same again, before it gives up."""

DONE = {"succeeded", "surplus", "refunded", "reversed", "review"}
"""What a customer who looks after a payment need not wait any longer after."""


class Customer:
    def __init__(self, number: int, seed: str, shop: Client) -> None:
        self._random = random.Random(f"{seed}/{number}")
        self._shop = shop
        self._chapa = Control(shop.stack["chapa_url"].removesuffix("/v1"))
        name = f"Customer{number}"
        self._wants = self._choose(WANTS)
        self.story = Story(
            name=name,
            user=self._random.choice(sorted(shop.stack["users"])),
            wants=(self._wants.__doc__ or "").strip("."),
            basket=self._basket(),
            key=f"{seed}/{name}" if self._random.random() < 0.35 else None,
        )

    def life(self) -> Life[None]:
        order = yield from self._place()
        if order is None:
            return
        yield self._random.uniform(0, 1)
        yield from self._wants(self, order)
        yield self._random.uniform(0, 2)
        self._hear("order", partial(self._shop.order, order["order_id"], user=self.story.user))

    def looks_again(self) -> Life[None]:
        """When all is over: how does each order stand?"""
        for order_id in sorted(self.story.orders):
            yield 0
            self._hear("order", partial(self._shop.order, order_id, user=self.story.user))

    def _choose[T](self, weights: Mapping[T, int]) -> T:
        [chosen] = self._random.choices(list(weights), list(weights.values()))
        return chosen

    def _basket(self) -> dict[str, int]:
        if self._random.random() < 0.2:
            return {self._random.choice(sorted(SCARCE)): self._random.choice((1, 1, 2))}
        lines = self._choose({1: 6, 2: 3, 4: 1})
        return {sku: self._random.randint(1, 3) for sku in self._random.sample([*PLENTIFUL], lines)}

    # Asking, and writing down what was said.

    def _hear(self, call: Call, ask: Callable[[], Response]) -> Response:
        began = time.time()
        try:
            answer = ask()
        except requests.Timeout:
            answer = Response(0, {"code": GAVE_UP}, {})
        except (requests.RequestException, ValueError) as error:
            answer = Response(0, {"error": str(error)}, {})
        self.story.heard.append(Heard(call, began, time.time(), answer.status, answer.body))
        return answer

    def _both(self, one: Callable[[], object], other: Callable[[], object]) -> None:
        """Two clicks at the same moment."""
        with ThreadPoolExecutor(2) as clicks:
            for click in [clicks.submit(one), clicks.submit(other)]:
                click.result()

    def _twice(self, click: Callable[[], object]) -> None:
        self._both(click, click)

    def _insist(self, call: Call, ask: Callable[[], Response]) -> Life[Response]:
        """Ask until there is an answer that asking again would not change."""
        answer = self._hear(call, ask)
        for _ in range(TRIES - 1):
            if 0 < answer.status < 500 and answer.code != "payment_in_progress":
                break
            yield float(answer.headers.get("retry-after", 1)) + self._random.uniform(0, 0.5)
            answer = self._hear(call, ask)
        return answer

    def _place(self) -> Life[Response | None]:
        story = self.story

        def ask() -> Response:
            customer = {"first_name": story.name, "phone_number": "0911223344"}
            return self._shop.place(story.basket, user=story.user, key=story.key, customer=customer)

        if story.key and self._random.random() < 0.3:
            self._twice(partial(self._hear, "place again", ask))
            yield self._random.uniform(0, 0.5)
        answer = yield from self._insist("place", ask)
        if story.key and self._random.random() < 0.3:
            yield self._random.uniform(0, 2)
            self._hear("place again", ask)
        return answer if answer.status in {200, 201} else None

    def _page(self, order: Response) -> Life[str | None]:
        """The tx_ref of a page to pay on; None when there is none to be had."""
        ask = partial(self._shop.initialize, order["order_id"], user=self.story.user)
        if self._random.random() < 0.2:
            self._twice(partial(self._hear, "initialize", ask))
        answer = yield from self._insist("initialize", ask)
        if answer.status not in {200, 201}:
            return None
        tx_ref = str(answer["tx_ref"])
        self.story.pages[tx_ref] = answer["checkout_url"]
        yield self._random.uniform(0.2, 2)
        return tx_ref

    def _at_chapa[T](self, do: Callable[[], T]) -> T:
        """Done as soon as Chapa takes connections; now and then it takes none."""
        while True:
            try:
                return do()
            except requests.ConnectionError:
                until(self._chapa.answers, bool, "Chapa answers")

    def _press(self, tx_ref: str, button: str) -> None:
        page = self._at_chapa(partial(self._shop.visit, self.story.pages[tx_ref]))
        if button not in page.buttons:
            return  # The page is shut; it says so.
        if self._at_chapa(partial(self._shop.press, page, button)) and button == "pay":
            self.story.paid.add(tx_ref)

    def _bank_pays(self, tx_ref: str) -> None:
        """An attempt that was under way succeeds, whatever became of the page."""
        try:
            self._at_chapa(partial(self._chapa.pay, tx_ref, late=True))
        except ControlError as error:
            if error.code != 409:
                raise
        else:
            self.story.paid.add(tx_ref)

    def _comes_back(self, tx_ref: str) -> Life[str]:
        """The shop's page of thanks, which looks until it knows; what the payment is then."""
        status = ""
        look = partial(self._shop.payment, tx_ref, user=self.story.user, refresh=True)
        for pause in (0.3, 1, 2, 4):
            yield pause
            answer = self._hear("payment", look)
            status = str(answer.body.get("status", ""))
            if status in DONE:
                break
        return status

    def _has_paid(self, order: Response) -> Life[str | None]:
        """The tx_ref of what pays the order; None when the customer does not see that it does."""
        tx_ref = yield from self._page(order)
        if tx_ref is None:
            return None
        self._press(tx_ref, "pay")
        return tx_ref if (yield from self._comes_back(tx_ref)) == "succeeded" else None

    def _until_it_works(self, what: str, do: Callable[[], bool]) -> Life[None]:
        for _ in range(TRIES):
            # A process that is killed may leave no answer, or none that can be read.
            with suppress(requests.RequestException, ValueError):
                if do():
                    return
            yield 1
        self.story.complaints.append(f"{what} did not work in {TRIES} tries")

    def _until_over(self, order: Response) -> Life[None]:
        over = datetime.fromisoformat(order["expires_at"]).timestamp()
        yield max(0, over - time.time()) + self._random.uniform(0.5, 5)

    # What customers want.

    def pays(self, order: Response) -> Life[None]:
        """pays and comes back"""
        yield from self._has_paid(order)

    def pays_and_leaves(self, order: Response) -> Life[None]:
        """pays and closes the browser"""
        tx_ref = yield from self._page(order)
        if tx_ref:
            self._press(tx_ref, "pay")

    def fails_first(self, order: Response) -> Life[None]:
        """fails to pay, then pays on the same page"""
        tx_ref = yield from self._page(order)
        if tx_ref:
            self._press(tx_ref, "fail")
            yield self._random.uniform(0.2, 3)
            self._press(tx_ref, "pay")
            yield from self._comes_back(tx_ref)

    def takes_another_page(self, order: Response) -> Life[None]:
        """fails or gives up on one page, then pays on another"""
        tx_ref = yield from self._page(order)
        if tx_ref:
            self._press(tx_ref, self._random.choice(("fail", "cancel")))
            yield from self._comes_back(tx_ref)
            other = yield from self._page(order)
            if other:
                self._press(other, "pay")
                yield from self._comes_back(other)

    def pays_twice(self, order: Response) -> Life[None]:
        """pays on two pages"""
        tx_ref = yield from self._page(order)
        if tx_ref:
            self._press(tx_ref, "fail")
            yield from self._comes_back(tx_ref)
            other = yield from self._page(order)
            if other:
                self._both(partial(self._press, other, "pay"), partial(self._bank_pays, tx_ref))
                yield from self._comes_back(other)
            yield from self._comes_back(tx_ref)

    def pays_late(self, order: Response) -> Life[None]:
        """pays when the order's time is over"""
        tx_ref = yield from self._page(order)
        if tx_ref:
            yield from self._until_over(order)
            self._bank_pays(tx_ref)
            yield from self._comes_back(tx_ref)

    def abandons(self, order: Response) -> Life[None]:
        """opens the page, or not even that, and never pays"""
        if self._random.random() < 0.7:
            yield from self._page(order)
        yield from self._until_over(order)

    def cancels(self, order: Response) -> Life[None]:
        """cancels the order"""
        if self._random.random() < 0.6:
            yield from self._page(order)
        yield from self._insist("cancel", self._cancel(order))

    def cancels_while_paying(self, order: Response) -> Life[None]:
        """cancels the order in one window while paying in another"""
        tx_ref = yield from self._page(order)
        if tx_ref:
            cancel = self._cancel(order)
            self._both(partial(self._hear, "cancel", cancel), partial(self._press, tx_ref, "pay"))
            yield from self._insist("cancel", cancel)
            yield from self._comes_back(tx_ref)

    def is_paid_back(self, order: Response) -> Life[None]:
        """pays and is paid back by the shop"""
        tx_ref = yield from self._has_paid(order)
        if not tx_ref:
            return
        goods = ["--return-stock"] if self._random.random() < 0.5 else []

        def refund() -> bool:
            code, _, _ = self._shop.operate("refund", tx_ref, f"--key={self.story.name}", *goods)
            return code == 0

        yield from self._until_it_works(f"to pay {tx_ref} back", refund)
        self.story.promised_back.add(tx_ref)
        if self._random.random() < 0.5:
            refund()  # Typed twice, it is one decision.

    def is_taken_back(self, order: Response) -> Life[None]:
        """pays, and the bank takes the money back"""
        tx_ref = yield from self._has_paid(order)
        if not tx_ref:
            return
        self._at_chapa(partial(self._chapa.reverse, tx_ref, webhook=False))
        event = {"event": "charge.reversed", "tx_ref": tx_ref, "status": "reversed"}
        body = json.dumps(event).encode()
        yield from self._until_it_works(
            f"to tell of the reversal of {tx_ref}", lambda: self._shop.notify(body).status == 200
        )
        self.story.taken_back.add(tx_ref)

    def _cancel(self, order: Response) -> Callable[[], Response]:
        return partial(self._shop.cancel, order["order_id"], user=self.story.user)


WANTS: dict[Callable[[Customer, Response], Life[None]], int] = {
    Customer.pays: 33,
    Customer.pays_and_leaves: 11,
    Customer.fails_first: 8,
    Customer.takes_another_page: 8,
    Customer.pays_twice: 7,
    Customer.pays_late: 7,
    Customer.abandons: 8,
    Customer.cancels: 6,
    Customer.cancels_while_paying: 6,
    Customer.is_paid_back: 3,
    Customer.is_taken_back: 3,
}
"""What customers want, and how many of a hundred do."""


def let_live(arriving: Iterator[Life[None]], threads: int) -> None:
    """Live these lives, so many acting at once; a new one begins when no other has to act.

    Raises what one of them raised, when the others have stopped.
    """
    changed = threading.Condition()
    order = itertools.count()
    waiting: list[tuple[float, int, Life[None]]] = []
    acting = 0
    over = False

    def next_life() -> Life[None] | None:
        """The one whose turn it is; None when there will be none any more."""
        nonlocal acting
        with changed:
            while not over:
                now = time.monotonic()
                if waiting and waiting[0][0] <= now:
                    life = heapq.heappop(waiting)[2]
                elif fresh := next(arriving, None):
                    life = fresh
                elif waiting or acting:
                    changed.wait(waiting[0][0] - now if waiting else None)
                    continue
                else:
                    return None
                acting += 1
                return life
        return None

    def act() -> None:
        nonlocal acting, over
        while life := next_life():
            pause: float | None = None
            try:
                pause = next(life, None)
            except BaseException:
                over = True
                raise
            finally:
                with changed:
                    acting -= 1
                    if pause is not None:
                        heapq.heappush(waiting, (time.monotonic() + pause, next(order), life))
                    changed.notify_all()

    with ThreadPoolExecutor(threads) as pool:
        try:
            for done in [pool.submit(act) for _ in range(threads)]:
                done.result()
        finally:
            # When all is over, or when somebody pressed Ctrl-C: nobody begins anything any more.
            with changed:
                over = True
                changed.notify_all()
