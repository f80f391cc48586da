"""Is a stack healthy, and is it well configured? Reads only."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from enum import Enum
from itertools import batched, islice
from typing import Any

import boto3
import requests
import typer
from botocore.exceptions import BotoCoreError, ClientError

from operators.cli import REFUSED, Session, answer, app
from operators.metrics import counted, sum_of
from operators.secret import DAY_SECONDS
from operators.secret import read as read_secret
from operators.stack import Stack, is_local
from payments.aws.items import CATALOGUE_LIST, OWED_LIST, REVIEW_LIST, UNANSWERED_LIST
from payments.domain.answers import Said
from payments.domain.ids import new_order_id, new_tx_ref
from payments.domain.records import Payment
from payments.errors import ConfigurationError, PaymentsError, Unavailable

ENOUGH_CONCURRENCY = 100
"""A new account may have 10, which a few customers at once use up (docs.aws.amazon.com/lambda/
latest/dg/gettingstarted-limits.html)."""

SKEW_SECONDS = 30
LATE_SECONDS = 900
MANY = 100
SECONDS = 10.0


class Verdict(Enum):
    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"
    NOT_CHECKED = "not checked"


@dataclass(frozen=True)
class Line:
    verdict: Verdict
    found: str
    what_to_do: str = ""


def ok(found: str) -> Line:
    return Line(Verdict.OK, found)


def warning(found: str, what_to_do: str) -> Line:
    return Line(Verdict.WARNING, found, what_to_do)


def problem(found: str, what_to_do: str) -> Line:
    return Line(Verdict.PROBLEM, found, what_to_do)


def not_checked(why: str) -> Line:
    return Line(Verdict.NOT_CHECKED, why)


@app.command(epilog="Example: ./operate doctor")
def doctor() -> None:
    """Check whether the stack is healthy and well configured. Changes nothing.

    Ends with 1 if there is a problem; a warning is no problem.
    """
    stack = Session.stack
    stack.backend  # noqa: B018 - a stack that is missing is one sentence, not one for each check
    rows = [
        {
            "check": name,
            "result": line.verdict.value,
            "found": line.found,
            "what_to_do": line.what_to_do,
        }
        for name, check in CHECKS.items()
        for line in _lines(check, stack)
    ]
    answer(rows)
    if any(row["result"] == Verdict.PROBLEM.value for row in rows):
        raise typer.Exit(REFUSED)


type Check = Callable[[Stack], Iterator[Line]]


def _lines(check: Check, stack: Stack) -> list[Line]:
    """What cannot be asked is one line, and the other checks go on."""
    try:
        return list(check(stack))
    except ClientError as error:
        return [not_checked(f"{error.operation_name}: {error.response['Error'].get('Code')}")]
    except ConfigurationError as error:
        return [problem(str(error), "Correct the setting or the secret; see docs/deploy.md.")]
    except (BotoCoreError, PaymentsError, requests.RequestException) as error:
        return [not_checked(type(error).__name__)]


def _secret(stack: Stack) -> Iterator[Line]:
    try:
        secret = stack.backend.secrets.current()
    except Unavailable as error:
        yield problem(error.detail, "Try again; without the secret nobody can pay.")
        return
    yield ok(f"{secret.mode} keys of {', '.join(sorted(secret.api_keys))}")
    if not secret.webhook_secrets:
        what = "Run `./operate rotate-webhook-secret`, and enter what it shows at Chapa."
        yield problem("there is no webhook secret: webhooks are answered 503", what)
    elif {*secret.webhook_secrets} & {*secret.api_keys.values()}:
        what = "Run `./operate rotate-webhook-secret`: the key is known to more people."
        yield problem("the webhook secret is an API key", what)
    elif len(secret.webhook_secrets[0]) < 16:
        yield warning("the webhook secret is short", "Run `./operate rotate-webhook-secret`.")
    else:
        yield ok("the webhook secret is set")
    client = boto3.client("secretsmanager")
    stored = read_secret(client, stack.outputs["SecretArn"])
    if stored.previous:
        used = counted(stack.name, "WebhookPreviousSecret", stack.backend.now)
        hours = (stack.backend.now - stored.since) // 3600
        found = f"a rotation is under way for {hours} hours; {used} webhooks had the old secret"
        over = not used and stack.backend.now - stored.since > DAY_SECONDS
        what = "`./operate rotate-webhook-secret --finish`" if over else "Finish it after a day."
        yield warning(found, what) if over or used else ok(f"{found}. {what}")


ACCEPTED = ("WebhookApplied", "WebhookDuplicate", "WebhookDeferred", "WebhookIgnored")


def _webhooks(stack: Stack) -> Iterator[Line]:
    if is_local():
        yield not_checked("the local AWS makes no metrics of log lines")
        return

    def day(*names: str) -> int:
        return sum(counted(stack.name, name, stack.backend.now) for name in names)

    accepted, refused, paid = day(*ACCEPTED), day("BadSignature"), day("PaymentSucceeded")
    found = f"in the last day {accepted} accepted, {refused} refused, {paid} payments paid"
    url = stack.outputs.get("WebhookUrl", "")
    if accepted:
        yield ok(found)
    elif refused:
        what = "Compare the secret hash on Chapa's dashboard, or rotate the webhook secret."
        yield problem(found, what)
    elif paid:
        yield problem(found, f"Enter {url} as the webhook URL on Chapa's dashboard.")
    else:
        what = f"Fine if nobody paid. Otherwise see that Chapa's dashboard has {url}."
        yield warning(found, what)


def _address(stack: Stack) -> Iterator[Line]:
    settings, url = stack.backend.settings, stack.outputs.get("WebhookUrl", "")
    code = requests.get(url, timeout=SECONDS, allow_redirects=False).status_code
    if code == 202:
        yield ok(f"{url} answers")
    else:
        what = "Chapa must reach it: check CallbackUrl, the domain and its certificate."
        yield problem(f"{url} answers {code} instead of 202", what)
    live = stack.backend.secrets.current().mode == "live"
    if "*" in settings.checkout_hosts:
        found = "customers may be sent to a checkout page of any host"
        what = "Set CheckoutHosts to the hosts of Chapa."
        yield problem(found, what) if live else warning(found, what)
    if live and not url.startswith("https://"):
        yield problem(f"{url} is not https", "Set CallbackUrl to an https URL.")
    if "?" in settings.return_url:
        what = "Choose a ReturnUrl without a query: Chapa's v2 may change it."
        yield warning("ReturnUrl has a query", what)


def _chapa(stack: Stack) -> Iterator[Line]:
    backend = stack.backend
    provider = backend.current_provider()
    tx_ref = new_tx_ref(new_order_id(os.urandom), os.urandom)
    said = provider.verify(Payment(tx_ref, provider.name, 100, "ETB", backend.now), SECONDS).said
    if said is Said.NOT_PAID:
        yield ok(f"{provider.name} answers and takes the key")
    else:
        what = "Read the line above it on standard error; check the key and Chapa's status page."
        yield problem(f"{provider.name} says {said.value} of a payment that is not", what)


def _schedule(stack: Stack) -> Iterator[Line]:
    name, now = stack.outputs["ExpireFunctionName"], stack.backend.now
    runs = sum_of("AWS/Lambda", "Invocations", {"FunctionName": name}, now, 0.25)
    if runs is None:
        lines = boto3.client("logs").filter_log_events(
            logGroupName=f"/aws/lambda/{stack.name}/expire",
            startTime=(now - LATE_SECONDS) * 1000,
            limit=MANY,
        )
        runs = len(lines["events"])
    if runs:
        yield ok("the sweep has run in the last quarter of an hour")
    else:
        what = "Check the schedule in EventBridge and the log of the expire function."
        yield problem("the sweep has not run for a quarter of an hour", what)


def _work(stack: Stack) -> Iterator[Line]:
    backend = stack.backend
    dead = boto3.client("sqs").get_queue_attributes(
        QueueUrl=stack.outputs["DeadLetterQueueUrl"],
        AttributeNames=["ApproximateNumberOfMessages"],
    )["Attributes"]["ApproximateNumberOfMessages"]
    if int(dead):
        what = "Find the cause in the log of reconcile, then `./operate redrive`."
        yield problem(f"{dead} dead letters", what)
    else:
        yield ok("no dead letters")
    late = len(list(islice(backend.repository.due(backend.now - LATE_SECONDS), MANY)))
    if late:
        what = "Check the schedule, the queue and the log of reconcile."
        yield problem(f"{_at_least(late)} orders are due for a quarter of an hour or longer", what)
    else:
        yield ok("no order waits for a check longer than it should")
    events = len(list(islice(backend.repository.overdue_events(backend.now), MANY)))
    if events:
        found = f"events of {_at_least(events)} changes are not published"
        yield problem(found, "Read the log of publish.")


def _at_least(number: int) -> str:
    return f"{number} or more" if number == MANY else str(number)


def _people(stack: Stack) -> Iterator[Line]:
    for name, status in (
        (REVIEW_LIST, "review"),
        (OWED_LIST, "owed"),
        (UNANSWERED_LIST, "unanswered"),
    ):
        number = len(list(stack.backend.lists.listed(name, MANY)))
        found = f"{_at_least(number)} payments and refunds: {status}"
        if number and status != "owed":
            yield warning(found, f"`./operate list --status {status}`")
        else:
            yield ok(found)


def alarm_names(stack: Stack) -> list[str]:
    pages = boto3.client("cloudformation").get_paginator("list_stack_resources")
    return [
        resource["PhysicalResourceId"]
        for page in pages.paginate(StackName=stack.name)
        for resource in page["StackResourceSummaries"]
        if resource["ResourceType"] == "AWS::CloudWatch::Alarm"
    ]


def _alarms(stack: Stack) -> Iterator[Line]:
    names = alarm_names(stack)
    cloudwatch: Any = boto3.client("cloudwatch")
    alarms = [
        alarm
        for some in batched(names, 100, strict=False)
        for alarm in cloudwatch.describe_alarms(AlarmNames=list(some))["MetricAlarms"]
    ]
    if firing := sorted(a["AlarmName"] for a in alarms if a["StateValue"] == "ALARM"):
        yield problem(f"firing: {', '.join(firing)}", "The alarm's description says what to do.")
    else:
        yield ok(f"none of {len(alarms)} alarms fires")
    topics = {action for alarm in alarms for action in alarm["AlarmActions"] if ":sns:" in action}
    if not topics or any(not alarm["AlarmActions"] for alarm in alarms):
        yield problem("alarms reach nobody", "Deploy with an alarm topic or an e-mail address.")
    for topic in sorted(topics):
        yield _subscribers(topic)


def _subscribers(topic: str) -> Line:
    sns: Any = boto3.client("sns")
    pages = sns.get_paginator("list_subscriptions_by_topic").paginate(TopicArn=topic)
    found = [each for page in pages for each in page["Subscriptions"]]
    confirmed = [each for each in found if each["SubscriptionArn"].startswith("arn:")]
    if confirmed:
        return ok(f"alarms reach {len(confirmed)} subscribers")
    if found:
        return problem("no subscription is confirmed", "Follow the link in the e-mail of AWS.")
    return problem(f"{topic} has no subscriber", "Subscribe an address that people read.")


def _account(stack: Stack) -> Iterator[Line]:  # noqa: ARG001
    limit = boto3.client("lambda").get_account_settings()["AccountLimit"]["ConcurrentExecutions"]
    found = f"{limit} functions may run at once in this account and region"
    if limit < ENOUGH_CONCURRENCY:
        what = "Ask AWS for more: Service Quotas, AWS Lambda, Concurrent executions."
        yield warning(found, what)
    else:
        yield ok(found)


def _clock(stack: Stack) -> Iterator[Line]:
    headers = boto3.client("sts").get_caller_identity()["ResponseMetadata"]["HTTPHeaders"]
    if "date" not in headers:
        yield not_checked("AWS did not say its time")
        return
    skew = stack.backend.clock() - parsedate_to_datetime(headers["date"]).timestamp()
    if abs(skew) > SKEW_SECONDS:
        what = "Set the clock of this machine: AWS refuses requests that differ by five minutes."
        yield warning(f"this machine's clock differs by {skew:.0f} s", what)
    else:
        yield ok("this machine's clock is right")


def _table(stack: Stack) -> Iterator[Line]:
    client, name = boto3.client("dynamodb"), stack.outputs["TableName"]
    kept = client.describe_continuous_backups(TableName=name)["ContinuousBackupsDescription"]
    pitr = kept.get("PointInTimeRecoveryDescription", {}).get("PointInTimeRecoveryStatus")
    if is_local():
        yield not_checked("the local AWS does not apply what the template says of recovery")
    elif pitr == "ENABLED":
        yield ok("the table can be restored to any second of the last weeks")
    else:
        yield problem("point-in-time recovery is off", "Deploy the stack again, or switch it on.")
    if client.describe_table(TableName=name)["Table"].get("DeletionProtectionEnabled"):
        yield ok("the table refuses to be deleted")
    else:
        what = "Deploy with DeletionProtection=true before customers come."
        yield warning("the table can be deleted", what)
    if next(iter(stack.backend.lists.listed(CATALOGUE_LIST, 1)), None) is None:
        yield warning("the catalogue is empty", "`./operate catalogue load FILE`")


CHECKS: dict[str, Check] = {
    "secret": _secret,
    "webhooks": _webhooks,
    "addresses": _address,
    "Chapa": _chapa,
    "schedule": _schedule,
    "work": _work,
    "people": _people,
    "alarms": _alarms,
    "table": _table,
    "account": _account,
    "clock": _clock,
}
