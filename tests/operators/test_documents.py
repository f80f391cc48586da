"""The command lines of the pages and of the tool's own help are some that the tool takes."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.exceptions import TyperException
from typer.main import get_command

import operators.__main__  # noqa: F401 - it has all commands
from operators.cli import app
from tests.template import ROOT

PAGES = [ROOT / "README.md", *ROOT.glob("docs/*.md")]
TOOL: Any = get_command(app)


def commands(group: Any, *above: str) -> Iterator[tuple[str, Any]]:
    """Each command by its name, such as `catalogue load`."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, *above, name)
        else:
            yield " ".join((*above, name)), command


COMMANDS = dict(commands(TOOL))


def parse(line: str) -> tuple[str, str]:
    """The command of a line, and what is wrong with its options and arguments."""
    words = shlex.split(re.sub(r"--stack \S+", "", line))
    name = " ".join(words[: 2 if words[0] == "catalogue" else 1])
    try:
        COMMANDS[name].make_context(name, words[len(name.split()) :])
    except TyperException as error:
        return name, str(error)
    return name, ""


@pytest.mark.parametrize("name", COMMANDS)
def test_command_has_examples_that_it_takes_and_a_place_in_the_page(name: str) -> None:
    text = str(COMMANDS[name].epilog)
    examples = re.findall(r"\./operate ([^;]+?)(?:;|, again|\. A file|$)", text)
    assert {parse(line) for line in examples} == {(name, "")}
    assert f"`./operate {name}" in (ROOT / "docs/operators.md").read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_command_lines_of_a_page_are_taken(page: Path) -> None:
    """In a sentence, a line may leave out what the command needs."""
    lines = set(re.findall(r"\./operate ([^`;#\n]+)", page.read_text())) - {"COMMAND --help"}
    wrong = {line: parse(line)[1] for line in lines}
    assert {line: why for line, why in wrong.items() if why and "Missing" not in why} == {}
