"""A cause, its log line, its metric, its alarm and the topic, on the local AWS."""

import json
from typing import Any

from sandbox.client import until
from tests.alarms import NAMESPACE, datapoints
from tests.journeys.shop import DeployedShop


def test_cause_fires_its_alarm_and_the_topic_tells_it_with_its_section(shop: DeployedShop) -> None:
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
    told: list[dict[str, Any]] = []

    def receive() -> list[dict[str, Any]]:
        answer = shop.aws("sqs").receive_message(
            QueueUrl=messages, MaxNumberOfMessages=10, WaitTimeSeconds=1
        )
        told.extend(
            json.loads(json.loads(m["Body"])["Message"]) for m in answer.get("Messages", [])
        )
        return [each for each in told if each["AlarmName"] == alarm["AlarmName"]]

    [message] = until(receive, bool, "the topic has told it")
    assert message["NewStateValue"] == "ALARM"
    assert message["AlarmDescription"].endswith("See docs/runbook.md#paymentreview")


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
    found: list[dict[str, Any]] = [
        alarm
        for page in shop.aws("cloudwatch").get_paginator("describe_alarms").paginate()
        for alarm in page["MetricAlarms"]
        if f"-{name}Alarm-" in alarm["AlarmName"]
    ]
    assert len(found) == 1
    return found[0]
