"""`make demo`: the whole way of a payment, told with what really happens, each line checked.

A story is a function in `STORIES`, its docstring is its title. It does something and says what it
saw through `Teller.check`; the first line that does not hold ends it. It may return what is to be
told when all others have been told.
"""

import argparse
import json
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from rich.box import ASCII2, ROUNDED
from rich.console import Console
from rich.table import Table
from rich.text import Text

from payments.chapa.signature import sign
from sandbox.client import Client, Response, until
from sandbox.stack import HOST, STATE, Description, Stack, StackError

TTL = 6
"""Seconds that an unpaid order keeps its stock here; a shop gives half an hour."""

PARAMS = {
    "OrderTtlSeconds": str(TTL),
    "LookAfterSeconds": "1",
    "VerifyEverySeconds": "1",
    "ReturnUrl": "https://shop.example/thanks",
}

COFFEE, JEBENA, NETELA = "coffee-yirgacheffe-1kg", "jebena", "netela-handwoven"
BERBERE, TEFF, HARRAR = "berbere-250g", "teff-5kg", "coffee-harrar-500g"

BY_HAND = "The schedule's function is run by hand here; by itself it runs every minute."


class Broken(Exception):
    """A line that did not hold; it has been shown."""


@dataclass
class Told:
    """A story: the names of what held in it, and what did not."""

    title: str
    held: list[str] = field(default_factory=list)
    broken: str = ""


class Teller:
    """Shows each line, and remembers it for the table at the end."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.stories: dict[str, Told] = {}
        self._now = Told("")

    @property
    def all_held(self) -> bool:
        return bool(self.stories) and all(
            told.held and not told.broken for told in self.stories.values()
        )

    @contextmanager
    def story(self, title: str) -> Iterator[None]:
        """What is told inside belongs to this story. Whatever goes wrong inside ends it."""
        self._now = self.stories.setdefault(title, Told(title))
        self._print(f"\n{title}{', continued' if self._now.held else ''}", "bold")
        try:
            yield
        except Broken:
            pass
        except Exception as error:
            self._not_so(f"{type(error).__name__}: {error}")

    def say(self, line: str) -> None:
        self._print(f"    {line}", "dim")

    def check(self, name: str, held: object, line: str, seen: object = "") -> None:
        """A line, true if `held`; `name` is what it promises, in a few words. Raises Broken."""
        if not held:
            self._not_so(line, name)
            if seen != "":
                self._print(f"    but: {seen}", "red")
            raise Broken(name)
        self._now.held.append(name)
        self._print(f"  {'✓' if self.console.is_terminal else 'ok:'} {line}", "green")

    def _not_so(self, line: str, name: str = "") -> None:
        self._now.broken = name or line
        self._print(f"  {'✗' if self.console.is_terminal else 'NOT SO:'} {line}", "bold red")

    def table(self) -> Table:
        table = Table(box=ROUNDED if self.console.is_terminal else ASCII2, show_lines=True)
        for column in ("Story", "Checked", "Held"):
            table.add_column(column)
        for told in self.stories.values():
            result = Text(f"NO: {told.broken}", "bold red") if told.broken else Text("yes", "green")
            table.add_row(Text(told.title), Text(", ".join(told.held)), result)
        return table

    def _print(self, line: str, style: str) -> None:
        self.console.print(Text(line, style), soft_wrap=True)


type Later = Callable[[], None]
type Story = Callable[[Client, Teller], Later | None]


def paid(shop: Client, teller: Teller) -> None:
    """A customer pays"""
    before = shop.stock(COFFEE)
    order = placed(shop, COFFEE, 2)
    order_id = order["order_id"]
    reserved = shop.stock(COFFEE)
    teller.check(
        "order placed",
        order["status"] == "pending",
        f"Abebe orders 2 {COFFEE}: order {order_id}, {money(order)}",
        order.body,
    )
    teller.check(
        "stock reserved",
        reserved == before._replace(available=before.available - 2, reserved=before.reserved + 2),
        f"Its stock is reserved: {before.available} → {reserved.available} available,"
        f" {reserved.reserved} reserved",
        reserved,
    )
    begun = shop.initialize(order_id)
    tx_ref = begun["tx_ref"]
    teller.check(
        "payment initialized",
        begun.status == 201 and shop.chapa.payment(tx_ref)["amount"] == order["amount"],
        f"Payment {tx_ref} is initialized with Chapa",
        begun.body,
    )
    page = shop.visit(begun["checkout_url"])
    went_to = shop.press(page, "pay")
    teller.check(
        "paid on the hosted page",
        order["amount"] in page.text.replace(",", "") and tx_ref in went_to,
        f"He pays on {begun['checkout_url']} and returns to the shop",
        went_to,
    )
    [answer] = shop.answered("webhook", tx_ref)
    teller.check("webhook accepted", answer == 200, f"Chapa's signed webhook arrives: {answer}")
    order = shop.await_order(order_id, "paid")
    questions = len(shop.calls("verify", tx_ref))
    [payment] = order["payments"]
    teller.check(
        "verified with Chapa",
        questions and payment["reference"] == shop.chapa.payment(tx_ref)["reference"],
        f"It is not believed but verified with Chapa: reference {payment['reference']}",
        payment,
    )
    committed = shop.stock(COFFEE)
    teller.check(
        "order paid",
        (order["status"], payment["status"]) == ("paid", "succeeded")
        and committed == reserved._replace(reserved=before.reserved, committed=before.committed + 2)
        and shop.ledger(order_id).count("order.paid") == 1,
        f"Order {order_id} is paid, its 2 units are sold; payment, order and stock in one step",
        (order.body, committed),
    )


def abandoned(shop: Client, teller: Teller) -> Later:
    """An order is abandoned"""
    before = shop.stock(NETELA)
    order = placed(shop, NETELA, 2, user="sara")
    order_id = order["order_id"]
    begun = shop.initialize(order_id, user="sara")
    left = shop.stock(NETELA)
    teller.check(
        "the last units taken",
        left.available == before.available - 2 and left.reserved == before.reserved + 2,
        f"Sara orders 2 {NETELA} for {money(order)} ({order_id}), opens Chapa's page and leaves;"
        f" {left.available} are left",
        left,
    )
    other = shop.place({NETELA: 1})
    teller.check(
        "nobody else gets them",
        (other.status, other.code) == (409, "out_of_stock"),
        f"Abebe wants one and hears {other.status} {other.code}",
        other,
    )

    def later() -> None:
        wait_for(order, teller)
        teller.say(BY_HAND)
        expired = swept(shop, order_id, "expired", user="sara")
        teller.check(
            "it expires",
            [payment["status"] for payment in expired["payments"]] == ["closed"],
            f"Order {order_id} is {expired['status']}, its payment is closed",
            expired.body,
        )
        page = shop.visit(begun["checkout_url"])
        teller.check(
            "Chapa's page is shut",
            not page.buttons and "can no longer be paid" in page.text,
            'Chapa\'s page says "This link can no longer be paid"',
            page.text,
        )
        back = shop.stock(NETELA)
        teller.check(
            "its stock comes back",
            back == before,
            f"Its stock is back: {back.available} {NETELA} can be bought again",
            back,
        )

    return later


def duplicated(shop: Client, teller: Teller) -> None:
    """The webhook comes again"""
    order_id, tx_ref = begin(shop, BERBERE)
    shop.chapa.pay(tx_ref)
    shop.await_order(order_id, "paid")
    shop.answered("webhook", tx_ref)
    shop.answered("callback", tx_ref)
    shop.await_worker()
    body = shop.calls("webhook", tx_ref)[0].body.encode()
    before, asked = shop.dump(), len(shop.calls("verify", tx_ref))
    answers = [shop.notify(body) for _ in range(3)]
    teller.check(
        "answered as a duplicate",
        [(a.status, a["outcome"]) for a in answers] == [(200, "duplicate")] * 3,
        f"The webhook of paid order {order_id} comes three times more: 200 duplicate",
        answers,
    )
    teller.check(
        "nothing changed",
        shop.dump() == before and len(shop.calls("verify", tx_ref)) == asked,
        f"Not one of {len(before)} items in the table changed, and Chapa was not asked again",
    )


def forged(shop: Client, teller: Teller) -> None:
    """Somebody forges a webhook"""
    order_id, tx_ref = begin(shop, JEBENA)
    body = json.dumps({"event": "charge.success", "tx_ref": tx_ref, "status": "success"}).encode()
    secret = shop.stack["webhook_secret"]
    respaced = json.dumps(json.loads(body), separators=(",", ":")).encode()
    constant, genuine = sign(secret.encode(), secret), sign(body, secret)
    forgeries: list[tuple[str, bytes, dict[str, str]]] = [
        ("no signature", body, {}),
        ("another key", body, {"x-chapa-signature": sign(body, "guessed")}),
        ("the constant HMAC(secret, secret)", body, {"chapa-signature": constant}),
        ("the signature of another body", respaced, {"x-chapa-signature": genuine}),
    ]
    shop.await_worker()
    before = shop.dump()
    for name, sent, headers in forgeries:
        answer = shop.post_webhook(sent, headers)
        teller.check(
            f"refused with {name}",
            (answer.status, answer.code) == (401, "bad_signature"),
            f'"{tx_ref} is paid", with {name}: {answer.status} {answer.code}',
            answer,
        )
    teller.check(
        "nothing read or written",
        shop.dump() == before
        and not shop.calls("verify", tx_ref)
        and shop.order(order_id)["status"] == "pending",
        f"Order {order_id} is still pending, the table unchanged, Chapa not even asked",
    )


def clicked_twice(shop: Client, teller: Teller) -> None:
    """A customer clicks twice"""
    order_id = placed(shop, BERBERE, 3)["order_id"]
    with ThreadPoolExecutor(2) as clicks:
        answers = list(clicks.map(lambda _: shop.initialize(order_id), range(2)))
    codes = sorted(answer.status for answer in answers)
    teller.check(
        "the same checkout URL",
        codes == [200, 201] and answers[0]["checkout_url"] == answers[1]["checkout_url"],
        f"Two clicks at the same moment, {codes[1]} and {codes[0]}:"
        f" both get {answers[0].body.get('checkout_url')}",
        answers,
    )
    opened = [e for e in shop.calls("initialize") if str(e.tx_ref).startswith(order_id)]
    teller.check(
        "one payment at Chapa",
        len(opened) == 1,
        f"Chapa was asked to open one payment for order {order_id}",
        len(opened),
    )


def lost(shop: Client, teller: Teller) -> None:
    """A webhook is lost"""
    order_id, tx_ref = begin(shop, COFFEE)
    shop.chapa.add_fault("webhook", "lost", tx_ref=tx_ref)
    shop.chapa.add_fault("callback", "lost", tx_ref=tx_ref)
    receipt = shop.chapa.pay(tx_ref)["reference"]
    order = shop.order(order_id)
    teller.check(
        "nobody tells us",
        order["status"] == "pending",
        f"Abebe pays order {order_id} ({money(order)}), but webhook and callback are lost",
        order.body,
    )
    teller.say(BY_HAND)
    order = swept(shop, order_id, "paid")
    [payment] = order["payments"]
    teller.check(
        "found by the schedule",
        payment["reference"] == receipt and shop.ledger(order_id).count("order.paid") == 1,
        f"It finds the payment at Chapa ({receipt}): order {order_id} is paid",
        order.body,
    )


def paid_late(shop: Client, teller: Teller) -> Later:
    """A payment comes too late"""
    bags = shop.stock(TEFF).available
    order = placed(shop, TEFF, bags, user="sara")
    order_id = order["order_id"]
    tx_ref = shop.initialize(order_id, user="sara")["tx_ref"]
    teller.check(
        "all of it reserved",
        shop.stock(TEFF) == (0, bags, 0),
        f"Sara's bakery orders all {bags} bags of teff for {money(order)} ({order_id}) and waits",
        shop.stock(TEFF),
    )

    def later() -> None:
        wait_for(order, teller)
        swept(shop, order_id, "expired", user="sara")
        placed(shop, TEFF, 1)
        shop.chapa.pay(tx_ref, late=True)
        told = until(
            lambda: shop.payment(tx_ref, user="sara"),
            lambda payment: payment["status"] in {"surplus", "refunded"},
            "the late payment is known",
        )
        teller.check(
            "the money is not lost sight of",
            "order.paid" not in shop.ledger(order_id) and told["order_status"] == "expired",
            "The order has expired, Abebe has reserved a bag, and now her money arrives after all",
            told.body,
        )
        told = paid_back(shop, tx_ref, user="sara")
        teller.check(
            "it is paid back",
            shop.refunds(tx_ref) == [(order["amount"], "refunded")],
            f"Not all the bags are left: {money(order)} go back to her, says Chapa, in one refund",
            told.body,
        )
        teller.check(
            "nothing was sold",
            shop.stock(TEFF).committed == 0,
            "Not one of them was sold to her",
            shop.stock(TEFF),
        )

    return later


def paid_twice(shop: Client, teller: Teller) -> None:
    """One order is paid twice"""
    before = shop.stock(HARRAR)
    order_id, first = begin(shop, HARRAR)
    shop.chapa.fail(first)
    until(lambda: shop.payment(first)["status"], lambda s: s == "failed", "the payment failed")
    second = shop.initialize(order_id)
    shop.press(shop.visit(second["checkout_url"]), "pay")
    order = shop.await_order(order_id, "paid")
    teller.check(
        "paid on a second page",
        shop.payment(first)["status"] == "closed",
        f"A payment of order {order_id} fails; Abebe asks for another page and pays there",
        order.body,
    )
    shop.chapa.pay(first, late=True)
    until(
        lambda: shop.payment(first)["status"],
        lambda status: status in {"surplus", "refunded"},
        "the other payment is known",
    )
    told = paid_back(shop, first)
    teller.check(
        "one of the two is paid back",
        shop.refunds(first) == [(order["amount"], "refunded")]
        and shop.refunds(second["tx_ref"]) == [],
        f"The first one succeeds after all: Chapa pays its {money(order)} back, and only those",
        told.body,
    )
    teller.check(
        "the order is paid once",
        told["order_status"] == "paid"
        and shop.ledger(order_id).count("order.paid") == 1
        and shop.stock(HARRAR)
        == before._replace(available=before.available - 1, committed=before.committed + 1),
        "The order is paid, once, and its unit is sold, once",
        (told.body, shop.stock(HARRAR)),
    )


STORIES: tuple[Story, ...] = (
    paid,
    abandoned,
    paid_late,
    duplicated,
    forged,
    clicked_twice,
    lost,
    paid_twice,
)


def placed(shop: Client, sku: str, quantity: int, *, user: str = "abebe") -> Response:
    answer = shop.place({sku: quantity}, user=user)
    if answer.status != 201:
        raise RuntimeError(f"an order for {sku} was refused: {answer}")
    return answer


def begin(shop: Client, sku: str) -> tuple[str, str]:
    """An order of one whose payment waits on Chapa's page: its id and tx_ref."""
    order_id = placed(shop, sku, 1)["order_id"]
    answer = shop.initialize(order_id)
    if answer.status != 201:
        raise RuntimeError(f"a payment of {order_id} was refused: {answer}")
    return order_id, answer["tx_ref"]


def wait_for(order: Response, teller: Teller) -> None:
    """Until nobody may pay it any more."""
    wait = seconds_until(order["expires_at"])
    if wait > 0:
        teller.say(f"The {TTL} seconds that she has are over in {wait:.1f} ...")
        time.sleep(wait)


def sweeping[T](shop: Client, look: Callable[[], T], good: Callable[[T], bool], what: str) -> T:
    """What is seen after as many sweeps as it takes, each worked off before the next."""

    def sweep_and_look() -> T:
        shop.sweep()
        shop.await_worker()
        return look()

    return until(sweep_and_look, good, what)


def swept(shop: Client, order_id: str, status: str, *, user: str = "abebe") -> Response:
    return sweeping(
        shop,
        lambda: shop.order(order_id, user=user),
        lambda order: bool(order["status"] == status),
        f"it is {status}",
    )


def paid_back(shop: Client, tx_ref: str, *, user: str = "abebe") -> Response:
    return sweeping(
        shop,
        lambda: shop.payment(tx_ref, user=user),
        lambda payment: bool(payment["status"] == "refunded"),
        "it is paid back",
    )


def money(told: Response) -> str:
    return f"{told['amount']} {told['currency']}"


def seconds_until(moment: str) -> float:
    return (datetime.fromisoformat(moment) - datetime.now(UTC)).total_seconds()


def wake(shop: Client) -> None:
    """Start each function's process, so that no order's time runs meanwhile."""
    with ThreadPoolExecutor(4) as calls:
        for done in [
            calls.submit(shop.place, {"nothing": 1}),
            calls.submit(shop.initialize, "nothing"),
            calls.submit(shop.order, "nothing"),
            calls.submit(shop.call_back, "nothing"),
        ]:
            done.result()


def tell(shop: Client, teller: Teller, stories: tuple[Story, ...] = STORIES) -> None:
    rest: list[tuple[str, Later]] = []
    for story in stories:
        title = str(story.__doc__)
        with teller.story(title):
            if later := story(shop, teller):
                rest.append((title, later))
    for title, later in rest:
        with teller.story(title):
            later()


def left_nothing(stack: Description, teller: Teller) -> None:
    with teller.story("The end"):
        for name, url in (("AWS", stack["endpoint_url"]), ("Chapa", stack["chapa_url"])):
            port = urlsplit(url).port
            with socket.socket() as probe:
                refused = probe.connect_ex((HOST, port or 0)) != 0
            teller.check(f"{name} stopped", refused, f"{name} on port {port} is stopped")


def run(teller: Teller, state_dir: Path) -> None:
    """Raises StackError when there is no stack to tell stories on."""
    teller.say("Starting a local AWS and a Chapa to practise on ...")
    with Stack(state_dir, params=PARAMS, say=teller.say) as stack, Client(stack) as shop:
        wake(shop)
        tell(shop, teller)
    left_nothing(stack, teller)


def main() -> int:
    started = time.monotonic()
    parser = argparse.ArgumentParser(prog="python -m sandbox.demo", description="Tell the stories.")
    parser.add_argument("--state", type=Path, default=STATE, help="where it keeps its files")
    directory = parser.parse_args().state
    # A polite end is an end like Ctrl-C: what was started is stopped.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    directory.mkdir(parents=True, exist_ok=True)
    # One of its own, so that neither the stack of `make up` nor another demo is disturbed.
    state_dir = Path(tempfile.mkdtemp(prefix="demo-", dir=directory))
    teller = Teller(Console(highlight=False))
    try:
        run(teller, state_dir)
    except StackError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        shutil.rmtree(state_dir, ignore_errors=True)
        return 130
    teller.console.print()
    teller.console.print(teller.table())
    took = f"{time.monotonic() - started:.1f} s"
    if not teller.all_held:
        teller.console.print(f"Not every line held, in {took}. The logs are in {state_dir}.")
        return 1
    count = sum(len(told.held) for told in teller.stories.values())
    teller.console.print(f"All {count} lines held, in {took}.")
    shutil.rmtree(state_dir, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
