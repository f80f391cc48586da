"""Imports point inwards: functions → web and use cases → aws and chapa → domain."""

import ast
import sys
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "shared" / "payments"
MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path
    for path in PACKAGE.rglob("*.py")
    if path.stem != "__init__"
}
FUNCTIONS = {path.parent.name: path for path in (ROOT / "functions").rglob("*.py")}

RINGS = (
    {"domain"},
    {"errors"},
    {"telemetry", "settings"},
    {"chapa", "aws"},
    {"usecases", "web"},
    {"functions"},
)
"""Rooms from the inside out. A module imports from its own ring and from inner ones."""

BETWEEN_ADAPTERS = {("chapa.calls", "aws.secrets"), ("aws.secrets", "chapa.keys")}
"""Chapa's keys are in Secrets Manager."""

DOMAIN = ["states", "records", "aggregate", "events", "comparison"]
DOMAIN += ["rules", "refunds", "decisions", "checks"]
"""Modules with the rules import only those before them."""

NOT_PLAIN = {"StrEnum", "IntEnum", "Flag"}
"""Their members equal strings or numbers, and so members of other enums."""

IO = {"asyncio", "http", "io", "logging", "os", "pathlib", "random", "socket", "time"}
# The layer contains urllib3 because of requests; Lambda provides boto3.
AVAILABLE = {"pydantic", "requests", "aws_lambda_powertools", "urllib3", "botocore"}
USERS = {
    "requests": {"chapa.calls", "chapa.http"},
    "urllib3": {"chapa.calls", "chapa.http"},
    "pydantic": {"web.bodies"},
}


@cache
def imports(path: Path) -> frozenset[str]:
    """Full name of each module that a file imports at run time, such as `payments.domain.ids`."""
    found: set[str] = set()
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
                found.update(alias.name for alias in node.names)
            case ast.ImportFrom(module=str(module)) if module.startswith("payments"):
                # `from payments.domain import checks` names a module, too.
                names = {f"{module}.{alias.name}" for alias in node.names}
                modules = {name for name in names if name.removeprefix("payments.") in MODULES}
                found |= modules or {module}
            case ast.ImportFrom():
                found.add("." * node.level + (node.module or ""))
    return frozenset(found)


def own(path: Path) -> set[str]:
    """Modules of our package that a file imports."""
    return {n.removeprefix("payments.") for n in imports(path) if n.startswith("payments.")}


def packages(path: Path) -> set[str]:
    """Top-level names that a file imports, without our package and the standard library."""
    return {n.partition(".")[0] for n in imports(path)} - {"payments"} - sys.stdlib_module_names


def room(module: str) -> str:
    return module.partition(".")[0]


def ring(module: str) -> int:
    return next(number for number, rooms in enumerate(RINGS) if room(module) in rooms)


NEEDS = {name: own(path) for name, path in MODULES.items()}
PACKAGES = {name: packages(path) for name, path in MODULES.items()}


def test_imports_are_found() -> None:
    assert {room(name) for name in MODULES} == set().union(*RINGS[:-1])
    assert FUNCTIONS
    assert set().union(*NEEDS.values()) <= MODULES.keys()
    assert "domain.checks" in NEEDS["usecases.backend"]
    assert "requests" in PACKAGES["chapa.calls"]


def test_module_imports_only_its_own_ring_and_inner_rings() -> None:
    outward = [(a, b) for a in NEEDS for b in NEEDS[a] if ring(b) > ring(a)]
    assert outward == []
    between = {(a, b) for a in NEEDS for b in NEEDS[a] if {room(a), room(b)} == {"aws", "chapa"}}
    assert between == BETWEEN_ADAPTERS


def test_rules_of_the_domain_import_only_the_modules_before_them() -> None:
    for number, name in enumerate(DOMAIN):
        known = {f"domain.{each}" for each in DOMAIN}
        assert NEEDS[f"domain.{name}"] & known <= {f"domain.{each}" for each in DOMAIN[:number]}


def test_modules_have_no_import_cycle() -> None:
    assert list(TopologicalSorter(NEEDS).static_order())


def test_domain_imports_only_the_standard_library_and_does_no_io() -> None:
    for name in (each for each in MODULES if room(each) == "domain"):
        assert not PACKAGES[name], name
        assert not IO & {each.partition(".")[0] for each in imports(MODULES[name])}, name


def test_module_imports_only_packages_available_on_lambda() -> None:
    for name, found in PACKAGES.items():
        assert found <= AVAILABLE, name
    for package, users in USERS.items():
        assert {name for name in MODULES if package in PACKAGES[name]} == users


def test_function_imports_no_table_no_chapa_and_only_packages_available_on_lambda() -> None:
    for name, path in FUNCTIONS.items():
        assert packages(path) <= AVAILABLE - {"requests"}, name
        # The table and Chapa are behind the use cases.
        assert not own(path) & {"chapa.v1", "chapa.v2", "aws.table", "aws.repository"}, name


def test_versions_of_chapas_api_are_known_in_one_place_outside_of_chapa() -> None:
    versions = {"chapa.v1", "chapa.v2"}
    assert {name for name in NEEDS if NEEDS[name] & versions} == {"usecases.backend"}
    known = {"chapa.v1", "chapa.v2", "chapa.calls", "aws.secrets"}
    assert {name for name in NEEDS if "chapa.keys" in NEEDS[name]} == known


def test_deployed_code_imports_no_other_folder_of_ours() -> None:
    for path in (*MODULES.values(), *FUNCTIONS.values()):
        # The empty name is a relative import.
        tops = {name.partition(".")[0] for name in imports(path)}
        assert not tops & {"", "functions", "operators", "sandbox", "tests", "shared"}, path


@pytest.mark.parametrize("path", [*MODULES.values(), *FUNCTIONS.values()], ids=str)
def test_enums_are_plain_and_no_result_is_a_bool_among_others(path: Path) -> None:
    tree = ast.parse(path.read_text("utf-8"))
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    assert not names & NOT_PLAIN
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    results = [ast.unparse(each.returns) for each in functions if each.returns]
    assert not [result for result in results if "tuple[" in result and "bool" in result]
