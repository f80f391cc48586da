"""openapi.yaml, the template, the code and the README say the same."""

import json
import re
import tomllib
from collections.abc import Callable
from typing import Any, NamedTuple

import jsonschema  # type: ignore[import-untyped]
import pytest
import schemathesis
from botocore.exceptions import ClientError
from pydantic import BaseModel

from functions.checkout.app import Customer, Item, OrderRequest
from functions.initialize.app import PaymentRequest
from functions.webhook.app import Notification
from payments.checkout import MAX_LINES, MAX_QUANTITY
from payments.errors import TABLE, RefundTooLarge
from payments.http import MAX_BODY
from payments.initialize import MAX_ATTEMPTS
from payments.money import CURRENCIES, MAX_AMOUNT
from payments.chapa.signature import HEADERS
from payments.states import OrderStatus, PaymentStatus
from sandbox.client import Response
from tests.contract import PATH, complaints, document, examples, inlined, operations
from tests.environment import SETTINGS
from tests.shop import Shop, http_event, template

SCHEMAS: dict[str, Any] = document()["components"]["schemas"]
EXAMPLES: dict[str, Any] = document()["components"]["examples"]
CHAPA, SIMULATOR = "https://checkout.chapa.co", SETTINGS["CHAPA_URL"].removesuffix("/v1")

README = (PATH.parent / "README.md").read_text()

ANY_ROUTE = {"internal_error", "busy"}
"""Not repeated in the README's table."""


def test_it_is_valid_openapi() -> None:
    schema = schemathesis.openapi.from_path(PATH)
    schema.validate()
    assert schema.specification.version.startswith("3.1")


def test_it_has_the_routes_of_the_template_and_no_others() -> None:
    resources = template()["Resources"].values()
    guards = {
        resource["Properties"]["RouteKey"]: resource["Properties"]["AuthorizationType"]
        for resource in resources
        if resource["Type"] == "AWS::ApiGatewayV2::Route"
    }
    described = {}
    for route, (_, operation) in operations().items():
        security = operation.get("security", document()["security"])
        described[route] = "JWT" if security == [{"token": []}] else "NONE"
        assert ("Unauthorized" in json.dumps(operation["responses"].get("401"))) == (
            described[route] == "JWT"
        )
    assert described == guards


def test_a_webhook_is_signed_in_the_headers_that_the_code_reads() -> None:
    schemes = document()["components"]["securitySchemes"]
    named = [scheme for [scheme] in operations()["POST /webhooks/chapa"].described["security"]]
    assert [schemes[name]["name"] for name in named] == list(HEADERS)
    assert operations()["GET /webhooks/chapa"].described["security"] == []


def codes(route: str) -> set[tuple[int, str]]:
    """Which problems a route answers with, by the document."""
    found = set()
    for status, response in operations()[route].described["responses"].items():
        problem = response.get("content", {}).get("application/problem+json")
        if problem:
            [told] = [part["properties"]["code"] for part in problem["schema"]["allOf"][1:]]
            found |= {(int(status), code) for code in told["enum"]}
    return found


def test_its_problems_are_those_of_the_table() -> None:
    # Of all errors only this one is told to operators alone.
    answers = [answer for error, answer in TABLE.items() if error is not RefundTooLarge]
    assert SCHEMAS["Problem"]["properties"]["code"]["enum"] == [answer.code for answer in answers]
    assert set().union(*map(codes, operations())) == {(a.status, a.code) for a in answers}


class Row(NamedTuple):
    """A line of the README's table."""

    asked: str
    who: str
    success: str
    errors: str


def rows() -> dict[str, Row]:
    lines = re.findall(r"^\|( `[A-Z]+ /.*)\|$", README, re.MULTILINE)
    found = [Row(*(cell.strip() for cell in line.split("|"))) for line in lines]
    return {re.findall("[A-Z]+ /[^`?]*", row.asked)[0]: row for row in found}


def test_the_readme_lists_the_routes() -> None:
    assert rows().keys() == operations().keys()


@pytest.mark.parametrize("route", operations())
def test_the_readme_says_who_may_ask(route: str) -> None:
    schemes = operations()[route].described.get("security", document()["security"])
    names = {"token": "JWT", "signature": "signed"}
    who = names[next(iter(schemes[0]))] if schemes else "anybody"
    owned = "{order_id}" in rows()[route].asked or "{tx_ref}" in rows()[route].asked
    assert rows()[route].who == (f"{who}, owner" if owned else who)


@pytest.mark.parametrize("route", operations())
def test_the_readme_says_what_is_answered(route: str) -> None:
    described = {status for status in operations()[route].described["responses"] if status < "3"}
    assert set(re.findall(r"\b2\d\d\b", rows()[route].success)) == described
    problems = set()
    status = 0
    for number, code in re.findall(r"\b(\d{3})\b|`([a-z_]+)`", rows()[route].errors):
        status = int(number or status)
        problems |= {(status, code)} if code else set()
    assert problems == {(status, code) for status, code in codes(route) if code not in ANY_ROUTE}


@pytest.mark.parametrize(
    ("route", "model"), [("POST /orders", OrderRequest), ("POST /payments", PaymentRequest)]
)
def test_the_readme_says_what_to_send(route: str, model: type[BaseModel]) -> None:
    told = rows()[route].asked
    for name, field in model.model_fields.items():
        assert re.search(rf"\b{name}\b", told)
        assert (f"{name}?" in told) != field.is_required()


def test_the_readme_asks_with_parameters_that_there_are() -> None:
    for route, row in rows().items():
        parameters = {each["name"] for each in operations()[route].described["parameters"]}
        assert set(re.findall(r"[?&](\w+)=", row.asked)) <= parameters


def test_the_readme_names_the_fields_of_a_customer() -> None:
    sentence = re.findall(r"`customer` has (.*?),? all optional", README, re.DOTALL)
    assert set(re.findall(r"`(\w+)`", sentence[0])) == Customer.model_fields.keys()


def test_the_limits_that_are_told_in_words_are_those_of_the_code() -> None:
    items = SCHEMAS["OrderRequest"]["properties"]["items"]["description"]
    assert f"At most {MAX_LINES} different" in items
    assert f"at most {MAX_QUANTITY:,} units" in " ".join(items.split())
    assert f"at most {MAX_AMOUNT // 100:,}.{MAX_AMOUNT % 100:02}" in items
    begin = operations()["POST /payments"].described["description"]
    assert f"up to {MAX_ATTEMPTS} attempts" in begin


def test_the_outcomes_of_a_webhook_are_those_that_are_shown() -> None:
    described = operations()["POST /webhooks/chapa"].described["responses"]["200"]
    content = described["content"]["application/json"]
    outcomes = content["schema"]["properties"]["outcome"]["enum"]
    assert outcomes == [each["value"]["outcome"] for each in content["examples"].values()]
    assert all(f"`{outcome}`" in described["description"] for outcome in outcomes)
    assert set(re.findall(r"`([a-z]+)`", rows()["POST /webhooks/chapa"].success)) == set(outcomes)


def test_its_version_is_that_of_the_project() -> None:
    project = tomllib.loads((PATH.parent / "pyproject.toml").read_text())["project"]
    assert document()["info"]["version"] == project["version"]


def test_any_route_may_be_busy_or_broken() -> None:
    for route in operations():
        assert {(500, "internal_error"), (503, "busy")} <= codes(route)


def test_statuses_and_currencies_are_those_of_the_code() -> None:
    assert SCHEMAS["OrderStatus"]["enum"] == list(OrderStatus)
    assert SCHEMAS["PaymentStatus"]["enum"] == list(PaymentStatus)
    assert set(SCHEMAS["Currency"]["enum"]) == CURRENCIES
    for status in (*OrderStatus, *PaymentStatus):
        assert f"`{status}`" in json.dumps(SCHEMAS)


LIMITS = ("type", "minimum", "maximum", "minLength", "maxLength", "pattern", "minItems", "maxItems")


def limits(schema: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """What may be sent for a field; one that may be null says it as OpenAPI does."""
    if "$ref" in schema:
        schema = definitions[schema["$ref"].rpartition("/")[2]]
    if "anyOf" in schema:
        [schema, null] = schema["anyOf"]
        assert null == {"type": "null"}
        told = limits(schema, definitions)
        return told | {"type": [told["type"], "null"]}
    return {name: schema[name] for name in LIMITS if name in schema}


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("OrderRequest", OrderRequest),
        ("ItemRequest", Item),
        ("Customer", Customer),
        ("PaymentRequest", PaymentRequest),
        ("Notification", Notification),
    ],
)
def test_what_may_be_sent_is_what_the_code_takes(name: str, model: type[BaseModel]) -> None:
    described, taken = inlined(SCHEMAS[name]), model.model_json_schema()
    assert described.get("required", []) == taken.get("required", [])
    assert described["additionalProperties"] is (model.model_config["extra"] == "ignore")
    definitions = taken.get("$defs", {})
    assert {field: limits(s, {}) for field, s in described["properties"].items()} == {
        field: limits(s, definitions) for field, s in taken["properties"].items()
    }


def test_the_longest_body_is_named() -> None:
    assert (
        f"{MAX_BODY:,} bytes"
        in document()["components"]["responses"]["InvalidRequest"]["description"]
    )


def test_each_example_fits_its_schema() -> None:
    found = list(examples(inlined({k: document()[k] for k in ("paths", "components")})))
    assert len(found) > len(EXAMPLES)
    for schema, example in found:
        jsonschema.validate(example, schema, cls=jsonschema.Draft202012Validator)


def where(name: str) -> list[tuple[str, int]]:
    """The routes and statuses that show an example."""
    return [
        (route, int(status))
        for route, operation in operations().items()
        for status, response in operation.described["responses"].items()
        for content in response.get("content", {}).values()
        if name in content.get("examples", {})
    ]


# How to get the answer that each example shows; the shop's clock and chance are always the same.


def cancel(shop: Shop, order_id: str) -> Response:
    return shop.http("checkout", http_event("POST", path={"order_id": order_id}))


def order_seen(shop: Shop) -> Response:
    order_id, _ = shop.begun()
    return shop.http("status", http_event("GET", path={"order_id": order_id}))


def order_cancelled(shop: Shop) -> Response:
    order_id, _ = shop.begun()
    return cancel(shop, order_id)


def order_cancelling(shop: Shop) -> Response:
    order_id, _ = shop.begun()
    shop.control.add_fault("verify", "status", times=None, status=500)
    return cancel(shop, order_id)


def order_repeated(shop: Shop) -> Response:
    shop.order(key="cart-17")
    return shop.order(key="cart-17")


def payment_handed_out_again(shop: Shop) -> Response:
    order_id, _ = shop.begun()
    return shop.pay(order_id)


def payment_pending(shop: Shop) -> Response:
    _, tx_ref = shop.begun()
    return shop.status(tx_ref)


def paid(shop: Shop) -> tuple[str, str]:
    order_id, tx_ref = shop.begun()
    shop.clock.advance(40)
    shop.control.pay(tx_ref, webhook=False)
    assert shop.notify(tx_ref).body == {"outcome": "applied"}
    return order_id, tx_ref


def payment_succeeded(shop: Shop) -> Response:
    _, tx_ref = paid(shop)
    return shop.status(tx_ref)


def webhook_applied(shop: Shop) -> Response:
    _, tx_ref = shop.begun()
    shop.control.pay(tx_ref, webhook=False)
    return shop.notify(tx_ref)


def webhook_duplicate(shop: Shop) -> Response:
    _, tx_ref = paid(shop)
    return shop.notify(tx_ref)


def webhook_deferred(shop: Shop) -> Response:
    _, tx_ref = shop.begun()
    return shop.notify(tx_ref)


def webhook_ignored(shop: Shop) -> Response:
    return shop.notify("of-another-shop")


def callback_noted(shop: Shop) -> Response:
    return shop.http("webhook", http_event("GET", user=None, query={"trx_ref": "anything"}))


def invalid_request(shop: Shop) -> Response:
    return shop.order({"MUG": 0}, colour="red")


def mixed_currency(shop: Shop) -> Response:
    return shop.order({"MUG": 1, "EBOOK": 1})


def idempotency_mismatch(shop: Shop) -> Response:
    shop.order(key="cart-17")
    return shop.order({"MUG": 1}, key="cart-17")


def order_paid(shop: Shop) -> Response:
    order_id, _ = paid(shop)
    return cancel(shop, order_id)


def order_in_review(shop: Shop) -> Response:
    order_id, tx_ref = shop.begun()
    shop.control.pay(tx_ref, amount="1.00", webhook=False)
    return cancel(shop, order_id)


def order_not_payable(shop: Shop) -> Response:
    order_id, _ = paid(shop)
    return shop.pay(order_id)


def order_empty(shop: Shop) -> Response:
    order_id = shop.order().body["order_id"]
    shop.table.update_item(
        Key={"pk": f"ORDER#{order_id}", "sk": "ORDER"},
        UpdateExpression="SET #l = :none",
        ExpressionAttributeNames={"#l": "lines"},
        ExpressionAttributeValues={":none": []},
    )
    return shop.pay(order_id)


def payment_in_progress(shop: Shop) -> Response:
    order_id = shop.order().body["order_id"]
    meanwhile: list[Response] = []
    shop.before_chapa("initialize", lambda: meanwhile.append(shop.pay(order_id)))
    shop.pay(order_id)
    return meanwhile[0]


def provider_rejected(shop: Shop) -> Response:
    return shop.pay(shop.order(customer={"email": "abebe@example.com"}).body["order_id"])


def at_initialize(kind: str, **details: int) -> Callable[[Shop], Response]:
    def story(shop: Shop) -> Response:
        order_id = shop.order().body["order_id"]
        shop.control.add_fault("initialize", kind, **details)  # type: ignore[arg-type]
        return shop.pay(order_id)

    return story


def at_read(error: Exception) -> Callable[[Shop], Response]:
    def fail() -> None:
        raise error

    def story(shop: Shop) -> Response:
        order_id = shop.order().body["order_id"]
        shop.before_aws("Query", fail)
        return shop.pay(order_id)

    return story


def not_deferred(shop: Shop) -> Response:
    _, tx_ref = shop.begun()
    shop.messages.broken = True
    return shop.notify(tx_ref)


STORIES: dict[str, Callable[[Shop], Response]] = {
    "order_placed": lambda shop: shop.order({"COFFEE-250": 2, "MUG": 1}),
    "order_repeated": order_repeated,
    "order_seen": order_seen,
    "order_cancelled": order_cancelled,
    "order_cancelling": order_cancelling,
    "payment_begun": lambda shop: shop.pay(shop.order().body["order_id"]),
    "payment_handed_out_again": payment_handed_out_again,
    "payment_pending": payment_pending,
    "payment_succeeded": payment_succeeded,
    "webhook_applied": webhook_applied,
    "webhook_duplicate": webhook_duplicate,
    "webhook_deferred": webhook_deferred,
    "webhook_ignored": webhook_ignored,
    "callback_noted": callback_noted,
    "invalid_request": invalid_request,
    "provider_rejected": provider_rejected,
    "bad_signature": lambda shop: shop.webhook({"event": "charge.success"}, sign_with="a guess"),
    "order_not_found": lambda shop: shop.pay("a" * 20),
    "payment_not_found": lambda shop: shop.status("a" * 20 + "-" + "b" * 24),
    "out_of_stock": lambda shop: shop.order({"MUG": 3}),
    "order_not_payable": order_not_payable,
    "payment_in_progress": payment_in_progress,
    "order_paid": order_paid,
    "order_in_review": order_in_review,
    "unknown_sku": lambda shop: shop.order({"TEA": 1}),
    "mixed_currency": mixed_currency,
    "idempotency_mismatch": idempotency_mismatch,
    "order_empty": order_empty,
    "internal_error": at_read(RuntimeError("a bug")),
    "provider_error": at_initialize("status", status=500),
    "provider_unavailable": at_initialize("reset"),
    "not_deferred": not_deferred,
    "busy": at_read(ClientError({"Error": {"Code": "ThrottlingException"}}, "Query")),
    "provider_timeout": at_initialize("timeout_after", seconds=1),
}


@pytest.mark.corrupts  # One order is made empty, which the product never does.
@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_what_the_shop_answers(shop: Shop, name: str) -> None:
    answer = STORIES[name](shop)
    told = json.loads(json.dumps(answer.body).replace(SIMULATOR, CHAPA))
    assert told == EXAMPLES[name]["value"]
    assert where(name)
    for route, status in where(name):
        assert status == answer.status
        assert list(complaints(route, status, answer.headers, told)) == []


def test_every_answer_that_is_told_apart_has_an_example() -> None:
    shown = {example for example in EXAMPLES if where(example)}
    assert shown == EXAMPLES.keys() == STORIES.keys()
    codes_shown = {told["value"]["code"] for told in EXAMPLES.values() if "code" in told["value"]}
    assert codes_shown == set(SCHEMAS["Problem"]["properties"]["code"]["enum"])
