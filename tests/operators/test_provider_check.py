"""`./operate provider-check` on the simulator."""

from typing import Any, cast

import pytest

from operators.provider_check import Account, _check_rows, provider_check
from payments.chapa.calls import Calls
from payments.errors import InvalidRequest
from tests.shop import API_KEYS, Shop

V1, V2 = API_KEYS["chapa-v1"], API_KEYS["chapa-v2"]


def not_as_assumed(rows: list[dict[str, Any]]) -> list[str]:
    return [row["check"] for row in rows if row["as_assumed"] != "yes"]


@pytest.fixture
def only_v1(shop: Shop) -> Shop:
    shop.set_secret(api_key=V1, api_key_other="")
    shop.configure()
    return shop


@pytest.mark.parametrize("unpaid", ["404", "404_null_string", "pending", "400"])
def test_v1_account_that_answers_as_assumed(only_v1: Shop, unpaid: str) -> None:
    only_v1.control.switch(verify_unpaid=unpaid)
    rows = provider_check(only_v1.backend)
    assert not_as_assumed(rows) == []
    assert {row["provider"] for row in rows} == {"chapa-v1"}
    assert [row["check"] for row in rows] == [
        "open, reference of 20",
        "host of the page",
        "verify before payment",
        "same reference again",
        "open, reference of 21",
        "open, reference of 45",
        "verify unknown",
        "cancel",
        "verify after cancel",
        "list",
        "row of the list",
    ]


def test_account_that_answers_otherwise_is_shown(only_v1: Shop) -> None:
    only_v1.control.add_fault("cancel", "status", status=404)
    only_v1.control.add_fault("verify", "timeout_before", seconds=60)
    rows = provider_check(only_v1.backend)
    assert not_as_assumed(rows) == ["verify before payment", "cancel"]
    answers = {row["check"]: row["answer"] for row in rows}
    assert answers["verify before payment"] == "no answer: no answer in time"
    assert answers["cancel"].startswith("404")


@pytest.mark.parametrize("key", ["CHASECK-0123456789abcdef", "CHAPA_LIVE_PRIV_0123456789abcdef"])
def test_live_key_is_refused_before_any_call(shop: Shop, key: str) -> None:
    shop.set_secret(api_key=key, api_key_other="")
    shop.configure(chapa_url="", chapa_url_other="")
    with pytest.raises(InvalidRequest, match="test key only"):
        provider_check(shop.backend)
    assert not shop.simulator.journal.entries()


@pytest.fixture
def only_v2(shop: Shop) -> Shop:
    shop.set_secret(api_key=V2, api_key_other="")
    shop.configure()
    return shop


@pytest.mark.parametrize(
    "switches",
    [
        {},
        {"status_case": "upper"},
        {"create_answer": "chapa_reference", "checkout_path": "payment"},
        {"duplicate_reference": "409", "validation_code": "422", "error_message": "object"},
        {"list_by_reference": "always", "verify_mode": "present"},
    ],
)
def test_v2_account_that_answers_as_assumed(only_v2: Shop, switches: Any) -> None:
    only_v2.control.switch_v2(**switches)
    rows = provider_check(only_v2.backend)
    assert not_as_assumed(rows) == []
    assert [row["check"] for row in rows if row["check"] != "row of the list"] == [
        "open, reference of 20",
        "host of the page",
        "answer of open",
        "life of the page",
        "verify by Chapa's reference",
        "verify by ours",
        "list by ours",
        "same reference again",
        "open, with a phone number",
        "open, reference of 21",
        "open, reference of 45",
        "open, amount 100",
        "open, amount 99",
        "open, amount 105.5",
        "verify unknown",
        "cancel",
        "list of payments",
        "list of refunds",
    ]


BY_THEIRS, BY_OURS = "verify by Chapa's reference", "verify by ours"


@pytest.mark.parametrize(
    ("switches", "checks"),
    [
        ({"long_reference": "accepted"}, ["open, reference of 21", "open, reference of 45"]),
        ({"expires_at": "absent"}, ["answer of open"]),
        ({"verify_by": "chapa_reference"}, [BY_OURS]),
        ({"verify_by": "merchant_reference"}, [BY_THEIRS]),
        ({"verify_mode": "wrong"}, [BY_THEIRS, BY_OURS]),
        ({"verify_reference": "empty_while_pending"}, [BY_THEIRS, BY_OURS]),
        ({"verify_unpaid": "404"}, [BY_THEIRS, BY_OURS]),
        ({"verify_unknown": "400"}, ["verify unknown"]),
        ({"idempotency_key": "replayed"}, ["same reference again"]),
        ({"smallest_amount": "refused"}, ["open, amount 100"]),
        ({"amount_type": "any"}, ["open, amount 105.5"]),
        ({"refund_list": "absent"}, ["list of refunds"]),
    ],
)
def test_v2_account_that_answers_otherwise_is_shown(
    only_v2: Shop, switches: Any, checks: list[str]
) -> None:
    only_v2.control.switch_v2(**switches)
    assert not_as_assumed(provider_check(only_v2.backend)) == checks


@pytest.mark.parametrize("key", [V1, V2])
def test_page_on_an_unknown_host_or_with_another_life_is_shown(shop: Shop, key: str) -> None:
    shop.set_secret(api_key=key, api_key_other="")
    shop.configure(checkout_hosts="checkout.chapa.co", link_seconds="1800")
    life = ["life of the page"] if key == V2 else []
    assert not_as_assumed(provider_check(shop.backend)) == ["host of the page", *life]


def test_list_without_what_a_comparison_needs_is_shown(only_v2: Shop) -> None:
    account = Account(
        cast("Calls", only_v2.backend.providers["chapa-v2"]), only_v2.backend.settings
    )
    _check_rows(account, [{"amount": 1}], {"amount", "created_at"})
    assert not_as_assumed(account.rows) == ["row of the list"]
