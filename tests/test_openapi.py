"""openapi.yaml, the template and the code agree."""

import json
import tomllib
from collections.abc import Callable
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
import schemathesis
from botocore.exceptions import ClientError
from pydantic import BaseModel

from functions.initialize.app import read_order_id
from functions.orders.app import Customer, Item, OrderRequest
from functions.status.app import DEFAULT_LIMIT, MAX_LIMIT
from payments.chapa.notification import REFERENCES
from payments.chapa.signature import HEADERS
from payments.domain.money import CURRENCIES, MAX_AMOUNT
from payments.domain.states import OrderStatus, PaymentStatus
from payments.errors import (
    TABLE,
    Busy,
    InvalidRequest,
    NotResolvable,
    RefundKeyUsed,
    RefundNotFound,
    RefundTooLarge,
)
from payments.usecases.initialize import MAX_ATTEMPTS
from payments.usecases.lists import MAX_CURSOR
from payments.usecases.place import MAX_LINES, MAX_QUANTITY
from payments.web.http import MAX_BODY
from sandbox.client import Response
from tests.contract import (
    PATH,
    complaints,
    document,
    examples,
    inlined,
    operations,
    problem_codes,
)
from tests.environment import SETTINGS
from tests.shop import Shop, http_event
from tests.template import resources

SCHEMAS: dict[str, Any] = document()["components"]["schemas"]
EXAMPLES: dict[str, Any] = document()["components"]["examples"]
Scenario = Callable[[Shop], Response]
"""Leads to the answer that an example shows; time and randomness are always the same."""

CHAPA, SIMULATOR = "https://checkout.chapa.co", SETTINGS["CHAPA_URL"].removesuffix("/v1")


FOR_OPERATORS = {RefundTooLarge, RefundKeyUsed, RefundNotFound, NotResolvable}


def test_document_is_valid_openapi_of_the_projects_version() -> None:
    schema = schemathesis.openapi.from_path(PATH)
    schema.validate()
    assert schema.specification.version.startswith("3.1")
    project = tomllib.loads((PATH.parent / "pyproject.toml").read_text())["project"]
    assert document()["info"]["version"] == project["version"]


def test_routes_and_guards_are_those_of_the_template() -> None:
    routes = resources("AWS::ApiGatewayV2::Route").values()
    described = {}
    for route, (_, operation) in operations().items():
        security = operation.get("security", document()["security"])
        described[route] = "JWT" if security == [{"token": []}] else "NONE"
        unauthorized = "Unauthorized" in json.dumps(operation["responses"].get("401"))
        assert unauthorized == (described[route] == "JWT")
        assert ((403, "no_subject") in problem_codes(route)) == (described[route] == "JWT")
    assert described == {route["RouteKey"]: route["AuthorizationType"] for route in routes}


def test_browsers_may_send_the_methods_and_headers_of_the_contract() -> None:
    [cors] = [each["CorsConfiguration"] for each in resources("AWS::ApiGatewayV2::Api").values()]
    allowed = cors["Fn::If"][1]
    assert set(allowed["AllowMethods"]) == {route.split()[0] for route in operations()}
    sent = {
        parameter["name"].lower()
        for _, operation in operations().values()
        for parameter in operation["parameters"]
        if parameter["in"] == "header"
    }
    assert set(allowed["AllowHeaders"]) == sent | {"authorization", "content-type"}


def test_webhook_is_signed_in_the_headers_that_the_code_reads() -> None:
    schemes = document()["components"]["securitySchemes"]
    named = [scheme for [scheme] in operations()["POST /webhooks/chapa"].described["security"]]
    assert [schemes[name]["name"] for name in named] == list(HEADERS)
    assert operations()["GET /webhooks/chapa"].described["security"] == []


def test_problems_are_those_of_the_code() -> None:
    answers = [answer for error, answer in TABLE.items() if error not in FOR_OPERATORS]
    assert SCHEMAS["Problem"]["properties"]["code"]["enum"] == [answer.code for answer in answers]
    assert set().union(*map(problem_codes, operations())) == {(a.status, a.code) for a in answers}
    for route in operations():
        assert {(500, "internal_error"), (503, "busy"), (503, "unavailable")} <= problem_codes(
            route
        )


def test_limits_in_descriptions_are_those_of_the_code() -> None:
    items = " ".join(SCHEMAS["OrderRequest"]["properties"]["items"]["description"].split())
    assert f"At most {MAX_LINES} different" in items
    assert f"at most {MAX_QUANTITY:,} units" in items
    assert f"at most {MAX_AMOUNT // 100:,}.{MAX_AMOUNT % 100:02}" in items
    pay = operations()["POST /payments"].described["description"]
    assert f"up to {MAX_ATTEMPTS} attempts" in pay
    invalid = document()["components"]["responses"]["InvalidRequest"]["description"]
    assert f"{MAX_BODY:,} bytes" in invalid
    parameters = document()["components"]["parameters"]
    schema = {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT}
    assert parameters["Limit"]["schema"] == schema
    assert parameters["Cursor"]["schema"]["maxLength"] == MAX_CURSOR


def test_each_outcome_of_a_webhook_is_explained_and_shown() -> None:
    described = operations()["POST /webhooks/chapa"].described["responses"]["200"]
    content = described["content"]["application/json"]
    outcomes = content["schema"]["properties"]["outcome"]["enum"]
    assert outcomes == [each["value"]["outcome"] for each in content["examples"].values()]
    assert all(f"`{outcome}`" in described["description"] for outcome in outcomes)


def test_statuses_and_currencies_are_those_of_the_code() -> None:
    assert SCHEMAS["OrderStatus"]["enum"] == [status.value for status in OrderStatus]
    assert SCHEMAS["PaymentStatus"]["enum"] == [status.value for status in PaymentStatus]
    assert set(SCHEMAS["Currency"]["enum"]) == CURRENCIES
    for status in (*OrderStatus, *PaymentStatus):
        assert f"`{status.value}`" in json.dumps(SCHEMAS)


def test_webhook_names_its_payment_where_the_code_reads_it() -> None:
    fields = inlined(SCHEMAS["Notification"]["properties"])
    assert list(fields) == ["event", *REFERENCES, "data"]
    assert list(fields["data"]["properties"]) == list(REFERENCES)
    described = operations()["POST /webhooks/chapa"].described["description"]
    assert all(f"`{name}`" in described for name in REFERENCES)


LIMITS = ("type", "minimum", "maximum", "minLength", "maxLength", "pattern", "minItems", "maxItems")


def limits(schema: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """The limits of a field; Pydantic's `anyOf` with null as OpenAPI's list of types."""
    if "$ref" in schema:
        schema = definitions[schema["$ref"].rpartition("/")[2]]
    if "anyOf" in schema:
        [schema, null] = schema["anyOf"]
        assert null == {"type": "null"}
        found = limits(schema, definitions)
        return found | {"type": [found["type"], "null"]}
    return {name: schema[name] for name in LIMITS if name in schema}


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("OrderRequest", OrderRequest),
        ("ItemRequest", Item),
        ("Customer", Customer),
    ],
)
def test_request_schema_is_that_of_the_code(name: str, model: type[BaseModel]) -> None:
    described, taken = inlined(SCHEMAS[name]), model.model_json_schema()
    assert described.get("required", []) == taken.get("required", [])
    assert described["additionalProperties"] is (model.model_config["extra"] == "ignore")
    definitions = taken.get("$defs", {})
    assert {field: limits(s, {}) for field, s in described["properties"].items()} == {
        field: limits(s, definitions) for field, s in taken["properties"].items()
    }


@pytest.mark.parametrize(
    "body",
    [{"order_id": "7q43j6magdmz"}, {"order_id": "a" * 64}, {}, [], None, "7q43j6magdmz"]
    + [{"order_id": wrong} for wrong in ("", "a" * 65, 1, None)]
    + [{"order_id": "7q43j6magdmz", "more": 1}],
)
def test_payment_request_schema_refuses_what_the_code_refuses(body: object) -> None:
    schema = inlined(SCHEMAS["PaymentRequest"])
    try:
        jsonschema.validate(body, schema, cls=jsonschema.Draft202012Validator)
    except jsonschema.ValidationError:
        with pytest.raises(InvalidRequest):
            read_order_id(json.dumps(body).encode())
    else:
        assert read_order_id(json.dumps(body).encode()) == body["order_id"]  # type: ignore[index]


def test_each_example_fits_its_schema() -> None:
    found = list(examples(inlined({k: document()[k] for k in ("paths", "components")})))
    assert len(found) > len(EXAMPLES)
    for schema, example in found:
        jsonschema.validate(example, schema, cls=jsonschema.Draft202012Validator)


def shown_at(example: str) -> list[tuple[str, int]]:
    """The routes and statuses that show an example."""
    return [
        (route, int(status))
        for route, operation in operations().items()
        for status, response in operation.described["responses"].items()
        for content in response.get("content", {}).values()
        if example in content.get("examples", {})
    ]


def see(shop: Shop, order_id: str) -> Response:
    return shop.http("status", http_event("GET", path={"order_id": order_id}))


def cancel(shop: Shop, order_id: str) -> Response:
    return shop.http("orders", http_event("POST", path={"order_id": order_id}))


def paid_at_chapa(shop: Shop, **details: str) -> tuple[str, str]:
    order_id, tx_ref = shop.begun()
    shop.clock.advance(40)
    shop.control.pay(tx_ref, webhook=False, **details)  # type: ignore[arg-type]
    return order_id, tx_ref


def paid(shop: Shop) -> tuple[str, str]:
    order_id, tx_ref = paid_at_chapa(shop)
    assert shop.notify(tx_ref).body == {"outcome": "applied"}
    return order_id, tx_ref


def order_cancelling(shop: Shop) -> Response:
    order_id, _ = shop.begun()
    shop.control.add_fault("verify", "status", times=None, status=500)
    return cancel(shop, order_id)


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
    second: list[Response] = []
    shop.before_chapa("initialize", lambda: second.append(shop.pay(order_id)))
    shop.pay(order_id)
    return second[0]


def not_deferred(shop: Shop) -> Response:
    _, tx_ref = shop.begun()
    shop.messages.broken = True
    return shop.notify(tx_ref)


def pay_with_fault(fault: str, **details: int) -> Scenario:
    def scenario(shop: Shop) -> Response:
        order_id = shop.order().body["order_id"]
        shop.control.add_fault("initialize", fault, **details)  # type: ignore[arg-type]
        return shop.pay(order_id)

    return scenario


def failing_read(error: Exception) -> Scenario:
    def fail() -> None:
        raise error

    def scenario(shop: Shop) -> Response:
        order_id = shop.order().body["order_id"]
        shop.before_aws("Query", fail)
        return shop.pay(order_id)

    return scenario


def catalogue_error(shop: Shop) -> Response:
    shop.stock_up("MUG", 7, 15_050, "ETB", 2)  # type: ignore[arg-type]
    return shop.order({"MUG": 1})


def held_by_own_order(shop: Shop) -> Response:
    shop.order({"MUG": 2})
    return shop.order({"MUG": 1})


def no_subject(shop: Shop) -> Response:
    return shop.order(user=" ")


def callback(shop: Shop) -> Response:
    return shop.http("webhook", http_event("GET", user=None, query={"trx_ref": "anything"}))


def sold_out(shop: Shop) -> Response:
    shop.order({"MUG": 2})
    return shop.products()


def two_orders(shop: Shop) -> Response:
    shop.order(key="cart-17")
    shop.clock.advance(60)
    shop.order({"MUG": 1})
    return shop.orders(limit="1")


SCENARIOS: dict[str, Scenario] = {
    "products_listed": sold_out,
    "products_page": lambda shop: shop.products(limit="1"),
    "orders_listed": two_orders,
    "order_placed": lambda shop: shop.order({"COFFEE-250": 2, "MUG": 1}),
    "order_repeated": lambda shop: [shop.order(key="cart-17") for _ in range(2)][1],
    "order_seen": lambda shop: see(shop, shop.begun()[0]),
    "order_cancelled": lambda shop: cancel(shop, shop.begun()[0]),
    "order_cancelling": order_cancelling,
    "payment_begun": lambda shop: shop.pay(shop.order().body["order_id"]),
    "payment_handed_out_again": lambda shop: shop.pay(shop.begun()[0]),
    "payment_pending": lambda shop: shop.status(shop.begun()[1]),
    "payment_succeeded": lambda shop: shop.status(paid(shop)[1]),
    "webhook_applied": lambda shop: shop.notify(paid_at_chapa(shop)[1]),
    "webhook_duplicate": lambda shop: shop.notify(paid(shop)[1]),
    "webhook_deferred": lambda shop: shop.notify(shop.begun()[1]),
    "webhook_ignored": lambda shop: shop.notify("of-another-shop"),
    "callback_noted": callback,
    "invalid_request": lambda shop: shop.order({"MUG": 0}, colour="red"),
    "provider_rejected": pay_with_fault("status", status=400),
    "bad_signature": lambda shop: shop.webhook({"event": "charge.success"}, sign_with="a guess"),
    "no_subject": no_subject,
    "order_not_found": lambda shop: shop.pay("a" * 12),
    "payment_not_found": lambda shop: shop.status("a" * 12 + "b" * 8),
    "out_of_stock": lambda shop: shop.order({"MUG": 3}),
    "held_by_own_order": held_by_own_order,
    "too_many_unpaid_orders": lambda shop: [shop.order({"EBOOK": 1}) for _ in range(6)][-1],
    "order_not_payable": lambda shop: shop.pay(paid(shop)[0]),
    "payment_in_progress": payment_in_progress,
    "order_paid": lambda shop: cancel(shop, paid(shop)[0]),
    "order_in_review": lambda shop: cancel(shop, paid_at_chapa(shop, amount="1.00")[0]),
    "unknown_sku": lambda shop: shop.order({"TEA": 1}),
    "mixed_currency": lambda shop: shop.order({"MUG": 1, "EBOOK": 1}),
    "idempotency_mismatch": lambda shop: [
        shop.order({"COFFEE-250": units}, key="cart-17") for units in (2, 1)
    ][1],
    "order_empty": order_empty,
    "internal_error": failing_read(RuntimeError("a bug")),
    "catalogue_error": catalogue_error,
    "provider_error": pay_with_fault("status", status=500),
    "provider_unavailable": pay_with_fault("reset"),
    "not_deferred": not_deferred,
    "busy": failing_read(Busy("The order is being changed by too many at once.", retry_after=1)),
    "unavailable": failing_read(ClientError({"Error": {"Code": "ThrottlingException"}}, "Query")),
    "provider_timeout": pay_with_fault("timeout_after", seconds=1),
}


@pytest.mark.corrupts  # One order is made empty, which the product never does.
@pytest.mark.parametrize("name", EXAMPLES)
def test_example_is_what_the_shop_answers(shop: Shop, name: str) -> None:
    response = SCENARIOS[name](shop)
    body = json.loads(json.dumps(response.body).replace(SIMULATOR, CHAPA))
    assert body == EXAMPLES[name]["value"]
    assert shown_at(name)
    for route, status in shown_at(name):
        assert status == response.status
        assert list(complaints(route, status, response.headers, body)) == []


def test_every_problem_has_an_example() -> None:
    assert EXAMPLES.keys() == SCENARIOS.keys()
    shown = {each["value"]["code"] for each in EXAMPLES.values() if "code" in each["value"]}
    assert shown == set(SCHEMAS["Problem"]["properties"]["code"]["enum"])
