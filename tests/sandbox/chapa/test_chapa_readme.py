"""The README agrees with the code, and its examples run."""

import json
import re
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

import sandbox.chapa
from sandbox.chapa import api_v1, api_v2
from sandbox.chapa.__main__ import arguments
from sandbox.chapa.api import Api
from sandbox.chapa.faults import DETAILS
from sandbox.chapa.in_process import BASE_URL
from sandbox.chapa.settings import Settings, Switches, SwitchesV2
from tests.sandbox.chapa.merchant import LocalMerchant

README = (Path(sandbox.chapa.__file__).parent / "README.md").read_text()


@pytest.mark.parametrize(("version", "switches"), [("v1", Switches), ("v2", SwitchesV2)])
def test_readme_lists_each_switch_with_its_values_and_the_default_first(
    version: str, switches: type[BaseModel]
) -> None:
    section = README.partition(f"## Switches of {version}")[2].partition("\n## ")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*?`.*?) \|", section, re.MULTILINE))
    for name, field in switches.model_fields.items():
        values = get_args(field.annotation)
        assert values[0] == field.default
        shown = [value for value in re.findall(r"`([^`]+)`", rows[name]) if value in values]
        assert shown == list(dict.fromkeys(values)), name
    assert rows.keys() == switches.model_fields.keys()


@pytest.mark.parametrize("api", [api_v1.API, api_v2.API], ids=["v1", "v2"])
def test_readme_names_each_call_with_its_address(api: Api) -> None:
    section = README.partition(f"The calls of {api.version}")[2].partition("\n\nThe ")[0]
    for method, rule, call, _ in api.routes:
        address = re.escape(f"{method} {rule.partition('<')[0]}")
        assert re.search(rf"`{address}.*\| .*`{call}`", section), rule


def test_readme_names_each_fault_setting_and_option() -> None:
    options = re.findall(r"--[a-z0-9-]+", arguments().format_usage())
    for name in (*DETAILS, *Settings.model_fields, *options):
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
