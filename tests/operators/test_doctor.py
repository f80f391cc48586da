from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
import requests
from botocore.exceptions import ClientError, EndpointConnectionError

from operators import doctor
from tests.operators.tool import OUTPUTS, Run
from tests.shop import API_KEY, Shop

type Found = Callable[[str], dict[str, list[str]]]


@pytest.fixture
def found(run: Run, monkeypatch: pytest.MonkeyPatch) -> Found:
    """What one check finds, by its result."""

    def found(name: str) -> dict[str, list[str]]:
        monkeypatch.setattr(doctor, "CHECKS", {name: checks[name]})
        result = run("doctor", "--json")
        lines: dict[str, list[str]] = {}
        for row in result.data:
            lines.setdefault(row["result"], []).append(row["found"])
            assert bool(row["what_to_do"]) is (row["result"] in {"warning", "problem"})
        assert result.code == ("problem" in lines)
        return lines

    checks = doctor.CHECKS
    return found


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """How often each metric was counted in the last day."""
    counts: dict[str, int] = {}
    monkeypatch.setattr(doctor, "counted", lambda _stack, name, _now: counts.get(name, 0))
    return counts


@pytest.mark.parametrize(
    ("values", "result", "words"),
    [
        ({"webhook_secret": "x" * 32}, "ok", "is set"),
        ({"webhook_secret": "short"}, "warning", "is short"),
        ({"webhook_secret": ""}, "problem", "no webhook secret"),
        ({"webhook_secret": API_KEY}, "problem", "is an API key"),
        ({"api_key": ""}, "problem", "api_key: missing"),
    ],
)
def test_secret_is_judged(
    shop: Shop, found: Found, values: dict[str, str], result: str, words: str
) -> None:
    shop.set_secret(**values)
    shop.clock.advance(60)
    assert words in str(found("secret")[result])


@pytest.mark.parametrize(
    ("counted", "result"),
    [
        ({"WebhookDuplicate": 1, "BadSignature": 9}, "ok"),
        ({"BadSignature": 1}, "problem"),
        ({"PaymentSucceeded": 1}, "problem"),
        ({}, "warning"),
    ],
)
def test_webhooks_are_judged_by_what_was_counted(
    found: Found, counts: dict[str, int], counted: dict[str, int], result: str
) -> None:
    counts |= counted
    assert found("webhooks").keys() == {result}


def test_work_that_waits_is_a_problem(
    shop: Shop, found: Found, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = boto3.client("sqs").create_queue(QueueName="dead")["QueueUrl"]
    monkeypatch.setitem(OUTPUTS, "DeadLetterQueueUrl", url)
    assert found("work").keys() == {"ok"}
    shop.begun()
    boto3.client("sqs").send_message(QueueUrl=url, MessageBody="x")
    shop.clock.advance(2 * 3600)
    assert found("work")["problem"] == [
        *("1 dead letters", "1 orders are due for a quarter of an hour or longer"),
        "events of 1 changes are not published",
    ]


def test_what_waits_for_a_person_is_a_warning(shop: Shop, found: Found) -> None:
    assert found("people").keys() == {"ok"}
    _, tx_ref = shop.begun()
    shop.control.pay(tx_ref, amount="1.00", webhook=False)
    shop.notify(tx_ref)
    assert found("people")["warning"] == ["1 payments and refunds: review"]


def test_chapa_that_gives_no_usable_answer_is_a_problem(shop: Shop, found: Found) -> None:
    assert found("Chapa").keys() == {"ok"}
    shop.unanswered()
    assert found("Chapa").keys() == {"problem"}


@pytest.mark.parametrize(("code", "result"), [(202, "ok"), (404, "problem")])
def test_webhook_url_must_answer(
    found: Found, monkeypatch: pytest.MonkeyPatch, code: int, result: str
) -> None:
    monkeypatch.setattr(requests, "get", lambda *_, **__: SimpleNamespace(status_code=code))
    assert "answers" in str(found("addresses")[result])


def test_schedule_must_have_run(found: Found, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OUTPUTS, "ExpireFunctionName", "expire")
    boto3.client("logs").create_log_group(logGroupName="/aws/lambda/chapa-payments/expire")
    runs: list[float | None] = [None, 15.0]
    monkeypatch.setattr(doctor, "sum_of", lambda *_: runs.pop(0))
    assert found("schedule").keys() == {"problem"}
    assert found("schedule").keys() == {"ok"}


def test_alarms_must_reach_somebody_and_not_fire(
    found: Found, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert found("alarms").keys() == {"not checked"}
    monkeypatch.setattr(doctor, "alarm_names", lambda _: ["Review"])
    sns: Any = boto3.client("sns")
    cloudwatch: Any = boto3.client("cloudwatch")
    topic = sns.create_topic(Name="alarms")["TopicArn"]

    def put(*actions: str) -> None:
        cloudwatch.put_metric_alarm(
            AlarmName="Review",
            Namespace="ChapaPayments",
            MetricName="PaymentReview",
            Statistic="Sum",
            Period=300,
            EvaluationPeriods=1,
            Threshold=1,
            ComparisonOperator="GreaterThanOrEqualToThreshold",
            AlarmActions=actions,
        )

    put()
    assert found("alarms")["problem"] == ["alarms reach nobody"]
    put(topic)
    assert found("alarms")["problem"] == [f"{topic} has no subscriber"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint="arn:aws:sqs:us-east-1:1:alarms")
    assert found("alarms")["ok"] == ["none of 1 alarms fires", "alarms reach 1 subscribers"]
    cloudwatch.set_alarm_state(AlarmName="Review", StateValue="ALARM", StateReason="a test")
    assert found("alarms")["problem"] == ["firing: Review"]


@pytest.mark.parametrize(
    "error",
    [
        ClientError({"Error": {"Code": "AccessDenied"}}, "DescribeAlarms"),
        EndpointConnectionError(endpoint_url="https://x"),
        requests.ConnectionError("x"),
    ],
)
def test_what_cannot_be_asked_is_one_line_and_no_problem(
    run: Run, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fails(_stack: object) -> Any:
        raise error

    monkeypatch.setattr(doctor, "CHECKS", {"a": fails, "b": lambda _: [doctor.ok("fine")]})
    result = run("doctor", "--json")
    assert result.code == 0
    assert [row["result"] for row in result.data] == ["not checked", "ok"]
