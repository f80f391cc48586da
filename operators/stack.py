"""The deployed stack that the tool works on, and who works on it."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import boto3
from botocore.exceptions import (
    ClientError,
    HTTPClientError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
    ProfileNotFound,
    TokenRetrievalError,
    UnauthorizedSSOTokenError,
)
from botocore.exceptions import ConnectionError as AwsConnectionError

from payments.usecases.backend import Backend

LOCAL = Path(__file__).parents[1] / ".sandbox" / "stack.json"
LOCAL_CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}


NEEDED = {"ReconcileFunctionName", "TableName", "QueueUrl", "DeadLetterQueueUrl", "SecretArn"}
"""Outputs that a stack of our template has."""


class StackError(Exception):
    """The stack cannot be used; says what to do."""


@dataclass(frozen=True)
class Stack:
    name: str

    @cached_property
    def outputs(self) -> Mapping[str, str]:
        """Raises StackError when there is no such stack, or one of another template."""
        cloudformation = boto3.client("cloudformation")
        try:
            [found] = cloudformation.describe_stacks(StackName=self.name)["Stacks"]
        except ClientError as error:
            if "does not exist" not in str(error):
                raise
            raise StackError(
                f"There is no stack {self.name!r} in {cloudformation.meta.region_name} of this"
                " account. Give its name with --stack, and its region with"
                " AWS_DEFAULT_REGION."
            ) from None
        outputs = {each["OutputKey"]: each["OutputValue"] for each in found.get("Outputs", [])}
        if missing := sorted(NEEDED - outputs.keys()):
            raise StackError(
                f"The stack {self.name!r} has no output {missing[0]}: it is another stack, or its"
                " first deployment is not complete. Give the right name with --stack."
            )
        return outputs

    @cached_property
    def backend(self) -> Backend:
        """The product's own code with the settings of the deployed reconcile function."""
        configuration = boto3.client("lambda").get_function_configuration(
            FunctionName=self.outputs["ReconcileFunctionName"], Qualifier="live"
        )
        return Backend.from_environment(configuration["Environment"]["Variables"])

    @cached_property
    def identity(self) -> str:
        """Who decides: the ARN of the caller's AWS identity."""
        return boto3.client("sts").get_caller_identity()["Arn"]


SIGN_IN_AGAIN = {
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidClientTokenId",
    "RequestExpired",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
}
"""Codes of AWS for credentials that are of no use, and for a clock that is wrong."""

NOT_ALLOWED = {"AccessDenied", "AccessDeniedException", "AuthorizationError"}


def what_to_do(error: Exception) -> str:
    """One sentence about what AWS or the stack did not answer, and what to do."""
    match error:
        case StackError():
            return str(error)
        case NoCredentialsError() | PartialCredentialsError():
            return (
                "Could not ask: there are no AWS credentials. Sign in, for instance with"
                " `aws sso login`, and set AWS_PROFILE; or use --local."
            )
        case ProfileNotFound():
            return (
                f"Could not ask: {error}. Set AWS_PROFILE to one of `aws configure list-profiles`."
            )
        case NoRegionError():
            return (
                "Could not ask: no AWS region is set. Set AWS_DEFAULT_REGION to that of the stack."
            )
        case TokenRetrievalError() | UnauthorizedSSOTokenError():
            return "Could not ask: the AWS sign-in has ended. Sign in again with `aws sso login`."
        case ClientError():
            code = error.response.get("Error", {}).get("Code", "")
            call = error.operation_name
            if code in SIGN_IN_AGAIN:
                return (
                    f"Could not ask: AWS refuses the credentials ({code}). Sign in again, and see"
                    " that the clock of this machine is right."
                )
            if code in NOT_ALLOWED:
                return (
                    f"Could not ask: your AWS identity may not {call}. It needs the policy that"
                    " the output OperatorsPolicyArn names."
                )
            return f"Could not ask: {_one_line(error)}"
        case AwsConnectionError() | HTTPClientError():
            return f"Could not ask: {_one_line(error)} Try again, and check the network."
        case _:
            return f"Could not ask: {_one_line(error)}"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def is_local() -> bool:
    """Whether the AWS that is asked is not the real one."""
    return "AWS_ENDPOINT_URL" in os.environ


def use_local() -> None:
    """Have boto3 use the local stack. Raises StackError."""
    try:
        description = json.loads(LOCAL.read_text())
    except (FileNotFoundError, ValueError):
        raise StackError("No local stack is running. Start one with `make up`.") from None
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
        os.environ.pop(name, None)
    os.environ.update(
        LOCAL_CREDENTIALS,
        AWS_ENDPOINT_URL=description["endpoint_url"],
        AWS_DEFAULT_REGION=description["region"],
    )
