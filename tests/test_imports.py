"""Imports point inwards: functions → use cases → adapters → settings and telemetry → domain."""

import ast
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parent.parent
MODULES = {path.stem: path for path in (ROOT / "shared" / "payments").rglob("*.py")}
FUNCTIONS = {path.parent.name: path for path in (ROOT / "functions").rglob("*.py")}

DOMAIN = {"states", "story", "domain", "money", "ids", "signature", "errors"}
FOUNDATION = {"telemetry", "settings", "wire"}
ADAPTERS = {"chapa", "repository", "queue", "bus", "http"}
RINGS = (DOMAIN, FOUNDATION, ADAPTERS)
"""From the inside out. Every other module is a use case."""

INSIDE_THE_DOMAIN = {
    "states": set[str](),
    "story": {"states"},
    "domain": {"states", "story"},
    "money": set[str](),
}
IO = {"asyncio", "http", "io", "logging", "os", "pathlib", "random", "socket", "time"}
# The layer contains urllib3 because of requests; Lambda provides boto3.
AVAILABLE = {"pydantic", "requests", "aws_lambda_powertools", "urllib3", "boto3", "botocore"}
USERS = {
    "requests": {"chapa", "wire"},
    "urllib3": {"chapa", "wire"},
    "boto3": {"repository", "backend", "publish"},
}


def imports(path: Path) -> Iterator[str]:
    """Full name of each module that a file imports at run time, such as `payments.domain`."""
    tree = ast.parse(path.read_text("utf-8"))
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


def own(path: Path) -> set[str]:
    """Modules of our package that a file imports."""
    return {n.removeprefix("payments.") for n in imports(path) if n.startswith("payments.")}


def packages(path: Path) -> set[str]:
    """Top-level names that a file imports, without our package and the standard library."""
    return {n.partition(".")[0] for n in imports(path)} - {"payments"} - sys.stdlib_module_names


def ring_of(module: str) -> int:
    return next((number for number, ring in enumerate(RINGS) if module in ring), len(RINGS))


NEEDS = {name: own(path) for name, path in MODULES.items()}
PACKAGES = {name: packages(path) for name, path in MODULES.items()}


def test_imports_are_found() -> None:
    assert MODULES.keys() >= set().union(*RINGS)
    assert FUNCTIONS
    assert "story" in NEEDS["repository"]
    assert "requests" in PACKAGES["chapa"]


def test_module_imports_only_its_own_ring_and_inner_rings() -> None:
    outward = [(a, b) for a in NEEDS for b in NEEDS[a] if ring_of(b) > ring_of(a)]
    assert outward == []
    assert [(a, b) for a in ADAPTERS for b in NEEDS[a] & ADAPTERS if a != b] == []
    assert {name: NEEDS[name] for name in INSIDE_THE_DOMAIN} == INSIDE_THE_DOMAIN


def test_modules_have_no_import_cycle() -> None:
    assert list(TopologicalSorter(NEEDS).static_order())


def test_domain_imports_only_the_standard_library_and_does_no_io() -> None:
    for name in DOMAIN:
        assert not PACKAGES[name], name
        assert not IO & {each.partition(".")[0] for each in imports(MODULES[name])}, name


def test_module_imports_only_packages_available_on_lambda() -> None:
    for name, found in PACKAGES.items():
        assert found <= AVAILABLE, name
    for package, users in USERS.items():
        assert {name for name in MODULES if package in PACKAGES[name]} <= users


def test_function_imports_only_use_cases_and_packages_available_on_lambda() -> None:
    for name, path in FUNCTIONS.items():
        assert packages(path) <= AVAILABLE - {"requests", "boto3"}, name
        assert not own(path) & {"chapa", "repository"}, name


def test_deployed_code_imports_no_other_folder_of_ours() -> None:
    for path in (*MODULES.values(), *FUNCTIONS.values()):
        # The empty name is a relative import.
        tops = {name.partition(".")[0] for name in imports(path)}
        assert not tops & {"", "functions", "sandbox", "tests", "shared", "bench"}, path
