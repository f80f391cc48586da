"""Facts of template.yaml that cfn-lint cannot know and no other test needs."""

import json
import re
import tomllib
from typing import Any

import pytest
from samcli.yamlhelper import yaml_parse

from tests.calls import Reach
from tests.environment import PUBLISHER, SETTINGS
from tests.template import ROOT, attribute, permissions, resources, template, transformed

RESOURCES: dict[str, Any] = template()["Resources"]
PARAMETERS: dict[str, Any] = template()["Parameters"]
GLOBALS: dict[str, Any] = template()["Globals"]["Function"]
VARIABLES = GLOBALS["Environment"]["Variables"]
FUNCTIONS = resources("AWS::Serverless::Function")
ALARMS = resources("AWS::CloudWatch::Alarm")
QUEUES = resources("AWS::SQS::Queue")
NO_VALUE = {"Ref": "AWS::NoValue"}
STACK_NAME = {"Ref": "AWS::StackName"}
SECRETS = ("api_key", "api_key_other", "webhook_secret", "webhook_secret_previous")

SOURCES = {
    "Reconcile": ["sqs: ReceiveMessage DeleteMessage GetQueueAttributes on ReconcileQueue.Arn"],
    "Publish": [
        "dynamodb: DescribeStream GetRecords GetShardIterator ListStreams on Table.StreamArn",
        "sqs: SendMessage on UnpublishedQueue.Arn",
    ],
}
"""What Lambda itself does with the rights of a function that a queue or a stream calls."""
ON = {
    "dynamodb": "Table.Arn",
    "events": "EventBus.Arn",
    "secretsmanager": "ProviderSecret.Id",
    "sqs": "ReconcileQueue.Arn",
}
ROUTES = {
    "Orders": ["POST /orders", "POST /orders/{order_id}/cancel"],
    "Initialize": ["POST /payments"],
    "Status": ["GET /orders", "GET /orders/{order_id}", "GET /payments/{tx_ref}", "GET /products"],
    "Webhook": ["GET /webhooks/chapa", "POST /webhooks/chapa"],
}
PUBLIC = {"GET /products", *ROUTES["Webhook"]}
JWT = ("JWT", {"Ref": "JwtAuthorizer"})


FACTS: dict[str, Any] = {
    "Table PointInTimeRecoverySpecification": {"PointInTimeRecoveryEnabled": True},
    "Table SSESpecification": {"SSEEnabled": True},
    "Table DeletionProtectionEnabled": {"Fn::If": ["Protected", True, False]},
    "Table DeletionPolicy": "RetainExceptOnCreate",
    "Table UpdateReplacePolicy": "Retain",
    "UserPool DeletionPolicy": "RetainExceptOnCreate",
    "UserPool UpdateReplacePolicy": "Retain",
    "ProviderSecret DeletionPolicy": "RetainExceptOnCreate",
    "ProviderSecret UpdateReplacePolicy": "Retain",
    "DeletionProtection Default": "true",
    "Table GlobalSecondaryIndexes 0 Projection": {
        "ProjectionType": "INCLUDE",
        "NonKeyAttributes": ["queued"],
    },
    "Table GlobalSecondaryIndexes 1 Projection": {"ProjectionType": "KEYS_ONLY"},
    "Table GlobalSecondaryIndexes 2 Projection": {"ProjectionType": "KEYS_ONLY"},
    "TableStreamSource StartingPosition": "TRIM_HORIZON",
    "TableStreamSource BisectBatchOnFunctionError": True,
    "TableStreamSource MaximumRetryAttempts": 10,
    "TableStreamSource DestinationConfig OnFailure Destination": attribute("UnpublishedQueue.Arn"),
    "TableStreamSource FunctionResponseTypes": ["ReportBatchItemFailures"],
    "ReconcileQueueSource FunctionResponseTypes": ["ReportBatchItemFailures"],
    "ReconcileQueueSource ScalingConfig": {"MaximumConcurrency": {"Ref": "ReconcileConcurrency"}},
    # Below the concurrency of a new account, which is 10, and the quotas of small regions.
    "ReconcileConcurrency Default": 5,
    "WebhooksPerSecond Default": 1000,
    "Architecture Default": "arm64",
    "SnapStart Default": "None",
    "ApiLogs LogGroupName": {"Fn::Sub": "/aws/vendedlogs/${AWS::StackName}/api"},
    "ProviderSecret SecretString": json.dumps(dict.fromkeys(SECRETS, "")),
    "EventBus Name": STACK_NAME,
    "BusName Value": {"Ref": "EventBus"},
    "EventBusArn Value": attribute("EventBus.Arn"),
    "UserPool Condition": "OwnUserPool",
    "UserPool UsernameAttributes": ["email", "phone_number"],
    "UserPool UserPoolTier": "LITE",
    "UserPool AdminCreateUserConfig AllowAdminCreateUserOnly": {
        "Fn::If": ["OpenSignUp", False, True]
    },
    "SelfSignUp Default": "false",
    "UserPoolClient AllowedOAuthFlows": {"Fn::If": ["HasLogin", ["code"], NO_VALUE]},
    "UserPoolClient GenerateSecret": False,
    "UserPoolDomain Condition": "HasLogin",
    "SmsRole Condition": "OpenSignUp",
    "JwtAuthorizer JwtConfiguration Issuer Fn::If 2": {"Ref": "JwtIssuer"},
    "AllowedOrigins Default": "",
    "Api CorsConfiguration Fn::If 0": "HasAllowedOrigins",
    "Api CorsConfiguration Fn::If 1 AllowOrigins": {"Fn::Split": [",", {"Ref": "AllowedOrigins"}]},
    "Api CorsConfiguration Fn::If 1 ExposeHeaders": ["retry-after"],
    "Api CorsConfiguration Fn::If 2": NO_VALUE,
    "PublishLateAlarm MetricName": "IteratorAge",
    "PublishLateAlarm Dimensions 0 Value": {"Ref": "PublishFunction"},
    "UnpublishedQueueAlarm MetricName": "NumberOfMessagesSent",
    "ReconcileQueueAlarm MetricName": "ApproximateAgeOfOldestMessage",
    "SweepStoppedAlarm Dimensions 0 Value": {"Ref": "ExpireFunction"},
}


@pytest.mark.parametrize("path", FACTS)
def test_template_has_this_property(path: str) -> None:
    name, *keys = path.split()
    found: Any = (RESOURCES | PARAMETERS | template()["Outputs"])[name]
    found = found | found.get("Properties", {})
    for key in keys:
        found = found[int(key) if key.isdigit() else key]
    assert found == FACTS[path]


def rights(allowed: str) -> list[str]:
    """Such as `sqs:SendMessage on Queue.Arn`, of a statement that allows several actions."""
    service, actions, on = re.split(": | on ", allowed)
    return [f"{service}:{action} on {on}" for action in actions.split()]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function_may_make_exactly_the_calls_that_its_code_can_make(name: str) -> None:
    function = name.removesuffix("Function")
    needed = {right for source in SOURCES.get(function, []) for right in rights(source)}
    for call in Reach(function.lower()).calls:
        action, _, index = call.partition(" ")
        on = f"${{Table.Arn}}/index/{index}" if index else ON[action.partition(":")[0]]
        needed.add(f"{action} on {on}")
    granted = [right for allowed in permissions(name) for right in rights(allowed)]
    assert set(granted) == needed
    assert len(granted) == len(needed)
    # SAM gives a function with an SQS event a policy that reads every queue of the account.
    events = FUNCTIONS[name].get("Events", {}).values()
    assert all(event["Type"] == "ScheduleV2" for event in events)


def test_every_route_leads_to_its_function_behind_its_guard() -> None:
    routes: dict[str, list[str]] = {}
    for route in resources("AWS::ApiGatewayV2::Route").values():
        integration = route["Target"]["Fn::Sub"].removeprefix("integrations/${").removesuffix("}")
        function = called_by(RESOURCES[integration]["Properties"]["IntegrationUri"])
        routes.setdefault(function, []).append(route["RouteKey"])
        guard = (route["AuthorizationType"], route.get("AuthorizerId"))
        assert guard == (("NONE", None) if route["RouteKey"] in PUBLIC else JWT)
    assert {function: sorted(keys) for function, keys in routes.items()} == ROUTES
    callers = resources("AWS::Lambda::Permission").values()
    assert {called_by(caller["FunctionName"]) for caller in callers} == ROUTES.keys()
    assert all(each["SourceArn"]["Fn::Sub"].endswith(":${Api}/*") for each in callers)


def test_each_public_route_has_a_throttle_of_its_own_and_all_are_parameters() -> None:
    stage = RESOURCES["ApiStage"]["Properties"]
    assert stage["RouteSettings"].keys() == PUBLIC

    def limits(settings: dict[str, Any]) -> tuple[str, str]:
        return settings["ThrottlingRateLimit"]["Ref"], settings["ThrottlingBurstLimit"]["Ref"]

    requests, webhooks = (
        ("RequestsPerSecond", "RequestBurst"),
        ("WebhooksPerSecond", "WebhookBurst"),
    )
    found = {route: limits(each) for route, each in stage["RouteSettings"].items()}
    assert found == dict.fromkeys(PUBLIC, requests) | {"POST /webhooks/chapa": webhooks}
    assert limits(stage["DefaultRouteSettings"]) == requests


def test_firewall_blocks_an_address_that_exceeds_the_limit_of_webhooks_or_of_requests() -> None:
    edge = yaml_parse((ROOT / "edge.yaml").read_text())["Resources"]
    rules = {rule["Name"]: rule for rule in edge["Firewall"]["Properties"]["Rules"]}
    assert all(rule["Action"] == {"Block": {}} for rule in rules.values())
    webhooks, requests = (
        rules[n]["Statement"]["RateBasedStatement"] for n in ("webhooks", "requests")
    )
    assert (webhooks["AggregateKeyType"], requests["AggregateKeyType"]) == ("IP", "IP")
    assert webhooks["Limit"] == {"Ref": "WebhooksPerFiveMinutes"}
    assert requests["Limit"] == {"Ref": "RequestsPerFiveMinutes"}
    about_webhooks = webhooks["ScopeDownStatement"]
    assert about_webhooks["ByteMatchStatement"]["SearchString"] == "/webhooks/"
    assert requests["ScopeDownStatement"] == {"NotStatement": {"Statement": about_webhooks}}


def test_routes_are_made_one_after_the_other() -> None:
    every = [each for each in RESOURCES.items() if each[1]["Type"] == "AWS::ApiGatewayV2::Route"]
    before = [route.get("DependsOn") for _, route in every]
    assert before == [None, *[name for name, _ in every][:-1]]
    assert RESOURCES["ApiStage"]["DependsOn"] == every[-1][0]


def called_by(caller: dict[str, str]) -> str:
    """The function whose alias `live` is called; nothing may call a function without it."""
    return caller["Ref"].removesuffix("Function.Alias")


def test_queue_and_stream_call_the_alias_of_their_function() -> None:
    sources = resources("AWS::Lambda::EventSourceMapping")
    called = {name: called_by(source["FunctionName"]) for name, source in sources.items()}
    assert called == {"ReconcileQueueSource": "Reconcile", "TableStreamSource": "Publish"}
    assert GLOBALS["AutoPublishAlias"] == "live"


def test_change_of_template_layer_or_parameter_publishes_a_version_of_each_function() -> None:
    for function in FUNCTIONS.values():
        assert function["AutoPublishAliasAllProperties"] is True
        assert function["VersionDescription"] == {"Fn::Sub": "settings ${Settings}"}
    settings = RESOURCES["Settings"]["Properties"]["Content"]["Fn::Sub"]
    assert {"${SharedLayer}", "${Architecture}"} <= set(settings.split())
    lines = dict(line.split(" ", 1) for line in settings.splitlines())
    for name, value in VARIABLES.items():
        used = re.findall(r"(?:'(?:Ref|Fn::GetAtt)': \[?'|\$\{)(\w+)(?!:)\b", str(value))
        assert set(used) == set(re.findall(r"\$\{(\w+)", lines.get(name, ""))), name


def test_versions_that_are_replaced_are_kept_to_go_back_to() -> None:
    made = [e for e in transformed().values() if e["Type"] == "AWS::Lambda::Version"]
    assert len(made) == len(FUNCTIONS)
    assert {(e["DeletionPolicy"], e["UpdateReplacePolicy"]) for e in made} == {("Retain", "Retain")}


def test_deployment_is_gradual_and_rolls_back_on_alarms_only_when_asked() -> None:
    at_once, gradual = transformed(), transformed(TrafficShift="Linear10PercentEvery1Minute")
    assert not [each for each in at_once.values() if "CodeDeploy" in str(each)]
    groups = [e for e in gradual.values() if e["Type"] == "AWS::CodeDeploy::DeploymentGroup"]
    assert len(groups) == len(FUNCTIONS)
    for each in (group["Properties"] for group in groups):
        assert "DEPLOYMENT_STOP_ON_ALARM" in each["AutoRollbackConfiguration"]["Events"]
        watched = {alarm["Name"]["Ref"] for alarm in each["AlarmConfiguration"]["Alarms"]}
        errors = {name.replace("Function", "ErrorsAlarm") for name in FUNCTIONS}
        assert watched == errors | {"ApiErrorsAlarm"}
        # The most that CodeDeploy takes.
        assert len(watched) <= 10
    aliases = [each for each in gradual.values() if each["Type"] == "AWS::Lambda::Alias"]
    assert all("CodeDeployLambdaAliasUpdate" in alias["UpdatePolicy"] for alias in aliases)
    assert len(aliases) == len(FUNCTIONS)


def test_deployments_ask_nothing_and_only_production_is_protected_and_gradual() -> None:
    environments = tomllib.loads((ROOT / "samconfig.toml").read_text())
    for name in ("staging", "production"):
        deploy = environments[name]["deploy"]["parameters"]
        assert (deploy["confirm_changeset"], deploy["resolve_s3"]) == (False, True)
        assert environments[name]["global"]["parameters"]["language_extensions"]
    own = {
        name: each["deploy"]["parameters"].get("parameter_overrides")
        for name, each in environments.items()
        if isinstance(each, dict) and "deploy" in each
    }
    assert own == {
        "staging": ["DeletionProtection=false"],
        "production": ["TrafficShift=Canary10Percent5Minutes"],
        "local": None,
    }


def test_timeouts_fit_together() -> None:
    timeouts = {name: each.get("Timeout", GLOBALS["Timeout"]) for name, each in FUNCTIONS.items()}
    # API Gateway waits for 30 seconds, cold start included.
    assert all(timeouts[f"{function}Function"] <= 27 for function in ROUTES)
    (sweep,) = FUNCTIONS["ExpireFunction"]["Events"].values()
    assert sweep["Properties"]["ScheduleExpression"] == "rate(1 minute)"
    assert timeouts["ExpireFunction"] < 60
    (night,) = FUNCTIONS["CompareFunction"]["Events"].values()
    assert night["Properties"]["ScheduleExpression"] == "cron(0/15 1-6 * * ? *)"
    assert timeouts["CompareFunction"] < 15 * 60
    assert QUEUES["ReconcileQueue"]["VisibilityTimeout"] >= 6 * timeouts["ReconcileFunction"]
    stream = RESOURCES["TableStreamSource"]["Properties"]
    assert stream["MaximumRecordAgeInSeconds"] <= PARAMETERS["RepublishAfterSeconds"]["Default"]


def test_failing_message_goes_to_dlq_and_fires_alarm() -> None:
    queue, dead = QUEUES["ReconcileQueue"], QUEUES["DeadLetterQueue"]
    target = attribute("DeadLetterQueue.Arn")
    assert queue["RedrivePolicy"] == {"deadLetterTargetArn": target, "maxReceiveCount": 5}
    assert dead["MessageRetentionPeriod"] > queue["MessageRetentionPeriod"]
    assert all(each["SqsManagedSseEnabled"] for each in QUEUES.values())
    (watched,) = ALARMS["DeadLetterQueueAlarm"]["Dimensions"]
    assert watched["Value"] == attribute("DeadLetterQueue.QueueName")


def test_queues_refuse_requests_without_tls() -> None:
    policies = resources("AWS::SQS::QueuePolicy").values()
    assert {policy["Queues"][0]["Ref"] for policy in policies} == QUEUES.keys()
    for policy in policies:
        [statement] = policy["PolicyDocument"]["Statement"]
        assert (statement["Effect"], statement["Action"]) == ("Deny", "sqs:*")
        assert statement["Resource"] == attribute(policy["Queues"][0]["Ref"] + ".Arn")
        assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def test_logs_are_deleted_and_the_access_log_names_no_person_or_order() -> None:
    groups = resources("AWS::Logs::LogGroup")
    used = {function["LoggingConfig"]["LogGroup"]["Ref"] for function in FUNCTIONS.values()}
    assert used | {"ApiLogs"} == groups.keys()
    assert all(group["RetentionInDays"] == {"Ref": "LogRetentionDays"} for group in groups.values())
    logged = RESOURCES["ApiStage"]["Properties"]["AccessLogSettings"]["Format"]
    json.loads(logged)
    assert not re.search("path|query|sourceIp|identity|authorizer|userAgent|header", logged)


def test_functions_get_every_setting_and_no_secret() -> None:
    assert VARIABLES.keys() >= SETTINGS.keys() - {"POWERTOOLS_SERVICE_NAME"}
    assert VARIABLES["SECRET_ID"] == attribute("ProviderSecret.Id")
    for name, function in FUNCTIONS.items():
        own = dict(function["Environment"]["Variables"])
        assert own.pop("POWERTOOLS_SERVICE_NAME") == name.removesuffix("Function").lower()
        assert own.keys() == (PUBLISHER.keys() if name == "PublishFunction" else set())
    assert not [n for n in VARIABLES if "KEY" in n or ("SECRET" in n and "_ID" not in n)]
    assert not [name for name in PARAMETERS if re.search("Secret|Key|Password", name)]


@pytest.mark.parametrize("parameter", PARAMETERS.values(), ids=PARAMETERS)
def test_parameter_has_description_default_and_limits(parameter: dict[str, Any]) -> None:
    assert parameter["Description"].endswith(".")
    assert "Default" in parameter
    limits = {"Number": {"MinValue", "MaxValue"}, "String": {"AllowedPattern"}}
    assert "AllowedValues" in parameter or parameter.keys() >= limits.get(parameter["Type"], set())


def test_alarms_watch_each_function_and_tell_both_topics() -> None:
    for metric in ("Errors", "Throttles"):
        watching = [alarm for alarm in ALARMS.values() if alarm["MetricName"] == metric]
        assert {each["Dimensions"][0]["Value"]["Ref"] for each in watching} == FUNCTIONS.keys()
    nothing = {"Ref": "AWS::NoValue"}
    told = [
        {"Fn::If": ["HasAlarmEmail", {"Ref": "AlarmTopic"}, nothing]},
        {"Fn::If": ["HasAlarmTopic", {"Ref": "AlarmTopicArn"}, nothing]},
    ]
    assert all(alarm["AlarmActions"] == told for alarm in ALARMS.values())
    [topic] = resources("AWS::SNS::Topic").values()
    assert topic["Subscription"] == [{"Protocol": "email", "Endpoint": {"Ref": "AlarmEmail"}}]
    [policy] = resources("AWS::SNS::TopicPolicy").values()
    alarms_may, tls_must = policy["PolicyDocument"]["Statement"]
    assert (alarms_may["Effect"], alarms_may["Action"]) == ("Allow", "sns:Publish")
    assert alarms_may["Principal"] == {"Service": "cloudwatch.amazonaws.com"}
    assert tls_must["Fn::If"][1]["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    assert VARIABLES["METRICS_SERVICE"] == STACK_NAME
    for alarm in (a for a in ALARMS.values() if a["Namespace"] == "ChapaPayments"):
        assert alarm["Dimensions"] == [{"Name": "service", "Value": STACK_NAME}]


def test_no_concurrency_is_reserved_since_a_new_account_may_reserve_none() -> None:
    assert not [n for n, each in FUNCTIONS.items() if "ReservedConcurrentExecutions" in each]


def test_functions_log_json_with_metrics_whatever_the_level_is() -> None:
    # Lambda takes a line without a level, such as one with metrics, for one of the level INFO.
    assert GLOBALS["LoggingConfig"] == {
        "LogFormat": "JSON",
        "ApplicationLogLevel": {"Ref": "LogLevel"},
    }
    assert PARAMETERS["LogLevel"]["AllowedValues"] == ["DEBUG", "INFO"]
    quiet = {n for n, each in FUNCTIONS.items() if "SystemLogLevel" in each["LoggingConfig"]}
    assert quiet == {"WebhookFunction"}
