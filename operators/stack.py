"""The deployed stack that the tool works on, and who works on it."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import boto3

from payments.usecases.backend import Backend

LOCAL = Path(__file__).parents[1] / ".sandbox" / "stack.json"
LOCAL_CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}


class NoLocalStackError(Exception):
    """`--local` without a stack that `make up` keeps."""


@dataclass(frozen=True)
class Stack:
    name: str

    @cached_property
    def outputs(self) -> Mapping[str, str]:
        [found] = boto3.client("cloudformation").describe_stacks(StackName=self.name)["Stacks"]
        return {each["OutputKey"]: each["OutputValue"] for each in found.get("Outputs", [])}

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

    def items(self) -> list[dict[str, Any]]:
        """Every item of the table, in DynamoDB's JSON."""
        pages = (
            boto3.client("dynamodb")
            .get_paginator("scan")
            .paginate(TableName=self.outputs["TableName"])
        )
        return [item for page in pages for item in page["Items"]]


def use_local() -> None:
    """Have boto3 use the local stack. Raises NoLocalStackError."""
    try:
        description = json.loads(LOCAL.read_text())
    except (FileNotFoundError, ValueError):
        raise NoLocalStackError("No local stack is running. Start one with `make up`.") from None
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
        os.environ.pop(name, None)
    os.environ.update(
        LOCAL_CREDENTIALS,
        AWS_ENDPOINT_URL=description["endpoint_url"],
        AWS_DEFAULT_REGION=description["region"],
    )
