"""The README says what the code does."""

import re
from pathlib import Path
from typing import get_args

import sandbox.chapa
from sandbox.chapa.faults import DETAILS
from sandbox.chapa.settings import Settings, Switches

README = (Path(sandbox.chapa.__file__).parent / "README.md").read_text()


def test_the_readme_lists_each_switch_with_its_values_and_the_default_first() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (`.*?) \|", README, re.MULTILINE))
    for name, field in Switches.model_fields.items():
        values = get_args(field.annotation)
        assert values[0] == field.default
        shown = [value for value in re.findall(r"`([^`]+)`", rows[name]) if value in values]
        assert shown == list(dict.fromkeys(values)), name


def test_the_readme_names_each_fault_and_setting() -> None:
    for name in (*DETAILS, *Settings.model_fields.keys() - {"switches"}):
        assert f"`{name}`" in README
