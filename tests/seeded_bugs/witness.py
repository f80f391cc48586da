"""A pytest plugin that writes down what failed, and how.

A line of JSON for each failure goes to the file that FAILURES names.
"""

import json
import os
from pathlib import Path
from typing import Any

import pytest


def pytest_exception_interact(node: pytest.Item, call: pytest.CallInfo[Any]) -> None:
    assert call.excinfo is not None
    failure = {
        "test": node.nodeid,
        "kind": call.excinfo.typename,
        "words": call.excinfo.exconly(tryshort=True),
    }
    with Path(os.environ["FAILURES"]).open("a") as file:
        file.write(json.dumps(failure) + "\n")
