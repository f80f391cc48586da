"""The list of planted bugs cannot rot: each still fits the source, and its tests exist."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest
from samcli.yamlhelper import yaml_parse

from tests.search.scenes import SCENES
from tests.seeded_bugs.__main__ import table
from tests.seeded_bugs.bugs import BUGS, REPOSITORY, Bug

ROOT = Path(__file__).parent.parent


@cache
def functions(path: Path) -> dict[str, str]:
    """Every function and method of a module, named as in a node id, with its source."""
    source = path.read_text()
    found = {}
    for node in ast.parse(source).body:
        prefix = f"{node.name}::" if isinstance(node, ast.ClassDef) else ""
        for each in node.body if isinstance(node, ast.ClassDef) else [node]:
            if isinstance(each, ast.FunctionDef):
                found[prefix + each.name] = ast.get_source_segment(source, each) or ""
    return found


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.what)
def test_a_planted_bug_fits_the_source_and_names_tests_that_exist(bug: Bug) -> None:
    source = (ROOT / bug.path).read_text()
    assert source.count(bug.old) == 1
    planted = source.replace(bug.old, bug.new)
    assert planted != source
    if bug.path.endswith(".py"):
        ast.parse(planted)
    else:
        yaml_parse(planted)
    for test in bug.caught_by:
        if test.startswith("tests/search/interleavings -k "):
            assert test.split()[-1] in {scene.__name__ for scene in SCENES}
            continue
        where, _, name = test.partition("::")
        assert name in functions(ROOT / where)


def test_each_bug_is_another() -> None:
    assert len({bug.what for bug in BUGS}) == len(BUGS)
    assert len({(bug.path, bug.old, bug.new) for bug in BUGS}) == len(BUGS)


def test_every_condition_of_the_repository_is_among_them() -> None:
    """Whatever makes a condition, itself or for `_update`, has a bug that touches it."""
    conditional = {
        name: source
        for name, source in functions(ROOT / REPOSITORY).items()
        if re.search(r"\bConditionExpression|self\._update\(", source)
    }
    del conditional["Repository::_update"]  # It hands on what others ask of it.
    assert len(conditional) == 8
    planted = [bug.old for bug in BUGS if bug.path == REPOSITORY]
    for name, source in conditional.items():
        assert any(old in source for old in planted), name


def test_the_table_of_the_page_is_the_list() -> None:
    assert table() in (ROOT / "docs" / "verification.md").read_text()
