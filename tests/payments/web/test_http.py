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
    PaymentsError,
    ProviderError,
    ProviderRejected,
    ProviderUnavailable,
    Unavailable,
)
from payments.telemetry import metrics
from payments.web.bodies import parse
from payments.web.http import (
    MAX_BODY,
    Event,
    Response,
    handler,
    header,
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
BODIES: list[str | bytes] = [
    "",
    SECRET,
    f'{{"name": "{SECRET}',
    b'{"name": "\xff", "quantity": 1}',
    "null",
    f'"{SECRET}"',
]
BODIES += [GOOD.encode("utf-16"), r'{"name": "\ud800", "quantity": 1}', f'["{SECRET}"]']
BODIES += ["[" * 30_000 + "]" * 30_000, f"{GOOD} {SECRET}"]
QUANTITIES = [f'"{SECRET}"', '"2"', "true", "1.5", "NaN", "Infinity", "1e999", "0"]
PART = f'{{"name": "mug", "quantity": 1, "parts": [{{"name": ["{SECRET}"], "quantity": 1}}]}}'
PARTS = json.dumps({"name": "mug", "quantity": 1, "parts": [{}] * 1_000})
WRONG: list[tuple[str | bytes, list[str]]] = [
    *((body, ["body"]) for body in BODIES),
    *((f'{{"name": "mug", "quantity": {value}}}', ["quantity"]) for value in QUANTITIES),
    ("{}", ["name", "quantity"]),
    ('{"name": 5, "quantity": 1}', ["name"]),
    (f'{{"name": "{SECRET * 2}", "quantity": 1}}', ["name"]),
    (f'{{"name": "mug", "quantity": 1, "price": "{SECRET}"}}', ["price"]),
    (f'{{"name": "mug", "quantity": 1, "{"p" * 1_000}": "{SECRET}"}}', ["p" * 100]),
    (PART, ["parts.0.name"]),
    (PARTS, [f"parts.{number}.{name}" for number in range(10) for name in ("name", "quantity")]),
]


@pytest.mark.parametrize(("body", "wrong"), WRONG, ids=range(len(WRONG)))
def test_each_wrong_field_is_named_and_no_value_is_repeated(
    body: str | bytes, wrong: list[str]
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse(Thing, body.encode() if isinstance(body, str) else body)
    assert [error["field"] for error in caught.value.members["errors"]] == wrong
    assert SECRET not in problem(caught.value)["body"]
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_good_body_is_parsed() -> None:
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
    assert answer["headers"].pop("content-type") == "application/json"
    assert answer["headers"] == {"cache-control": "no-store", "retry-after": "5"}
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
    400: "invalid_request provider_rejected",
    401: "bad_signature",
    403: "no_subject",
    404: "order_not_found payment_not_found refund_not_found",
    409: "out_of_stock order_not_payable payment_in_progress order_paid order_in_review"
    " refund_too_large refund_key_used not_resolvable too_many_unpaid_orders",
    422: "unknown_sku mixed_currency idempotency_mismatch order_empty",
    500: "internal_error catalogue_error",
    502: "provider_error",
    503: "provider_unavailable not_deferred unavailable busy",
    504: "provider_timeout",
}


def test_codes_are_unique_and_those_of_the_contract() -> None:
    contract = [(code, status) for status, codes in CONTRACT.items() for code in codes.split()]
    assert sorted((known.code, known.status) for known in TABLE.values()) == sorted(contract)


CUSTOMER = {"requestContext": {"authorizer": {"jwt": {"claims": {"sub": "abebe"}}}}}


def answered(error: Exception | None = None, event: Event = CUSTOMER) -> Response:
    @handler
    def function(event: Event, context: LambdaContext) -> Response:
        if error is not None:
            raise error
        return respond(200, {"fine": True})

    return function(event, LambdaContext())


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
    ours = {"InternalError"} if answer.status == 500 else set()
    assert set(counted) == {f"Answered{answer.status}"} | ours
    [line] = lines(log)
    assert (line["message"], line["order_id"]) == (answer.code, "an-order")
    assert line["level"] == ("ERROR" if answer.status >= 500 else "INFO")

    again = problem(error("Why.", retry_after=7, skus=["MUG"]))
    assert again["headers"]["retry-after"] == "7"
    assert (document(again)["retry_after"], document(again)["skus"]) == (7, ["MUG"])


def test_refused_request_of_a_stranger_is_counted_and_not_logged(
    log: io.StringIO, counted: dict[str, Any]
) -> None:
    answered(InvalidRequest("Why."), {"requestContext": {"http": {}}})
    assert (log.getvalue(), set(counted)) == ("", {"Answered400"})
    answered(Unavailable("Why."), {"requestContext": {"http": {}}})
    assert [line["message"] for line in lines(log)] == ["unavailable"]


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


def throttled() -> ClientError:
    error: Any = {"Error": {"Code": "ThrottlingException", "Message": SECRET}}
    return ClientError(error, "TransactWriteItems")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (throttled(), "TransactWriteItems: ThrottlingException"),
        (ReadTimeoutError(endpoint_url=f"https://{SECRET}"), "ReadTimeoutError"),
    ],
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
