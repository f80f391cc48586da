import base64
import io
import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from aws_lambda_powertools.utilities.typing import LambdaContext
from botocore.exceptions import ClientError, ReadTimeoutError
from pydantic import BaseModel, ConfigDict, Field

from payments import errors
from payments.errors import (
    TABLE,
    CatalogueError,
    ConfigurationError,
    InvalidRequest,
    NoSubject,
    OutOfStock,
    PaymentsError,
    ProviderError,
    ProviderRejected,
    ProviderUnavailable,
)
from payments.telemetry import metrics
from payments.web.http import (
    MAX_BODY,
    Event,
    Response,
    handler,
    header,
    parse,
    problem,
    raw_body,
    respond,
    user_id,
)
from tests.shop import http_event

SECRET = "do-not-repeat-me"
AMHARIC = '{"name":"አበበ"}'

pytestmark = pytest.mark.usefixtures("log")


@pytest.fixture(autouse=True)
def counted() -> Iterator[dict[str, Any]]:
    metrics.clear_metrics()
    yield metrics.metric_set
    metrics.clear_metrics()


def lines(log: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.getvalue().splitlines()]


def document(response: Response) -> dict[str, Any]:
    return dict(json.loads(response["body"]))


def test_plain_body_is_the_bytes_of_its_text() -> None:
    assert raw_body(http_event("POST", AMHARIC)) == AMHARIC.encode()
    # Half a surrogate pair is no error either.
    assert raw_body({"body": '{"name":"\ud800"}'}).startswith(b'{"name":"')


def test_body_in_base64_is_decoded() -> None:
    """API Gateway encodes a body whose content type it does not know as text."""
    body = b"\xff\x00" + AMHARIC.encode()
    encoded = base64.b64encode(body).decode()
    assert raw_body(http_event("POST", encoded, base64_encoded=True)) == body


@pytest.mark.parametrize("encoded", [True, False])
@pytest.mark.parametrize("event", [{}, {"body": None}, {"body": ""}])
def test_missing_body_is_empty(event: dict[str, Any], encoded: bool) -> None:
    assert raw_body(event | {"isBase64Encoded": encoded}) == b""


@pytest.mark.parametrize("body", ["{}", "YQ", "YQ==YQ==", "Y Q==", "YQ==\n", "አበበ", "-_-_"])
def test_wrong_base64_is_an_invalid_request(body: str) -> None:
    with pytest.raises(InvalidRequest, match="base64"):
        raw_body(http_event("POST", body, base64_encoded=True))


class Thing(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)

    name: str = Field(max_length=20)
    quantity: int = Field(ge=1)
    parts: list["Thing"] = []


GOOD = '{"name": "mug", "quantity": 1}'
WRONG: dict[str, tuple[str | bytes, list[str]]] = {
    "empty": ("", ["body"]),
    "text": (SECRET, ["body"]),
    "half a document": (f'{{"name": "{SECRET}', ["body"]),
    "not UTF-8": (b'{"name": "\xff", "quantity": 1}', ["body"]),
    "UTF-16": (GOOD.encode("utf-16"), ["body"]),
    "half a surrogate pair": (r'{"name": "\ud800", "quantity": 1}', ["body"]),
    "deeply nested": ("[" * 30_000 + "]" * 30_000, ["body"]),
    "text after the document": (f"{GOOD} {SECRET}", ["body"]),
    "list": (f'["{SECRET}"]', ["body"]),
    "null": ("null", ["body"]),
    "string": (f'"{SECRET}"', ["body"]),
    "no fields": ("{}", ["name", "quantity"]),
    "number as string": ('{"name": 5, "quantity": 1}', ["name"]),
    **{
        f"{value:.20} as quantity": (f'{{"name": "mug", "quantity": {value}}}', ["quantity"])
        for value in (f'"{SECRET}"', '"2"', "true", "1.5", "NaN", "Infinity", "1e999", "0")
    },
    "name too long": (f'{{"name": "{SECRET * 2}", "quantity": 1}}', ["name"]),
    "unknown field": (f'{{"name": "mug", "quantity": 1, "price": "{SECRET}"}}', ["price"]),
    "unknown field with a very long name": (
        f'{{"name": "mug", "quantity": 1, "{"p" * 1_000}": "{SECRET}"}}',
        ["p" * 100],
    ),
    "wrong field in a part": (
        f'{{"name": "mug", "quantity": 1, "parts": [{{"name": ["{SECRET}"], "quantity": 1}}]}}',
        ["parts.0.name"],
    ),
    "wrong parts without end": (
        json.dumps({"name": "mug", "quantity": 1, "parts": [{}] * 1_000}),
        [f"parts.{number}.{name}" for number in range(10) for name in ("name", "quantity")],
    ),
}


@pytest.mark.parametrize(("body", "wrong"), WRONG.values(), ids=list(WRONG))
def test_each_wrong_field_is_named_and_no_value_is_repeated(
    body: str | bytes, wrong: list[str]
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse(Thing, body.encode() if isinstance(body, str) else body)
    assert [error["field"] for error in caught.value.members["errors"]] == wrong
    assert SECRET not in problem(caught.value)["body"]
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_good_body_is_parsed_up_to_the_longest() -> None:
    assert parse(Thing, GOOD.encode()) == Thing(name="mug", quantity=1)


@pytest.mark.parametrize("encoded", [True, False])
def test_too_long_a_body_is_refused_before_it_is_parsed(encoded: bool) -> None:
    for size in (MAX_BODY, MAX_BODY + 1, 2 * MAX_BODY, 10 * MAX_BODY):
        body = base64.b64encode(b"x" * size).decode() if encoded else "x" * size
        event = http_event("POST", body, base64_encoded=encoded)
        if size == MAX_BODY:
            assert raw_body(event) == b"x" * size
        else:
            with pytest.raises(InvalidRequest, match=f"longer than {MAX_BODY}"):
                raw_body(event)
    with pytest.raises(InvalidRequest, match="longer"):  # Bytes count, not letters.
        raw_body(http_event("POST", "አ" * (MAX_BODY // 3 + 1)))
    with pytest.raises(InvalidRequest, match="longer"):  # Not even decoded.
        raw_body(http_event("POST", "!" * (2 * MAX_BODY + 1), base64_encoded=True))


def test_header_is_found_in_every_case() -> None:
    event = http_event("POST", headers={"Idempotency-KEY": "key-1"})
    assert header(event, "idempotency-key") == "key-1"
    assert header(event, "another") is None
    assert header({}, "idempotency-key") is None
    assert header({"headers": None}, "idempotency-key") is None


def test_user_is_the_subject_of_the_token() -> None:
    assert user_id(http_event("GET", user="almaz")) == "almaz"


@pytest.mark.parametrize("claims", [{}, *({"sub": sub} for sub in (None, "", " ", 5, ["almaz"]))])
def test_token_without_a_subject_has_no_access(claims: dict[str, Any]) -> None:
    with pytest.raises(NoSubject) as caught:
        user_id({"requestContext": {"authorizer": {"jwt": {"claims": claims}}}})
    response = problem(caught.value)
    assert (response["statusCode"], document(response)["code"]) == (403, "no_subject")


def test_response_is_json_that_is_not_cached() -> None:
    answer = respond(201, {"name": "አበበ"}, retry_after="5")
    assert answer["statusCode"] == 201
    assert answer["headers"] == {
        "content-type": "application/json",
        "cache-control": "no-store",
        "retry-after": "5",
    }
    assert answer["body"].isascii()  # So that half a surrogate pair cannot break the response.
    assert json.loads(answer["body"]) == {"name": "አበበ"}


def leaves(error: type[PaymentsError] = PaymentsError) -> set[type[PaymentsError]]:
    below = error.__subclasses__()
    return set().union(*map(leaves, below)) if below else {error}


def test_every_error_is_in_the_table_and_in_the_docstring() -> None:
    assert leaves() == set(TABLE)
    every: tuple[type[PaymentsError], ...] = (PaymentsError, ProviderError, *leaves())
    for error in every:
        assert error.__name__ in (errors.__doc__ or "")


CONTRACT = {
    "invalid_request": 400,
    "provider_rejected": 400,
    "bad_signature": 401,
    "no_subject": 403,
    "order_not_found": 404,
    "payment_not_found": 404,
    "refund_not_found": 404,
    "out_of_stock": 409,
    "order_not_payable": 409,
    "payment_in_progress": 409,
    "order_paid": 409,
    "order_in_review": 409,
    "refund_too_large": 409,
    "refund_key_used": 409,
    "not_resolvable": 409,
    "unknown_sku": 422,
    "mixed_currency": 422,
    "idempotency_mismatch": 422,
    "order_empty": 422,
    "internal_error": 500,
    "catalogue_error": 500,
    "provider_error": 502,
    "provider_unavailable": 503,
    "not_deferred": 503,
    "unavailable": 503,
    "busy": 503,
    "provider_timeout": 504,
}


def test_codes_are_unique_and_those_of_the_contract() -> None:
    assert {answer.code: answer.status for answer in TABLE.values()} == CONTRACT
    assert len(TABLE) == len(CONTRACT)


def answered(error: Exception | None = None) -> Response:
    @handler
    def function(event: Event, context: LambdaContext) -> Response:
        if error is not None:
            raise error
        return respond(200, {"fine": True})

    return function({}, LambdaContext())


@pytest.mark.parametrize("error", TABLE, ids=lambda error: error.__name__)
def test_every_error_becomes_a_problem_document_and_one_log_line(
    log: io.StringIO, counted: dict[str, Any], error: type[PaymentsError]
) -> None:
    answer = TABLE[error]
    response = answered(error("HTTP 401: our API key", order_id="an-order"))
    assert response["statusCode"] == answer.status
    assert response["headers"]["content-type"] == "application/problem+json"
    assert response["headers"]["cache-control"] == "no-store"
    assert "retry-after" not in response["headers"]
    body = document(response)
    detail = body.pop("detail")
    assert detail
    assert body == {
        "type": f"urn:chapa-payments:{answer.code}",
        "title": answer.title,
        "status": answer.status,
        "code": answer.code,
        "order_id": "an-order",
    }
    # The reason of a provider's error is for the operator only.
    assert (detail == "HTTP 401: our API key") is not issubclass(error, ProviderError)
    if issubclass(error, ProviderError) and error is not ProviderRejected:
        assert "do not place another" in detail
    assert set(counted) == {f"Answered{answer.status}"}
    [line] = lines(log)
    assert (line["message"], line["order_id"]) == (answer.code, "an-order")
    assert line["level"] == ("ERROR" if answer.status >= 500 else "INFO")

    again = problem(error("Why.", retry_after=7))
    assert again["headers"]["retry-after"] == "7"
    assert document(again)["retry_after"] == 7


def test_error_can_have_members_of_its_own() -> None:
    assert document(problem(OutOfStock("Gone.", skus=["MUG"])))["skus"] == ["MUG"]


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        *((message, message) for message in ("Invalid currency", ["required"], None, "አልተፈቀደም")),
        ({"email": ["validation.email"]}, {"email": ["validation.email"]}),
        ({"amount": [Decimal("0.5")]}, {"amount": ["0.5"]}),
    ],
)
def test_words_of_chapa_are_passed_on(message: object, shown: object) -> None:
    response = problem(ProviderRejected("refused", provider_message=message))
    assert document(response)["provider_message"] == shown


def test_success_is_passed_on_and_counted(log: io.StringIO, counted: dict[str, Any]) -> None:
    assert answered() == respond(200, {"fine": True})
    assert set(counted) == {"Answered200"}
    assert not lines(log)


def test_log_has_the_reason_of_an_error_but_not_the_words_of_chapa(log: io.StringIO) -> None:
    answered(ProviderUnavailable("connection refused", provider_message=SECRET))
    answered(CatalogueError("Product MUG: `name` is missing or wrong.", sku="MUG"))
    assert [line["detail"] for line in lines(log)] == [
        "connection refused",
        "Product MUG: `name` is missing or wrong.",
    ]
    assert SECRET not in log.getvalue()


def test_bug_is_logged_once_and_not_shown(log: io.StringIO, counted: dict[str, Any]) -> None:
    response = answered(ZeroDivisionError("deep inside"))
    assert response["statusCode"] == 500
    assert document(response)["code"] == "internal_error"
    for secret in ("deep inside", "ZeroDivisionError", "Traceback", ".py"):
        assert secret not in response["body"]
    [bug] = lines(log)
    assert bug["level"] == "ERROR"
    assert "deep inside" in bug["exception"]
    assert set(counted) == {"InternalError", "Answered500"}


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (
            ClientError(
                {"Error": {"Code": "ThrottlingException", "Message": SECRET}}, "TransactWriteItems"
            ),
            "TransactWriteItems: ThrottlingException",
        ),
        (ReadTimeoutError(endpoint_url=f"https://{SECRET}"), "ReadTimeoutError"),
    ],
    ids=["throttled", "timeout"],
)
def test_client_may_try_again_when_aws_does_not_answer(
    log: io.StringIO, counted: dict[str, Any], error: Exception, kind: str
) -> None:
    response = answered(error)
    assert response["statusCode"] == 503
    assert document(response)["code"] == "unavailable"
    assert response["headers"]["retry-after"] == "1"
    assert SECRET not in response["body"] + log.getvalue()
    assert [(line["level"], line["kind"]) for line in lines(log)] == [("ERROR", kind)]
    assert set(counted) == {"DependencyFailed", "Answered503"}


def test_wrong_setting_is_named_in_the_log_only(log: io.StringIO, counted: dict[str, Any]) -> None:
    response = answered(ConfigurationError("SECRET_ID: cannot be read"))
    assert response["statusCode"] == 500
    assert document(response)["code"] == "internal_error"
    assert "SECRET_ID" not in response["body"]
    [critical] = lines(log)
    assert critical["level"] == "CRITICAL"
    assert "SECRET_ID" in critical["reason"]
    assert set(counted) == {"InternalError", "Answered500"}
