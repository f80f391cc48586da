"""Each seeded bug fits the source, and names tests that exist."""

import ast
from pathlib import Path

import pytest
from samcli.yamlhelper import yaml_parse

from tests.search.scenes import SCENES
from tests.seeded_bugs.__main__ import table
from tests.seeded_bugs.bugs import BUGS, Bug

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.what)
def test_seeded_bug_fits_the_source_and_names_tests_that_exist(bug: Bug) -> None:
    source = (ROOT / bug.path).read_text()
    assert source.count(bug.old) == 1
    seeded = source.replace(bug.old, bug.new)
    assert seeded != source
    if bug.path.endswith(".py"):
        ast.parse(seeded)
    else:
        yaml_parse(seeded)
    for test in bug.caught_by:
        path, _, scene = test.partition(" -k ")
        assert (ROOT / path).is_file()
        assert not scene or scene in {setup.__name__ for setup in SCENES}


def test_each_seeded_bug_is_another() -> None:
    assert len({bug.what for bug in BUGS}) == len(BUGS)
    assert len({(bug.path, bug.old, bug.new) for bug in BUGS}) == len(BUGS)


def test_table_of_the_page_is_the_list() -> None:
    assert table() in (ROOT / "docs" / "verification.md").read_text()
