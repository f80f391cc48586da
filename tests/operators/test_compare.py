from datetime import timedelta

import pytest

from payments.domain.states import PaymentStatus
from tests.operators.tool import Run
from tests.shop import Shop

DAY = ("--from", "2026-11-22", "--to", "2026-11-22")


def test_equal_books_exit_with_0(shop: Shop, run: Run) -> None:
    shop.paid()
    shop.clock.advance(60)
    code, _, error = run("compare", *DAY, "--json")
    assert (code, error) == (0, "")
    shown = run("compare", *DAY, "--json").data
    used = {"provider": shop.provider, "rows": 1, "paid": 1, "complete": True}
    account = used | {"differences": 0, "foreign": 0, "unreadable": 0}
    assert account in shown["accounts"]
    assert (shown["differences"], shown["possible"]) == ([], [])


def test_difference_is_printed_and_exits_with_1(shop: Shop, run: Run) -> None:
    _, tx_ref = shop.paid()
    shop.control.reverse(tx_ref, webhook=False)
    shop.clock.advance(60)
    found = run("compare", *DAY)
    assert found.code == 1
    assert f"{tx_ref}  status: ours succeeded; Chapa's reversed\n" in found.out
    assert run("compare", *DAY, "--json").data["differences"][0]["resolvable"] is True
    # Nothing is changed unless that is asked for.
    assert len(shop.messages) == 0
    assert shop.payment(tx_ref).status is PaymentStatus.SUCCEEDED


def test_check_has_the_difference_resolved(shop: Shop, run: Run) -> None:
    order_id, tx_ref = shop.paid()
    shop.control.reverse(tx_ref, webhook=False)
    shop.clock.advance(60)
    assert run("compare", *DAY, "--check").code == 1
    shop.work()
    assert shop.payment(tx_ref).status is PaymentStatus.REVERSED
    assert "payment.differs" in shop.event_names(order_id)
    assert run("compare", *DAY).code == 0


def test_success_that_may_be_of_a_payment_of_ours_is_checked(shop: Shop, run: Run) -> None:
    _, tx_ref = shop.begun()
    shop.control.pay(tx_ref, webhook=False)
    shop.clock.advance(60)
    shown = run("compare", *DAY, "--json").data
    assert [row["tx_ref"] for row in shown["possible"] or shown["differences"]] == [tx_ref]
    run("compare", *DAY, "--check")
    shop.work()
    assert shop.payment(tx_ref).status is PaymentStatus.SUCCEEDED


@pytest.mark.corrupts
def test_other_business_is_shown_when_asked_for(shop: Shop, run: Run) -> None:
    _, tx_ref = shop.paid()
    [record] = shop.table.scan(
        FilterExpression="sk = :sk", ExpressionAttributeValues={":sk": f"PAYMENT#{tx_ref}"}
    )["Items"]
    shop.table.delete_item(Key={"pk": record["pk"], "sk": record["sk"]})
    shop.clock.advance(60)
    code, out, _ = run("compare", *DAY, "--foreign")
    assert (code, "900.00 ETB" in out) == (0, True)
    [row] = run("compare", *DAY, "--foreign", "--json").data["foreign"]
    assert (row["kind"], row["chapa_reference"]) == ("payment", record["provider_reference"])
    assert "foreign" not in run("compare", *DAY, "--json").data


def test_list_that_cannot_be_read_exits_with_2(shop: Shop, run: Run) -> None:
    shop.control.add_fault("list", "status", status=401, times=None)
    code, _, error = run("compare", *DAY)
    assert code == 2
    assert f"The list of {shop.provider} cannot be read: HTTP 401" in error


@pytest.mark.parametrize(
    "words",
    [
        "compare",
        "compare --from 2026-11-22",
        "compare --from 2026-11-22 --to yesterday",
        "compare --from 2026-11-22 --to 2026-11-21",
        "compare --from 2099-01-01 --to 2099-01-01",
        "compare --from 0001-01-01 --to 2026-11-22",
        "compare --from 2026-11-22 --to 9999-12-31",
        "compare --from 2026-11-22 --to 2026-11-22 --zone Mars",
    ],
)
def test_wrong_days_are_refused_before_anything_is_read(shop: Shop, run: Run, words: str) -> None:
    calls = shop.count_reads()
    code, out, error = run(*words.split())
    assert (code, out, calls) == (2, "", [])
    assert "Traceback" not in error


def test_days_of_a_time_zone_are_those_of_its_clock(shop: Shop, run: Run) -> None:
    """09:00 UTC is 23:00 of the day before in Honolulu."""
    shop.paid()
    shop.clock.now += timedelta(days=1)
    before = ("--from", "2026-11-21", "--to", "2026-11-21")
    rows = {
        zone: sum(
            account["rows"]
            for account in run("compare", *before, "--zone", zone, "--json").data["accounts"]
        )
        for zone in ("UTC", "Pacific/Honolulu")
    }
    assert rows == {"UTC": 0, "Pacific/Honolulu": 1}
