"""A hostile internet that has read openapi.yaml: whatever it asks, the answers are as promised.

Schemathesis makes the requests, valid ones and ones that break the contract in one place: the
examples, then each limit of each field, then random ones, then chains along the links. Ids of real
orders and payments are mixed in, so that they get behind the first 404. What an answer must be like
is checked by Schemathesis and by `tests/contract.py`, which also refuses what is not described.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from typing import Any

import pytest
import schemathesis
from requests import PreparedRequest
from requests.auth import AuthBase
from schemathesis.config import SchemathesisConfig
from schemathesis.core.failures import Failure
from schemathesis.engine import events, from_schema
from schemathesis.generation.meta import CoverageScenario, coverage_scenario
from schemathesis.openapi.checks import RejectedPositiveData

from payments.chapa.signature import sign
from tests.contract import PATH, complaints
from tests.depth import depth
from tests.journeys.shop import CUSTOMER, Shop

REQUESTS = depth(12, 200)
"""Random ones of each operation; the limits of its fields take some dozens besides."""

CHAINS = depth(8, 150)

IN_EXAMPLES = ("COFFEE-250", "MUG")
"""Products of the document's examples, which Schemathesis likes to order."""

UNITS = 100_000_000

CHECKS: Mapping[str, Any] = {
    # All of Schemathesis's are on, and as they are by themselves, but for these:
    # 400 only where the contract says so in words; see `_said_in_words`.
    "positive_data_acceptance": {"expected-statuses": ["2xx", "401", "404", "409", "422"]},
    "negative_data_rejection": {"expected-statuses": ["400", "401", "404", "409", "422"]},
    # API Gateway knows routes, not methods, and answers 404; `Told` checks that it is this answer.
    "unsupported_method": {"enabled": False},
}

SAID_IN_WORDS = (
    "An order has at most 90 different products.",
    "An order has at most 10000 units of a product.",
    "The order comes to ",
    "An event about a charge has a tx_ref.",
    "Input should be a valid integer",
    "The payment provider refused this payment",
)
"""Why a request is refused that fits the schema: JSON Schema has no sums, takes 1.0 for an integer,
and does not know Chapa's taste."""

NO_ROUTE = (404, {"message": "Not Found"})

OF_CUSTOMERS = ("place_order", "get_order", "cancel_order", "begin_payment", "get_payment")


class Signature(AuthBase):
    """Signs the very bytes that are sent, as Chapa does."""

    def __init__(self, secret: str) -> None:
        self._secret = secret

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        body = request.body or b""
        raw = body.encode() if isinstance(body, str) else body
        request.headers["x-chapa-signature"] = sign(raw, self._secret)
        return request


class Told:
    """What was answered to all that was asked."""

    def __init__(self) -> None:
        self.answers: Counter[tuple[str, int]] = Counter()
        self.said: Counter[str] = Counter()
        """Outcomes, codes of problems and the gateway's messages."""
        self.wrong: list[str] = []

    def hear(self, event: events.EngineEvent) -> None:
        if isinstance(event, events.NonFatalError):
            self.wrong.append(f"{event.label}: {event.value!r}")
        elif isinstance(event, events.FatalError):
            raise event.exception
        elif isinstance(event, events.ScenarioFinished):
            self._hear(event)

    def _hear(self, event: events.ScenarioFinished) -> None:
        recorder = event.recorder
        for case_id, interaction in recorder.interactions.items():
            case, response = recorder.cases[case_id].value, interaction.response
            route = case.operation.label
            if response is None:
                self.wrong.append(f"{route}: no answer")
                continue
            body = response.json()
            self.answers[route, response.status_code] += 1
            self.said[str(body.get("outcome") or body.get("code") or body.get("message"))] += 1
            if coverage_scenario(case) is CoverageScenario.UNSPECIFIED_HTTP_METHOD:
                if (response.status_code, body) != NO_ROUTE:
                    self.wrong.append(f"{interaction.request.method}: {response.status_code}")
                continue
            headers = {name: value for name, [value, *_] in response.headers.items()}
            self.wrong += complaints(route, response.status_code, headers, body)
        for case_id, checks in recorder.checks.items():
            exchange = recorder.interactions[case_id]
            for check in checks:
                if check.failure_info is not None:
                    asked, answer = exchange.request, exchange.response
                    self.wrong.append(
                        f"{check.name}: {check.failure_info.failure}\n"
                        f"{asked.method} {asked.uri} {asked.body!r}: "
                        f"{answer.text[:500] if answer is not None else 'no answer'}"
                    )


def _said_in_words(_: Any, failure: Failure, _case: Any, response: Any) -> bool:
    """Whether to keep a failure."""
    if not isinstance(failure, RejectedPositiveData):
        return True
    told = response.json()
    reasons = [told.get("detail", ""), *(error["message"] for error in told.get("errors", []))]
    return not any(reason.startswith(SAID_IN_WORDS) for reason in reasons)


@pytest.fixture
def _keys_of_their_own() -> Iterator[None]:
    """An Idempotency-Key serves for one or two orders, not for all: a second one contradicts."""
    numbers = count()

    def before_call(_context: Any, case: Any, _kwargs: Any) -> None:
        if case.operation.label == "POST /orders" and case.meta.generation.mode.is_positive:
            for name in case.headers.keys() & {"Idempotency-Key"}:
                case.headers[name] = f"cart-{next(numbers) * 3 // 4}"

    schemathesis.hook(before_call)
    yield
    schemathesis.hooks.unregister(before_call)


def fuzz(
    shop: Shop,
    operations: Sequence[str],
    known: Mapping[str, Sequence[str]],
    *,
    token: str | None = None,
    signed: bool = False,
    requests: int = REQUESTS,
    chains: int = 0,
) -> Told:
    """Ask these operations all manner of things; `known` values of fields are mixed in."""
    config = SchemathesisConfig.from_dict(
        {
            "seed": 1,
            "base-url": shop.stack["api_url"],
            "request-timeout": 30,
            "continue-on-failure": True,
            "headers": {"Authorization": f"Bearer {token}"} if token is not None else {},
            "checks": dict(CHECKS),
            "generation": {"deterministic": True, "database": "none", "max-examples": requests},
            "phases": {
                # The local API Gateway answers OPTIONS in a way of its own.
                "coverage": {"unexpected-methods": ["get", "put", "post", "delete", "patch"]},
                "stateful": {"enabled": bool(chains), "generation": {"max-examples": chains or 1}},
            },
            "dictionaries": {field: {"values": list(values)} for field, values in known.items()},
            "parameters": {field: {"dictionary": field, "probability": 0.7} for field in known},
        }
    )
    schema = schemathesis.openapi.from_path(PATH, config=config).include(
        operation_id=list(operations)
    )
    schema.hook("filter_failure")(_said_in_words)
    if signed:
        schema.auth.set_from_requests(Signature(shop.stack["webhook_secret"]))
    told = Told()
    for event in from_schema(schema).execute():
        told.hear(event)
    assert not told.wrong, "\n\n".join(told.wrong[:20])
    return told


@pytest.fixture(autouse=True)
def _nothing_broke(shop: Shop) -> Iterator[None]:
    """Whatever a test of this file asks: no promise is broken, and no log line tells of it."""
    known = sum(1 for _ in shop.logged("Traceback"))
    yield
    shop.await_worker()
    assert shop.broken(settled=False) == []
    assert sum(1 for _ in shop.logged("Traceback")) == known
    private = {*CUSTOMER.values(), *shop.secret().values()} - {""}
    assert [line for _, line in shop.logged() for word in private if word in line] == []


@pytest.mark.usefixtures("_keys_of_their_own")
def test_a_customer_is_answered_as_the_contract_says(shop: Shop) -> None:
    # Chapa's word of a cancelled payment would come while the next test looks.
    shop.chapa.switch(cancel_event="none")
    for sku in IN_EXAMPLES:
        shop.product(UNITS, sku)
    sku = shop.product(UNITS)
    begun = [shop.begun(sku, 1) for _ in range(3)]
    orders = [shop.ordered(sku, 1) for _ in range(4)]
    assert shop.cancel(orders[0])["status"] == "cancelled"
    told = fuzz(
        shop,
        OF_CUSTOMERS,
        {
            "body.items[*].sku": [*IN_EXAMPLES, sku, "no-such-product"],
            "path.order_id": [order_id for order_id, _ in begun],
            "path.tx_ref": [tx_ref for _, tx_ref in begun],
            "body.order_id": orders,
            **{f"body.customer.{field}": [value] for field, value in CUSTOMER.items()},
        },
        token=shop.stack["users"]["abebe"]["token"],
        chains=CHAINS,
    )
    # It got as far as this, or it has shown little.
    assert told.answers.keys() >= {
        ("POST /orders", 200),
        ("POST /orders", 201),
        ("POST /orders", 400),
        ("POST /orders", 422),
        ("GET /orders/{order_id}", 200),
        ("POST /orders/{order_id}/cancel", 200),
        ("POST /payments", 200),
        ("POST /payments", 201),
        ("POST /payments", 400),
        ("POST /payments", 409),
        ("GET /payments/{tx_ref}", 200),
        ("GET /payments/{tx_ref}", 400),
    }


class Prepared:
    """Orders of abebe's: one whose money waits at Chapa, one that nobody paid, one that is paid."""

    def __init__(self, shop: Shop) -> None:
        sku = shop.product()
        self.waiting, self.waiting_ref = shop.begun(sku)
        shop.chapa.pay(self.waiting_ref, webhook=False)
        self.unpaid, self.unpaid_ref = shop.begun(sku)
        self.paid, self.paid_ref = shop.paid(sku)
        self.orders = [self.waiting, self.unpaid, self.paid]
        self.tx_refs = [self.waiting_ref, self.unpaid_ref, self.paid_ref]

    @property
    def known(self) -> dict[str, Sequence[str]]:
        return {
            "path.order_id": self.orders,
            "body.order_id": self.orders,
            "path.tx_ref": self.tx_refs,
        }


def test_a_stranger_to_an_order_learns_and_changes_nothing(shop: Shop) -> None:
    prepared = Prepared(shop)
    asked = shop.calls("verify")
    with shop.nothing_written():
        told = fuzz(
            shop, OF_CUSTOMERS[1:], prepared.known, token=shop.stack["users"]["sara"]["token"]
        )
    assert told.said.keys() == {
        "order_not_found", "payment_not_found", "invalid_request", "Not Found", "Unauthorized"
    }  # fmt: skip
    assert shop.calls("verify") == asked


@pytest.mark.parametrize("token", ["none", "forged"])
def test_without_a_good_token_nobody_gets_in(shop: Shop, token: str) -> None:
    prepared = Prepared(shop)
    good = shop.stack["users"]["abebe"]["token"]
    forged = f"{good.rpartition('.')[0]}.{'A' * 86}"
    with shop.nothing_written():
        told = fuzz(shop, OF_CUSTOMERS, prepared.known, token=None if token == "none" else forged)
    assert told.said.keys() == {"Unauthorized", "Not Found"}


EVENTS = ["charge.success", "charge.failed/cancelled", "charge.refunded", "refund.success", "x"]


def test_a_webhook_that_nobody_signed_is_refused(shop: Shop) -> None:
    prepared = Prepared(shop)
    asked = shop.calls("verify")
    with shop.nothing_written():
        told = fuzz(
            shop, ["receive_webhook"], {"body.event": EVENTS, "body.tx_ref": prepared.tx_refs}
        )
    assert told.said.keys() == {"bad_signature", "Not Found"}
    assert shop.calls("verify") == asked


def test_a_signed_webhook_makes_true_what_chapa_confirms_and_nothing_else(shop: Shop) -> None:
    prepared = Prepared(shop)
    told = fuzz(
        shop,
        ["receive_webhook"],
        {"body.event": EVENTS, "body.tx_ref": [*prepared.tx_refs, "of-another-shop"]},
        signed=True,
        requests=4 * REQUESTS,
    )
    assert told.said.keys() == {
        "applied", "duplicate", "deferred", "ignored", "invalid_request", "bad_signature",
        "Not Found",
    }  # fmt: skip
    shop.await_worker()
    assert shop.state(prepared.waiting) == ("paid", ["succeeded"])
    assert shop.state(prepared.unpaid) == ("pending", ["pending"])
    assert shop.state(prepared.paid) == ("paid", ["succeeded"])


def test_the_unsigned_callback_is_noted_whatever_it_says(shop: Shop) -> None:
    prepared = Prepared(shop)
    told = fuzz(
        shop,
        ["receive_callback"],
        {"query.trx_ref": prepared.tx_refs, "query.tx_ref": prepared.tx_refs},
    )
    assert told.said.keys() == {"noted", "Not Found"}
    shop.await_worker()
    assert shop.state(prepared.unpaid) == ("pending", ["pending"])
