import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sandbox import stack as sandbox
from tests.journeys.shop import DeployedShop

PATIENCE = 120
"""Seconds for an example that waits for its webhook without a limit of its own."""

README = (Path(__file__).parents[2] / "README.md").read_text()


def test_example_of_the_readme_pays_an_order(
    shop: DeployedShop,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "stack.json").write_text(json.dumps(shop.stack))
    monkeypatch.setattr(sandbox, "STATE", tmp_path)
    monkeypatch.setattr(sys, "argv", ["stack", "env"])
    assert sandbox.main() == 0
    exports = capsys.readouterr().out

    script = README.partition("```bash\n")[2].partition("```")[0]
    first, _, rest = script.partition("\n")
    assert first.startswith('eval "$(.venv/bin/python -m sandbox.stack env)"')
    rest = rest.replace(".venv/bin/python", sys.executable).replace(".sandbox/", f"{tmp_path}/")
    out = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", exports + rest],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"NO_PROXY": "127.0.0.1"},
        timeout=PATIENCE,
    ).stdout
    assert out.startswith(shop.chapa.base_url)
    last, _ = json.JSONDecoder().raw_decode(out[out.rindex('{"tx_ref"') :])
    assert (last["status"], last["order_status"]) == ("succeeded", "paid")
