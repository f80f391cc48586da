"""Mutation testing of the modules that decide and that write, with mutmut.

    python -m tests.mutation [NAME ...]    all of MODULES, or these: `checks`, `domain`

What the tests of a module itself let live is tried again against all tests that run in this
process. docs/verification.md says what is left, and why.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parent.parent
WORK = ROOT / ".sandbox" / "mutation"

MODULES = (
    "domain.aggregate",
    "domain.checks",
    "domain.decisions",
    "domain.ids",
    "domain.money",
    "domain.refunds",
    "domain.states",
    "aws.catalogue",
    "aws.comparisons",
    "aws.items",
    "aws.lists",
    "aws.repository",
    "aws.table",
    "chapa.signature",
)
ALL = ("tests/payments", "tests/functions", "tests/operators", "tests/test_events.py")
LEFT_OUT = (
    # It runs `./operate`, which needs a virtual environment beside it.
    "tests/operators/test_operators.py"
    "::test_executable_runs_anywhere_with_the_environment_of_its_caller",
    # It reads the source, and finds all mutants there.
    "tests/operators/test_policy.py",
)

NEEDED = (
    *("tests", "functions", "operators", "operate", "sandbox", "docs"),
    *("template.yaml", "openapi.yaml"),
)

ALIVE = {0: "survived", 33: "no test runs it"}
"""Of mutmut's exit codes; whatever else it is, a test noticed."""

LAUNCH = """
import pytest
from mutmut.__main__ import cli

# mutmut 3.7 asks pytest 9 for what it no longer has; 3.8 needs a click that SAM CLI does not take.
pytest.Item._nodeid = property(lambda item: item.nodeid)
cli()
"""


def source_of(module: str) -> str:
    return f"payments/{module.replace('.', '/')}.py"


def own_tests(module: str) -> str:
    """The tests of a module's folder."""
    return f"tests/payments/{module.partition('.')[0]}"


def lay_out(folder: Path, modules: Iterable[str], tests: Sequence[str]) -> None:
    """A copy in which modules lie where their names say, as mutmut wants them."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in NEEDED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, folder / name)
    shutil.copytree(ROOT / "shared" / "payments", folder / "payments")
    settings: dict[str, object] = {
        "source_paths": ["payments"],
        "only_mutate": [source_of(module) for module in modules],
        "also_copy": list(NEEDED),
        "pytest_add_cli_args": ["-p", "no:cacheprovider", *(f"--deselect={t}" for t in LEFT_OUT)],
        "pytest_add_cli_args_test_selection": list(tests),
        "use_git_change_detection": False,
    }
    lines = [f"{name} = {json.dumps(value)}" for name, value in settings.items()]
    project = (ROOT / "pyproject.toml").read_text()
    (folder / "pyproject.toml").write_text("\n".join([project, "[tool.mutmut]", *lines, ""]))


def run(folder: Path, mutants: Sequence[str]) -> None:
    children = os.environ.get("CHILDREN", str(os.cpu_count() or 1))
    subprocess.run(
        [sys.executable, "-c", LAUNCH, "run", "--max-children", children, *mutants],
        cwd=folder,
        check=True,
    )


def outcomes(folder: Path, module: str) -> dict[str, int | None]:
    known = json.loads((folder / "mutants" / f"{source_of(module)}.meta").read_text())
    codes: dict[str, int | None] = known["exit_code_by_key"]
    return codes


def alive(found: dict[str, int | None]) -> list[str]:
    return [mutant for mutant, code in found.items() if code in ALIVE]


def main() -> None:
    names = set(sys.argv[1:])
    modules = [m for m in MODULES if not names or names & {m, *m.split(".")}]
    if not modules:
        sys.exit(f"No module has such a name. These are mutated: {', '.join(MODULES)}.")
    own, every = WORK / "own", WORK / "all"
    lay_out(own, modules, sorted({own_tests(module) for module in modules}))
    run(own, [])
    first = {module: outcomes(own, module) for module in modules}
    survivors = [mutant for found in first.values() for mutant in alive(found)]
    second: dict[str, int | None] = {}
    if survivors:
        lay_out(every, modules, ALL)
        run(every, survivors)
        for module in modules:
            second |= outcomes(every, module)

    console = Console()
    table = Table("Module", "Mutants", "Caught by its own tests", "by all tests", "Alive")
    left: list[str] = []
    for module, found in first.items():
        lived = alive(found)
        left += (still := [mutant for mutant in lived if second[mutant] in ALIVE])
        counts = (len(found), len(found) - len(lived), len(found) - len(still), len(still))
        table.add_row(module, *map(str, counts))
    console.print(table)
    for mutant in left:
        console.print(mutant, markup=False)
    console.print(f"To see one: cd {own} && python -m mutmut show NAME")


if __name__ == "__main__":
    main()
