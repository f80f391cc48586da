import csv
from pathlib import Path
from typing import Any

import pytest

from operators.files import csv_text, write_whole
from tests.operators.tool import Run
from tests.shop import Shop

DAY, NEXT_DAY = "2026-11-22", "2026-11-23"


def books(run: Run, day: str, *more: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The totals of a day's one currency, and its rows."""
    shown = run("payments", "--day", day, "--json", *more)
    assert shown.code == 0
    [total] = shown.data["totals"] or [{}]
    return total, shown.data["rows"]


def test_refund_belongs_to_the_day_of_its_completion_and_payment_to_its_own(
    shop: Shop, run: Run
) -> None:
    _, tx_ref = shop.paid()
    shop.clock.advance(86_400)
    run("refund", tx_ref, "--key", "T-1", "--amount", "100.50")
    shop.sweeps()
    total, [payment] = books(run, DAY)
    assert (total["received"], total["refunded"], total["balance"]) == ("900.00", "0.00", "900.00")
    assert (payment["kind"], payment["tx_ref"], payment["amount"]) == ("payment", tx_ref, "900.00")
    # The simulator keeps 3.5 %.
    assert (payment["fee"], total["fees"], total["unknown_fees"]) == ("31.50", "31.50", 0)
    total, [refund] = books(run, NEXT_DAY)
    assert (total["payments"], total["refunds"], total["balance"]) == (0, 1, "-100.50")
    assert (refund["kind"], refund["amount"], refund["fee"]) == ("refund", "100.50", None)


def test_payment_in_review_stays_in_the_books_and_dismissed_one_leaves_them(
    shop: Shop, run: Run
) -> None:
    _, tx_ref = shop.begun()
    shop.control.pay(tx_ref, amount="1.00", webhook=False)
    shop.notify(tx_ref)
    total, [row] = books(run, DAY)
    assert (row["status"], row["amount"], total["received"]) == ("review", "1.00", "1.00")
    shop.unanswered()
    run("resolve", tx_ref, "--dismiss", "--unanswered", "--reason", "No money came")
    assert books(run, DAY) == ({}, [])


def test_reversal_counts_what_our_refunds_left(shop: Shop, run: Run) -> None:
    _, tx_ref = shop.paid()
    run("refund", tx_ref, "--key", "T-1", "--amount", "100.00")
    shop.sweeps()
    shop.control.reverse(tx_ref, webhook=False)
    run("check", tx_ref)
    total, _ = books(run, DAY)
    assert (total["refunded"], total["reversed"], total["balance"]) == ("100.00", "800.00", "0.00")


def test_refund_outside_of_chapa_and_one_on_its_dashboard_are_told_apart(
    shop: Shop, run: Run
) -> None:
    _, tx_ref = shop.paid({"LAST": 1})
    _, other = shop.paid({"MUG": 1})
    shop.simulator.find(other).status = "refunded"  # type: ignore[union-attr]
    shop.clock.advance(3)
    run("check", other)
    refund_id = run("refund", tx_ref, "--key", "T-1", "--json").data["refund_id"]
    run("settle-refund", refund_id, "--reason", "In cash")
    total, rows = books(run, DAY)
    assert {row["kind"] for row in rows} == {
        *("payment", "refund outside of Chapa", "refund on Chapa's dashboard"),
    }
    # Chapa still has what was paid back in cash.
    assert (total["outside"], total["refunded"], total["balance"]) == ("1.00", "150.50", "1.00")


def test_day_is_that_of_the_zone(shop: Shop, run: Run) -> None:
    shop.clock.advance(13 * 3600)  # 22:00 UTC is the next day in Addis Ababa.
    shop.paid()
    zone = ("--zone", "Africa/Addis_Ababa")
    assert books(run, DAY, *zone) == ({}, [])
    _, [row] = books(run, NEXT_DAY, *zone)
    assert row["time"] == "2026-11-23T01:00:00+03:00"
    assert len(run("list", "--day", NEXT_DAY, *zone, "--json").data) == 1


def test_rows_are_written_to_a_file_and_totals_are_printed(
    shop: Shop, run: Run, tmp_path: Path
) -> None:
    _, tx_ref = shop.paid()
    path = tmp_path / "day.csv"
    written = run("payments", "--day", DAY, "--csv", path, "--json").data
    assert (written["rows_written"], "rows" in written) == (1, False)
    with path.open(newline="") as file:
        [row] = csv.DictReader(file)
    assert (row["tx_ref"], row["amount"], row["currency"]) == (tx_ref, "900.00", "ETB")
    assert run("payments", "--day", DAY, "--csv", tmp_path / "no" / "day.csv").code == 2


@pytest.mark.corrupts
def test_order_that_cannot_be_read_is_named_beside_the_others(shop: Shop, run: Run) -> None:
    shop.paid({"LAST": 1})
    order_id, tx_ref = shop.paid()
    lost = {"pk": f"ORDER#{order_id}", "sk": f"PAYMENT#{tx_ref}"}
    shop.table.update_item(Key=lost, AttributeUpdates={"amount": {"Action": "DELETE"}})
    shown = run("payments", "--day", DAY, "--json")
    assert (shown.code, len(shown.data["rows"])) == (1, 1)
    assert shown.data["broken"][0]["order_id"] == order_id


def test_cell_of_a_spreadsheet_is_no_formula() -> None:
    text = csv_text(["a", "b", "c"], [{"a": "=1+1", "b": "@x", "c": None}, {"a": "x,y"}])
    assert text.splitlines() == ["a,b,c", "'=1+1,'@x,", '"x,y",,']


def test_interrupted_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "day.csv"
    write_whole(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_whole(path, "new \ud800")
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [("day.csv", "old")]
