"""Requests generated from openapi.yaml; every response must be one that the contract describes.

Schemathesis sends the examples, then each limit of each field, then random requests, valid ones and
ones that break the contract in one place, then chains along the links. Ids of real orders and
payments are mixed in. Schemathesis and `tests/contract.py`, which also refuses what is not
described, check the responses.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from typing import Any, NamedTuple

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
from tests.journeys.shop import CUSTOMER, DeployedShop

REQUESTS = depth(12, 200)
"""Random requests of each operation; the limits of its fields add some dozens."""

WEBHOOKS = depth(150, 800)
CHAINS = depth(4, 150)

IN_EXAMPLES = ("COFFEE-250", "MUG")
"""Products of the document's examples, which Schemathesis often orders."""

UNITS = 100_000_000

CHECKS: Mapping[str, Any] = {
    # All checks of Schemathesis are on, with these exceptions.
    # 400 only for the reasons in `REFUSED_BY_RULE`.
    "positive_data_acceptance": {"expected-statuses": ["2xx", "401", "404", "409", "422"]},
    "negative_data_rejection": {"expected-statuses": ["400", "401", "404", "409", "422"]},
    # API Gateway knows routes, not methods, and answers 404; `Exchanges` checks this response.
    "unsupported_method": {"enabled": False},
}

REFUSED_BY_RULE = (
    "An order has at most 90 different products.",
    "An order has at most 10000 units of a product.",
    "The order comes to ",
    "Input should be a valid integer",
    "The payment provider refused this payment",
    "The cursor is not one of this list.",
)
"""Why a request that fits the schema is refused: JSON Schema cannot express sums, takes 1.0 for an
integer, and does not know the rules of Chapa or the user's orders."""

NO_ROUTE = (404, {"message": "Not Found"})

CUSTOMER_OPERATIONS = (
    "list_products",
    "list_orders",
    "place_order",
    "get_order",
    "cancel_order",
    "begin_payment",
    "get_payment",
)


class Signature(AuthBase):
    """Signs the bytes that are sent, as Chapa does."""

    def __init__(self, secret: str) -> None:
        self._secret = secret

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        body = request.body or b""
        raw = body.encode() if isinstance(body, str) else body
        request.headers["x-chapa-signature"] = sign(raw, self._secret)
        return request


class Exchanges:
    """All requests and responses of one run."""

    def __init__(self) -> None:
        self.statuses: Counter[tuple[str, int]] = Counter()
        """Responses by route and status."""
        self.codes: Counter[str] = Counter()
        """Outcomes, codes of problems and the gateway's messages."""
        self.failures: list[str] = []

    def record(self, event: events.EngineEvent) -> None:
        if isinstance(event, events.NonFatalError):
            self.failures.append(f"{event.label}: {event.value!r}")
        elif isinstance(event, events.FatalError):
            raise event.exception
        elif isinstance(event, events.ScenarioFinished):
            self._record(event)

    def _record(self, event: events.ScenarioFinished) -> None:
        recorder = event.recorder
        for case_id, interaction in recorder.interactions.items():
            case, response = recorder.cases[case_id].value, interaction.response
            route = case.operation.label
            if response is None:
                self.failures.append(f"{route}: no response")
                continue
            body = response.json()
            self.statuses[route, response.status_code] += 1
            self.codes[str(body.get("outcome") or body.get("code") or body.get("message"))] += 1
            if coverage_scenario(case) is CoverageScenario.UNSPECIFIED_HTTP_METHOD:
                if (response.status_code, body) != NO_ROUTE:
                    self.failures.append(f"{interaction.request.method}: {response.status_code}")
                continue
            headers = {name: value for name, [value, *_] in response.headers.items()}
            self.failures += complaints(route, response.status_code, headers, body)
        for case_id, checks in recorder.checks.items():
            exchange = recorder.interactions[case_id]
            for check in checks:
                if check.failure_info is not None:
                    request, response = exchange.request, exchange.response
                    self.failures.append(
                        f"{check.name}: {check.failure_info.failure}\n"
                        f"{request.method} {request.uri} {request.body!r}: "
                        f"{response.text[:500] if response is not None else 'no response'}"
                    )


def _is_failure(_: Any, failure: Failure, _case: Any, response: Any) -> bool:
    if not isinstance(failure, RejectedPositiveData):
        return True
    body = response.json()
    reasons = [body.get("detail", ""), *(error["message"] for error in body.get("errors", []))]
    return not any(reason.startswith(REFUSED_BY_RULE) for reason in reasons)


@pytest.fixture
def _fresh_idempotency_keys() -> Iterator[None]:
    """Use an Idempotency-Key for one or two orders: a third with other items is refused."""
    numbers = count()

    def before_call(_context: Any, case: Any, _kwargs: Any) -> None:
        if case.operation.label == "POST /orders" and case.meta.generation.mode.is_positive:
            for name in case.headers.keys() & {"Idempotency-Key"}:
                case.headers[name] = f"cart-{next(numbers) * 3 // 4}"

    schemathesis.hook(before_call)
    yield
    schemathesis.hooks.unregister(before_call)


def fuzz(
    shop: DeployedShop,
    operations: Sequence[str],
    known: Mapping[str, Sequence[str]],
    *,
    token: str | None = None,
    signed: bool = False,
    requests: int = REQUESTS,
    chains: int = 0,
) -> Exchanges:
    """Send generated requests to these operations; `known` are values of fields to mix in."""
    checks = dict(CHECKS)
    if signed:
        # A webhook is read leniently: no field but a reference of ours counts.
        checks["negative_data_rejection"] = {"expected-statuses": ["200", "400", "401"]}
    config = SchemathesisConfig.from_dict(
        {
            "seed": 1,
            "base-url": shop.stack["api_url"],
            "request-timeout": 30,
            "continue-on-failure": True,
            "headers": {"Authorization": f"Bearer {token}"} if token is not None else {},
            "checks": checks,
            "generation": {"deterministic": True, "database": "none", "max-examples": requests},
            "phases": {
                # The local API Gateway answers OPTIONS in its own way.
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
    schema.hook("filter_failure")(_is_failure)
    if signed:
        schema.auth.set_from_requests(Signature(shop.stack["webhook_secret"]))
    exchanges = Exchanges()
    for event in from_schema(schema).execute():
        exchanges.record(event)
    assert not exchanges.failures, "\n\n".join(exchanges.failures[:20])
    return exchanges


@pytest.mark.usefixtures("_fresh_idempotency_keys")
def test_customer_requests_get_responses_of_the_contract(shop: DeployedShop) -> None:
    for sku in IN_EXAMPLES:
        shop.product(UNITS, sku)
    sku = shop.product(UNITS)
    begun = [shop.begun(sku, 1) for _ in range(3)]
    orders = [shop.ordered(sku, 1) for _ in range(2)]
    assert shop.cancel(orders[0])["status"] == "cancelled"
    exchanges = fuzz(
        shop,
        CUSTOMER_OPERATIONS,
        {
            "body.items[*].sku": [*IN_EXAMPLES, sku, "no-such-product"],
            "path.order_id": [order_id for order_id, _ in begun],
            "path.tx_ref": [tx_ref for _, tx_ref in begun],
            "query.cursor": [*orders, sku],
            "body.order_id": [*reversed(orders), begun[0][0]],
            **{f"body.customer.{field}": [value] for field, value in CUSTOMER.items()},
        },
        token=shop.stack["users"]["abebe"]["token"],
        chains=CHAINS,
    )
    # The requests reach these responses, or they show little.
    assert exchanges.statuses.keys() >= {
        ("GET /products", 200),
        ("GET /products", 400),
        ("GET /orders", 200),
        ("GET /orders", 400),
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
    shop.await_worker()
    assert shop.violations(settled=False) == []


class Targets(NamedTuple):
    """Orders of abebe's: paid at Chapa but not settled yet, unpaid, and paid."""

    orders: list[str]
    tx_refs: list[str]

    def statuses(self, shop: DeployedShop) -> list[str]:
        return [shop.order(order_id)["status"] for order_id in self.orders]


def targets(shop: DeployedShop) -> Targets:
    sku = shop.product()
    unsettled, unpaid, paid = shop.begun(sku), shop.begun(sku), shop.paid(sku)
    shop.chapa.pay(unsettled[1], webhook=False)
    orders, tx_refs = zip(unsettled, unpaid, paid, strict=True)
    return Targets(list(orders), list(tx_refs))


EVENTS = ["charge.success", "charge.failed/cancelled", "charge.refunded", "refund.success", "x"]


@pytest.mark.parametrize(
    ("sender", "codes"),
    [
        ("another user", {"order_not_found", "payment_not_found", "invalid_request"}),
        ("no token", set[str]()),
        ("a webhook without a signature", {"bad_signature"}),
    ],
)
def test_sender_without_permission_reads_and_changes_nothing(
    shop: DeployedShop, sender: str, codes: set[str]
) -> None:
    known = targets(shop)
    if sender == "a webhook without a signature":
        operations = ["receive_webhook"]
        fields = {"body.event": EVENTS, "body.tx_ref": known.tx_refs}
    else:
        codes = codes | {"Unauthorized"}
        operations = [each for each in CUSTOMER_OPERATIONS if each != "list_products"]
        fields = {"path.order_id": known.orders, "body.order_id": known.orders}
        fields |= {"path.tx_ref": known.tx_refs, "query.cursor": known.orders}
    token = None
    if sender == "another user":
        token = shop.stack["users"]["sara"]["token"]
        # From her own list the generated requests would learn which orders she may cancel.
        operations = [each for each in operations if each not in {"place_order", "list_orders"}]
        del fields["query.cursor"]
    asked = shop.calls("verify")
    with shop.nothing_written():
        exchanges = fuzz(shop, operations, fields, token=token)
    assert exchanges.codes.keys() == codes | {"Not Found"}
    assert shop.calls("verify") == asked


def test_webhook_and_callback_settle_only_what_chapa_confirms(shop: DeployedShop) -> None:
    known = targets(shop)
    exchanges = fuzz(
        shop,
        ["receive_callback"],
        {"query.trx_ref": known.tx_refs, "query.tx_ref": known.tx_refs},
    )
    assert exchanges.codes.keys() == {"noted", "Not Found"}
    shop.await_worker()
    assert known.statuses(shop)[1:] == ["pending", "paid"]

    known = targets(shop)
    exchanges = fuzz(
        shop,
        ["receive_webhook"],
        {"body.event": EVENTS, "body.tx_ref": [*known.tx_refs, "of-another-shop"]},
        signed=True,
        requests=WEBHOOKS,
    )
    assert exchanges.codes.keys() == {
        "applied", "duplicate", "deferred", "ignored", "invalid_request", "bad_signature",
        "Not Found",
    }  # fmt: skip
    shop.await_worker()
    assert known.statuses(shop) == ["paid", "pending", "paid"]
