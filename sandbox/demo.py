"""`make demo`: what happens to orders and payments on the local stack, with every fact checked.

With `PROVIDER=v2` in the environment it runs on a key of Chapa's v2.

A scenario is a function in `SCENARIOS`; its docstring is its title. It states facts with
`Report.check`. The first fact that is false ends the scenario.
"""

import argparse
import io
import json
import os
import re
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
from pathlib import Path
from urllib.parse import urlsplit

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from payments.aws.queue import Message, message_body
from payments.chapa.signature import sign
from sandbox.client import PATIENCE, Client, Response, until
from sandbox.stack import HOST, STATE, Description, Stack, StackError

PARAMS = {
    # Only the demo makes an order due, so the schedule changes nothing between two lines.
    "CheckAfterSeconds": "600",
    "VerifyEverySeconds": "1",
    # A slow machine may need longer than the usual 5 seconds to open a payment.
    "WaitSeconds": "20",
    "ReturnUrl": "https://shop.example/thanks",
}

COFFEE, JEBENA, NETELA = "coffee-yirgacheffe-1kg", "jebena", "netela-handwoven"
BERBERE, TEFF, HARRAR = "berbere-250g", "teff-5kg", "coffee-harrar-500g"

NEXT = """
Next: `make up{setting}` starts the same stack and keeps it running.
Run the example in README.md, then open http://127.0.0.1:4567 in a browser: it links to the checkout
page of each payment."""

FONTS = "ui-monospace, SFMono-Regular, Menlo, Consolas, DejaVu Sans Mono, monospace"

WIDTH = 100
"""Columns of the picture, and of output that is not a terminal."""


class FalseFact(Exception):
    """A fact is false, and the report has printed it."""


@dataclass
class Outcome:
    """What a scenario printed and checked. `failed` is empty if all of it is true."""

    lines: list[Text] = field(default_factory=list)
    checked: list[str] = field(default_factory=list)
    failed: str = ""


class Report:
    def __init__(self, console: Console) -> None:
        self.console = console
        self.outcomes: dict[str, Outcome] = {}
        self._current = Outcome()

    @property
    def passed(self) -> bool:
        return bool(self.outcomes) and all(
            outcome.checked and not outcome.failed for outcome in self.outcomes.values()
        )

    @contextmanager
    def scenario(self, title: str) -> Iterator[None]:
        """An error inside fails this scenario only."""
        self._current = self.outcomes[title] = Outcome()
        self.console.print()
        self._print(title, "bold")
        try:
            yield
        except FalseFact:
            pass
        except Exception as error:
            self._fail(f"{type(error).__name__}: {error}")

    def note(self, line: str) -> None:
        self._print(f"    {line}", "dim")

    def check(self, name: str, fact: object, line: str, seen: object = "") -> None:
        """Print `line`, and `seen` too if `fact` is false. The closing table shows `name`.

        Raises FalseFact.
        """
        if not fact:
            self._fail(line, name)
            if seen != "":
                self._print(f"    but: {seen}", "red")
            raise FalseFact(name)
        if name not in self._current.checked:
            self._current.checked.append(name)
        mark = "✓" if self.console.encoding.startswith("utf") else "ok:"
        self._print(f"  {mark} {line}", "green")

    def table(self) -> Table:
        table = Table(box=SIMPLE_HEAD)
        table.add_column("Scenario", no_wrap=True)
        table.add_column("Checked")
        table.add_column("Result")
        for title, outcome in self.outcomes.items():
            failed = outcome.failed
            result = Text(f"FAILED: {failed}", "bold red") if failed else Text("passed", "green")
            table.add_row(Text(title), Text(", ".join(outcome.checked)), result)
        return table

    def picture(self, path: Path) -> None:
        """Write the first scenario and the table as an SVG."""
        console = Console(
            record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, highlight=False
        )
        console.print(Text("$ make demo", "bold"), Text("..."), sep="\n")
        console.print(*next(iter(self.outcomes.values())).lines, sep="\n")
        console.print(Text("..."), self.table(), sep="\n")
        svg = console.export_svg(title="make demo", unique_id="demo")
        # GitHub loads no web fonts for a picture, so it names fonts that readers have.
        svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)
        path.write_text(svg.replace("Fira Code, monospace", FONTS))

    def _fail(self, line: str, name: str = "") -> None:
        self._current.failed = name or line
        self._print(f"  FAILED: {line}", "bold red")

    def _print(self, line: str, style: str) -> None:
        text = Text(line, style)
        self._current.lines.append(text)
        self.console.print(text, soft_wrap=True)


type Scenario = Callable[[Client, Report], None]


def paid(shop: Client, report: Report) -> None:
    """A customer pays"""
    before = shop.available(COFFEE)
    order = place(shop, COFFEE, 2)
    order_id = order["order_id"]
    reserved = shop.available(COFFEE)
    report.check(
        "stock reserved",
        order["status"] == "pending",
        f"Abebe orders 2 {COFFEE} for {money(order)} (order {order_id})",
        order.body,
    )
    report.check(
        "stock reserved",
        reserved == before - 2,
        f"The stock is reserved: 2 fewer available, {reserved} of {before}",
        reserved,
    )
    payment = shop.initialize(order_id)
    tx_ref = payment["tx_ref"]
    report.check(
        "hosted checkout paid",
        payment.status == 201 and shop.chapa.payment(tx_ref)["amount"] == order["amount"],
        f"The backend opens a payment at Chapa (tx_ref {tx_ref})",
        payment.body,
    )
    page = shop.visit(payment["checkout_url"])
    return_url = shop.press(page, "pay")
    report.check(
        "hosted checkout paid",
        order["amount"] in page.text.replace(",", "") and tx_ref in return_url,
        "Abebe pays on Chapa's page, which sends him back to the shop",
        return_url,
    )
    [status] = shop.answered("webhook", tx_ref)
    report.check(
        "signed webhook accepted",
        status == 200,
        f"Chapa sends a signed webhook; the backend answers {status}",
    )
    order = shop.await_order(order_id, "paid")
    [payment_view] = order["payments"]
    report.check(
        "payment verified with Chapa",
        shop.calls("verify", tx_ref)
        and payment_view["provider_reference"] == shop.chapa.payment(tx_ref)["reference"],
        "The backend does not trust the webhook: it verifies the payment with Chapa"
        f" ({payment_view['provider_reference']})",
        payment_view,
    )
    report.check(
        "payment and order in one transaction",
        (order["status"], payment_view["status"]) == ("paid", "succeeded")
        and shop.event_names(order_id).count("order.paid") == 1
        and shop.available(COFFEE) == reserved,
        "One transaction: the payment has succeeded, and the order is paid."
        f" The 2 units are sold: {reserved} stay available",
        (order.body, shop.available(COFFEE)),
    )


def abandoned(shop: Client, report: Report) -> None:
    """An order expires"""
    before = shop.available(NETELA)
    order = place(shop, NETELA, before, user="sara")
    order_id = order["order_id"]
    payment = shop.initialize(order_id, user="sara")
    report.check(
        "stock reserved",
        shop.available(NETELA) == 0,
        f"Sara orders the last {before} {NETELA} (order {order_id}), opens Chapa's page and leaves",
        shop.available(NETELA),
    )
    refused = shop.place({NETELA: 1})
    report.check(
        "sold-out order refused",
        (refused.status, refused.code) == (409, "out_of_stock"),
        f"Abebe tries to order one: {refused.status} {refused.code}",
        refused,
    )
    report.note("The demo does not wait 30 minutes. It sets the order's expiry to now.")
    if shop.stack["provider"] == "v2":
        shop.check(order_id, expires=True)
        held = shop.order(order_id, user="sara")
        report.check(
            "stock held while the page lives",
            shop.calls("verify", payment["tx_ref"])
            and held["status"] == "pending"
            and shop.available(NETELA) == 0,
            "The schedule runs: Chapa's v2 cannot close a page, and Sara may still pay on hers."
            " The order keeps its stock",
            held.body,
        )
        report.note("The demo does not wait an hour. It ends the page now.")
    expired = expire(shop, order_id, user="sara")
    report.check(
        "order expired",
        [each["status"] for each in expired["payments"]] == ["closed"],
        "The schedule runs: the order is expired, its payment is closed",
        expired.body,
    )
    page = shop.visit(payment["checkout_url"])
    report.check(
        "checkout page closed",
        not page.buttons and "can no longer be paid" in page.text,
        "Chapa's page now says that it can no longer be paid",
        page.text,
    )
    after = shop.available(NETELA)
    report.check(
        "stock released on expiry",
        after == before,
        f"The stock is released: {after} {NETELA} are available again",
        after,
    )


def paid_late(shop: Client, report: Report) -> None:
    """A payment arrives too late"""
    bags = shop.available(TEFF)
    order = place(shop, TEFF, bags, user="sara")
    order_id = order["order_id"]
    tx_ref = shop.initialize(order_id, user="sara")["tx_ref"]
    expire(shop, order_id, user="sara")
    place(shop, TEFF, 1)
    report.check(
        "stock released on expiry",
        shop.available(TEFF) == bags - 1,
        f"Sara orders all {bags} bags of teff (order {order_id}). The order expires,"
        " and Abebe orders one bag",
        shop.available(TEFF),
    )
    shop.chapa.pay(tx_ref, late=True)
    late = await_late(shop, order_id, tx_ref, user="sara")
    report.check(
        "late payment refunded",
        "order.paid" not in shop.event_names(order_id) and late["order_status"] == "expired",
        f"Now Sara's {money(order)} arrive at Chapa. Not all of the bags are left:"
        " the order stays expired",
        late.body,
    )
    refunded = await_refund(shop, order_id, tx_ref, user="sara")
    report.check(
        "late payment refunded",
        shop.refunds(tx_ref) == [(order["amount"], "refunded")],
        f"Chapa confirms one refund of {money(order)} to Sara",
        refunded.body,
    )
    report.check(
        "no stock sold",
        shop.available(TEFF) == bags - 1,
        f"No bag is sold to her: {bags - 1} are still available",
        shop.available(TEFF),
    )


def duplicated(shop: Client, report: Report) -> None:
    """Chapa repeats a webhook"""
    order_id, tx_ref = begin(shop, BERBERE)
    shop.chapa.pay(tx_ref)
    shop.await_order(order_id, "paid")
    shop.answered("webhook", tx_ref)
    shop.answered("callback", tx_ref)
    shop.await_worker()
    body = shop.calls("webhook", tx_ref)[0].body.encode()
    before, verified = shop.dump(), len(shop.calls("verify", tx_ref))
    responses = [shop.notify(body) for _ in range(3)]
    report.check(
        "duplicate webhook ignored",
        [(each.status, each["outcome"]) for each in responses] == [(200, "duplicate")] * 3,
        f"The webhook of the paid order {order_id} arrives 3 more times:"
        " each is answered 200 duplicate",
        responses,
    )
    report.check(
        "nothing written",
        shop.dump() == before and len(shop.calls("verify", tx_ref)) == verified,
        f"None of the {len(before)} items in the table changes, and Chapa is not asked again",
    )


def forged(shop: Client, report: Report) -> None:
    """An attacker forges webhooks"""
    order_id, tx_ref = begin(shop, JEBENA)
    body = json.dumps({"event": "charge.success", "tx_ref": tx_ref, "status": "success"}).encode()
    secret = shop.stack["webhook_secret"]
    respaced = json.dumps(json.loads(body), separators=(",", ":")).encode()
    constant, genuine = sign(secret.encode(), secret), sign(body, secret)
    forgeries: list[tuple[str, bytes, dict[str, str]]] = [
        ("without a signature", body, {}),
        ("signed with another key", body, {"x-chapa-signature": sign(body, "guessed")}),
        ("with the constant HMAC(secret, secret)", body, {"chapa-signature": constant}),
        ("with the signature of another body", respaced, {"x-chapa-signature": genuine}),
    ]
    shop.await_worker()
    before = shop.dump()
    for name, sent, headers in forgeries:
        response = shop.post_webhook(sent, headers)
        report.check(
            "forged webhook refused",
            (response.status, response.code) == (401, "bad_signature"),
            f"Webhook {name}: {response.status} {response.code}",
            response,
        )
    report.check(
        "nothing written",
        shop.dump() == before
        and not shop.calls("verify", tx_ref)
        and shop.order(order_id)["status"] == "pending",
        f"Order {order_id} is still pending: nothing is written, and Chapa is not asked",
    )


def clicked_twice(shop: Client, report: Report) -> None:
    """A customer clicks twice"""
    order_id = place(shop, BERBERE, 3)["order_id"]
    with ThreadPoolExecutor(2) as clicks:
        responses = list(clicks.map(lambda _: shop.initialize(order_id), range(2)))
    statuses = sorted((each.status for each in responses), reverse=True)
    report.check(
        "same checkout page",
        statuses == [201, 200] and responses[0]["checkout_url"] == responses[1]["checkout_url"],
        "Two requests to pay arrive at the same moment: 201 and 200, with the same checkout page",
        responses,
    )
    opened = [each for each in shop.calls("initialize") if str(each.tx_ref).startswith(order_id)]
    report.check(
        "one payment at Chapa",
        len(opened) == 1,
        f"Chapa has received one payment for order {order_id}",
        len(opened),
    )


def lost(shop: Client, report: Report) -> None:
    """A webhook is lost"""
    order_id, tx_ref = begin(shop, COFFEE)
    shop.chapa.add_fault("webhook", "lost", tx_ref=tx_ref)
    shop.chapa.add_fault("callback", "lost", tx_ref=tx_ref)
    reference = shop.chapa.pay(tx_ref)["reference"]
    order = shop.order(order_id)
    report.check(
        "lost webhook recovered",
        order["status"] == "pending",
        f"Abebe pays order {order_id}. The webhook and the callback are lost:"
        " the order is still pending",
        order.body,
    )
    report.note("The demo does not wait for the schedule. It sets the next check to now.")
    order = checked_until(
        shop,
        order_id,
        lambda: shop.order(order_id),
        lambda order: order["status"] == "paid",
        "the order is paid",
    )
    [payment] = order["payments"]
    report.check(
        "lost webhook recovered",
        payment["provider_reference"] == reference
        and shop.event_names(order_id).count("order.paid") == 1,
        f"The schedule asks Chapa and finds the payment ({reference}): the order is paid",
        order.body,
    )


def paid_twice(shop: Client, report: Report) -> None:
    """A customer pays twice"""
    before = shop.available(HARRAR)
    order_id, first = begin(shop, HARRAR)
    shop.chapa.fail(first)
    until(lambda: shop.payment(first)["status"], lambda s: s == "failed", "the payment failed")
    second = shop.initialize(order_id)
    shop.press(shop.visit(second["checkout_url"]), "pay")
    order = shop.await_order(order_id, "paid")
    # The first page of v2 lives on: it is closed when it has ended.
    left = {"v1": "closed", "v2": "closing"}[shop.stack["provider"]]
    report.check(
        "order paid once",
        shop.payment(first)["status"] == left,
        f"The first payment of order {order_id} fails. Abebe opens a second one and pays it",
        order.body,
    )
    shop.chapa.pay(first, late=True)
    await_late(shop, order_id, first)
    refunded = await_refund(shop, order_id, first)
    report.check(
        "double payment refunded",
        shop.refunds(first) == [(order["amount"], "refunded")]
        and shop.refunds(second["tx_ref"]) == [],
        f"Then the first payment succeeds too: Chapa refunds its {money(order)}, once",
        refunded.body,
    )
    report.check(
        "order paid once",
        refunded["order_status"] == "paid"
        and shop.event_names(order_id).count("order.paid") == 1
        and shop.available(HARRAR) == before - 1,
        "The order is paid once, and one unit is sold",
        (refunded.body, shop.available(HARRAR)),
    )


SCENARIOS: tuple[Scenario, ...] = (
    paid,
    abandoned,
    paid_late,
    duplicated,
    forged,
    clicked_twice,
    lost,
    paid_twice,
)


def place(shop: Client, sku: str, quantity: int, *, user: str = "abebe") -> Response:
    response = shop.place({sku: quantity}, user=user)
    if response.status != 201:
        raise RuntimeError(f"an order for {sku} was refused: {response}")
    return response


def begin(shop: Client, sku: str) -> tuple[str, str]:
    """The order id and tx_ref of an order for one unit, with an open payment."""
    order_id = place(shop, sku, 1)["order_id"]
    response = shop.initialize(order_id)
    if response.status != 201:
        raise RuntimeError(f"a payment of {order_id} was refused: {response}")
    return order_id, response["tx_ref"]


def checked_until(
    shop: Client,
    order_id: str,
    read: Callable[[], Response],
    good: Callable[[Response], bool],
    what: str,
) -> Response:
    def check_and_read() -> Response:
        shop.check(order_id)
        return read()

    return until(check_and_read, good, what)


def expire(shop: Client, order_id: str, *, user: str) -> Response:
    shop.make_due(order_id, expires=True)
    if shop.stack["provider"] == "v2":
        shop.end_pages(order_id)
    return checked_until(
        shop,
        order_id,
        lambda: shop.order(order_id, user=user),
        lambda order: order["status"] == "expired",
        "the order is expired",
    )


def await_late(shop: Client, order_id: str, tx_ref: str, *, user: str = "abebe") -> Response:
    """The payment after its late success is known here.

    Its webhook may come too soon after another verify; then the early check finds the success.
    """
    return checked_until(
        shop,
        order_id,
        lambda: shop.payment(tx_ref, user=user),
        lambda payment: payment["status"] in {"unapplied", "refunded"},
        "the late payment is known",
    )


def await_refund(shop: Client, order_id: str, tx_ref: str, *, user: str = "abebe") -> Response:
    return checked_until(
        shop,
        order_id,
        lambda: shop.payment(tx_ref, user=user),
        lambda payment: payment["status"] == "refunded",
        "the payment is refunded",
    )


def money(view: Response) -> str:
    return f"{view['amount']} {view['currency']}"


def warm_up(shop: Client) -> None:
    """Start the process of each function, so that no scenario waits for it."""
    start: list[Callable[[], object]] = [
        lambda: shop.place({"nothing": 1}),
        lambda: shop.initialize("nothing"),
        lambda: shop.order("nothing"),
        lambda: shop.call_back("nothing"),
        shop.sweep,
        lambda: _work_on_nothing(shop),
    ]
    with ThreadPoolExecutor(len(start)) as calls:
        for done in [calls.submit(call) for call in start]:
            done.result()


def _work_on_nothing(shop: Client) -> None:
    shop.aws("sqs").send_message(
        QueueUrl=shop.stack["queues"]["reconcile"],
        MessageBody=message_body(Message("nothing")),
    )
    shop.await_worker()


def play(shop: Client, report: Report, scenarios: tuple[Scenario, ...] = SCENARIOS) -> None:
    for scenario in scenarios:
        with report.scenario(str(scenario.__doc__)):
            scenario(shop, report)


def check_stopped(stack: Description, report: Report) -> None:
    with report.scenario("The stack stops"):
        for name, url in (
            ("The local AWS", stack["endpoint_url"]),
            ("The Chapa simulator", stack["chapa_url"]),
        ):
            port = urlsplit(url).port
            with socket.socket() as probe:
                refused = probe.connect_ex((HOST, port or 0)) != 0
            report.check("no process left", refused, f"{name} is stopped")


def run(report: Report, state_dir: Path, provider: str) -> None:
    """Raises StackError if the stack does not start."""
    report.note("Starting a local AWS and a Chapa simulator ...")
    stack_of_demo = Stack(state_dir, provider=provider, params=PARAMS, say=report.note)
    with stack_of_demo as stack, Client(stack) as shop:
        report.note(f"Payments are opened with a key of Chapa's {stack['provider']}.")
        warm_up(shop)
        # A slow machine may need longer than the usual 10 seconds to answer a webhook.
        shop.chapa.set(send_timeout=PATIENCE)
        play(shop, report)
    check_stopped(stack, report)


def main() -> int:
    started = time.monotonic()
    parser = argparse.ArgumentParser(prog="python -m sandbox.demo", description="Run the demo.")
    parser.add_argument("--state", type=Path, default=STATE, help="directory for its files")
    parser.add_argument("--svg", type=Path, help="write a picture of the run to this file")
    arguments = parser.parse_args()
    provider = os.environ.get("PROVIDER", "")
    # Without a handler SIGTERM would leave the local AWS running.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    arguments.state.mkdir(parents=True, exist_ok=True)
    # Its own directory, so that the stack of `make up` and other demos are not disturbed.
    state_dir = Path(tempfile.mkdtemp(prefix="demo-", dir=arguments.state))
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = WIDTH
    report = Report(console)
    try:
        run(report, state_dir, provider)
    except StackError as error:
        print(error, file=sys.stderr)
        return 1
    except (KeyboardInterrupt, SystemExit) as stop:
        shutil.rmtree(state_dir, ignore_errors=True)
        return 143 if isinstance(stop, SystemExit) else 130
    console.print(report.table())
    took = f"{time.monotonic() - started:.1f} s"
    if not report.passed:
        console.print(f"Not every check passed, after {took}. The logs are in {state_dir}.")
        return 1
    if arguments.svg:
        report.picture(arguments.svg)
    console.print(f"All checks passed in {took}.")
    console.print(NEXT.format(setting=f" PROVIDER={provider}" if provider else ""))
    shutil.rmtree(state_dir, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
