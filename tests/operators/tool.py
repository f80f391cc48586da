"""The operators' tool, run in process."""

import json
from collections.abc import Callable
from typing import Any, NamedTuple

ALMAZ = "arn:aws:iam::123456789012:user/almaz"
"""The operator."""

OUTPUTS = {
    "DeadLetterQueueUrl": "dead",
    "QueueUrl": "alive",
    "TableName": "payments",
    "SecretArn": "chapa",
}


class Result(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        """The one JSON document on standard output."""
        return json.loads(self.out)


type Run = Callable[..., Result]
