"""Which calls to AWS a function can make, read from its source.

From the function's module on, whatever reached code names is reached as well. Which class a method
belongs to is known from `self` and from the types of fields and arguments; otherwise a method of
that name is reached in every class that reached code names. There may be a call too many, but none
is missing.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "shared" / "payments"

SERVICES = {
    "DynamoDBClient": "dynamodb",
    "SQSClient": "sqs",
    "EventBridgeClient": "events",
    "SecretsManagerClient": "secretsmanager",
}
"""By the type of the argument that a class keeps as `_client`."""

TRANSACTED = {"Put": "PutItem", "Update": "UpdateItem", "ConditionCheck": "ConditionCheckItem"}
"""What the parts of a transaction are to IAM, which has no action for the transaction itself:
https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/transaction-apis-iam.html
"""


@dataclass(eq=False)
class Module:
    path: Path
    tops: dict[str, ast.FunctionDef | ast.ClassDef] = field(default_factory=dict)
    imports: dict[str, tuple[str, str]] = field(default_factory=dict)
    rest: list[ast.stmt] = field(default_factory=list)

    def __post_init__(self) -> None:
        for node in ast.parse(self.path.read_text()).body:
            match node:
                case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                    self.tops[name] = node
                case ast.ImportFrom(module=str(origin), names=names):
                    self.imports |= {n.asname or n.name: (origin, n.name) for n in names}
                case _:
                    self.rest.append(node)


@cache
def modules() -> dict[str, Module]:
    found = {}
    for path in PACKAGE.rglob("*.py"):
        name = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
        found[name.removesuffix(".__init__")] = Module(path)
    return found


@cache
def classes() -> dict[str, tuple[Module, ast.ClassDef]]:
    return {
        name: (module, node)
        for module in modules().values()
        for name, node in module.tops.items()
        if isinstance(node, ast.ClassDef)
    }


@cache
def exact() -> set[str]:
    """Classes that no other class implements or inherits from."""
    bases = {
        base.id
        for _, each in classes().values()
        for base in each.bases
        if isinstance(base, ast.Name)
    }
    protocols = {
        name
        for name, (_, each) in classes().items()
        if any(isinstance(base, ast.Name) and base.id == "Protocol" for base in each.bases)
    }
    return classes().keys() - bases - protocols


@cache
def fields() -> dict[str, str]:
    """The class of each field of a class whose type is known exactly, by its name."""
    return {
        node.target.id: node.annotation.id
        for _, each in classes().values()
        for node in each.body
        if isinstance(node, ast.AnnAssign)
        and isinstance(node.target, ast.Name)
        and isinstance(node.annotation, ast.Name)
        and node.annotation.id in exact()
    }


@cache
def services() -> dict[str, str]:
    """What each class that talks to AWS talks to, itself or through the class it inherits from."""
    found = {
        name: SERVICES[node.value]
        for name, (_, each) in classes().items()
        for node in ast.walk(each)
        if isinstance(node, ast.Constant) and node.value in SERVICES
    }
    for name, (_, each) in classes().items():
        for base in each.bases:
            if isinstance(base, ast.Name) and base.id in found:
                found[name] = found[base.id]
    return found


class Reach:
    """What a function reaches: its calls, as `dynamodb:UpdateItem` or, of an index, as
    `dynamodb:Query lists`."""

    def __init__(self, function: str) -> None:
        self.calls: set[str] = set()
        self._known: set[str] = set()
        self._wanted: set[str] = set()
        self._done: set[ast.AST] = set()
        app = Module(ROOT / "functions" / function / "app.py")
        for node in (*app.tops.values(), *app.rest):
            self._read(app, node, "")

    def _read(self, module: Module, piece: ast.AST, owner: str) -> None:
        if piece in self._done:
            return
        self._done.add(piece)
        self.calls |= set(_calls_in(piece, owner))
        arguments = _arguments(piece)
        for node in ast.walk(piece):
            match node:
                case ast.Name(id=name):
                    self._name(module, name)
                case ast.Attribute(value=ast.Call(func=ast.Name(id="super"))):
                    pass  # What the classes of the package inherit from talks to no AWS.
                case ast.Attribute(value=ast.Name(id="self"), attr=name) if owner:
                    self._method(owner, name)
                case ast.Attribute(value=ast.Name(id=left), attr=name) if _module(module, left):
                    self._name(_module(module, left), name)
                case ast.Attribute(value=ast.Name(id=left), attr=name) if left in arguments:
                    for owning in arguments[left]:
                        self._method(owning, name)
                case ast.Attribute(value=ast.Attribute(attr=left), attr=name) if left in fields():
                    self._method(fields()[left], name)
                case ast.Attribute(attr=name):
                    self._wanted.add(name)
                    for known in tuple(self._known):
                        self._method(known, name)

    def _name(self, module: Module | None, name: str) -> None:
        if module is None:
            return
        if name in module.imports:
            origin, original = module.imports[name]
            self._name(modules().get(origin), original)
        elif isinstance(node := module.tops.get(name), ast.ClassDef):
            self._class(module, node)
        elif node:
            self._read(module, node, "")

    def _class(self, module: Module, node: ast.ClassDef) -> None:
        if node.name in self._known:
            return
        self._known.add(node.name)
        for each in (*node.bases, *node.body):
            match each:
                case ast.FunctionDef(name=name) if name[:2] != "__" and name not in self._wanted:
                    pass  # Nobody has named it yet.
                case _:
                    self._read(module, each, node.name)

    def _method(self, owner: str, name: str) -> None:
        if owner not in classes():
            return  # A model of a request.
        module, node = classes()[owner]
        for each in node.body:
            if isinstance(each, ast.FunctionDef) and each.name == name:
                self._read(module, each, owner)
        for base in node.bases:
            if isinstance(base, ast.Name) and base.id in classes():
                self._method(base.id, name)


def _module(module: Module, name: str) -> Module | None:
    """The module that this name stands for."""
    return modules().get(".".join(module.imports.get(name, ())))


def _arguments(piece: ast.AST) -> dict[str, set[str]]:
    """The classes of each argument whose type is known exactly."""
    found = {}
    for node in ast.walk(piece):
        if isinstance(node, ast.arg) and node.annotation:
            names = {each.id for each in ast.walk(node.annotation) if isinstance(each, ast.Name)}
            found[node.arg] = names & classes().keys()
    return {name: types for name, types in found.items() if types and types <= exact()}


def _calls_in(piece: ast.AST, owner: str) -> Iterator[str]:
    service = services().get(owner)
    if not service:
        return
    for node in ast.walk(piece):
        match node:
            case ast.Call(
                func=ast.Attribute(
                    value=ast.Call(
                        func=ast.Attribute(attr="get_paginator"),
                        args=[ast.Constant(value=str(operation))],
                    )
                ),
                keywords=given,
            ):
                yield _action(service, operation, given)
            case ast.Call(
                func=ast.Attribute(
                    value=ast.Attribute(value=ast.Name(id="self"), attr="_client"), attr=operation
                ),
                keywords=given,
            ) if operation not in {"get_paginator", "transact_write_items"}:
                yield _action(service, operation.removesuffix("_batch"), given)
            case ast.Dict(keys=[ast.Constant(value=str(part))]) if part in TRANSACTED:
                yield f"{service}:{TRANSACTED[part]}"


def _action(service: str, operation: str, given: list[ast.keyword]) -> str:
    index = next((keyword.value for keyword in given if keyword.arg == "IndexName"), None)
    name = "".join(word.capitalize() for word in operation.split("_"))
    return f"{service}:{name}" + (f" {ast.literal_eval(index)}" if index else "")
