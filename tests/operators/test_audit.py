from pathlib import Path
from typing import Any

import pytest

from operators import audit
from operators.files import write_whole
from tests.operators.tool import Run
from tests.shop import Shop

pytestmark = pytest.mark.corrupts


@pytest.fixture
def broken(shop: Shop) -> None:
    """A table with five orders, one violation of an order and one of the stock."""
    for _ in range(2):
        shop.paid()
    shop.paid({"LAST": 1})
    shop.begun({"MUG": 1})
    shop.order({"EBOOK": 1})
    shop.stock_up("MUG", "Mug", 1, "ETB", 5)
    shop.table.put_item(Item={"pk": "ORDER#broken", "sk": "ORDER", "status": "lost"})


def test_interrupted_audit_goes_on_and_finds_the_same(
    broken: None, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    whole = run("audit", "--json")
    assert (whole.code, len(whole.data["violations"])) == (1, 2)
    path = tmp_path / "audit.json"
    monkeypatch.setattr(audit, "PROGRESS_ITEMS", 1)
    left = 3

    def write(path: Path, text: str) -> None:
        nonlocal left
        write_whole(path, text)
        left -= 1
        if not left:
            raise KeyboardInterrupt

    monkeypatch.setattr(audit, "write_whole", write)
    stopped = run("audit", "--resume", path, "--json")
    assert (stopped.code, stopped.out, path.exists()) == (130, "", True)
    resumed = run("audit", "--resume", path, "--json")
    assert resumed.data == whole.data
    assert resumed.err.startswith("Going on after ")
    assert not path.exists()


@pytest.mark.parametrize("text", ["", "{}", '{"table": "other", "held": {}}'])
def test_file_that_holds_no_progress_of_this_table_is_refused(
    run: Run, tmp_path: Path, text: str
) -> None:
    path = tmp_path / "audit.json"
    path.write_text(text)
    assert run("audit", "--resume", path).code == 2
    assert path.read_text() == text


def test_order_that_changes_during_the_scan_is_read_again_as_a_whole(shop: Shop, run: Run) -> None:
    shop.begun()
    partitions = audit.partitions

    def torn(*args: Any) -> Any:
        for items in partitions(*args):
            # The scan has seen the payment, and not yet the order.
            yield [i for i in items if i["sk"]["S"] != "ORDER"] if len(items) > 1 else items

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(audit, "partitions", torn)
        audited = run("audit", "--json")
    assert (audited.code, audited.data["violations"]) == (0, [])


def test_violations_beyond_a_limit_are_only_counted(
    broken: None, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "MAX_SENTENCES", 1)
    data = run("audit", "--json").data
    assert (len(data["violations"]), data["violations_not_shown"]) == (1, 1)
