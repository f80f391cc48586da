"""The policy of operators allows exactly the calls that the tool can make."""

import ast
from functools import cache
from pathlib import Path

import boto3
from botocore import xform_name

from tests.template import template

ROOT = Path(__file__).parents[2]
SOURCES = [
    *(ROOT / "operators").glob("*.py"),
    *(
        path
        for path in (ROOT / "shared/payments/aws").glob("*.py")
        # Only functions publish events and compare the books.
        if path.stem not in {"bus", "comparisons"}
    ),
]
SERVICES = (
    *("cloudformation", "cloudwatch", "dynamodb", "lambda", "logs", "secretsmanager", "sns", "sqs"),
)
"""STS is missing: everybody may ask who they are."""

ACTIONS = {
    "dynamodb:TransactWriteItems": {"dynamodb:PutItem", "dynamodb:UpdateItem"},
    "sqs:SendMessageBatch": set[str](),
}
"""Of calls whose action has another name. The tool sends no batch: the sweep does."""


@cache
def operations() -> dict[str, set[str]]:
    """Actions by the name of the client's method."""
    found: dict[str, set[str]] = {}
    for service in SERVICES:
        for name in boto3.client(service).meta.service_model.operation_names:  # type: ignore[call-overload]
            action = f"{service}:{name}"
            found.setdefault(xform_name(name), set()).update(ACTIONS.get(action, {action}))
    return found


def calls(path: Path) -> set[str]:
    """Methods that are called, and operations whose pages are."""
    tree = ast.parse(path.read_text())
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    names = {node.func.attr for node in calls if isinstance(node.func, ast.Attribute)}
    words = {a.value for node in calls for a in node.args if isinstance(a, ast.Constant)}
    return names | {word for word in words if isinstance(word, str)}


def test_operators_may_make_exactly_the_calls_of_the_tool() -> None:
    made = {name for path in SOURCES for name in calls(path)}
    needed = {action for name in made & operations().keys() for action in operations()[name]}
    document = template()["Resources"]["OperatorsPolicy"]["Properties"]["PolicyDocument"]
    allowed = {action for statement in document["Statement"] for action in statement["Action"]}
    assert allowed == needed
    # Only the list of a customer's unpaid orders may be deleted.
    [delete] = [each for each in document["Statement"] if "dynamodb:DeleteItem" in each["Action"]]
    assert delete["Action"] == ["dynamodb:DeleteItem"]
    assert delete["Condition"] == {
        "ForAllValues:StringLike": {"dynamodb:LeadingKeys": ["CUSTOMER#*"]}
    }
