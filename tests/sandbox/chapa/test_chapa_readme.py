"""The README agrees with the code, and its examples run."""

import json
import re
from pathlib import Path
from typing import Any, get_args

import sandbox.chapa
from sandbox.chapa.__main__ import arguments
from sandbox.chapa.faults import DETAILS
from sandbox.chapa.in_process import BASE_URL
from sandbox.chapa.settings import Settings, Switches
from tests.sandbox.chapa.merchant import LocalMerchant

README = (Path(sandbox.chapa.__file__).parent / "README.md").read_text()


def test_readme_lists_each_switch_with_its_values_and_the_default_first() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (`.*?) \|", README, re.MULTILINE))
    for name, field in Switches.model_fields.items():
        values = get_args(field.annotation)
        assert values[0] == field.default
        shown = [value for value in re.findall(r"`([^`]+)`", rows[name]) if value in values]
        assert shown == list(dict.fromkeys(values)), name
    assert rows.keys() == Switches.model_fields.keys()


def test_readme_names_each_fault_setting_and_option() -> None:
    options = re.findall(r"--[a-z-]+", arguments().format_usage())
    for name in (*DETAILS, *Settings.model_fields.keys() - {"switches"}, *options):
        assert f"`{name}`" in README


def test_python_example_of_the_readme_runs() -> None:
    [example] = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    names: dict[str, Any] = {}
    exec(example, names)  # noqa: S102
    assert [json.loads(body)["event"] for body in names["webhooks"]] == ["charge.success"]


def test_control_examples_of_the_readme_are_accepted(merchant: LocalMerchant) -> None:
    merchant.initialize()
    examples = re.findall(r"curl (?:-X (\w+))? +'?localhost:8600([^ ']+)'?(?: +-d '(.+)')?", README)
    assert len(examples) == 5
    for method, path, body in examples:
        url = BASE_URL + path
        assert merchant.session.request(method or "GET", url, data=body).ok, path
