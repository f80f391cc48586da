"""From a cause to the topic, and all alarms from their metrics to the topic, on the local AWS."""

import json
import re
from typing import Any

from sandbox.client import until
from tests.alarms import NAMESPACE, datapoints
from tests.journeys.shop import DeployedShop
from tests.template import resources


def test_cause_fires_its_alarm_and_the_topic_sends_it_with_its_section(shop: DeployedShop) -> None:
    [topic] = shop.aws("sns").list_topics()["Topics"]
    messages = queue_behind(shop, topic["TopicArn"])
    _, tx_ref = shop.begun(shop.product())
    shop.chapa.pay(tx_ref, amount="900.00", webhook=False)
    before = shop.counted("PaymentReview")
    assert shop.notify(json.dumps({"tx_ref": tx_ref}).encode()).body == {"outcome": "applied"}
    until(lambda: shop.counted("PaymentReview"), lambda n: n > before, "it is in the log")

    store_metrics(shop)
    alarm = state_of(shop, "PaymentReview")
    assert alarm["StateValue"] == "ALARM"
    assert alarm["AlarmActions"] == [topic["TopicArn"]]
    [message] = received(shop, messages, {alarm["AlarmName"]})
    assert message["NewStateValue"] == "ALARM"
    assert message["AlarmDescription"].endswith("See docs/runbook.md#paymentreview")


def test_each_alarm_of_the_deployed_stack_fires_on_its_metric_and_reaches_the_topic(
    shop: DeployedShop,
) -> None:
    [topic] = shop.aws("sns").list_topics()["Topics"]
    messages = queue_behind(shop, topic["TopicArn"])
    alarms = deployed(shop)
    assert len(alarms) == len(resources("AWS::CloudWatch::Alarm"))
    quiet = {alarm["AlarmName"] for alarm in alarms if alarm["StateValue"] != "ALARM"}
    for alarm in alarms:
        below = alarm["ComparisonOperator"] == "LessThanThreshold"
        point = {
            "MetricName": alarm["MetricName"],
            "Dimensions": alarm["Dimensions"],
            "Value": alarm["Threshold"] - below,
        }
        shop.aws("cloudwatch").put_metric_data(Namespace=alarm["Namespace"], MetricData=[point])
    assert [alarm["AlarmName"] for alarm in deployed(shop) if alarm["StateValue"] != "ALARM"] == []
    received(shop, messages, quiet)


def test_dashboard_of_the_deployed_stack_names_its_functions_queues_and_api(
    shop: DeployedShop,
) -> None:
    [found] = shop.aws("cloudwatch").list_dashboards()["DashboardEntries"]
    body = shop.aws("cloudwatch").get_dashboard(DashboardName=found["DashboardName"])
    shown = json.loads(body["DashboardBody"])
    assert all(name in str(shown) for name in (*shop.stack["functions"].values(), "sandbox"))
    assert not re.search(r"'Ref'|Fn::|\$\{", str(shown))


def received(shop: DeployedShop, queue: str, names: set[str]) -> list[dict[str, Any]]:
    """What the topic sent about these alarms, when there is something about each."""
    sent: list[dict[str, Any]] = []

    def receive() -> list[dict[str, Any]]:
        answer = shop.aws("sqs").receive_message(
            QueueUrl=queue, MaxNumberOfMessages=10, WaitTimeSeconds=1
        )
        sent.extend(
            json.loads(json.loads(m["Body"])["Message"]) for m in answer.get("Messages", [])
        )
        return [each for each in sent if each["AlarmName"] in names]

    def complete(found: list[dict[str, Any]]) -> bool:
        return {each["AlarmName"] for each in found} == names

    return until(receive, complete, "the topic has sent each")


def queue_behind(shop: DeployedShop, topic_arn: str) -> str:
    sqs = shop.aws("sqs")
    url = str(sqs.create_queue(QueueName="alarms")["QueueUrl"])
    attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "sns.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": attributes["QueueArn"],
        "Condition": {"ArnEquals": {"aws:SourceArn": topic_arn}},
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy})
    shop.aws("sns").subscribe(TopicArn=topic_arn, Protocol="sqs", Endpoint=attributes["QueueArn"])
    return url


def store_metrics(shop: DeployedShop) -> None:
    """As CloudWatch does it with the metrics in logs; the local one leaves them there."""
    printed = "\n".join(line for _, line in shop.logs.lines('"_aws"'))
    stack = {"Name": "service", "Value": "chapa-payments"}
    shop.aws("cloudwatch").put_metric_data(
        Namespace=NAMESPACE,
        MetricData=[
            {"MetricName": point.metric, "Dimensions": [stack], "Value": point.value}
            for point in datapoints(printed, 0)
            if point.metric == "PaymentReview"
        ],
    )


def state_of(shop: DeployedShop, name: str) -> dict[str, Any]:
    [found] = [alarm for alarm in deployed(shop) if f"-{name}Alarm-" in alarm["AlarmName"]]
    return found


def deployed(shop: DeployedShop) -> list[dict[str, Any]]:
    pages = shop.aws("cloudwatch").get_paginator("describe_alarms").paginate()
    return [alarm for page in pages for alarm in page["MetricAlarms"]]
