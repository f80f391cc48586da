"""Imports point inwards: functions → use cases → adapters → settings and telemetry → domain."""

import ast
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SHARED = ROOT / "shared"
PACKAGE = SHARED / "payments"
MODULES = sorted(PACKAGE.rglob("*.py"))
FUNCTIONS = sorted((ROOT / "functions").rglob("*.py"))

DOMAIN = {"states", "story", "domain", "money", "ids", "signature", "errors"}
ABOUT_US = {"telemetry", "settings"}
BENEATH = {"wire"}
"""What an adapter stands on."""

ADAPTERS = {"chapa", "repository", "queue", "bus", "http"}
"""What is neither: the use cases and what they work with."""

SHIPPED = {"pydantic", "requests", "aws_lambda_powertools", "urllib3"}
"""In the layer, urllib3 with requests."""

OF_LAMBDA = {"boto3", "botocore"}


def name_of(path: Path) -> str:
    return path.stem


def ring_of(module: str) -> int:
    rings: list[set[str]] = [DOMAIN, ABOUT_US | BENEATH, ADAPTERS]
    return next((number for number, ring in enumerate(rings) if module in ring), len(rings))


def imports(path: Path) -> Iterator[str]:
    """Each module that a file imports while it runs, in full: `payments.domain`."""
    tree = ast.parse(path.read_text())
    for_types = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for node in ast.walk(block)
    }
    for node in ast.walk(tree):
        if id(node) in for_types:
            continue
        match node:
            case ast.Import():
                yield from (alias.name for alias in node.names)
            case ast.ImportFrom(module="payments"):
                yield from (f"payments.{alias.name}" for alias in node.names)
            case ast.ImportFrom():
                yield "." * node.level + (node.module or "")


def inside(path: Path) -> set[str]:
    """The modules of our package that a file imports."""
    return {
        name.removeprefix("payments.") for name in imports(path) if name.startswith("payments.")
    }


def outside(path: Path) -> set[str]:
    """The packages of others, and of our other folders, that a file imports."""
    tops = {name.partition(".")[0] for name in imports(path)}
    return tops - {"payments"} - sys.stdlib_module_names


every_module = pytest.mark.parametrize("path", MODULES, ids=name_of)
every_function = pytest.mark.parametrize("path", FUNCTIONS, ids=lambda path: path.parent.name)


def test_there_is_something_to_look_at() -> None:
    assert {name_of(path) for path in MODULES} >= DOMAIN | ABOUT_US | ADAPTERS
    assert FUNCTIONS
    assert "story" in inside(PACKAGE / "repository.py")
    assert "requests" in outside(PACKAGE / "chapa.py")


@every_module
def test_a_module_imports_nothing_that_is_further_out(path: Path) -> None:
    own = ring_of(name_of(path))

    assert [name for name in inside(path) if ring_of(name) > own] == []


def test_no_two_modules_need_each_other() -> None:
    needs = {name_of(path): inside(path) for path in MODULES}

    assert list(TopologicalSorter(needs).static_order())


@pytest.mark.parametrize("name", sorted(DOMAIN))
def test_the_innermost_modules_need_only_the_standard_library(name: str) -> None:
    assert not outside(PACKAGE / f"{name}.py")


@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        ("states", set[str]()),
        ("story", {"states"}),
        ("domain", {"states", "story"}),
        ("money", set[str]()),
    ],
)
def test_the_domain_knows_only_its_states(name: str, allowed: set[str]) -> None:
    assert inside(PACKAGE / f"{name}.py") == allowed


@pytest.mark.parametrize("name", sorted(DOMAIN))
def test_the_innermost_modules_do_no_input_and_output(name: str) -> None:
    does_io = {"asyncio", "http", "io", "logging", "os", "pathlib", "random", "socket", "time"}

    assert not does_io & {name.partition(".")[0] for name in imports(PACKAGE / f"{name}.py")}


def test_the_adapters_do_not_know_each_other() -> None:
    for name in ADAPTERS:
        assert not inside(PACKAGE / f"{name}.py") & (ADAPTERS - {name})


@every_module
def test_the_layer_needs_only_what_it_ships_and_what_lambda_has(path: Path) -> None:
    assert outside(path) <= SHIPPED | OF_LAMBDA


@pytest.mark.parametrize(
    ("package", "users"),
    [
        ("requests", {"chapa", "wire"}),
        ("urllib3", {"chapa", "wire"}),
        ("boto3", {"repository", "backend", "publish"}),
    ],
)
def test_each_network_is_used_in_one_place(package: str, users: set[str]) -> None:
    assert {name_of(path) for path in MODULES if package in outside(path)} <= users


@every_function
def test_a_function_needs_only_the_layer(path: Path) -> None:
    assert outside(path) <= SHIPPED | OF_LAMBDA


@every_function
def test_a_function_leaves_chapa_and_the_table_to_the_use_cases(path: Path) -> None:
    assert not {"chapa", "repository"} & inside(path)
    assert not {"requests", "boto3"} & outside(path)


@pytest.mark.parametrize(
    "path", [*MODULES, *FUNCTIONS], ids=lambda path: f"{path.parent.name}/{path.name}"
)
def test_what_is_deployed_does_not_import_its_neighbours(path: Path) -> None:
    """Neither functions of each other, nor tests, nor the sandbox; nothing by a relative name."""
    tops = {name.partition(".")[0] for name in imports(path)}

    assert not tops & {"", "functions", "sandbox", "tests", "shared", "bench"}
