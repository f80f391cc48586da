"""Plants each known bug in a copy of the tree, and sees that the tests named with it fail.

python -m tests.seeded_bugs [WORDS]    only bugs of which what they are contains WORDS
python -m tests.seeded_bugs --table    the table of docs/verification.md
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple

from rich.console import Console
from rich.progress import track
from rich.table import Table

from tests.seeded_bugs.bugs import BUGS, Bug

ROOT = Path(__file__).parents[2]
NOT_COPIED = shutil.ignore_patterns(".*", "__pycache__", "mutants")
SECONDS = 600
CLUMSY = {"AttributeError", "ImportError", "ModuleNotFoundError", "NameError", "SyntaxError"}
"""What fails so says that the bug is no program, and nothing about the product."""


class Failure(NamedTuple):
    test: str
    kind: str
    words: str


class Verdict(NamedTuple):
    bug: Bug
    seconds: float
    failures: list[Failure]
    """One for each test that is named; empty when one of them noticed nothing."""
    why_not: str


def table() -> str:
    """What is planted, for docs/verification.md."""
    rows = ["| Bug | Promise | Caught by |", "|---|---|---|"]
    for bug in BUGS:
        tests = "<br>".join(f"`{test.removeprefix('tests/')}`" for test in bug.caught_by)
        rows.append(f"| {bug.what} | {bug.breaks} | {tests} |")
    return "\n".join(rows)


def run(tree: Path, *tests: str) -> tuple[int, list[Failure], str]:
    """pytest's exit code, what failed, and what it said, up to the first failure."""
    with tempfile.NamedTemporaryFile("r") as file:
        done = subprocess.run(
            # pytest loads a plugin early, and then does not see a -p among other letters.
            [sys.executable, "-m", "pytest", "-p", "tests.seeded_bugs.witness", "-xq", *tests],
            cwd=tree,
            # Byte code is told apart by time and size, and a bug may have both of what it replaces.
            env=os.environ | {"FAILURES": file.name, "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        failures = [Failure(**json.loads(line)) for line in file]
    return done.returncode, failures, done.stdout + done.stderr


def plant(tree: Path, bug: Bug) -> Verdict:
    began = time.monotonic()
    path = tree / bug.path
    healthy = path.read_text()
    failures: list[Failure] = []
    why_not = ""
    if healthy.count(bug.old) != 1:
        return Verdict(bug, 0, [], f"found {healthy.count(bug.old)} times in {bug.path}")
    path.write_text(healthy.replace(bug.old, bug.new))
    try:
        for test in bug.caught_by:
            code, failed, said = run(tree, *test.split())
            if code == 0:
                why_not = f"{test} noticed nothing"
            elif code != 1 or not failed:
                why_not = f"{test} was not run:\n{said[-2000:]}"
            elif failed[0].kind in CLUMSY:
                why_not = f"{test} met {failed[0].words}"
            failures += failed[:1]
    except subprocess.TimeoutExpired:
        why_not = f"no end within {SECONDS} seconds"
    finally:
        path.write_text(healthy)
    return Verdict(bug, time.monotonic() - began, failures, why_not)


def plant_all(bugs: list[Bug], console: Console) -> list[Verdict]:
    """And see that without any of them, what failed does not."""
    hands = os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(hands) as pool:
        trees: SimpleQueue[Path] = SimpleQueue()
        for number in range(hands):
            trees.put(Path(shutil.copytree(ROOT, Path(folder, str(number)), ignore=NOT_COPIED)))

        def in_a_tree(bug: Bug) -> Verdict:
            tree = trees.get()
            try:
                return plant(tree, bug)
            finally:
                trees.put(tree)

        done = pool.map(in_a_tree, bugs)
        verdicts = list(track(done, "Planting", len(bugs), console=console))
        failed = {failure.test for verdict in verdicts for failure in verdict.failures}
        code, _, said = run(trees.get(), *sorted(failed)) if failed else (0, [], "")
        if code:
            raise SystemExit(f"Without a bug the same tests fail:\n{said}")
    return verdicts


def main() -> None:
    if sys.argv[1:] == ["--table"]:
        sys.stdout.write(table() + "\n")
        return
    words = " ".join(sys.argv[1:])
    bugs = [bug for bug in BUGS if words in bug.what]
    if not bugs:
        raise SystemExit(
            f"No bug is called {words!r}; {Path(__file__).with_name('bugs.py')} has all."
        )
    console = Console()
    verdicts = plant_all(bugs, console)
    shown = Table("Bug", "Caught by", "How it failed", "s", expand=True)
    for bug, seconds, failures, why_not in verdicts:
        how = why_not or "\n".join(failure.words.splitlines()[0] for failure in failures)
        tests = "\n".join(failure.test.rpartition("/")[2] for failure in failures)
        style = "red" if why_not else ""
        shown.add_row(bug.what, tests, how, f"{seconds:.0f}", style=style)
    console.print(shown)
    missed = [verdict for verdict in verdicts if verdict.why_not]
    console.print(f"{len(verdicts) - len(missed)} of {len(verdicts)} bugs were caught.")
    if missed:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
