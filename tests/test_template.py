"""What the deployed stack promises, read from the template that makes it."""

import json
import re
from typing import Any

import pytest

from tests.environment import PUBLISHER, SETTINGS
from tests.shop import TEMPLATE, template

ROOT = TEMPLATE.parent

RESOURCES: dict[str, Any] = template()["Resources"]
PARAMETERS: dict[str, Any] = template()["Parameters"]

TABLE = ["Table", "Arn"]
QUEUE = ["ReconcileQueue", "Arn"]
SECRET = ["ProviderSecret", "Id"]
INDEX = "${Table.Arn}/index/due"

STORY = {"dynamodb:PutItem", "dynamodb:Query", "dynamodb:UpdateItem"}
TOLD = r'\.tell\(\s*"([a-z]+\.[a-z]+)"'
"""An event that the domain tells of."""

READ_SECRET = {"secretsmanager:GetSecretValue"}
SEND = {"sqs:SendMessage"}
READ_STREAM = {
    f"dynamodb:{name}"
    for name in ("DescribeStream", "GetRecords", "GetShardIterator", "ListStreams")
}

ALLOWED: dict[str, list[tuple[set[str], str | list[str]]]] = {
    "Checkout": [(STORY | {"dynamodb:BatchGetItem"}, TABLE), (READ_SECRET, SECRET), (SEND, QUEUE)],
    "Initialize": [(STORY, TABLE), (READ_SECRET, SECRET)],
    "Webhook": [(STORY, TABLE), (READ_SECRET, SECRET), (SEND, QUEUE)],
    "Status": [(STORY, TABLE), (READ_SECRET, SECRET)],
    "Expire": [({"dynamodb:Query"}, INDEX), ({"dynamodb:UpdateItem"}, TABLE), (SEND, QUEUE)],
    "Reconcile": [
        (STORY, TABLE),
        (READ_SECRET, SECRET),
        ({"sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage"}, QUEUE),
    ],
    "Publish": [
        (READ_STREAM, ["Table", "StreamArn"]),
        ({"events:PutEvents"}, ["EventBus", "Arn"]),
        ({"dynamodb:UpdateItem"}, TABLE),
        (SEND, ["UnpublishedQueue", "Arn"]),
    ],
}

ROUTES = {
    "POST /orders": ("Checkout", "JWT"),
    "POST /orders/{order_id}/cancel": ("Checkout", "JWT"),
    "GET /orders/{order_id}": ("Status", "JWT"),
    "POST /payments": ("Initialize", "JWT"),
    "GET /payments/{tx_ref}": ("Status", "JWT"),
    "POST /webhooks/chapa": ("Webhook", "NONE"),
    "GET /webhooks/chapa": ("Webhook", "NONE"),
}


def properties(name: str) -> dict[str, Any]:
    found: dict[str, Any] = RESOURCES[name]["Properties"]
    return found


def of_type(kind: str) -> dict[str, dict[str, Any]]:
    return {name: r["Properties"] for name, r in RESOURCES.items() if r["Type"] == kind}


def timeout(function: str) -> int:
    default = template()["Globals"]["Function"]["Timeout"]
    return int(properties(f"{function}Function").get("Timeout", default))


def test_there_are_these_functions_and_no_others() -> None:
    assert of_type("AWS::Serverless::Function").keys() == {f"{name}Function" for name in ALLOWED}


@pytest.mark.parametrize("function", ALLOWED)
def test_a_function_may_do_what_it_needs_and_no_more(function: str) -> None:
    statements = [
        (set(statement["Action"]), statement["Resource"])
        for policy in properties(f"{function}Function")["Policies"]
        for statement in policy["Statement"]
    ]
    allowed = [
        (actions, {"Fn::Sub" if isinstance(where, str) else "Fn::GetAtt": where})
        for actions, where in ALLOWED[function]
    ]
    assert statements == allowed


def test_no_permission_is_for_everything() -> None:
    for name, function in of_type("AWS::Serverless::Function").items():
        for policy in function["Policies"]:
            for statement in policy["Statement"]:
                assert statement["Effect"] == "Allow"
                assert "*" not in json.dumps(statement), name


def test_no_event_brings_a_policy_of_its_own() -> None:
    """SAM adds one that reads every queue of the account to a function with an SQS event."""
    kinds = {
        event["Type"]
        for function in of_type("AWS::Serverless::Function").values()
        for event in function.get("Events", {}).values()
    }
    assert kinds == {"ScheduleV2"}


def test_every_route_leads_to_its_function_behind_its_guard() -> None:
    routes = {}
    for route in of_type("AWS::ApiGatewayV2::Route").values():
        integration = re.fullmatch(r"integrations/\$\{(\w+)\}", route["Target"]["Fn::Sub"])
        assert integration
        function, attribute = properties(integration[1])["IntegrationUri"]["Fn::GetAtt"]
        assert attribute == "Arn"
        guard = route["AuthorizationType"]
        assert (guard == "JWT") == (route.get("AuthorizerId") == {"Ref": "JwtAuthorizer"})
        routes[route["RouteKey"]] = (function.removesuffix("Function"), guard)
    assert routes == ROUTES


def test_the_api_may_call_each_function_that_a_route_leads_to() -> None:
    callable_ = {p["FunctionName"]["Ref"] for p in of_type("AWS::Lambda::Permission").values()}
    assert callable_ == {f"{function}Function" for function, _ in ROUTES.values()}
    for permission in of_type("AWS::Lambda::Permission").values():
        assert permission["SourceArn"]["Fn::Sub"].endswith(":${Api}/*")


def test_integrations_speak_the_format_that_the_functions_read() -> None:
    for integration in of_type("AWS::ApiGatewayV2::Integration").values():
        assert integration["PayloadFormatVersion"] == "2.0"
        assert integration["IntegrationType"] == "AWS_PROXY"


def test_a_function_behind_the_api_ends_before_the_api_gives_up() -> None:
    for function, _ in ROUTES.values():
        assert timeout(function) < 30


def test_a_sweep_ends_before_the_next_one_begins() -> None:
    (event,) = properties("ExpireFunction")["Events"].values()
    assert event["Properties"]["ScheduleExpression"] == "rate(1 minute)"
    assert timeout("Expire") < 60


def test_the_table_keeps_what_it_is_given() -> None:
    table = properties("Table")
    assert table["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
    assert table["SSESpecification"] == {"SSEEnabled": True}
    assert table["StreamSpecification"] == {"StreamViewType": "NEW_IMAGE"}
    assert table["BillingMode"] == "PAY_PER_REQUEST"
    assert table["DeletionProtectionEnabled"] == {"Fn::If": ["Protected", True, False]}
    assert PARAMETERS["DeletionProtection"]["Default"] == "true"
    assert RESOURCES["Table"]["UpdateReplacePolicy"] == "Retain"


def test_the_due_index_holds_keys_of_what_is_due() -> None:
    (index,) = properties("Table")["GlobalSecondaryIndexes"]
    assert index["IndexName"] == "due"
    assert [key["AttributeName"] for key in index["KeySchema"]] == ["due_shard", "due_at"]
    assert index["Projection"] == {"ProjectionType": "KEYS_ONLY"}


def test_a_message_comes_again_only_when_its_invocation_is_over() -> None:
    queue = properties("ReconcileQueue")
    assert queue["VisibilityTimeout"] >= 6 * timeout("Reconcile")


def test_poison_ends_in_the_dead_letter_queue_and_rings() -> None:
    redrive = properties("ReconcileQueue")["RedrivePolicy"]
    assert redrive["deadLetterTargetArn"] == {"Fn::GetAtt": ["DeadLetterQueue", "Arn"]}
    assert redrive["maxReceiveCount"] == 5
    dead, live = properties("DeadLetterQueue"), properties("ReconcileQueue")
    assert dead["MessageRetentionPeriod"] > live["MessageRetentionPeriod"]
    alarm = properties("DeadLettersAlarm")
    assert alarm["Dimensions"][0]["Value"] == {"Fn::GetAtt": ["DeadLetterQueue", "QueueName"]}


def test_one_bad_message_does_not_take_its_batch_along() -> None:
    for source in of_type("AWS::Lambda::EventSourceMapping").values():
        assert source["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert properties("ReconcileQueueSource")["EventSourceArn"] == {"Fn::GetAtt": QUEUE}


def test_publishing_reads_the_stream_from_its_beginning_and_never_blocks_it() -> None:
    source = properties("LedgerEventSource")
    assert source["EventSourceArn"] == {"Fn::GetAtt": ["Table", "StreamArn"]}
    assert source["StartingPosition"] == "TRIM_HORIZON"
    assert source["BisectBatchOnFunctionError"] is True
    assert source["MaximumRetryAttempts"] == 10
    assert source["DestinationConfig"] == {
        "OnFailure": {"Destination": {"Fn::GetAtt": ["UnpublishedQueue", "Arn"]}}
    }


def test_the_sweep_does_not_send_again_what_the_stream_may_still_carry() -> None:
    age = properties("LedgerEventSource")["MaximumRecordAgeInSeconds"]
    assert age <= PARAMETERS["RepublishAfterSeconds"]["Default"]


def test_each_stack_has_a_bus_of_its_own() -> None:
    assert properties("EventBus")["Name"] == {"Ref": "AWS::StackName"}
    assert properties("PublishFunction")["Environment"]["Variables"]["BUS_NAME"] == {
        "Ref": "EventBus"
    }
    outputs = template()["Outputs"]
    assert outputs["BusName"]["Value"] == {"Ref": "EventBus"}
    assert outputs["EventBusArn"]["Value"] == {"Fn::GetAtt": ["EventBus", "Arn"]}


def test_queues_are_encrypted() -> None:
    assert all(queue["SqsManagedSseEnabled"] for queue in of_type("AWS::SQS::Queue").values())


def test_every_log_group_forgets() -> None:
    groups = of_type("AWS::Logs::LogGroup")
    assert all(group["RetentionInDays"] == {"Ref": "LogRetentionDays"} for group in groups.values())
    logged = {f["LoggingConfig"]["LogGroup"]["Ref"] for f in functions()}
    assert logged | {"ApiLogs"} == groups.keys()


def functions() -> list[dict[str, Any]]:
    return list(of_type("AWS::Serverless::Function").values())


def test_access_logs_name_neither_people_nor_orders() -> None:
    logged = properties("ApiStage")["AccessLogSettings"]["Format"]
    json.loads(logged)
    for private in ("path", "query", "sourceIp", "identity", "authorizer", "userAgent", "header"):
        assert private not in logged


def test_functions_are_given_each_setting_and_no_secret() -> None:
    given = template()["Globals"]["Function"]["Environment"]["Variables"]
    assert given.keys() >= SETTINGS.keys() - {"POWERTOOLS_SERVICE_NAME"}
    assert given["SECRET_ID"] == {"Fn::GetAtt": SECRET}
    for function in of_type("AWS::Serverless::Function"):
        own = properties(function)["Environment"]["Variables"]
        assert own["POWERTOOLS_SERVICE_NAME"] == function.removesuffix("Function").lower()
        more = PUBLISHER.keys() if function == "PublishFunction" else set()
        assert own.keys() == {"POWERTOOLS_SERVICE_NAME"} | more
    assert not [name for name in given if "KEY" in name or ("SECRET" in name and "_ID" not in name)]


def test_the_secret_is_made_without_a_value_to_guess() -> None:
    made = json.loads(properties("ProviderSecret")["SecretString"])
    assert made == {"api_key": "", "webhook_secret": "", "webhook_secret_previous": ""}


def test_no_parameter_takes_a_secret() -> None:
    assert not [name for name in PARAMETERS if re.search("Secret|Key|Password", name)]


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_parameter_says_what_it_is_for_and_what_it_may_be(name: str) -> None:
    parameter = PARAMETERS[name]
    assert parameter["Description"].endswith(".")
    assert "Default" in parameter
    if parameter["Type"] == "Number":
        assert parameter.keys() & {"MinValue", "AllowedValues"}
        assert parameter.keys() & {"MaxValue", "AllowedValues"}
    elif parameter["Type"] == "String":
        assert parameter.keys() & {"AllowedPattern", "AllowedValues"}


def test_a_user_pool_is_made_only_when_nobody_else_issues_tokens() -> None:
    pools = ("UserPool", "UserPoolClient")
    assert all(RESOURCES[name]["Condition"] == "OwnUserPool" for name in pools)
    issuer = properties("JwtAuthorizer")["JwtConfiguration"]["Issuer"]["Fn::If"]
    assert issuer[0] == "OwnUserPool"
    assert issuer[2] == {"Ref": "JwtIssuer"}


def test_only_operators_add_users() -> None:
    assert properties("UserPool")["AdminCreateUserConfig"] == {"AllowAdminCreateUserOnly": True}


def test_the_layer_is_built_for_the_processor_that_runs_it() -> None:
    layer, metadata = properties("SharedLayer"), RESOURCES["SharedLayer"]["Metadata"]
    assert metadata["BuildArchitecture"] == {"Ref": "Architecture"}
    assert layer["CompatibleArchitectures"] == [{"Ref": "Architecture"}]
    assert template()["Globals"]["Function"]["Architectures"] == [{"Ref": "Architecture"}]


def test_every_function_that_fails_rings() -> None:
    failing = {
        alarm["Dimensions"][0]["Value"]["Ref"]
        for alarm in of_type("AWS::CloudWatch::Alarm").values()
        if alarm["MetricName"] == "Errors"
    }
    assert failing == of_type("AWS::Serverless::Function").keys()


@pytest.mark.parametrize(
    "metric",
    [
        "BadSignature",
        "EventsOverdue",
        "OrderUnanswered",
        "PaymentReversed",
        "PaymentReview",
        "ProviderRefusedKey",
        "RefundReversed",
        "RefundReview",
    ],
)
def test_what_needs_a_person_rings_whichever_function_meets_it(metric: str) -> None:
    (alarm,) = (
        alarm
        for alarm in of_type("AWS::CloudWatch::Alarm").values()
        if alarm["MetricName"] == metric and alarm["Namespace"] == "ChapaPayments"
    )
    stack = {"Ref": "AWS::StackName"}
    assert alarm["Dimensions"] == [{"Name": "service", "Value": stack}]
    given = template()["Globals"]["Function"]["Environment"]["Variables"]
    assert given["METRICS_SERVICE"] == stack
    assert (alarm["Statistic"], alarm["Period"]) == ("Sum", 300)
    assert alarm["Threshold"] == (20 if metric == "BadSignature" else 1)


def test_an_alarm_of_ours_watches_what_is_counted() -> None:
    sources = [f for where in ("functions", "shared") for f in ROOT.glob(f"{where}/*/*.py")]
    code = "".join(path.read_text() for path in sources)
    told = {"".join(map(str.capitalize, name.split("."))) for name in re.findall(TOLD, code)}
    counted = told | set(re.findall(r'count\("(\w+)"', code))
    for alarm in of_type("AWS::CloudWatch::Alarm").values():
        assert alarm["Namespace"] != "ChapaPayments" or alarm["MetricName"] in counted


def test_events_that_are_late_or_given_up_ring() -> None:
    late, given_up = properties("PublishLateAlarm"), properties("UnpublishedAlarm")
    assert late["MetricName"] == "IteratorAge"
    assert late["Dimensions"][0]["Value"] == {"Ref": "PublishFunction"}
    assert given_up["Dimensions"][0]["Value"] == {"Fn::GetAtt": ["UnpublishedQueue", "QueueName"]}


def test_alarms_reach_the_topic_that_is_given() -> None:
    for alarm in of_type("AWS::CloudWatch::Alarm").values():
        condition, actions, otherwise = alarm["AlarmActions"]["Fn::If"]
        assert condition == "AlarmsAreHeard"
        assert actions == [{"Ref": "AlarmTopicArn"}]
        assert otherwise == {"Ref": "AWS::NoValue"}


def test_a_schedule_that_stopped_rings_because_nothing_is_heard_of_it() -> None:
    alarm = properties("SweepStoppedAlarm")
    assert alarm["TreatMissingData"] == "breaching"
    assert alarm["ComparisonOperator"] == "LessThanThreshold"
    assert alarm["Dimensions"] == [{"Name": "FunctionName", "Value": {"Ref": "ExpireFunction"}}]
