import base64
import io
import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from aws_lambda_powertools.utilities.typing import LambdaContext
from botocore.exceptions import BotoCoreError, ClientError, ReadTimeoutError
from pydantic import BaseModel, ConfigDict, Field

from payments import errors
from payments.errors import (
    TABLE,
    ConfigurationError,
    InvalidRequest,
    OutOfStock,
    PaymentInProgress,
    PaymentsError,
    ProviderError,
    ProviderRejected,
    ProviderUnavailable,
)
from payments.http import (
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
from payments.telemetry import metrics
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


def test_a_plain_body_is_the_bytes_of_its_text() -> None:
    assert raw_body(http_event("POST", AMHARIC)) == AMHARIC.encode()


def test_a_body_in_base64_is_the_bytes_that_travelled() -> None:
    """API Gateway encodes a body whose content type it does not know as text."""
    encoded = base64.b64encode(b"\xff\x00" + AMHARIC.encode()).decode()

    assert raw_body(http_event("POST", encoded, base64_encoded=True)) == (
        b"\xff\x00" + AMHARIC.encode()
    )


@pytest.mark.parametrize("encoded", [True, False])
@pytest.mark.parametrize("event", [{}, {"body": None}, {"body": ""}])
def test_no_body_is_an_empty_one(event: dict[str, Any], encoded: bool) -> None:
    assert raw_body(event | {"isBase64Encoded": encoded}) == b""


@pytest.mark.parametrize("body", ["{}", "YQ", "YQ==YQ==", "Y Q==", "YQ==\n", "አበበ", "-_-_"])
def test_base64_that_is_none_is_an_invalid_request(body: str) -> None:
    with pytest.raises(InvalidRequest, match="base64"):
        raw_body(http_event("POST", body, base64_encoded=True))


def test_half_a_surrogate_pair_is_no_reason_to_fall_over() -> None:
    assert raw_body({"body": '{"name":"\ud800"}'}).startswith(b'{"name":"')


class Thing(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)

    name: str = Field(max_length=20)
    quantity: int = Field(ge=1)
    parts: list["Thing"] = []


def test_a_good_body_is_parsed() -> None:
    assert parse(Thing, b'{"name": "mug", "quantity": 2}') == Thing(name="mug", quantity=2)


def fields(caught: pytest.ExceptionInfo[InvalidRequest]) -> list[str]:
    return [error["field"] for error in caught.value.members["errors"]]


UNREADABLE = {
    "nothing": b"",
    "text": SECRET.encode(),
    "half of it": f'{{"name": "{SECRET}'.encode(),
    "not UTF-8": b'{"name": "\xff", "quantity": 1}',
    "UTF-16": '{"name": "mug", "quantity": 1}'.encode("utf-16"),
    "half a surrogate pair": rb'{"name": "\ud800", "quantity": 1}',
    "a nested bomb": b"[" * 30_000 + b"]" * 30_000,
    "something after it": f'{{"name": "mug", "quantity": 1}} {SECRET}'.encode(),
}


@pytest.mark.parametrize("body", UNREADABLE.values(), ids=UNREADABLE)
def test_what_is_no_json_is_an_invalid_request(body: bytes) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse(Thing, body)

    assert fields(caught) == ["body"]
    assert SECRET not in json.dumps(caught.value.members)


WRONG = {
    "a list": (f'["{SECRET}"]', ["body"]),
    "null": ("null", ["body"]),
    "a string": (f'"{SECRET}"', ["body"]),
    "nothing in it": ("{}", ["name", "quantity"]),
    "a string for a number": (f'{{"name": "mug", "quantity": "{SECRET}"}}', ["quantity"]),
    "a digit in a string": ('{"name": "mug", "quantity": "2"}', ["quantity"]),
    "a number for a string": ('{"name": 5, "quantity": 1}', ["name"]),
    "a truth for a number": ('{"name": "mug", "quantity": true}', ["quantity"]),
    "a fraction": ('{"name": "mug", "quantity": 1.5}', ["quantity"]),
    "not a number": ('{"name": "mug", "quantity": NaN}', ["quantity"]),
    "infinity": ('{"name": "mug", "quantity": Infinity}', ["quantity"]),
    "a number without end": ('{"name": "mug", "quantity": 1e999}', ["quantity"]),
    "too little": ('{"name": "mug", "quantity": 0}', ["quantity"]),
    "too long": (f'{{"name": "{SECRET * 2}", "quantity": 1}}', ["name"]),
    "an unknown field": (f'{{"name": "mug", "quantity": 1, "price": "{SECRET}"}}', ["price"]),
    "an unknown field of an unreasonable name": (
        f'{{"name": "mug", "quantity": 1, "{"p" * 1_000}": "{SECRET}"}}',
        ["p" * 100],
    ),
    "something deeper": (
        f'{{"name": "mug", "quantity": 1, "parts": [{{"name": ["{SECRET}"], "quantity": 1}}]}}',
        ["parts.0.name"],
    ),
}


@pytest.mark.parametrize(("body", "wrong"), WRONG.values(), ids=WRONG)
def test_each_wrong_field_is_named_and_no_value_is_repeated(body: str, wrong: list[str]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse(Thing, body.encode())

    assert fields(caught) == wrong
    assert SECRET not in problem(caught.value)["body"]
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_a_body_that_is_wrong_everywhere_does_not_get_an_endless_answer() -> None:
    many = json.dumps({"name": "mug", "quantity": 1, "parts": [{}] * 1_000})

    with pytest.raises(InvalidRequest) as caught:
        parse(Thing, many.encode())

    assert len(caught.value.members["errors"]) == 20


def test_a_body_that_is_too_long_is_not_parsed() -> None:
    good = b'{"name": "mug", "quantity": 1}'

    assert parse(Thing, good.rjust(MAX_BODY)).quantity == 1
    with pytest.raises(InvalidRequest, match=str(MAX_BODY)):
        parse(Thing, good.rjust(MAX_BODY + 1))


def test_a_header_is_found_whatever_its_case() -> None:
    event = http_event("POST", headers={"Idempotency-KEY": "key-1"})

    assert header(event, "idempotency-key") == "key-1"
    assert header(event, "another") is None
    assert header({}, "idempotency-key") is None
    assert header({"headers": None}, "idempotency-key") is None


def test_the_authorizer_says_who_asks() -> None:
    assert user_id(http_event("GET", user="almaz")) == "almaz"


def test_an_answer_is_json_that_nobody_keeps() -> None:
    answer = respond(201, {"name": "አበበ"}, retry_after="5")

    assert answer["statusCode"] == 201
    assert answer["headers"] == {
        "content-type": "application/json",
        "cache-control": "no-store",
        "retry-after": "5",
    }
    assert answer["body"].isascii()  # What cannot be encoded must not break the answer.
    assert json.loads(answer["body"]) == {"name": "አበበ"}


def leaves(error: type[PaymentsError] = PaymentsError) -> set[type[PaymentsError]]:
    below = error.__subclasses__()
    return set().union(*map(leaves, below)) if below else {error}


def test_every_error_that_can_be_raised_has_an_answer() -> None:
    assert leaves() == set(TABLE)


def test_the_tree_at_the_top_of_the_module_shows_every_error() -> None:
    every: tuple[type[PaymentsError], ...] = (PaymentsError, ProviderError, *leaves())

    for error in every:
        assert error.__name__ in (errors.__doc__ or "")


def test_each_code_means_one_error() -> None:
    assert len({answer.code for answer in TABLE.values()}) == len(TABLE)


CONTRACT = {
    "invalid_request": 400,
    "provider_rejected": 400,
    "bad_signature": 401,
    "order_not_found": 404,
    "payment_not_found": 404,
    "out_of_stock": 409,
    "order_not_payable": 409,
    "payment_in_progress": 409,
    "order_paid": 409,
    "order_in_review": 409,
    "refund_too_large": 409,
    "unknown_sku": 422,
    "mixed_currency": 422,
    "idempotency_mismatch": 422,
    "order_empty": 422,
    "internal_error": 500,
    "provider_error": 502,
    "provider_unavailable": 503,
    "not_deferred": 503,
    "busy": 503,
    "provider_timeout": 504,
}
"""What clients were told."""


def test_the_answers_are_those_of_the_contract() -> None:
    assert {answer.code: answer.status for answer in TABLE.values()} == CONTRACT


ERRORS = pytest.mark.parametrize("error", TABLE, ids=lambda error: error.__name__)


@ERRORS
def test_every_error_becomes_a_problem_document(error: type[PaymentsError]) -> None:
    answer = TABLE[error]
    response = problem(error("Why.", order_id="an-order"))

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


@ERRORS
def test_when_to_come_back_is_said_in_header_and_body(error: type[PaymentsError]) -> None:
    response = problem(error("Why.", retry_after=7))

    assert response["headers"]["retry-after"] == "7"
    assert document(response)["retry_after"] == 7


@ERRORS
def test_a_customer_never_reads_the_reason_of_a_provider_error(error: type[PaymentsError]) -> None:
    detail = document(problem(error("HTTP 401: our API key")))["detail"]

    assert (detail == "HTTP 401: our API key") is not issubclass(error, ProviderError)


@pytest.mark.parametrize(
    "error", [error for error in TABLE if error in leaves(ProviderError) - {ProviderRejected}]
)
def test_no_text_invites_a_customer_to_pay_twice(error: type[PaymentsError]) -> None:
    assert "do not place another" in document(problem(error("reason")))["detail"]


def test_an_error_can_bring_members_of_its_own() -> None:
    assert document(problem(OutOfStock("Gone.", skus=["MUG"])))["skus"] == ["MUG"]


PROVIDER_SAYS = [
    "Invalid currency",
    {"email": ["validation.email"]},
    ["validation.required"],
    None,
    "አልተፈቀደም",
]


@pytest.mark.parametrize("message", PROVIDER_SAYS)
def test_the_providers_own_words_are_handed_on(message: object) -> None:
    response = problem(ProviderRejected("refused", provider_message=message))

    assert document(response)["provider_message"] == message


def test_a_number_among_the_providers_words_does_not_break_the_answer() -> None:
    message = {"amount": [Decimal("0.5")]}

    assert document(problem(ProviderRejected("refused", provider_message=message)))[
        "provider_message"
    ] == {"amount": ["0.5"]}


def answered(error: Exception | None = None) -> Response:
    @handler
    def function(event: Event, context: LambdaContext) -> Response:
        if error is not None:
            raise error
        return respond(200, {"fine": True})

    return function({}, LambdaContext())


def test_what_went_well_is_passed_on_and_counted(log: io.StringIO, counted: dict[str, Any]) -> None:
    assert answered() == respond(200, {"fine": True})
    assert set(counted) == {"Answered200"}
    assert not lines(log)


@ERRORS
def test_an_error_of_ours_is_answered_counted_and_told_once(
    log: io.StringIO, counted: dict[str, Any], error: type[PaymentsError]
) -> None:
    response = answered(error("Why."))

    assert document(response)["code"] == TABLE[error].code
    assert set(counted) == {f"Answered{TABLE[error].status}"}
    assert len(lines(log)) == 1


def test_the_log_says_why_the_provider_failed_and_for_which_order(log: io.StringIO) -> None:
    answered(ProviderUnavailable("connection refused", order_id="an-order"))

    [line] = lines(log)
    assert line["message"] == "provider_unavailable"
    assert (line["reason"], line["order_id"]) == ("connection refused", "an-order")


def test_a_refusal_is_logged_by_its_code_alone(log: io.StringIO) -> None:
    answered(PaymentInProgress(f"Details for {SECRET}."))

    assert SECRET not in log.getvalue()
    assert lines(log)[0]["code"] == "payment_in_progress"


def test_a_bug_is_logged_once_and_shown_to_nobody(
    log: io.StringIO, counted: dict[str, Any]
) -> None:
    response = answered(ZeroDivisionError("deep inside"))

    assert response["statusCode"] == 500
    assert document(response)["code"] == "internal_error"
    for secret in ("deep inside", "ZeroDivisionError", "Traceback", ".py"):
        assert secret not in response["body"]
    bugs = [line for line in lines(log) if line["level"] == "ERROR"]
    assert len(bugs) == 1
    assert "deep inside" in bugs[0]["exception"]
    assert set(counted) == {"InternalError", "Answered500"}


AWS_ERRORS: list[tuple[ClientError | BotoCoreError, str]] = [
    (
        ClientError(
            {"Error": {"Code": "ThrottlingException", "Message": SECRET}}, "TransactWriteItems"
        ),
        "TransactWriteItems: ThrottlingException",
    ),
    (ReadTimeoutError(endpoint_url=f"https://{SECRET}"), "ReadTimeoutError"),
]


@pytest.mark.parametrize(("error", "kind"), AWS_ERRORS, ids=[kind for _, kind in AWS_ERRORS])
def test_when_aws_does_not_answer_the_client_may_try_again(
    log: io.StringIO, counted: dict[str, Any], error: Exception, kind: str
) -> None:
    response = answered(error)

    assert response["statusCode"] == 503
    assert document(response)["code"] == "busy"
    assert response["headers"]["retry-after"] == "1"
    assert SECRET not in response["body"] + log.getvalue()
    assert [line["kind"] for line in lines(log) if "kind" in line] == [kind]
    assert set(counted) == {"DependencyFailed", "Answered503"}


def test_a_wrong_setting_is_named_to_the_operator_only(
    log: io.StringIO, counted: dict[str, Any]
) -> None:
    response = answered(ConfigurationError("SECRET_ID: cannot be read"))

    assert response["statusCode"] == 500
    assert document(response)["code"] == "internal_error"
    assert "SECRET_ID" not in response["body"]
    [critical] = [line for line in lines(log) if line["level"] == "CRITICAL"]
    assert "SECRET_ID" in critical["reason"]
    assert set(counted) == {"InternalError", "Answered500"}
