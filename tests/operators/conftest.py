from io import StringIO

import pytest

import operators.__main__ as tool
from operators import cli
from operators.stack import Stack
from tests.operators.tool import ALMAZ, OUTPUTS, Result, Run
from tests.shop import Shop


@pytest.fixture
def run(
    shop: Shop,
    log: StringIO,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Run:
    """Runs a command on the shop; `yes=False` leaves out the answer to its question."""

    def stack(name: str) -> Stack:
        on_the_shop = Stack(name)
        vars(on_the_shop).update(backend=shop.backend, identity=ALMAZ, outputs=OUTPUTS)
        return on_the_shop

    monkeypatch.setattr(cli, "Stack", stack)

    def run(*argv: object, yes: bool = True) -> Result:
        capsys.readouterr()
        code = tool.main([*(["--yes"] if yes else []), *map(str, argv)])
        return Result(code, *capsys.readouterr())

    return run
