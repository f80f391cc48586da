"""The local AWS as its users see it: clients, customers with tokens, and a service that listens."""

import json
import os
import secrets
import threading
from collections.abc import Mapping
from functools import cache
from typing import Any, TypedDict

HOST = "127.0.0.1"
REGION = "eu-central-1"
USERS = ("abebe", "sara")
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}


class User(TypedDict):
    sub: str
    token: str


def client(service: str, endpoint_url: str) -> Any:
    """A boto3 client that ignores the user's own AWS settings."""
    from botocore.config import Config  # noqa: PLC0415 - see `_session`

    with _session_lock:
        return _session().client(
            service,
            endpoint_url=endpoint_url,
            config=Config(proxies={}, retries={"total_max_attempts": 2, "mode": "standard"}),
        )


_session_lock = threading.Lock()


@cache
def _session() -> Any:
    import boto3  # noqa: PLC0415 - half a second that `make down` need not spend
    import botocore.session  # noqa: PLC0415

    unset: dict[str, Any] = {
        "profile": (None, None, None, None),
        "config_file": (None, None, os.devnull, None),
        "credentials_file": (None, None, os.devnull, None),
    }
    return boto3.Session(
        CREDENTIALS["AWS_ACCESS_KEY_ID"],
        CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        botocore_session=botocore.session.Session(unset),
        region_name=REGION,
    )


def receive_events(endpoint: str, bus: str) -> str:
    """What another service would have: a rule on the bus and a queue. Returns the queue's URL."""
    sqs, events = client("sqs", endpoint), client("events", endpoint)
    url = str(sqs.create_queue(QueueName="events")["QueueUrl"])
    attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]
    rule = events.put_rule(
        Name="sample",
        EventBusName=bus,
        EventPattern=json.dumps({"source": ["chapa-payments"]}),
    )
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "events.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": attributes["QueueArn"],
        "Condition": {"ArnEquals": {"aws:SourceArn": rule["RuleArn"]}},
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy})
    events.put_targets(
        Rule="sample", EventBusName=bus, Targets=[{"Id": "queue", "Arn": attributes["QueueArn"]}]
    )
    return url


def allow_batches(endpoint: str, function: str) -> None:
    """On AWS `sqs:SendMessage` covers batches; MiniStack asks for an action that AWS has not."""
    configured = client("lambda", endpoint).get_function_configuration(FunctionName=function)
    statement = {"Effect": "Allow", "Action": "sqs:SendMessageBatch", "Resource": "*"}
    client("iam", endpoint).put_role_policy(
        RoleName=configured["Role"].rpartition("/")[2],
        PolicyName="SendMessageBatch",
        PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [statement]}),
    )


def operator(endpoint: str, policy_arn: str) -> dict[str, str]:
    """Credentials of a user who has the policy of operators and nothing else."""
    iam = client("iam", endpoint)
    iam.create_user(UserName="operator")
    iam.attach_user_policy(UserName="operator", PolicyArn=policy_arn)
    made = iam.create_access_key(UserName="operator")["AccessKey"]
    return {
        "AWS_ACCESS_KEY_ID": made["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": made["SecretAccessKey"],
    }


def allow_origins(endpoint: str, api_id: str) -> None:
    """MiniStack stores an API's CORS settings of a template under names that it does not read."""
    api = client("apigatewayv2", endpoint)
    stored: dict[str, Any] = {}

    def read(http_response: Any, **_: Any) -> None:
        cors = json.loads(http_response.content).get("corsConfiguration") or {}
        stored.update({f"{name[0].upper()}{name[1:]}": value for name, value in cors.items()})

    api.meta.events.register("after-call.apigatewayv2.GetApi", read)
    api.get_api(ApiId=api_id)
    if stored:
        api.update_api(ApiId=api_id, CorsConfiguration=stored)


def limit_workers(endpoint: str, function: str) -> None:
    """Give the queue's limit again as a number.

    MiniStack keeps a number that comes from a parameter of the template as text, compares it with a
    number, and delivers nothing.
    """
    mappings = client("lambda", endpoint)
    found = mappings.list_event_source_mappings(FunctionName=f"{function}:live")
    [source] = found["EventSourceMappings"]
    limit = int(source["ScalingConfig"]["MaximumConcurrency"])
    mappings.update_event_source_mapping(
        UUID=source["UUID"], ScalingConfig={"MaximumConcurrency": limit}
    )


def sign_in(endpoint: str, outputs: Mapping[str, str]) -> dict[str, User]:
    """Users of the stack's own pool with tokens that it issued; none when the issuer is another."""
    if "UserPoolId" not in outputs:
        return {}
    cognito = client("cognito-idp", endpoint)
    pool = outputs["UserPoolId"]
    known = {_attributes(u)["email"]: u for u in cognito.list_users(UserPoolId=pool)["Users"]}

    def enter(name: str) -> User:
        password = f"Aa1!{secrets.token_urlsafe(24)}"
        email = f"{name}@shopper.example"
        user = (
            known.get(email)
            or cognito.admin_create_user(UserPoolId=pool, Username=email, MessageAction="SUPPRESS")[
                "User"
            ]
        )
        cognito.admin_set_user_password(
            UserPoolId=pool, Username=email, Password=password, Permanent=True
        )
        issued = cognito.admin_initiate_auth(
            UserPoolId=pool,
            ClientId=outputs["UserPoolClientId"],
            AuthFlow="ADMIN_USER_PASSWORD_AUTH",
            AuthParameters={"USERNAME": email, "PASSWORD": password},
        )
        token = issued["AuthenticationResult"]["AccessToken"]
        return User(sub=_attributes(user)["sub"], token=token)

    return {name: enter(name) for name in USERS}


def _attributes(user: Mapping[str, Any]) -> dict[str, str]:
    return {attribute["Name"]: attribute["Value"] for attribute in user["Attributes"]}
