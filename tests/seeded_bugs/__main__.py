"""Seeds each known bug in a copy of the tree: its tests must pass without it and fail with it.

python -m tests.seeded_bugs [WORDS]    only bugs whose name contains WORDS
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
BROKEN_CODE = {"AttributeError", "ImportError", "ModuleNotFoundError", "NameError", "SyntaxError"}
"""A test that fails so shows that the changed code cannot run, and nothing about behaviour."""


class Failure(NamedTuple):
    test: str
    kind: str
    words: str


class Verdict(NamedTuple):
    bug: Bug
    seconds: float
    failures: list[Failure]
    """The first failure of each of the bug's tests."""
    problem: str
    """Why the bug does not count as caught; empty when it does."""


def table() -> str:
    rows = ["| Bug | Breaks | Caught by |", "|---|---|---|"]
    for bug in BUGS:
        tests = "<br>".join(f"`{test.removeprefix('tests/')}`" for test in bug.caught_by)
        rows.append(f"| {bug.what} | {bug.breaks} | {tests} |")
    return "\n".join(rows)


def run(tree: Path, *tests: str) -> tuple[int, list[Failure], str]:
    """pytest's exit code, the failures up to the first, and its output."""
    with tempfile.NamedTemporaryFile("r") as file:
        done = subprocess.run(
            # pytest loads a plugin early only if its -p stands alone.
            [sys.executable, "-m", "pytest", "-p", "tests.seeded_bugs.witness", "-xq", *tests],
            cwd=tree,
            # Byte code is matched by time and size, and a bug may change neither.
            env=os.environ | {"FAILURES": file.name, "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        failures = [Failure(**json.loads(line)) for line in file]
    return done.returncode, failures, done.stdout + done.stderr


def seed(tree: Path, bug: Bug) -> Verdict:
    began = time.monotonic()
    path = tree / bug.path
    source = path.read_text()
    failures: list[Failure] = []
    problem = ""
    if source.count(bug.old) != 1:
        return Verdict(bug, 0, [], f"found {source.count(bug.old)} times in {bug.path}")
    path.write_text(source.replace(bug.old, bug.new))
    try:
        for test in bug.caught_by:
            code, failed, output = run(tree, *test.split())
            if code == 0:
                problem = f"{test} passes with the bug"
            elif code != 1 or not failed:
                problem = f"{test} did not run:\n{output[-2000:]}"
            elif failed[0].kind in BROKEN_CODE:
                problem = f"{test} fails with {failed[0].words}"
            failures += failed[:1]
    except subprocess.TimeoutExpired:
        problem = f"no end within {SECONDS} seconds"
    finally:
        path.write_text(source)
    return Verdict(bug, time.monotonic() - began, failures, problem)


def seed_all(bugs: list[Bug], console: Console) -> list[Verdict]:
    """Raises SystemExit when a test that failed with a bug also fails without any."""
    workers = os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(workers) as pool:
        trees: SimpleQueue[Path] = SimpleQueue()
        for number in range(workers):
            trees.put(Path(shutil.copytree(ROOT, Path(folder, str(number)), ignore=NOT_COPIED)))

        def in_a_tree(bug: Bug) -> Verdict:
            tree = trees.get()
            try:
                return seed(tree, bug)
            finally:
                trees.put(tree)

        done = pool.map(in_a_tree, bugs)
        verdicts = list(track(done, "Seeding", len(bugs), console=console))
        failed = {failure.test for verdict in verdicts for failure in verdict.failures}
        code, _, output = run(trees.get(), *sorted(failed)) if failed else (0, [], "")
        if code:
            raise SystemExit(f"Without a bug the same tests fail:\n{output}")
    return verdicts


def main() -> None:
    if sys.argv[1:] == ["--table"]:
        sys.stdout.write(table() + "\n")
        return
    words = " ".join(sys.argv[1:])
    bugs = [bug for bug in BUGS if words in bug.what]
    if not bugs:
        raise SystemExit(f"No bug has {words!r} in its name; see {Path(__file__).parent}/bugs.py.")
    console = Console()
    verdicts = seed_all(bugs, console)
    results = Table("Bug", "Caught by", "How it failed", "s", expand=True)
    for bug, seconds, failures, problem in verdicts:
        how = problem or "\n".join(failure.words.splitlines()[0] for failure in failures)
        tests = "\n".join(failure.test.rpartition("/")[2] for failure in failures)
        results.add_row(bug.what, tests, how, f"{seconds:.0f}", style="red" if problem else "")
    console.print(results)
    missed = [verdict for verdict in verdicts if verdict.problem]
    console.print(f"{len(verdicts) - len(missed)} of {len(verdicts)} bugs were caught.")
    if missed:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
